"""Run COMPUTE instructions on the generated engine under Verilator, on the bench of `compute_bench`."""

import os
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from compute_cases import ComputeCase, random_fields

from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.compute import ComputeEngine
from gossamer.rtl.testbench.simulate import build, run
from gossamer.rtl.verilog import VerilogModule, verilog_modules
from gossamer.rtl_run import cores_folder

SEED = int(os.environ.get("GOSSAMER_SEED", "20261125"))
BENCHES = Path(__file__).resolve().parents[1] / "rtl" / "benches"

PATTERNS = (None, (1, 2), (1, 4), (2, 4), (1, 8), (2, 8), (4, 8), (4, 16))


def modules(shape: ArrayShape) -> tuple[VerilogModule, ...]:
    return verilog_modules(ComputeEngine(shape))


def positions_of(shape: ArrayShape) -> list[tuple[int, int]]:
    """Return (ny, nx) around powers of two, around the lanes, and with rows shorter than the lanes."""
    lanes = shape.lanes
    counts = [(1, 1), (1, lanes), (lanes, 1), (1, lanes + 1), (lanes + 1, 1), (3, max(1, lanes - 1)), (5, lanes),
              (2, lanes + 1), (1, 15), (4, 4), (1, 17), (31, 1), (2, 2), (3, 11), (7, 9)]  # fmt: skip
    return [(ny, nx) for ny, nx in counts if ny * nx <= shape.accumulator_entries]


def random_case(shape: ArrayShape, count: int, path: Path, salt: int = 0) -> None:
    random = np.random.default_rng([SEED, salt])
    print(f"GOSSAMER_SEED={SEED}")
    case = ComputeCase(shape, random)
    patterns = cycle([p for p in PATTERNS if p is None or p[1] <= shape.group_size])
    positions = cycle(random.permutation(positions_of(shape)).tolist())
    for number in range(count):
        case.add(random_fields(case, next(patterns), tuple(next(positions))))
        if number % 5 == 4 or number == count - 1:
            case.read_back()
    case.save(str(path))


def simulate(
    sources: Sequence[VerilogModule], folder: Path, name: str, test: str, case: Path, *, mutant: int | None = None
) -> None:
    target = build(sources, cores_folder())
    run(
        target, sources[0].name, "compute_bench", folder=folder / name, python_path=[BENCHES], test_filter=test,
        environment={"GOSSAMER_CASE": str(case), "GOSSAMER_SEED": str(SEED)}
        | ({} if mutant is None else {"GOSSAMER_MUTANT": str(mutant)}),
    )  # fmt: skip


def plain_fields(shape: ArrayShape, **changes: int) -> dict[str, int]:
    """Return a dense instruction over two folds and a row of positions, with changes."""
    fields = {
        "ny": 2, "nx": 2 * shape.lanes + 1, "n_ry": 2, "n_rx": 1, "run_words": shape.chain_length + 1, "slots": 0,
        "index_bits": 0, "steps": shape.group_size, "a": 0, "a_y": 128, "a_x": 16, "r_y": 64, "r_x": 0, "w": 0, "i": 0,
        "acc": 0, "clear": 1, "chains_active": shape.chains,
    }  # fmt: skip
    return fields | changes
