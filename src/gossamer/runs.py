"""Write a run folder: everything needed to look at a simulation again, or to repeat it."""

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.arch.errors import GossamerError
from gossamer.folders import write_folder

if TYPE_CHECKING:
    from gossamer.simulation import SimulationRun

_LAYER_COLUMNS = (
    "name", "op", "pattern", "positions", "channels", "reduction", "macs", "dense_macs", "cycles", "bound",
    "utilization", "dram_bytes", "kept_energy",
)  # fmt: skip


def save_run(run: "SimulationRun", folder: Path | None) -> Path:
    """Write the run folder and return it; `folder` None takes the next free runs/NNNN.

    Everything is written to a temporary folder first and renamed at the end. An earlier run in the same folder is
    replaced; a folder that holds anything else is refused. Raises GossamerError when it cannot be written.
    """
    target = _next_folder(Path("runs")) if folder is None else folder
    if target.exists() and not (target / "run.json").is_file() and (not target.is_dir() or any(target.iterdir())):
        raise GossamerError(f"{target}: exists and is not a run folder; name another with -o")
    write_folder(target, lambda temporary: _write_files(run, temporary), what="run folder")
    return target


def _next_folder(parent: Path) -> Path:
    taken = [int(path.name) for path in parent.glob("[0-9][0-9][0-9][0-9]*") if path.name.isdigit()]
    return parent / f"{max(taken, default=0) + 1:04d}"


def _write_files(run: "SimulationRun", folder: Path) -> None:
    from gossamer.arch.config import resolved_yaml
    from gossamer.dataflow.program_file import save_program

    (folder / "result.json").write_text(json.dumps(run.report.as_json(), indent=2, allow_nan=False) + "\n")
    (folder / "run.json").write_text(json.dumps(run.provenance, indent=2) + "\n")
    (folder / "config.resolved.yaml").write_text(resolved_yaml(run.spec))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_LAYER_COLUMNS)
    writer.writerows([getattr(layer, column) for column in _LAYER_COLUMNS] for layer in run.report.layers)
    (folder / "layers.csv").write_text(table.getvalue())
    if run.program is not None:
        save_program(run.program, folder / "program.gsm")
        if run.trace is not None:
            from gossamer.traces.timelines import Timeline, write_timelines

            timeline = Timeline.of("simulator", run.trace)
            write_timelines(folder / "trace.pftrace", run.program, run.report.clock_mhz, (timeline,))
