"""Say what the evaluation of design points yields, whoever does it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import GossamerError
from gossamer.explore.space import Space
from gossamer.explore.spec import METRICS, SweepSpec

__all__ = ["METRICS", "STATUS", "Evaluator", "EvaluatorFactory", "Results", "make_evaluator"]


class STATUS(IntEnum):
    """What became of a point; only of a feasible one and of one that breaks a constraint there are metrics."""

    FEASIBLE = 0
    BREAKS_RULE = 1
    EXCEEDS_DEVICE = 2
    DOES_NOT_FIT_BUFFERS = 3
    BREAKS_CONSTRAINT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Evaluated points: ids int64 [n], status int8 [n], metrics float64 [n, len(METRICS)], NaN where there is none."""

    ids: NDArray[np.int64]
    status: NDArray[np.int8]
    metrics: NDArray[np.float64]


class Evaluator(Protocol):
    """Evaluate points of one space. The same id gives the same bits, whatever is evaluated with it."""

    def evaluate(self, ids: NDArray[np.int64]) -> Results:
        """Return the results of points, in the order of `ids` int64 [n]."""
        ...


EvaluatorFactory = Callable[[SweepSpec, Space], Evaluator]
"""Make an evaluator. It is pickled to workers by name, so it must be a function or class of a module."""


def make_evaluator(sweep: SweepSpec, space: Space) -> Evaluator:
    """Return the evaluator of a sweep. Raises GossamerError if its models cannot be read."""
    raise GossamerError(f"{sweep.name}: this version reads sweep files but cannot evaluate their points yet")
