"""Move channels within pixels on the array: one-hot 1x1 convolutions that read any channel of several sources.

Every output channel is one weight of 1 in a 1:G pattern, so a word of sources costs one pass. Sources accumulate into
the same sums, and the requantization passes them through exactly: bytes move, zero points stay. If weights
or a pixel do not fit on chip, the output's words are halved until they do.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.accumulator import tile_entries
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Opcode, Space
from gossamer.arch.timing import ceil_div, compute_cycles, vector_cycles
from gossamer.mapper.allocate import REGION_ALIGN_BYTES, TensorPlace, align
from gossamer.mapper.codegen.parameters import pass_through, requantize_block
from gossamer.mapper.codegen.strided import Axis, Nest, collapse, nest
from gossamer.mapper.codegen.tile_choice import TileCost, cheapest, halvings
from gossamer.mapper.codegen.transfer import MAX_COUNT, load_block, load_nest, load_range, store_nest
from gossamer.mapper.emit import Emitter


@dataclass(frozen=True, slots=True)
class ChannelMap:
    """Output channel placed[i] of every pixel is channel taken[i] of `source` (int64 [n] both)."""

    source: TensorPlace
    taken: NDArray[np.int64]
    placed: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Feed:
    """One source on chip: the words of its pixels that are read, as contiguous (first word, words) pieces."""

    map: ChannelMap
    pieces: tuple[tuple[int, int], ...]
    local: dict[int, int]

    @property
    def words(self) -> int:
        """Words of one pixel on chip."""
        return len(self.local)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One COMPUTE: `words` local words of a feed from `first` on; its rows start at `row` of the packed weights."""

    feed: int
    first: int
    words: int
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything but addresses. blocks[i]: (first output word, words, passes); rows int8 [n, chains], indices uint8."""

    out: TensorPlace
    feeds: tuple[Feed, ...]
    blocks: tuple[tuple[int, int, tuple[Pass, ...]], ...]
    values: NDArray[np.int8]
    indices: NDArray[np.uint8]
    positions: Nest
    """Exactly three axes; operand 0 is the output, then the sources, off-chip bytes."""


def emit_channel_maps(emitter: Emitter, who: str, out: TensorPlace, maps: Sequence[ChannelMap]) -> None:
    """Append the code that fills every channel of `out` from `maps`; all sources have the pixels of `out`.

    The layer's record gets the bytes of the one-hot weights. Raises MappingError if not even one word of output
    channels fits on chip.
    """
    planes: dict[Space, dict[int, int]] = {Space.WEIGHT: {}, Space.INDEX: {}}
    _emit_maps(emitter, who, out, maps, planes)
    weight, index = (sum(planes[space].values()) for space in (Space.WEIGHT, Space.INDEX))
    emitter.layers[-1] = replace(emitter.layers[-1], weight_bytes=weight, index_bytes=index)


def _emit_maps(
    emitter: Emitter, who: str, out: TensorPlace, maps: Sequence[ChannelMap], planes: dict[Space, dict[int, int]]
) -> None:
    """Append the code of all maps, by halves of the output's words if need be; add to `planes` bytes by address."""
    plan = make_plan(emitter, out, maps)
    buffers = emitter.spec.buffers
    block_bytes = max(len(_requantization(emitter, plan, words)) for _, words, _ in plan.blocks)
    fits = (
        plan.values.nbytes <= buffers.weight.capacity_bytes
        and plan.indices.nbytes <= buffers.index.capacity_bytes
        and block_bytes <= buffers.parameter.capacity_bytes
    )
    choice = cheapest(emitter.spec, _candidates(emitter, plan)) if fits else None
    if choice is not None:
        _emit_plan(emitter, who, plan, *choice, planes)
        return
    if out.words == 1:
        raise MappingError(
            f"{who}: moving one word of channels needs {plan.values.nbytes} bytes of the weight buffer and "
            f"{(1 + sum(feed.words for feed in plan.feeds)) * emitter.group_size} of the activation buffer; enlarge "
            "`buffers.weight.capacity_bytes` or `buffers.activation.capacity_bytes`"
        )
    half = out.words // 2
    for first, words in ((0, half), (half, out.words - half)):
        _emit_maps(emitter, who, *_part(out, maps, first, words), planes)


def _part(out: TensorPlace, maps: Sequence[ChannelMap], first: int, words: int) -> tuple[TensorPlace, list[ChannelMap]]:
    """Return the task of output words [first, first + words)."""
    low = first * out.group_size
    channels = min(words * out.group_size, out.shape[3] - low)
    part = out.slice(out.name, (*out.shape[:3], channels), out.quant, word=first)
    parts = []
    for each in maps:
        chosen = (each.placed >= low) & (each.placed < low + channels)
        if chosen.any():
            parts.append(ChannelMap(each.source, each.taken[chosen], each.placed[chosen] - low))
    return part, parts


