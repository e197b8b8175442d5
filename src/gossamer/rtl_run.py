"""Run Programs on the generated Verilog of a config under Verilator, and bring back memory and registers.

Nothing here knows what the results should be: golden executor and timing simulator meet them in
`gossamer.verification`.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.cores import core_spec
from gossamer.arch.encoding import decode_columns
from gossamer.arch.errors import ToolError
from gossamer.arch.isa import ENGINE_OF, ENGINES, INSTRUCTION_BYTES, Opcode
from gossamer.arch.registers import REGISTERS, ErrorCause
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.target import Target
from gossamer.arch.user_cache import user_cache
from gossamer.dataflow.program import Program
from gossamer.dataflow.streams import segments_of
from gossamer.rtl.core import master_names
from gossamer.rtl.cores import accelerator, slave_names
from gossamer.rtl.testbench.simulate import SimulationFailed, build, run
from gossamer.rtl.verilog import VerilogModule, verilog_modules
from gossamer.sim.offchip import offchip_timing
from gossamer.traces.timelines import UNKNOWN, Timeline

COMPILERS = ("g++", "make", "perl")
TOP = "gossamer_core"
SEVERAL_TOP = "gossamer_cores"
DONE_BIT, ERROR_BIT = 2, 4
STALL_PROBABILITY = 0.25
"""Share of the cycles in which random stalls hold up each channel of the memory port."""

TIMEOUT_FACTOR = 4
TIMEOUT_CYCLES = 20_000
"""A run may take TIMEOUT_FACTOR times the simulator's cycles and this many more before it counts as stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RtlJob:
    """A Program to run: memory uint8 [memory_bytes] at its start, and the cycles the simulator gives it.

    What only tests of errors change: `fingerprint`, 8 bytes of a config the host names instead of the Program's;
    `count` of instructions; `broken` ranges of memory that answer with an error; `drive`, values of registers added to
    the top.
    """

    name: str
    program: Program
    memory: NDArray[np.uint8]
    expected_cycles: int
    fingerprint: bytes | None = None
    count: int | None = None
    broken: tuple[range, ...] = ()
    drive: Mapping[str, int] = field(default_factory=dict)

    def _starts(self) -> list[tuple[int, int]]:
        """Return for every core where its first instructions are, and how many."""
        if self.count is not None:
            return [(0, self.count)]
        first = [segment for segment in segments_of(self.program) if segment.stage == 0]
        return [(segment.first * INSTRUCTION_BYTES, segment.count) for segment in first]

    def row(self, memory: Path) -> dict[str, Any]:
        """Return the job as the bench reads it, with the file of its memory."""
        digest = self.fingerprint or bytes.fromhex(self.program.config_fingerprint)
        return {
            "name": self.name, "memory": str(memory), "base": 0, "starts": self._starts(),
            "config": [int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")],
            "timeout_cycles": TIMEOUT_FACTOR * self.expected_cycles + TIMEOUT_CYCLES,
            "broken": [[span.start, span.stop] for span in self.broken], "drive": dict(self.drive),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RtlResult:
    """What the core left: memory after the run and every readable register by name.

    times: of one core, when each instruction was dispatched, started and completed, in the simulator's cycles. stalls:
    bool [5, cycles], which channels of the memory port paused in each cycle of the run; None: none ever did.
    others: registers of the cores after the first.
    """

    memory: NDArray[np.uint8]
    registers: Mapping[str, int]
    times: Timeline | None = None
    stalls: NDArray[np.bool_] | None = None
    others: tuple[Mapping[str, int], ...] = ()

    @property
    def cores(self) -> tuple[Mapping[str, int], ...]:
        """Return the registers of every core."""
        return (self.registers, *self.others)

    @property
    def finished(self) -> bool:
        """Return whether every core reached END without an error."""
        return all(each["STATUS"] & DONE_BIT and not each["STATUS"] & ERROR_BIT for each in self.cores)

    @property
    def cycles(self) -> int:
        """Return the cycles of the run: those of the core that took longest."""
        return max(each["CYCLES"] for each in self.cores)

    @property
    def cause(self) -> ErrorCause:
        """Return why the core stopped."""
        return ErrorCause(self.registers["ERROR_CAUSE"])


def top_name(spec: SparseAccelerator) -> str:
    """Return the name of its module."""
    return TOP if spec.cores == 1 else SEVERAL_TOP


def require_compilers() -> None:
    """Raise ToolError that names what is missing to compile Verilog and how to get it."""
    missing = [name for name in COMPILERS if shutil.which(name) is None]
    if missing:
        raise ToolError(
            f"verify compiles the generated Verilog and needs {', '.join(missing)}: apt-get install g++ make perl"
        )


def cores_folder() -> Path:
    """Return the cache folder of compiled cores."""
    return user_cache() / "cores"


def memory_arguments(spec: SparseAccelerator, stalls: str, seed: int) -> dict[str, Any]:
    """Return ports and memory of the bench: latency and bandwidth of every core's share, and random stalls if asked."""
    timing, ports = offchip_timing(core_spec(spec)), spec.axi.ports
    masters = [prefix.removesuffix("_") for prefix in master_names(spec.cores * ports)]
    return {
        "slaves": [prefix.removesuffix("_") for prefix in slave_names(spec.cores)],
        "masters": [masters[ports * core : ports * (core + 1)] for core in range(spec.cores)],
        "schedule": {
            "beat_bytes": timing.beat_bytes, "channels": timing.channels, "interleave_bytes": timing.interleave_bytes,
            "beat_ticks": timing.beat_ticks, "latency_cycles": timing.latency_cycles,
        },
        "stalls": {"seed": seed, "probability": STALL_PROBABILITY} if stalls == "random" else None,
    }  # fmt: skip


def run_programs(
    spec: SparseAccelerator, jobs: Sequence[RtlJob], *, stalls: str, seed: int, folder: Path, waves: bool,
    stage: Callable[[str], None], target: Target | None = None,
) -> dict[str, RtlResult]:  # fmt: skip
    """Return the results by job name; jobs after one that no reset ends are missing. Raises ToolError."""
    require_compilers()
    stage("writing Verilog")
    modules = accelerator_modules(spec, target)
    stage("compiling with Verilator (kept for the next run)")
    compiled = build_core(modules, waves=waves)
    stage(f"running {len(jobs)} programs on the RTL")
    return run_jobs(compiled, spec, jobs, stalls=stalls, seed=seed, folder=folder, waves=waves)


@lru_cache(maxsize=4)
def accelerator_modules(spec: SparseAccelerator, target: Target | None = None) -> tuple[VerilogModule, ...]:
    """Return the Verilog of a config's accelerator; remembered, since writing it takes seconds. Raises ConfigError."""
    return verilog_modules(accelerator(spec, target))


def build_core(modules: Sequence[VerilogModule], *, waves: bool = False) -> Path:
    """Return the folder of a core compiled from its modules, kept by their text. Raises ToolError."""
    try:
        return build(modules, cores_folder(), waves=waves)
    except SimulationFailed as error:
        raise ToolError(str(error)) from error


def run_jobs(
    target: Path, spec: SparseAccelerator, jobs: Sequence[RtlJob], *, stalls: str = "none", seed: int = 1, folder: Path,
    waves: bool = False,
) -> dict[str, RtlResult]:  # fmt: skip
    """Write the job file, run the bench on a compiled core and read what it wrote. Raises ToolError if that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, job in enumerate(jobs):
        path = folder / f"memory{number}.npy"
        np.save(path, job.memory)
        rows.append(job.row(path))
    description = {**memory_arguments(spec, stalls, seed), "jobs": rows}
    (folder / "jobs.json").write_text(json.dumps(description), encoding="utf-8")
    results = folder / "registers.json"
    results.unlink(missing_ok=True)
    try:
        run(
            target, top_name(spec), "gossamer.rtl.testbench.core_bench", folder=folder, waves=waves, python_path=[],
            environment={"JOBS": str(folder / "jobs.json"), "RESULTS": str(results)},
        )  # fmt: skip
    except SimulationFailed as error:
        raise ToolError(str(error)) from error
    registers = json.loads(results.read_text(encoding="utf-8"))
    assert all(set(values) <= set(REGISTERS) for each in registers.values() for values in each)
    stalled = description["stalls"] is not None
    return {
        job.name: RtlResult(
            memory=np.load(folder / f"memory{number}.after.npy"),
            registers=registers[job.name][0],
            others=tuple(registers[job.name][1:]),
            times=_times(job.program, folder / f"memory{number}.events.npz") if spec.cores == 1 else None,
            stalls=np.load(folder / f"memory{number}.stalls.npy") if stalled else None,
        )
        for number, job in enumerate(jobs)
        if job.name in registers
    }


def _times(program: Program, path: Path) -> Timeline:
    with np.load(path) as events:
        return instruction_times(program, events)


def instruction_times(program: Program, events: Mapping[str, NDArray[np.int64]]) -> Timeline:
    """Return the times of a Program's instructions out of the bench's events: every engine runs its own in order.

    `events`: see `gossamer.rtl.testbench.instruction_events`. Instructions that never came so far have UNKNOWN times.
    END is no engine's: it starts when it is dispatched, and takes a cycle, as in the simulator.
    """
    opcodes = decode_columns(program.instructions)["opcode"]
    dispatched, started, completed = (np.full(opcodes.size, UNKNOWN, dtype=np.int64) for _ in range(3))
    _fill(dispatched, np.arange(opcodes.size), events["dispatched"])
    for engine in ENGINES:
        members = np.flatnonzero(np.isin(opcodes, [op for op, owner in ENGINE_OF.items() if owner is engine]))
        _fill(started, members, events[f"{engine.value}_started"])
        _fill(completed, members, events[f"{engine.value}_completed"])
    ended = np.flatnonzero((opcodes == Opcode.END) & (dispatched != UNKNOWN))
    started[ended], completed[ended] = dispatched[ended], dispatched[ended] + 1
    return Timeline(name="RTL", dispatched=dispatched, started=started, completed=completed)


def _fill(times: NDArray[np.int64], members: NDArray[np.int64], cycles: NDArray[np.int64]) -> None:
    """Give the first members their cycles; what a core does after a Program's last instruction is not of it."""
    count = min(members.size, cycles.size)
    times[members[:count]] = cycles[:count]
