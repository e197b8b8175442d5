"""Control of the core against the timing simulator: every start, every counter, every error; and mutants of it."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from control_runs import BASE, SEED, bench, check, random_run, run_case, settings, word
from timing_programs import timing_program

from gossamer.arch.config import load_config
from gossamer.arch.encoding import encode
from gossamer.arch.isa import ENGINES, FIELDS, ISA_VERSION, Engine, Opcode
from gossamer.arch.registers import CORE_ID, REGISTERS, Access, ErrorCause
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.program import Program
from gossamer.rtl.control.control import Control, config_number
from gossamer.rtl.testbench.simulate import SimulationFailed, build
from gossamer.rtl.verilog import VerilogModule, verilog_modules
from gossamer.rtl_run import cores_folder

Case = dict[str, Any]

MUTANTS = {
    "instruction_queue": (r"room <= (.*);", "1'h1"),
    "semaphore": (r"available <= (.*);", "1'h1"),
    "engine_issue": (r"waiting_token <= (.*);", "missing"),
    "dispatcher": (r"assign ends = (.*);", "fetch_valid & running & is_end"),
    "counters": (r"settled <= (.*);", "1'h1"),
    "tally": (r"assign _1 = (collect \? .*);", "amount"),
    "register_file": (r"config_matches <= (.*);", "1'h1"),
    "run_control": (r"assign _\d+ = (settled & .*);", "~ended[0]"),
    "axi_lite_slave": (r"looking_next = (\{ looking.*);", "{4{s_axi_arvalid}}"),
    "control": (r"assign quiet = (.*);", "1'h1"),
}
"""One fault for each module: the expression replaced, and by what. Fault n is on while `control.mutant` is n."""

SMALL_SEMAPHORE = len(MUTANTS) + 1
"""Not a fault: semaphores that are full at 3 tokens."""


def core(queue_depth: int) -> SparseAccelerator:
    spec = load_config("ecp5-tiny")
    assert isinstance(spec, SparseAccelerator)
    return spec.model_copy(update={"dispatch": spec.dispatch.model_copy(update={"queue_depth": queue_depth})})


def with_mutants(modules: tuple[VerilogModule, ...]) -> list[VerilogModule]:
    """Return the modules with every fault of MUTANTS built in, switched by a register of the top."""
    changed = []
    for module in modules:
        text = module.text
        if module.name in MUTANTS:
            pattern, fault = MUTANTS[module.name]
            number = list(MUTANTS).index(module.name) + 1
            found = re.findall(pattern, text)
            assert len(found) == 1, f"{module.name}: {pattern} must match once, not {found}"
            text = text.replace(f"= {found[0]};", f"= (control.mutant == {number}) ? ({fault}) : ({found[0]});")
        if module.name == "semaphore":
            found = re.findall(r"= & tokens;", text)
            assert found
            text = text.replace(found[0], f"= (control.mutant == {SMALL_SEMAPHORE}) ? tokens == 3 : & tokens;")
        if module.name == "control":
            assert "module control(" in text
            text = re.sub(
                r"(module control\([^;]*;)", r"\1\n  reg [7:0] mutant /*verilator public_flat_rw*/ = 0;", text
            )
        changed.append(replace(module, text=text))
    return changed


DEPTH = 2
"""Of the queues in the bench; other depths are checked by test_control_parts.py."""


@pytest.fixture(scope="module")
def control() -> Path:
    """Return the control with all mutants, built."""
    return build(with_mutants(verilog_modules(Control(core(DEPTH)))), cores_folder())


def two_givers() -> Program:
    """Return a Program in which one instruction waits for tokens of two engines at once, then again of the later."""
    small = {"ny": 1, "nx": 1, "nc": 1, "kh": 1, "kw": 1}
    bits = {engine: 1 << number for number, engine in enumerate(ENGINES)}
    return timing_program(
        [
            (Opcode.COPY, {**small, "ny": 300, "release": bits[Engine.COMPUTE]}),
            (Opcode.LOAD, {"pad_top": 40, "run_bytes": 8, "nx": 1, "release": bits[Engine.COMPUTE]}),
            (Opcode.COMPUTE, {
                **{name: 1 for name in ("ny", "nx", "n_ry", "n_rx", "run_words", "steps", "chains_active")},
                "wait": bits[Engine.LOAD] | bits[Engine.VECTOR],
            }),
        ]
    )  # fmt: skip


def random_runs(counts: list[int]) -> list[Case]:
    """Return runs of random Programs, one of END alone and one with two tokens missing."""
    random = np.random.default_rng(SEED)
    print(f"seed {SEED}")
    runs = [random_run(random, core(DEPTH), count) for count in counts]
    return [
        *runs,
        *(run_case(random, program, core(DEPTH), core(DEPTH)) for program in (timing_program([]), two_givers())),
    ]


def test_runs_are_those_of_the_simulator(control: Path, tmp_path: Path) -> None:
    runs = random_runs([1, 2, 7, 20, 30, 39, 40])
    for case, seen in zip(runs, bench(control, tmp_path, runs), strict=True):
        check(case, seen)


def failing(good: Case, **changes: Any) -> Case:
    """Return a run changed so that it fails."""
    words = list(good["words"])
    for at, value in changes.pop("words", {}).items():
        words[at] = f"{value:0128x}"
    return {**good, "words": words, **changes}


def errors(random: np.random.Generator, good: Case) -> list[tuple[Case, ErrorCause, int | None, int]]:
    """Return failing runs with cause, instructions dispatched (None: not foreseen) and address."""
    count = len(good["words"])
    at = int(random.integers(0, count - 1))
    unknown = [value for value in range(32) if value not in list(Opcode)]
    cases: list[tuple[Case, ErrorCause, int | None, int]] = [
        (failing(good, words={at: value}), ErrorCause.OPCODE, at, 0) for value in (unknown[0], unknown[-1])
    ]
    for number in {at, count - 1}:
        instruction = int(good["words"][number], 16)
        used = sum(field.bits for field in FIELDS[Opcode(instruction & 31)])
        for bit in (used, 511, int(random.integers(used, 512))):
            wrong = failing(good, words={number: instruction | 1 << bit})
            cases.append((wrong, ErrorCause.RESERVED_BITS, number, 0))
    short = {**good["settings"], "PROGRAM_COUNT": count - 1}
    cases.append((failing(good, settings=short), ErrorCause.NO_END, count - 1, 0))
    cases.append((failing(good, settings={**short, "PROGRAM_COUNT": 0}), ErrorCause.NO_END, 0, 0))
    other = {**good["settings"], "PROGRAM_CONFIG_LOW": good["settings"]["PROGRAM_CONFIG_LOW"] ^ 1 << 31}
    cases.append((failing(good, settings=other), ErrorCause.FINGERPRINT, 0, 0))
    late = good["expected"]["total"] - 2
    cases.append((failing(good, fetch_fault=(late, BASE + 64)), ErrorCause.READ_RESPONSE, None, BASE + 64))
    for engine in ENGINES:
        address = int(random.integers(0, 2**40))
        fault = {engine.value: (late, ErrorCause.FIELD, address)}
        cases.append((failing(good, faults=fault), ErrorCause.FIELD, None, address))
    return cases


def test_errors_stop_a_run_and_the_next_is_not_harmed(control: Path, tmp_path: Path) -> None:
    random = np.random.default_rng((SEED, 5))
    print(f"seed {SEED}")
    good = random_run(random, core(DEPTH), 12)
    cases = errors(random, good)
    runs = [case for failing, *_ in cases for case in (failing, good)]
    seen = bench(control, tmp_path, runs)
    assert len(seen) == len(runs) > 0
    for (case, cause, dispatched, address), wrong, right in zip(cases, seen[::2], seen[1::2], strict=True):
        registers = wrong["registers"]
        assert (ErrorCause(registers["ERROR_CAUSE"]), wrong["status"] & 7, wrong["interrupt"]) == (cause, 4, 1)
        assert registers["ERROR_ADDRESS_LOW"] | registers["ERROR_ADDRESS_HIGH"] << 32 == address
        assert dispatched in (None, registers["ERROR_INSTRUCTION"])
        assert registers["CYCLES"] == wrong["cycles"]
        if cause in (ErrorCause.OPCODE, ErrorCause.RESERVED_BITS):
            # The error shows in the cycle after the instruction was taken: one more may have been, but starts nowhere.
            assert dispatched + 1 <= len(wrong["taken"]) <= dispatched + 2
            assert not set(case["words"][dispatched:]) & set(itertools.chain(*wrong["given"].values()))
        if cause is ErrorCause.FINGERPRINT:
            assert wrong["cycles"] == len(wrong["taken"]) == 0
        check(good, right)


def test_a_run_without_interrupt(control: Path, tmp_path: Path) -> None:
    good = random_run(np.random.default_rng(SEED), core(DEPTH), 3)
    quiet = {**good, "settings": {**good["settings"], "INTERRUPT_ENABLE": 0}}
    (seen,) = bench(control, tmp_path, [quiet])
    assert (seen["status"], seen["interrupt"], seen["registers"]["INTERRUPT_CLEAR"]) == (2, 0, 1)


def test_too_many_tokens_are_an_error(control: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(SEED)
    release = 1 << ENGINES.index(Engine.COMPUTE)
    lines = [(Opcode.COPY, {"ny": 1, "nx": 1, "nc": 1, "kh": 1, "kw": 1, "release": release})] * 4
    enough, many = (run_case(random, timing_program(lines[:count]), core(DEPTH), core(DEPTH)) for count in (3, 4))
    right, wrong = bench(control, tmp_path, [enough, many], mutant=SMALL_SEMAPHORE)
    check(enough, right)
    assert (wrong["registers"]["ERROR_CAUSE"], wrong["status"] & 7) == (ErrorCause.TOKEN_OVERFLOW, 4)


def refused_then_right(control: Path, folder: Path, wrong: Case, runs: list[Case], mutant: int) -> None:
    """Require a run of another config to be refused, and the others to be the simulator's."""
    refused, *seen = bench(control, folder, [wrong, *runs], mutant=mutant)
    assert refused["status"] == 4
    for case, result in zip(runs, seen, strict=True):
        check(case, result)


