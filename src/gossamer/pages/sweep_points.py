"""Choose the points of a sweep that a page embeds, and tabulate them: the front, and a seeded sample of the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.explore.pareto import front
from gossamer.explore.points import is_workload
from gossamer.explore.spec import Value
from gossamer.pages.quantities import Quantity, quantity_of
from gossamer.pages.sweep_store import SweepResults

FRONT_POINTS = 1_500
ALL_POINTS = 2_000
"""Most points embedded: of the front, and together. They keep a page of many axes small and a brush smooth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a point: its different values, and which of them each embedded point has, int64 [points]."""

    name: str
    values: tuple[Value, ...]
    codes: NDArray[np.int64]

    @property
    def of_config(self) -> bool:
        """Tell whether it is a field of the hardware config, not of the workload."""
        return not is_workload(self.name)


@dataclass(frozen=True)
class SweepPoints:
    """The embedded points of a sweep, those of the front last (drawn on top), each in order of number.

    Of `front_size` points on the front `different` ids int64 [d], the least ones, have different objectives; `alike`
    int64 [d] points have the objectives of each.
    """

    results: SweepResults
    front_size: int
    different: NDArray[np.int64]
    alike: NDArray[np.int64]
    ids: NDArray[np.int64]
    on_front: NDArray[np.bool_]
    fields: tuple[Field, ...]
    metrics: Mapping[str, NDArray[np.float64]]

    @property
    def feasible(self) -> int:
        """Return how many points break nothing."""
        return int(self.results.feasible.sum())

    @cached_property
    def varied(self) -> tuple[int, ...]:
        """Return the numbers of the fields that have several values."""
        return tuple(number for number, field in enumerate(self.fields) if len(field.values) > 1)

    @cached_property
    def quantities(self) -> dict[str, Quantity]:
        """Return how each metric is shown; metrics that no point has are left out."""
        return {name: quantity_of(name, values) for name, values in self.metrics.items() if np.isfinite(values).any()}

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """Return the table of charts: id, front (0, 1), field codes c0, c1, ..., metrics as shown, six digits."""
        shown = {
            name: [None if np.isnan(value) else float(f"{value:.6g}") for value in self.metrics[name] * quantity.factor]
            for name, quantity in self.quantities.items()
        }
        codes = {f"c{number}": self.fields[number].codes.tolist() for number in self.varied}
        return {"id": self.ids.tolist(), "front": self.on_front.astype(int).tolist(), **codes, **shown}

    def rows(self) -> list[dict[str, Any]]:
        """Return the table as one mapping per point."""
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True)]


def choose_points(results: SweepResults, seed: int = 0) -> SweepPoints:
    """Return the points to embed; the same store and seed give the same ones."""
    rows = np.flatnonzero(results.feasible)
    best = front(results.costs[rows])
    ids = results.ids[rows]
    front_ids = ids[best]
    _, first, alike = np.unique(results.costs[rows][best], axis=0, return_index=True, return_counts=True)
    generator = np.random.default_rng(seed)
    shown_front = _sample(generator, front_ids[first], FRONT_POINTS)
    repeated = _sample(generator, np.setdiff1d(front_ids, front_ids[first]), FRONT_POINTS - shown_front.size)
    shown_front = np.union1d(shown_front, repeated)
    rest = _sample(generator, ids[~best], ALL_POINTS - shown_front.size)
    shown = np.concatenate([rest, shown_front])
    order = np.argsort(shown)
    metrics = {}
    for name, values in results.metrics_of(shown[order]).items():
        metrics[name] = np.empty_like(values)
        metrics[name][order] = values
    return SweepPoints(
        results=results, front_size=front_ids.size, different=front_ids[first], alike=alike, ids=shown,
        fields=_fields(results, shown), metrics=metrics, on_front=np.arange(shown.size) >= rest.size,
    )  # fmt: skip


def _sample(generator: np.random.Generator, ids: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return at most `most` of the ids, ascending."""
    return ids if ids.size <= most else np.sort(generator.choice(ids, size=most, replace=False))


def _fields(results: SweepResults, ids: NDArray[np.int64]) -> tuple[Field, ...]:
    """Return the axes, with all their values, and the derived fields, with the values the points have."""
    space = results.space
    coordinates, columns = space.coordinates(ids), space.columns(ids)
    fields = [Field(name=axis.name, values=axis.values, codes=coordinates[:, at]) for at, axis in enumerate(space.axes)]
    for name in space.derived:
        distinct, codes = np.unique(columns[name], return_inverse=True)
        fields.append(Field(name=name, values=tuple(distinct.tolist()), codes=codes))
    return tuple(fields)
