"""List the jobs of a mapped multiply-accumulate layer without generating its code.

The schedule is what `gossamer.dataflow.mapping` describes: loads of a step before the compute of the step before it,
into the other slot; loads of the next outer iteration spread over the steps of this one. Only shapes and slots matter
here, so the whole list is made by one kernel.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.isa import Opcode
from gossamer.sim import engine
from gossamer.sim.durations import ceil_ratio, compute_duration, vector_duration
from gossamer.sim.kernels import kernel
from gossamer.sim.offchip import BEAT_BYTES, BURST_BYTES, PORTS
from gossamer.sim.pipeline_model import (
    ADDRESS,
    ALONE,
    CHANNEL,
    DEPENDS,
    FILLS,
    IS_STORE,
    JOB_ENGINE,
    LINE_PITCH,
    LINES,
    MOVE_COLUMNS,
    NONE,
    PORT,
    RUN_BYTES,
    RUN_PITCH,
    RUNS,
    SEGMENT,
    transfer_alone,
)

INPUT_CHUNKS = 8
IMAGE_ALIGN_BYTES = 64
SLOTS = 2
_numbers: Any = [
    np.int64(number) for number in (0, 1, engine.LOAD, engine.COMPUTE, engine.VECTOR, engine.STORE, Opcode.REQUANTIZE)
]
ZERO, ONE, LOAD, COMPUTE, VECTOR, STORE, REQUANTIZE_OPCODE = _numbers
"""Not Python ints, see `gossamer.sim.engine.UNKNOWN`."""
FULL = -1
"""Returned when the job array is too small."""

# Entries of `layer`, what the kernel needs of ConvShape, ConvMapping and the array.
(BATCH, ROWS, COLUMNS, WORDS, OUT_ROWS, OUT_COLUMNS, OUT_WORDS, KERNEL_Y, KERNEL_X, STRIDE_Y, STRIDE_X, DILATION_Y,
 DILATION_X, PAD_Y, PAD_X, STEPS, INDEX_BITS, SHARED, PARAMETER_BYTES, RESIDENT, TILE_ROWS, TILE_COLUMNS, GROUP,
 SPLIT_Y, SPLIT_X, SPLIT_WORDS, ALL_PARAMETERS, GROUP_SIZE, CHAINS, CHAIN_LENGTH, LANES, WEIGHT_RATE, VECTOR_LANES,
 LAYER_ENTRIES) = range(34)  # fmt: skip
# Columns of `blocks` int64 [n, 4].
BLOCK_FIRST, BLOCK_CHANNELS, BLOCK_WORD, BLOCK_WORDS = range(4)
# Entries of `held`: what the slots hold and who used them last.
(IN_KEY, IN_LOAD, IN_READ, W_KEY, W_READ, P_KEY, P_LOAD, P_READ, SUM_READ, OUT_STORE, HELD) = range(11)
# Entries of `place`.
_IN_USED, _W_USED, _P_USED, _COUNT, _SUM_TURN, _OUT_TURN, PLACE = range(7)


@kernel
def _append(
    jobs: NDArray[np.int64], place: NDArray[np.int64], engine: int, alone: int, channel: int, pieces: int, a: int,
    b: int, c: int, d: int,
) -> int:  # fmt: skip
    """Append a job that waits for jobs a, b, c, d; return its number, or FULL."""
    at = place[_COUNT]
    if at >= jobs.shape[0]:
        return FULL
    jobs[at, JOB_ENGINE], jobs[at, ALONE], jobs[at, CHANNEL], jobs[at, PORT] = engine, alone, channel, pieces
    jobs[at, DEPENDS], jobs[at, DEPENDS + 1], jobs[at, DEPENDS + 2], jobs[at, DEPENDS + 3] = a, b, c, d
    place[_COUNT] = at + 1
    return int(at)


@kernel
def _part_count(layer: NDArray[np.int64], words: int) -> int:
    """Return the splits of a block that reads `words` words."""
    return int(
        ceil_ratio(layer[KERNEL_Y], layer[SPLIT_Y])
        * ceil_ratio(layer[KERNEL_X], layer[SPLIT_X])
        * ceil_ratio(words, layer[SPLIT_WORDS])
    )


@kernel
def _part(layer: NDArray[np.int64], words: int, part: int, out: NDArray[np.int64]) -> None:
    """Fill out int64 [6] with row, rows, column, columns, word, words of split `part`."""
    across = ceil_ratio(layer[KERNEL_X], layer[SPLIT_X])
    down = ceil_ratio(layer[KERNEL_Y], layer[SPLIT_Y])
    out[0] = part // across % down * layer[SPLIT_Y]
    out[1] = min(layer[SPLIT_Y], layer[KERNEL_Y] - out[0])
    out[2] = part % across * layer[SPLIT_X]
    out[3] = min(layer[SPLIT_X], layer[KERNEL_X] - out[2])
    out[4] = part // (across * down) * layer[SPLIT_WORDS]
    out[5] = min(layer[SPLIT_WORDS], words - out[4])


@kernel
def _plane(memory: NDArray[np.int64], rows: int, row_bytes: int, pitch: int) -> tuple[int, int, int]:
    """Return (cycles, channel ticks, pieces on port 0) of a LOAD of consecutive off-chip rows."""
    segment = rows * row_bytes if row_bytes == pitch else row_bytes
    middle = memory[BURST_BYTES] // 2  # constants start anywhere in a burst
    move = np.zeros(MOVE_COLUMNS, dtype=np.int64)
    move[ADDRESS], move[LINES], move[RUNS], move[RUN_BYTES], move[SEGMENT] = middle, 1, 1, rows * row_bytes, segment
    return transfer_alone(memory, move)


@kernel
def _load_weights(
    layer: NDArray[np.int64],
    blocks: NDArray[np.int64],
    memory: NDArray[np.int64],
    jobs: NDArray[np.int64],
    place: NDArray[np.int64],
    block: int,
    split: NDArray[np.int64],
    after: int,
) -> int:
    """Append the LOADs of one block's rows of a split, which may start after job `after`; return the last one."""
    rows = split[1] * split[3] * split[5] * layer[STEPS]
    words = ceil_ratio(blocks[block, BLOCK_CHANNELS], layer[GROUP_SIZE])
    per_row = ceil_ratio(words * layer[GROUP_SIZE], 8) * 8
    alone, channel, pieces = _plane(memory, rows, per_row, layer[CHAINS])
    last = _append(jobs, place, LOAD, alone, channel, pieces, after, NONE, NONE, NONE)
    if layer[INDEX_BITS]:
        row_bytes, pitch = per_row * layer[INDEX_BITS] // 8, layer[CHAINS] * layer[INDEX_BITS] // 8
        alone, channel, pieces = _plane(memory, rows, row_bytes, pitch)
        last = _append(jobs, place, LOAD, alone, channel, pieces, after, NONE, NONE, NONE)
    return int(last)


