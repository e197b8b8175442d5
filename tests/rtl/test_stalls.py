"""Whole Programs on a core whose memory port pauses at random, against the simulator under the same and others."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hand_programs import binding, constants_address, program_of

from gossamer.arch.config import load_config
from gossamer.arch.isa import ENGINES, Engine, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.rtl_run import STALL_PROBABILITY
from gossamer.sim.stalls import STALL_CHANNELS
from gossamer.sim.timing import run_program
from gossamer.verification import Candidate, VerificationReport, verify_programs
from gossamer.verify_candidates import random_candidate

SEED = int(os.environ.get("GOSSAMER_SEED", "1"))
RANDOM_PROGRAMS = 10
SHORT_STORES = (16, 20, 24, 32)
"""STOREs of each Program of `short_stores`."""

PROGRAMS = RANDOM_PROGRAMS + len(SHORT_STORES)


@pytest.fixture(
    scope="module", params=[(), pytest.param(("axi.ports=4",), marks=pytest.mark.slow)], ids=["one port", "four ports"]
)
def spec(request: pytest.FixtureRequest) -> SparseAccelerator:
    spec = load_config("ecp5-tiny", request.param)
    assert isinstance(spec, SparseAccelerator)
    return spec


@pytest.fixture(scope="module")
def candidates(spec: SparseAccelerator) -> list[Candidate]:
    return [
        *(random_candidate(spec, SEED + number) for number in range(RANDOM_PROGRAMS)),
        *(short_stores(spec, count) for count in SHORT_STORES),
    ]


def short_stores(spec: SparseAccelerator, count: int) -> Candidate:
    """Return a Program of STOREs of one beat, one after another.

    The data of longer bursts hides the pauses of AW, here only a pause of W does. What AW has delayed can catch up at
    later pauses of other channels: so one Program is not enough.
    """
    run, pitch = 8, 64
    image = np.random.default_rng(SEED).integers(0, 256, run * count, dtype=np.uint8)
    constants = constants_address(1 + count)
    output = constants + -(-image.size // 64) * 64
    load, store = (1 << ENGINES.index(engine) for engine in (Engine.LOAD, Engine.STORE))
    shape = {"ny": 1, "nx": 1}
    lines = [
        (Opcode.LOAD, shape | {"run_bytes": image.size, "dst_e": 1, "dram": constants, "release": store}),
        *(
            (Opcode.STORE, shape | {"run_bytes": run, "src": run * number, "dram": output + pitch * number,
                                    "wait": 0 if number else load})
            for number in range(count)
        ),
    ]  # fmt: skip
    program = program_of(
        spec, lines, image, working_bytes=pitch * count,
        outputs=(binding("stored", output, (1, 1, count, run), pitch),),
    )  # fmt: skip
    return Candidate(name=f"{count} short stores", program=program, inputs={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stalls")


@pytest.fixture(scope="module")
def report(spec: SparseAccelerator, candidates: list[Candidate], folder: Path) -> VerificationReport:
    return verify_programs(spec, candidates, stalls="random", seed=SEED, folder=folder)


@pytest.fixture(scope="module")
def recorded(report: VerificationReport, folder: Path) -> list[np.ndarray]:
    return [np.load(folder / f"memory{number}.stalls.npy") for number in range(len(report.programs))]


def test_programs_are_bit_exact_and_take_the_cycles_of_the_recorded_stalls(report: VerificationReport) -> None:
    """To the cycle, unless VECTOR makes a LOAD wait for a bank: then within the 0.5 % of the contract."""
    assert report.bit_exact
    assert len(report.programs) == PROGRAMS
    for check in report.programs:
        assert not check.failure
        assert check.busy_exact
        assert check.outputs_checked > 0
    errors = np.array([check.cycle_error_pct for check in report.programs])
    print(f"seed {SEED}, errors in percent: {errors.tolist()}")
    assert (errors == 0).sum() >= PROGRAMS - 2
    assert sum(check.instructions_off == 0 for check in report.programs) >= PROGRAMS - 2
    assert np.abs(errors).max() <= 0.5
    rtl, simulated = (
        sum(getattr(check, name) for check in report.programs) for name in ("rtl_cycles", "sim_cycles")
    )  # fmt: skip
    assert abs(simulated - rtl) <= 0.005 * rtl


def test_other_stalls_of_the_same_probability_give_the_same_cycles_within_two_percent(
    report: VerificationReport,
) -> None:
    """Over all programs together: one alone is a few hundred stalls, whose number varies by more."""
    assert report.independent_error_pct is not None
    assert abs(report.independent_error_pct) <= 2.0
    assert any(check.independent_cycles != check.sim_cycles for check in report.programs)


def test_stalls_are_recorded_as_they_were_drawn(report: VerificationReport, recorded: list[np.ndarray]) -> None:
    for check, stalls in zip(report.programs, recorded, strict=True):
        assert stalls.shape[0] == len(STALL_CHANNELS)
        assert check.rtl_cycles <= stalls.shape[1] <= check.rtl_cycles + 50
    every = np.concatenate(recorded, axis=1)
    assert every.mean(axis=1) == pytest.approx([STALL_PROBABILITY] * 5, abs=0.02)
    after_a_pause = [row[1:][row[:-1]].mean() for row in every]
    assert after_a_pause == pytest.approx([STALL_PROBABILITY] * 5, abs=0.03), "draws do not depend on those before"


@pytest.mark.parametrize("channel", STALL_CHANNELS)
def test_a_simulator_that_forgets_a_channel_is_found(
    channel: str, spec: SparseAccelerator, candidates: list[Candidate], report: VerificationReport,
    recorded: list[np.ndarray],
) -> None:  # fmt: skip
    """At least one Program that took exactly the simulator's cycles does not when the simulator ignores a channel."""
    lost = 0
    for candidate, check, stalls in zip(candidates, report.programs, recorded, strict=True):
        deaf = stalls.copy()
        deaf[STALL_CHANNELS.index(channel)] = False
        cycles = run_program(candidate.program, spec, stalls=deaf).total_cycles
        lost += check.sim_cycles == check.rtl_cycles != cycles
    assert lost > 0


def test_a_record_shifted_by_a_cycle_is_found(
    spec: SparseAccelerator, candidates: list[Candidate], report: VerificationReport, recorded: list[np.ndarray]
) -> None:
    for shift in (-1, 1):
        wrong = [
            run_program(each.program, spec, stalls=np.roll(stalls, shift, axis=1)).total_cycles != check.rtl_cycles
            for each, check, stalls in zip(candidates, report.programs, recorded, strict=True)
        ]
        assert sum(wrong) > PROGRAMS // 2


def test_the_report_names_both_figures(report: VerificationReport) -> None:
    shown = json.loads(json.dumps(report.as_json()))
    assert {"config", "stalls", "seed", "programs", "bit_exact", "max_cycle_error_pct"} < set(shown)
    assert shown["independent_error_pct"] == round(report.independent_error_pct, 4)
    for row, check in zip(shown["programs"], report.programs, strict=True):
        assert row["independent_cycles"] == check.independent_cycles
        expected = 100 * (check.independent_cycles - check.rtl_cycles) / check.rtl_cycles
        assert row["independent_error_pct"] == pytest.approx(expected, abs=1e-4)
