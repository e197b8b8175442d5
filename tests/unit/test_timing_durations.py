"""The compiled durations equal the closed forms of `gossamer.arch.timing`; COMPUTE is also walked pass by pass."""

from itertools import product

from gossamer.arch.isa import VECTOR_OPCODES
from gossamer.arch.timing import (
    ACCUMULATE_CYCLES,
    COMPUTE_PIPELINE_CYCLES,
    compute_cycles,
    compute_fill_cycles,
    vector_cycles,
)
from gossamer.sim.durations import compute_duration, compute_fill, vector_duration


def walked_cycles(positions: int, runs: int, words: int, steps: int, length: int, lanes: int, rows: int) -> int:
    """Return the busy cycles of a COMPUTE, pass by pass and cycle by cycle."""
    folds = [min(length, words - first) for first in range(0, words, length)]
    passes = [stages for _ in range(runs) for stages in folds for _ in range(steps)]
    cycle = 0
    for number, stages in enumerate(passes):
        waiting_positions, waiting_rows, age = positions, stages, 0
        while waiting_positions > 0 or (
            number < len(passes) - 1 and (waiting_rows > 0 or age < ACCUMULATE_CYCLES)
        ):  # fmt: skip
            waiting_positions, waiting_rows, age = waiting_positions - lanes, waiting_rows - rows, age + 1
        cycle += age
    segments, levels = rows, 0
    while segments > 1:
        segments, levels = (segments + 1) // 2, levels + 1
    return cycle + length // rows + levels + COMPUTE_PIPELINE_CYCLES


def test_compute() -> None:
    for positions, runs, words, steps, (length, rate), lanes in product(
        (1, 3, 64), (1, 3), (1, 4, 5, 9), (1, 8), ((1, 1), (4, 1), (4, 2), (6, 3), (8, 8)), (1, 2)
    ):
        expected = compute_cycles(
            positions=positions, runs=runs, run_words=words, steps=steps, chain_length=length, lanes=lanes,
            weight_rows_per_cycle=rate,
        )  # fmt: skip
        assert walked_cycles(positions, runs, words, steps, length, lanes, rate) == expected
        assert compute_duration(positions, runs, words, steps, length, lanes, rate) == expected
        fill = compute_fill_cycles(length, rate)
        assert compute_fill(length, rate) == fill
        assert fill < expected


def test_a_full_fold_keeps_every_multiplier_busy() -> None:
    """Beside the fill, steps * ceil(positions / lanes) cycles: chains x chain_length x lanes products in each."""
    length, lanes, rate, steps, positions = 16, 4, 4, 8, 256
    cycles = compute_cycles(
        positions=positions, runs=1, run_words=length, steps=steps, chain_length=length, lanes=lanes,
        weight_rows_per_cycle=rate,
    )  # fmt: skip
    assert cycles - compute_fill_cycles(length, rate) == steps * positions // lanes


def test_vector() -> None:
    for opcode, ny, nx, nc, kernel, window, (group, vector_lanes) in product(
        VECTOR_OPCODES, (1, 5), (1, 7), (1, 3, 8), ((1, 1), (3, 2)), (1, 2, 5), ((8, 8), (8, 16), (4, 20), (16, 64))
    ):
        expected = vector_cycles(
            opcode, ny=ny, nx=nx, nc=nc, kh=kernel[0], kw=kernel[1], group_size=group, vector_lanes=vector_lanes,
            window=window,
        )  # fmt: skip
        taps = kernel[0] * kernel[1]
        assert vector_duration(int(opcode), ny * nx, nc, taps, group, vector_lanes, window) == expected
