"""Bound the cycles of a mapping from below, fast enough for every tiling of a layer: what search is pruned with.

The schedule (`gossamer.dataflow.mapping`, `gossamer.sim.conv_schedule`) fixes the instructions of every engine. An
engine runs them one after another, so that the layer takes at least the sum of their shortest times, plus what must
be over before the engine's first and what comes after its last. COMPUTE and VECTOR have closed forms. A LOAD takes at
least its setup, the memory's latency and a cycle per row of bytes; all bytes together at least what the channels
need. The bound is never above the cycles that `gossamer.sim.analytic` finds (tests/cross/test_mapping_search.py), and
a mapping whose bound is not below another's cycles cannot be better than that one.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.isa import Opcode
from gossamer.arch.timing import LOAD_SETUP_CYCLES, LOAD_WRITE_CYCLES, STORE_SETUP_CYCLES
from gossamer.dataflow.mapping import SLOTS, input_extent, reduction_runs
from gossamer.sim.durations import ceil_ratio, compute_duration, vector_duration
from gossamer.sim.kernels import kernel
from gossamer.sim.offchip import TICKS_PER_CYCLE

Ints = NDArray[np.int64]

_REQUANTIZE, _REQUANTIZE_ADD = int(Opcode.REQUANTIZE), int(Opcode.REQUANTIZE_ADD)
_MULTIPLY = int(Opcode.MULTIPLY)

WEIGHTS_TOO_LARGE, SUMS_TOO_LARGE, TILES_TOO_LARGE, REASONS = range(4)
"""Why a tiling is not legal: what the weight and index, the accumulator or the activation buffer cannot hold."""

# What a layer is: entries of `layer` int64 [LAYER]. SOURCE_ON_CHIP: words of an input pixel if the input is, else 0.
(BATCH, ROWS, COLUMNS, OUT_ROWS, OUT_COLUMNS, OUT_WORDS, BLOCKS, BLOCK_OUT_WORDS, WORDS, KERNEL_Y, KERNEL_X, STRIDE_Y,
 STRIDE_X, DILATION_Y, DILATION_X, PAD_Y, PAD_X, STEPS, INDEX_BITS, SHARED, PARAMETER_BYTES, RESIDENT_PARAMETERS,
 JOINED, JOINED_BYTES, SOURCE_ON_CHIP, TARGET_ON_CHIP, OPERAND_ON_CHIP, LAYER) = range(28)  # fmt: skip
# Columns of `kinds` int64 [n, KIND]: blocks of equal output channels and input words.
KIND_CHANNELS, KIND_WORDS, KIND_COUNT, KIND = range(4)
# What a config offers: entries of `chip` int64 [CHIP]. TICKS: channel time of a byte on all channels together, in
# 1 / TICKS_PER_CYCLE cycles. LOADED, WRITTEN: bytes of activations that LOAD and that VECTOR may fill.
(ACTIVATION, LOADED, WRITTEN, WEIGHT_ROWS, INDEX_ROWS, ACCUMULATOR, PARAMETER, GROUP_SIZE, CHAINS, CHAIN_LENGTH, LANES,
 WEIGHT_RATE, VECTOR_LANES, ROW_BYTES, TICKS, LATENCY, CHIP) = range(17)  # fmt: skip
# What a mapping decides: entries of `choice` int64 [CHOICE]. ORDER: 0 weights outer, 1 activations outer.
ORDER, TILE_ROWS, TILE_COLUMNS, GROUP, SPLIT_Y, SPLIT_X, SPLIT_WORDS, CHOICE = range(8)


input_window = kernel(allocates=False)(input_extent)
runs_of = kernel(allocates=False)(reduction_runs)


@kernel(allocates=False)
def part_lengths(length: int, size: int, ragged: int) -> tuple[int, int]:
    """Return the length and the number of the full, or of the ragged parts of an axis; either may be 0."""
    if ragged:
        return length % size, 1
    return size, length // size


@kernel(allocates=False)
def _last_part(length: int, size: int) -> int:
    """Return the length of the last part of an axis, which is the shortest."""
    return length - (ceil_ratio(length, size) - 1) * size


@kernel(allocates=False)
def _loaded_extents(
    outputs: int, tile: int, taps: int, split: int, stride: int, dilation: int, pad: int, inputs: int
) -> tuple[int, int]:  # fmt: skip
    """Return the input rows (or columns) all tiles and splits of an axis load together, and how many load some.

    The window of the others is padding alone: their LOADs read nothing.
    """
    total, reading = 0, 0
    for first in range(0, outputs, tile):
        count = min(tile, outputs - first)
        for tap in range(0, taps, split):
            low = first * stride - pad + tap * dilation
            high = low + input_window(count, min(split, taps - tap), stride, dilation)
            inside = max(0, min(inputs, high) - max(0, low))
            total += inside
            if inside > 0:
                reading += 1
    return total, reading


@kernel(allocates=False)
def _transfer(chip: Ints, count: int, moving: int, size_bytes: int, setup: int) -> float:
    """Return the least cycles of `count` LOADs or STOREs, `moving` of which move `size_bytes` together."""
    cycles = max(size_bytes / chip[ROW_BYTES], size_bytes * chip[TICKS] / TICKS_PER_CYCLE)
    return float(count * setup + moving * chip[LATENCY] + cycles)


@kernel(allocates=False)
def _row_bytes(chip: Ints, channels: int) -> int:
    """Return the bytes of an off-chip row of weight values."""
    return ceil_ratio(ceil_ratio(channels, chip[GROUP_SIZE]) * chip[GROUP_SIZE], 8) * 8


@kernel(allocates=False)
def parts_of(layer: Ints, choice: Ints, words: int) -> int:
    """Return the parts that the reduction of a block of `words` input words is cut into."""
    return (
        ceil_ratio(layer[KERNEL_Y], choice[SPLIT_Y])
        * ceil_ratio(layer[KERNEL_X], choice[SPLIT_X])
        * ceil_ratio(words, choice[SPLIT_WORDS])
    )


@kernel(allocates=False)
def weight_rows(layer: Ints, choice: Ints) -> int:
    """Return the rows of weights, and of indices, that the slots of a choice hold; independent of its tile."""
    if choice[ORDER] == 0:
        rows = choice[GROUP] * layer[KERNEL_Y] * layer[KERNEL_X] * layer[WORDS] * layer[STEPS]
        return int(rows * (SLOTS if choice[GROUP] < layer[BLOCKS] else 1))
    return int(SLOTS * choice[SPLIT_Y] * choice[SPLIT_X] * choice[SPLIT_WORDS] * layer[STEPS])


@kernel(allocates=False)
def sum_entries(layer: Ints, chip: Ints, choice: Ints) -> int:
    """Return the entries of a half of the accumulator for a tile, or a group of them while the reduction is split."""
    sums = ceil_ratio(choice[TILE_ROWS] * choice[TILE_COLUMNS], chip[LANES]) * chip[LANES]
    return int(sums * choice[GROUP] if parts_of(layer, choice, layer[WORDS]) > 1 else sums)


@kernel(allocates=False)
def tile_bytes(layer: Ints, chip: Ints, choice: Ints) -> tuple[int, int]:
    """Return the bytes of activations that LOAD and that VECTOR fill in the slots of a choice."""
    rows = input_window(choice[TILE_ROWS], choice[SPLIT_Y], layer[STRIDE_Y], layer[DILATION_Y])
    columns = input_window(choice[TILE_COLUMNS], choice[SPLIT_X], layer[STRIDE_X], layer[DILATION_X])
    words = min(layer[OUT_WORDS], choice[GROUP] * layer[BLOCK_OUT_WORDS])
    loaded, written = 0, 0
    if not layer[SOURCE_ON_CHIP]:
        loaded = SLOTS * rows * columns * choice[SPLIT_WORDS] * chip[GROUP_SIZE]
    tile = SLOTS * choice[TILE_ROWS] * choice[TILE_COLUMNS] * words * chip[GROUP_SIZE]
    if layer[JOINED] and not layer[OPERAND_ON_CHIP]:
        loaded += tile
    if not layer[TARGET_ON_CHIP]:
        written = tile
    return int(loaded), int(written)


@kernel(allocates=False)
def fits_weights(layer: Ints, chip: Ints, rows: int) -> bool:
    """Return whether weight and index buffer hold so many rows."""
    return bool(rows <= chip[WEIGHT_ROWS] and (layer[INDEX_BITS] == 0 or rows <= chip[INDEX_ROWS]))


@kernel(allocates=False)
def fits_tile(chip: Ints, loaded: int, written: int) -> bool:
    """Return whether the activation buffer holds so many bytes that LOAD and that VECTOR fill."""
    return bool(loaded <= chip[LOADED] and written <= chip[WRITTEN] and loaded + written <= chip[ACTIVATION])


@kernel(allocates=False)
def columns_apart(layer: Ints, words: int) -> bool:
    """Return `ConvShape.columns_apart`."""
    return bool(layer[DILATION_X] != 1 or (layer[SOURCE_ON_CHIP] > 0 and words != layer[SOURCE_ON_CHIP]))


@kernel(allocates=False)
def _part_cycles(
    layer: Ints, chip: Ints, choice: Ints, positions: int, rows: int, columns: int, words: int
) -> int:  # fmt: skip
    """Return the cycles of the COMPUTE of one part of `rows` x `columns` taps and `words` words."""
    n_ry, n_rx, run_words = runs_of(rows, columns, columns_apart(layer, words), words)
    return compute_duration(
        positions, n_ry * n_rx, run_words, layer[STEPS], chip[CHAIN_LENGTH], chip[LANES], chip[WEIGHT_RATE]
    )


@kernel(allocates=False)
def _block_cycles(layer: Ints, chip: Ints, choice: Ints, positions: int, words: int) -> int:
    """Return the cycles of all COMPUTEs of one block over one tile."""
    total = 0
    for ragged_y in range(2):
        rows, down = part_lengths(layer[KERNEL_Y], choice[SPLIT_Y], ragged_y)
        for ragged_x in range(2):
            columns, across = part_lengths(layer[KERNEL_X], choice[SPLIT_X], ragged_x)
            for ragged in range(2):
                depth, deep = part_lengths(words, choice[SPLIT_WORDS], ragged)
                if rows * columns * depth * down * across * deep:
                    cycles = _part_cycles(layer, chip, choice, positions, rows, columns, depth)
                    total += down * across * deep * cycles
    return total


@kernel(allocates=False)
def _joined_cycles(layer: Ints, chip: Ints, choice: Ints, positions: int) -> int:
    """Return the cycles that join one tile of all groups with the second operand in a second pass."""
    full, words = layer[BLOCKS] // choice[GROUP], choice[GROUP] * layer[BLOCK_OUT_WORDS]
    total = 0
    if layer[OUT_WORDS] >= full * words:
        total = full * vector_duration(_MULTIPLY, positions, words, 1, chip[GROUP_SIZE], chip[VECTOR_LANES], 1)
    return total


@kernel(allocates=False)
def _parameter_blocks(layer: Ints, choice: Ints, tiles: int) -> int:
    """Return how many parameter blocks are loaded, one by one, where not all of them stay on chip."""
    blocks, group = layer[BLOCKS], choice[GROUP]
    if choice[ORDER] == 1:
        return int(blocks if blocks <= SLOTS else tiles * blocks)
    ragged = blocks % group
    full, rest = blocks - ragged, ragged
    if group > SLOTS:
        full *= tiles
    if ragged > SLOTS:
        rest *= tiles
    return int(full + rest)


@kernel(allocates=False)
def traffic(
    layer: Ints, kinds: Ints, chip: Ints, choice: Ints
) -> tuple[int, int, int, int, int, int, int, int, int]:  # fmt: skip
    """Return what a choice moves, exactly, but for LOADs of input that are cut into pieces.

    LOADs of weights, bytes of their values and of their indices, LOADs of parameters and their bytes; LOADs of input,
    how many of them read something, and their bytes; bytes stored. A second operand counts as input.
    """
    down, across = ceil_ratio(layer[OUT_ROWS], choice[TILE_ROWS]), ceil_ratio(layer[OUT_COLUMNS], choice[TILE_COLUMNS])
    tiles, groups = layer[BATCH] * down * across, ceil_ratio(layer[BLOCKS], choice[GROUP])
    most, group_size = parts_of(layer, choice, layer[WORDS]), chip[GROUP_SIZE]
    value_bytes, index_bytes, parts = 0, 0, 0
    for kind in range(kinds.shape[0]):
        rows = layer[KERNEL_Y] * layer[KERNEL_X] * kinds[kind, KIND_WORDS] * layer[STEPS]
        values = rows * _row_bytes(chip, kinds[kind, KIND_CHANNELS])
        value_bytes += kinds[kind, KIND_COUNT] * values
        index_bytes += kinds[kind, KIND_COUNT] * (values * layer[INDEX_BITS] // 8)
        parts += kinds[kind, KIND_COUNT] * parts_of(layer, choice, kinds[kind, KIND_WORDS])
    weight_loads = parts if layer[INDEX_BITS] == 0 else 2 * parts
    if choice[ORDER] == 1 and parts > SLOTS:
        weight_loads, value_bytes, index_bytes = tiles * weight_loads, tiles * value_bytes, tiles * index_bytes
    parameter_loads, parameter_bytes = 1, layer[BLOCKS] * layer[PARAMETER_BYTES]
    if not layer[RESIDENT_PARAMETERS]:
        parameter_loads = _parameter_blocks(layer, choice, tiles)
        parameter_bytes = parameter_loads * layer[PARAMETER_BYTES]
    lines, rows_read = _loaded_extents(
        layer[OUT_ROWS], choice[TILE_ROWS], layer[KERNEL_Y], choice[SPLIT_Y], layer[STRIDE_Y], layer[DILATION_Y],
        layer[PAD_Y], layer[ROWS],
    )  # fmt: skip
    pixels, columns_read = _loaded_extents(
        layer[OUT_COLUMNS], choice[TILE_COLUMNS], layer[KERNEL_X], choice[SPLIT_X], layer[STRIDE_X], layer[DILATION_X],
        layer[PAD_X], layer[COLUMNS],
    )  # fmt: skip
    once, windows = layer[BATCH] * lines * pixels * group_size, layer[BATCH] * rows_read * columns_read
    if layer[SHARED]:
        input_loads, input_bytes = tiles * most, once * layer[WORDS]
        reading = windows * ceil_ratio(layer[WORDS], choice[SPLIT_WORDS])
        again = (choice[ORDER] == 0 and input_loads > SLOTS) or (choice[ORDER] == 1 and most > SLOTS)
        if again:
            input_loads, input_bytes, reading = groups * input_loads, groups * input_bytes, groups * reading
    else:
        input_loads, input_bytes, reading = tiles * parts, 0, 0
        for kind in range(kinds.shape[0]):
            input_bytes += once * kinds[kind, KIND_COUNT] * kinds[kind, KIND_WORDS]
            deep = ceil_ratio(kinds[kind, KIND_WORDS], choice[SPLIT_WORDS])
            reading += windows * kinds[kind, KIND_COUNT] * deep
    if layer[SOURCE_ON_CHIP]:
        input_loads, input_bytes, reading = 0, 0, 0
    output_bytes = layer[BATCH] * layer[OUT_ROWS] * layer[OUT_COLUMNS] * layer[OUT_WORDS] * group_size
    if layer[JOINED] and not layer[OPERAND_ON_CHIP]:
        input_loads, input_bytes = input_loads + tiles * groups, input_bytes + output_bytes
        reading += tiles * groups
    if layer[JOINED_BYTES] > 0:
        parameter_loads, parameter_bytes = parameter_loads + 1, parameter_bytes + layer[JOINED_BYTES]
    if layer[TARGET_ON_CHIP]:
        output_bytes = 0
    return (
        int(weight_loads), int(value_bytes), int(index_bytes), int(parameter_loads), int(parameter_bytes),
        int(input_loads), int(reading), int(input_bytes), int(output_bytes),
    )  # fmt: skip


@kernel(allocates=False)
def lower_bound(layer: Ints, kinds: Ints, chip: Ints, choice: Ints) -> tuple[float, float]:
    """Return cycles that a layer under a legal choice cannot do with less than, and cycles it may well take.

    The latter: engines that are not the busiest are idle for one tile's share of their work, while the pipeline of
    tiles fills and drains (ours; only to try choices in a good order).
    """
    down, across = ceil_ratio(layer[OUT_ROWS], choice[TILE_ROWS]), ceil_ratio(layer[OUT_COLUMNS], choice[TILE_COLUMNS])
    tiles, group_size = layer[BATCH] * down * across, chip[GROUP_SIZE]
    groups = ceil_ratio(layer[BLOCKS], choice[GROUP])
    planes = 1 if layer[INDEX_BITS] == 0 else 2
    # COMPUTE and VECTOR, by the four kinds of tiles; the last tile in loop order is the last of them that exists.
    opcode = _REQUANTIZE_ADD if layer[JOINED] and layer[JOINED_BYTES] == 0 else _REQUANTIZE
    compute, vector = 0, 0
    last_compute, last_vector, last_positions = 0, 0, 0
    for ragged_y in range(2):
        height, number_y = part_lengths(layer[OUT_ROWS], choice[TILE_ROWS], ragged_y)
        for ragged_x in range(2):
            width, number_x = part_lengths(layer[OUT_COLUMNS], choice[TILE_COLUMNS], ragged_x)
            positions, number = height * width, layer[BATCH] * number_y * number_x
            if positions * number == 0:
                continue
            last_positions = positions
            if layer[JOINED_BYTES] > 0:
                vector += number * _joined_cycles(layer, chip, choice, positions)
            for kind in range(kinds.shape[0]):
                cycles = _block_cycles(layer, chip, choice, positions, kinds[kind, KIND_WORDS])
                words = ceil_ratio(kinds[kind, KIND_CHANNELS], group_size)
                one = vector_duration(opcode, positions, words, 1, group_size, chip[VECTOR_LANES], 1)
                compute += number * kinds[kind, KIND_COUNT] * cycles
                vector += number * kinds[kind, KIND_COUNT] * one
                if kind == 0 or one < last_vector:
                    last_vector = one
                cycles = _part_cycles(
                    layer, chip, choice, positions, _last_part(layer[KERNEL_Y], choice[SPLIT_Y]),
                    _last_part(layer[KERNEL_X], choice[SPLIT_X]),
                    _last_part(kinds[kind, KIND_WORDS], choice[SPLIT_WORDS]),
                )  # fmt: skip
                if kind == 0 or cycles < last_compute:
                    last_compute = cycles
    (weight_loads, value_bytes, index_bytes, parameter_loads, parameter_bytes, input_loads, reading, input_bytes,
     output_bytes) = traffic(layer, kinds, chip, choice)  # fmt: skip
    weight_bytes = value_bytes + index_bytes
    last_bytes = last_positions * group_size  # at least a word of every position
    last_store = 0.0 if layer[TARGET_ON_CHIP] else STORE_SETUP_CYCLES + chip[LATENCY] + last_bytes / chip[ROW_BYTES]
    # What no COMPUTE waits for, behind what the last one does: the operand's last tile, the last parameters.
    late_loads, late_bytes = 0, 0
    if layer[JOINED] and not layer[OPERAND_ON_CHIP]:
        late_loads, late_bytes = 1, last_bytes * min(layer[OUT_WORDS], choice[GROUP] * layer[BLOCK_OUT_WORDS])
    if not layer[RESIDENT_PARAMETERS]:
        late_loads, late_bytes = late_loads + 1, late_bytes + layer[PARAMETER_BYTES]
    elif tiles * layer[BLOCKS] * parts_of(layer, choice, layer[WORDS]) == 1:
        late_loads, late_bytes = late_loads + parameter_loads, late_bytes + parameter_bytes
    # What comes before the first COMPUTE: instructions, the weights of a part, a LOAD of input or padding.
    load_setup = LOAD_SETUP_CYCLES + LOAD_WRITE_CYCLES
    first_bytes = weight_bytes // max(1, weight_loads // planes) // 2
    inputs = 0 if layer[SOURCE_ON_CHIP] else 1
    head = chip[LATENCY] + _transfer(chip, planes + inputs, planes, first_bytes, load_setup)
    others, loaded = weight_loads + parameter_loads, weight_bytes + input_bytes + parameter_bytes
    load = _transfer(chip, others + input_loads, others + reading, loaded, load_setup)
    before = _transfer(
        chip, others + input_loads - late_loads, others + reading - late_loads, loaded - late_bytes, load_setup
    )
    stores = 0 if layer[TARGET_ON_CHIP] else tiles * groups
    store = _transfer(chip, stores, stores, output_bytes, STORE_SETUP_CYCLES)
    moved = (loaded + output_bytes) * chip[TICKS] / TICKS_PER_CYCLE
    tail = last_vector + last_store
    after = last_store if layer[JOINED_BYTES] > 0 else tail  # a second pass may be shorter than the first
    least = float(
        max(
            max(head + compute + tail, chip[LATENCY] + max(load + after, before + last_compute + tail)),
            max(max(head + last_compute + vector + last_store, head + last_compute + last_vector + store), moved),
        )
    )
    busiest = max(max(float(compute), load), max(float(vector), store))
    return least, least + (compute + load + vector + store - busiest) / (tiles * groups)


@kernel(allocates=False)
def bounds(
    layer: Ints, kinds: Ints, chip: Ints, rows: Ints, columns: Ints, groups: Ints, splits: Ints, found: Ints,
    least: NDArray[np.float64], illegal: Ints, choice: Ints,
) -> int:  # fmt: skip
    """List the legal choices of a space with their bounds; return how many there are.

    splits int64 [n, 3] (kernel rows, kernel columns, words); found int64 [all, CHOICE]; least float64 [all, 2] as
    `lower_bound` returns it; illegal int64 [REASONS] counts the others; choice int64 [CHOICE] is scratch.
    """
    count, tiles = 0, rows.size * columns.size
    for s in range(splits.shape[0]):
        choice[SPLIT_Y], choice[SPLIT_X], choice[SPLIT_WORDS] = splits[s, 0], splits[s, 1], splits[s, 2]
        for g in range(groups.size):
            choice[GROUP] = groups[g]
            for order in range(2):
                choice[ORDER] = order
                if not fits_weights(layer, chip, weight_rows(layer, choice)):
                    illegal[WEIGHTS_TOO_LARGE] += tiles
                    continue
                for r in range(rows.size):
                    for c in range(columns.size):
                        choice[TILE_ROWS], choice[TILE_COLUMNS] = rows[r], columns[c]
                        if sum_entries(layer, chip, choice) > chip[ACCUMULATOR]:
                            illegal[SUMS_TOO_LARGE] += 1
                            continue
                        loaded, written = tile_bytes(layer, chip, choice)
                        if not fits_tile(chip, loaded, written):
                            illegal[TILES_TOO_LARGE] += 1
                        else:
                            for k in range(CHOICE):
                                found[count, k] = choice[k]
                            least[count, 0], least[count, 1] = lower_bound(layer, kinds, chip, choice)
                            count += 1
    return count
