"""The event kernel against a twin that steps every engine through every cycle, on random Programs: exactly equal."""

import os

import numpy as np
import pytest
from timing_programs import random_lines, timing_program, timing_spec
from timing_twin import Twin

from gossamer.arch.isa import ENGINES
from gossamer.sim import engine
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
