"""The COMPUTE engine against the golden kernel and the closed form, under Verilator."""

import os
import re
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from compute_cases import ComputeCase, random_fields

from gossamer.arch.encoding import encode
from gossamer.arch.isa import Opcode
from gossamer.rtl.array.shape import ArrayShape, ArrayShapeError
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
        group_size=4, chains=24, chain_length=3, lanes=3, weight_rows_per_cycle=3, vector_lanes=16,
        accumulator_entries=201,
    ),
    "wide": ArrayShape(
        group_size=16, chains=8, chain_length=4, lanes=1, weight_rows_per_cycle=2, vector_lanes=16,
        accumulator_entries=64,
    ),
}  # fmt: skip
SMALL = ArrayShape(
    group_size=4, chains=8, chain_length=2, lanes=2, weight_rows_per_cycle=1, vector_lanes=8, accumulator_entries=64
)
"""Builds quickly: one per mutant."""

PATTERNS = (None, (1, 2), (1, 4), (2, 4), (1, 8), (2, 8), (4, 8), (4, 16))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compute")


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
    simulate(modules(SHAPES[name]), folder, f"random-{name}", "instructions", case)


def plain_fields(shape: ArrayShape, **changes: int) -> dict[str, int]:
    """Return a dense instruction over two folds and a row of positions, with changes."""
    fields = {
        "ny": 2, "nx": 2 * shape.lanes + 1, "n_ry": 2, "n_rx": 1, "run_words": shape.chain_length + 1, "slots": 0,
        "index_bits": 0, "steps": shape.group_size, "a": 0, "a_y": 128, "a_x": 16, "r_y": 64, "r_x": 0, "w": 0, "i": 0,
        "acc": 0, "clear": 1, "chains_active": shape.chains,
    }  # fmt: skip
    return fields | changes


def test_the_largest_products_add_up(folder: Path) -> None:
    """-128 * -128 in every stage, dense and sparse: no width on the way is too small."""
    shape = SHAPES["tiny"]
    case = ComputeCase(shape, np.random.default_rng(SEED))
    case.fill(0x80)
    case.add(plain_fields(shape))
    case.add(plain_fields(shape, clear=0, run_words=4 * shape.chain_length, n_ry=3))
    case.add(plain_fields(shape, clear=0, slots=1, index_bits=3, steps=1, run_words=3 * shape.chain_length))
    assert case.sums.max() == 128 * 128 * (2 * 5 * 8 + 3 * 16 * 8 + 2 * 12)
    case.read_back()
    case.save(str(folder / "extremes.npz"))
    simulate(modules(shape), folder, "extremes", "instructions", folder / "extremes.npz")


def test_vector_reads_one_half_while_compute_works_in_the_other(folder: Path) -> None:
    shape = SHAPES["tiny"]
    case = ComputeCase(shape, np.random.default_rng(SEED))
    case.add(plain_fields(shape))
    case.read_back()
    case.add(plain_fields(shape, acc=shape.half_rows * shape.lanes, a=8, steps=3))
    case.read_back()
    case.save(str(folder / "halves.npz"))
    simulate(modules(shape), folder, "halves", "halves", folder / "halves.npz")


def test_fields_that_cannot_be_executed_raise_a_fault(folder: Path) -> None:
    shape = SHAPES["tiny"]
    case = ComputeCase(shape, np.random.default_rng(SEED))
    wrong = [{name: 0} for name in ("ny", "nx", "n_ry", "n_rx", "run_words", "steps", "chains_active")]
    wrong += [{"index_bits": 3, "slots": 0}, {"index_bits": 4, "slots": 1}, {"chains_active": shape.chains + 1}]
    case.words = [encode(Opcode.COMPUTE, plain_fields(shape, **changes)) for changes in wrong]
    case.save(str(folder / "faults.npz"))
    simulate(modules(shape), folder, "faults", "faults", folder / "faults.npz")


MUTANTS = {
    "index bit flipped": ("stage", r"(held_select_next = )(select;)", r"\1~\2"),
    "accumulator row skipped": ("accumulator", r"(= row \+ )1'h1;", r"\g<1>2'h2;"),
    "index requests tied low": ("sequencer", r"(assign index_valid = )[^;]*;", r"\g<1>1'h0;"),
    "ragged folds not masked": ("activation_feed", r"(= words) & ", r"\1 | "),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_fail(mutant: str, folder: Path) -> None:
    name, pattern, replacement = MUTANTS[mutant]
    changed = []
    for module in modules(SMALL):
        text = module.text
        if module.name == name:
            text, count = re.subn(pattern, replacement, text)
            assert count == 1, text
        changed.append(VerilogModule(name=module.name, text=text))
    case = folder / f"{mutant}.npz"
    random_case(SMALL, 10, case)
    with pytest.raises(SimulationFailed, match=r"sums are wrong|buffer\.requests"):
        simulate(tuple(changed), folder, f"mutant-{name}", "instructions", case)


def test_the_small_array_that_mutants_change_is_right(folder: Path) -> None:
    random_case(SMALL, 10, folder / "small.npz")
    simulate(modules(SMALL), folder, "small", "instructions", folder / "small.npz")


def test_lines_do_not_grow_with_the_array() -> None:
    def lines(shape: ArrayShape) -> int:
        return sum(
            not line.lstrip().startswith("//") and bool(line.strip())
            for module in modules(shape)
            for line in module.text.splitlines()
        )

    small = ArrayShape(
        group_size=8, chains=16, chain_length=16, lanes=4, weight_rows_per_cycle=4, vector_lanes=8,
        accumulator_entries=4096,
    )  # fmt: skip
    large = replace(small, chains=64, chain_length=64, vector_lanes=64)
    assert lines(large) <= lines(small) + 40
    assert lines(large) < 2000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chains": 12}, "`chains` must be a multiple of 8, not 12"),
        ({"group_size": 2}, "`group_size` must be 4, 8 or 16, not 2"),
        ({"lanes": 17}, "`lanes` must be at most 16, not 17"),
        ({"lanes": 0}, "`lanes` must be at least 1, not 0"),
        ({"weight_rows_per_cycle": 3}, "`chain_length` must be a multiple of `weight_rows_per_cycle` .3., not 4"),
        ({"vector_lanes": 12}, "`vector_lanes` must be a multiple of `group_size` .8., not 12"),
        ({"accumulator_entries": 3}, "`accumulator_entries` must be at least 2 x `lanes` .4., not 3"),
    ],
)
def test_bad_shapes_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ArrayShapeError, match=message):
        replace(SHAPES["tiny"], **change)
