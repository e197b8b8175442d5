"""Cost a shape for the array under many capacities of the buffers at once.

What buffers hold decides which tilings are legal, not what a legal one takes. So all tilings that the largest buffers
allow are listed once, in the order of their lower bounds (`gossamer.mapper.mapping_bound`); for each design a kernel
finds the first that fit it; and those are costed by the analytic model, once each, until a bound says that no later one
is better, or `BEAM` are costed. The search of `gossamer.mapper.tiling` goes on to the proof: docs/sweeps.md says what
the difference is.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import SLOTS, ConvShape
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
from gossamer.sim.analytic import LayerModel
from gossamer.sim.kernels import kernel

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BEAM = 12
"""Tilings that are costed exactly, at most, in the order of their bounds."""

CAPACITIES = (ACTIVATION, LOADED, WRITTEN, WEIGHT_ROWS, INDEX_ROWS, ACCUMULATOR, PARAMETER)
"""What a config offers that says which tilings are legal."""


@kernel(allocates=False)
def first_legal(layer: Ints, chips: Ints, choices: Ints, found: Ints) -> None:
    """Fill found int64 [designs, n] with the numbers of the first choices that fit each design, -1 behind the last.

    chips int64 [designs, CHIP]; choices int64 [m, CHOICE] in the order in which they are tried.
    """
    found[:] = -1
    done = 0
    for number in range(choices.shape[0]):
        choice = choices[number]
        rows, sums = weight_rows(layer, choice), sum_entries(layer, chips[0], choice)
        loaded, written = tile_bytes(layer, chips[0], choice)
        for design in range(chips.shape[0]):
            chip = chips[design]
            if found[design, -1] >= 0 or sums > chip[ACCUMULATOR]:
                continue
            if fits_weights(layer, chip, rows) and fits_tile(chip, loaded, written):
                at = 0
                while found[design, at] >= 0:
                    at += 1
                found[design, at] = number
                if at == found.shape[1] - 1:
                    done += 1
        if done == chips.shape[0]:
            return


def shape_costs(shape: ConvShape, spec: SparseAccelerator, chips: Ints) -> tuple[Floats, Ints]:
    """Return the cycles float64 [designs] of a shape, infinite where nothing fits, and counts int64 [designs, COUNTS].

    chips int64 [designs, CHIP] differ in CAPACITIES only; spec: any of the designs.
    """
    cycles = np.full(len(chips), np.inf)
    counts = np.zeros((len(chips), COUNTS), dtype=np.int64)
    room = chips[:, PARAMETER] - shape.joined_bytes
    resident = len(shape.blocks) * shape.parameter_bytes <= room
    possible = resident | (SLOTS * shape.parameter_bytes <= room)
    for designs in (np.flatnonzero(possible & resident), np.flatnonzero(possible & ~resident)):
        if designs.size:
            _cost(shape, spec, chips[designs], designs, cycles, counts)
    return cycles, counts


def _cost(
    shape: ConvShape, spec: SparseAccelerator, chips: Ints, designs: Ints, cycles: Floats, counts: Ints
) -> None:  # fmt: skip
    """Fill cycles and counts of designs, which all hold the parameters of a shape, or all do not."""
    largest = chips[0].copy()
    largest[list(CAPACITIES)] = chips[:, CAPACITIES].max(axis=0)
    chip = Chip(tuple(largest.tolist()))
    space = Space(shape, chip)
    layer, kinds = layer_numbers(shape, chip, space.resident), block_kinds(shape)
    found = np.empty((len(chips), BEAM), dtype=np.int64)
    first_legal(layer, chips, space.choices, found)
    model = LayerModel(shape, spec)
    known: dict[int, int] = {}
    lists, which = np.unique(found, axis=0, return_inverse=True)
    for number, tilings in enumerate(lists):
        best, chosen = np.inf, -1
        for tiling in tilings[tilings >= 0].tolist():
            if space.bound[tiling] >= best:
                break
            if tiling not in known:
                known[tiling] = model.run(model.jobs(space.mapping(tiling)))[0]
            if known[tiling] < best:
                best, chosen = known[tiling], tiling
        if chosen >= 0:
            mine = designs[which == number]
            cycles[mine] = best
            one = np.zeros(COUNTS, dtype=np.int64)
            count_one(layer, kinds, largest, space.choices[chosen], one)
            counts[mine] = one


def cheapest_shape(
    alternatives: Sequence[tuple[ConvShape, Ints, Ints]], spec: SparseAccelerator
) -> tuple[Floats, Ints]:  # fmt: skip
    """Return the cycles and counts of the best of several shapes for each design, as `shape_costs` does.

    Each shape comes with chips whose loads and results lie in halves of the activation buffer, and, for designs that
    nothing fits then, with chips where they may lie anywhere.
    """
    best: tuple[Floats, Ints] | None = None
    for shape, apart, anywhere in alternatives:
        cycles, counts = shape_costs(shape, spec, apart)
        left = np.flatnonzero(~np.isfinite(cycles))
        if left.size:
            cycles[left], counts[left] = shape_costs(shape, spec, anywhere[left])
        if best is None:
            best = cycles, counts
            continue
        better = cycles < best[0]
        best[0][better], best[1][better] = cycles[better], counts[better]
    assert best is not None
    return best
