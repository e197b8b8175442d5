"""Find Pareto fronts and hypervolumes, exactly. Everything is minimised; `oriented` negates what is maximised."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gossamer.explore.pareto_kernels import mark_front, mark_front_2, mark_front_3, volume_3
from gossamer.explore.spec import MAXIMISED, METRICS, Metric

_BEYOND = 2**62


def oriented(metrics: NDArray[np.float64], objectives: Sequence[Metric]) -> NDArray[np.float64]:
    """Return the objectives, float64 [n, objectives], of metrics [n, len(METRICS)], less being better in each."""
    signs = np.array([-1.0 if name in MAXIMISED else 1.0 for name in objectives])
    chosen: NDArray[np.float64] = metrics[:, [METRICS.index(name) for name in objectives]] * signs
    return chosen


def front(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return, bool [n], which of points [n, k] no other one dominates: is at most it everywhere and less somewhere.

    Equal points are on the front together. Infinities are allowed. O(n log n) for k <= 3, else O(n * front) at worst.
    Raises ValueError for NaN or k = 0.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] == 0 or np.isnan(points).any():
        raise ValueError(f"points must be an array [n, k] of at least one objective without NaN, not {points.shape}")
    if not len(points):
        return np.zeros(0, np.bool_)
    if points.shape[1] == 1:
        return np.asarray(points[:, 0] == points[:, 0].min())
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in points.T], axis=1).astype(np.int64)
    keys = ranks.T[::-1]
    order = np.lexsort(keys if ranks.shape[1] <= 3 else (*keys, ranks.sum(axis=1)))
    ordered = ranks[order]
    new = np.concatenate(([True], (ordered[1:] != ordered[:-1]).any(axis=1)))
    distinct = np.ascontiguousarray(ordered[new])
    kept = np.zeros(len(distinct), np.bool_)
    if ranks.shape[1] == 2:
        mark_front_2(distinct, kept)
    elif ranks.shape[1] == 3:
        mark_front_3(distinct, np.full(int(ranks[:, 1].max()) + 2, _BEYOND, np.int64), kept)
    else:
        mark_front(distinct, np.empty(len(distinct), np.int64), kept)
    result = np.zeros(len(points), np.bool_)
    result[order] = kept[np.cumsum(new) - 1]
    return result


def hypervolume(points: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Return the volume that points [n, k] dominate below the reference [k]; points beyond it count nothing.

    Exact but for rounding; O(n log n) for k = 2, O(n * front) for k = 3, times the front for each further one.
    Raises ValueError for what is not finite.
    """
    points = np.asarray(points, np.float64)
    reference = np.asarray(reference, np.float64)
    if points.ndim != 2 or reference.shape != points.shape[1:] or not np.isfinite(reference).all():
        raise ValueError("points must be [n, k] and the reference k finite numbers")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite")
    inner = points[(points < reference).all(axis=1)] - reference
    return _volume(inner) if len(inner) else 0.0


def _volume(points: NDArray[np.float64]) -> float:
    """Return the volume between negative points [n, k], n >= 1, and the origin."""
    points = np.unique(points[front(points)], axis=0)
    match points.shape[1]:
        case 1:
            return float(-points.min())
        case 2:  # x upwards, so y downwards
            heights = np.diff(points[:, 1], prepend=0.0)
            return float((points[:, 0] * heights).sum())
        case 3:
            ordered = np.ascontiguousarray(points[np.argsort(points[:, 2], kind="stable")])
            return float(volume_3(ordered, np.empty(len(points) + 2), np.empty(len(points) + 2)))
    ordered = points[np.argsort(points[:, -1], kind="stable")]
    depths = np.diff(ordered[:, -1], append=0.0)
    return float(sum(depth * _volume(ordered[: at + 1, :-1]) for at, depth in enumerate(depths) if depth > 0))
