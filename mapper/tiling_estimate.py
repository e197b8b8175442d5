"""Estimate the cycles of a mapping from plain numbers, fast enough to rank thousands: the inner loop of tiling.

The estimate (ours) is the largest of the four engines' times, phase by phase, plus what nothing can hide: the first
loads, the last requantization and store. A transfer's time is its setup and latency, then what its ports and channels
move, or its pieces. It ranks mappings; reports show the timing simulator's cycles.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.isa import Opcode
from gossamer.arch.timing import (
    LOAD_SETUP_CYCLES,
    LOAD_WRITE_CYCLES,
    STORE_SETUP_CYCLES,
    ceil_div,
)
from gossamer.dataflow.mapping import SLOTS, input_extent
from gossamer.sim.durations import compute_duration, vector_duration
from gossamer.sim.kernels import kernel

Ints = NDArray[np.int64]

_REQUANTIZE = int(Opcode.REQUANTIZE)

DISPATCH_CYCLES = 4
"""Guessed cycles between two instructions of one engine: token, start."""

UNEVEN = 0.03
"""Guessed share of the shorter engines' time that does not overlap: tiles are uneven and queues finite."""

# What a layer is: entries of `layer` int64 [LAYER].
(BATCH, OUT_ROWS, OUT_COLUMNS, OUT_WORDS, BLOCKS, BLOCK_OUT_WORDS, WORDS, KERNEL_Y, KERNEL_X, STRIDE_Y, STRIDE_X,
 DILATION_Y, DILATION_X, STEPS, INDEX_BITS, SHARED, PARAMETER_BYTES, RESIDENT_PARAMETERS, DENSE,
 LAYER) = range(20)  # fmt: skip
# What a config offers: entries of `chip` int64 [CHIP]. CHANNEL_RATE: bytes per cycle of one channel times RATE_SCALE.
# LOADED, WRITTEN: bytes of activations that LOAD and that VECTOR may fill; ACTIVATION: both together.
(ACTIVATION, LOADED, WRITTEN, WEIGHT_ROWS, INDEX_ROWS, ACCUMULATOR, PARAMETER, GROUP_SIZE, CHAINS, CHAIN_LENGTH, LANES,
 WEIGHT_RATE, VECTOR_LANES, PORTS, BEAT_BYTES, ROW_BYTES, BURST_BYTES, CHANNELS, INTERLEAVE, CHANNEL_RATE, LATENCY,
 OUTSTANDING, CHIP) = range(23)  # fmt: skip
RATE_SCALE = 256
# What a mapping decides: entries of `choice` int64 [CHOICE]. ORDER: 0 weights outer, 1 activations outer.
ORDER, TILE_ROWS, TILE_COLUMNS, GROUP, SPLIT_Y, SPLIT_X, SPLIT_WORDS, CHOICE = range(8)

_ceil_div = kernel(ceil_div)
_input_extent = kernel(input_extent)


@kernel
def transfer(chip: Ints, size_bytes: int, segment_bytes: int, run_bytes: int) -> float:
    """Return the cycles of a LOAD or STORE: `run_bytes` contiguous off chip, `segment_bytes` on chip as well."""
    bursts = _ceil_div(size_bytes, run_bytes) * _ceil_div(run_bytes, chip[BURST_BYTES])
    ports = min(chip[PORTS], bursts)
    channels = min(chip[CHANNELS], _ceil_div(size_bytes, chip[INTERLEAVE]))
    segment = min(segment_bytes, run_bytes)
    pieces = _ceil_div(size_bytes, segment) * _ceil_div(segment, chip[ROW_BYTES])
    burst_pieces = pieces / bursts
    burst_bytes = _ceil_div(size_bytes, run_bytes) * _ceil_div(run_bytes, chip[ROW_BYTES]) * chip[ROW_BYTES] / bursts
    served = burst_bytes * RATE_SCALE / chip[CHANNEL_RATE]  # one burst on its channel
    beats = burst_bytes / chip[BEAT_BYTES]
    moving = float(pieces)
    if chip[PORTS] > 1:
        moving = max(beats + pieces, _ceil_div(bursts, ports) * beats + burst_pieces)
    waiting = bursts * (chip[LATENCY] + max(served, beats) + burst_pieces) / (ports * chip[OUTSTANDING])
    moving = max(max(moving, waiting), max(float(bursts), bursts * served / channels))
    return float(LOAD_SETUP_CYCLES + LOAD_WRITE_CYCLES + chip[LATENCY] + moving)


