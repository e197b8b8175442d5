"""Describe the off-chip runs of LOADs and STOREs: what the fields of an instruction mean to the event engine.

Runs that follow each other off chip are one run, whose `SEGMENT_BYTES` say how much of it is contiguous on chip too.
Compared with code generation and simulation of whole layers by tests/cross/test_analytic_agreement.py.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.engine import ADDRESS, LINE_PITCH, LINES, RUN_BYTES, RUN_PITCH, RUNS, SEGMENT_BYTES
from gossamer.sim.kernels import kernel


@kernel(allocates=False)
def describe_runs(
    work: NDArray[np.int64], at: int, address: int, lines: int, line_pitch: int, runs: int, run_pitch: int,
    run_bytes: int, chip_y: int, chip_x: int,
) -> None:  # fmt: skip
    """Fill row `at` of work int64 [n, >= WORK_COLUMNS] for `lines` lines of `runs` runs, joined where possible.

    Pitches in bytes, off chip from line to line and run to run; chip_y and chip_x are the same on chip.
    """
    segment = run_bytes
    if runs > 1 and run_pitch == run_bytes:
        run_bytes = runs * run_bytes
        if chip_x == segment:
            segment = run_bytes
        runs = 1
    if lines > 1 and runs == 1 and line_pitch == run_bytes:
        if segment == run_bytes and chip_y == run_bytes:
            segment = lines * run_bytes
        run_bytes = lines * run_bytes
        lines = 1
    work[at, ADDRESS], work[at, LINES], work[at, LINE_PITCH] = address, lines, line_pitch
    work[at, RUNS], work[at, RUN_PITCH], work[at, RUN_BYTES] = runs, run_pitch, run_bytes
    work[at, SEGMENT_BYTES] = max(segment, 1)


@kernel(allocates=False)
def describe_columns(work: NDArray[np.int64], at: NDArray[np.int64], fields: NDArray[np.int64]) -> None:
    """Fill rows `at` int64 [k] of `work`; fields int64 [k, 8] are the arguments of `describe_runs` from address on."""
    for number in range(at.size):
        describe_runs(
            work, at[number], fields[number, 0], fields[number, 1], fields[number, 2], fields[number, 3],
            fields[number, 4], fields[number, 5], fields[number, 6], fields[number, 7],
        )  # fmt: skip
