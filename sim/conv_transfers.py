"""Describe the LOADs and STOREs of a mapped multiply-accumulate layer as jobs."""

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.conv_layout import (
    COLUMNS,
    DILATION_X,
    DILATION_Y,
    GROUP_SIZE,
    ONE,
    OUT_COLUMNS,
    OUT_ROWS,
    OUT_WORDS,
    PAD_X,
    PAD_Y,
    PORT_BYTES,
    ROWS,
    SPLIT_COLUMN,
    SPLIT_DEPTH,
    SPLIT_HEIGHT,
    SPLIT_ROW,
    SPLIT_WIDTH,
    SPLIT_WORD,
    STRIDE_X,
    STRIDE_Y,
    TILE_BATCH,
    TILE_COLUMN,
    TILE_HEIGHT,
    TILE_ROW,
    TILE_WIDTH,
    WORDS,
    ZERO,
)
from gossamer.sim.durations import ceil_ratio
from gossamer.sim.engine import FILL_BEATS
from gossamer.sim.kernels import kernel
from gossamer.sim.transfers import describe_runs


@kernel(allocates=False)
def describe_rows(jobs: NDArray[np.int64], at: int, address: int, rows: int, bytes_of_row: int, pitch: int) -> None:
    """Describe a LOAD of consecutive off-chip rows into buffer rows `pitch` bytes apart."""
    if bytes_of_row == pitch:
        describe_runs(jobs, at, address, ONE, ZERO, ONE, ZERO, rows * bytes_of_row, ZERO, ZERO)
    else:
        describe_runs(jobs, at, address, rows, bytes_of_row, ONE, ZERO, bytes_of_row, pitch, ZERO)


@kernel(allocates=False)
def window_height(layer: NDArray[np.int64], tile: NDArray[np.int64], split: NDArray[np.int64]) -> int:
    """Return the input lines a tile needs over a split."""
    return int((tile[TILE_HEIGHT] - 1) * layer[STRIDE_Y] + (split[SPLIT_HEIGHT] - 1) * layer[DILATION_Y] + 1)


@kernel(allocates=False)
def window_width(layer: NDArray[np.int64], tile: NDArray[np.int64], split: NDArray[np.int64]) -> int:
    """Return the input columns a tile needs over a split."""
    return int((tile[TILE_WIDTH] - 1) * layer[STRIDE_X] + (split[SPLIT_WIDTH] - 1) * layer[DILATION_X] + 1)


@kernel(allocates=False)
def piece_count(layer: NDArray[np.int64], tile: NDArray[np.int64], split: NDArray[np.int64], chunks: int) -> int:
    """Return the pieces of lines, or of columns if there is one line, that about `chunks` pieces are."""
    length = window_height(layer, tile, split)
    if length == 1:
        length = window_width(layer, tile, split)
    return ceil_ratio(length, ceil_ratio(length, chunks))


@kernel(allocates=False)
def describe_input(
    layer: NDArray[np.int64], jobs: NDArray[np.int64], at: int, address: int, tile: NDArray[np.int64],
    split: NDArray[np.int64], word: int, chunks: int, chunk: int,
) -> None:  # fmt: skip
    """Describe the LOAD of a piece of the input a tile needs over a split; the input is at `address`.

    `word`: first word of the block. Code generation cuts padding of more than 255 lines into several LOADs; here it is
    one.
    """
    top = tile[TILE_ROW] * layer[STRIDE_Y] - layer[PAD_Y] + split[SPLIT_ROW] * layer[DILATION_Y]
    left = tile[TILE_COLUMN] * layer[STRIDE_X] - layer[PAD_X] + split[SPLIT_COLUMN] * layer[DILATION_X]
    height, width = window_height(layer, tile, split), window_width(layer, tile, split)
    if height == 1:
        piece = ceil_ratio(width, chunks)
        left, width = left + chunk * piece, min(piece, width - chunk * piece)
    else:
        piece = ceil_ratio(height, chunks)
        top, height = top + chunk * piece, min(piece, height - chunk * piece)
    pixel, port_bytes = split[SPLIT_DEPTH] * layer[GROUP_SIZE], layer[PORT_BYTES]
    low, high = max(0, top), min(layer[ROWS], top + height)
    first, last = max(0, left), min(layer[COLUMNS], left + width)
    if high <= low or last <= first:
        jobs[at, FILL_BEATS] = height * ceil_ratio(width * pixel, port_bytes)
        return
    ends = ceil_ratio((first - left) * pixel, port_bytes) + ceil_ratio((left + width - last) * pixel, port_bytes)
    around = height - (high - low)
    jobs[at, FILL_BEATS] = around * ceil_ratio(width * pixel, port_bytes) + (high - low) * ends
    column = layer[WORDS] * layer[GROUP_SIZE]
    row = column * layer[COLUMNS]
    address += (tile[TILE_BATCH] * layer[ROWS] + low) * row + first * column
    address += (word + split[SPLIT_WORD]) * layer[GROUP_SIZE]
    if column == pixel:
        describe_runs(jobs, at, address, high - low, row, ONE, ZERO, (last - first) * pixel, width * pixel, ZERO)
    else:
        describe_runs(jobs, at, address, high - low, row, last - first, column, pixel, width * pixel, pixel)


@kernel(allocates=False)
def describe_output(
    layer: NDArray[np.int64], jobs: NDArray[np.int64], at: int, address: int, tile: NDArray[np.int64], channel: int,
    words: int,
) -> None:  # fmt: skip
    """Describe the STORE of `words` words from `channel` on of an output tile; the output is at `address`."""
    pixel, column = words * layer[GROUP_SIZE], layer[OUT_WORDS] * layer[GROUP_SIZE]
    row, line = column * layer[OUT_COLUMNS], tile[TILE_WIDTH] * pixel
    address += (tile[TILE_BATCH] * layer[OUT_ROWS] + tile[TILE_ROW]) * row
    address += tile[TILE_COLUMN] * column + channel
    if column == pixel:
        describe_runs(jobs, at, address, tile[TILE_HEIGHT], row, ONE, ZERO, line, line, ZERO)
    else:
        describe_runs(jobs, at, address, tile[TILE_HEIGHT], row, tile[TILE_WIDTH], column, pixel, line, pixel)
