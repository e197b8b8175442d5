"""Cost a shape for the array under many capacities of the buffers at once.

What buffers hold decides which tilings are legal, not what a legal one takes. So the tilings that the largest buffers
allow, few of them (`COARSE`), are listed once, with lower bounds of their cycles and what they may well take
(`gossamer.mapper.mapping_bound`); for each design a kernel finds the first `BEAM` in the order of either that fit it;
and those whose bounds do not rule them out are costed by the analytic model, once each. The search of
`gossamer.mapper.tiling` goes on to the proof: docs/decisions/0020 says what the difference is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import SLOTS, ConvMapping, ConvShape
from gossamer.mapper.mapping_bound import (
    ACCUMULATOR,
    ACTIVATION,
    INDEX_ROWS,
    LOADED,
    PARAMETER,
    WEIGHT_ROWS,
    WRITTEN,
    fits_tile,
    fits_weights,
    sum_entries,
    tile_bytes,
    weight_rows,
)
from gossamer.mapper.mapping_counts import COUNTS, count_one
from gossamer.mapper.tiling import Chip, Space, block_kinds, layer_numbers
from gossamer.sim import engine
from gossamer.sim.analytic import LayerModel
from gossamer.sim.jobs import DEPENDS, NONE
from gossamer.sim.kernels import kernel
from gossamer.sim.offchip import TICKS_PER_CYCLE

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BEAM = 8
"""Tilings that are costed exactly, at most."""

COARSE = True
"""Whether tiles are halves of halves of an axis only: a quarter of the tilings."""

CAPACITIES = (ACTIVATION, LOADED, WRITTEN, WEIGHT_ROWS, INDEX_ROWS, ACCUMULATOR, PARAMETER)
"""What a config offers that says which tilings are legal."""

CYCLES, HEAD, FIRST, TAIL, LAST, TILES, TIMES = range(7)
"""Columns of the times of costs."""


# What a tiling needs: columns of `needs` int64 [n, NEEDS].
ROWS, SUMS, LOADS, RESULTS, NEEDS = range(5)


@kernel(allocates=False)
def needs_of(layer: Ints, chip: Ints, choices: Ints, needs: Ints) -> None:
    """Fill needs int64 [n, NEEDS] of choices int64 [n, CHOICE]: what they need of the buffers."""
    for number in range(choices.shape[0]):
        choice = choices[number]
        needs[number, ROWS], needs[number, SUMS] = weight_rows(layer, choice), sum_entries(layer, chip, choice)
        needs[number, LOADS], needs[number, RESULTS] = tile_bytes(layer, chip, choice)


@kernel(allocates=False)
def _fits(layer: Ints, chip: Ints, need: Ints) -> bool:
    """Return whether a design has what a tiling needs."""
    if need[SUMS] > chip[ACCUMULATOR] or not fits_weights(layer, chip, need[ROWS]):
        return False
    return bool(fits_tile(chip, need[LOADS], need[RESULTS]))


@kernel(allocates=False)
def first_legal(layer: Ints, chips: Ints, needs: Ints, orders: Ints, at: Ints, found: Ints) -> None:
    """Fill found int64 [designs, n] with the numbers of the first tilings that fit each design, -1 behind the last.

    chips int64 [designs, CHIP]; orders int64 [2, m]: all tilings as they are tried, from either in turn; at int64 [2]
    is scratch.
    """
    found[:] = -1
    for design in range(chips.shape[0]):
        count, turn = 0, 0
        at[:] = 0
        while count < found.shape[1] and max(at[0], at[1]) < needs.shape[0]:
            while at[turn] < needs.shape[0]:
                tiling = orders[turn, at[turn]]
                at[turn] += 1
                if not _fits(layer, chips[design], needs[tiling]):
                    continue
                new = True
                for other in range(count):
                    new = new and found[design, other] != tiling
                if new:
                    found[design, count] = tiling
                    count += 1
                    break
            turn = 1 - turn


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """What designs take for some work: `times` float64 [designs, TIMES] in cycles, counts int64 [designs, COUNTS].

    CYCLES: of the work alone, infinite if it cannot be done. HEAD: before its first LOAD of an input; FIRST: before its
    first COMPUTE; TAIL: after its last LOAD, while the channels are free; LAST: after its last COMPUTE; TILES: parts of
    the result that are done one after the other.
    """

    times: Floats
    counts: Ints

    @classmethod
    def none(cls, designs: int) -> "Costs":
        """Return those of nothing."""
        return cls(np.zeros((designs, TIMES)), np.zeros((designs, COUNTS), dtype=np.int64))

    def then(self, other: "Costs") -> "Costs":
        """Return those of this work and another that reads its result.

        LOADs of the other run from the last LOAD of this one on: those it does not wait for, or, if both go tile by
        tile, also those of its first tiles, which were done long ago.
        """
        before, after = self.times, other.times
        tiled = (before[:, TILES] > 1) & (after[:, TILES] > 1)
        sooner = np.where(tiled, before[:, LAST] + after[:, FIRST], after[:, HEAD])
        times = after.copy()
        times[:, CYCLES] += before[:, CYCLES] - np.minimum(before[:, TAIL], sooner)
        nothing = (before[:, CYCLES] == 0)[:, None]
        times[:, (HEAD, FIRST)] = np.where(nothing, after[:, (HEAD, FIRST)], before[:, (HEAD, FIRST)])
        return Costs(times, self.counts + other.counts)

    def or_better(self, other: "Costs") -> "Costs":
        """Return for each design those of the work that takes fewer cycles."""
        return self.where(other.times[:, CYCLES] < self.times[:, CYCLES], other)

    def where(self, others: NDArray[np.bool_], other: "Costs") -> "Costs":
        """Return those of the other work for the designs `others`, bool [designs]."""
        which = others[:, None]
        return Costs(np.where(which, other.times, self.times), np.where(which, other.counts, self.counts))

    def take(self, designs: Ints) -> "Costs":
        """Return those of some designs, or of designs several times."""
        return Costs(self.times[designs], self.counts[designs])


def shape_costs(shape: ConvShape, spec: SparseAccelerator, apart: Ints, anywhere: Ints) -> Costs:
    """Return what designs take for a shape.

    apart int64 [designs, CHIP]: the designs, loads and results in halves of the activation buffer; anywhere: those for
    which nothing fits then. They differ in CAPACITIES only; spec: any of the designs.
    """
    costs = Costs.none(len(apart))
    costs.times[:, CYCLES] = np.inf
    for chips in (apart, anywhere):
        room = chips[:, PARAMETER] - shape.joined_bytes
        resident = len(shape.blocks) * shape.parameter_bytes <= room
        possible = ~np.isfinite(costs.times[:, CYCLES]) & (resident | (SLOTS * shape.parameter_bytes <= room))
        for designs in (np.flatnonzero(possible & resident), np.flatnonzero(possible & ~resident)):
            if designs.size:
                _cost(shape, spec, chips[designs], designs, costs)
    return costs


def _cost(shape: ConvShape, spec: SparseAccelerator, chips: Ints, designs: Ints, costs: Costs) -> None:
    """Fill the costs of designs, which all hold the parameters of a shape, or all do not."""
    largest = chips[0].copy()
    largest[list(CAPACITIES)] = chips[:, CAPACITIES].max(axis=0)
    chip = Chip(tuple(largest.tolist()))
    space = Space(shape, chip, coarse=COARSE)
    layer, kinds = layer_numbers(shape, chip, space.resident), block_kinds(shape)
    needs = np.empty((len(space.choices), NEEDS), dtype=np.int64)
    needs_of(layer, largest, space.choices, needs)
    orders = np.stack([np.arange(len(needs)), np.argsort(space.likely, kind="stable")])
    found = np.empty((len(chips), BEAM), dtype=np.int64)
    first_legal(layer, chips, needs, orders, np.zeros(2, dtype=np.int64), found)
    model = LayerModel(shape, spec)
    known: dict[int, tuple[float, ...]] = {}
    best: tuple[float, ...]
    alike: dict[bytes, list[int]] = {}  # designs by their tilings: much faster than numpy's unique rows
    for design, tilings in enumerate(found):
        alike.setdefault(tilings.tobytes(), []).append(design)
    for same in alike.values():
        tilings = found[same[0]]
        best, chosen = (np.inf,), -1
        for tiling in tilings[tilings >= 0].tolist():
            if space.bound[tiling] >= best[CYCLES]:
                continue
            if tiling not in known:
                known[tiling] = _times(model, space.mapping(tiling))
            if known[tiling][CYCLES] < best[CYCLES]:
                best, chosen = known[tiling], tiling
        if chosen >= 0:
            mine = designs[same]
            costs.times[mine] = best
            one = np.zeros(COUNTS, dtype=np.int64)
            count_one(layer, kinds, largest, space.choices[chosen], one)
            costs.counts[mine] = one


def _times(model: LayerModel, mapping: ConvMapping) -> tuple[float, ...]:
    """Return the times of a mapping."""
    jobs = model.jobs(mapping)
    cycles, times, traffic = model.run_traffic(jobs)
    computes, loads, stores = (jobs[:, engine.ENGINE] == each for each in (engine.COMPUTE, engine.LOAD, engine.STORE))
    first = int(np.argmax(computes))
    waited = int(jobs[first, DEPENDS])  # a COMPUTE waits for its input first, unless all of it is on chip
    last = times[loads, engine.COMPLETED].max()
    stored = traffic[stores & (times[:, engine.COMPLETED] > last), engine.BEATS].sum()
    busy = stored * model.memory.beat_ticks / (TICKS_PER_CYCLE * model.memory.channels)
    return (
        float(cycles),
        float(times[first if waited == NONE else waited, engine.STARTED]),
        float(times[first, engine.STARTED]),
        max(0.0, float(cycles - last - busy)),
        float(cycles - times[computes, engine.COMPLETED].max()),
        float(mapping.tile_count),
    )
