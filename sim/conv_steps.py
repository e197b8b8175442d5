"""Append the jobs of one step of a multiply-accumulate layer: its loads, COMPUTE, REQUANTIZE and STORE.

A job waits for the latest earlier job of another engine that uses the same bytes on chip. Operands have two slots
(ping-pong); `held` and `weights` remember what each slot holds and which jobs used it last.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.isa import Opcode
from gossamer.sim import engine
from gossamer.sim.conv_layout import (
    ALL_PARAMETERS,
    BLOCK_CHANNELS,
    BLOCK_FIRST,
    BLOCK_PARTS,
    BLOCK_WORD,
    CHAIN_LENGTH,
    CHAINS,
    DILATION_X,
    GROUP,
    GROUP_SIZE,
    INDEX_BITS,
    INDICES_AT,
    INPUT_AT,
    JOINED,
    JOINED_BYTES,
    LANES,
    ONE,
    OPERAND_AT,
    OPERAND_ON_CHIP,
    OUTPUT_AT,
    PARAMETER_BYTES,
    PARAMETERS_AT,
    RESIDENT,
    SHARED,
    SOURCE_ON_CHIP,
    SPLIT_DEPTH,
    SPLIT_HEIGHT,
    SPLIT_WIDTH,
    STEPS,
    TARGET_ON_CHIP,
    TILE_HEIGHT,
    TILE_WIDTH,
    VALUES_AT,
    VECTOR_LANES,
    WEIGHT_RATE,
    WEIGHT_ROWS,
    WORDS,
    ZERO,
    most_parts,
    row_bytes,
)
from gossamer.sim.conv_transfers import describe_input, describe_output, describe_rows
from gossamer.sim.durations import ceil_ratio, compute_duration, vector_duration
from gossamer.sim.engine import DURATION, ENGINE
from gossamer.sim.jobs import DEPENDS, JOB_COLUMNS, NONE
from gossamer.sim.kernels import kernel

SLOTS = 2
_numbers: Any = [
    np.int64(number)
    for number in (
        engine.LOAD, engine.COMPUTE, engine.VECTOR, engine.STORE, engine.END, Opcode.REQUANTIZE, Opcode.REQUANTIZE_ADD,
        Opcode.MULTIPLY,
    )
]  # fmt: skip
LOAD, COMPUTE, VECTOR, STORE, END, REQUANTIZE_OPCODE, ADDING_OPCODE, JOIN_OPCODE = _numbers
"""Not Python ints, see `gossamer.sim.engine.UNKNOWN`."""
FULL = -1
"""Returned when the job array is too small."""

# Rows of `held` int64 [HELD, n]: what the slots hold and which job loaded, read or stored it last. W_NEXT: first entry
# of a weight slot's previous content that loads may still overwrite.
(IN_KEY, IN_LOAD, IN_READ, W_KEY, W_NEXT, P_KEY, P_LOAD, P_READ, SUM_READ, OUT_STORE, OPERAND_LOAD, OPERAND_READ,
 HELD) = range(13)  # fmt: skip
# Axes of `weights` int64 [SLOTS, CONTENTS, entries, ENTRY_COLUMNS]: the segments a weight slot holds and those it held
# before, in the order of their rows.
CURRENT, PREVIOUS, CONTENTS = range(3)
FIRST_ROW, END_ROW, LOADED, READ, ENTRY_COLUMNS = range(5)
# Entries of `place`.
IN_USED, W_USED, P_USED, COUNT, SUM_TURN, OUT_TURN, OPERAND_TURN, PLACE = range(8)
# Entries of `step`: tile, first and last + 1 block of the group, block, part, slots of input, weights and parameters,
# entry of the weight slot, whether there is a step, most parts of any block of the group.
(STEP_TILE, STEP_FIRST, STEP_END, STEP_BLOCK, STEP_PART, STEP_INPUT, STEP_WEIGHTS, STEP_PARAMETERS, STEP_ENTRY,
 STEP_GIVEN, STEP_PARTS, STEP) = range(12)  # fmt: skip


@kernel(allocates=False)
def append_job(jobs: NDArray[np.int64], place: NDArray[np.int64], owner: int, a: int, b: int, c: int) -> int:
    """Append a job that waits for jobs a, b, c; return its number, or FULL."""
    at = place[COUNT]
    if at >= jobs.shape[0]:
        return FULL
    for column in range(JOB_COLUMNS):
        jobs[at, column] = 0
    jobs[at, ENGINE] = owner
    jobs[at, DEPENDS], jobs[at, DEPENDS + 1], jobs[at, DEPENDS + 2] = a, b, c
    place[COUNT] = at + 1
    return int(at)


# Weights


@kernel(allocates=False)
def _add_entry(
    splits: NDArray[np.int64], weights: NDArray[np.int64], slot: int, entry: int, row: int, block: int, part: int
) -> int:
    """Give a segment rows from `row` on in a weight slot; return the row after its last."""
    end = row + splits[block, part, WEIGHT_ROWS]
    weights[slot, CURRENT, entry, FIRST_ROW], weights[slot, CURRENT, entry, END_ROW] = row, end
    return int(end)


@kernel(allocates=False)
def place_weights(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], splits: NDArray[np.int64], held: NDArray[np.int64],
    weights: NDArray[np.int64], entries: NDArray[np.int64], slot: int, key: int, first: int, end: int, block: int,
    part: int,
) -> int:  # fmt: skip
    """Give a weight slot new content: the segments of a group if weights stay, else one; return how many.

    entries int64 [SLOTS, blocks of a group, parts]: numbers of the segments.
    """
    held[W_KEY, slot], held[W_NEXT, slot] = key, 0
    for entry in range(weights.shape[2]):
        for column in range(ENTRY_COLUMNS):
            weights[slot, PREVIOUS, entry, column] = weights[slot, CURRENT, entry, column]
            weights[slot, CURRENT, entry, column] = NONE
    if not layer[RESIDENT]:
        _add_entry(splits, weights, slot, ZERO, ZERO, block, part)
        return 1
    row, count = ZERO, ZERO
    for other in range(most_parts(blocks, first, end)):
        for member in range(first, end):
            if other < blocks[member, BLOCK_PARTS]:
                row = _add_entry(splits, weights, slot, count, row, member, other)
                entries[slot, member - first, other] = count
                count += 1
    return int(count)


@kernel(allocates=False)
def _last_reader(held: NDArray[np.int64], weights: NDArray[np.int64], slot: int, entry: int) -> int:
    """Return the latest COMPUTE that read what a segment overwrites; segments are loaded in the order of their rows."""
    first, end = weights[slot, CURRENT, entry, FIRST_ROW], weights[slot, CURRENT, entry, END_ROW]
    latest = NONE
    for old in range(held[W_NEXT, slot], weights.shape[2]):
        if weights[slot, PREVIOUS, old, FIRST_ROW] == NONE or weights[slot, PREVIOUS, old, FIRST_ROW] >= end:
            break
        if weights[slot, PREVIOUS, old, END_ROW] <= first:
            held[W_NEXT, slot] = old + 1
        else:
            latest = max(latest, weights[slot, PREVIOUS, old, READ])
    return int(latest)


@kernel(allocates=False)
def load_plane(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], splits: NDArray[np.int64], jobs: NDArray[np.int64],
    place: NDArray[np.int64], held: NDArray[np.int64], weights: NDArray[np.int64], slot: int, entry: int, block: int,
    part: int, indices: bool,
) -> None:  # fmt: skip
    """Append the LOAD of the values or the indices of a segment."""
    at = append_job(jobs, place, LOAD, _last_reader(held, weights, slot, entry), NONE, NONE)
    weights[slot, CURRENT, entry, LOADED] = at
    rows = weights[slot, CURRENT, entry, END_ROW] - weights[slot, CURRENT, entry, FIRST_ROW]
    bits, address = 8, splits[block, part, VALUES_AT]
    if indices:
        bits, address = layer[INDEX_BITS], splits[block, part, INDICES_AT]
    bytes_of_row = row_bytes(layer, blocks[block, BLOCK_CHANNELS]) * bits // 8
    describe_rows(jobs, at, address, rows, bytes_of_row, layer[CHAINS] * bits // 8)


@kernel(allocates=False)
def _weights_of_step(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], splits: NDArray[np.int64], jobs: NDArray[np.int64],
    place: NDArray[np.int64], held: NDArray[np.int64], weights: NDArray[np.int64], entries: NDArray[np.int64],
    step: NDArray[np.int64], weight_slots: int,
) -> None:  # fmt: skip
    """Find the weight slot of a step, and append the LOADs of its segment if it is not on chip."""
    block, part = step[STEP_BLOCK], step[STEP_PART]
    key = step[STEP_FIRST] if layer[RESIDENT] else block * splits.shape[1] + part
    slot = NONE
    for candidate in range(weight_slots):
        if held[W_KEY, candidate] == key:
            slot = candidate
    if slot == NONE:
        slot = (place[W_USED] + 1) % weight_slots
        place_weights(
            layer, blocks, splits, held, weights, entries, slot, key, step[STEP_FIRST], step[STEP_END], block, part
        )  # fmt: skip
    entry = entries[slot, block - step[STEP_FIRST], part] if layer[RESIDENT] else ZERO
    if weights[slot, CURRENT, entry, LOADED] == NONE:
        load_plane(layer, blocks, splits, jobs, place, held, weights, slot, entry, block, part, False)
        if layer[INDEX_BITS]:
            load_plane(layer, blocks, splits, jobs, place, held, weights, slot, entry, block, part, True)
    step[STEP_WEIGHTS], step[STEP_ENTRY] = slot, entry


# Parameters and input


@kernel(allocates=False)
def _parameters_of_step(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], regions: NDArray[np.int64], jobs: NDArray[np.int64],
    place: NDArray[np.int64], held: NDArray[np.int64], step: NDArray[np.int64],
) -> None:  # fmt: skip
    """Find the parameter slot of a step that completes its sums, and append the LOAD if it is not on chip."""
    block, size_bytes = step[STEP_BLOCK], layer[PARAMETER_BYTES]
    step[STEP_PARAMETERS] = block
    if layer[ALL_PARAMETERS]:
        return
    step[STEP_PARAMETERS] = 0
    if step[STEP_PART] != blocks[block, BLOCK_PARTS] - 1:
        return
    slot = NONE
    for candidate in range(SLOTS):
        if held[P_KEY, candidate] == block:
            slot = candidate
    if slot == NONE:
        slot = (place[P_USED] + 1) % SLOTS
        held[P_KEY, slot] = block
        at = append_job(jobs, place, LOAD, held[P_READ, slot], NONE, NONE)
        describe_rows(jobs, at, regions[PARAMETERS_AT] + block * size_bytes, ONE, size_bytes, size_bytes)
        held[P_LOAD, slot] = at
    step[STEP_PARAMETERS] = slot


@kernel(allocates=False)
def load_input(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], tiles: NDArray[np.int64], splits: NDArray[np.int64],
    regions: NDArray[np.int64], jobs: NDArray[np.int64], place: NDArray[np.int64], held: NDArray[np.int64], slot: int,
    number: int, block: int, part: int, chunks: int, chunk: int,
) -> None:  # fmt: skip
    """Append the LOAD of a piece of the input of a tile, cut into about `chunks`, into a slot."""
    at = append_job(jobs, place, LOAD, held[IN_READ, slot], NONE, NONE)
    describe_input(
        layer, jobs, at, regions[INPUT_AT], tiles[number], splits[block, part], blocks[block, BLOCK_WORD], chunks, chunk
    )
    held[IN_LOAD, slot] = at


@kernel(allocates=False)
def _input_of_step(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], tiles: NDArray[np.int64], splits: NDArray[np.int64],
    regions: NDArray[np.int64], jobs: NDArray[np.int64], place: NDArray[np.int64], held: NDArray[np.int64],
    step: NDArray[np.int64],
) -> None:  # fmt: skip
    """Find the input slot of a step, and append the LOAD if it is not on chip."""
    if layer[SOURCE_ON_CHIP]:
        return
    key = step[STEP_TILE] * splits.shape[1] + step[STEP_PART]
    if not layer[SHARED]:
        key = key * blocks.shape[0] + step[STEP_BLOCK]
    slot = NONE
    for candidate in range(SLOTS):
        if held[IN_KEY, candidate] == key:
            slot = candidate
    if slot == NONE:
        slot = (place[IN_USED] + 1) % SLOTS
        held[IN_KEY, slot] = key
        load_input(
            layer, blocks, tiles, splits, regions, jobs, place, held, slot, step[STEP_TILE], step[STEP_BLOCK],
            step[STEP_PART], ONE, ZERO,
        )  # fmt: skip
    step[STEP_INPUT] = slot


@kernel(allocates=False)
def _operand_of_step(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], tiles: NDArray[np.int64], regions: NDArray[np.int64],
    jobs: NDArray[np.int64], place: NDArray[np.int64], held: NDArray[np.int64], step: NDArray[np.int64],
) -> None:  # fmt: skip
    """Append the LOAD of the second operand of the output tile that begins with a step, if it is not on chip."""
    if layer[OPERAND_ON_CHIP] or step[STEP_PART] != 0 or step[STEP_BLOCK] != step[STEP_FIRST]:
        return
    slot = place[OPERAND_TURN] % SLOTS
    place[OPERAND_TURN] += 1
    at = append_job(jobs, place, LOAD, held[OPERAND_READ, slot], NONE, NONE)
    describe_output(
        layer, jobs, at, regions[OPERAND_AT], tiles[step[STEP_TILE]], blocks[step[STEP_FIRST], BLOCK_FIRST],
        _group_words(layer, blocks, step),
    )  # fmt: skip
    held[OPERAND_LOAD, slot] = at


@kernel(allocates=False)
def _group_words(layer: NDArray[np.int64], blocks: NDArray[np.int64], step: NDArray[np.int64]) -> int:
    """Return the output words of the group a step belongs to."""
    first, last = step[STEP_FIRST], step[STEP_END] - 1
    channels = blocks[last, BLOCK_FIRST] + blocks[last, BLOCK_CHANNELS] - blocks[first, BLOCK_FIRST]
    return ceil_ratio(channels, layer[GROUP_SIZE])


# Compute, requantize, join, store


@kernel(allocates=False)
def _append_compute(
    layer: NDArray[np.int64], splits: NDArray[np.int64], jobs: NDArray[np.int64], place: NDArray[np.int64],
    held: NDArray[np.int64], weights: NDArray[np.int64], step: NDArray[np.int64], positions: int, half: int,
) -> int:  # fmt: skip
    """Append the COMPUTE of a step into half `half` of the accumulator; return its job."""
    split = splits[step[STEP_BLOCK], step[STEP_PART]]
    runs, run_words = split[SPLIT_HEIGHT], split[SPLIT_WIDTH] * split[SPLIT_DEPTH]
    apart = layer[DILATION_X] > 1 or (layer[SOURCE_ON_CHIP] > 0 and split[SPLIT_DEPTH] != layer[WORDS])
    if split[SPLIT_WIDTH] > 1 and apart:
        runs, run_words = split[SPLIT_HEIGHT] * split[SPLIT_WIDTH], split[SPLIT_DEPTH]
    slot, entry = step[STEP_WEIGHTS], step[STEP_ENTRY]
    at = append_job(
        jobs, place, COMPUTE, held[IN_LOAD, step[STEP_INPUT]], weights[slot, CURRENT, entry, LOADED],
        held[SUM_READ, half],
    )  # fmt: skip
    jobs[at, DURATION] = compute_duration(
        positions, runs, run_words, layer[STEPS], layer[CHAIN_LENGTH], layer[LANES], layer[WEIGHT_RATE]
    )
    held[IN_READ, step[STEP_INPUT]] = weights[slot, CURRENT, entry, READ] = at
    return int(at)


@kernel(allocates=False)
def append_work(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], tiles: NDArray[np.int64], splits: NDArray[np.int64],
    regions: NDArray[np.int64], jobs: NDArray[np.int64], place: NDArray[np.int64], held: NDArray[np.int64],
    weights: NDArray[np.int64], step: NDArray[np.int64],
) -> None:  # fmt: skip
    """Append COMPUTE, and where sums are complete REQUANTIZE and STORE, of a step."""
    tile, most = tiles[step[STEP_TILE]], splits.shape[1]
    positions = tile[TILE_HEIGHT] * tile[TILE_WIDTH]
    first, end, block = step[STEP_FIRST], step[STEP_END], step[STEP_BLOCK]
    turn, out = place[SUM_TURN] % SLOTS, place[OUT_TURN] % SLOTS
    half = (turn * layer[GROUP] + block - first if most > 1 else turn) % SLOTS
    compute = _append_compute(layer, splits, jobs, place, held, weights, step, positions, half)
    if step[STEP_PART] != blocks[block, BLOCK_PARTS] - 1:
        return
    words = ceil_ratio(blocks[block, BLOCK_CHANNELS], layer[GROUP_SIZE])
    opcode, loaded = REQUANTIZE_OPCODE, held[P_LOAD, step[STEP_PARAMETERS]]
    if layer[JOINED] and layer[JOINED_BYTES] == 0:
        opcode, loaded = ADDING_OPCODE, max(loaded, held[OPERAND_LOAD, out])
    requantize = append_job(jobs, place, VECTOR, compute, held[OUT_STORE, out], loaded)
    jobs[requantize, DURATION] = vector_duration(
        opcode, positions, words, ONE, layer[GROUP_SIZE], layer[VECTOR_LANES], ONE
    )
    held[OPERAND_READ, out] = requantize
    held[SUM_READ, half] = held[P_READ, step[STEP_PARAMETERS]] = requantize
    if most == 1:
        place[SUM_TURN] += 1
    for other in range(block + 1, end):
        if blocks[other, BLOCK_PARTS] == step[STEP_PARTS]:
            return
    if blocks[block, BLOCK_PARTS] != step[STEP_PARTS]:
        return
    written, group_words = requantize, _group_words(layer, blocks, step)
    if layer[JOINED_BYTES] > 0:
        written = append_job(jobs, place, VECTOR, requantize, held[OPERAND_LOAD, out], NONE)
        jobs[written, DURATION] = vector_duration(
            JOIN_OPCODE, positions, group_words, ONE, layer[GROUP_SIZE], layer[VECTOR_LANES], ONE
        )
        held[OPERAND_READ, out] = written
    if not layer[TARGET_ON_CHIP]:
        store = append_job(jobs, place, STORE, written, NONE, NONE)
        describe_output(layer, jobs, store, regions[OUTPUT_AT], tile, blocks[first, BLOCK_FIRST], group_words)
        held[OUT_STORE, out] = store
    place[OUT_TURN] += 1
    if most > 1:
        place[SUM_TURN] += 1


@kernel(allocates=False)
def append_step(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], tiles: NDArray[np.int64], splits: NDArray[np.int64],
    regions: NDArray[np.int64], jobs: NDArray[np.int64], place: NDArray[np.int64], held: NDArray[np.int64],
    weights: NDArray[np.int64], entries: NDArray[np.int64], step: NDArray[np.int64], pending: NDArray[np.int64],
    weight_slots: int,
) -> None:  # fmt: skip
    """Append the LOADs of a step that are not on chip, then the work of the pending step; make this one pending."""
    _weights_of_step(layer, blocks, splits, jobs, place, held, weights, entries, step, weight_slots)
    _parameters_of_step(layer, blocks, regions, jobs, place, held, step)
    _input_of_step(layer, blocks, tiles, splits, regions, jobs, place, held, step)
    if layer[JOINED]:
        _operand_of_step(layer, blocks, tiles, regions, jobs, place, held, step)
    if not pending[STEP_GIVEN] and layer[ALL_PARAMETERS]:
        at = append_job(jobs, place, LOAD, NONE, NONE, NONE)
        size_bytes = layer[PARAMETER_BYTES]
        describe_rows(jobs, at, regions[PARAMETERS_AT], blocks.shape[0], size_bytes, size_bytes)
        held[P_LOAD, :] = at
    if pending[STEP_GIVEN]:
        append_work(layer, blocks, tiles, splits, regions, jobs, place, held, weights, pending)
    if not layer[ALL_PARAMETERS] and step[STEP_PART] == blocks[step[STEP_BLOCK], BLOCK_PARTS] - 1:
        place[P_USED] = step[STEP_PARAMETERS]
    place[IN_USED], place[W_USED] = step[STEP_INPUT], step[STEP_WEIGHTS]
    for entry in range(STEP):
        pending[entry] = step[entry]