@kernel
def splits_of(layer: Ints, choice: Ints) -> int:
    """Return the parts the reduction is cut into."""
    return int(
        _ceil_div(layer[KERNEL_Y], choice[SPLIT_Y])
        * _ceil_div(layer[KERNEL_X], choice[SPLIT_X])
        * _ceil_div(layer[WORDS], choice[SPLIT_WORDS])
    )


@kernel
def tile_bytes(layer: Ints, chip: Ints, choice: Ints) -> tuple[int, int]:
    """Return the bytes of an input and of an output tile."""
    rows = _input_extent(choice[TILE_ROWS], choice[SPLIT_Y], layer[STRIDE_Y], layer[DILATION_Y])
    columns = _input_extent(choice[TILE_COLUMNS], choice[SPLIT_X], layer[STRIDE_X], layer[DILATION_X])
    words = min(layer[OUT_WORDS], choice[GROUP] * layer[BLOCK_OUT_WORDS])
    positions = choice[TILE_ROWS] * choice[TILE_COLUMNS]
    group_size = chip[GROUP_SIZE]
    return rows * columns * choice[SPLIT_WORDS] * group_size, positions * words * group_size


@kernel
def fits_weights(layer: Ints, chip: Ints, choice: Ints) -> bool:
    """Return whether weight and index buffer hold the slots of a choice; independent of its tile."""
    limit = chip[WEIGHT_ROWS]
    if layer[INDEX_BITS] > 0:
        limit = min(limit, chip[INDEX_ROWS])
    if choice[ORDER] == 0:
        rows = choice[GROUP] * layer[KERNEL_Y] * layer[KERNEL_X] * layer[WORDS] * layer[STEPS]
        slots = SLOTS if choice[GROUP] < layer[BLOCKS] else 1
        return bool(slots * rows <= limit)
    return bool(SLOTS * choice[SPLIT_Y] * choice[SPLIT_X] * choice[SPLIT_WORDS] * layer[STEPS] <= limit)


@kernel
def fits_tile(layer: Ints, chip: Ints, choice: Ints) -> bool:
    """Return whether accumulator and activation buffer hold the slots of a choice."""
    positions = choice[TILE_ROWS] * choice[TILE_COLUMNS]
    sums = _ceil_div(positions, chip[LANES]) * chip[LANES]  # one slot, or one group of blocks, in each half
    if splits_of(layer, choice) > 1:
        sums *= choice[GROUP]
    if sums > chip[ACCUMULATOR]:
        return False
    in_bytes, out_bytes = tile_bytes(layer, chip, choice)
    loaded, written = SLOTS * in_bytes, SLOTS * out_bytes
    return bool(loaded <= chip[LOADED] and written <= chip[WRITTEN] and loaded + written <= chip[ACTIVATION])


@kernel
def _weight_load(layer: Ints, chip: Ints, choice: Ints) -> float:
    """Return the cycles that load one block's weights and indices of one split."""
    rows = choice[SPLIT_Y] * choice[SPLIT_X] * choice[SPLIT_WORDS] * layer[STEPS]
    per_row = _ceil_div(layer[BLOCK_OUT_WORDS] * chip[GROUP_SIZE], 8) * 8
    segment = rows * per_row if per_row == chip[CHAINS] else per_row
    cycles = transfer(chip, rows * per_row, segment, rows * per_row)
    if layer[INDEX_BITS] > 0:
        index_row = per_row * layer[INDEX_BITS] // 8
        full = per_row == chip[CHAINS] and (1 << layer[INDEX_BITS]) == chip[GROUP_SIZE]
        cycles += transfer(chip, rows * index_row, rows * index_row if full else index_row, rows * index_row)
    return float(cycles)


