"""Order the points of a grid: all of them, or a seeded random sample without replacement."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gossamer.explore.space import Space
from gossamer.explore.spec import Strategy

_ROUNDS = 8
_SCAN = 65_536


class Order(Protocol):
    """A fixed sequence of ids; chunks are ranges of it."""

    @property
    def length(self) -> int:
        """Positions of the sequence, points left out by conditions included."""
        ...

    def ids(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the ids int64 [count] at positions from `first`."""
        ...


@dataclass(frozen=True, slots=True)
class GridOrder:
    """Every id, upwards."""

    length: int

    def ids(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the ids at positions from `first`."""
        return np.arange(first, first + count, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class RandomOrder:
    """A seeded permutation of the ids below `size`, of which the first `length` are taken.

    A Feistel network over the smallest even number of bits that holds them; what falls outside is sent through again
    (cycle walking), so that every id occurs once and nothing is kept per point.
    """

    size: int
    seed: int
    length: int

    def ids(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the ids at positions from `first`."""
        half = max(1, ((self.size - 1).bit_length() + 1) // 2)
        keys = np.random.default_rng(self.seed).integers(0, 2**63, _ROUNDS, dtype=np.uint64)
        found = np.arange(first, first + count, dtype=np.uint64)
        outside = np.ones(count, np.bool_)
        while outside.any():
            found[outside] = _permuted(found[outside], half, keys)
            outside = found >= np.uint64(self.size)
        return found.astype(np.int64)


def _permuted(values: NDArray[np.uint64], half_bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a permutation of the numbers below 2**(2 * half_bits)."""
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right, key) & mask)
    return (left << shift) | right


def _mixed(values: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """Return well mixed bits of values and a key (the finaliser of splitmix64, Steele et al., OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        values = values + key
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def order_of(strategy: Strategy, space: Space) -> Order:
    """Return the order of a grid or random sample; a sample ends with its last point that no condition leaves out."""
    if strategy.kind == "grid":
        return GridOrder(space.size)
    assert strategy.points is not None
    whole = RandomOrder(space.size, strategy.seed, space.size)
    wanted, first = strategy.points, 0
    while first < space.size:
        count = min(_SCAN, space.size - first)
        included = np.flatnonzero(space.included(whole.ids(first, count)))
        if len(included) >= wanted:
            return RandomOrder(space.size, strategy.seed, first + int(included[wanted - 1]) + 1)
        wanted -= len(included)
        first += count
    return whole
