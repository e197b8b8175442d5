"""Find what each axis alone does to each objective: points that differ in this axis only, compared pair by pair."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.explore.space import FIELDS, Axis, base_value
from gossamer.explore.spec import Value
from gossamer.pages.sweep_store import SweepResults


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a value of an axis does to an objective, against the reference value: a factor, 1 where nothing changes.

    `factor` is the median over `pairs` of points that are the same but for this axis; quartiles `low` and `high`.
    """

    axis: str
    reference: Value
    value: Value
    objective: str
    factor: float
    low: float
    high: float
    pairs: int


def effects(results: SweepResults) -> tuple[Effect, ...]:
    """Return the effect of every value of every axis with pairs; the reference value of an axis is among them.

    The reference is the base config's value if it is on the axis, else the first. Points that break a constraint
    count as others do: they are designs of the space too.
    """
    axes = enumerate(results.space.axes)
    return tuple(effect for at, axis in axes if len(axis.values) > 1 for effect in _of_axis(results, at, axis))


def _of_axis(results: SweepResults, at: int, axis: Axis) -> Iterator[Effect]:
    stride = results.space.strides[at]
    positions = results.ids // stride % len(axis.values)
    base = _value_of(results, axis.name)
    reference = axis.values.index(base) if base in axis.values else 0
    start = np.flatnonzero(positions == reference)
    start_ids = results.ids[start] - reference * stride
    for position, value in enumerate(axis.values):
        rows = np.flatnonzero(positions == position)
        _, left, right = np.intersect1d(
            start_ids, results.ids[rows] - position * stride, assume_unique=True, return_indices=True
        )
        before, after = results.objectives[start[left]], results.objectives[rows[right]]
        for column, objective in enumerate(results.sweep.objectives):
            factors = _ratios(before[:, column], after[:, column])
            if factors.size:
                low, middle, high = np.quantile(factors, [0.25, 0.5, 0.75])
                yield Effect(
                    axis=axis.name, reference=axis.values[reference], value=value, objective=objective,
                    factor=float(middle), low=float(low), high=float(high), pairs=factors.size,
                )  # fmt: skip


def _ratios(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return after / before of pairs of positive values."""
    positive = (before > 0) & (after > 0)
    ratios: NDArray[np.float64] = after[positive] / before[positive]
    return ratios


def _value_of(results: SweepResults, name: str) -> Value | None:
    """Return the base config's value of an axis, None for those of the workload."""
    base = results.space.base
    if name == "device":
        return base.device.name
    return base_value(base, name) if name in FIELDS else None
