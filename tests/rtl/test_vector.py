"""The VECTOR engine against the golden executor, byte for byte, and against its closed form, cycle for cycle."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from mutants import Change, with_mutants
from vector_cases import ROWS, Cases, Shape

from gossamer.arch.isa import REQUANTIZING, Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.arch.target import Target
from gossamer.dataflow.numerics import REQUANTIZE_DTYPE
from gossamer.rtl.testbench.simulate import SimulationFailed, build, run
from gossamer.rtl.vector.engine import BadVectorParameter, VectorEngine
from gossamer.rtl.verilog import VerilogModule, verilog_modules
from gossamer.rtl_run import cores_folder

pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

SEED = int(os.environ.get("GOSSAMER_SEED", "1"))
BENCHES = Path(__file__).parent / "benches"
SHAPES = {
    "tiny": Shape(group_size=8, vector_lanes=8, chains=8),
    "odd": Shape(group_size=4, vector_lanes=16, chains=24),
}
SMALLEST = Shape(group_size=4, vector_lanes=4, chains=8)
"""Of the mutants, which are one build."""

BEATS = (
    Opcode.REQUANTIZE,
    Opcode.REQUANTIZE_ADD,
    Opcode.ADD,
    Opcode.MULTIPLY,
    Opcode.TABLE,
    Opcode.MAXIMUM,
    Opcode.AVERAGE,
    Opcode.COPY,
)


def modules_of(shape: Shape, target: Target = Target.GENERIC) -> tuple[VerilogModule, ...]:
    """Return the engine's Verilog."""
    sizes = {"group_size": shape.group_size, "vector_lanes": shape.vector_lanes, "chains": shape.chains}
    return verilog_modules(VectorEngine(**sizes, target=target))


@pytest.fixture(scope="session")
def builds() -> Path:
    """Return the folder of Verilator builds, which outlives the tests: equal sources are built once."""
    return cores_folder()


def run_cases(
    modules: Sequence[VerilogModule], cases: Cases, builds: Path, folder: Path, *, mutant: int | None = None
) -> None:
    """Build and run the bench on cases."""
    cases.save(folder / "cases.npz")
    target = build(modules, builds)
    run(
        target, "vector_engine", "vector_bench", folder=folder,
        environment={"GOSSAMER_CASES": str(folder / "cases.npz")}
        | ({} if mutant is None else {"GOSSAMER_MUTANT": str(mutant)}),
        python_path=[BENCHES],
    )  # fmt: skip


def mixed(shape: Shape, opcodes: tuple[Opcode, ...], count: int) -> Cases:
    """Return `count` instructions of every opcode, shuffled."""
    print(f"GOSSAMER_SEED={SEED}")
    cases = Cases(shape=shape, rng=np.random.default_rng(SEED))
    for number in cases.rng.permutation(count * len(opcodes)):
        cases.add(opcodes[number % len(opcodes)])
    return cases


@pytest.mark.parametrize("name", ["tiny", pytest.param("odd", marks=pytest.mark.slow)])
def test_channelwise_operations(name: str, builds: Path, tmp_path: Path) -> None:
    run_cases(modules_of(SHAPES[name]), mixed(SHAPES[name], BEATS, 16), builds, tmp_path)


@pytest.mark.parametrize("name", SHAPES)
def test_operations_on_rows(name: str, builds: Path, tmp_path: Path) -> None:
    run_cases(modules_of(SHAPES[name]), mixed(SHAPES[name], ROWS, 12), builds, tmp_path)


def test_operations_on_the_multipliers_of_the_ecp5(builds: Path, tmp_path: Path) -> None:
    cases = mixed(SMALLEST, (*BEATS, *ROWS), 3)
    run_cases(modules_of(SMALLEST, Target.ECP5), cases, builds, tmp_path)


