"""Hold what a simulation says, independent of how it is shown: one frozen object, one JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gossamer.explanation import Explanation

CLASSES = ("compute", "edges", "fill", "memory", "vector", "control")
"""Exclusive cycle classes: useful work at full array; array busy but stages, chains or lanes unused; pipeline fill and
drain; waiting for off-chip memory; VECTOR busy while the array is not; fetch, dispatch, tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """One layer. `classes` are cycles and sum to `cycles`; `macs` are effective, `dense_macs` count zeros.

    `kept_energy` is the share of the squares of its weights that pruning kept; None without weights, for pruned
    placeholders and for compiled Programs.
    """

    name: str
    op: str
    pattern: str
    positions: int
    channels: int
    reduction: int
    macs: int
    dense_macs: int
    cycles: int
    bound: str
    utilization: float
    dram_bytes: int
    classes: Mapping[str, float]
    kept_energy: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the stable JSON keys of a layer first, then the rest."""
        return {
            "name": self.name, "op": self.op, "macs": self.macs, "dense_macs": self.dense_macs, "cycles": self.cycles,
            "bound": self.bound, "utilization": self.utilization,
            "stall_cycles": {name: value for name, value in self.classes.items() if name != "compute"},
            "compute_cycles": self.classes["compute"], "pattern": self.pattern, "positions": self.positions,
            "channels": self.channels, "reduction": self.reduction, "dram_bytes": self.dram_bytes,
            "kept_energy": self.kept_energy,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """Where a network lies under the roofs: effective MACs per off-chip byte against the ridge."""

    peak_macs_per_s: float
    memory_bytes_per_s: float
    intensity_macs_per_byte: float

    @property
    def ridge_macs_per_byte(self) -> float:
        """Intensity at which both roofs meet."""
        return self.peak_macs_per_s / self.memory_bytes_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """A single change that was re-simulated: what it saves, what it costs, and the option that makes it."""

    change: str
    setting: str
    saved_cycles: int
    saved_share: float
    cost: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingSearch:
    """How the mappings of a network were found: `shapes` different layers, `proved` of them the best of their space.

    Of all their `tilings`, `illegal` are not legal, by why, and `costed` were costed exactly.
    """

    objective: str
    shapes: int
    proved: int
    tilings: int
    illegal: Mapping[str, int]
    costed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUse:
    """Estimated need of one resource against the device's budget."""

    resource: str
    used: int
    available: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreReport:
    """One of several cores, in cycles: until its END (`cycles`), of them at work and waiting at barriers."""

    cycles: int
    working: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoresReport:
    """What several cores did: `stages` between barriers; `layers`: how many were cut each way, some in two."""

    stages: int
    layers: Mapping[str, int]
    cores: tuple[CoreReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationReport:
    """The result of `simulate`. energy_j is None where no energy model exists (plain systolic references)."""

    model: str
    config: str
    config_summary: str
    sparsity: str
    batch: int
    tier: str
    clock_mhz: float
    peak_macs_per_cycle: int
    total_cycles: int
    latency_s: float
    energy_j: float | None
    energy_by_component_j: Mapping[str, float]
    dram_bytes: int
    utilization: float
    peak_utilization: float
    macs: int
    dense_macs: int
    classes: Mapping[str, float]
    engines: Mapping[str, Mapping[str, int]]
    roofline: Roofline | None
    area: tuple[ResourceUse, ...]
    layers: tuple[LayerReport, ...]
    notes: tuple[str, ...]
    hints: tuple[Hint, ...] = ()
    mappings: MappingSearch | None = None
    cores: CoresReport | None = None
    explain: Explanation | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the object that `simulate --json` prints and result.json holds; same inputs, same bytes."""
        return {
            "model": self.model, "config": self.config, "sparsity": self.sparsity, "batch": self.batch,
            "tier": self.tier, "total_cycles": self.total_cycles, "latency_s": self.latency_s,
            "energy_j": self.energy_j, "energy_by_component_j": dict(self.energy_by_component_j),
            "dram_bytes": self.dram_bytes, "utilization": self.utilization, "peak_utilization": self.peak_utilization,
            "macs": self.macs, "dense_macs": self.dense_macs, "clock_mhz": self.clock_mhz,
            "peak_macs_per_cycle": self.peak_macs_per_cycle, "class_cycles": dict(self.classes),
            "engines": {name: dict(states) for name, states in self.engines.items()},
            "roofline": None if self.roofline is None else asdict(self.roofline),
            "area": [asdict(use) for use in self.area],
            "layers": [layer.as_json() for layer in self.layers],
            "hints": [asdict(hint) for hint in self.hints], "notes": list(self.notes),
            "mappings": None if self.mappings is None else asdict(self.mappings),
            **({} if self.cores is None else {"cores": asdict(self.cores)}),
            **({} if self.explain is None else {"explain": asdict(self.explain)}),
        }  # fmt: skip

    def __str__(self) -> str:
        """Return the whole report as text, or the layer it explains."""
        if self.explain is not None:
            from gossamer.explain_text import explanation_text

            return explanation_text(self, self.explain)
        from gossamer.render import simulation_text

        return simulation_text(self)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"
