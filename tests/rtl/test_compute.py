"""The COMPUTE engine against the golden kernel and the closed form, under Verilator."""

import os
import re
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from compute_cases import ComputeCase, random_fields

from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.compute import ComputeEngine
from gossamer.rtl.testbench.simulate import SimulationFailed, build, run
from gossamer.rtl.verilog import VerilogModule, verilog_modules

SEED = int(os.environ.get("GOSSAMER_SEED", "20261125"))
BENCHES = Path(__file__).parent / "benches"

SHAPES = {
    "tiny": ArrayShape(
        group_size=8, chains=8, chain_length=4, lanes=2, weight_rows_per_cycle=1, vector_lanes=8,
        accumulator_entries=256,
    ),
    "odd": ArrayShape(
        group_size=4, chains=16, chain_length=6, lanes=3, weight_rows_per_cycle=3, vector_lanes=16,
        accumulator_entries=201,
    ),
    "wide": ArrayShape(
        group_size=16, chains=8, chain_length=4, lanes=1, weight_rows_per_cycle=2, vector_lanes=16,
        accumulator_entries=64,
    ),
}  # fmt: skip
PATTERNS = (None, (1, 2), (1, 4), (2, 4), (1, 8), (2, 8), (4, 8), (4, 16))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compute")


def modules(name: str) -> tuple[VerilogModule, ...]:
    return verilog_modules(ComputeEngine(SHAPES[name]))


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


def simulate(sources: tuple[VerilogModule, ...], folder: Path, name: str, test: str, case: Path) -> None:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gossamer" / "verilator"
    target = build(sources, cache)
    run(
        target, sources[0].name, "compute_bench", folder=folder / name, python_path=[BENCHES], test_filter=test,
        environment={"GOSSAMER_CASE": str(case), "GOSSAMER_SEED": str(SEED)},
    )  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_random_instructions(name: str, folder: Path) -> None:
    case = folder / f"{name}.npz"
    random_case(SHAPES[name], 60, case)
    simulate(modules(name), folder, f"random-{name}", "instructions", case)
