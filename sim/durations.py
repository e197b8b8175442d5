"""Compile the closed forms of `gossamer.arch.timing` for whole columns of instructions and for the analytic model.

The statement of the forms is in `gossamer.arch.timing`; tests/unit/test_timing_durations.py holds both equal.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.isa import Opcode
from gossamer.arch.timing import ACCUMULATE_CYCLES, COMPUTE_PIPELINE_CYCLES, DIVIDE_CYCLES, VECTOR_PIPELINE_CYCLES
from gossamer.sim.kernels import kernel

_MAXIMUM, _AVERAGE = int(Opcode.MAXIMUM), int(Opcode.AVERAGE)
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
def vector_duration(
    opcode: int, positions: int, words: int, taps: int, group_size: int, vector_lanes: int, window: int
) -> int:
    """Return `gossamer.arch.timing.vector_cycles` for `taps` = kh * kw."""
    beats = ceil_ratio(words * group_size, vector_lanes)
    if opcode in (_MAXIMUM, _AVERAGE):
        work = positions * beats * taps
    elif opcode in (_SOFTMAX, _LAYER_NORM):
        work = positions * (3 * beats + DIVIDE_CYCLES)
    elif opcode == _LRN:
        work = positions * beats * window
    else:
        work = positions * beats
    return work + VECTOR_PIPELINE_CYCLES


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