@kernel
def _rectangle(
    layer: NDArray[np.int64], memory: NDArray[np.int64], batch: int, top: int, lines: int, left: int, width: int,
    word: int, words: int,
) -> tuple[int, int, int]:  # fmt: skip
    """Return (cycles, channel ticks, pieces on port 0) of a LOAD of `lines` lines of `width` input pixels, padded."""
    pixel, port_bytes = words * layer[GROUP_SIZE], memory[PORTS] * memory[BEAT_BYTES]
    low, high = max(0, top), min(layer[ROWS], top + lines)
    first, last = max(0, left), min(layer[COLUMNS], left + width)
    line = width * pixel
    move = np.zeros(MOVE_COLUMNS, dtype=np.int64)
    if high <= low or last <= first:
        move[FILLS] = lines * ceil_ratio(line, port_bytes)
        return transfer_alone(memory, move)
    fill = (lines - (high - low)) * ceil_ratio(line, port_bytes)
    ends = ceil_ratio((first - left) * pixel, port_bytes) + ceil_ratio((left + width - last) * pixel, port_bytes)
    fill += (high - low) * ends
    column = layer[WORDS] * layer[GROUP_SIZE]
    row = column * layer[COLUMNS]
    address = ((batch * layer[ROWS] + low) * layer[COLUMNS] + first) * column + word * layer[GROUP_SIZE]
    count, run = high - low, (last - first) * pixel
    move[ADDRESS], move[FILLS], move[LINES], move[LINE_PITCH], move[RUNS] = address, fill, count, row, 1
    move[RUN_BYTES] = move[SEGMENT] = run
    if column != pixel:
        move[RUNS], move[RUN_PITCH] = last - first, column
        move[RUN_BYTES] = move[SEGMENT] = pixel
    elif run == row:
        move[LINES], move[RUN_BYTES], move[SEGMENT] = 1, run * count, run * count if run == line else run
    return transfer_alone(memory, move)


