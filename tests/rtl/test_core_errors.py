"""The whole core given bad programs and broken memory, and broken cores given good programs: all found and named."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from core_runs import (
    BuiltCore,
    Prepared,
    build,
    build_mutants,
    candidate_of,
    core_spec,
    instruction,
    pattern_network,
    with_instruction,
)
from mutants import Change

from gossamer.arch.encoding import decode_columns
from gossamer.arch.isa import ENGINES, FIELDS, VECTOR_OPCODES, Engine, Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.arch.timing import FETCH_BURST_BYTES
from gossamer.dataflow.program import RegionKind
from gossamer.dataflow.sparsity import NmPattern
from gossamer.rtl_run import RtlJob, RtlResult
from gossamer.verification import ProgramCheck, why_stopped

SEED = int(os.environ.get("GOSSAMER_SEED", "20261125"))


@pytest.fixture(scope="module")
def core() -> BuiltCore:
    return build(core_spec())


@pytest.fixture(scope="module")
def good(core: BuiltCore) -> Prepared:
    """Return a short program that uses all engines, sparse and dense, and what it must do."""
    network = pattern_network((NmPattern(2, 4), None), shape=(1, 4, 4, 16), outputs=16, kernel=(1, 1))
    return Prepared.of(candidate_of(network, core.spec, name="good"), core.spec)


@dataclass(frozen=True)
class Wrong:
    """A job that must fail: why, after how many dispatched instructions (None: not foreseen), at which address.

    The address is that of the burst, which is at most `within_bytes` long.
    """

    job: RtlJob
    cause: ErrorCause
    dispatched: int | None = None
    address: int | None = None
    within_bytes: int = 1


def first(good: Prepared, *opcodes: Opcode) -> int:
    """Return the number of the first instruction with one of some opcodes."""
    return int(np.flatnonzero(np.isin(decode_columns(good.candidate.program.instructions)["opcode"], opcodes))[0])


def with_field(good: Prepared, number: int, name: str, value: int) -> np.ndarray:
    """Return the program's memory with one field of one instruction changed."""
    memory = good.job().memory
    word = instruction(memory, number)
    start = 0
    for field in FIELDS[Opcode(word & 31)]:
        if field.name == name:
            assert word >> start & (1 << field.bits) - 1 != value, "nothing would change"
            return with_instruction(memory, number, word & ~(((1 << field.bits) - 1) << start) | value << start)
        start += field.bits
    raise AssertionError(f"no field {name}")


def run_between(core: BuiltCore, good: Prepared, wrongs: list[RtlJob], folder: Path) -> list[RtlResult]:
    """Run every wrong job, each followed by the good program, which must be right to the cycle."""
    jobs = [
        job for number, wrong in enumerate(wrongs)
        for job in (replace(wrong, name=f"wrong {number}"), good.job(f"good {number}"))
    ]  # fmt: skip
    results = core.run(jobs, folder)
    assert list(results) == [job.name for job in jobs]
    for number in range(len(wrongs)):
        check = good.check(results[f"good {number}"])
        assert check.bit_exact, f"after wrong job {number}: {check.mismatch or check.failure}"
        assert check.rtl_cycles == check.sim_cycles
        assert check.busy_exact
    return [results[f"wrong {number}"] for number in range(len(wrongs))]


def assert_stopped(core: BuiltCore, good: Prepared, wrongs: list[Wrong], folder: Path) -> None:
    """Require each job to stop with its cause, and the core to be whole afterwards."""
    assert wrongs
    for wrong, result in zip(wrongs, run_between(core, good, [each.job for each in wrongs], folder), strict=True):
        registers = result.registers
        assert not result.finished
        assert result.cause is wrong.cause, why_stopped(result)
        assert wrong.dispatched in (None, registers["ERROR_INSTRUCTION"])
        address = registers["ERROR_ADDRESS_HIGH"] << 32 | registers["ERROR_ADDRESS_LOW"]
        if wrong.address is None:
            assert address == 0
        else:
            assert address <= wrong.address < address + wrong.within_bytes
        check = good.check(result)
        assert not check.bit_exact
        assert wrong.cause.name in check.failure
        assert f"{address:#x}" in check.failure


