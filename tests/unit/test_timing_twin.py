"""The event kernel against a twin that steps every engine through every cycle, on random Programs: exactly equal."""

import os

import numpy as np
import pytest
from stalled_twin import StalledTwin
from timing_programs import random_lines, timing_program, timing_spec
from timing_twin import Twin

from gossamer.arch.isa import ENGINES, Opcode
from gossamer.sim import engine
from gossamer.sim.stalls import StallShape, random_stalls
from gossamer.sim.timing import run_program, simulate

SEED = int(os.environ.get("GOSSAMER_SEED", "20260"))


@pytest.mark.parametrize("number", range(40))
def test_engine_equals_the_cycle_stepped_twin(number: int) -> None:
    random = np.random.default_rng((SEED, number))
    print(f"seed {SEED}, program {number}")
    spec = timing_spec(random)
    program = timing_program(random_lines(random, int(random.integers(1, 40))))
    twin = Twin(program, spec)
    total = twin.run()
    run = run_program(program, spec)
    seen = [(job.dispatched, job.started, job.completed) for job in twin.jobs]
    columns = [engine.DISPATCHED, engine.STARTED, engine.COMPLETED]
    assert run.times[:, columns].tolist() == [list(times) for times in seen]
    assert run.total_cycles == total
    waits = [[job.waits[giver] for giver in ENGINES] for job in twin.jobs]
    assert run.token_waits.tolist() == waits
    bursts = [len(job.bursts) for job in Twin(program, spec).jobs]
    assert run.traffic[:, engine.BURSTS].tolist() == bursts


@pytest.mark.parametrize("number", range(60))
def test_stalled_engine_equals_the_cycle_stepped_twin(number: int) -> None:
    random = np.random.default_rng((SEED, 1, number))
    print(f"seed {SEED}, program {number}")
    spec = timing_spec(random)
    program = timing_program(random_lines(random, int(random.integers(1, 40))))
    probability = float(random.choice([0.0, 0.1, 0.25, 0.6, 0.9]))
    cycles = int(random.choice([1, 300, 60_000]))
    stalls = random_stalls(int(random.integers(1 << 30)), probability, cycles)
    twin = StalledTwin(program, spec, stalls)
    total = twin.run(limit=1_000_000)
    run = run_program(program, spec, stalls=stalls)
    seen = [[job.dispatched, job.started, job.completed] for job in twin.jobs]
    assert run.times[:, [engine.DISPATCHED, engine.STARTED, engine.COMPLETED]].tolist() == seen
    assert run.total_cycles == total
    assert run.token_waits.tolist() == [[job.waits[giver] for giver in ENGINES] for job in twin.jobs]
    assert run.traffic.tolist() == run_program(program, spec).traffic.tolist()


def test_stalls_without_a_pause_change_nothing_if_memory_is_fast() -> None:
    """The two ways to serve a burst agree where the closed form is exact."""
    for number in range(20):
        random = np.random.default_rng((SEED, 2, number))
        print(f"seed {SEED}, program {number}")
        spec = timing_spec(random)
        fast = spec.off_chip.model_copy(update={"channel_bandwidth_gb_s": 100.0})
        spec = spec.model_copy(update={"off_chip": fast})
        program = timing_program(random_lines(random, 30))
        still = np.zeros((5, 100), dtype=bool)
        assert run_program(program, spec, stalls=still).times.tolist() == run_program(program, spec).times.tolist()


def test_more_pauses_only_cost_cycles() -> None:
    random = np.random.default_rng((SEED, 3))
    spec, program = timing_spec(random), timing_program([(Opcode.LOAD, {"ny": 1, "nx": 1, "run_bytes": 400})])
    totals = [
        run_program(program, spec, stalls=np.tile(np.arange(5)[:, None] == 1, (1, cycles))).total_cycles
        for cycles in (500, 1000, 2000)
    ]
    assert totals[1] - totals[0] == 500
    assert totals[2] - totals[1] == 1000


@pytest.mark.parametrize("shape", [(4, 10), (5,), (5, 1, 1)])
def test_stalls_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    program = timing_program(random_lines(np.random.default_rng(SEED), 3))
    with pytest.raises(StallShape, match="`stalls` must have a row for each of ar, r, aw, w, b"):
        run_program(program, timing_spec(np.random.default_rng(SEED)), stalls=np.zeros(shape, dtype=bool))


def test_engine_cycles_sum_to_the_total_for_every_engine() -> None:
    random = np.random.default_rng(SEED)
    for _ in range(20):
        spec = timing_spec(random)
        result = simulate(timing_program(random_lines(random, 80)), spec)
        for cycles in result.engines.values():
            assert cycles.total == result.total_cycles
            assert min(cycles.busy, cycles.waiting_memory, cycles.idle, *cycles.waiting_token.values()) >= 0
        assert sum(result.classes.values()) == result.total_cycles


def test_the_same_program_twice_gives_the_same_result() -> None:
    random = np.random.default_rng(SEED)
    spec, program = timing_spec(random), timing_program(random_lines(random, 50))
    assert simulate(program, spec) == simulate(program, spec)