@kernel
def _input_piece(
    layer: NDArray[np.int64],
    blocks: NDArray[np.int64],
    memory: NDArray[np.int64],
    jobs: NDArray[np.int64],
    place: NDArray[np.int64],
    tile: NDArray[np.int64],
    block: int,
    split: NDArray[np.int64],
    chunks: int,
    number: int,
    after: int,
) -> int:
    """Append piece `number` of the input of a tile cut into about `chunks`; return its job, NONE if there is none."""
    lines = (tile[2] - 1) * layer[STRIDE_Y] + (split[1] - 1) * layer[DILATION_Y] + 1
    width = (tile[4] - 1) * layer[STRIDE_X] + (split[3] - 1) * layer[DILATION_X] + 1
    top = tile[1] * layer[STRIDE_Y] - layer[PAD_Y] + split[0] * layer[DILATION_Y]
    left = tile[3] * layer[STRIDE_X] - layer[PAD_X] + split[2] * layer[DILATION_X]
    word = blocks[block, BLOCK_WORD] + split[4]
    length = width if lines == 1 else lines
    piece = ceil_ratio(length, chunks)
    first = number * piece
    if first >= length:
        return NONE
    count = min(piece, length - first)
    if lines == 1:
        alone, channel, pieces = _rectangle(layer, memory, tile[0], top, 1, left + first, count, word, split[5])
    else:
        alone, channel, pieces = _rectangle(layer, memory, tile[0], top + first, count, left, width, word, split[5])
    return int(_append(jobs, place, LOAD, alone, channel, pieces, after, NONE, NONE, NONE))


@kernel
def _pieces(layer: NDArray[np.int64], tile: NDArray[np.int64], split: NDArray[np.int64], chunks: int) -> int:
    """Return how many pieces `chunks` gives."""
    lines = (tile[2] - 1) * layer[STRIDE_Y] + (split[1] - 1) * layer[DILATION_Y] + 1
    width = (tile[4] - 1) * layer[STRIDE_X] + (split[3] - 1) * layer[DILATION_X] + 1
    length = width if lines == 1 else lines
    return int(ceil_ratio(length, ceil_ratio(length, chunks)))


@kernel
def _tile(layer: NDArray[np.int64], number: int, out: NDArray[np.int64]) -> None:
    """Fill out int64 [5] with batch, row, rows, column, columns of a tile."""
    across = ceil_ratio(layer[OUT_COLUMNS], layer[TILE_COLUMNS])
    down = ceil_ratio(layer[OUT_ROWS], layer[TILE_ROWS])
    out[0] = number // (across * down)
    out[1] = number // across % down * layer[TILE_ROWS]
    out[2] = min(layer[TILE_ROWS], layer[OUT_ROWS] - out[1])
    out[3] = number % across * layer[TILE_COLUMNS]
    out[4] = min(layer[TILE_COLUMNS], layer[OUT_COLUMNS] - out[3])


