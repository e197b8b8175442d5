"""Offer the command line's verbs to Python."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gossamer.dataflow.program import Program
from gossamer.explore.outcome import SweepReport
from gossamer.explore.runner import run_sweep
from gossamer.explore.sweep_file import load_sweep
from gossamer.report import SimulationReport
from gossamer.request import SimulationRequest
from gossamer.rtl.synthesis.place import SEEDS, SPEED_GRADES
from gossamer.simulation import compile_request, run_simulation
from gossamer.synthesis import SynthesisReport, SynthesisRequest, run_synthesis
from gossamer.verification import VerificationReport
from gossamer.verify_command import VerifyRequest, run_verification


def _request(
    model: str | Path,
    config: str | Path,
    sparsity: str,
    shapes: Mapping[str, Sequence[int]] | None,
    calibration: Path | None,
    batch: int,
    settings: Sequence[str],
    advice: bool,
    objective: str = "latency",
    explain: str | None = None,
) -> SimulationRequest:
    return SimulationRequest(
        model=str(model), config=str(config), sparsity=sparsity,
        shapes={name: tuple(shape) for name, shape in (shapes or {}).items()}, calibration=calibration, batch=batch,
        overrides=tuple(settings), advice=advice, objective=objective, explain=explain,
    )  # fmt: skip


def compile(
    model: str | Path,
    config: str | Path,
    *,
    sparsity: str = "dense",
    shapes: Mapping[str, Sequence[int]] | None = None,
    calibration: Path | None = None,
    batch: int = 1,
    settings: Sequence[str] = (),
    objective: str = "latency",
) -> Program:
    """Return the Program of a model on a config; arguments as on the command line. Raises GossamerError."""
    request = _request(model, config, sparsity, shapes, calibration, batch, settings, False, objective)
    return compile_request(request).program


def simulate(
    model: str | Path,
    config: str | Path,
    *,
    sparsity: str = "dense",
    shapes: Mapping[str, Sequence[int]] | None = None,
    calibration: Path | None = None,
    batch: int = 1,
    settings: Sequence[str] = (),
    advice: bool = False,
    objective: str = "latency",
    explain: str | None = None,
) -> SimulationReport:
    """Return the report of a model on a config; arguments as on the command line. Raises GossamerError."""
    request = _request(
        model, config, sparsity, shapes, calibration, batch, settings, advice, objective, explain
    )  # fmt: skip
    return run_simulation(request).report


def verify(
    model: str | Path | None,
    config: str | Path,
    *,
    random: int = 0,
    seed: int = 1,
    images: int = 1,
    layers: str | None = None,
    stalls: str = "none",
    sparsity: str = "dense",
    shapes: Mapping[str, Sequence[int]] | None = None,
    calibration: Path | None = None,
    settings: Sequence[str] = (),
    target: str | None = None,
    waves: Path | None = None,
    trace: Path | None = None,
) -> VerificationReport:
    """Return what the RTL of a config did with a model, or with `random` networks if `model` is None.

    Arguments as on the command line. A mismatch is in the report and raises nothing. Raises GossamerError for bad input
    and ToolError if a tool is missing.
    """
    asked = None if model is None else _request(model, config, sparsity, shapes, calibration, 1, settings, False)
    request = VerifyRequest(
        model=asked, config=str(config), overrides=tuple(settings), random=random, seed=seed, images=images,
        layers=layers, stalls=stalls, target=target, waves=waves, trace=trace,
    )  # fmt: skip
    return run_verification(request, lambda stage: None)


def sweep(
    sweep: str | Path,
    output: Path,
    *,
    workers: int = 1,
    cluster: str | None = None,
    resume: bool = False,
) -> SweepReport:
    """Return what a sweep found, after evaluating what the store `output` does not have of it.

    Arguments as on the command line. Raises GossamerError.
    """
    return run_sweep(load_sweep(sweep), Path(output), workers=workers, cluster=cluster, resume=resume)


def synth(
    config: str | Path,
    *,
    target: str | None = None,
    folder: Path | None = None,
    seeds: int = SEEDS,
    speed: int = SPEED_GRADES[0],
    place: bool = True,
    settings: Sequence[str] = (),
) -> SynthesisReport:
    """Return what the hardware of a config takes after synthesis, and its clock on ECP5.

    Arguments as on the command line. Raises GossamerError for bad input and ToolError if a tool is missing or fails.
    """
    request = SynthesisRequest(
        config=str(config), target=target, settings=tuple(settings), folder=folder, seeds=seeds, speed_grade=speed,
        place=place,
    )  # fmt: skip
    return run_synthesis(request, lambda stage: None)
