"""Offer the command line's verbs to Python."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from gossamer.dataflow.program import Program
from gossamer.report import SimulationReport
from gossamer.request import SimulationRequest
from gossamer.simulation import compile_request, run_simulation


def _request(
    model: str | Path,
    config: str | Path,
    sparsity: str,
    shapes: Mapping[str, Sequence[int]] | None,
    calibration: Path | None,
    batch: int,
    settings: Sequence[str],
    advice: bool,
) -> SimulationRequest:
    return SimulationRequest(
        model=str(model), config=str(config), sparsity=sparsity,
        shapes={name: tuple(shape) for name, shape in (shapes or {}).items()}, calibration=calibration, batch=batch,
        overrides=tuple(settings), advice=advice,
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
) -> Program:
    """Return the Program of a model on a config; arguments as on the command line. Raises GossamerError."""
    return compile_request(_request(model, config, sparsity, shapes, calibration, batch, settings, False)).program


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
) -> SimulationReport:
    """Return the report of a model on a config; arguments as on the command line. Raises GossamerError."""
    return run_simulation(_request(model, config, sparsity, shapes, calibration, batch, settings, advice)).report