@kernel
def _step_work(
    layer: NDArray[np.int64],
    blocks: NDArray[np.int64],
    memory: NDArray[np.int64],
    jobs: NDArray[np.int64],
    place: NDArray[np.int64],
    held: NDArray[np.int64],
    pending: NDArray[np.int64],
) -> None:
    """Append COMPUTE, and where sums are complete REQUANTIZE and STORE, of the pending step.

    pending int64 [11]: tile, group first, group end, block, part, input slot, weight load, weight slot, parameter slot,
    is there one, most parts of the group. held int64 [HELD, n].
    """
    tile, split = np.zeros(5, dtype=np.int64), np.zeros(6, dtype=np.int64)
    _tile(layer, pending[0], tile)
    first, end, block, part = pending[1], pending[2], pending[3], pending[4]
    _part(layer, blocks[block, BLOCK_WORDS], part, split)
    parts = _part_count(layer, blocks[block, BLOCK_WORDS])
    split_sums = pending[10] > 1 or _most_parts(layer, blocks, ZERO, blocks.shape[0]) > 1
    turn = place[_SUM_TURN] % SLOTS
    entry = turn * layer[GROUP] + block - first if split_sums else turn
    joined = split[3] == 1 or layer[DILATION_X] == 1
    runs, run_words = split[1], split[3] * split[5]
    if not joined:
        runs, run_words = split[1] * split[3], split[5]
    positions = tile[2] * tile[4]
    busy = compute_duration(
        positions, runs, run_words, layer[STEPS], layer[CHAIN_LENGTH], layer[LANES], layer[WEIGHT_RATE]
    )
    compute = _append(
        jobs, place, COMPUTE, busy, ZERO, ZERO, held[IN_LOAD, pending[5]], pending[6], held[SUM_READ, entry], NONE
    )
    held[IN_READ, pending[5]] = compute
    held[W_READ, pending[7]] = compute
    if part != parts - 1:
        return
    words = ceil_ratio(blocks[block, BLOCK_CHANNELS], layer[GROUP_SIZE])
    busy = vector_duration(
        REQUANTIZE_OPCODE, positions, words, ONE, layer[GROUP_SIZE], layer[VECTOR_LANES], layer[LANES], ONE
    )
    out = place[_OUT_TURN] % SLOTS
    requantize = _append(
        jobs, place, VECTOR, busy, ZERO, ZERO, compute, held[OUT_STORE, out], held[P_LOAD, pending[8]], NONE
    )  # fmt: skip
    held[SUM_READ, entry] = requantize
    held[P_READ, pending[8]] = requantize
    if not split_sums:
        place[_SUM_TURN] += 1
    last = first
    for other in range(first, end):
        if _part_count(layer, blocks[other, BLOCK_WORDS]) == pending[10]:
            last = other
    if block != last:
        return
    group_words = ceil_ratio(
        blocks[end - 1, BLOCK_FIRST] + blocks[end - 1, BLOCK_CHANNELS] - blocks[first, BLOCK_FIRST], layer[GROUP_SIZE]
    )
    alone, channel, pieces = _store(layer, memory, tile, blocks[first, BLOCK_FIRST], group_words)
    held[OUT_STORE, out] = _append(jobs, place, STORE, alone, channel, pieces, requantize, NONE, NONE, NONE)
    place[_OUT_TURN] += 1
    if split_sums:
        place[_SUM_TURN] += 1


@kernel
def _most_parts(layer: NDArray[np.int64], blocks: NDArray[np.int64], first: int, end: int) -> int:
    """Return the most splits of any block of a range."""
    most = 0
    for block in range(first, end):
        most = max(most, _part_count(layer, blocks[block, BLOCK_WORDS]))
    return most


@kernel
def _store(
    layer: NDArray[np.int64], memory: NDArray[np.int64], tile: NDArray[np.int64], channel: int, words: int
) -> tuple[int, int, int]:
    """Return (cycles, channel ticks, pieces on port 0) of the STORE of a group's output tile."""
    pixel, column = words * layer[GROUP_SIZE], layer[OUT_WORDS] * layer[GROUP_SIZE]
    row = column * layer[OUT_COLUMNS]
    address = ((tile[0] * layer[OUT_ROWS] + tile[1]) * layer[OUT_COLUMNS] + tile[3]) * column + channel
    move, line = np.zeros(MOVE_COLUMNS, dtype=np.int64), tile[4] * pixel
    move[IS_STORE], move[ADDRESS], move[LINES], move[LINE_PITCH], move[RUNS] = 1, address, tile[2], row, 1
    move[RUN_BYTES] = move[SEGMENT] = line
    if column != pixel:
        move[RUNS], move[RUN_PITCH] = tile[4], column
        move[RUN_BYTES] = move[SEGMENT] = pixel
    elif line == row:
        move[LINES] = 1
        move[RUN_BYTES] = move[SEGMENT] = line * tile[2]
    return transfer_alone(memory, move)


