"""Read what `gossamer simulate` wrote to a run folder, and run its Program again for the times of every instruction."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from gossamer.arch.config import load_config
from gossamer.arch.errors import GossamerError
from gossamer.arch.spec import AcceleratorSpec, SparseAccelerator
from gossamer.dataflow.program import Program
from gossamer.sim.results import Simulation

MOST_RUNS = 4
"""Runs that a page compares at most: more cannot be told apart."""


class _Stored(BaseModel):
    """Part of result.json; keys that a report does not need are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StoredLayer(_Stored):
    """One layer of result.json; `classes` puts its cycle classes together, in the order of the classes of the run."""

    name: str
    op: str
    macs: int
    dense_macs: int
    cycles: int
    bound: str
    utilization: float
    stall_cycles: Mapping[str, float]
    compute_cycles: float
    pattern: str
    positions: int
    channels: int
    reduction: int
    dram_bytes: int
    kept_energy: float | None = None

    @property
    def classes(self) -> dict[str, float]:
        """Return cycles by class; they sum to `cycles`."""
        return {"compute": self.compute_cycles, **self.stall_cycles}


class StoredRoofline(_Stored):
    """The roofs of result.json."""

    peak_macs_per_s: float
    memory_bytes_per_s: float
    intensity_macs_per_byte: float


class StoredHint(_Stored):
    """A single change of result.json that was simulated, and what it would save."""

    setting: str
    saved_cycles: int
    saved_share: float
    cost: str


class StoredResult(_Stored):
    """What result.json says of the whole network."""

    model: str
    config: str
    sparsity: str
    batch: int
    tier: str
    total_cycles: int
    latency_s: float
    energy_j: float | None
    energy_by_component_j: Mapping[str, float]
    dram_bytes: int
    utilization: float
    macs: int
    dense_macs: int
    clock_mhz: float
    peak_macs_per_cycle: int
    class_cycles: Mapping[str, float]
    roofline: StoredRoofline | None
    layers: tuple[StoredLayer, ...]
    hints: tuple[StoredHint, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """The Program of a run, and what the timing simulator says of it, times of all instructions included."""

    spec: SparseAccelerator
    program: Program
    simulation: Simulation


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run folder. `label` tells it from the other runs of a page.

    `execution` is None for systolic references, which run no Program, and for several cores, which each run their own.
    """

    folder: Path
    label: str
    result: StoredResult
    command: tuple[str, ...]
    spec: AcceleratorSpec
    execution: Execution | None

    @property
    def tier(self) -> str:
        """Return the tier without what it was held against: a few words for a title."""
        return self.result.tier.partition(";")[0].partition(",")[0]

    @property
    def title(self) -> str:
        """Return the label with the tier, to stand over a chart."""
        return f"{self.label} ({self.tier})"


def read_runs(folders: Sequence[Path]) -> tuple[Run, ...]:
    """Return runs in the order given. Raises GossamerError for a folder that is no run, or too many of them."""
    if not 1 <= len(folders) <= MOST_RUNS:
        raise GossamerError(f"a report must be of one to {MOST_RUNS} run folders, not {len(folders)}")
    read = [_read_files(folder) for folder in folders]
    labels = _labels([result for result, _, _ in read], folders)
    return tuple(
        Run(
            folder=folder, label=label, result=result, command=command, spec=spec,
            execution=_execute(folder, spec, result),
        )
        for folder, label, (result, command, spec) in zip(folders, labels, read, strict=True)
    )  # fmt: skip


def _read_files(folder: Path) -> tuple[StoredResult, tuple[str, ...], AcceleratorSpec]:
    if not (folder / "run.json").is_file():
        raise GossamerError(f"{folder}: has no run.json; give a run folder that `gossamer simulate -o` wrote")
    try:
        result = StoredResult.model_validate(_json(folder / "result.json"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise GossamerError(
            f"{folder / 'result.json'}: {place}: {first['msg']}; simulate again with this version"
        ) from error
    provenance = _json(folder / "run.json")
    command = provenance.get("command") if isinstance(provenance, dict) else None
    if not isinstance(command, list):
        raise GossamerError(f"{folder / 'run.json'}: must have the command of the run as a list; simulate again")
    return result, tuple(map(str, command)), load_config(str(folder / "config.resolved.yaml"))


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GossamerError(f"{path}: cannot be read as JSON ({error}); simulate again") from error


def _labels(results: Sequence[StoredResult], folders: Sequence[Path]) -> list[str]:
    """Return model, sparsity, batch and config of every run; with the name of its folder where two would be alike."""
    labels = []
    for result in results:
        batch = "" if result.batch == 1 else f", batch {result.batch}"
        labels.append(f"{_short(result.model)} {result.sparsity}{batch} on {_short(result.config)}")
    names = [folder.resolve().name for folder in folders]
    alike = [labels.count(label) > 1 for label in labels]
    labels = [f"{label} [{name}]" if twice else label for label, name, twice in zip(labels, names, alike, strict=True)]
    return [f"{label} {number}" if labels.count(label) > 1 else label for number, label in enumerate(labels, start=1)]


def _short(name: str) -> str:
    """Return the name of a file without its folder; one-liners and shipped names as they are."""
    return Path(name).stem if Path(name).suffix in (".onnx", ".gsm", ".csv", ".yaml", ".yml") else name


def _execute(folder: Path, spec: AcceleratorSpec, result: StoredResult) -> Execution | None:
    """Return the Program simulated again. Raises GossamerError if that does not give what result.json says."""
    if not isinstance(spec, SparseAccelerator):
        return None
    from gossamer.sim.cores import simulate_program
    from gossamer.simulation import read_program

    program = read_program(folder / "program.gsm", spec)
    simulation = simulate_program(program, spec, trace=spec.cores == 1)
    if simulation.total_cycles != result.total_cycles or len(simulation.layers) != len(result.layers):
        raise GossamerError(
            f"{folder}: result.json has {result.total_cycles:,} cycles, but its Program takes "
            f"{simulation.total_cycles:,} by this version of the simulator; simulate again"
        )
    return Execution(spec=spec, program=program, simulation=simulation) if spec.cores == 1 else None