def test_malformed_instructions_stop_with_their_cause(core: BuiltCore, good: Prepared, tmp_path: Path) -> None:
    job, count = good.job(), len(good.candidate.program.instructions)
    random = np.random.default_rng(SEED)
    print(f"GOSSAMER_SEED={SEED}")
    wrongs = []
    unknown = [value for value in range(32) if value not in list(Opcode)]
    for value in (unknown[0], unknown[-1]):
        at = int(random.integers(0, count))
        memory = with_instruction(job.memory, at, instruction(job.memory, at) & ~31 | value)
        wrongs.append(Wrong(replace(job, memory=memory), ErrorCause.OPCODE, at))
    for at in (0, int(random.integers(0, count)), count - 1):
        word = instruction(job.memory, at)
        used = sum(field.bits for field in FIELDS[Opcode(word & 31)])
        for bit in (used, 511):
            memory = with_instruction(job.memory, at, word | 1 << bit)
            wrongs.append(Wrong(replace(job, memory=memory), ErrorCause.RESERVED_BITS, at))
    wrongs.append(Wrong(replace(job, count=count - 1), ErrorCause.NO_END, count - 1))
    wrongs.append(Wrong(replace(job, count=0), ErrorCause.NO_END, 0))
    assert_stopped(core, good, wrongs, tmp_path)


ZERO_COUNTS: dict[tuple[Opcode, ...], tuple[str, ...]] = {
    (Opcode.LOAD,): ("nx", "run_bytes", "dst_e", "ny"),
    (Opcode.STORE,): ("ny", "nx", "run_bytes"),
    (Opcode.COMPUTE,): ("ny", "nx", "n_ry", "n_rx", "run_words", "steps", "chains_active"),
    VECTOR_OPCODES: ("ny", "nx", "nc", "kh", "kw"),
}


def test_zero_counts_stop_with_their_cause(core: BuiltCore, good: Prepared, tmp_path: Path) -> None:
    wrongs = [
        Wrong(replace(good.job(), memory=with_field(good, first(good, *opcodes), name, 0)), ErrorCause.FIELD)
        for opcodes, names in ZERO_COUNTS.items()
        for name in names
    ]
    assert_stopped(core, good, wrongs, tmp_path)


def test_a_program_of_another_config_is_refused(core: BuiltCore, good: Prepared, tmp_path: Path) -> None:
    digest = bytes.fromhex(good.candidate.program.config_fingerprint)[:8]
    wrongs = [
        Wrong(replace(good.job(), fingerprint=bytes(b ^ (i == at) for i, b in enumerate(digest))),
              ErrorCause.FINGERPRINT, 0)
        for at in (0, 3, 4, 7)
    ]  # fmt: skip
    assert_stopped(core, good, wrongs, tmp_path)


def test_bus_errors_end_the_run_with_their_address(core: BuiltCore, good: Prepared, tmp_path: Path) -> None:
    program = good.candidate.program
    (source,), (output,) = program.inputs, program.outputs
    (constants,) = (region.address for region in program.regions if region.kind is RegionKind.CONSTANTS)
    last = 64 * len(program.instructions) - 1
    burst_bytes = core.spec.axi.burst_beats * core.spec.axi.data_bits // 8
    places = [
        (last, ErrorCause.READ_RESPONSE, FETCH_BURST_BYTES), (constants, ErrorCause.READ_RESPONSE, burst_bytes),
        (source.address + 77, ErrorCause.READ_RESPONSE, burst_bytes),
        (output.address, ErrorCause.WRITE_RESPONSE, burst_bytes),
        (output.address + 131, ErrorCause.WRITE_RESPONSE, burst_bytes),
    ]  # fmt: skip
    wrongs = [
        Wrong(replace(good.job(), broken=(range(at, at + 1),)), cause, None, at, within) for at, cause, within in places
    ]
    assert_stopped(core, good, wrongs, tmp_path)