@kernel
def conv_jobs(  # the loops of ConvEmitter.emit, step by step
    layer: NDArray[np.int64], blocks: NDArray[np.int64], memory: NDArray[np.int64], jobs: NDArray[np.int64]
) -> int:
    """Fill `jobs` int64 [n, JOB_COLUMNS] with a layer's jobs in program order; return their number, or FULL."""
    block_count = blocks.shape[0]
    tiles = layer[BATCH] * ceil_ratio(layer[OUT_ROWS], layer[TILE_ROWS]) * ceil_ratio(
        layer[OUT_COLUMNS], layer[TILE_COLUMNS]
    )  # fmt: skip
    groups = ceil_ratio(block_count, layer[GROUP])
    most = _most_parts(layer, blocks, ZERO, block_count)
    held = np.full((HELD, max(SLOTS * layer[GROUP], block_count, SLOTS) + 1), NONE, dtype=np.int64)
    segments = np.full((SLOTS, block_count, most), NONE, dtype=np.int64)
    place, pending = np.zeros(PLACE, dtype=np.int64), np.zeros(11, dtype=np.int64)
    place[_IN_USED] = place[_P_USED] = SLOTS - 1
    weight_slots = 1 if layer[RESIDENT] and groups == 1 else SLOTS
    place[_W_USED] = weight_slots - 1
    outer_count = groups if layer[RESIDENT] else tiles
    inner_count = tiles if layer[RESIDENT] else groups
    ahead = np.zeros((block_count * most, 3), dtype=np.int64)
    for outer in range(outer_count):
        steps = 0
        for inner in range(inner_count):
            group = outer if layer[RESIDENT] else inner
            for block in range(group * layer[GROUP], min(block_count, (group + 1) * layer[GROUP])):
                steps += _part_count(layer, blocks[block, BLOCK_WORDS])
        share, position = steps - 1, 0
        ahead_count, ahead_done, ahead_slot = 0, 0, 0
        for inner in range(inner_count):
            group, number = (outer, inner) if layer[RESIDENT] else (inner, outer)
            first, end = group * layer[GROUP], min(block_count, (group + 1) * layer[GROUP])
            parts = _most_parts(layer, blocks, first, end)
            for part in range(parts):
                for block in range(first, end):
                    if part >= _part_count(layer, blocks[block, BLOCK_WORDS]):
                        continue
                    very_first = outer == 0 and position == 0
                    _step_loads(layer, blocks, memory, jobs, place, held, segments, pending, very_first, weight_slots,
                                number, group, first, end, block, part, parts)  # fmt: skip
                    if position < share:
                        if position == 0 and outer + 1 < outer_count:
                            ahead_count, ahead_slot = _plan_ahead(
                                layer, blocks, place, held, segments, ahead, outer + 1, weight_slots, share, most
                            )
                        until = ahead_count * (position + 1) // share
                        while ahead_done < until:
                            _append_ahead(layer, blocks, memory, jobs, place, held, segments, ahead, ahead_done,
                                          ahead_slot, outer + 1, share)  # fmt: skip
                            ahead_done += 1
                    position += 1
                    if place[_COUNT] >= jobs.shape[0]:
                        return FULL
    _step_work(layer, blocks, memory, jobs, place, held, pending)
    return FULL if place[_COUNT] >= jobs.shape[0] else int(place[_COUNT])


@kernel
def _step_loads(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], memory: NDArray[np.int64], jobs: NDArray[np.int64],
    place: NDArray[np.int64], held: NDArray[np.int64], segments: NDArray[np.int64], pending: NDArray[np.int64],
    very_first: bool, weight_slots: int, number: int, group: int, first: int, end: int, block: int, part: int,
    parts: int,
) -> None:  # fmt: skip
    """Append the loads of a step that are not on chip, then the pending work, then make this step pending."""
    tile, split = np.zeros(5, dtype=np.int64), np.zeros(6, dtype=np.int64)
    _tile(layer, number, tile)
    _part(layer, blocks[block, BLOCK_WORDS], part, split)
    most = segments.shape[2]
    key = group if layer[RESIDENT] else block * most + part
    slot = NONE
    for candidate in range(weight_slots):
        if held[W_KEY, candidate] == key:
            slot = candidate
    if slot == NONE:
        slot = (place[_W_USED] + 1) % weight_slots
        held[W_KEY, slot] = key
        segments[slot] = NONE
    if segments[slot, block, part] == NONE:
        segments[slot, block, part] = _load_weights(
            layer, blocks, memory, jobs, place, block, split, held[W_READ, slot]
        )  # fmt: skip
    is_last = part == _part_count(layer, blocks[block, BLOCK_WORDS]) - 1
    if not layer[ALL_PARAMETERS] and is_last and held[P_KEY, 0] != block and held[P_KEY, 1] != block:
        taken = (place[_P_USED] + 1) % SLOTS
        alone, channel, pieces = _plane(memory, ONE, layer[PARAMETER_BYTES], layer[PARAMETER_BYTES])
        held[P_KEY, taken] = block
        held[P_LOAD, taken] = _append(jobs, place, LOAD, alone, channel, pieces, held[P_READ, taken], NONE, NONE, NONE)
    key = number * most + part
    if not layer[SHARED]:
        key = key * blocks.shape[0] + block
    in_slot = NONE
    for candidate in range(SLOTS):
        if held[IN_KEY, candidate] == key:
            in_slot = candidate
    if in_slot == NONE:
        in_slot = (place[_IN_USED] + 1) % SLOTS
        held[IN_KEY, in_slot] = key
        held[IN_LOAD, in_slot] = _input_piece(
            layer, blocks, memory, jobs, place, tile, block, split, ONE, ZERO, held[IN_READ, in_slot]
        )
    if very_first and layer[ALL_PARAMETERS]:
        alone, channel, pieces = _plane(memory, blocks.shape[0], layer[PARAMETER_BYTES], layer[PARAMETER_BYTES])
        held[P_LOAD, :] = _append(jobs, place, LOAD, alone, channel, pieces, NONE, NONE, NONE, NONE)
    if pending[9]:
        _step_work(layer, blocks, memory, jobs, place, held, pending)
    par_slot = block
    if not layer[ALL_PARAMETERS]:
        par_slot = 0
        if is_last:
            par_slot = 0 if held[P_KEY, 0] == block else 1
            place[_P_USED] = par_slot
    place[_IN_USED], place[_W_USED] = in_slot, slot
    pending[0], pending[1], pending[2], pending[3], pending[4] = number, first, end, block, part
    pending[5], pending[6], pending[7], pending[8] = in_slot, segments[slot, block, part], slot, par_slot
    pending[9], pending[10] = 1, parts


