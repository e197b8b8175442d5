"""Compare RTL with golden executor and timing simulator: every byte of memory, every counter, the total cycles."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.encoding import decode_columns
from gossamer.arch.isa import ENGINES, Engine, Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.target import Target
from gossamer.dataflow.program import Program, TensorBinding
from gossamer.rtl.testbench.signal_lists import write_signal_lists
from gossamer.rtl.testbench.waves import wave_format
from gossamer.rtl_run import DONE_BIT, STALL_PROBABILITY, RtlJob, RtlResult, run_programs
from gossamer.sim.cores import simulate_program
from gossamer.sim.golden.executor import execute_memory, initial_memory
from gossamer.sim.results import Simulation
from gossamer.sim.stalls import random_stalls
from gossamer.sim.timing import run_program, simulate
from gossamer.traces.timelines import Timeline, write_timelines

TIMES = ("dispatched", "started", "completed")

Inputs = Mapping[str, NDArray[np.int8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A Program to verify with the int8 values of its inputs."""

    name: str
    program: Program
    inputs: Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """The first wrong byte: in the order of the instructions that wrote them, then of addresses."""

    address: int
    expected: int
    found: int
    bytes_wrong: int
    instruction: int
    layer: str
    tensor: str
    element: tuple[int, ...]

    def __str__(self) -> str:
        where = f"tensor {self.tensor} element {list(self.element)}" if self.tensor else f"byte {self.address}"
        return (
            f"{where} is {self.found}, must be {self.expected} ({self.bytes_wrong} bytes differ); written by "
            f"instruction {self.instruction} (STORE, layer {self.layer})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """One counter of an engine of a core in RTL and simulator, in cycles (instructions for "instructions")."""

    engine: Engine
    name: str
    rtl: int
    sim: int
    core: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramCheck:
    """What one Program did on the RTL, against what it should have done.

    outputs_checked: bytes of outputs and spilled tensors compared. `failure` says why the run did not finish. With
    random stalls sim_cycles are those of the simulator under the stalls recorded on the RTL, and independent_cycles
    those under other stalls of the same probability; None without. instructions_off: those that the RTL dispatched,
    started or completed in other cycles than the simulator; None if their times are not known.
    """

    name: str
    bit_exact: bool
    outputs_checked: int
    rtl_cycles: int
    sim_cycles: int
    counters: tuple[Counter, ...] = ()
    mismatch: Mismatch | None = None
    failure: str = ""
    independent_cycles: int | None = None
    instructions_off: int | None = None

    @property
    def cycle_error_pct(self) -> float:
        """Return how far the simulator was off, in percent of the RTL's cycles; above 0 if it said too many."""
        return _error_pct(self.sim_cycles, self.rtl_cycles)

    @property
    def independent_error_pct(self) -> float | None:
        """Return the same for the simulator under independent random stalls; None without stalls."""
        return None if self.independent_cycles is None else _error_pct(self.independent_cycles, self.rtl_cycles)

    @property
    def busy_exact(self) -> bool:
        """Return whether every engine was busy for exactly as many cycles as simulated."""
        return all(counter.rtl == counter.sim for counter in self.counters if counter.name == "busy")

    def as_json(self) -> dict[str, Any]:
        """Return the program's part of the JSON object of `verify`."""
        return {
            "name": self.name, "bit_exact": self.bit_exact, "outputs_checked": self.outputs_checked,
            "rtl_cycles": self.rtl_cycles, "sim_cycles": self.sim_cycles,
            "cycle_error_pct": round(self.cycle_error_pct, 4), "busy_exact": self.busy_exact,
            "instructions_off": self.instructions_off, "independent_cycles": self.independent_cycles,
            "independent_error_pct": _rounded(self.independent_error_pct),
            "counters": [asdict(counter) for counter in self.counters],
            "mismatch": None if self.mismatch is None else str(self.mismatch), "failure": self.failure,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """All Programs verified on one core; `waves`: the waveform file, `trace`: the folder of traces, if asked for."""

    config_name: str
    stalls: str
    seed: int
    programs: tuple[ProgramCheck, ...]
    waves: Path | None = None
    trace: Path | None = None

    @property
    def bit_exact(self) -> bool:
        """Return whether every Program was."""
        return all(check.bit_exact for check in self.programs)

    @property
    def max_cycle_error_pct(self) -> float:
        """Return the largest cycle error of either sign, in percent."""
        return max((abs(check.cycle_error_pct) for check in self.programs), default=0.0)

    @property
    def independent_error_pct(self) -> float | None:
        """Return the error of the cycles of all Programs together under independent random stalls; None without."""
        checks = [check for check in self.programs if check.independent_cycles is not None]
        if not checks:
            return None
        simulated = sum(check.independent_cycles or 0 for check in checks)
        return _error_pct(simulated, sum(check.rtl_cycles for check in checks))

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object of `verify` (DESIGN section 6)."""
        return {
            "config": self.config_name, "stalls": self.stalls, "seed": self.seed,
            "programs": [check.as_json() for check in self.programs], "bit_exact": self.bit_exact,
            "max_cycle_error_pct": round(self.max_cycle_error_pct, 4),
            "waves": None if self.waves is None else str(self.waves),
            "trace": None if self.trace is None else str(self.trace),
            "independent_error_pct": _rounded(self.independent_error_pct),
        }  # fmt: skip


def _error_pct(simulated: int, rtl: int) -> float:
    return 100.0 * (simulated - rtl) / rtl if rtl else 0.0


def _rounded(percent: float | None) -> float | None:
    return None if percent is None else round(percent, 4)


def verify_programs(
    spec: SparseAccelerator, candidates: Sequence[Candidate], *, stalls: str = "none", seed: int = 1, folder: Path,
    waves: bool = False, trace: Path | None = None, stage: Callable[[str], None] = lambda stage: None,
    target: Target | None = None,
) -> VerificationReport:  # fmt: skip
    """Run Programs on the RTL of a config and compare.

    The expected memory and, without stalls, the expected cycles are computed before the RTL exists and never reach it.
    With random stalls the simulator runs again under those the bench recorded, and once under others of the same
    probability. `folder` receives the bench's files, `trace` a Perfetto trace per Program. `target`: see
    `gossamer.rtl.core.Core`. Raises ProgramError for a Program of another config, ToolError if a tool is missing or
    fails.
    """
    stage("computing what must come out")
    expected = {each.name: execute_memory(each.program, spec, each.inputs) for each in candidates}
    simulated = {each.name: simulate_program(each.program, spec, trace=True) for each in candidates}
    jobs = [
        RtlJob(
            name=each.name, program=each.program, memory=initial_memory(each.program, each.inputs),
            expected_cycles=simulated[each.name].total_cycles,
        )
        for each in candidates
    ]  # fmt: skip
    results = run_programs(spec, jobs, stalls=stalls, seed=seed, folder=folder, waves=waves, stage=stage, target=target)
    checks = []
    for number, each in enumerate(candidates):
        result = results.get(each.name)
        seen, other = simulated[each.name], None
        if result is not None and result.stalls is not None:
            seen = simulate(each.program, spec, stalls=result.stalls, trace=True)
            other = _independent_cycles(each.program, spec, seen.total_cycles, seed=[seed, number])
        check = check_program(each, expected[each.name], seen, result)
        if trace is not None:
            _write_trace(trace, each, seen, result)
        checks.append(replace(check, independent_cycles=None if check.failure else other))
    dump = folder / f"dump.{wave_format()}" if waves else None
    if dump is not None and spec.cores == 1:
        write_signal_lists(spec, dump)
    return VerificationReport(
        config_name=spec.name, stalls=stalls, seed=seed, programs=tuple(checks), waves=dump, trace=trace
    )  # fmt: skip


def _write_trace(folder: Path, candidate: Candidate, simulated: Simulation, result: RtlResult | None) -> None:
    """Write the simulator's and the RTL's times of one Program; what the RTL did not do is not in it."""
    assert simulated.trace is not None
    timelines = [Timeline.of("simulator", simulated.trace)]
    if result is not None and result.times is not None:
        timelines.append(result.times)
    name = re.sub(r"[^\w.-]+", "-", candidate.name)
    write_timelines(folder / f"{name}.pftrace", candidate.program, simulated.clock_mhz, timelines)


def _independent_cycles(program: Program, spec: SparseAccelerator, cycles: int, *, seed: Sequence[int]) -> int:
    """Return the simulator's cycles under random stalls the RTL has not seen; it needs about `cycles`."""
    stalled = 2 * cycles
    while True:
        total = run_program(program, spec, stalls=random_stalls(seed, STALL_PROBABILITY, stalled)).total_cycles
        if total <= stalled:
            return total
        stalled *= 2


def check_program(
    candidate: Candidate, expected: NDArray[np.uint8], simulated: Simulation, result: RtlResult | None
) -> ProgramCheck:
    """Return the comparison of one Program."""
    program = candidate.program
    tensors = (*program.intermediates, *program.outputs)
    checked = sum(int(np.prod(binding.shape)) for binding in tensors)
    if result is None or not result.finished:
        why = "did not run: a program before it hung" if result is None else why_stopped(result)
        cycles = 0 if result is None else result.cycles
        return ProgramCheck(
            name=candidate.name, bit_exact=False, outputs_checked=0, rtl_cycles=cycles,
            sim_cycles=simulated.total_cycles, failure=why,
        )  # fmt: skip
    mismatch = find_mismatch(program, expected, result.memory)
    return ProgramCheck(
        name=candidate.name, bit_exact=mismatch is None, outputs_checked=checked,
        rtl_cycles=result.cycles, sim_cycles=simulated.total_cycles, counters=tuple(_counters(simulated, result)),
        mismatch=mismatch,
        instructions_off=_instructions_off(simulated, result),
    )  # fmt: skip


def _instructions_off(simulated: Simulation, result: RtlResult) -> int | None:
    """Return how many instructions were dispatched, started or completed in other cycles than simulated."""
    if simulated.trace is None or result.times is None:
        return None
    pairs = [(getattr(simulated.trace, name), getattr(result.times, name)) for name in TIMES]
    return int(np.any([mine != rtl for mine, rtl in pairs], axis=0).sum())


def _counters(simulated: Simulation, result: RtlResult) -> list[Counter]:
    """Return every counter of every engine of every core, RTL beside simulator."""
    counters = []
    engines = [core.engines for core in simulated.cores] or [simulated.engines]
    for core, engine in product(range(len(engines)), ENGINES):
        cycles, prefix = engines[core][engine], engine.value.upper()
        pairs = {
            "instructions": cycles.instructions, "busy": cycles.busy, "waiting_memory": cycles.waiting_memory,
            "idle": cycles.idle,
            **{f"waiting_{giver.value}": cycles.waiting_token[giver] for giver in ENGINES},
        }  # fmt: skip
        for name, sim in pairs.items():
            rtl = result.cores[core][f"{prefix}_{name.upper()}"]
            counters.append(Counter(engine=engine, name=name, rtl=rtl, sim=sim, core=core))
    return counters


def why_stopped(result: RtlResult) -> str:
    """Return what an unfinished run says about itself: its error, or the engines that are stuck and what they need."""
    if result.others:
        return "; ".join(f"core {number}: {_what_core_does(each)}" for number, each in enumerate(result.cores))
    return _why_core_stopped(result.registers)


def _what_core_does(registers: Mapping[str, int]) -> str:
    """Return the state of one of several cores: a failed one stops the run of the others."""
    if registers["ERROR_CAUSE"]:
        return _why_core_stopped(registers)
    state = registers["STATUS"]
    if state & DONE_BIT:
        return f"done after {registers['CYCLES']} cycles"
    busy = "at work" if state >> 4 else "with nothing to do: at a BARRIER, or fetch is stuck"
    return f"not done after {registers['CYCLES']} cycles, {busy}"


def _why_core_stopped(registers: Mapping[str, int]) -> str:
    cause = ErrorCause(registers["ERROR_CAUSE"])
    if cause:
        address = registers["ERROR_ADDRESS_HIGH"] << 32 | registers["ERROR_ADDRESS_LOW"]
        return (
            f"stopped with error {cause.name} after {registers['ERROR_INSTRUCTION']} instructions were "
            f"dispatched, memory address {address:#x}"
        )
    stuck = []
    for number, engine in enumerate(ENGINES):
        waits = registers["WAITING_TOKENS"] >> (4 * number) & 15
        givers = [giver.value for bit, giver in enumerate(ENGINES) if waits >> bit & 1]
        if givers:
            stuck.append(f"{engine.value} waits for a token of {', '.join(givers)}")
        elif registers["STATUS"] >> (4 + number) & 1:
            stuck.append(f"{engine.value} is busy and does not finish")
    return f"timed out after {registers['CYCLES']} cycles: {'; '.join(stuck) or 'no engine has work: fetch is stuck'}"


def writers(program: Program) -> NDArray[np.int32]:
    """Return for every byte of memory the number of the last STORE that writes it, int32 [memory_bytes]; -1: none."""
    columns = decode_columns(program.instructions)
    last = np.full(program.memory_bytes, -1, dtype=np.int32)
    for at in np.flatnonzero(columns["opcode"] == Opcode.STORE).tolist():
        field = {name: int(columns[name][at]) for name in ("dram", "dram_y", "dram_x", "ny", "nx", "run_bytes")}
        for y in range(field["ny"]):
            for x in range(field["nx"]):
                start = field["dram"] + y * field["dram_y"] + x * field["dram_x"]
                last[start : start + field["run_bytes"]] = at
    return last


def find_mismatch(program: Program, expected: NDArray[np.uint8], found: NDArray[np.uint8]) -> Mismatch | None:
    """Return the first difference of two memories uint8 [memory_bytes] after a run, None if they are equal."""
    wrong = np.flatnonzero(expected != found)
    if not wrong.size:
        return None
    writer = writers(program)[wrong]
    at = np.lexsort((wrong, np.where(writer < 0, len(program.instructions), writer)))[0]
    first, instruction = int(wrong[at]), int(writer[at])
    layer = int(program.layer_of[instruction]) if instruction >= 0 else -1
    tensor, element = _element(program, first)
    return Mismatch(
        address=first, expected=int(expected[first].astype(np.int8)), found=int(found[first].astype(np.int8)),
        bytes_wrong=int(wrong.size), instruction=instruction,
        layer=program.layers[layer].name if layer >= 0 else "none", tensor=tensor, element=element,
    )  # fmt: skip


def _element(program: Program, address: int) -> tuple[str, tuple[int, ...]]:
    """Return the tensor and element that lie at an address; outputs first, since intermediates share bytes."""
    for binding in (*program.outputs, *program.intermediates):
        index = _index(binding, address)
        if index is not None:
            return binding.name, index
    return "", ()


def _index(binding: TensorBinding, address: int) -> tuple[int, ...] | None:
    """Return the element of a tensor at an address, None if it has none there."""
    pixel, channel = divmod(address - binding.address, binding.channel_pitch)
    batch, rows, columns, channels = binding.shape
    if not 0 <= pixel < batch * rows * columns or channel >= channels:
        return None
    return (*(int(at) for at in np.unravel_index(pixel, (batch, rows, columns))), channel)
