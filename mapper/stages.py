"""Collect what several cores do, find where they must wait for each other, and make one Program of it.

Cores share nothing but off-chip memory. Work is added step by step; within a step no core touches what another writes.
A barrier comes before a step in which a core touches bytes off chip that another one, since the last barrier, wrote, or
reads and this one writes. Ranges are bounding intervals, as for tokens: a barrier too many costs time only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.encoding import encode_columns
from gossamer.arch.isa import INSTRUCTION_BYTES, Opcode, Space
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import FETCH_BURST_BYTES, burst_bytes, ceil_div
from gossamer.dataflow.mapping import Objective
from gossamer.dataflow.network import Network
from gossamer.dataflow.program import LayerRecord, Program, Segment, Streams, Way
from gossamer.mapper.allocate import ACTIVATION_BASE, OffChip, OffChipLayout, TensorPlace
from gossamer.mapper.emit import PARAMETER_BYTES, Emitter, Mapped
from gossamer.mapper.tokens import OFF_CHIP, Accesses, derive_accesses, derive_tokens, engine_numbers

Ints = NDArray[np.int64]
Ranges = tuple[Ints, Ints]
"""First bytes and ends of disjoint ranges, in order."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What a core does in a step is so much of the layers."""

    core: int
    way: Way


@dataclass(slots=True)
class Work:
    """Emitters of the cores, with one off-chip memory, and how far each was after every step."""

    core: SparseAccelerator
    objective: Objective
    memory: OffChip
    cores: int
    emitters: list[Emitter] = field(init=False)
    steps: list[tuple[int, ...]] = field(init=False)
    ways: list[list[Way]] = field(init=False)

    def __post_init__(self) -> None:
        self.emitters = [Emitter(self.core, self.objective, self.memory) for _ in range(self.cores)]
        self.steps = [(0,) * self.cores]
        self.ways = [[] for _ in range(self.cores)]

    def note(self, pieces: Sequence[Piece]) -> None:
        """End a step; `pieces` are what the cores that did something in it did."""
        self.steps.append(tuple(len(emitter) for emitter in self.emitters))
        for piece in pieces:
            records, ways = self.emitters[piece.core].layers, self.ways[piece.core]
            ways += [piece.way] * (len(records) - len(ways))


@dataclass(frozen=True, slots=True)
class _Code:
    """Instructions of a core before they are cut."""

    opcodes: Ints
    columns: dict[str, Ints]
    accesses: Accesses
    layer_of: NDArray[np.int32]


def assemble_cores(
    work: Work, network: Network, ends: Mapping[str, TensorPlace], places: Mapping[str, TensorPlace]
) -> tuple[Program, tuple[Mapped, ...]]:  # fmt: skip
    """Return the Program, without the fingerprint of a config, and the mappings in it by its layer numbers."""
    codes, first = [], 0
    mapped: list[Mapped] = []
    for emitter in work.emitters:
        opcodes, columns = emitter.opcodes(), emitter.columns()
        layer_of = np.where(emitter.layer_of() < 0, -1, emitter.layer_of() + first).astype(np.int32)
        codes.append(_Code(opcodes, columns, derive_accesses(opcodes, columns, work.core), layer_of))
        mapped += [replace(each, layer=each.layer + first) for each in emitter.mapped]
        first += len(emitter.layers)
    cuts = stage_cuts([code.accesses for code in codes], work.steps)
    cuts = [cuts[0], *prefetched(codes, cuts[1:-1]), cuts[-1]]
    segments, count = _segments(work.core, cuts)
    layout = work.memory.layout(count)
    instructions = np.zeros((count, INSTRUCTION_BYTES), np.uint8)
    layer_of = np.full(count, -1, np.int32)
    following = {(segment.core, segment.stage): segment for segment in segments}
    for segment in segments:
        low, high = cuts[segment.stage][segment.core], cuts[segment.stage + 1][segment.core]
        rows = slice(segment.first, segment.first + segment.count)
        after = following.get((segment.core, segment.stage + 1))
        instructions[rows] = _encoded(codes[segment.core], low, high, layout, after)
        layer_of[rows][:-1] = codes[segment.core].layer_of[low:high]
    layers: tuple[LayerRecord, ...] = tuple(record for emitter in work.emitters for record in emitter.layers)
    fixed = {*network.inputs, *network.outputs}
    program = Program(
        name=network.name, config_name=work.core.name, config_fingerprint="", instructions=instructions,
        image=work.memory.image(), regions=layout.regions,
        inputs=tuple(layout.binding(ends[name]) for name in network.inputs),
        outputs=tuple(layout.binding(ends[name]) for name in network.outputs),
        intermediates=tuple(
            replace(layout.binding(place), name=name)
            for name, place in places.items()
            if place.name not in fixed and place.is_contiguous and not place.on_chip
        ),
        layers=layers, layer_of=layer_of,
        streams=Streams(cores=work.cores, segments=segments, ways=tuple(way for ways in work.ways for way in ways)),
    )  # fmt: skip
    return program, tuple(mapped)