def make_plan(emitter: Emitter, out: TensorPlace, maps: Sequence[ChannelMap]) -> Plan:
    """Return feeds, blocks of at most `chains` output channels, and their packed one-hot weights."""
    group_size, chains = emitter.group_size, emitter.spec.array.chains
    feeds = tuple(_feed(each, group_size) for each in maps)
    per_block = chains // group_size
    blocks, values, indices = [], [], []
    row = 0
    for first in range(0, out.words, per_block):
        words = min(per_block, out.words - first)
        passes = []
        for number, feed in enumerate(feeds):
            low = first * group_size
            chosen = (feed.map.placed >= low) & (feed.map.placed < low + words * group_size)
            taken, chain = feed.map.taken[chosen], feed.map.placed[chosen] - low
            read = np.array([feed.local[int(word)] for word in taken // group_size], np.int64)
            for start, count in _stretches(np.unique(read), emitter.spec.array.chain_length):
                mine = (read >= start) & (read < start + count)
                value, index = np.zeros((count, chains), np.int8), np.zeros((count, chains), np.int64)
                value[read[mine] - start, chain[mine]] = 1
                index[read[mine] - start, chain[mine]] = taken[mine] % group_size
                values.append(value)
                indices.append(index)
                passes.append(Pass(feed=number, first=start, words=count, row=row))
                row += count
        blocks.append((first, words, tuple(passes)))
    strides = [(place.batch_bytes, place.row_bytes, place.column_bytes) for place in (out, *(m.source for m in maps))]
    positions = collapse(nest(out.shape[:3], *strides))
    lead = Axis(1, (0,) * len(strides))
    return Plan(
        out=out, feeds=feeds, blocks=tuple(blocks), values=np.concatenate(values),
        indices=pack_indices(np.concatenate(indices), group_size),
        positions=(*(lead,) * (3 - len(positions)), *positions),
    )  # fmt: skip


def pack_indices(indices: NDArray[np.int64], group_size: int) -> NDArray[np.uint8]:
    """Return int64 [rows, chains] as rows of log2(group_size) bits per chain, least significant bit first."""
    bits = group_size.bit_length() - 1
    planes = (indices[:, :, None] >> np.arange(bits)) & 1
    return np.packbits(planes.reshape(len(indices), -1).astype(np.uint8), axis=1, bitorder="little")


def _feed(each: ChannelMap, group_size: int) -> Feed:
    used = np.unique(each.taken // group_size)
    pieces = tuple(_stretches(used, 1))
    order = [word for first, count in pieces for word in range(first, first + count)]
    return Feed(each, pieces, {word: local for local, word in enumerate(order)})


def _stretches(numbers: NDArray[np.int64], gap: int) -> Iterator[tuple[int, int]]:
    """Yield (first, count) stretches that cover ascending numbers, broken where more than `gap` - 1 are skipped."""
    values = [int(number) for number in numbers]
    breaks = [i + 1 for i, (a, b) in enumerate(pairwise(values)) if b - a > gap]
    for start, stop in pairwise([0, *breaks, len(values)]):
        if stop > start:
            yield values[start], values[stop - 1] - values[start] + 1


def _requantization(emitter: Emitter, plan: Plan, words: int) -> bytes:
    """Return the pass-through block; pad channels pass as well, their sums are zero."""
    channels = words * emitter.group_size
    return requantize_block(
        pass_through(0, channels, 0), first=0, channels=channels, words=words, group_size=emitter.group_size
    )


def _candidates(emitter: Emitter, plan: Plan) -> Iterator[TileCost]:
    """Yield tiles of positions, rows cut first."""
    group_size, array = emitter.group_size, emitter.spec.array
    _, rows, columns = (axis.size for axis in plan.positions)
    shapes = [(y, columns) for y in halvings(rows)] + [(1, x) for x in halvings(columns)]
    for y, x in shapes:
        positions = y * x
        if positions > tile_entries(emitter.spec) or max(y, x) > MAX_COUNT:
            continue
        read = positions * sum(feed.words for feed in plan.feeds) * group_size
        written = positions * plan.out.words * group_size
        work = 0
        for _, words, passes in plan.blocks:
            work += vector_cycles(
                Opcode.REQUANTIZE, ny=y, nx=x, nc=words, kh=1, kw=1, group_size=group_size,
                vector_lanes=emitter.spec.vector.lanes,
            )  # fmt: skip
            work += sum(
                compute_cycles(
                    positions=positions, runs=1, run_words=each.words, steps=1, chain_length=array.chain_length,
                    lanes=array.lanes, weight_rows_per_cycle=array.weight_rows_per_cycle,
                )
                for each in passes
            )  # fmt: skip
        yield TileCost(
            sizes=(1, y, x), on_chip_bytes=read + written, loaded_bytes=read, stored_bytes=written, work_cycles=work,
            loads=sum(len(feed.pieces) for feed in plan.feeds),
            tiles=math.prod(ceil_div(axis.size, size) for axis, size in zip(plan.positions, (1, y, x), strict=True)),
        )  # fmt: skip


def _emit_plan(
    emitter: Emitter, who: str, plan: Plan, tile: TileCost, slots: int, planes: dict[Space, dict[int, int]]
) -> None:
    weight = emitter.weight.alloc(plan.values.nbytes, emitter.spec.array.chains, who=who)
    index = emitter.index.alloc(plan.indices.nbytes, plan.indices.shape[1], who=who)
    for space, plane, address in ((Space.WEIGHT, plan.values, weight), (Space.INDEX, plan.indices, index)):
        constant = emitter.memory.constant(plane.view(np.uint8))
        load_range(emitter, space, constant, address, plane.nbytes)
        planes[space][constant] = align(plane.nbytes, REGION_ALIGN_BYTES)
    widest = max(words for _, words, _ in plan.blocks)
    par = load_block(emitter, _requantization(emitter, plan, widest), who)
    loaded, written = emitter.activation.alloc_apart(
        slots * tile.loaded_bytes, slots * tile.stored_bytes, emitter.group_size, who=who
    )
    ranges = [range(0, axis.size, size) for axis, size in zip(plan.positions, tile.sizes, strict=True)]
    for number, start in enumerate(product(*ranges)):
        sizes = [min(t, axis.size - i) for t, axis, i in zip(tile.sizes, plan.positions, start, strict=True)]
        shifts = [
            sum(i * axis.strides[operand] for i, axis in zip(start, plan.positions, strict=True))
            for operand in range(len(plan.feeds) + 1)
        ]
        slot = number % slots
        chips = loaded + slot * tile.loaded_bytes, written + slot * tile.stored_bytes
        _emit_tile(emitter, who, plan, sizes, shifts, chips, (weight, index, par[0]))


def _emit_tile(
    emitter: Emitter, who: str, plan: Plan, sizes: Sequence[int], shifts: Sequence[int],
    chips: tuple[int, int], constants: tuple[int, int, int],
) -> None:  # fmt: skip
    """Append loads to chips[0], passes, requantizations to chips[1] and the store of one tile of positions."""
    word, chains = emitter.group_size, emitter.spec.array.chains
    _, ny, nx = sizes
    pixel = plan.out.words * word
    first_source, chip = chips
    starts = [first_source]
    for number, feed in enumerate(plan.feeds, start=1):
        held = feed.words * word
        for first, count in feed.pieces:
            axes = nest((ny, nx), [a.strides[number] for a in plan.positions[1:]], (nx * held, held))
            source = feed.map.source.address + shifts[number] + first * word
            load_nest(emitter, (*axes, Axis(count * word, (1, 1))), source, starts[-1] + feed.local[first] * word)
        starts.append(starts[-1] + ny * nx * held)
    weight, index, par = constants
    for first, words, passes in plan.blocks:
        acc = emitter.accumulator.alloc(ny * nx, who=who)
        for each in passes:
            held = plan.feeds[each.feed].words * word
            emitter.compute(
                a=starts[each.feed] + each.first * word, a_y=nx * held, a_x=held, ny=ny, nx=nx, n_ry=1, n_rx=1, r_y=0,
                r_x=0, run_words=each.words, w=weight + each.row * chains, i=index + each.row * plan.indices.shape[1],
                steps=1, slots=1, index_bits=word.bit_length() - 1, acc=acc, clear=int(each is passes[0]),
                chains_active=words * word,
            )  # fmt: skip
        emitter.vector(
            Opcode.REQUANTIZE, a=acc, d=chip + first * word, d_y=nx * pixel, d_x=pixel, ny=ny, nx=nx, nc=words,
            par=par, par_bytes=len(_requantization(emitter, plan, words)),
        )  # fmt: skip
    axes = nest((ny, nx), [axis.strides[0] for axis in plan.positions[1:]], (nx * pixel, pixel))
    store_nest(emitter, (*axes, Axis(pixel, (1, 1))), plan.out.address + shifts[0], chip)
