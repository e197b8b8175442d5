"""A made-up evaluator for tests of sweeps: metrics by simple arithmetic, every status, and ways to fail."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import GossamerError
from gossamer.explore.evaluate import METRICS, STATUS, Results
from gossamer.explore.space import Space
from gossamer.explore.spec import SweepSpec


@dataclass(frozen=True)
class StandIn:
    """Make evaluators; picklable.

    `seconds`: what a chunk takes. `die_at`: an id at which the process is killed, as long as `marks` holds fewer than
    `deaths` files.
    """

    seconds: float = 0.0
    die_at: int = -1
    deaths: int = 0
    marks: Path | None = None

    def __call__(self, sweep: SweepSpec, space: Space) -> "_Evaluator":
        return _Evaluator(self, sweep, space)


def refusing(sweep: SweepSpec, space: Space) -> "_Evaluator":
    """Make no evaluator."""
    raise GossamerError("this model cannot be read")


class _Evaluator:
    def __init__(self, made_by: StandIn, sweep: SweepSpec, space: Space) -> None:
        self._made_by, self._sweep, self._space = made_by, sweep, space

    def evaluate(self, ids: NDArray[np.int64]) -> Results:
        how = self._made_by
        if how.seconds:
            time.sleep(how.seconds)
        if how.die_at in ids and how.marks is not None:
            deaths = len(list(how.marks.iterdir()))
            if deaths < how.deaths:
                (how.marks / str(deaths)).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        numbers = self._space.coordinates(ids).astype(np.float64)
        weights = np.arange(1, numbers.shape[1] + 1)
        size = numbers @ weights + 1.0
        wave = 1.0 + np.sin(ids * 0.7) * 0.25
        other = numbers @ weights[::-1] + 1.0
        forms = (size * wave, 100.0 * wave / size, size + other, other * wave, 100.0 / other)
        metrics = np.stack([forms[at % len(forms)] * (at + 1) for at in range(len(METRICS))], axis=1)
        status = np.where(self._space.legal(ids), STATUS.FEASIBLE, STATUS.BREAKS_RULE).astype(np.int8)
        status[ids % 7 == 3] = STATUS.EXCEEDS_DEVICE
        status[ids % 11 == 5] = STATUS.DOES_NOT_FIT_BUFFERS
        metrics[status != STATUS.FEASIBLE] = np.nan
        for name, bounds in self._sweep.constraints.items():
            column = metrics[:, METRICS.index(name)]
            least = -np.inf if bounds.min is None else bounds.min
            most = np.inf if bounds.max is None else bounds.max
            status[(column < least) | (column > most)] = STATUS.BREAKS_CONSTRAINT
        return Results(ids=ids, status=status, metrics=metrics)
