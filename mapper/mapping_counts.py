"""Count the events of a mapping that cost energy, in closed form, fast enough for every tiling of a layer.

The counts are those of `gossamer.sim.accounting.activity` for the Program of this layer alone: LOADs and STOREs of the
schedule, COMPUTEs, REQUANTIZEs and joins, and what each of them reads and writes (tests/cross/test_objectives.py).
Off-chip bytes are those that instructions ask for, and the instructions; beats that are carried in vain are not here.
"""

from gossamer.arch.accumulator import SUM_BYTES
from gossamer.arch.isa import INSTRUCTION_BYTES
from gossamer.dataflow.numerics import HEADER_DTYPE, REQUANTIZE_DTYPE
from gossamer.mapper.mapping_bound import (
    BATCH,
    BLOCKS,
    CHAIN_LENGTH,
    CHAINS,
    DILATION_X,
    DILATION_Y,
    GROUP,
    GROUP_SIZE,
    INDEX_BITS,
    JOINED,
    JOINED_BYTES,
    KERNEL_X,
    KERNEL_Y,
    KIND_CHANNELS,
    KIND_COUNT,
    KIND_WORDS,
    ORDER,
    OUT_COLUMNS,
    OUT_ROWS,
    OUT_WORDS,
    SHARED,
    SOURCE_ON_CHIP,
    SPLIT_WORDS,
    SPLIT_X,
    SPLIT_Y,
    STEPS,
    STRIDE_X,
    STRIDE_Y,
    TARGET_ON_CHIP,
    TILE_COLUMNS,
    TILE_ROWS,
    WORDS,
    Ints,
    columns_apart,
    input_window,
    part_lengths,
    parts_of,
    runs_of,
    traffic,
)
from gossamer.sim.conv_schedule import INPUT_CHUNKS
from gossamer.sim.durations import ceil_ratio
from gossamer.sim.kernels import kernel

BUFFERS = ("activation", "weight", "index", "accumulator", "parameter")
"""In the order of the counts; each is read, then written."""

# Columns of `counts` int64 [n, COUNTS]. READ, WRITTEN: of the first of BUFFERS; those of the others follow.
MAC_SLOTS, FORWARDED, OPERATIONS, INSTRUCTIONS, OFF_CHIP, READ, WRITTEN = range(7)
COUNTS = READ + 2 * len(BUFFERS)

_HEADER_BYTES, _ENTRY_BYTES = int(HEADER_DTYPE.itemsize), int(REQUANTIZE_DTYPE.itemsize)


@kernel(allocates=False)
def _pieces(layer: Ints, choice: Ints, height: int, width: int) -> int:
    """Return the LOADs that a tile's input is cut into while it is loaded ahead of its tile."""
    length = input_window(height, choice[SPLIT_Y], layer[STRIDE_Y], layer[DILATION_Y])
    if length == 1:
        length = input_window(width, choice[SPLIT_X], layer[STRIDE_X], layer[DILATION_X])
    return ceil_ratio(length, ceil_ratio(length, min(INPUT_CHUNKS, layer[BLOCKS] - 1)))


@kernel(allocates=False)
def _more_loads(layer: Ints, choice: Ints) -> int:
    """Return how many more LOADs of input there are than tiles because all but the first are loaded in pieces."""
    if (
        layer[SOURCE_ON_CHIP]
        or choice[ORDER] == 0
        or not layer[SHARED]
        or layer[BLOCKS] == 1
        or parts_of(layer, choice, layer[WORDS]) > 1
    ):
        return 0
    more = 1 - _pieces(layer, choice, choice[TILE_ROWS], choice[TILE_COLUMNS])
    for ragged_y in range(2):
        height, down = part_lengths(layer[OUT_ROWS], choice[TILE_ROWS], ragged_y)
        for ragged_x in range(2):
            width, across = part_lengths(layer[OUT_COLUMNS], choice[TILE_COLUMNS], ragged_x)
            if height * width * down * across:
                more += layer[BATCH] * down * across * (_pieces(layer, choice, height, width) - 1)
    return int(more)


