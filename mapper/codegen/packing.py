"""Pack int8 weights into the rows COMPUTE reads: a value plane, and for N:M weights an index plane.

Row order is that of `gossamer.arch.isa`: run, fold, step, stage. Off chip a row holds the block's active chains rounded
up to 8, as bytes in the value plane and as `index_bits` each, least significant first, in the index plane.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import MappingError
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import Block, ConvMapping, Split, reduction_runs
from gossamer.sim.kernels import kernel

ROW_CHAINS = 8
"""Off-chip rows hold a multiple of this many chains, so that index rows are whole bytes."""

GATHERED_WORDS = 8
"""Words of a filter read at once: most of a cache line, so that each line of the weights is fetched once."""


PLANES_KEPT = 128
"""More than a network of today has convolutions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightPlanes:
    """Packed weights of a layer; segment (block, split) starts at `offsets` and has `rows` rows.

    values, indices: uint8 [bytes], indices empty for dense weights. Offsets are by (block, split).
    """

    values: NDArray[np.uint8]
    indices: NDArray[np.uint8]
    value_offsets: dict[tuple[int, int], int]
    index_offsets: dict[tuple[int, int], int]


_PLANES: OrderedDict[Hashable, tuple[NDArray[np.int8], WeightPlanes]] = OrderedDict()
"""Planes by what decides them; the weights are held with them, so that their identity stays theirs."""


def active_chains(block: Block, group_size: int) -> int:
    """Return the chains a COMPUTE of this block runs: whole output words, so that pad channels are defined."""
    return ceil_div(block.channels, group_size) * group_size


def row_chains(block: Block, group_size: int) -> int:
    """Return the chains an off-chip row of this block holds."""
    return ceil_div(active_chains(block, group_size), ROW_CHAINS) * ROW_CHAINS