def test_what_cannot_be_executed_stops_with_a_fault(builds: Path, tmp_path: Path) -> None:
    shape = SHAPES["tiny"]
    cases = Cases(shape=shape, rng=np.random.default_rng(SEED))
    field = ErrorCause.FIELD
    for name in ("ny", "nx", "nc", "kh", "kw"):
        cases.add_fault(Opcode.MAXIMUM, field, **{name: 0})
    cases.add(Opcode.COPY)
    for opcode in (Opcode.REQUANTIZE, Opcode.REQUANTIZE_ADD, Opcode.ADD, Opcode.COPY, Opcode.SOFTMAX):
        cases.add_fault(opcode, field, kh=2)
        cases.add_fault(opcode, field, kw=2)
    for opcode in REQUANTIZING:
        cases.add_fault(opcode, field, nc=shape.chains // shape.group_size + 1)
    for opcode in (
        Opcode.ADD, Opcode.MULTIPLY, Opcode.REQUANTIZE_ADD, Opcode.AVERAGE, Opcode.LAYER_NORM, Opcode.LRN
    ):  # fmt: skip
        for shift in (0, 63, 255):
            cases.add_fault(opcode, field, header={"shift": shift})
    for opcode in ROWS:
        cases.add_fault(opcode, field, header={"channels": 0})
        cases.add_fault(opcode, field, header={"channels": 17}, nc=2)
    cases.add_fault(Opcode.LRN, field, header={"extra": 4 << 8})
    for factor in (-(2**17) - 1, 2**17, 2**31 - 1):
        for name in ("mult_a", "mult_b"):
            header = {"shift": 1, "mult_a": -(2**17), "mult_b": 2**17 - 1, name: factor}
            cases.add_fault(Opcode.REQUANTIZE_ADD, field, header=header)
    cases.add_fault(Opcode.SOFTMAX, field)  # its table is all zeros
    cases.add_fault(Opcode.LAYER_NORM, field, header={"epsilon": -1})
    cases.add_fault(Opcode.LAYER_NORM, field, header={"epsilon": 2**46})
    for shift in (0, 63, 128):
        entries = np.zeros(shape.chains, REQUANTIZE_DTYPE)
        entries["shift"] = 1
        entries["shift"][-1] = shift
        for opcode in REQUANTIZING:
            block = bytes(5) + b"\1" + bytes(26) + entries.tobytes() + bytes(256)
            cases.add_fault(opcode, field, block=block, nc=1)
    cases.add(Opcode.ADD)
    entries["shift"] = 1
    block = bytes(32) + entries.tobytes() + bytes(256)
    cases.add_fault(Opcode.REQUANTIZE, ErrorCause.ACCUMULATOR_CONFLICT, block=block, conflict=True, nc=1)
    cases.add(Opcode.REQUANTIZE)
    run_cases(modules_of(shape), cases, builds, tmp_path)


MUTANTS: dict[str, Change] = {
    "no rounding": ("rounding_shift_64", r"(?P<value>\{ limits\[7:0\], 1'h1 \})", "{ limits[7:0], 1'h0 }"),
    "window stays at the first beat": ("block_pointer", r"(?P<value>address \+ step);", "address"),
    "one word too few": ("block_loops", r"(?P<value>words_left <= 2'h2)", "words_left <= 2'h3"),
    "row read twice": ("block_pointer", r"= (?P<value>begun \+ column_stride)", "next_column + column_stride"),
    "second source first": ("beat_reader", r"= (?P<value>second) \? \w+ : \w+", "!VALUE"),
    "operand of a sum a cycle early": ("beat_reader", r"(?P<value>place == 4'hf)", "place == 4'he"),
    "operand of a sum subtracted": ("lane_sum", r"\(product_a\) \+ \$signed\((?P<value>product_b)\)", "- VALUE"),
    "window too long": ("lrn", r"(?P<value>index >= window);", "index > window"),
}


def run_mutant(number: int, builds: Path, folder: Path) -> None:
    """Run the bench on the engine with all mutants in it, one of which works (0: none)."""
    cases = mixed(SMALLEST, (Opcode.ADD, Opcode.REQUANTIZE, Opcode.REQUANTIZE_ADD, Opcode.LRN, Opcode.LAYER_NORM), 16)
    modules = with_mutants(modules_of(SMALLEST), list(MUTANTS.values()))
    run_cases(modules, cases, builds, folder, mutant=number)


def test_without_a_mutant_the_engine_is_right(builds: Path, tmp_path: Path) -> None:
    run_mutant(0, builds, tmp_path)


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_fail(name: str, builds: Path, tmp_path: Path) -> None:
    with pytest.raises(SimulationFailed, match="instruction"):
        run_mutant(1 + list(MUTANTS).index(name), builds, tmp_path)


def test_bad_parameters_are_refused() -> None:
    good = {"group_size": 8, "vector_lanes": 16, "chains": 8}
    for name, value, message in (
        ("group_size", 5, "group_size must be 4, 8 or 16, not 5"),
        ("vector_lanes", 12, r"vector_lanes must be a multiple of group_size \(8\), not 12"),
        ("chains", 12, "chains must be a multiple of 8, not 12"),
    ):
        with pytest.raises(BadVectorParameter, match=message):
            VectorEngine(**(good | {name: value}))


def test_the_text_does_not_grow_with_the_lanes() -> None:
    def lines(vector_lanes: int) -> int:
        modules = verilog_modules(VectorEngine(group_size=8, vector_lanes=vector_lanes, chains=64))
        return sum(module.text.count("\n") for module in modules)

    assert abs(lines(64) - lines(16)) < 100
