"""The VECTOR engine against the golden executor, byte for byte, and against its closed form, cycle for cycle."""

import os
from pathlib import Path

import numpy as np
import pytest
from vector_cases import Cases, Shape

from gossamer.arch.isa import Opcode
from gossamer.rtl.testbench.simulate import build, run
from gossamer.rtl.vector.engine import VectorEngine
from gossamer.rtl.verilog import VerilogModule, verilog_modules

SEED = int(os.environ.get("GOSSAMER_SEED", "1"))
BENCHES = Path(__file__).parent / "benches"
SHAPES = {
    "tiny": Shape(group_size=8, vector_lanes=8, lanes=2, chains=8),
    "odd": Shape(group_size=4, vector_lanes=16, lanes=1, chains=24),
}
BEATS = (Opcode.REQUANTIZE, Opcode.ADD, Opcode.MULTIPLY, Opcode.TABLE, Opcode.MAXIMUM, Opcode.AVERAGE, Opcode.COPY)


def modules_of(shape: Shape) -> tuple[VerilogModule, ...]:
    """Return the engine's Verilog."""
    return verilog_modules(
        VectorEngine(
            group_size=shape.group_size, vector_lanes=shape.vector_lanes, lanes=shape.lanes, chains=shape.chains
        )
    )  # fmt: skip


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of Verilator builds."""
    return tmp_path_factory.mktemp("vector_builds")


def run_cases(modules: tuple[VerilogModule, ...], cases: Cases, builds: Path, folder: Path) -> None:
    """Build and run the bench on cases."""
    cases.save(folder / "cases.npz")
    target = build(modules, builds)
    run(
        target, "vector_engine", "vector_bench", folder=folder,
        environment={"GOSSAMER_CASES": str(folder / "cases.npz")}, python_path=[BENCHES],
    )  # fmt: skip


def mixed(shape: Shape, opcodes: tuple[Opcode, ...], count: int) -> Cases:
    """Return `count` instructions of every opcode, shuffled."""
    print(f"GOSSAMER_SEED={SEED}")
    cases = Cases(shape=shape, rng=np.random.default_rng(SEED))
    for number in cases.rng.permutation(count * len(opcodes)):
        cases.add(opcodes[number % len(opcodes)])
    return cases


@pytest.mark.parametrize("name", SHAPES)
def test_channelwise_operations(name: str, builds: Path, tmp_path: Path) -> None:
    run_cases(modules_of(SHAPES[name]), mixed(SHAPES[name], BEATS, 16), builds, tmp_path)
