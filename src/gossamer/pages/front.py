"""Find the Pareto front."""

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4096


def front_of(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which rows of float64 [n, objectives] no other dominates; less is better; equal rows do not dominate.

    A row can only be dominated by one whose sum of ranks is smaller, so rows are taken in that order, block by block.
    """
    count = len(costs)
    on_front = np.zeros(count, dtype=np.bool_)
    if not count:
        return on_front
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in costs.T], axis=1).astype(np.int32)
    order = np.argsort(ranks.sum(axis=1, dtype=np.int64), kind="stable")
    kept = np.empty((0, ranks.shape[1]), dtype=np.int32)
    for first in range(0, count, _BLOCK):
        rows = order[first : first + _BLOCK]
        rows = rows[~_dominated(ranks[rows], kept)]
        rows = rows[~_dominated(ranks[rows], ranks[rows])]
        on_front[rows] = True
        kept = np.unique(np.concatenate([kept, ranks[rows]]), axis=0)
    return on_front


def _dominated(rows: NDArray[np.int32], by: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Tell which rows [n, d] some row of `by` [m, d] dominates."""
    result = np.zeros(len(rows), dtype=np.bool_)
    for start in range(0, len(by), 256):
        left = np.flatnonzero(~result)
        if not left.size:
            break
        others = by[start : start + 256]
        no_worse = np.ones((left.size, len(others)), dtype=np.bool_)
        better = np.zeros_like(no_worse)
        for column in range(rows.shape[1]):
            mine, theirs = rows[left, column, None], others[None, :, column]
            no_worse &= theirs <= mine
            better |= theirs < mine
        result[left] = (no_worse & better).any(axis=1)
    return result
