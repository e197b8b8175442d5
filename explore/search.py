"""Search a space with Optuna's samplers, which only propose points; results are in our store.

Every round asks for a batch, evaluates what the store does not have, and tells all. A resumed search asks the same
questions again with the same seed and finds the answers in the store, so it goes on exactly where it stopped.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import GossamerError
from gossamer.explore.evaluate import STATUS, Results
from gossamer.explore.pareto import oriented
from gossamer.explore.space import Space
from gossamer.explore.spec import METRICS, SweepSpec

BATCH = 50
"""Points proposed at a time, and the population of NSGA-II."""

_VIOLATION = {
    STATUS.FEASIBLE: 0.0, STATUS.DOES_NOT_FIT_BUFFERS: 1.0, STATUS.EXCEEDS_DEVICE: 2.0, STATUS.BREAKS_RULE: 3.0,
}  # fmt: skip
_LEFT_OUT = 4.0
"""How far from feasible a point is, for the sampler: the earlier it failed, the farther. One that breaks a
constraint is nearer the less it does so, from 0 to 1."""


class Search:
    """A study of one space."""

    def __init__(self, sweep: SweepSpec, space: Space) -> None:
        """Raises GossamerError if Optuna is not installed."""
        strategy, objectives = sweep.strategy, sweep.objectives
        try:
            import optuna
        except ImportError:
            raise GossamerError(
                f"the strategy {strategy.kind} needs Optuna: pip install 'gossamer[search]'; grid and random do not"
            ) from None
        self._space, self._objectives, self._constraints = space, objectives, sweep.constraints
        sampler: Any
        if strategy.kind == "nsga2":
            sampler = optuna.samplers.NSGAIISampler(population_size=BATCH, seed=strategy.seed)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                sampler = optuna.samplers.TPESampler(  # axes together: one by one they make many points twice
                    n_startup_trials=BATCH, seed=strategy.seed, constant_liar=True, multivariate=True
                )
        shown = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(directions=["minimize"] * len(objectives), sampler=sampler)
        optuna.logging.set_verbosity(shown)
        self._open: list[Any] = []

    def ask(self, count: int) -> NDArray[np.int64]:
        """Return the ids int64 [count] proposed next; some may have been proposed before or be left out."""
        self._open = [self._study.ask() for _ in range(count)]
        return self._space.ids(np.array([self._coordinates(trial) for trial in self._open], np.int64))

    def tell(self, ids: NDArray[np.int64], known: Results) -> None:
        """Tell the sampler what became of the ids of the last `ask`; those not in `known` are left out of the space."""
        values = oriented(known.metrics, self._objectives)
        rows = {identity: row for row, identity in enumerate(known.ids.tolist())}
        for trial, identity in zip(self._open, ids.tolist(), strict=True):
            row = rows.get(identity)
            trial.set_constraint("feasible", _LEFT_OUT if row is None else self._violation(known, row))
            there = row is not None and not np.isnan(values[row]).any()
            self._study.tell(trial, values[row].tolist() if there else [np.inf] * len(self._objectives))
        self._open = []

    def _violation(self, known: Results, row: int) -> float:
        """Return how far a point is from feasible."""
        status = STATUS(int(known.status[row]))
        if status != STATUS.BREAKS_CONSTRAINT:
            return _VIOLATION[status]
        excess = 0.0
        for name, bounds in self._constraints.items():
            value = float(known.metrics[row, METRICS.index(name)])
            if bounds.max is not None:
                excess += max(0.0, value - bounds.max) / (abs(bounds.max) or 1.0)
            if bounds.min is not None:
                excess += max(0.0, bounds.min - value) / (abs(bounds.min) or 1.0)
        return excess / (1.0 + excess)

    def _coordinates(self, trial: Any) -> list[int]:
        """Return a position on every axis: ordered where values are numbers, any where they are texts."""
        return [
            trial.suggest_categorical(axis.name, range(len(axis.values)))
            if isinstance(axis.values[0], str)
            else trial.suggest_int(axis.name, 0, len(axis.values) - 1)
            for axis in self._space.axes
        ]