@kernel
def _input_load(layer: Ints, chip: Ints, choice: Ints) -> float:
    """Return the cycles that load one input tile of one split."""
    size, _ = tile_bytes(layer, chip, choice)
    columns = _input_extent(choice[TILE_COLUMNS], choice[SPLIT_X], layer[STRIDE_X], layer[DILATION_X])
    line = columns * choice[SPLIT_WORDS] * chip[GROUP_SIZE]
    whole = layer[DENSE] > 0 and layer[SHARED] > 0 and choice[SPLIT_WORDS] == layer[WORDS]
    if not whole:
        line = choice[SPLIT_WORDS] * chip[GROUP_SIZE]
    return float(transfer(chip, size, line, line))


@kernel
def _mean_step(layer: Ints, chip: Ints, choice: Ints) -> float:
    """Return the mean cycles of a COMPUTE over all tiles, the ragged ones of the last row and column included."""
    joined = choice[SPLIT_X] == 1 or layer[DILATION_X] == 1
    runs = choice[SPLIT_Y] if joined else choice[SPLIT_Y] * choice[SPLIT_X]
    words = choice[SPLIT_X] * choice[SPLIT_WORDS] if joined else choice[SPLIT_WORDS]
    rows, columns = choice[TILE_ROWS], choice[TILE_COLUMNS]
    full_rows, full_columns = layer[OUT_ROWS] // rows, layer[OUT_COLUMNS] // columns
    total, count = 0, 0
    for ragged_y in range(2):
        for ragged_x in range(2):
            height, width = rows, columns
            number = 1
            if ragged_y:
                height = layer[OUT_ROWS] - full_rows * rows
            else:
                number *= full_rows
            if ragged_x:
                width = layer[OUT_COLUMNS] - full_columns * columns
            else:
                number *= full_columns
            if height * width * number > 0:
                total += number * compute_duration(
                    height * width, runs, words, layer[STEPS], chip[CHAIN_LENGTH], chip[LANES], chip[WEIGHT_RATE]
                )
                count += number
    return float(total / count + DISPATCH_CYCLES)


