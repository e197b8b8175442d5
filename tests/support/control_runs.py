"""Programs as runs of the control bench: when FETCH has each instruction, how long engines take, what must be seen."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from timing_programs import random_lines, timing_program, timing_spec
from timing_twin import Twin

from gossamer.arch.isa import ENGINES, Engine
from gossamer.arch.registers import REGISTERS
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.program import Program
from gossamer.rtl.control.control import config_number
from gossamer.rtl.testbench.simulate import run
from gossamer.sim import engine
from gossamer.sim.results import EngineCycles
from gossamer.sim.timing import Run, run_program, simulate

BENCHES = Path(__file__).parents[1] / "rtl" / "benches"
BASE = 0x12_3456_7840
LONGEST_CYCLES = 4500


def settings(spec: SparseAccelerator, count: int) -> dict[str, int]:
    """Return what a host writes before the start."""
    number = config_number(spec)
    return {
        "PROGRAM_LOW": BASE % 2**32, "PROGRAM_HIGH": BASE >> 32, "PROGRAM_COUNT": count,
        "PROGRAM_CONFIG_LOW": number % 2**32, "PROGRAM_CONFIG_HIGH": number >> 32, "INTERRUPT_ENABLE": 1,
    }  # fmt: skip


def word(instruction: np.ndarray) -> str:
    """Return an instruction as the bench wants it."""
    return f"{int.from_bytes(instruction.tobytes(), 'little'):0128x}"


def counters(engines: Mapping[Engine, EngineCycles]) -> dict[str, int]:
    """Return the counter registers that the simulator's cycles stand for."""
    values = {}
    for name, cycles in engines.items():
        upper = name.value.upper()
        values[f"{upper}_INSTRUCTIONS"] = cycles.instructions
        values[f"{upper}_BUSY"] = cycles.busy
        values[f"{upper}_WAITING_MEMORY"] = cycles.waiting_memory
        values[f"{upper}_IDLE"] = cycles.idle
        for giver, waits in cycles.waiting_token.items():
            values[f"{upper}_WAITING_{giver.value.upper()}"] = waits
    return values


def _moving(timing: Run, at: np.ndarray, cycles: EngineCycles) -> np.ndarray:
    """Return the busy cycles of each LOAD or STORE without waiting for memory: exact in sum, legal in each."""
    span = timing.span(at)
    waiting = cycles.waiting_memory
    part = []
    for length in span:
        here = min(waiting, int(length) - 1)
        waiting -= here
        part.append(int(length) - here)
    assert waiting == 0
    return np.array(part, dtype=np.int64)


def run_case(
    random: np.random.Generator, program: Program, spec: SparseAccelerator, core: SparseAccelerator
) -> dict[str, Any]:
    """Return one run of the bench, on the control of `core`, with what the simulator expects of it on `spec`."""
    twin = Twin(program, spec)
    assert twin.run() == run_program(program, spec).total_cycles
    timing, result = run_program(program, spec), simulate(program, spec)
    shown = [done + 1 for done in twin.fetched]
    offered = [shown[(64 * (number + 1) - 1) // twin.fetch_size] for number in range(len(program.instructions))]
    durations: dict[str, list[tuple[int, list[int]]]] = {}
    started, given = {}, {}
    for name in ENGINES:
        at = timing.members(name)
        span = timing.span(at)
        moving = _moving(timing, at, result.engines[name])
        durations[name.value] = [
            (int(length), sorted(int(v) for v in random.permutation(np.arange(1, length))[: length - own]))
            for length, own in zip(span, moving, strict=True)
        ]
        started[name.value] = timing.times[at, engine.STARTED].tolist()
        given[name.value] = [word(program.instructions[number]) for number in at]
    return {
        "settings": settings(core, len(program.instructions)),
        "words": [word(instruction) for instruction in program.instructions], "offered": offered,
        "durations": durations,
        "expected": {
            "taken": timing.times[:, engine.DISPATCHED].tolist(), "started": started, "given": given,
            "total": result.total_cycles, "counters": counters(result.engines),
        },
    }  # fmt: skip


def random_run(random: np.random.Generator, core: SparseAccelerator, count: int) -> dict[str, Any]:
    """Return a run of a random Program on a random memory in front of this core, of at most LONGEST_CYCLES."""
    while True:
        memory = timing_spec(random)
        spec = core.model_copy(update={"off_chip": memory.off_chip, "axi": memory.axi})
        program = timing_program(random_lines(random, count))
        if run_program(program, spec).total_cycles <= LONGEST_CYCLES:
            return run_case(random, program, spec, core)


def bench(
    build: Path, folder: Path, runs: list[dict[str, Any]], *, test: str = "runs", mutant: int | None = None,
    plan: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Run one test of the bench on a build and return what was seen; `plan`: what else the test wants to know."""
    folder.mkdir(parents=True, exist_ok=True)
    cases, seen = folder / "cases.json", folder / "seen.json"
    seen.unlink(missing_ok=True)
    registers = {name: register.address for name, register in REGISTERS.items()}
    cases.write_text(json.dumps({"registers": registers, "runs": runs, **(plan or {})}))
    environment = {"GOSSAMER_CASES": str(cases), "GOSSAMER_SEEN": str(seen)}
    if mutant is not None:
        environment["GOSSAMER_MUTANT"] = str(mutant)
    run(
        build, "control", "control_bench", folder=folder, environment=environment, python_path=[BENCHES],
        test_filter=rf".*\.{test}$",
    )  # fmt: skip
    return list(json.loads(seen.read_text())) if seen.exists() else []


def check(case: dict[str, Any], seen: dict[str, Any]) -> None:
    """Require that a run was what the simulator says."""
    expected = case["expected"]
    assert not seen["problems"]
    assert len(seen["taken"]) == len(case["words"]) > 0, "every instruction must be taken"
    assert seen["taken"] == expected["taken"]
    assert sum(map(len, seen["started"].values())) == len(case["words"]) - 1
    assert seen["started"] == expected["started"]
    assert seen["given"] == expected["given"], "engines must get the instruction words in order"
    registers = seen["registers"]
    assert (registers["ERROR_CAUSE"], registers["ERROR_INSTRUCTION"], registers["WAITING_TOKENS"]) == (0, 0, 0)
    assert registers["STATUS"] == seen["status"] == 2
    assert (seen["interrupt"], seen["after_clear"]) == (1, 0)
    assert (seen["base"], seen["length"]) == (BASE, len(case["words"]))
    assert registers["CYCLES"] == seen["cycles"] == expected["total"]
    assert {name: registers[name] for name in expected["counters"]} == expected["counters"]
    for owner in ENGINES:
        parts = ["BUSY", "WAITING_MEMORY", "IDLE", *(f"WAITING_{giver.value.upper()}" for giver in ENGINES)]
        assert sum(registers[f"{owner.value.upper()}_{part}"] for part in parts) == registers["CYCLES"]


SEED = int(os.environ.get("GOSSAMER_SEED", "20261"))