def _segments(core: SparseAccelerator, cuts: Sequence[Sequence[int]]) -> tuple[tuple[Segment, ...], int]:
    """Return the segments, each from the beginning of a burst of FETCH on, and the instructions of all of them."""
    longest = burst_bytes(
        data_bits=core.axi.data_bits, burst_beats=core.axi.burst_beats, interleave_bytes=core.off_chip.interleave_bytes
    )
    unit = max(1, min(longest, FETCH_BURST_BYTES) // INSTRUCTION_BYTES)
    segments, at = [], 0
    for number in range(len(cuts[0])):
        for stage in range(len(cuts) - 1):
            at = ceil_div(at, unit) * unit
            count = cuts[stage + 1][number] - cuts[stage][number] + 1
            segments.append(Segment(core=number, stage=stage, first=at, count=count))
            at += count
    return tuple(segments), at


def _encoded(code: _Code, low: int, high: int, layout: OffChipLayout, after: Segment | None) -> NDArray[np.uint8]:
    """Return instructions [low, high) of a core and the BARRIER or END behind them; tokens are of these alone."""
    opcodes = np.append(code.opcodes[low:high], Opcode.END if after is None else Opcode.BARRIER)
    columns = {name: np.append(column[low:high], 0) for name, column in code.columns.items() if name != PARAMETER_BYTES}
    wait, release = derive_tokens(engine_numbers(opcodes), _cut(code.accesses, low, high))
    if "dram" in columns:
        moves = (opcodes == Opcode.LOAD) | (opcodes == Opcode.STORE)
        columns["dram"] = np.where(moves, layout.relocate(columns["dram"]), 0)
    columns["next"], columns["count"] = np.zeros_like(opcodes), np.zeros_like(opcodes)
    if after is not None:
        columns["next"][-1], columns["count"][-1] = after.first * INSTRUCTION_BYTES, after.count
    return encode_columns(opcodes, {**columns, "wait": wait, "release": release})


def _cut(accesses: Accesses, low: int, high: int) -> Accesses:
    """Return the accesses of instructions [low, high), and none of one more."""
    result = Accesses(high - low + 1)
    for name in ("space", "low", "high", "writes"):
        getattr(result, name)[:-1] = getattr(accesses, name)[low:high]
    return result


def stage_cuts(accesses: Sequence[Accesses], steps: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Return how far every core is at the beginning of each stage, and at the end. `steps`: after every step."""
    cuts, cores = [tuple(steps[0])], range(len(accesses))
    touched: list[list[list[Ranges]]] = [[[], []] for _ in cores]
    for before, after in pairwise(steps):
        own = [[_off_chip(accesses[core], before[core], after[core], writes) for writes in (0, 1)] for core in cores]
        if any(_conflict(own[one], touched[other]) for one in cores for other in cores if one != other):
            cuts.append(tuple(before))
            touched = [[[], []] for _ in cores]
        for core in cores:
            for writes in (0, 1):
                touched[core][writes].append(own[core][writes])
    return [*cuts, tuple(steps[-1])]


def prefetched(codes: Sequence[_Code], cuts: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Return the cuts at barriers moved behind LOADs of weights, which then come before the barrier.

    Of the LOADs that a core begins a stage with, those of constant weights and indices are brought to the front: they
    touch no byte that is ever written, and no buffer that the others fill.
    """
    moved: list[tuple[int, ...]] = []
    for cut in cuts:
        least = moved[-1] if moved else (0,) * len(codes)
        moved.append(tuple(_weights_first(code, max(at, low)) for code, at, low in zip(codes, cut, least, strict=True)))
    return moved


def _weights_first(code: _Code, first: int) -> int:
    """Bring constant weights to the front of the LOADs from `first` on; return the place behind them."""
    others = np.flatnonzero(code.opcodes[first:] != Opcode.LOAD)
    stop = first + int(others[0]) if others.size else len(code.opcodes)
    if stop == first:
        return first
    weights = np.isin(code.columns["space"][first:stop], (Space.WEIGHT, Space.INDEX))
    varying = np.flatnonzero(weights & (code.columns["dram"][first:stop] >= ACTIVATION_BASE))
    chosen = weights & (np.arange(stop - first) < (varying[0] if varying.size else stop))
    order = first + np.argsort(~chosen, kind="stable")
    accesses = code.accesses
    for column in (*code.columns.values(), accesses.space, accesses.low, accesses.high, accesses.writes):
        column[first:stop] = column[order]
    code.layer_of[first:stop] = code.layer_of[order]
    return first + int(chosen.sum())


def _off_chip(accesses: Accesses, low: int, high: int, writes: int) -> Ranges:
    """Return what instructions [low, high) read, or write, of the off-chip memory that is ever written."""
    chosen = (accesses.space[low:high] == OFF_CHIP) & (accesses.writes[low:high] == writes)
    starts, stops = accesses.low[low:high][chosen], accesses.high[low:high][chosen]
    if not starts.size:
        return starts, stops
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(stops[order])
    heads = np.flatnonzero(np.concatenate([[True], starts[1:] > reach[:-1]]))
    return starts[heads], reach[np.append(heads[1:] - 1, reach.size - 1)]


def _conflict(own: Sequence[Ranges], touched: Sequence[Sequence[Ranges]]) -> bool:
    """Return whether what one core does now meets what another did, one of them writing."""
    reads, writes = own
    return any(_meet(writes, each) for kind in touched for each in kind) or any(
        _meet(reads, each) for each in touched[1]
    )


def _meet(one: Ranges, other: Ranges) -> bool:
    """Return whether any two ranges overlap."""
    if not one[0].size or not other[0].size:
        return False
    first = np.searchsorted(other[1], one[0], side="right")  # the first range that ends behind this one's start
    inside = first < other[0].size
    return bool((other[0][first[inside]] < one[1][inside]).any())
