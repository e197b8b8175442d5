"""Compile the closed forms of `gossamer.arch.timing` for whole columns of instructions and for the analytic model.

The statement of the forms is in `gossamer.arch.timing`; tests/unit/test_timing_durations.py holds both equal.
"""

from math import gcd

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.isa import Opcode
from gossamer.arch.timing import (
    ACCUMULATE_CYCLES,
    COMPUTE_PIPELINE_CYCLES,
    LAYER_NORM_GAP_CYCLES,
    ROW_PIPELINE_CYCLES,
    VECTOR_FILL_CYCLES,
    VECTOR_SUM_CYCLES,
    VECTOR_TABLE_LEAD_CYCLES,
)
from gossamer.sim.kernels import kernel

_REQUANTIZE, _TABLE = int(Opcode.REQUANTIZE), int(Opcode.TABLE)
_REQUANTIZE_ADD = int(Opcode.REQUANTIZE_ADD)
_ADD, _MULTIPLY = int(Opcode.ADD), int(Opcode.MULTIPLY)
_MAXIMUM, _COPY = int(Opcode.MAXIMUM), int(Opcode.COPY)
_SOFTMAX, _LAYER_NORM, _LRN = int(Opcode.SOFTMAX), int(Opcode.LAYER_NORM), int(Opcode.LRN)


@kernel(allocates=False)
def ceil_ratio(numerator: int, denominator: int) -> int:
    """Return ceil(numerator / denominator)."""
    return -(-numerator // denominator)


@kernel(allocates=False)
def compute_fill(chain_length: int, weight_rows_per_cycle: int) -> int:
    """Return `gossamer.arch.timing.compute_fill_cycles`."""
    levels = 0
    while 1 << levels < weight_rows_per_cycle:
        levels += 1
    return chain_length // weight_rows_per_cycle + levels + COMPUTE_PIPELINE_CYCLES


@kernel(allocates=False)
def compute_duration(
    positions: int, runs: int, run_words: int, steps: int, chain_length: int, lanes: int, weight_rows_per_cycle: int
) -> int:
    """Return `gossamer.arch.timing.compute_cycles`."""
    pass_cycles = ceil_ratio(positions, lanes)
    full_folds, ragged_words = run_words // chain_length, run_words % chain_length
    shortest = max(pass_cycles, ACCUMULATE_CYCLES)
    last_pass = full_pass = max(shortest, ceil_ratio(chain_length, weight_rows_per_cycle))
    passes = runs * steps * full_folds * full_pass
    if ragged_words:
        last_pass = max(shortest, ceil_ratio(ragged_words, weight_rows_per_cycle))
        passes += runs * steps * last_pass
    return passes - (last_pass - pass_cycles) + compute_fill(chain_length, weight_rows_per_cycle)


@kernel(allocates=False)
def parameter_duration(opcode: int, words: int, group_size: int, vector_lanes: int) -> int:
    """Return `gossamer.arch.timing.parameter_cycles`."""
    if opcode in (_MAXIMUM, _COPY):
        return 0
    cycles = 2
    if opcode in (_REQUANTIZE, _REQUANTIZE_ADD):
        read_bytes = 16
        while read_bytes < vector_lanes:
            read_bytes *= 2
        cycles += 3 * ceil_ratio(words * group_size, gcd(vector_lanes, read_bytes // 4))
    if opcode in (_REQUANTIZE, _REQUANTIZE_ADD, _TABLE):
        cycles += VECTOR_TABLE_LEAD_CYCLES
    return cycles


@kernel(allocates=False)
def vector_duration(
    opcode: int,
    positions: int,
    words: int,
    taps: int,
    group_size: int,
    vector_lanes: int,
    window: int,
) -> int:
    """Return `gossamer.arch.timing.vector_cycles` for `taps` = kh * kw."""
    row = words * group_size
    beats = positions * ceil_ratio(row, vector_lanes)
    fill = parameter_duration(opcode, words, group_size, vector_lanes) + VECTOR_FILL_CYCLES
    if opcode == _REQUANTIZE_ADD:
        fill += VECTOR_SUM_CYCLES
    if opcode == _SOFTMAX:
        return fill + ROW_PIPELINE_CYCLES + positions * 3 * row
    if opcode == _LAYER_NORM:
        return fill + ROW_PIPELINE_CYCLES + positions * (2 * row + LAYER_NORM_GAP_CYCLES)
    if opcode == _LRN:
        return fill + ROW_PIPELINE_CYCLES + positions * (row + window // 2)
    return fill + beats * (2 if opcode in (_ADD, _MULTIPLY) else taps)


@kernel(allocates=False)
def compute_columns(
    positions: NDArray[np.int64],
    runs: NDArray[np.int64],
    run_words: NDArray[np.int64],
    steps: NDArray[np.int64],
    chain_length: int,
    lanes: int,
    weight_rows_per_cycle: int,
    busy: NDArray[np.int64],
    fill: NDArray[np.int64],
) -> None:
    """Fill busy and fill cycles, int64 [n], of COMPUTE instructions."""
    for at in range(positions.size):
        fill[at] = compute_fill(chain_length, weight_rows_per_cycle)
        busy[at] = compute_duration(
            positions[at], runs[at], run_words[at], steps[at], chain_length, lanes, weight_rows_per_cycle
        )


@kernel(allocates=False)
def vector_columns(
    opcodes: NDArray[np.int64],
    positions: NDArray[np.int64],
    words: NDArray[np.int64],
    taps: NDArray[np.int64],
    group_size: int,
    vector_lanes: int,
    windows: NDArray[np.int64],
    busy: NDArray[np.int64],
) -> None:
    """Fill busy cycles, int64 [n], of VECTOR instructions."""
    for at in range(opcodes.size):
        busy[at] = vector_duration(
            opcodes[at], positions[at], words[at], taps[at], group_size, vector_lanes, windows[at]
        )
