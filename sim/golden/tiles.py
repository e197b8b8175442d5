"""Run planned convolutions tile by tile: fill the panel, add weight pairs with the vector loops, write the sums."""

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.golden.vectors import (
    DENSE_OUTPUTS,
    DENSE_POSITIONS,
    SPARSE_POSITIONS,
    TURN_CHANNELS,
    add_dense,
    add_sparse,
    turn,
)
from gossamer.sim.kernels import kernel


@kernel
def fill_panel(
    source: NDArray[np.int8],
    image: int,
    start: int,
    unit_offset: NDArray[np.int64],
    unit_channel: NDArray[np.int64],
    units: tuple[int, int],
    group_channel: int,
    pitch: int,
    panel: NDArray[np.int16],
) -> None:
    """Turn the units [first, last) of 8 channels into panel rows, from position `start` of an image on.

    source int8 (N, positions, channels). Positions after the end of the image are left as they are: only outputs that
    do not exist meet them.
    """
    positions, stride = source.shape[1], source.shape[2]
    flat = source.reshape(-1)
    for unit in range(units[0], units[1]):
        first = start + unit_offset[unit]
        row = (unit - units[0]) * TURN_CHANNELS * pitch
        for p in range(0, pitch, DENSE_POSITIONS):
            place = (image * positions + first + p) * stride + unit_channel[unit] + group_channel
            if first + p + DENSE_POSITIONS <= positions:
                turn(flat, place, stride, panel, row + p, pitch)
            else:
                for i in range(max(0, positions - first - p)):
                    for c in range(TURN_CHANNELS):
                        panel[row + c * pitch + p + i] = flat[place + i * stride + c]


@kernel
def write_sums(
    sums: NDArray[np.int32], image: int, start: int, width: int, first: int, channels: int, acc: NDArray[np.int32]
) -> None:
    """Write the sums of a tile, int32 [channels * SPARSE_POSITIONS], to channels `first` on of acc (N, h, w, O)."""
    for p in range(SPARSE_POSITIONS):
        y, x = (start + p) // width, (start + p) % width
        if y < acc.shape[1] and x < acc.shape[2]:
            for c in range(channels):
                acc[image, y, x, first + c] = sums[c * SPARSE_POSITIONS + p]


@kernel
def convolve_sparse(
    source: NDArray[np.int8],
    width: int,
    pitch: int,
    unit_offset: NDArray[np.int64],
    unit_channel: NDArray[np.int64],
    group_channels: int,
    chunk_units: int,
    groups: int,
    first: NDArray[np.int64],
    offsets: NDArray[np.uint16],
    weights: NDArray[np.int32],
    acc: NDArray[np.int32],
    begin: int,
    end: int,
) -> None:
    """Accumulate sparse weights (`SparseWeights`) over tiles begin .. end - 1 of a plan into acc int32 (N, h, w, O)."""
    tiles = tiles_per_image(acc.shape[1], acc.shape[2], width)
    per_group = acc.shape[3] // groups
    panel = np.empty(chunk_units * TURN_CHANNELS * pitch, np.int16)
    sums = np.empty(per_group * SPARSE_POSITIONS, np.int32)
    for tile in range(begin, end):
        image, start = tile // tiles, (tile % tiles) * SPARSE_POSITIONS
        for group in range(groups):
            sums[:] = 0
            for chunk in range(first.shape[1] - 1):
                units = (chunk * chunk_units, min((chunk + 1) * chunk_units, unit_offset.size))
                channel = group * group_channels
                fill_panel(source, image, start, unit_offset, unit_channel, units, channel, pitch, panel)
                for c in range(per_group):
                    pair, last = first[group * per_group + c, chunk], first[group * per_group + c, chunk + 1]
                    add_sparse(panel, offsets, weights, pair, last - pair, sums, c * SPARSE_POSITIONS)
            write_sums(sums, image, start, width, group * per_group, per_group, acc)


@kernel
def convolve_dense(
    source: NDArray[np.int8],
    width: int,
    pitch: int,
    unit_offset: NDArray[np.int64],
    unit_channel: NDArray[np.int64],
    group_channels: int,
    chunk_units: int,
    groups: int,
    first: NDArray[np.int64],
    offsets: NDArray[np.uint16],
    weights: NDArray[np.int32],
    acc: NDArray[np.int32],
    begin: int,
    end: int,
) -> None:
    """Accumulate all weights (`DenseWeights`, flat) over tiles begin .. end - 1 of a plan into acc (N, h, w, O)."""
    tiles = tiles_per_image(acc.shape[1], acc.shape[2], width)
    per_group = acc.shape[3] // groups
    blocks = (per_group + DENSE_OUTPUTS - 1) // DENSE_OUTPUTS
    panel = np.empty(chunk_units * TURN_CHANNELS * pitch, np.int16)
    sums = np.empty(blocks * DENSE_OUTPUTS * SPARSE_POSITIONS, np.int32)
    for tile in range(begin, end):
        image, start = tile // tiles, (tile % tiles) * SPARSE_POSITIONS
        for group in range(groups):
            sums[:] = 0
            for chunk in range(first.size - 1):
                units = (chunk * chunk_units, min((chunk + 1) * chunk_units, unit_offset.size))
                channel = group * group_channels
                fill_panel(source, image, start, unit_offset, unit_channel, units, channel, pitch, panel)
                count = first[chunk + 1] - first[chunk]
                for block in range(blocks):
                    pair = ((group * blocks + block) * first[first.size - 1] + first[chunk]) * DENSE_OUTPUTS
                    for part in range(0, SPARSE_POSITIONS, DENSE_POSITIONS):
                        place = block * DENSE_OUTPUTS * SPARSE_POSITIONS + part
                        add_dense(
                            panel, offsets, weights, first[chunk], pair, count, part, sums, place, SPARSE_POSITIONS
                        )
            write_sums(sums, image, start, width, group * per_group, per_group, acc)


@kernel
def tiles_per_image(rows: int, columns: int, width: int) -> int:
    """Return the tiles of a map of output rows and columns, counted along an input of row length `width`."""
    return ((rows - 1) * width + columns + SPARSE_POSITIONS - 1) // SPARSE_POSITIONS
