"""Gather what a sweep found: its front while it runs, and its report when it is done."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.explore.evaluate import STATUS, Results
from gossamer.explore.pareto import front, oriented
from gossamer.explore.space import Space
from gossamer.explore.spec import METRICS, Metric, Value
from gossamer.explore.store import Store, joined
from gossamer.explore.sweep_file import Sweep

_SHARE_OF_TIME = 0.02
"""At most this much of the time goes into telling the current front."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """A point of the front: its id, the value of every axis and derived field, and its metrics."""

    id: int
    values: Mapping[str, Value]
    metrics: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"id": self.id, "values": dict(self.values), "metrics": dict(self.metrics)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What a sweep found.

    Members: `points_total` of the strategy, `points_evaluated` of them in the store, `points_new` in this run,
    `points_excluded` ids that conditions left out, `infeasible` points by reason; `pareto` the front, by its first
    objective; `seconds` of this run.
    """

    name: str
    question: str
    strategy: str
    objectives: tuple[Metric, ...]
    store: Path
    points_total: int
    points_evaluated: int
    points_new: int
    points_excluded: int
    infeasible: Mapping[str, int]
    pareto: tuple[FrontPoint, ...]
    seconds: float

    @property
    def points_infeasible(self) -> int:
        """Points that break a rule or constraint or do not fit."""
        return sum(self.infeasible.values())

    def as_json(self) -> dict[str, Any]:
        """Return the object of `gossamer sweep --json`."""
        return {
            "name": self.name,
            "strategy": self.strategy,
            "objectives": list(self.objectives),
            "points_total": self.points_total,
            "points_evaluated": self.points_evaluated,
            "points_infeasible": self.points_infeasible,
            "points_excluded": self.points_excluded,
            "infeasible": dict(self.infeasible),
            "pareto": [point.as_json() for point in self.pareto],
            "seconds": self.seconds,
        }


class FrontTracker:
    """Keep the front of the feasible points seen so far; it is worked out when asked for, and not too often."""

    def __init__(self, objectives: Sequence[Metric]) -> None:
        self._objectives = objectives
        self._front = joined([])
        self._pending: list[Results] = []
        self._due = 0.0

    def add(self, results: Results) -> None:
        """Take more points."""
        feasible = results.status == STATUS.FEASIBLE
        if feasible.any():
            self._pending.append(_selected(results, feasible))

    def count(self) -> int:
        """Return the points of a recent front."""
        if time.monotonic() >= self._due:
            self.points()
        return len(self._front.ids)

    def points(self) -> Results:
        """Return the front, by its first objective, then by id."""
        if self._pending:
            started = time.monotonic()
            merged = joined([self._front, *self._pending])
            self._pending = []
            kept = _selected(merged, front(oriented(merged.metrics, self._objectives)))
            order = np.lexsort((kept.ids, oriented(kept.metrics, self._objectives)[:, 0]))
            self._front = Results(ids=kept.ids[order], status=kept.status[order], metrics=kept.metrics[order])
            now = time.monotonic()
            self._due = now + (now - started) / _SHARE_OF_TIME
        return self._front


def _selected(results: Results, chosen: NDArray[np.bool_]) -> Results:
    return Results(ids=results.ids[chosen], status=results.status[chosen], metrics=results.metrics[chosen])


def make_report(sweep: Sweep, store: Store, tracker: FrontTracker, *, evaluated: int, seconds: float) -> SweepReport:
    """Return the report of a sweep that is done; `evaluated` points were so in this run."""
    statuses = store.count_by_status()
    points = sum(statuses.values())
    strategy = sweep.spec.strategy
    searched = strategy.kind in ("nsga2", "tpe")
    return SweepReport(
        name=sweep.spec.name, question=sweep.spec.question, strategy=strategy.kind,
        objectives=tuple(sweep.spec.objectives), store=store.path,
        points_total=strategy.points or points if searched else points,
        points_evaluated=points, points_new=evaluated,
        points_excluded=0 if searched else sum(excluded for _, excluded in store.chunks().values()),
        infeasible={reason.name.lower(): statuses.get(reason, 0) for reason in STATUS if reason != STATUS.FEASIBLE},
        pareto=tuple(front_points(sweep.space, tracker.points())), seconds=seconds,
    )  # fmt: skip


def front_points(space: Space, results: Results) -> list[FrontPoint]:
    """Return points with their values by name."""
    columns = {name: column.tolist() for name, column in space.columns(results.ids).items()}
    return [
        FrontPoint(
            id=identity,
            values={name: column[row] for name, column in columns.items()},
            metrics={name: value for name, value in zip(METRICS, metrics, strict=True) if value == value},
        )
        for row, (identity, metrics) in enumerate(zip(results.ids.tolist(), results.metrics.tolist(), strict=True))
    ]