@kernel
def estimate(layer: Ints, chip: Ints, choice: Ints) -> float:
    """Return the estimated cycles of a legal choice."""
    rows, columns, blocks, group = choice[TILE_ROWS], choice[TILE_COLUMNS], layer[BLOCKS], choice[GROUP]
    positions, splits = rows * columns, splits_of(layer, choice)
    tiles = layer[BATCH] * _ceil_div(layer[OUT_ROWS], rows) * _ceil_div(layer[OUT_COLUMNS], columns)
    share = layer[BATCH] * layer[OUT_ROWS] * layer[OUT_COLUMNS] / (tiles * positions)  # ragged tiles do less
    step = _mean_step(layer, chip, choice)
    beats = _ceil_div(layer[BLOCK_OUT_WORDS] * chip[GROUP_SIZE], chip[VECTOR_LANES])
    vector_fill = vector_duration(_REQUANTIZE, 0, layer[BLOCK_OUT_WORDS], 1, chip[GROUP_SIZE], chip[VECTOR_LANES], 1)
    vector = positions * share * beats + vector_fill + DISPATCH_CYCLES
    _, out_bytes = tile_bytes(layer, chip, choice)
    out_run = min(layer[OUT_WORDS], group * layer[BLOCK_OUT_WORDS]) * chip[GROUP_SIZE]
    if group == blocks:
        out_run *= columns
    store = transfer(chip, out_bytes, out_run, out_run) * (1 + share) / 2 + STORE_SETUP_CYCLES
    weight, first_input = _weight_load(layer, chip, choice), _input_load(layer, chip, choice)
    load_input = first_input * (1 + share) / 2
    groups = _ceil_div(blocks, group)
    if not layer[RESIDENT_PARAMETERS]:
        load_input += transfer(chip, layer[PARAMETER_BYTES], layer[PARAMETER_BYTES], layer[PARAMETER_BYTES]) * group
    if choice[ORDER] == 0:
        compute, stores = tiles * group * splits * step, tiles * store
        loads = splits * (tiles if tiles * splits > 1 or layer[SHARED] == 0 else 0)
        if layer[SHARED] == 0:
            loads *= group
        inputs, weights = loads * load_input, group * splits * weight
        requantize = tiles * group * vector
        if groups == 1:
            total = _overlapped(inputs + weights, compute, requantize, stores)
        else:
            total = _overlapped(inputs + 2 * weights, compute, requantize, stores)
            total += (groups - 2) * _overlapped(inputs + weights, compute, requantize, stores)
            total += _overlapped(inputs, compute, requantize, stores)
    else:
        loads = 1 if splits == 1 else splits * groups
        if layer[SHARED] == 0:
            loads = splits * blocks
        weights = blocks * splits * weight
        if blocks * splits <= SLOTS:
            weights /= tiles
        total = tiles * _overlapped(
            loads * load_input + weights, blocks * splits * step, blocks * vector, groups * store
        )  # fmt: skip
    return float(total + first_input + weight + vector + store)


@kernel
def _overlapped(load: float, compute: float, vector: float, store: float) -> float:
    """Return the time of four engines that run side by side: the longest, and a share of what the others wait."""
    longest = max(max(load, compute), max(vector, store))
    return longest + UNEVEN * (load + compute + vector + store - longest)


@kernel
def _copy(source: Ints, target: Ints) -> None:
    """Copy int64 [CHOICE]: assigning rows would compile numba's check of their shapes, a third of this file's time."""
    for k in range(CHOICE):
        target[k] = source[k]


@kernel
def search(
    layer: Ints, chip: Ints, rows: Ints, columns: Ints, groups: Ints, splits: Ints, found: Ints,
    cycles: NDArray[np.float64],
) -> int:  # fmt: skip
    """Keep the best legal choices, the best `found.shape[1]` tiles of each (split, group, order); return how many.

    splits int64 [n, 3] (kernel rows, kernel columns, words); found int64 [kinds, tiles, CHOICE] and cycles float64
    [kinds, tiles], infinite where there is no choice; kinds are numbered in loop order and must not run out.
    """
    choice = np.zeros(CHOICE, dtype=np.int64)
    kinds, keep = 0, found.shape[1]
    for s in range(splits.shape[0]):
        choice[SPLIT_Y], choice[SPLIT_X], choice[SPLIT_WORDS] = splits[s, 0], splits[s, 1], splits[s, 2]
        for g in range(groups.shape[0]):
            choice[GROUP] = groups[g]
            for order in range(2):
                choice[ORDER] = order
                if not fits_weights(layer, chip, choice):
                    continue
                for r in range(rows.shape[0]):
                    for c in range(columns.shape[0]):
                        choice[TILE_ROWS], choice[TILE_COLUMNS] = rows[r], columns[c]
                        if not fits_tile(layer, chip, choice):
                            continue
                        expected = estimate(layer, chip, choice)
                        at = keep
                        while at > 0 and expected < cycles[kinds, at - 1]:
                            at -= 1
                        if at == keep:
                            continue
                        for lower in range(keep - 1, at, -1):
                            cycles[kinds, lower] = cycles[kinds, lower - 1]
                            _copy(found[kinds, lower - 1], found[kinds, lower])
                        cycles[kinds, at] = expected
                        _copy(choice, found[kinds, at])
                kinds += 1
    return kinds
