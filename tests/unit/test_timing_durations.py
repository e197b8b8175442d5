"""The compiled durations equal the closed forms of `gossamer.arch.timing`."""

from itertools import product

from gossamer.arch.isa import VECTOR_OPCODES
from gossamer.arch.timing import compute_cycles, compute_fill_cycles, vector_cycles
from gossamer.sim.durations import compute_duration, compute_fill, vector_duration


def test_compute() -> None:
    for positions, runs, words, steps, length, lanes, rate in product(
        (1, 3, 64), (1, 3), (1, 4, 5, 9), (1, 8), (1, 4), (1, 2), (1, 3)
    ):
        expected = compute_cycles(
            positions=positions, runs=runs, run_words=words, steps=steps, chain_length=length, lanes=lanes,
            weight_rows_per_cycle=rate,
        )  # fmt: skip
        assert compute_duration(positions, runs, words, steps, length, lanes, rate) == expected
        fill = compute_fill_cycles(run_words=words, chain_length=length, weight_rows_per_cycle=rate)
        assert compute_fill(words, length, rate) == fill
        assert fill < expected


def test_vector() -> None:
    for opcode, ny, nx, nc, kernel, window, (group, vector_lanes), lanes in product(
        VECTOR_OPCODES, (1, 5), (1, 7), (1, 3, 8), ((1, 1), (3, 2)), (1, 2, 5), ((8, 8), (8, 16), (4, 20), (16, 64)),
        (1, 2),
    ):  # fmt: skip
        expected = vector_cycles(
            opcode, ny=ny, nx=nx, nc=nc, kh=kernel[0], kw=kernel[1], group_size=group, vector_lanes=vector_lanes,
            lanes=lanes, window=window,
        )  # fmt: skip
        taps = kernel[0] * kernel[1]
        assert vector_duration(int(opcode), ny * nx, nc, taps, group, vector_lanes, lanes, window) == expected
