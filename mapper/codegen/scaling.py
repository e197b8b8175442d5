"""Multiply every pixel by one value per channel on the array, where the second operand has one pixel.

The product is a convolution whose weights are the second operand: chain c multiplies channel c by its value. VECTOR
then only requantizes, one cycle per beat where MULTIPLY takes two. Zero points: the weights of a channel are its value
and what subtracts the second zero point, -zero_b or, if that is 128, twice 64; the same weights times -zero_a are added
to every sum. Chains that the channels leave idle take neighbouring pixels (`gossamer.mapper.codegen.wide_pixels`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.isa import Opcode, Space, index_pitch_bytes
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import Block, ConvShape, Objective, Split
from gossamer.dataflow.network import Binary, BinaryKind, Layer, Network
from gossamer.dataflow.numerics import Requantization, VectorParams
from gossamer.mapper.allocate import REGION_ALIGN_BYTES, TensorPlace, align, dense_place
from gossamer.mapper.codegen.channel_maps import pack_indices
from gossamer.mapper.codegen.convolution import ConvEmitter
from gossamer.mapper.codegen.convolution_loads import Row, load_row, plane_loads
from gossamer.mapper.codegen.convolution_parts import Joined, Turns
from gossamer.mapper.codegen.convolution_shape import block_channels, conv_shape, flatten
from gossamer.mapper.codegen.packing import active_chains, row_chains
from gossamer.mapper.codegen.vector import stream_cycles
from gossamer.mapper.codegen.wide_pixels import has_adjacent_pixels, order_of, widen_pixels
from gossamer.mapper.emit import Emitter
from gossamer.mapper.shares import WHOLE, Share
from gossamer.mapper.tiling import Search, try_mapping


def negated(zero: int) -> tuple[int, ...]:
    """Return the int8 values whose sum is -zero."""
    return () if zero == 0 else (64, 64) if zero == -128 else (-zero,)


def is_scaling(layer: Binary, a: TensorPlace, b: TensorPlace) -> bool:
    """Return whether a layer multiplies every pixel by one value per channel."""
    return layer.kind is BinaryKind.MULTIPLY and b.shape == (1, 1, 1, a.shape[3]) and a.shape[:3] != (1, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """A scaling as a convolution between two places, and the mapping found for it."""

    source: TensorPlace
    target: TensorPlace
    params: Requantization
    constants: tuple[int, ...]
    correction: tuple[int, ...]
    joined: Joined | None
    search: Search


def find_scaling(
    spec: SparseAccelerator, layer: Binary, params: VectorParams, a: TensorPlace, out: TensorPlace,
    joined: Joined | None = None, objective: Objective = Objective.LATENCY, share: Share = WHOLE,
) -> Scaling | None:  # fmt: skip
    """Return the best way to multiply the pixels of `a`, None if none fits.

    `joined`: what follows in the tiles. `share`: what it has of every buffer.
    """
    constants, correction = negated(params.zero_b), negated(params.zero_a)
    best: Scaling | None = None
    for width, (source, target, *rest), shape, reserved in scaling_widths(spec, layer, params, a, out, joined):
        search = try_mapping(shape, spec, reserved_bytes=reserved, share=share, objective=objective)
        if search is not None and (best is None or order_of(search, share) < order_of(best.search, share)):
            best = Scaling(
                source=source, target=target,
                params=_requantization(params, a.shape[3], a.words * a.group_size, width),
                constants=constants, correction=correction, search=search,
                joined=joined and replace(joined, operand=rest[0]),
            )  # fmt: skip
    return best


def scaling_widths(
    spec: SparseAccelerator, layer: Binary, params: VectorParams, a: TensorPlace, out: TensorPlace,
    joined: Joined | None = None,
) -> Iterator[tuple[int, list[TensorPlace], ConvShape, int]]:  # fmt: skip
    """Yield how many pixels can be one, the places then, the shape, and the activation bytes that must stay free."""
    places = (a, out) if joined is None else (a, out, joined.operand)
    even = all(place.is_contiguous for place in places)
    constants, correction = negated(params.zero_b), negated(params.zero_a)
    count, pitch = math.prod(a.shape[:3]), a.words * a.group_size
    storage = (1 + len(constants),) * 2 + (a.group_size.bit_length() - 1,)
    widest = block_channels(spec) // pitch if even and all(map(has_adjacent_pixels, places)) else 1
    for width in (width for width in range(1, max(1, widest) + 1) if count % width == 0):
        moved = [_pixels(place, width) if even else place for place in places]
        shape = conv_shape(
            spec, moved[0], moved[1], who=layer.name, kernel=(1, 1), groups=moved[0].shape[3], storage=storage,
            joined_bytes=len(joined.block) if joined else 0, operand=joined.operand if joined else None,
        )  # fmt: skip
        yield width, moved, shape, len(correction) * moved[0].words * moved[0].group_size


def _pixels(place: TensorPlace, width: int) -> TensorPlace:
    """Return all pixels as one row, `width` adjacent ones as one."""
    flat = flatten(place)
    return flat if width == 1 else widen_pixels(flat, width)


def _requantization(params: VectorParams, channels: int, pitch: int, width: int) -> Requantization:
    """Return what MULTIPLY does to the product, for every channel of `width` pixels `pitch` channels apart."""
    multiplier = np.zeros((width, pitch), np.int32)
    multiplier[:, :channels] = params.mult_a
    total = channels if width == 1 else width * pitch
    return Requantization(
        bias=np.zeros(total, np.int32), multiplier=multiplier.ravel()[:total],
        shift=np.full(total, params.shift, np.uint8), zero_out=params.zero_out, low=params.low, high=params.high,
    )  # fmt: skip


class ScalingWeights:
    """Weights that are an activation tensor of one pixel, each next to `constants` in the weights of its channel."""

    def __init__(self, emitter: Emitter, place: TensorPlace, constants: tuple[int, ...]) -> None:
        self._emitter, self._place, self._constants = emitter, place, constants
        array = emitter.spec.array
        self._chains, self._chain_length, self._group_size = array.chains, array.chain_length, array.group_size
        self._pitch = index_pitch_bytes(array.chains, array.group_size.bit_length() - 1)
        self._planes: dict[Space, dict[int, int]] = {Space.WEIGHT: {}, Space.INDEX: {}}

    def loads(self, number: int, part: int, block: Block, split: Split, w: int, i: int) -> list[Row]:
        """Return the LOADs of a (block, split): constants and zeros, then the values of each fold over its zeros."""
        steps, row_bytes = 1 + len(self._constants), row_chains(block, self._group_size)
        chain = np.arange(active_chains(block, self._group_size))
        values, own = np.zeros((steps * split.words, row_bytes), np.int8), chain // self._group_size - split.word
        rows: list[Row] = []
        for first in range(0, split.words, self._chain_length):
            stages = min(self._chain_length, split.words - first)
            inside = (own >= first) & (own < first + stages)
            for step, constant in enumerate(self._constants, start=1):
                values[first * steps + step * stages + own[inside] - first, chain[inside]] = constant
            rows += self._value_loads(block.word + split.word + first, split.word + first, stages, w, first * steps)
        indices = pack_indices(np.tile(np.arange(row_bytes) % self._group_size, (len(values), 1)), self._group_size)
        return [
            *self._plane(Space.WEIGHT, values.view(np.uint8), w, self._chains),
            *self._plane(Space.INDEX, indices, i, self._pitch), *rows,
        ]  # fmt: skip

    def plane_bytes(self, space: Space) -> int:
        """Return the off-chip bytes of the constants among the weights, or of the indices."""
        return sum(align(size, REGION_ALIGN_BYTES) for size in self._planes[space].values())

    def _plane(self, space: Space, plane: NDArray[np.uint8], dst: int, pitch: int) -> list[Row]:
        address = self._emitter.memory.constant(plane)
        self._planes[space][address] = plane.nbytes
        return plane_loads(space, address, dst, len(plane), plane.shape[1], pitch)

    def _value_loads(self, word: int, own: int, words: int, w: int, row: int) -> list[Row]:
        """Return the LOADs of values for `words` words from `word` on, word `own` of the block, into a row each.

        Words of neighbouring pixels follow each other: beyond the last word of the operand its first comes again.
        """
        rows, done = [], 0
        while done < words:
            start = (word + done) % self._place.words
            count = min(words - done, self._place.words - start)
            dst = w + (row + done) * self._chains + (own + done) * self._group_size
            rows.append(
                load_row(
                    Space.WEIGHT, dram=self._place.at(0, 0, 0, start), dst=dst, run_bytes=self._group_size, ny=count,
                    dram_y=self._group_size, dst_y=self._chains + self._group_size,
                )
            )  # fmt: skip
            done += count
        return rows


def scales_on_array(network: Network, layer: Layer, spec: SparseAccelerator) -> bool:
    """Return whether a layer is a scaling that takes fewer cycles on the array than VECTOR alone, places aside."""
    if not isinstance(layer, Binary) or layer.params is None:
        return False
    a, b, out = (dense_place(network, name, spec) for name in (*layer.inputs, layer.output))
    if not is_scaling(layer, a, b):
        return False
    found = find_scaling(spec, layer, layer.params, a, out)
    return found is not None and found.search.cycles < stream_cycles(spec, layer.name, Opcode.MULTIPLY, out, [a, b])


def scaling_part(
    emitter: Emitter, layer: Binary, found: Scaling, b: TensorPlace, turns: Turns | None = None, share: Share = WHOLE
) -> tuple[ConvEmitter, ScalingWeights]:  # fmt: skip
    """Return a scaling ready to be emitted, and its weights. `turns`, `share`: of ConvEmitter."""
    weights = ScalingWeights(emitter, b, found.constants)
    part = ConvEmitter(
        emitter, found.search.mapping, found.source, found.target, weights, found.params, who=layer.name, fill=0,
        correction=found.correction, joined=found.joined, turns=turns, share=share,
    )  # fmt: skip
    return part, weights
