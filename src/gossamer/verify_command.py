"""Carry out `gossamer verify`: choose the Programs, run them, print what was found."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gossamer.arch.config import load_config, require_hardware
from gossamer.arch.cores import require_one_core
from gossamer.arch.errors import ConfigError, GossamerError, ModelError
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.target import chosen_target
from gossamer.request import SimulationRequest
from gossamer.rtl_run import require_compilers
from gossamer.verification import ProgramCheck, VerificationReport, verify_programs
from gossamer.verify_candidates import model_candidates, random_candidates

STALLS = ("none", "random")
VCD_NOTE = " (VCD, since lz4.h is missing; for the smaller FST: apt-get install liblz4-dev)"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """What to verify, in the words of the command line; exactly one of `model` and `random` (a count) is given."""

    model: SimulationRequest | None
    config: str
    overrides: tuple[str, ...] = ()
    random: int = 0
    seed: int = 1
    images: int = 1
    layers: str | None = None
    stalls: str = "none"
    waves: Path | None = None
    trace: Path | None = None
    target: str | None = None


def run_verification(request: VerifyRequest, stage: Callable[[str], None]) -> VerificationReport:
    """Return the report of a request. Raises GossamerError for bad input or a missing tool."""
    spec = _checked(request)
    require_compilers()
    if request.model is not None:
        candidates = model_candidates(
            request.model, spec, images=request.images, layers=request.layers, seed=request.seed, stage=stage
        )
    else:
        candidates = random_candidates(spec, count=request.random, seed=request.seed, stage=stage)
    folder = Path(tempfile.mkdtemp(prefix="gossamer-verify-")) if request.waves is None else request.waves
    try:
        return verify_programs(
            spec, candidates, stalls=request.stalls, seed=request.seed, folder=folder.resolve(),
            waves=request.waves is not None, trace=_made(request.trace), stage=stage,
            target=chosen_target(request.target, spec),
        )  # fmt: skip
    finally:
        if request.waves is None:
            shutil.rmtree(folder, ignore_errors=True)


def _checked(request: VerifyRequest) -> SparseAccelerator:
    """Return the config of a request that can be carried out. Raises ModelError or ConfigError."""
    if (request.model is None) == (request.random == 0):
        raise ModelError("verify needs either a MODEL or --random COUNT, not both and not neither")
    if request.stalls not in STALLS:
        raise ConfigError(f"--stalls must be one of {', '.join(STALLS)}; not {request.stalls}")
    if request.images < 1:
        raise ModelError(f"--images must be at least 1, not {request.images}")
    config = load_config(request.config, request.overrides)
    spec = require_hardware(config, request.config, chosen_target(request.target, config))
    if request.stalls != "none":
        require_one_core(spec, f"--stalls {request.stalls} records the pauses of one core's port")
    if request.trace is not None:
        require_one_core(spec, "--trace shows the instructions of one core")
    if request.random and request.layers is not None:
        raise ModelError("--layers takes layers out of a MODEL; random networks have none to name")
    for option, folder in (("--waves", request.waves), ("--trace", request.trace)):
        if folder is not None and folder.exists() and not folder.is_dir():
            raise ModelError(f"{option} {folder}: must be a folder, and is a file")
    return spec


def _made(folder: Path | None) -> Path | None:
    """Return a folder by its whole path, made if it was missing. Raises GossamerError if it cannot be."""
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GossamerError(f"--trace {folder}: cannot be made: {error.strerror or error}") from error
    return folder.resolve()


def print_verification(report: VerificationReport) -> None:
    """Print one line per Program, then the sums; differences in counters where there are some."""
    print(
        f"verify on {report.config_name}: {len(report.programs)} programs, stalls {report.stalls}, seed {report.seed}"
    )
    other = f"{'other stalls':>14s}" if report.independent_error_pct is not None else ""
    print(f"{'program':24s}{'bytes':>12s}  {'bit-exact':9s}{'RTL cycles':>12s}{'simulator':>12s}{'error':>10s}{other}")
    for check in report.programs:
        exact = "yes" if check.bit_exact else "NO"
        print(
            f"{check.name[:23]:24s}{check.outputs_checked:12,d}  {exact:9s}{check.rtl_cycles:12,d}"
            f"{check.sim_cycles:12,d}{check.cycle_error_pct:+9.3f}%"
            + ("" if check.independent_error_pct is None else f"{check.independent_error_pct:+13.3f}%")
        )
        if check.failure:
            print(f"  {check.failure}")
        if check.mismatch is not None:
            print(f"  {check.mismatch}; run again with --waves DIR to see it")
        if check.instructions_off:
            print(f"  {check.instructions_off:,} instructions at other times than simulated; --trace DIR shows which")
        for line in _engine_lines(check):
            print(f"  {line}")
    total = sum(check.outputs_checked for check in report.programs)
    print(
        f"{'bit-exact' if report.bit_exact else 'NOT bit-exact'}, {total:,} bytes compared; "
        f"largest cycle error {report.max_cycle_error_pct:.3f} %"
    )
    if report.waves is not None:
        print(f"waveforms: {report.waves}{'' if report.waves.suffix == '.fst' else VCD_NOTE}")
    if report.trace is not None:
        print(f"traces: {report.trace}, for https://ui.perfetto.dev")
    if report.independent_error_pct is not None:
        print(
            "simulator under the stalls recorded on the RTL; under other stalls of the same probability its cycles of "
            f"all programs together are off by {report.independent_error_pct:+.3f} %"
        )


def _engine_lines(check: ProgramCheck) -> list[str]:
    """Return one line per engine whose counters differ from the simulator's."""
    lines = []
    several = any(counter.core for counter in check.counters)
    for core, engine in dict.fromkeys((counter.core, counter.engine) for counter in check.counters):
        parts = [
            f"{counter.name} {counter.rtl:,d} ({counter.rtl - counter.sim:+,d})"
            for counter in check.counters
            if (counter.core, counter.engine) == (core, engine) and counter.rtl != counter.sim
        ]
        if parts:
            lines.append(f"{f'core {core} ' * several}{engine.value}: RTL against simulator: {', '.join(parts)}")
    return lines
