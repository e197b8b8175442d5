"""Simulate small networks and save their run folders, for tests of reports."""

from pathlib import Path

from gossamer.request import SimulationRequest
from gossamer.runs import save_run
from gossamer.simulation import run_simulation


def save(folder: Path, model: str, config: str, sparsity: str = "dense", overrides: tuple[str, ...] = ()) -> Path:
    """Simulate a model and return the folder its run is saved to."""
    request = SimulationRequest(
        model=model, config=config, sparsity=sparsity, shapes={}, overrides=overrides, advice=False
    )
    return save_run(run_simulation(request), folder)
