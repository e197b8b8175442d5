"""Pack int8 weights into the rows COMPUTE reads: a value plane, and for N:M weights an index plane.

Row order is that of `gossamer.arch.isa`: run, fold, step, stage. Off chip a row holds the block's active chains rounded
up to 8, as bytes in the value plane and as `index_bits` each, least significant first, in the index plane.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import MappingError
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import Block, ConvMapping, Split, reduction_runs
from gossamer.sim.kernels import kernel

ROW_CHAINS = 8
"""Off-chip rows hold a multiple of this many chains, so that index rows are whole bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightPlanes:
    """Packed weights of a layer; segment (block, split) starts at `offsets` and has `rows` rows.

    values, indices: uint8 [bytes], indices empty for dense weights. Offsets are by (block, split).
    """

    values: NDArray[np.uint8]
    indices: NDArray[np.uint8]
    value_offsets: dict[tuple[int, int], int]
    index_offsets: dict[tuple[int, int], int]


def active_chains(block: Block, group_size: int) -> int:
    """Return the chains a COMPUTE of this block runs: whole output words, so that pad channels are defined."""
    return ceil_div(block.channels, group_size) * group_size


def row_chains(block: Block, group_size: int) -> int:
    """Return the chains an off-chip row of this block holds."""
    return ceil_div(active_chains(block, group_size), ROW_CHAINS) * ROW_CHAINS


@kernel
def _pack(
    weight: NDArray[np.int8], first: int, count: int, out_per_group: int, row: int, rows: int, column: int,
    columns: int, word: int, words: int, joined: bool, chain_length: int, group_size: int, steps: int, slots: int,
    index_bits: int, row_bytes: int, values: NDArray[np.uint8], indices: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Fill values (and indices) of one block over one split; return -1, or the output channel with too many nonzeros.

    weight int8 [out, kernel rows, kernel columns, channels per group]; values, indices uint8, zeroed, flat.
    """
    per_group = weight.shape[3]
    index_row_bytes = row_bytes * index_bits // 8
    if joined:
        runs_x, run_words = 1, columns * words
    else:
        runs_x, run_words = columns, words
    sub = group_size
    if index_bits > 0:
        sub = 1 << index_bits
    for ry in range(rows):
        for kx in range(columns):
            for k in range(words):
                if joined:
                    run, position = ry, kx * words + k
                else:
                    run, position = ry * runs_x + kx, k
                fold = position // chain_length
                stages = min(chain_length, run_words - fold * chain_length)
                base = (run * run_words + fold * chain_length) * steps + position - fold * chain_length
                for c in range(count):
                    low = (word + k) * group_size - (first + c) // out_per_group * per_group
                    start = max(0, -low)
                    stop = min(group_size, per_group - low)
                    if index_bits == 0:
                        for e in range(start, min(stop, steps)):
                            values[(base + e * stages) * row_bytes + c] = np.uint8(
                                weight[first + c, row + ry, column + kx, low + e]
                            )
                        continue
                    used = 0
                    group = -1
                    for e in range(start, stop):
                        value = weight[first + c, row + ry, column + kx, low + e]
                        if value == 0:
                            continue
                        if e // sub != group:
                            group = e // sub
                            used = 0
                        step = group * slots + used
                        if used == slots or step >= steps:
                            return first + c
                        used += 1
                        at = base + step * stages
                        values[at * row_bytes + c] = np.uint8(value)
                        bit = c * index_bits
                        shifted = (e - group * sub) << (bit & 7)
                        byte = at * index_row_bytes + (bit >> 3)
                        indices[byte] |= np.uint8(shifted & 0xFF)
                        if shifted > 0xFF:
                            indices[byte + 1] |= np.uint8(shifted >> 8)
    return -1


def pack_weights(
    weight: NDArray[np.int8], mapping: ConvMapping, *, groups: int, chain_length: int, group_size: int, who: str
) -> WeightPlanes:
    """Return the planes of a layer's weights for its mapping.

    weight: int8 (out_channels, kernel rows, kernel columns, channels / groups). Raises MappingError naming the layer
    and output channel if a group of channels has more nonzeros than the mapping has slots for.
    """
    shape = mapping.shape
    segments: list[tuple[int, int, Block, Split]] = [
        (number, part, block, split)
        for number, block in enumerate(shape.blocks)
        for part, split in enumerate(mapping.splits(number))
    ]
    value_offsets, index_offsets = {}, {}
    value_bytes = index_bytes = 0
    for number, part, block, split in segments:
        value_offsets[number, part], index_offsets[number, part] = value_bytes, index_bytes
        size = mapping.weight_rows(split) * row_chains(block, group_size)
        value_bytes += ceil_div(size, 64) * 64
        index_bytes += ceil_div(size * shape.index_bits // 8, 64) * 64
    values, indices = np.zeros(value_bytes, np.uint8), np.zeros(index_bytes, np.uint8)
    weight = np.ascontiguousarray(weight)
    for number, part, block, split in segments:
        _, runs_x, _ = reduction_runs(split.rows, split.columns, shape.dilation[1], split.words)
        bad = _pack(
            weight, block.first, block.channels, shape.out_channels // groups, split.row, split.rows, split.column,
            split.columns, block.word + split.word, split.words, runs_x == 1, chain_length, group_size, shape.steps,
            shape.slots, shape.index_bits, row_chains(block, group_size), values[value_offsets[number, part] :],
            indices[index_offsets[number, part] :],
        )  # fmt: skip
        if bad >= 0:
            raise MappingError(
                f"{who}: output channel {bad} must have at most {shape.slots} nonzero weights per group of "
                f"{1 << shape.index_bits} channels, not more: prune it to the layer's pattern"
            )
    return WeightPlanes(values=values, indices=indices, value_offsets=value_offsets, index_offsets=index_offsets)
