"""Split a convolution over chains by output columns: what its channels leave idle computes the neighbouring pixels.

Output columns x, x + 1, ... follow each other in memory without gaps, so `count` of them are one pixel of `count`
times the channels. The layer that computes such pixels is a convolution too: every channel's kernel once per column,
each shifted by the stride, in a kernel that is wider by the shifts and zero elsewhere. It has 1 / `count` of the
positions, and fewer stages stay idle on its longer runs of words. Where nothing is idle it only has more zeros to
multiply: the search for a mapping decides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvMapping, ConvShape, Objective
from gossamer.dataflow.numerics import MIN_SHIFT, Requantization
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.convolution_parts import Joined
from gossamer.mapper.codegen.convolution_shape import block_channels, conv_shape, weight_storage
from gossamer.mapper.shares import WHOLE, Share
from gossamer.mapper.tiling import Search, choose_mapping, try_mapping

Weight = NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A convolution with constant weights between two places, before it is mapped.

    `weight` int8 (out, kernel rows, kernel columns, in / groups). `storage`: (steps, slots, index_bits) of its weights
    if groups and pattern do not say (`weight_storage`). `held_bytes`: of `ConvShape`.
    """

    who: str
    source: TensorPlace
    target: TensorPlace
    weight: Weight
    params: Requantization
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    groups: int = 1
    pattern: NmPattern | None = None
    storage: tuple[int, int, int] | None = None
    joined: Joined | None = None
    held_bytes: int = 0
    rows: tuple["Convolution", ...] = ()
    """Those of one output row each that this one computes together (`join_rows`); its pixel has theirs in turn."""

    @property
    def row_step(self) -> int:
        """Off-chip bytes from one of `rows` to the next."""
        return self.rows[1].target.address - self.rows[0].target.address if self.rows else 0

    def shape(self, spec: SparseAccelerator) -> ConvShape:
        """Return it as the array sees it. Raises MappingError if the array cannot run it."""
        return conv_shape(
            spec, self.source, self.target, who=self.who, kernel=(self.weight.shape[1], self.weight.shape[2]),
            stride=self.stride, dilation=self.dilation, pads=self.pads, groups=self.groups, pattern=self.pattern,
            has_table=self.params.table is not None, storage=self.storage,
            joined_bytes=len(self.joined.block) if self.joined else 0,
            operand=self.joined.operand if self.joined else None, held_bytes=self.held_bytes,
        )  # fmt: skip

    def wide(self, spec: SparseAccelerator) -> Iterator["Convolution"]:
        """Yield the convolutions that compute 2, 3, ... of its columns as one pixel and fit one block of channels."""
        limit = block_channels(spec)
        if self.rows:
            for count in range(2, limit // self.target.shape[3] + 1):
                if self.target.shape[2] % count == 0:
                    yield from join_rows([row._widened(count, self.target.group_size) for row in self.rows], limit)
            return
        places = (self.target,) if self.joined is None else (self.target, self.joined.operand)
        if any(not has_adjacent_pixels(place) for place in places) or self.dilation[1] != 1:
            return
        for count in range(2, limit // self.target.column_bytes + 1):
            if self.target.shape[2] % count == 0:
                yield self._widened(count, self.target.group_size)

    def _widened(self, count: int, group_size: int) -> "Convolution":
        """Return the convolution whose pixels are `count` columns of this one."""
        storage = self.storage or weight_storage(self.source.shape[3], self.groups, self.pattern, group_size)
        weight = dense_weight(self.weight, self.groups)
        filters = [Filter(weight, number * self.stride[1], self.params) for number in range(count)]
        joined = self.joined and replace(self.joined, operand=widen_pixels(self.joined.operand, count))
        weight, params = side_by_side(filters, self.target.column_bytes)
        return replace(
            self, target=widen_pixels(self.target, count), weight=weight, params=params, groups=1, storage=storage,
            stride=(self.stride[0], self.stride[1] * count), joined=joined,
        )  # fmt: skip


def choose_width(
    convolution: Convolution, spec: SparseAccelerator, objective: Objective = Objective.LATENCY
) -> tuple[Convolution, ConvMapping]:
    """Return the best of a convolution and those that split its columns over chains, and its mapping.

    Raises MappingError if the array cannot run it.
    """
    found = best_width(convolution, spec, objective=objective)
    if found is None:
        return convolution, choose_mapping(convolution.shape(spec), spec, convolution.who)  # says what is missing
    return found[0], found[1].mapping


def best_width(
    convolution: Convolution, spec: SparseAccelerator, share: Share = WHOLE, *, objective: Objective = Objective.LATENCY
) -> tuple[Convolution, Search] | None:
    """Return the same with what the search found, None if nothing fits its `share` of the buffers."""
    best: tuple[Convolution, Search] | None = None
    for each in (convolution, *convolution.wide(spec)):
        found = try_mapping(each.shape(spec), spec, share=share, objective=objective)
        if found is not None and (best is None or order_of(found, share) < order_of(best[1], share)):
            best = each, found
    return best


def order_of(search: Search, share: Share) -> tuple[float, int]:
    """Return what widths are compared by: cycles where layers take turns, whose cost counts what waits for them too."""
    return search.rank if share == WHOLE else (search.cycles, 0)


@dataclass(frozen=True, slots=True)
class Filter:
    """What computes a part of a wide pixel: weights for all input channels, their first column and row in the wide
    kernel, requantization."""

    weight: Weight
    column: int
    params: Requantization
    row: int = 0


def has_adjacent_pixels(place: TensorPlace) -> bool:
    """Return whether the pixels of a row follow each other without gaps."""
    return place.column_bytes == place.words * place.group_size


def widen_pixels(place: TensorPlace, count: int) -> TensorPlace:
    """Return a place with `count` adjacent pixels, pad channels and all, as one. `count` divides its columns."""
    batch, rows, columns, _ = place.shape
    width = count * place.column_bytes
    return replace(place, shape=(batch, rows, columns // count, width), column_bytes=width)


def dense_weight(weight: Weight, groups: int) -> Weight:
    """Return the weights (out, rows, columns, in) of a grouped convolution, zero between groups."""
    if groups == 1:
        return weight
    channels, rows, columns, per_group = weight.shape
    dense = np.zeros((channels, rows, columns, groups, per_group), np.int8)
    number = np.arange(channels)
    dense[number, :, :, number // (channels // groups)] = weight
    return dense.reshape(channels, rows, columns, groups * per_group)


def side_by_side(filters: Sequence[Filter], pitch: int) -> tuple[Weight, Requantization]:
    """Return weights and requantization of filters, one every `pitch` channels.

    Channels beyond a filter's own get weights 0 and the output's zero point.
    """
    channels = filters[0].weight.shape[3]
    rows = max(each.row + each.weight.shape[1] for each in filters)
    columns = max(each.column + each.weight.shape[2] for each in filters)
    total = len(filters) * pitch
    weight = np.zeros((total, rows, columns, channels), np.int8)
    bias, multiplier = np.zeros(total, np.int32), np.zeros(total, np.int32)
    shift = np.full(total, MIN_SHIFT, np.uint8)
    for number, each in enumerate(filters):
        own = slice(number * pitch, number * pitch + len(each.weight))
        _, height, width, _ = each.weight.shape
        weight[own, each.row : each.row + height, each.column : each.column + width] = each.weight
        bias[own], multiplier[own], shift[own] = each.params.bias, each.params.multiplier, each.params.shift
    return weight, replace(filters[0].params, bias=bias, multiplier=multiplier, shift=shift)


def join_columns(phases: list[Convolution], limit: int) -> list[Convolution]:
    """Return one convolution of wide pixels for those that compute every len(phases)-th column each, from the first on.

    Their pixels are as many columns apart, without gaps between. They stay as they are if the pixels together have more
    than `limit` bytes or the kernels reach over different rows.
    """
    first = phases[0]
    width = first.target.column_bytes
    if width > limit or len({(each.weight.shape[1], each.pads[0]) for each in phases}) > 1:
        return phases
    pad = max(each.pads[1] for each in phases)
    filters = [Filter(each.weight, pad - each.pads[1], each.params) for each in phases]
    weight, params = side_by_side(filters, width // len(phases))
    batch, rows, columns, _ = first.target.shape
    target = replace(first.target, shape=(batch, rows, columns, width))
    return [replace(first, target=target, weight=weight, params=params, pads=(first.pads[0], pad))]


def join_rows(parts: list[Convolution], limit: int) -> list[Convolution]:
    """Return one convolution for those that compute every len(parts)-th row each, nothing if it does not fit.

    They read the same source, and their pixels have no gaps between. Together they may have `limit` channels.
    """
    first, width = parts[0], parts[0].target.column_bytes
    if any(each.target.shape != first.target.shape for each in parts) or len(parts) * width > limit or len(parts) < 2:
        return []
    top, left = (max(each.pads[axis] for each in parts) for axis in (0, 1))
    filters = [Filter(each.weight, left - each.pads[1], each.params, top - each.pads[0]) for each in parts]
    weight, params = side_by_side(filters, width)
    target = replace(first.target, shape=(*first.target.shape[:3], len(parts) * width))
    return [replace(first, target=target, weight=weight, params=params, pads=(top, left), rows=tuple(parts))]
