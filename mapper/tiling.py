"""Choose the mapping of a multiply-accumulate layer: enumerate the legal ones, keep the one an estimate likes best."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.accumulator import tile_entries
from gossamer.arch.activation import half_bytes
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import index_pitch_bytes
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import SLOTS, ConvMapping, ConvShape, LoopOrder
from gossamer.mapper.tiling_estimate import (
    ACCUMULATOR,
    ACTIVATION,
    BEAT_BYTES,
    BURST_BYTES,
    CHAIN_LENGTH,
    CHAINS,
    CHANNEL_RATE,
    CHANNELS,
    CHIP,
    CHOICE,
    GROUP_SIZE,
    INDEX_ROWS,
    INTERLEAVE,
    LANES,
    LATENCY,
    LAYER,
    LOADED,
    OUTSTANDING,
    PARAMETER,
    PORTS,
    RATE_SCALE,
    ROW_BYTES,
    VECTOR_LANES,
    WEIGHT_RATE,
    WEIGHT_ROWS,
    WRITTEN,
    search,
)  # fmt: skip
from gossamer.sim.offchip import offchip_timing

MAX_POSITIONS = 2**16 - 1
"""Rows and columns of an instruction are 16-bit fields."""

Ints = NDArray[np.int64]

KEPT_TILES = 3
"""Tiles kept per reduction split, group and loop order."""


@dataclass(frozen=True, slots=True)
class Chip:
    """What tiling needs to know of a config: `numbers` in the order of `gossamer.mapper.tiling_estimate`."""

    numbers: tuple[int, ...]

    def __getitem__(self, entry: int) -> int:
        return self.numbers[entry]


def chip_numbers(spec: SparseAccelerator, reserved_bytes: int = 0, *, apart: bool = True) -> Chip:
    """Return the numbers of a config, `reserved_bytes` of its activation buffer put aside.

    `apart`: what LOAD and what VECTOR writes must fit a half of the activation buffer each, so that neither waits.
    """
    array, buffers, memory = spec.array, spec.buffers, offchip_timing(spec)
    numbers = [0] * CHIP
    activation = max(0, buffers.activation.capacity_bytes - reserved_bytes)
    numbers[ACTIVATION] = numbers[LOADED] = numbers[WRITTEN] = activation
    if apart:
        middle = half_bytes(spec)
        numbers[LOADED] = max(0, middle - reserved_bytes)
        numbers[WRITTEN] = buffers.activation.capacity_bytes - middle
    numbers[WEIGHT_ROWS] = buffers.weight.capacity_bytes // array.chains
    index_pitch = index_pitch_bytes(array.chains, array.group_size.bit_length() - 1)  # of the widest pattern
    numbers[INDEX_ROWS] = buffers.index.capacity_bytes // index_pitch
    numbers[ACCUMULATOR] = tile_entries(spec)
    numbers[PARAMETER] = buffers.parameter.capacity_bytes
    numbers[GROUP_SIZE], numbers[CHAINS], numbers[CHAIN_LENGTH] = array.group_size, array.chains, array.chain_length
    numbers[LANES], numbers[WEIGHT_RATE] = array.lanes, array.weight_rows_per_cycle
    numbers[VECTOR_LANES] = spec.vector.lanes
    numbers[PORTS], numbers[BEAT_BYTES], numbers[ROW_BYTES] = memory.ports, memory.beat_bytes, memory.row_bytes
    numbers[BURST_BYTES] = memory.burst_bytes
    numbers[CHANNELS], numbers[INTERLEAVE] = memory.channels, memory.interleave_bytes
    numbers[CHANNEL_RATE] = max(1, int(memory.channel_bytes_per_cycle * RATE_SCALE / memory.channels))
    numbers[LATENCY], numbers[OUTSTANDING] = memory.latency_cycles, memory.max_outstanding
    return Chip(tuple(numbers))


def _cuts(length: int, limit: int, multiple: int = 1) -> Ints:
    """Return tile lengths to try for an axis: near-equal parts, none above `limit`, largest first."""
    counts: Iterable[int] = [*range(1, 9), 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96, 128, 192, 256, 512]
    sizes = {ceil_div(ceil_div(length, count), multiple) * multiple for count in counts}
    powers = {1 << bit for bit in range(length.bit_length())}
    legal = sorted((min(size, length) for size in sizes | powers if min(size, length) <= limit), reverse=True)
    return np.array(list(dict.fromkeys(legal)) or [1], dtype=np.int64)


def _halves(length: int) -> list[int]:
    """Return length, then ever smaller parts of it, down to 1."""
    sizes = [length]
    while sizes[-1] > 1:
        sizes.append(ceil_div(sizes[-1], 2))
    return sizes


def _split_options(shape: ConvShape) -> list[list[tuple[int, int, int]]]:
    """Return reduction splits in stages: a later stage is tried only if nothing of the earlier ones is legal."""
    kernel_rows, kernel_columns = shape.kernel
    return [
        [(kernel_rows, kernel_columns, words) for words in _halves(shape.block_words)],
        [(rows, kernel_columns, 1) for rows in _halves(kernel_rows)],
        [(1, columns, 1) for columns in _halves(kernel_columns)],
    ]


def choose_mapping(shape: ConvShape, spec: SparseAccelerator, who: str, *, reserved_bytes: int = 0) -> ConvMapping:
    """Return the fastest mapping found; equal shapes are searched once. `reserved_bytes` of activations stay free.

    Raises MappingError naming the layer, the buffer, its need and capacity if not even the smallest tile fits.
    """
    mapping = _choose(shape, chip_numbers(spec, reserved_bytes))
    if mapping is None:
        chip = chip_numbers(spec, reserved_bytes, apart=False)
        mapping = _choose(shape, chip)
    if mapping is None:
        raise MappingError(f"{who}: {_shortage(shape, chip)}")
    return mapping


def candidates(shape: ConvShape, chip: Chip) -> list[ConvMapping]:
    """Return legal mappings of a shape, best estimate first; empty if none is legal."""
    blocks = len(shape.blocks)
    resident = blocks * shape.parameter_bytes <= chip[PARAMETER]
    if not resident and SLOTS * shape.parameter_bytes > chip[PARAMETER]:
        return []
    layer = np.zeros(LAYER, dtype=np.int64)
    layer[:] = (
        shape.batch, shape.out_rows, shape.out_columns, ceil_div(shape.out_channels, chip[GROUP_SIZE]), blocks,
        _block_out_words(shape, chip), shape.block_words, *shape.kernel, *shape.stride, *shape.dilation, shape.steps,
        shape.index_bits, shape.shares_input, shape.parameter_bytes, resident, shape.dense_pixels,
    )  # fmt: skip
    limit = min(MAX_POSITIONS, chip[ACCUMULATOR])
    columns = _cuts(shape.out_columns, limit, chip[LANES] if shape.out_rows == 1 else 1)
    rows, groups = _cuts(shape.out_rows, limit), np.array(_halves(blocks), dtype=np.int64)
    numbers = np.array(chip.numbers, dtype=np.int64)
    for options in _split_options(shape):
        found = np.zeros((2 * len(groups) * len(options), KEPT_TILES, CHOICE), dtype=np.int64)
        cycles = np.full(found.shape[:2], np.inf)
        search(layer, numbers, rows, columns, groups, np.array(options, dtype=np.int64), found, cycles)
        legal = np.flatnonzero(np.isfinite(cycles))
        if legal.size:
            order = legal[np.argsort(cycles.reshape(-1)[legal], kind="stable")]
            return [_mapping(shape, choice, resident) for choice in found.reshape(-1, CHOICE)[order].tolist()]
    return []


def _mapping(shape: ConvShape, choice: list[int], resident: bool) -> ConvMapping:
    order, tile_rows, tile_columns, group, split_rows, split_columns, split_words = choice
    return ConvMapping(
        shape=shape, order=LoopOrder.ACTIVATIONS_OUTER if order else LoopOrder.WEIGHTS_OUTER, tile_rows=tile_rows,
        tile_columns=tile_columns, group_blocks=group, split_rows=split_rows, split_columns=split_columns,
        split_words=split_words, resident_parameters=resident,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _choose(shape: ConvShape, chip: Chip) -> ConvMapping | None:
    return next(iter(candidates(shape, chip)), None)


def _block_out_words(shape: ConvShape, chip: Chip) -> int:
    return max(ceil_div(block.channels, chip[GROUP_SIZE]) for block in shape.blocks)


def _shortage(shape: ConvShape, chip: Chip) -> str:
    """Say which buffer cannot hold the smallest possible tile."""
    row = chip[CHAINS]
    smallest = [
        ("weight", SLOTS * shape.steps * row, chip[WEIGHT_ROWS] * row, "bytes for two tiles of one word and one tap"),
        ("index", SLOTS * shape.steps if shape.index_bits else 0, chip[INDEX_ROWS], "rows for two tiles of one word"),
        (
            "accumulator", SLOTS * chip[LANES], SLOTS * max(0, chip[ACCUMULATOR]),
            "positions for two tiles of one position",
        ),
        (
            "activation", SLOTS * (1 + _block_out_words(shape, chip)) * chip[GROUP_SIZE], chip[ACTIVATION],
            "bytes for two input and two output words",
        ),
        ("parameter", SLOTS * shape.parameter_bytes, chip[PARAMETER], "bytes for two blocks of channels"),
    ]  # fmt: skip
    for buffer, need, capacity, what in smallest:
        if need > capacity:
            return f"the {buffer} buffer must hold at least {need} {what}, not {capacity}: enlarge `buffers.{buffer}`"
    return (
        "no tile fits the buffers together: the smallest input and output tiles, weights and partial sums need more "
        "than the activation, weight and accumulator buffers hold; enlarge `buffers.activation` or `buffers.weight`"
    )
