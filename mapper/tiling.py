"""Choose the mapping of a multiply-accumulate layer: enumerate the legal ones, keep the one an estimate likes best.

The estimate (ours) is the largest of the four engines' busy cycles, plus what no overlap can hide: the first tile's
loads and the last tile's requantization and store. It ranks mappings; it is not what reports show.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import MappingError
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import COMPUTE_PIPELINE_CYCLES, VECTOR_PIPELINE_CYCLES, ceil_div
from gossamer.dataflow.mapping import SLOTS, ConvMapping, ConvShape, LoopOrder, input_extent
from gossamer.sim.kernels import kernel

MAX_POSITIONS = 2**16 - 1
"""Rows and columns of an instruction are 16-bit fields."""

BYTES_SCALE = 256
"""Fixed point of bytes per cycle."""

DISPATCH_CYCLES = 4
"""Guessed cycles between two instructions of one engine (token, start); ranks many small tiles below few large ones."""


Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacities:
    """What tiling needs to know of a config, hashable. Accumulator in positions, weight and index in rows."""

    activation_bytes: int
    weight_rows: int
    index_rows: int
    accumulator_positions: int
    parameter_bytes: int
    group_size: int
    chains: int
    chain_length: int
    lanes: int
    weight_rows_per_cycle: int
    vector_lanes: int
    bytes_per_cycle_scaled: int
    latency_cycles: int


def capacities(spec: SparseAccelerator) -> Capacities:
    """Return the capacities of a config."""
    array, buffers, off_chip = spec.array, spec.buffers, spec.off_chip
    memory = off_chip.channels * off_chip.channel_bandwidth_gb_s * off_chip.efficiency * 1000 / spec.clock_mhz
    ports = spec.axi.ports * spec.axi.data_bits / 8
    index_pitch = array.chains * (array.group_size.bit_length() - 1) // 8
    return Capacities(
        activation_bytes=buffers.activation.capacity_bytes,
        weight_rows=buffers.weight.capacity_bytes // array.chains,
        index_rows=buffers.index.capacity_bytes // index_pitch,
        accumulator_positions=buffers.accumulator.capacity_bytes // (4 * array.chains),
        parameter_bytes=buffers.parameter.capacity_bytes,
        group_size=array.group_size,
        chains=array.chains,
        chain_length=array.chain_length,
        lanes=array.lanes,
        weight_rows_per_cycle=array.weight_rows_per_cycle,
        vector_lanes=spec.vector.lanes,
        bytes_per_cycle_scaled=max(1, int(min(memory, ports) * BYTES_SCALE)),
        latency_cycles=int(off_chip.latency_ns * spec.clock_mhz / 1000) + 16,
    )


_ceil_div = kernel(ceil_div)
_input_extent = kernel(input_extent)


@kernel
def _busy(positions: int, runs: int, run_words: int, steps: int, chain_length: int, lanes: int, per_cycle: int) -> int:
    """Return `gossamer.arch.timing.compute_cycles` in scalars a kernel can compile."""
    cycles = (positions + lanes - 1) // lanes
    full = run_words // chain_length
    ragged = run_words - full * chain_length
    full_load = (chain_length + per_cycle - 1) // per_cycle
    ragged_load = (ragged + per_cycle - 1) // per_cycle
    passes = runs * steps * full * max(cycles, full_load)
    if ragged > 0:
        passes += runs * steps * max(cycles, ragged_load)
    first = full_load if full > 0 else ragged_load
    return first + passes - (max(cycles, first) - cycles) + chain_length + COMPUTE_PIPELINE_CYCLES


@kernel
def _search(
    batch: int, out_rows: int, out_columns: int, out_words: int, blocks: int, block_out_words: int, words: int,
    kernel_rows: int, kernel_columns: int, stride_y: int, stride_x: int, dilation_y: int, dilation_x: int, steps: int,
    index_bits: int, shares_input: bool, parameter_bytes: int, resident_parameters: bool, dense: bool,
    row_options: Ints, column_options: Ints, group_options: Ints, split_options: Ints, activation: int,
    weight_rows: int, index_rows: int, accumulator: int, group_size: int, chains: int, chain_length: int, lanes: int,
    per_cycle: int, vector_lanes: int, bandwidth: int, latency: int, best: Ints,
) -> float:  # fmt: skip
    """Write (order, rows, columns, group, split rows, columns, words) of the best mapping into `best` int64 [7].

    Returns its estimated cycles, or -1 if none is legal.
    """
    limit_rows = min(weight_rows, index_rows) if index_bits > 0 else weight_rows
    best_cycles = -1.0
    for s in range(split_options.shape[0]):
        split_y, split_x, split_words = split_options[s, 0], split_options[s, 1], split_options[s, 2]
        split_rows = split_y * split_x * split_words * steps
        if SLOTS * split_rows > limit_rows:
            continue
        splits = _ceil_div(kernel_rows, split_y) * _ceil_div(kernel_columns, split_x) * _ceil_div(words, split_words)
        block_rows = kernel_rows * kernel_columns * words * steps
        joined = split_x == 1 or dilation_x == 1
        runs = split_y if joined else split_y * split_x
        run_words = split_x * split_words if joined else split_words
        for g in range(group_options.shape[0]):
            group = group_options[g]
            groups = _ceil_div(blocks, group)
            group_words = min(out_words, group * block_out_words)
            for r in range(row_options.shape[0]):
                rows = row_options[r]
                for c in range(column_options.shape[0]):
                    columns = column_options[c]
                    positions = rows * columns
                    acc_slots = SLOTS if splits == 1 else SLOTS * group
                    if acc_slots * (_ceil_div(positions, lanes) * lanes) > accumulator:
                        continue
                    in_rows = _input_extent(rows, split_y, stride_y, dilation_y)
                    in_columns = _input_extent(columns, split_x, stride_x, dilation_x)
                    in_bytes = in_rows * in_columns * split_words * group_size
                    out_bytes = positions * group_words * group_size
                    if SLOTS * (in_bytes + out_bytes) > activation:
                        continue
                    tiles = batch * _ceil_div(out_rows, rows) * _ceil_div(out_columns, columns)
                    step = _busy(positions, runs, run_words, steps, chain_length, lanes, per_cycle)
                    all_steps = tiles * blocks * splits
                    # ragged last tiles do less work than full ones
                    share = batch * out_rows * out_columns / (tiles * positions)
                    fill = chain_length + COMPUTE_PIPELINE_CYCLES
                    compute = all_steps * ((step - fill) * share + fill + DISPATCH_CYCLES)
                    beats = _ceil_div(block_out_words * group_size, vector_lanes)
                    vector = tiles * blocks * (positions * share * beats + VECTOR_PIPELINE_CYCLES + DISPATCH_CYCLES)
                    out_runs = positions if group < blocks else rows
                    store_tile = max(out_bytes * BYTES_SCALE / bandwidth, out_runs) + latency
                    store = tiles * groups * store_tile
                    weight_bytes = split_rows * chains * (8 + index_bits) / 8
                    weight_load = weight_bytes * BYTES_SCALE / bandwidth + (2 if index_bits > 0 else 1) * latency
                    in_runs = in_rows if dense and split_words == words and shares_input else in_rows * in_columns
                    in_load = max(in_bytes * BYTES_SCALE / bandwidth, in_runs) + latency
                    for order in range(2):
                        if order == 0:
                            resident = group * block_rows
                            if (resident if groups == 1 else SLOTS * resident) > limit_rows:
                                continue
                            weight_loads = blocks * splits
                            in_loads = tiles * groups * splits if tiles * splits > 1 else 1
                        else:
                            weight_loads = tiles * blocks * splits if tiles * splits * blocks > 1 else 1
                            in_loads = tiles * splits * (groups if splits > 1 else 1)
                        if not shares_input:
                            in_loads = tiles * blocks * splits
                        load = weight_loads * weight_load + in_loads * in_load * (1 + share) / 2
                        if not resident_parameters:
                            load += tiles * blocks * (parameter_bytes * BYTES_SCALE / bandwidth + latency)
                        longest = max(max(compute, load), max(vector, store))
                        cycles = longest + in_load + weight_load + positions * beats + store_tile
                        if best_cycles < 0 or cycles < best_cycles:
                            best_cycles = cycles
                            best[0], best[1], best[2], best[3] = order, rows, columns, group
                            best[4], best[5], best[6] = split_y, split_x, split_words
    return best_cycles


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


def choose_mapping(shape: ConvShape, limits: Capacities, who: str) -> ConvMapping:
    """Return the mapping with the fewest estimated cycles; equal shapes are searched once.

    Raises MappingError naming the layer, the buffer, its need and capacity if not even the smallest tile fits.
    """
    mapping = _choose(shape, limits)
    if mapping is None:
        raise MappingError(f"{who}: {_shortage(shape, limits)}")
    return mapping


@lru_cache(maxsize=4096)
def _choose(shape: ConvShape, limits: Capacities) -> ConvMapping | None:
    blocks = len(shape.blocks)
    resident = blocks * shape.parameter_bytes <= limits.parameter_bytes
    if not resident and SLOTS * shape.parameter_bytes > limits.parameter_bytes:
        return None
    flat = shape.out_rows == 1
    columns = _cuts(shape.out_columns, min(MAX_POSITIONS, limits.accumulator_positions), limits.lanes if flat else 1)
    rows = _cuts(shape.out_rows, MAX_POSITIONS)
    groups = np.array(_halves(blocks), dtype=np.int64)
    best = np.zeros(7, dtype=np.int64)
    for options in _split_options(shape):
        found = _search(
            shape.batch, shape.out_rows, shape.out_columns, ceil_div(shape.out_channels, limits.group_size), blocks,
            _block_out_words(shape, limits), shape.block_words, *shape.kernel, *shape.stride, *shape.dilation,
            shape.steps, shape.index_bits, shape.shares_input, shape.parameter_bytes, resident, shape.dense_pixels,
            rows, columns, groups, np.array(options, dtype=np.int64), limits.activation_bytes, limits.weight_rows,
            limits.index_rows, limits.accumulator_positions, limits.group_size, limits.chains, limits.chain_length,
            limits.lanes, limits.weight_rows_per_cycle, limits.vector_lanes, limits.bytes_per_cycle_scaled,
            limits.latency_cycles, best,
        )  # fmt: skip
        if found >= 0:
            order = LoopOrder.ACTIVATIONS_OUTER if best[0] else LoopOrder.WEIGHTS_OUTER
            _, tile_rows, tile_columns, group, split_rows, split_columns, split_words = (int(v) for v in best)
            return ConvMapping(
                shape=shape, order=order, tile_rows=tile_rows, tile_columns=tile_columns, group_blocks=group,
                split_rows=split_rows, split_columns=split_columns, split_words=split_words,
                resident_parameters=resident,
            )  # fmt: skip
    return None


def _block_out_words(shape: ConvShape, limits: Capacities) -> int:
    return max(ceil_div(block.channels, limits.group_size) for block in shape.blocks)


def _shortage(shape: ConvShape, limits: Capacities) -> str:
    """Say which buffer cannot hold the smallest possible tile."""
    row = limits.chains
    smallest = [
        ("weight", SLOTS * shape.steps * row, limits.weight_rows * row, "bytes for two tiles of one word and one tap"),
        ("index", SLOTS * shape.steps if shape.index_bits else 0, limits.index_rows, "rows for two tiles of one word"),
        ("accumulator", SLOTS * limits.lanes, limits.accumulator_positions, "positions for two tiles of one position"),
        (
            "activation",
            SLOTS * (1 + _block_out_words(shape, limits)) * limits.group_size,
            limits.activation_bytes,
            "bytes for two input and two output words",
        ),
        ("parameter", SLOTS * shape.parameter_bytes, limits.parameter_bytes, "bytes for two blocks of channels"),
    ]
    for buffer, need, capacity, what in smallest:
        if need > capacity:
            return f"the {buffer} buffer must hold at least {need} {what}, not {capacity}: enlarge `buffers.{buffer}`"
    return (
        "no tile fits the buffers together: the smallest input and output tiles, weights and partial sums need more "
        "than the activation, weight and accumulator buffers hold; enlarge `buffers.activation` or `buffers.weight`"
    )