@kernel
def _gather_channels(
    weight: NDArray[np.int8], first: int, out_per_group: int, row: int, column: int, channel: int, count: int,
    lines: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Set lines[e, c], e < count, to channel `channel` + e of output channel `first` + c at one tap, 0 if not its own.

    weight int8 [out, kernel rows, kernel columns, channels per group]; lines uint8 [at least count, chains].
    """
    per_group = weight.shape[3]
    for c in range(lines.shape[1]):
        low = channel - (first + c) // out_per_group * per_group
        start = min(max(0, -low), count)
        stop = max(start, min(count, per_group - low))
        own = weight[first + c, row, column]
        for e in range(start):
            lines[e, c] = 0
        for e in range(start, stop):
            lines[e, c] = np.uint8(own[low + e])
        for e in range(stop, count):
            lines[e, c] = 0


@kernel
def _select_nonzeros(
    lines: NDArray[np.uint8], found: NDArray[np.uint8], kept: NDArray[np.uint8], places: NDArray[np.uint8]
) -> None:
    """Set kept and places [slots, chains] to the first nonzeros of each column of lines and their rows, else 0.

    lines uint8 [elements, chains]; found uint8 [chains] becomes the number of nonzeros, which may be more than slots.
    Inner loops run over chains, on whole rows and without branches, so that they become vector code.
    """
    found[:] = 0
    kept[:] = 0
    places[:] = 0
    for e in range(lines.shape[0]):
        line = lines[e]
        for slot in range(min(kept.shape[0], e + 1)):
            value, place = kept[slot], places[slot]
            for c in range(line.size):
                hit = (found[c] == slot) & (line[c] != 0)
                value[c] = line[c] if hit else value[c]
                place[c] = e if hit else place[c]
        for c in range(line.size):
            found[c] += line[c] != 0


@kernel
def _join_indices(places: NDArray[np.uint8], index_bits: int, row: NDArray[np.uint8]) -> None:
    """Fill the first bytes of an index row with `index_bits` of every place, least significant first."""
    waiting = bits = at = 0
    for c in range(places.size):
        waiting |= int(places[c]) << bits
        bits += index_bits
        if bits >= 8:
            row[at] = np.uint8(waiting & 0xFF)
            waiting >>= 8
            bits -= 8
            at += 1
    if bits > 0:
        row[at] = np.uint8(waiting)


@kernel
def _pack(
    weight: NDArray[np.int8], first: int, count: int, out_per_group: int, row: int, rows: int, column: int,
    columns: int, word: int, words: int, joined: bool, chain_length: int, group_size: int, steps: int, slots: int,
    index_bits: int, row_bytes: int, values: NDArray[np.uint8], indices: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Fill values (and indices) of one block over one split; return -1, or an output channel with too many nonzeros.

    weight int8 [out, kernel rows, kernel columns, channels per group]; values, indices uint8, zeroed, flat.
    """
    index_row_bytes = row_bytes * index_bits // 8
    runs_x, run_words = (1, columns * words) if joined else (columns, words)
    subgroup = 1 << index_bits if index_bits > 0 else group_size
    lines = np.empty((GATHERED_WORDS * group_size, count), np.uint8)
    found = np.empty(count, np.uint8)
    kept, places = np.empty((slots, count), np.uint8), np.empty((slots, count), np.uint8)
    for at in range(rows * columns * words):
        ry, kx, k = at // (columns * words), at // words % columns, at % words
        ahead = k % GATHERED_WORDS
        if ahead == 0:
            channel, wanted = (word + k) * group_size, min(GATHERED_WORDS, words - k) * group_size
            _gather_channels(weight, first, out_per_group, row + ry, column + kx, channel, wanted, lines)
        group = lines[ahead * group_size : (ahead + 1) * group_size]
        run, position = (ry, kx * words + k) if joined else (ry * runs_x + kx, k)
        fold = position // chain_length
        stages = min(chain_length, run_words - fold * chain_length)
        base = (run * run_words + fold * chain_length) * steps + position - fold * chain_length
        if index_bits == 0:
            for step in range(steps):
                start = (base + step * stages) * row_bytes
                values[start : start + count] = group[step]
            continue
        for part in range(group_size // subgroup):
            _select_nonzeros(group[part * subgroup : (part + 1) * subgroup], found, kept, places)
            used = max(0, min(slots, steps - part * slots))
            for c in range(count):
                if found[c] > used:
                    return first + c
            for slot in range(used):
                target = base + (part * slots + slot) * stages
                values[target * row_bytes : target * row_bytes + count] = kept[slot]
                _join_indices(places[slot], index_bits, indices[target * index_row_bytes :])
    return -1


def pack_weights(
    weight: NDArray[np.int8], mapping: ConvMapping, *, groups: int, chain_length: int, group_size: int, who: str
) -> WeightPlanes:
    """Return the planes of a layer's weights for its mapping.

    weight: int8 (out_channels, kernel rows, kernel columns, channels / groups). Raises MappingError naming the layer
    and output channel if a group of channels has more nonzeros than the mapping has slots for.

    Schedules of a network are compiled several times with the same weights: the last PLANES_KEPT planes are kept, and
    must not be written to.
    """
    shape = mapping.shape
    segments: list[tuple[int, int, Block, Split]] = [
        (number, part, block, split)
        for number, block in enumerate(shape.blocks)
        for part, split in enumerate(mapping.splits(number))
    ]
    rows = [mapping.weight_rows(split) for _, _, _, split in segments]
    joined = [
        reduction_runs(split.rows, split.columns, shape.columns_apart(split.words), split.words)[1] == 1
        for _, _, _, split in segments
    ]
    key = (
        id(weight), tuple(segments), tuple(rows), tuple(joined), shape.out_channels, shape.steps, shape.slots,
        shape.index_bits, groups, chain_length, group_size,
    )  # fmt: skip
    if key in _PLANES:
        _PLANES.move_to_end(key)
        return _PLANES[key][1]
    value_offsets, index_offsets = {}, {}
    value_bytes = index_bytes = 0
    for (number, part, block, _), count in zip(segments, rows, strict=True):
        value_offsets[number, part], index_offsets[number, part] = value_bytes, index_bytes
        size = count * row_chains(block, group_size)
        value_bytes += ceil_div(size, 64) * 64
        index_bytes += ceil_div(size * shape.index_bits // 8, 64) * 64
    values, indices = np.zeros(value_bytes, np.uint8), np.zeros(index_bytes, np.uint8)
    contiguous = np.ascontiguousarray(weight)
    for (number, part, block, split), one_run in zip(segments, joined, strict=True):
        bad = _pack(
            contiguous, block.first, block.channels, shape.out_channels // groups, split.row, split.rows, split.column,
            split.columns, block.word + split.word, split.words, one_run, chain_length, group_size, shape.steps,
            shape.slots, shape.index_bits, row_chains(block, group_size), values[value_offsets[number, part] :],
            indices[index_offsets[number, part] :],
        )  # fmt: skip
        if bad >= 0:
            raise MappingError(
                f"{who}: output channel {bad} must have at most {shape.slots} nonzero weights per group of "
                f"{1 << shape.index_bits} channels, not more: prune it to the layer's pattern"
            )
    for plane in (values, indices):
        plane.setflags(write=False)
    planes = WeightPlanes(values=values, indices=indices, value_offsets=value_offsets, index_offsets=index_offsets)
    _PLANES[key] = weight, planes
    if len(_PLANES) > PLANES_KEPT:
        _PLANES.popitem(last=False)
    return planes
