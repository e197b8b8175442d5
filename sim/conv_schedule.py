"""List the jobs of a mapped multiply-accumulate layer without generating its code.

The schedule is what `gossamer.dataflow.mapping` describes: loads of a step before the compute of the step before it,
into the other slot; loads of the next outer iteration spread over the steps of this one. Only shapes and slots matter
here, so the whole list is made by one kernel. Compared with generated code by tests/cross/test_analytic_agreement.py.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.isa import INSTRUCTION_BYTES
from gossamer.sim.conv_layout import (
    BATCH,
    BLOCK_PARTS,
    GROUP,
    INDEX_BITS,
    JOINED_AT,
    JOINED_BYTES,
    ONE,
    OUT_COLUMNS,
    OUT_ROWS,
    REGIONS,
    RESIDENT,
    SHARED,
    SOURCE_ON_CHIP,
    SPLIT_ENTRIES,
    TILE_COLUMNS,
    TILE_ENTRIES,
    TILE_ROWS,
    ZERO,
    cut_reductions,
    cut_tiles,
    most_parts,
    place_regions,
)
from gossamer.sim.conv_steps import (
    CONTENTS,
    COUNT,
    END,
    ENTRY_COLUMNS,
    FULL,
    HELD,
    IN_KEY,
    IN_USED,
    LOAD,
    P_USED,
    PLACE,
    SLOTS,
    STEP,
    STEP_BLOCK,
    STEP_END,
    STEP_FIRST,
    STEP_GIVEN,
    STEP_PART,
    STEP_PARTS,
    STEP_TILE,
    W_USED,
    append_job,
    append_step,
    append_work,
    load_input,
    load_plane,
    place_weights,
)
from gossamer.sim.conv_transfers import describe_rows, piece_count
from gossamer.sim.durations import ceil_ratio
from gossamer.sim.engine import ADDRESS
from gossamer.sim.jobs import NONE
from gossamer.sim.kernels import kernel

INPUT_CHUNKS = 8
"""Parts at most that a background load of an input tile is cut into."""


@kernel(allocates=False)
def _plan_ahead(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], tiles: NDArray[np.int64], splits: NDArray[np.int64],
    place: NDArray[np.int64], held: NDArray[np.int64], weights: NDArray[np.int64], entries: NDArray[np.int64],
    outer: int, weight_slots: int, share: int,
) -> tuple[int, int]:  # fmt: skip
    """Give the next outer iteration its slot; return the number of LOADs to spread over this one, and the slot."""
    if layer[RESIDENT]:
        slot = (place[W_USED] + 1) % weight_slots
        first, end = outer * layer[GROUP], min(blocks.shape[0], (outer + 1) * layer[GROUP])
        count = place_weights(layer, blocks, splits, held, weights, entries, slot, first, first, end, ZERO, ZERO)
        return count * (2 if layer[INDEX_BITS] else 1), slot
    if layer[SOURCE_ON_CHIP] or not layer[SHARED] or splits.shape[1] > 1:
        return 0, 0
    slot = (place[IN_USED] + 1) % SLOTS
    held[IN_KEY, slot] = outer
    return piece_count(layer, tiles[outer], splits[0, 0], min(INPUT_CHUNKS, share)), slot


@kernel(allocates=False)
def _append_ahead(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], tiles: NDArray[np.int64], splits: NDArray[np.int64],
    regions: NDArray[np.int64], jobs: NDArray[np.int64], place: NDArray[np.int64], held: NDArray[np.int64],
    weights: NDArray[np.int64], cursor: NDArray[np.int64], slot: int, outer: int, share: int, at: int,
) -> None:  # fmt: skip
    """Append LOAD number `at` of those spread over an outer iteration.

    cursor int64 [2]: block and part of the next weight segment, in the order of `place_weights`.
    """
    if not layer[RESIDENT]:
        chunks = min(INPUT_CHUNKS, share)
        load_input(layer, blocks, tiles, splits, regions, jobs, place, held, slot, outer, ZERO, ZERO, chunks, at)
        return
    planes = 2 if layer[INDEX_BITS] else 1
    first, end = outer * layer[GROUP], min(blocks.shape[0], (outer + 1) * layer[GROUP])
    while cursor[1] >= blocks[cursor[0], BLOCK_PARTS]:
        _advance(cursor, first, end)
    load_plane(
        layer, blocks, splits, jobs, place, held, weights, slot, at // planes, cursor[0], cursor[1], at % planes == 1
    )
    if at % planes == planes - 1:
        _advance(cursor, first, end)


@kernel(allocates=False)
def _advance(cursor: NDArray[np.int64], first: int, end: int) -> None:
    """Go on to the next block of a group, after the last one to the next part."""
    cursor[0] += 1
    if cursor[0] == end:
        cursor[0] = first
        cursor[1] += 1


@kernel(allocates=False)
def _finish(jobs: NDArray[np.int64], place: NDArray[np.int64]) -> int:
    """Append END and put all addresses behind the instructions; return the number of jobs, or FULL."""
    if append_job(jobs, place, END, NONE, NONE, NONE) == FULL:
        return FULL
    count = place[COUNT]
    for at in range(count):
        jobs[at, ADDRESS] += count * INSTRUCTION_BYTES
    return int(count)


@kernel(allocates=False)
def _step_count(layer: NDArray[np.int64], blocks: NDArray[np.int64], outer: int, inner_count: int) -> int:
    """Return the steps of an outer iteration."""
    if layer[RESIDENT]:
        first, end = outer * layer[GROUP], min(blocks.shape[0], (outer + 1) * layer[GROUP])
    else:
        first, end = 0, blocks.shape[0]
    steps = 0
    for block in range(first, end):
        steps += blocks[block, BLOCK_PARTS]
    return int(steps * inner_count) if layer[RESIDENT] else int(steps)


@kernel(allocates=False)
def _run_loops(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], tiles: NDArray[np.int64], splits: NDArray[np.int64],
    regions: NDArray[np.int64], jobs: NDArray[np.int64], place: NDArray[np.int64], held: NDArray[np.int64],
    weights: NDArray[np.int64], entries: NDArray[np.int64], step: NDArray[np.int64], pending: NDArray[np.int64],
    cursor: NDArray[np.int64],
) -> None:  # fmt: skip
    """Append the jobs of every step, as `ConvEmitter.emit` does."""
    block_count, groups = blocks.shape[0], ceil_ratio(blocks.shape[0], layer[GROUP])
    outer_count, inner_count = groups, tiles.shape[0]
    if not layer[RESIDENT]:
        outer_count, inner_count = inner_count, outer_count
    weight_slots = 1 if layer[RESIDENT] and groups == 1 else SLOTS
    place[IN_USED], place[P_USED], place[W_USED] = SLOTS - 1, SLOTS - 1, weight_slots - 1
    if layer[JOINED_BYTES] > 0:
        at = append_job(jobs, place, LOAD, NONE, NONE, NONE)
        describe_rows(jobs, at, regions[JOINED_AT], ONE, layer[JOINED_BYTES], layer[JOINED_BYTES])
    for outer in range(outer_count):
        share = _step_count(layer, blocks, outer, inner_count) - 1
        position, ahead_count, ahead_done, ahead_slot = 0, 0, 0, 0
        for inner in range(inner_count):
            group, step[STEP_TILE] = outer, inner
            if not layer[RESIDENT]:
                group, step[STEP_TILE] = inner, outer
            step[STEP_FIRST], step[STEP_END] = group * layer[GROUP], min(block_count, (group + 1) * layer[GROUP])
            step[STEP_PARTS] = most_parts(blocks, step[STEP_FIRST], step[STEP_END])
            for part in range(step[STEP_PARTS]):
                for block in range(step[STEP_FIRST], step[STEP_END]):
                    if part >= blocks[block, BLOCK_PARTS]:
                        continue
                    step[STEP_BLOCK], step[STEP_PART], step[STEP_GIVEN] = block, part, 1
                    append_step(
                        layer, blocks, tiles, splits, regions, jobs, place, held, weights, entries, step, pending,
                        weight_slots,
                    )  # fmt: skip
                    if position == 0 and share > 0 and outer + 1 < outer_count:
                        ahead_count, ahead_slot = _plan_ahead(
                            layer, blocks, tiles, splits, place, held, weights, entries, outer + 1, weight_slots, share
                        )
                        cursor[0], cursor[1] = (outer + 1) * layer[GROUP], 0
                    position += 1
                    while position <= share and ahead_done < ahead_count * position // share:
                        _append_ahead(
                            layer, blocks, tiles, splits, regions, jobs, place, held, weights, cursor, ahead_slot,
                            outer + 1, share, ahead_done,
                        )  # fmt: skip
                        ahead_done += 1
    append_work(layer, blocks, tiles, splits, regions, jobs, place, held, weights, pending)


@kernel
def conv_jobs(layer: NDArray[np.int64], blocks: NDArray[np.int64], jobs: NDArray[np.int64]) -> int:
    """Fill `jobs` int64 [n, JOB_COLUMNS] with a layer's jobs in program order; return their number, or FULL."""
    block_count = blocks.shape[0]
    count = layer[BATCH] * ceil_ratio(layer[OUT_ROWS], layer[TILE_ROWS]) * ceil_ratio(
        layer[OUT_COLUMNS], layer[TILE_COLUMNS]
    )  # fmt: skip
    most = most_parts(blocks, ZERO, block_count)
    tiles = np.zeros((count, TILE_ENTRIES), dtype=np.int64)
    splits = np.zeros((block_count, most, SPLIT_ENTRIES), dtype=np.int64)
    regions = np.zeros(REGIONS, dtype=np.int64)
    cut_tiles(layer, tiles)
    cut_reductions(layer, blocks, splits)
    place_regions(layer, blocks, splits, regions)
    held = np.full((HELD, max(SLOTS * layer[GROUP], block_count, SLOTS)), NONE, dtype=np.int64)
    group_entries = layer[GROUP] * most if layer[RESIDENT] else 1
    weights = np.full((SLOTS, CONTENTS, group_entries, ENTRY_COLUMNS), NONE, dtype=np.int64)
    entries = np.zeros((SLOTS, layer[GROUP], most), dtype=np.int64)
    place, cursor = np.zeros(PLACE, dtype=np.int64), np.zeros(2, dtype=np.int64)
    step, pending = np.zeros(STEP, dtype=np.int64), np.zeros(STEP, dtype=np.int64)
    _run_loops(
        layer, blocks, tiles, splits, regions, jobs, place, held, weights, entries, step, pending, cursor
    )  # fmt: skip
    return _finish(jobs, place)
