"""Run Programs on the generated Verilog of a config under Verilator, and bring back memory and registers.

Nothing here knows what the results should be: golden executor and timing simulator meet them in
`gossamer.verification`.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ToolError
from gossamer.arch.registers import REGISTERS, ErrorCause
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.program import Program
from gossamer.rtl.core import Core
from gossamer.rtl.testbench.simulate import SimulationFailed, build, run
from gossamer.rtl.verilog import verilog_modules
from gossamer.sim.offchip import offchip_timing

COMPILERS = ("g++", "make", "perl")
DONE_BIT, ERROR_BIT = 2, 4
STALL_PROBABILITY = 0.25
"""Share of the cycles in which random stalls hold up each channel of the memory port."""

TIMEOUT_FACTOR = 4
TIMEOUT_CYCLES = 20_000
"""A run may take TIMEOUT_FACTOR times the simulator's cycles and this many more before it counts as stuck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RtlJob:
    """A Program to run: memory uint8 [memory_bytes] at its start, and the cycles the simulator gives it."""

    name: str
    program: Program
    memory: NDArray[np.uint8]
    expected_cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RtlResult:
    """What the core left: memory after the run and every readable register by name.

    stalls: bool [5, cycles], which channels of the memory port paused in each cycle of the run; None: none ever did.
    """

    memory: NDArray[np.uint8]
    registers: Mapping[str, int]
    stalls: NDArray[np.bool_] | None = None

    @property
    def finished(self) -> bool:
        """Return whether the run reached END without an error."""
        return bool(self.registers["STATUS"] & DONE_BIT) and not self.registers["STATUS"] & ERROR_BIT

    @property
    def cause(self) -> ErrorCause:
        """Return why the core stopped."""
        return ErrorCause(self.registers["ERROR_CAUSE"])


def require_compilers() -> None:
    """Raise ToolError that names what is missing to compile Verilog and how to get it."""
    missing = [name for name in COMPILERS if shutil.which(name) is None]
    if missing:
        raise ToolError(
            f"verify compiles the generated Verilog and needs {', '.join(missing)}: apt-get install g++ make perl"
        )


def cores_folder() -> Path:
    """Return the cache folder of compiled cores."""
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "gossamer" / "cores"


def memory_arguments(spec: SparseAccelerator, stalls: str, seed: int) -> dict[str, dict[str, Any] | None]:
    """Return what the memory of the bench must do: latency and bandwidth of the config, and random stalls if asked."""
    timing = offchip_timing(spec)
    return {
        "schedule": {
            "beat_bytes": timing.beat_bytes, "channels": timing.channels, "interleave_bytes": timing.interleave_bytes,
            "beat_ticks": timing.beat_ticks, "latency_cycles": timing.latency_cycles,
        },
        "stalls": {"seed": seed, "probability": STALL_PROBABILITY} if stalls == "random" else None,
    }  # fmt: skip


def run_programs(
    spec: SparseAccelerator, jobs: Sequence[RtlJob], *, stalls: str, seed: int, folder: Path, waves: bool,
    stage: Callable[[str], None],
) -> dict[str, RtlResult]:  # fmt: skip
    """Return the results by job name; jobs after one that hangs are missing. Raises ToolError if a tool fails."""
    require_compilers()
    stage("writing Verilog")
    modules = verilog_modules(Core(spec))
    stage("compiling with Verilator (kept for the next run)")
    try:
        target = build(modules, cores_folder(), waves=waves)
        stage(f"running {len(jobs)} programs on the RTL")
        return _simulate(spec, jobs, target, modules[0].name, stalls=stalls, seed=seed, folder=folder, waves=waves)
    except SimulationFailed as error:
        raise ToolError(str(error)) from error


def _simulate(
    spec: SparseAccelerator, jobs: Sequence[RtlJob], target: Path, top: str, *, stalls: str, seed: int, folder: Path,
    waves: bool,
) -> dict[str, RtlResult]:  # fmt: skip
    """Write the job file, run the bench and read what it wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, job in enumerate(jobs):
        path = folder / f"memory{number}.npy"
        np.save(path, job.memory)
        digest = bytes.fromhex(job.program.config_fingerprint)
        rows.append(
            {
                "name": job.name, "memory": str(path), "base": 0, "count": len(job.program.instructions),
                "config": [int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")],
                "timeout_cycles": TIMEOUT_FACTOR * job.expected_cycles + TIMEOUT_CYCLES,
            }
        )  # fmt: skip
    description = {**memory_arguments(spec, stalls, seed), "jobs": rows}
    (folder / "jobs.json").write_text(json.dumps(description), encoding="utf-8")
    results = folder / "registers.json"
    run(
        target, top, "gossamer.rtl.testbench.core_bench", folder=folder, waves=waves, python_path=[],
        environment={"JOBS": str(folder / "jobs.json"), "RESULTS": str(results)},
    )  # fmt: skip
    registers = json.loads(results.read_text(encoding="utf-8"))
    assert all(set(values) <= set(REGISTERS) for values in registers.values())
    return {
        job.name: RtlResult(
            memory=np.load(folder / f"memory{number}.after.npy"), registers=registers[job.name],
            stalls=np.load(folder / f"memory{number}.stalls.npy") if description["stalls"] is not None else None,
        )  # fmt: skip
        for number, job in enumerate(jobs)
        if job.name in registers
    }  # fmt: skip
