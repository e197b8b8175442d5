"""Number what the schedule of a multiply-accumulate layer depends on, and find its tiles, splits and addresses.

A layer is taken to be the only one of a Program: off chip lie its instructions, weights, indices, parameters, and its
tensors, the larger first, equal ones as output, input, second operand. Addresses count from the end of the
instructions, whose number the schedule has yet to tell. Tensors on chip have no bytes off chip.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.durations import ceil_ratio
from gossamer.sim.kernels import kernel

ALIGN_BYTES = 64
"""Of every constant, weight segment and tensor off chip."""

_numbers: Any = [np.int64(number) for number in (0, 1)]
ZERO, ONE = _numbers
"""Not Python ints, see `gossamer.sim.engine.UNKNOWN`."""

# Entries of `layer`, what the kernels need of ConvShape, ConvMapping, places of tensors, array and memory.
(BATCH, ROWS, COLUMNS, WORDS, OUT_ROWS, OUT_COLUMNS, OUT_WORDS, KERNEL_Y, KERNEL_X, STRIDE_Y, STRIDE_X, DILATION_Y,
 DILATION_X, PAD_Y, PAD_X, STEPS, INDEX_BITS, SHARED, PARAMETER_BYTES, RESIDENT, TILE_ROWS, TILE_COLUMNS, GROUP,
 SPLIT_Y, SPLIT_X, SPLIT_WORDS, ALL_PARAMETERS, GROUP_SIZE, CHAINS, CHAIN_LENGTH, LANES, WEIGHT_RATE, VECTOR_LANES,
 PORT_BYTES, JOINED, JOINED_BYTES, SOURCE_ON_CHIP, TARGET_ON_CHIP, OPERAND_ON_CHIP,
 LAYER_ENTRIES) = range(40)  # fmt: skip
# Columns of `blocks` int64 [n, BLOCK_COLUMNS]; BLOCK_PARTS: splits of its reduction.
BLOCK_FIRST, BLOCK_CHANNELS, BLOCK_WORD, BLOCK_WORDS, BLOCK_PARTS, BLOCK_COLUMNS = range(6)
# Columns of `tiles` int64 [n, TILE_ENTRIES].
TILE_BATCH, TILE_ROW, TILE_HEIGHT, TILE_COLUMN, TILE_WIDTH, TILE_ENTRIES = range(6)
# Entries of `splits` int64 [blocks, parts, SPLIT_ENTRIES]: kernel rows, kernel columns, words, weight rows, and where
# weight values and indices begin off chip.
(SPLIT_ROW, SPLIT_HEIGHT, SPLIT_COLUMN, SPLIT_WIDTH, SPLIT_WORD, SPLIT_DEPTH, WEIGHT_ROWS, VALUES_AT, INDICES_AT,
 SPLIT_ENTRIES) = range(10)  # fmt: skip
# Entries of `regions`: where parameters, input, output, the second operand and its parameters begin.
PARAMETERS_AT, INPUT_AT, OUTPUT_AT, OPERAND_AT, JOINED_AT, REGIONS = range(6)


@kernel(allocates=False)
def cut_tiles(layer: NDArray[np.int64], tiles: NDArray[np.int64]) -> None:
    """Fill `tiles` in loop order: batch, rows, columns."""
    across = ceil_ratio(layer[OUT_COLUMNS], layer[TILE_COLUMNS])
    down = ceil_ratio(layer[OUT_ROWS], layer[TILE_ROWS])
    for number in range(tiles.shape[0]):
        row, column = number // across % down * layer[TILE_ROWS], number % across * layer[TILE_COLUMNS]
        tiles[number, TILE_BATCH] = number // (across * down)
        tiles[number, TILE_ROW], tiles[number, TILE_COLUMN] = row, column
        tiles[number, TILE_HEIGHT] = min(layer[TILE_ROWS], layer[OUT_ROWS] - row)
        tiles[number, TILE_WIDTH] = min(layer[TILE_COLUMNS], layer[OUT_COLUMNS] - column)


@kernel(allocates=False)
def cut_reductions(layer: NDArray[np.int64], blocks: NDArray[np.int64], splits: NDArray[np.int64]) -> None:
    """Fill the splits of every block in loop order, words, kernel rows, kernel columns; addresses are left out."""
    across = ceil_ratio(layer[KERNEL_X], layer[SPLIT_X])
    down = ceil_ratio(layer[KERNEL_Y], layer[SPLIT_Y])
    for block in range(blocks.shape[0]):
        words = blocks[block, BLOCK_WORDS]
        for part in range(blocks[block, BLOCK_PARTS]):
            row, column = part // across % down * layer[SPLIT_Y], part % across * layer[SPLIT_X]
            word = part // (across * down) * layer[SPLIT_WORDS]
            height, width = min(layer[SPLIT_Y], layer[KERNEL_Y] - row), min(layer[SPLIT_X], layer[KERNEL_X] - column)
            depth = min(layer[SPLIT_WORDS], words - word)
            splits[block, part, SPLIT_ROW], splits[block, part, SPLIT_HEIGHT] = row, height
            splits[block, part, SPLIT_COLUMN], splits[block, part, SPLIT_WIDTH] = column, width
            splits[block, part, SPLIT_WORD], splits[block, part, SPLIT_DEPTH] = word, depth
            splits[block, part, WEIGHT_ROWS] = height * width * depth * layer[STEPS]


@kernel(allocates=False)
def most_parts(blocks: NDArray[np.int64], first: int, end: int) -> int:
    """Return the most splits of any block of a range."""
    most = 0
    for block in range(first, end):
        most = max(most, blocks[block, BLOCK_PARTS])
    return most


@kernel(allocates=False)
def row_bytes(layer: NDArray[np.int64], channels: int) -> int:
    """Return the bytes of an off-chip row of weight values: the active chains in whole words, a multiple of 8."""
    return int(ceil_ratio(ceil_ratio(channels, layer[GROUP_SIZE]) * layer[GROUP_SIZE], 8) * 8)


@kernel(allocates=False)
def _aligned(size_bytes: int) -> int:
    """Return bytes rounded up to ALIGN_BYTES."""
    return ceil_ratio(size_bytes, ALIGN_BYTES) * ALIGN_BYTES


@kernel(allocates=False)
def place_regions(
    layer: NDArray[np.int64], blocks: NDArray[np.int64], splits: NDArray[np.int64], regions: NDArray[np.int64]
) -> None:
    """Fill regions int64 [REGIONS] and the addresses of `splits`."""
    values_end, indices_end = 0, 0
    for block in range(blocks.shape[0]):
        bytes_of_row = row_bytes(layer, blocks[block, BLOCK_CHANNELS])
        for part in range(blocks[block, BLOCK_PARTS]):
            values = splits[block, part, WEIGHT_ROWS] * bytes_of_row
            splits[block, part, VALUES_AT], splits[block, part, INDICES_AT] = values_end, indices_end
            values_end += _aligned(values)
            indices_end += _aligned(values * layer[INDEX_BITS] // 8)
    for block in range(blocks.shape[0]):
        for part in range(blocks[block, BLOCK_PARTS]):
            splits[block, part, INDICES_AT] += values_end
    regions[PARAMETERS_AT] = values_end + indices_end
    regions[JOINED_AT] = regions[PARAMETERS_AT] + _aligned(blocks.shape[0] * layer[PARAMETER_BYTES])
    tensors = regions[JOINED_AT] + _aligned(layer[JOINED_BYTES])
    result_bytes = layer[BATCH] * layer[OUT_ROWS] * layer[OUT_COLUMNS] * layer[OUT_WORDS] * layer[GROUP_SIZE]
    in_bytes = layer[BATCH] * layer[ROWS] * layer[COLUMNS] * layer[WORDS] * layer[GROUP_SIZE]
    in_bytes *= 1 - layer[SOURCE_ON_CHIP]
    out_bytes = result_bytes * (1 - layer[TARGET_ON_CHIP])
    operand_bytes = result_bytes * layer[JOINED] * (1 - layer[OPERAND_ON_CHIP])
    regions[INPUT_AT] = regions[OUTPUT_AT] = regions[OPERAND_AT] = tensors
    if in_bytes > out_bytes:
        regions[OUTPUT_AT] += _aligned(in_bytes)
    else:
        regions[INPUT_AT] += _aligned(out_bytes)
    if operand_bytes > out_bytes:
        regions[OUTPUT_AT] += _aligned(operand_bytes)
    else:
        regions[OPERAND_AT] += _aligned(out_bytes)
    if operand_bytes > in_bytes:
        regions[INPUT_AT] += _aligned(operand_bytes)
    else:
        regions[OPERAND_AT] += _aligned(in_bytes)
