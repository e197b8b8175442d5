"""Compile the loops over points that Pareto fronts and hypervolumes need; their slow twins are in the tests."""

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.kernels import kernel


@kernel(allocates=False)
def mark_front_2(ranks: NDArray[np.int64], kept: NDArray[np.bool_]) -> None:
    """Mark in kept [n] the front of distinct rows ranks [n, 2] in lexicographic order."""
    best = np.int64(2**62)
    for row in range(ranks.shape[0]):
        kept[row] = ranks[row, 1] < best
        if kept[row]:
            best = ranks[row, 1]


@kernel(allocates=False)
def mark_front_3(ranks: NDArray[np.int64], tree: NDArray[np.int64], kept: NDArray[np.bool_]) -> None:
    """Mark in kept [n] the front of distinct rows ranks [n, 3] in lexicographic order.

    tree [largest second rank + 2], filled with 2**62: a binary indexed tree of the least third rank of all rows so far
    whose second rank is at most an index.
    """
    size = tree.shape[0]
    for row in range(ranks.shape[0]):
        least = np.int64(2**62)
        at = ranks[row, 1] + 1
        while at > 0:
            least = min(least, tree[at])
            at -= at & -at
        kept[row] = ranks[row, 2] < least
        if kept[row]:
            at = ranks[row, 1] + 1
            while at < size:
                tree[at] = min(tree[at], ranks[row, 2])
                at += at & -at


@kernel(allocates=False)
def mark_front(ranks: NDArray[np.int64], front: NDArray[np.int64], kept: NDArray[np.bool_]) -> None:
    """Mark in kept [n] the front of distinct rows ranks [n, k], every row after all that could dominate it.

    front [n] is room for the rows of the front so far; the one that dominated last is looked at first.
    """
    count = 0
    for row in range(ranks.shape[0]):
        dominated = False
        for at in range(count):
            other = front[at]
            dominated = True
            for axis in range(ranks.shape[1]):
                if ranks[other, axis] > ranks[row, axis]:
                    dominated = False
                    break
            if dominated:
                front[at] = front[at >> 1]
                front[at >> 1] = other
                break
        kept[row] = not dominated
        if kept[row]:
            front[count] = row
            count += 1


@kernel(allocates=False)
def volume_3(points: NDArray[np.float64], xs: NDArray[np.float64], ys: NDArray[np.float64]) -> float:
    """Return the volume between the origin-side corner points [n, 3] and the reference, here the origin.

    points: negative, sorted by their last column, upwards. xs, ys [n + 2]: room for the staircase of the area that is
    dominated so far, x upwards, y downwards.
    """
    count = 0
    area = 0.0
    volume = 0.0
    for row in range(points.shape[0]):
        x, y = points[row, 0], points[row, 1]
        first = 0
        while first < count and xs[first] < x:
            first += 1
        above = ys[first - 1] if first > 0 else 0.0  # height of the staircase left of x
        last = first
        if above > y:
            edge, height = x, above
            while last < count and ys[last] >= y:
                area += (xs[last] - edge) * (height - y)
                edge, height = xs[last], ys[last]
                last += 1
            area += ((xs[last] if last < count else 0.0) - edge) * (height - y)
            moved = 1 - (last - first)
            if moved > 0:
                for at in range(count, first, -1):
                    xs[at] = xs[at - 1]
                    ys[at] = ys[at - 1]
            elif moved < 0:
                for at in range(last, count):
                    xs[at + moved] = xs[at]
                    ys[at + moved] = ys[at]
            count += moved
            xs[first] = x
            ys[first] = y
        below = points[row + 1, 2] if row + 1 < points.shape[0] else 0.0
        volume += area * (below - points[row, 2])
    return volume
