"""The COMPUTE engine against the golden kernel and the closed form, under Verilator."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compute_cases import ComputeCase
from compute_runs import SEED, modules, plain_fields, random_case, simulate
from mutants import Change, with_mutants

from gossamer.arch.encoding import encode
from gossamer.arch.isa import Opcode
from gossamer.arch.target import Target
from gossamer.rtl.array.shape import ArrayShape, ArrayShapeError
from gossamer.rtl.testbench.simulate import SimulationFailed

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
"""Builds quickly: of the mutants."""


SLOW = {("tiny", Target.XCUP), ("odd", Target.GENERIC), ("wide", Target.ECP5)}
"""Each target but Versal, which packs as UltraScale+ does, is checked in two shapes, and each shape on two targets."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compute")


@pytest.mark.parametrize(
    ("name", "target"),
    [
        pytest.param(name, target, marks=pytest.mark.slow if target is Target.VERSAL or (name, target) in SLOW else ())
        for name in SHAPES
        for target in Target
    ],
)
def test_random_instructions(name: str, target: Target, folder: Path) -> None:
    case = folder / f"{name}-{target}.npz"
    shape = replace(SHAPES[name], target=target)
    random_case(shape, 60, case)
    simulate(modules(shape), folder, f"random-{name}-{target}", "instructions", case)


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


MUTANTS: dict[str, Change] = {
    "index bit flipped": ("stage", r"held_select_next = (?P<value>select);", "~VALUE"),
    "accumulator row skipped": ("accumulator", r"= row \+ (?P<value>1'h1);", "2'h2"),
    "index requests tied low": ("sequencer", r"assign index_valid = (?P<value>[^;]*);", "1'h0"),
    "ragged folds not masked": ("masked_word", r"assign _1 = (?P<value>~ kept);", "1'h0"),
}


def run_mutant(number: int, folder: Path) -> None:
    """Run the bench on the engine with all mutants in it, one of which works (0: none)."""
    case = folder / f"mutant{number}.npz"
    random_case(SMALL, 10, case)
    changed = with_mutants(modules(SMALL), list(MUTANTS.values()))
    simulate(changed, folder, f"mutant{number}", "instructions", case, mutant=number)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_fail(mutant: str, folder: Path) -> None:
    with pytest.raises(SimulationFailed, match=r"sums are wrong|buffer\.requests"):
        run_mutant(1 + list(MUTANTS).index(mutant), folder)


def test_without_a_mutant_the_array_is_right(folder: Path) -> None:
    run_mutant(0, folder)


@pytest.mark.parametrize(
    "target", [pytest.param(each, marks=pytest.mark.slow if each is Target.VERSAL else ()) for each in Target]
)
def test_lines_do_not_grow_with_the_array(target: Target) -> None:
    def lines(shape: ArrayShape) -> int:
        return sum(
            not line.lstrip().startswith("//") and bool(line.strip())
            for module in modules(shape)
            for line in module.text.splitlines()
        )

    small = ArrayShape(
        group_size=8, chains=16, chain_length=16, lanes=4, weight_rows_per_cycle=4, vector_lanes=8,
        accumulator_entries=4096, target=target,
    )  # fmt: skip
    large = replace(small, chains=64, chain_length=28 if target is Target.XCUP else 64, vector_lanes=64)
    written = lines(large)
    assert written <= lines(small) + 40
    assert written < 2100


@pytest.mark.parametrize("target", [Target.GENERIC, Target.ECP5])
def test_a_long_chain_in_one_segment_can_be_generated(target: Target) -> None:
    """Its activations are delayed in more flip-flops than one register of Amaranth can have: 65,536."""
    shape = replace(SHAPES["tiny"], chain_length=64, lanes=1, target=target)
    delayed = sum(range(1, 65)) * shape.word_bits
    assert delayed > 65_536
    delays = next(module for module in modules(shape) if module.name == "activation_delays")
    assert "reg [4095 - n*64:0] held;" in delays.text


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
