"""Run points of a sweep again where they can be held against more: the timing simulator, and RTL and synthesis.

A sweep costs designs layer by layer (`gossamer.explore.designs`). Confirmation compiles the whole network for some
designs, simulates it, and says how far the sweep was off, and whether the simulator puts the front in another order.
Designs of the front that are small enough are generated too: their RTL runs the program, and Yosys says what they take.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.config import fingerprint, resolved_yaml
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.program import Program
from gossamer.explore.evaluate import STATUS, Results
from gossamer.explore.identity import sweep_identity
from gossamer.explore.outcome import FrontTracker
from gossamer.explore.points import is_workload, with_fields
from gossamer.explore.spec import METRICS
from gossamer.explore.store import Store, open_store
from gossamer.explore.sweep_file import Sweep
from gossamer.explore.workload import prune_workload
from gossamer.mapper.compile import compile_network
from gossamer.sim.timing import peak_macs_per_cycle, simulate

ORDER_BOUND_PCT = 10.0
"""How far apart two estimates of cycles or energy may be at most, in percent of the smaller, whose order confirmation
reverses. Stated, not fitted; benchmarks/sweep_accuracy.py measures the errors it rests on."""

SMALL_MACS = 256
SMALL_CYCLES = 300_000
"""Multipliers of an array, and simulated cycles, up to which the RTL of a front point is run and synthesized: minutes
each."""

CONFIRMED = ("cycles", "latency_s", "energy_j")
"""Metrics that are found again by simulation."""

Stage = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedPoint:
    """A point that was simulated: estimates and what the simulator found, by metric; `on_front` or drawn at random.

    `rtl`: cycles on the generated RTL and whether it was bit-exact; `synthesized`: what it takes; None if too large.
    """

    id: int
    on_front: bool
    estimated: Mapping[str, float]
    simulated: Mapping[str, float]
    rtl: Mapping[str, Any] | None = None
    synthesized: Mapping[str, int] | None = None

    def error_pct(self, metric: str) -> float:
        """Return how far the estimate is off, in percent of what the simulator found."""
        return 100.0 * (self.estimated[metric] / self.simulated[metric] - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """All confirmed points of a sweep."""

    points: tuple[ConfirmedPoint, ...]

    def worst_pct(self, metric: str) -> float:
        """Return the largest error of a metric, in percent."""
        return max((abs(point.error_pct(metric)) for point in self.points), default=0.0)

    def median_pct(self, metric: str) -> float:
        """Return the median of the absolute errors of a metric, in percent."""
        return float(np.median([abs(point.error_pct(metric)) for point in self.points])) if self.points else 0.0

    def reversed_pct(self, metric: str) -> float:
        """Return how far apart in percent the estimates of two front points are whose order was reversed, at most."""
        apart = [0.0]
        for one, other in combinations([point for point in self.points if point.on_front], 2):
            estimated = one.estimated[metric] - other.estimated[metric]
            if estimated * (one.simulated[metric] - other.simulated[metric]) < 0:
                apart.append(100.0 * abs(estimated) / min(one.estimated[metric], other.estimated[metric]))
        return max(apart)

    @property
    def holds(self) -> bool:
        """Whether the front keeps its order but for ORDER_BOUND_PCT, and RTL computes what it must."""
        exact = all(point.rtl is None or point.rtl["bit_exact"] for point in self.points)
        return exact and all(self.reversed_pct(metric) <= ORDER_BOUND_PCT for metric in CONFIRMED)

    def as_json(self) -> dict[str, Any]:
        """Return the object `confirmation` of `gossamer sweep --json`."""
        return {
            "points": [asdict(point) for point in self.points],
            "errors": {
                metric: {
                    "median_pct": self.median_pct(metric), "worst_pct": self.worst_pct(metric),
                    "reversed_pct": self.reversed_pct(metric),
                }
                for metric in CONFIRMED
            },
            "order_bound_pct": ORDER_BOUND_PCT,
            "holds": self.holds,
        }  # fmt: skip


def confirm(sweep: Sweep, output: Path, count: int, stage: Stage, seed: int = 1) -> Confirmation:
    """Confirm `count` points of the front of a finished sweep, spread over it, and as many random feasible ones.

    What is confirmed is recorded in the store and not done again. Raises GossamerError.
    """
    with open_store(output, sweep.spec, sweep.space, sweep_identity(sweep)) as store:
        front, others = _chosen(sweep, store, count, seed)
        chosen = [(found, row) for found in (front, others) for row in range(len(found.ids))]
        points = []
        for number, (found, row) in enumerate(chosen, start=1):
            stage(f"point {number} of {len(chosen)}")
            estimated = dict(zip(METRICS, found.metrics[row].tolist(), strict=True))
            points.append(_confirmed(sweep, store, int(found.ids[row]), found is front, estimated, stage))
    return Confirmation(points=tuple(points))


def _chosen(sweep: Sweep, store: Store, count: int, seed: int) -> tuple[Results, Results]:
    """Return points of the front, evenly along its first objective, and random feasible points that are not on it."""
    feasible = store.results(f"status = {STATUS.FEASIBLE.value}")
    tracker = FrontTracker(sweep.spec.objectives)
    tracker.add(feasible)
    whole = tracker.points()
    front = _rows(
        whole, np.unique(np.linspace(0, len(whole.ids) - 1, min(count, len(whole.ids))).round().astype(np.int64))
    )
    rest = np.flatnonzero(~np.isin(feasible.ids, whole.ids))
    drawn = np.random.default_rng(seed).choice(rest, min(count, len(rest)), replace=False)
    return front, _rows(feasible, np.sort(drawn))


def _rows(results: Results, rows: NDArray[np.int64]) -> Results:
    return Results(ids=results.ids[rows], status=results.status[rows], metrics=results.metrics[rows])


def point_values(sweep: Sweep, point: int) -> dict[str, Any]:
    """Return the value of every axis and derived field of a point."""
    return {name: column[0].item() for name, column in sweep.space.columns(np.array([point])).items()}


def point_spec(sweep: Sweep, values: Mapping[str, Any]) -> SparseAccelerator:
    """Return the config of a point."""
    fields = {name: value for name, value in values.items() if not is_workload(name)}
    return with_fields(sweep.space.base, fields, sweep.space.devices)


def point_program(sweep: Sweep, point: int) -> tuple[SparseAccelerator, Program]:
    """Return the config of a point and the Program of its whole network."""
    values = point_values(sweep, point)
    spec, network = point_spec(sweep, values), prune_workload(values).quantized
    return spec, compile_network(network, spec, config_fingerprint=fingerprint(spec))


def _confirmed(
    sweep: Sweep, store: Store, point: int, on_front: bool, estimated: Mapping[str, float], stage: Stage
) -> ConfirmedPoint:  # fmt: skip
    """Return one point, from the store if it was confirmed before."""
    known = store.confirmed("simulated").get(point)
    if known is None:
        spec, program = point_program(sweep, point)
        run = simulate(program, spec)
        detail: dict[str, Any] = {"dram_bytes": run.traffic.total_bytes}
        if on_front and peak_macs_per_cycle(spec) <= SMALL_MACS and run.total_cycles <= SMALL_CYCLES:
            detail |= _on_rtl(spec, program, stage) | _synthesized(spec, stage)
        known = run.total_cycles, run.latency_s, run.energy.total_j, json.dumps(detail)
        store.add_confirmed(point, "simulated", known[:3], known[3])
    detail = json.loads(known[3])
    return ConfirmedPoint(
        id=point, on_front=on_front, estimated=estimated, rtl=detail.get("rtl"), synthesized=detail.get("synthesized"),
        simulated={"cycles": known[0], "latency_s": known[1], "energy_j": float(known[2] or 0.0)},
    )  # fmt: skip


def _on_rtl(spec: SparseAccelerator, program: Program, stage: Stage) -> dict[str, Any]:
    """Return what the RTL made of a program with random inputs."""
    from gossamer.verification import Candidate, verify_programs
    from gossamer.verify_candidates import random_values

    random = np.random.default_rng(1)
    inputs = {binding.name: random_values(binding.shape, random) for binding in program.inputs}
    with tempfile.TemporaryDirectory(prefix="gossamer-confirm-") as folder:
        candidate = Candidate(name=program.name, program=program, inputs=inputs)
        report = verify_programs(spec, [candidate], folder=Path(folder), stage=stage)
    return {"rtl": {"bit_exact": report.bit_exact, "cycles": report.programs[0].rtl_cycles}}


def _synthesized(spec: SparseAccelerator, stage: Stage) -> dict[str, Any]:
    """Return what Yosys says a config takes; nothing for a family it cannot map."""
    from gossamer.arch.target import default_target
    from gossamer.rtl.synthesis.cells import FAMILY
    from gossamer.synthesis import SynthesisRequest, run_synthesis

    if default_target(spec.device.family) not in FAMILY:
        return {}
    with tempfile.TemporaryDirectory(prefix="gossamer-confirm-") as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(resolved_yaml(spec), encoding="utf-8")
        request = SynthesisRequest(config=str(config), folder=Path(folder) / "synth", place=False)
        return {"synthesized": asdict(run_synthesis(request, stage).total)}


def confirmation_text(report: Confirmation) -> str:
    """Return the report for a terminal of 80 columns."""
    lines = ["", f"confirmed {len(report.points)} points with the timing simulator: whole networks"]
    lines.append(f"{'':12}{'median error':>14}{'worst':>9}   front reordered by estimates up to")
    for metric in CONFIRMED:
        lines.append(
            f"  {metric:10}{report.median_pct(metric):12.2f} %{report.worst_pct(metric):7.2f} %"
            f"{report.reversed_pct(metric):14.2f} % apart (bound {ORDER_BOUND_PCT:g} %)"
        )
    for point in report.points:
        if point.rtl is not None:
            exact = "bit-exact" if point.rtl["bit_exact"] else "NOT bit-exact"
            lines.append(
                f"  point {point.id}: RTL {exact}, {point.rtl['cycles']:,} cycles, simulator "
                f"{point.simulated['cycles']:,.0f}"
            )
        if point.synthesized is not None:
            parts = [f"{point.synthesized[name]:,} {name.upper()} ({point.estimated[name]:,.0f} estimated)"
                     for name in ("dsp", "bram36", "lut", "ff")]  # fmt: skip
            lines.append(f"    synthesized: {parts[0]}, {parts[1]},")
            lines.append(f"      {parts[2]}, {parts[3]}")
    lines.append(f"  {'holds' if report.holds else 'DOES NOT HOLD'}")
    return "\n".join(lines) + "\n"
