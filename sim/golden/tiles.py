"""Run planned convolutions tile by tile: fill the panel, add weight pairs with the vector loops, write the sums."""

import numpy as np
from numba import prange
from numpy.typing import NDArray

from gossamer.sim.golden.panels import BLOCK
from gossamer.sim.golden.vectors import DENSE_OUTPUTS, DENSE_POSITIONS, SPARSE_POSITIONS, add_dense, add_sparse
from gossamer.sim.kernels import kernel


@kernel
def fill_panel(
    source: NDArray[np.int64],
    start: int,
    unit_offset: NDArray[np.int64],
    unit_word: NDArray[np.int64],
    group_word: int,
    pitch: int,
    words: NDArray[np.int64],
    panel: NDArray[np.int16],
) -> None:
    """Turn units of 8 channels into panel rows: source int64 (positions, words) of one image, from position `start` on.

    words int64 [pitch] is working memory. Positions after the end are left as they are: only outputs that do not exist
    meet them.
    """
    for unit in range(unit_offset.size):
        first = start + unit_offset[unit]
        word = unit_word[unit] + group_word
        count = min(pitch, source.shape[0] - first)
        for i in range(count):
            words[i] = source[first + i, word]
        for channel in range(BLOCK):
            place = (unit * BLOCK + channel) * pitch
            for i in range(pitch):
                panel[place + i] = np.int16(np.int8(words[i] >> (BLOCK * channel)))


@kernel
def write_sums(
    sums: NDArray[np.int32], start: int, width: int, first_channel: int, channels: int, acc: NDArray[np.int32]
) -> None:
    """Write the sums of a tile, int32 [channels * SPARSE_POSITIONS], to acc (rows, columns, all channels)."""
    for p in range(SPARSE_POSITIONS):
        y, x = (start + p) // width, (start + p) % width
        if y < acc.shape[0] and x < acc.shape[1]:
            for c in range(channels):
                acc[y, x, first_channel + c] = sums[c * SPARSE_POSITIONS + p]


@kernel(parallel=True)
def convolve_sparse(
    source: NDArray[np.int64],
    width: int,
    pitch: int,
    unit_offset: NDArray[np.int64],
    unit_word: NDArray[np.int64],
    group_words: int,
    chunk_units: int,
    groups: int,
    first: NDArray[np.int64],
    offsets: NDArray[np.int32],
    weights: NDArray[np.int32],
    acc: NDArray[np.int32],
) -> None:
    """Accumulate sparse weights (`SparseWeights`) over a plan (`PanelPlan`) into acc int32 (N, rows, columns, O)."""
    rows, columns, outputs = acc.shape[1:]
    tiles = ((rows - 1) * width + columns + SPARSE_POSITIONS - 1) // SPARSE_POSITIONS
    per_group = outputs // groups
    for tile in prange(acc.shape[0] * tiles):
        image, start = tile // tiles, (tile % tiles) * SPARSE_POSITIONS
        words = np.zeros(pitch, np.int64)
        panel = np.empty(chunk_units * BLOCK * pitch, np.int16)
        sums = np.empty(per_group * SPARSE_POSITIONS, np.int32)
        for group in range(groups):
            sums[:] = 0
            for chunk in range(first.shape[1] - 1):
                here = slice(chunk * chunk_units, min((chunk + 1) * chunk_units, unit_offset.size))
                fill_panel(
                    source[image], start, unit_offset[here], unit_word[here], group * group_words, pitch, words, panel
                )
                for c in range(per_group):
                    begin, end = first[group * per_group + c, chunk], first[group * per_group + c, chunk + 1]
                    add_sparse(panel, offsets, weights, begin, end - begin, sums, c * SPARSE_POSITIONS)
            write_sums(sums, start, width, group * per_group, per_group, acc[image])


@kernel(parallel=True)
def convolve_dense(
    source: NDArray[np.int64],
    width: int,
    pitch: int,
    unit_offset: NDArray[np.int64],
    unit_word: NDArray[np.int64],
    group_words: int,
    chunk_units: int,
    groups: int,
    first: NDArray[np.int64],
    offsets: NDArray[np.int32],
    weights: NDArray[np.int32],
    acc: NDArray[np.int32],
) -> None:
    """Accumulate all weights (`DenseWeights`, flattened) over a plan into acc int32 (N, rows, columns, O)."""
    rows, columns, outputs = acc.shape[1:]
    tiles = ((rows - 1) * width + columns + SPARSE_POSITIONS - 1) // SPARSE_POSITIONS
    per_group = outputs // groups
    blocks = (per_group + DENSE_OUTPUTS - 1) // DENSE_OUTPUTS
    for tile in prange(acc.shape[0] * tiles):
        image, start = tile // tiles, (tile % tiles) * SPARSE_POSITIONS
        words = np.zeros(pitch, np.int64)
        panel = np.empty(chunk_units * BLOCK * pitch, np.int16)
        sums = np.empty(blocks * DENSE_OUTPUTS * SPARSE_POSITIONS, np.int32)
        for group in range(groups):
            sums[:] = 0
            for chunk in range(first.size - 1):
                here = slice(chunk * chunk_units, min((chunk + 1) * chunk_units, unit_offset.size))
                fill_panel(
                    source[image], start, unit_offset[here], unit_word[here], group * group_words, pitch, words, panel
                )
                for block in range(blocks):
                    place = ((group * blocks + block) * first[first.size - 1] + first[chunk]) * DENSE_OUTPUTS
                    for part in range(0, SPARSE_POSITIONS, DENSE_POSITIONS):
                        add_dense(
                            panel, offsets, weights, first[chunk], place, first[chunk + 1] - first[chunk], part,
                            sums, block * DENSE_OUTPUTS * SPARSE_POSITIONS + part, SPARSE_POSITIONS,
                        )  # fmt: skip
            write_sums(sums, start, width, group * per_group, per_group, acc[image])