@kernel(allocates=False)
def _passes(layer: Ints, chip: Ints, choice: Ints, words: int) -> int:
    """Return the passes over a tile's positions of one block of `words` input words."""
    total = 0
    for ragged_y in range(2):
        rows, down = part_lengths(layer[KERNEL_Y], choice[SPLIT_Y], ragged_y)
        for ragged_x in range(2):
            columns, across = part_lengths(layer[KERNEL_X], choice[SPLIT_X], ragged_x)
            for ragged in range(2):
                depth, deep = part_lengths(words, choice[SPLIT_WORDS], ragged)
                if rows * columns * depth * down * across * deep:
                    n_ry, n_rx, run_words = runs_of(rows, columns, columns_apart(layer, depth), depth)
                    folds = n_ry * n_rx * ceil_ratio(run_words, chip[CHAIN_LENGTH])
                    total += down * across * deep * folds * layer[STEPS]
    return int(total)


@kernel(allocates=False)
def count_one(layer: Ints, kinds: Ints, chip: Ints, choice: Ints, counts: Ints) -> None:
    """Fill counts int64 [COUNTS] of a choice."""
    down, across = ceil_ratio(layer[OUT_ROWS], choice[TILE_ROWS]), ceil_ratio(layer[OUT_COLUMNS], choice[TILE_COLUMNS])
    tiles, groups = layer[BATCH] * down * across, ceil_ratio(layer[BLOCKS], choice[GROUP])
    positions, group_size = layer[BATCH] * layer[OUT_ROWS] * layer[OUT_COLUMNS], chip[GROUP_SIZE]
    slots, rows, words, parts, passes, entries = 0, 0, 0, 0, 0, 0
    for kind in range(kinds.shape[0]):
        number, out_words = kinds[kind, KIND_COUNT], ceil_ratio(kinds[kind, KIND_CHANNELS], group_size)
        block_rows = layer[KERNEL_Y] * layer[KERNEL_X] * kinds[kind, KIND_WORDS] * layer[STEPS]
        slots += number * block_rows * out_words * group_size
        rows += number * block_rows
        words += number * out_words
        parts += number * parts_of(layer, choice, kinds[kind, KIND_WORDS])
        passes += number * _passes(layer, chip, choice, kinds[kind, KIND_WORDS])
        entries += number * (_HEADER_BYTES + out_words * group_size * _ENTRY_BYTES)
    elements, joins = positions * words * group_size, 0
    joined_elements, added = 0, 0
    if layer[JOINED_BYTES] > 0:
        joins, joined_elements = tiles * groups, positions * layer[OUT_WORDS] * group_size
    elif layer[JOINED]:
        added = elements
    (weight_loads, value_bytes, index_bytes, parameter_loads, parameter_bytes, input_loads, _, input_bytes,
     output_bytes) = traffic(layer, kinds, chip, choice)  # fmt: skip
    loads = weight_loads + parameter_loads + input_loads + _more_loads(layer, choice)
    stores = 0 if layer[TARGET_ON_CHIP] else tiles * groups
    instructions = loads + stores + tiles * (parts + layer[BLOCKS]) + joins + 1
    sums = positions * chip[CHAINS] * SUM_BYTES
    counts[MAC_SLOTS] = positions * slots
    counts[FORWARDED] = positions * rows * group_size * chip[CHAINS]
    counts[OPERATIONS] = elements + joined_elements + added
    counts[INSTRUCTIONS] = instructions
    moved = value_bytes + index_bytes + parameter_bytes + input_bytes + output_bytes
    counts[OFF_CHIP] = moved + instructions * INSTRUCTION_BYTES
    activation, weight, index, accumulator, parameter = READ, READ + 2, READ + 4, READ + 6, READ + 8
    counts[activation] = positions * rows * group_size + 2 * joined_elements + added + output_bytes
    counts[activation + 1] = elements + joined_elements + input_bytes
    counts[weight], counts[weight + 1] = tiles * rows * chip[CHAINS], value_bytes
    counts[index], counts[index + 1] = tiles * rows * layer[INDEX_BITS] * chip[CHAINS] // 8, index_bytes
    counts[accumulator] = sums * (passes - layer[BLOCKS]) + elements * SUM_BYTES
    counts[accumulator + 1] = sums * passes
    counts[parameter], counts[parameter + 1] = tiles * entries + joins * _HEADER_BYTES, parameter_bytes


@kernel(allocates=False)
def count_all(layer: Ints, kinds: Ints, chip: Ints, choices: Ints, counts: Ints) -> None:
    """Fill counts int64 [n, COUNTS] of choices int64 [n, CHOICE]."""
    for number in range(choices.shape[0]):
        count_one(layer, kinds, chip, choices[number], counts[number])