def test_without_mutant_they_are_right(control: Path, tmp_path: Path) -> None:
    runs = random_runs([25])
    other = {**runs[0]["settings"], "PROGRAM_CONFIG_HIGH": 0}
    refused_then_right(control, tmp_path, failing(runs[0], settings=other), runs, 0)


@pytest.mark.parametrize("number", range(1, len(MUTANTS) + 1), ids=list(MUTANTS))
def test_mutants_are_found(number: int, control: Path, tmp_path: Path) -> None:
    runs = random_runs([25])
    other = {**runs[0]["settings"], "PROGRAM_CONFIG_HIGH": 0}
    with pytest.raises((AssertionError, SimulationFailed)):
        refused_then_right(control, tmp_path, failing(runs[0], settings=other), runs, number)


def test_registers_as_the_host_sees_them(control: Path, tmp_path: Path) -> None:
    random = np.random.default_rng((SEED, 9))
    print(f"seed {SEED}")
    number = config_number(core(DEPTH))
    values = dict.fromkeys(REGISTERS, 0) | {
        "ID": CORE_ID, "ISA_VERSION": ISA_VERSION, "CONFIG_LOW": number % 2**32, "CONFIG_HIGH": number >> 32,
    }  # fmt: skip
    stored = {name: 2**32 - 1 for name in settings(core(DEPTH), 1)}
    stored |= {"PROGRAM_LOW": 2**32 - 64, "INTERRUPT_ENABLE": 1}
    writes = []
    for _ in range(40):
        first = int(random.integers(0, 4))
        data = random.integers(0, 256, int(random.integers(1, 5 - first))).tolist()
        writes.append((str(random.choice(list(stored))), first, data))
    read_only = [name for name, register in REGISTERS.items() if register.access is Access.READ]
    assert {*read_only, *stored} | {"CONTROL", "INTERRUPT_CLEAR"} == set(REGISTERS)
    plan = {
        "reset_values": values, "read_only": read_only, "beyond": [4 * len(REGISTERS), 508], "stored": stored,
        "writes": writes,
    }  # fmt: skip
    bench(control, tmp_path, [], test="host", plan=plan)


def test_reset_of_a_run_that_waits_for_ever(control: Path, tmp_path: Path) -> None:
    random = np.random.default_rng((SEED, 11))
    vector = ENGINES.index(Engine.VECTOR)
    load = ENGINES.index(Engine.LOAD)
    words = [
        word(encode(Opcode.COPY, {"ny": 1, "nx": 1, "nc": 1})),
        word(encode(Opcode.LOAD, {"wait": 1 << vector, "release": 1})),
        word(encode(Opcode.END, {})),
    ]
    stuck = {
        "settings": settings(core(DEPTH), 3), "words": words, "offered": [3, 3, 3], "durations": {"vector": [(5, [])]},
        "expected": {
            "started": {"load": [], "compute": [], "vector": [6], "store": []},
            "status": 1 | 1 << (8 + load), "waiting": 1 << (4 * load + vector),
        },
    }  # fmt: skip
    good = random_run(random, core(DEPTH), 5)
    (seen,) = bench(control, tmp_path, [stuck, good], test="reset")
    check(good, seen)