@kernel
def _plan_ahead(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], place: NDArray[np.int64], held: NDArray[np.int64],
    segments: NDArray[np.int64], ahead: NDArray[np.int64], outer: int, weight_slots: int, share: int, most: int,
) -> tuple[int, int]:  # fmt: skip
    """Give the next outer iteration its slot; return the number of LOADs to spread over this one, and the slot."""
    if layer[RESIDENT]:
        slot = (place[_W_USED] + 1) % weight_slots
        held[W_KEY, slot] = outer
        segments[slot] = NONE
        first, end = outer * layer[GROUP], min(blocks.shape[0], (outer + 1) * layer[GROUP])
        count, planes = 0, 2 if layer[INDEX_BITS] else 1
        for part in range(_most_parts(layer, blocks, first, end)):
            for block in range(first, end):
                if part < _part_count(layer, blocks[block, BLOCK_WORDS]):
                    ahead[count, 0], ahead[count, 1] = block, part
                    count += 1
        return count * planes, slot
    if not layer[SHARED] or most > 1:
        return 0, 0
    slot = (place[_IN_USED] + 1) % SLOTS
    held[IN_KEY, slot] = outer * most
    tile, split = np.zeros(5, dtype=np.int64), np.zeros(6, dtype=np.int64)
    _tile(layer, outer, tile)
    _part(layer, blocks[0, BLOCK_WORDS], ZERO, split)
    return _pieces(layer, tile, split, min(INPUT_CHUNKS, share)), slot


@kernel
def _append_ahead(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], memory: NDArray[np.int64], jobs: NDArray[np.int64],
    place: NDArray[np.int64], held: NDArray[np.int64], segments: NDArray[np.int64], ahead: NDArray[np.int64],
    at: int, slot: int, outer: int, share: int,
) -> None:  # fmt: skip
    """Append LOAD number `at` of those spread over an outer iteration."""
    split = np.zeros(6, dtype=np.int64)
    if layer[RESIDENT]:
        planes = 2 if layer[INDEX_BITS] else 1
        if at % planes == 0:  # both planes of a block at once: their order is all that is lost
            block, part = ahead[at // planes, 0], ahead[at // planes, 1]
            _part(layer, blocks[block, BLOCK_WORDS], part, split)
            segments[slot, block, part] = _load_weights(
                layer, blocks, memory, jobs, place, block, split, held[W_READ, slot]
            )  # fmt: skip
        return
    tile = np.zeros(5, dtype=np.int64)
    _tile(layer, outer, tile)
    _part(layer, blocks[0, BLOCK_WORDS], ZERO, split)
    held[IN_LOAD, slot] = _input_piece(
        layer, blocks, memory, jobs, place, tile, ZERO, split, min(INPUT_CHUNKS, share), at, held[IN_READ, slot]
    )
