"""Plan a convolution as sums over panel rows, so that the vector loops can run it at the speed of the processor.

Output positions are taken 64 at a time along the map, row after row, in the width of the padded input. For such a tile
the input is turned into a panel: one row of int16 per (kernel row, input channel), contiguous along positions; a
kernel column is a shift along the row. A strided convolution first sorts the input into its phases, which become more
channels of a smaller map with stride 1. Rows are cut into chunks that stay in the first-level cache.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.network import Conv2d
from gossamer.sim.golden.compressed import CompressedWeight
from gossamer.sim.golden.vectors import DENSE_OUTPUTS, SPARSE_POSITIONS, TURN_CHANNELS
from gossamer.sim.kernels import kernel

MAX_SHIFT = 4096
"""Columns a kernel may reach on: what a 16-bit offset into 8 panel rows can hold, with room to spare."""

PANEL_BYTES = 24 * 1024
"""Share of a 32 kB first-level cache that a chunk of panel rows may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelPlan:
    """Where the panel rows of a convolution come from and where each weight finds its row.

    The mapped input (`map_input`) is int8 (batch, positions, channels); in it output position p (of row length `width`)
    meets unit u of group g at position p + unit_offset[u], channels unit_channel[u] + g * group_channels + 0 .. 7. A
    unit is 8 panel rows of `pitch` int16; `chunk_units` units make a chunk. Reduction index k = (kernel row, kernel
    column, channel) of a weight is served by chunk[k], from element offset[k] of its panel on.
    """

    width: int
    pitch: int
    unit_offset: NDArray[np.int64]
    unit_channel: NDArray[np.int64]
    group_channels: int
    chunk_units: int
    chunk: NDArray[np.int64]
    offset: NDArray[np.int64]
    phases_y: tuple[int, ...]
    phases_x: tuple[int, ...]

    @property
    def chunks(self) -> int:
        """Return the number of chunks."""
        return -(-self.unit_offset.size // self.chunk_units)


def plan_panels(layer: Conv2d, columns: int) -> PanelPlan:
    """Return the plan of a convolution of an input with so many columns."""
    _, kernel_rows, kernel_columns, channels = layer.weight.shape
    blocks = -(-channels // TURN_CHANNELS)
    # Per axis: how far into the padded input each tap reaches, in steps of the stride and phases between.
    step_y, phase_y = np.divmod(np.arange(kernel_rows) * layer.dilation[0], layer.stride[0])
    step_x, phase_x = np.divmod(np.arange(kernel_columns) * layer.dilation[1], layer.stride[1])
    phases_y, phases_x = np.unique(phase_y), np.unique(phase_x)
    width = -(-(columns + layer.pads[1] + layer.pads[3]) // layer.stride[1])
    shift = int(step_x.max())
    pitch = SPARSE_POSITIONS + -(-shift // 16) * 16
    # A segment is a kernel row of one column phase: the taps in it differ only by a shift along the panel row.
    segment = np.arange(kernel_rows)[:, None] * phases_x.size + np.searchsorted(phases_x, phase_x)[None, :]
    plane = np.searchsorted(phases_y, phase_y)[:, None] * phases_x.size + np.arange(phases_x.size)[None, :]
    first_block = plane.reshape(-1) * layer.groups * blocks
    unit_offset = np.repeat(np.repeat(step_y * width, phases_x.size), blocks)
    unit_channel = (first_block[:, None] + np.arange(blocks)).reshape(-1) * TURN_CHANNELS
    chunk_units = max(1, PANEL_BYTES // (2 * pitch * TURN_CHANNELS))
    # Evened out, so that the last chunk is not a sliver.
    chunk_units = -(-unit_offset.size // -(-unit_offset.size // chunk_units))
    unit = segment[:, :, None] * blocks + np.arange(channels) // TURN_CHANNELS
    row = unit % chunk_units * TURN_CHANNELS + np.arange(channels) % TURN_CHANNELS
    offset = row * pitch + step_x[None, :, None]
    return PanelPlan(
        width=width, pitch=pitch,
        unit_offset=unit_offset.astype(np.int64), unit_channel=unit_channel.astype(np.int64),
        group_channels=blocks * TURN_CHANNELS,
        chunk_units=chunk_units, chunk=(unit // chunk_units).reshape(-1), offset=offset.reshape(-1),
        phases_y=tuple(phases_y.tolist()), phases_x=tuple(phases_x.tolist()),
    )  # fmt: skip


def map_input(layer: Conv2d, plan: PanelPlan, source: NDArray[np.int8], zero: int) -> NDArray[np.int8]:
    """Return int8 (batch, rows, columns, channels), padded with `zero`, as the plan reads it.

    The result is (batch, positions, phases * groups * group_channels): each phase of a stride is a map with stride 1.
    """
    batch, rows, columns, channels = source.shape
    (top, left, bottom, _), (stride_y, stride_x) = layer.pads, layer.stride
    own = channels // layer.groups
    if not any(layer.pads) and layer.stride == (1, 1) and own == plan.group_channels:
        return source.reshape(batch, rows * columns, channels)
    out_rows = -(-(rows + top + bottom) // stride_y)
    planes = len(plan.phases_y) * len(plan.phases_x)
    mapped = np.full((batch, out_rows, plan.width, planes, layer.groups, plan.group_channels), zero, np.int8)
    grouped = source.reshape(batch, rows, columns, layer.groups, own)
    for i, phase_y in enumerate(plan.phases_y):
        for j, phase_x in enumerate(plan.phases_x):
            # Element (y, x) of a phase is element (y * stride + phase - pad) of the input, where that exists.
            first_y, first_x = -(-(top - phase_y) // stride_y), -(-(left - phase_x) // stride_x)
            first_y, first_x = max(0, first_y), max(0, first_x)
            part = grouped[
                :, first_y * stride_y + phase_y - top :: stride_y, first_x * stride_x + phase_x - left :: stride_x
            ]
            end_y, end_x = first_y + part.shape[1], first_x + part.shape[2]
            mapped[:, first_y:end_y, first_x:end_x, i * len(plan.phases_x) + j, :, :own] = part
    return mapped.reshape(batch, out_rows * plan.width, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseWeights:
    """Nonzero weights as pairs: of output o and chunk c the pairs first[o, c] .. first[o, c + 1] - 1.

    first int64 (outputs, chunks + 1); offsets uint16 [2 * pairs] and weights int32 [pairs] as `vectors` reads them.
    """

    first: NDArray[np.int64]
    offsets: NDArray[np.uint16]
    weights: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseWeights:
    """All weights as pairs of reduction indices, the same pairs for every output.

    first int64 (chunks + 1): the pairs of a chunk; offsets uint16 [2 * pairs]; weights int32, flat, of (groups, blocks
    of DENSE_OUTPUTS output channels, pairs, DENSE_OUTPUTS).
    """

    first: NDArray[np.int64]
    offsets: NDArray[np.uint16]
    weights: NDArray[np.int32]


def pair_dense(weight: NDArray[np.int8], groups: int, plan: PanelPlan) -> DenseWeights:
    """Return int8 weights (out_channels, kernel rows, kernel columns, channels) as pairs."""
    outputs = weight.shape[0]
    order = np.argsort(plan.chunk, kind="stable")
    counts = np.bincount(plan.chunk, minlength=plan.chunks)
    first = np.concatenate([[0], np.cumsum((counts + 1) // 2)]).astype(np.int64)
    # Slot of each reduction index; the odd one out of a chunk is paired with weight 0 on row 0.
    slot = np.arange(order.size) + np.repeat(2 * first[:-1] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    offsets = np.zeros(2 * int(first[-1]), np.uint16)
    offsets[slot] = plan.offset[order]
    blocks = -(-outputs // groups // DENSE_OUTPUTS)
    values = np.zeros((groups, blocks * DENSE_OUTPUTS, offsets.size), np.int16)
    values[:, : outputs // groups, slot] = weight.reshape(groups, outputs // groups, -1)[:, :, order]
    blocked = _as_pairs(values).reshape(groups, blocks, DENSE_OUTPUTS, -1).swapaxes(2, 3)
    return DenseWeights(first=first, offsets=offsets, weights=blocked.reshape(-1))


def pair_sparse(kept: CompressedWeight, plan: PanelPlan) -> SparseWeights:
    """Return the nonzeros of N:M weights as pairs, chunk by chunk."""
    outputs, kernel_rows, kernel_columns, groups, slots = kept.values.shape
    taps = kernel_rows * kernel_columns
    values = kept.values.reshape(outputs, taps, groups, slots)
    indices = kept.indices.reshape(values.shape)
    # Every chunk of every output may need one slot more than it has nonzeros to make pairs.
    space = values.size + outputs * plan.chunks
    first = np.zeros((outputs, plan.chunks + 1), np.int64)
    offsets, weights = np.zeros(space, np.uint16), np.zeros(space, np.int16)
    place_nonzeros(values, indices, kept.pattern.m, kept.channels, plan.chunk, plan.offset, first, offsets, weights)
    return SparseWeights(first=first, offsets=offsets, weights=_as_pairs(weights[: space // 2 * 2]))


def _as_pairs(weights: NDArray[np.int16]) -> NDArray[np.int32]:
    """Return int16 weights [..., 2 * pairs] as int32 [..., pairs], the first of a pair in the low half."""
    return weights.astype("<i2", copy=False).view("<i4").astype(np.int32, copy=False)


@kernel
def place_nonzeros(
    values: NDArray[np.int8],
    indices: NDArray[np.uint8],
    group_elements: int,
    channels: int,
    chunk: NDArray[np.int64],
    offset: NDArray[np.int64],
    first: NDArray[np.int64],
    offsets: NDArray[np.uint16],
    weights: NDArray[np.int16],
) -> None:
    """Fill the pairs of every output and chunk from values and indices (outputs, taps, groups, slots).

    offsets and weights start as zeros and are indexed by slot, two to a pair; first (outputs, chunks + 1) counts pairs.
    """
    outputs, taps, groups, slots = values.shape
    chunks = first.shape[1] - 1
    used = np.zeros(chunks, np.int64)
    end = 0
    for o in range(outputs):
        used[:] = 0
        for tap in range(taps):
            for group in range(groups):
                for slot in range(slots):
                    if values[o, tap, group, slot] != 0:
                        k = tap * channels + group * group_elements + np.int64(indices[o, tap, group, slot])
                        used[chunk[k]] += 1
        first[o, 0] = end
        for c in range(chunks):
            end += (used[c] + 1) // 2
            first[o, c + 1] = end
            used[c] = 2 * first[o, c]
        for tap in range(taps):
            for group in range(groups):
                for slot in range(slots):
                    if values[o, tap, group, slot] != 0:
                        k = tap * channels + group * group_elements + np.int64(indices[o, tap, group, slot])
                        place = used[chunk[k]]
                        used[chunk[k]] += 1
                        offsets[place] = offset[k]
                        weights[place] = values[o, tap, group, slot]