def without_release(good: Prepared, giver: Opcode, taker: Engine) -> np.ndarray:
    """Return the program's memory with the first token that `giver` should give to `taker` left out."""
    columns = decode_columns(good.candidate.program.instructions)
    bit = 1 << ENGINES.index(taker)
    at = int(np.flatnonzero((columns["opcode"] == giver) & (columns["release"] & bit > 0))[0])
    return with_field(good, at, "release", int(columns["release"][at]) & ~bit)


def test_a_deadlock_times_out_and_names_who_waits_for_whom(core: BuiltCore, good: Prepared, tmp_path: Path) -> None:
    lost = {
        "compute waits for a token of load": (Opcode.LOAD, Engine.COMPUTE),
        "vector waits for a token of compute": (Opcode.COMPUTE, Engine.VECTOR),
        "store waits for a token of vector": (Opcode.REQUANTIZE, Engine.STORE),
    }
    wrongs = [replace(good.job(), memory=without_release(good, *each)) for each in lost.values()]
    for message, result in zip(lost, run_between(core, good, wrongs, tmp_path), strict=True):
        assert result.cause is ErrorCause.NONE
        failure = good.check(result).failure
        assert message in failure
        assert failure.startswith("timed out after ")


MUTANTS: dict[str, Change] = {
    "index bit flipped": ("multiplier_stage", r"held_select_next = (?P<value>select);", "VALUE ^ 1'h1"),
    "sum of the row before": ("accumulator", r"= row \+ (?P<value>1'h1);", "2'h2"),
    "channel constants a row too far": ("parameter_loader", r"= entries_row \+ (?P<value>1'h1);", "2'h2"),
    "results not written": (
        "gossamer_core",
        r"activation_buffer activations \([^;]*\.d_valid\((?P<value>d_valid)\)",
        "1'h0",
    ),
    "write data never valid": ("write_port", r"assign wvalid = (?P<value>[^;]*);", "1'h0"),
    "activations never loaded": ("gossamer_core", r"assign load_valid = (?P<value>[^;]*);", "1'h0"),
    "tokens never available": ("semaphore", r"available <= (?P<value>[^;]*);", "1'h0"),
}
LATER: Change = ("instruction_queue", r"assign rooms = (?P<value>[^;]*);", "1'h0")
"""Of two instructions in a row for one engine, the second is dispatched a cycle late; nothing else changes."""

HANG = ("write data never valid", "tokens never available")


@pytest.fixture(scope="module")
def mutants() -> BuiltCore:
    return build_mutants(core_spec(), [*MUTANTS.values(), LATER])


def mutated(mutants: BuiltCore, good: Prepared, number: int, folder: Path) -> ProgramCheck:
    (check,), _ = mutants.verify([good.candidate], folder, drive={"mutant": number})
    return check


def test_without_a_mutant_the_core_is_right(mutants: BuiltCore, good: Prepared, tmp_path: Path) -> None:
    check = mutated(mutants, good, 0, tmp_path)
    assert check.bit_exact
    assert check.rtl_cycles == check.sim_cycles
    assert check.instructions_off == 0


def test_a_cycle_between_two_dispatches_is_found(mutants: BuiltCore, good: Prepared, tmp_path: Path) -> None:
    """No byte is wrong, but the times of some instructions are."""
    check = mutated(mutants, good, len(MUTANTS) + 1, tmp_path)
    assert check.bit_exact
    assert check.instructions_off is not None
    assert 0 < check.instructions_off < len(good.candidate.program.instructions)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_found(mutant: str, mutants: BuiltCore, good: Prepared, tmp_path: Path) -> None:
    check = mutated(mutants, good, list(MUTANTS).index(mutant) + 1, tmp_path)
    assert not check.bit_exact
    if mutant in HANG:
        assert "timed out" in check.failure
        return
    mismatch = check.mismatch
    assert mismatch is not None
    names = {binding.name for binding in (*good.candidate.program.outputs, *good.candidate.program.intermediates)}
    assert mismatch.tensor in names
    assert len(mismatch.element) == 4
    columns = decode_columns(good.candidate.program.instructions)
    assert columns["opcode"][mismatch.instruction] == Opcode.STORE
    assert mismatch.layer.startswith("conv")
    for part in (f"tensor {mismatch.tensor} element [", "must be", f"instruction {mismatch.instruction}"):
        assert part in str(mismatch)
