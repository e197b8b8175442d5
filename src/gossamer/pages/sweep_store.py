"""Read a sweep's result store for a report, also while the sweep still runs."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from gossamer.arch.config import load_device
from gossamer.arch.errors import GossamerError
from gossamer.arch.spec import SparseAccelerator
from gossamer.explore.expressions import parse_expression
from gossamer.explore.space import FIELDS, Space, base_value
from gossamer.explore.spec import MAXIMISED, METRICS, SweepSpec
from gossamer.explore.store import Store, read_store
from gossamer.explore.sweep_file import kind_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """A point that was evaluated again by a more exact tier; NaN where the tier does not say."""

    id: int
    tier: str
    cycles: float
    latency_s: float
    energy_j: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResults:
    """What a sweep found.

    `ids` int64 [n], ascending, and `objectives` float64 [n, objectives] are those of all points with metrics,
    `feasible` bool [n] tells which of them break no constraint. `counts` are points by status, `chunks` the completed
    ranges of the strategy's order, first to count; `excluded` ids of them are not in the space. `proposed` int64 [m] is
    the order of a search, as `Store.proposed` returns it.
    """

    path: Path
    sweep: SweepSpec
    space: Space
    counts: Mapping[int, int]
    chunks: Mapping[int, int]
    excluded: int
    proposed: NDArray[np.int64]
    ids: NDArray[np.int64]
    feasible: NDArray[np.bool_]
    objectives: NDArray[np.float64]
    confirmations: tuple[Confirmation, ...]

    @property
    def costs(self) -> NDArray[np.float64]:
        """Return the objectives so that less is better: float64 [n, objectives]."""
        signs = np.array([-1.0 if name in MAXIMISED else 1.0 for name in self.sweep.objectives])
        costs: NDArray[np.float64] = self.objectives * signs
        return costs

    def metrics_of(self, ids: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Return every metric float64 [n] of points ids int64 [n], in ascending order of the ids."""
        with read_store(self.path) as store:
            table = store.look_up(ids).metrics
        return {name: table[:, column] for column, name in enumerate(METRICS)}


def read_sweep(path: Path) -> SweepResults:
    """Return the results in a store. Raises GossamerError if it is none or cannot be read."""
    with read_store(path) as store:
        try:
            store.connection.execute("BEGIN")  # one state of it, whatever is written meanwhile
            return _read(store)
        except sqlite3.Error as error:
            raise GossamerError(f"{path}: cannot be read ({error})") from error


def _read(store: Store) -> SweepResults:
    sweep = store.spec()
    space = _space(sweep, store)
    chunks = store.chunks()
    known = " AND ".join(f"{name} IS NOT NULL" for name in sweep.objectives)
    rows = store.connection.execute(
        f"SELECT id, status, {', '.join(sweep.objectives)} FROM point WHERE {known} ORDER BY id"
    )
    ids, status, values = _columns(rows, len(sweep.objectives))
    return SweepResults(
        path=store.path, sweep=sweep, space=space, counts=store.count_by_status(),
        chunks={first: count for first, (count, _) in sorted(chunks.items())},
        excluded=sum(excluded for _, excluded in chunks.values()), proposed=store.proposed(),
        ids=ids, feasible=status == 0, objectives=values, confirmations=_confirmations(store.connection),
    )  # fmt: skip


def _space(sweep: SweepSpec, store: Store) -> Space:
    """Return the space of the stored points, over the base config as it was."""
    axes = store.axes()
    base = SparseAccelerator.model_validate_json(json.dumps(yaml.safe_load(store.meta()["base"])))
    kinds = {name: kind_of(base_value(base, name)) for name in FIELDS}
    kinds |= {axis.name: kind_of(axis.values[0]) for axis in axes}
    devices = [str(value) for axis in axes if axis.name == "device" for value in axis.values]
    return Space(
        axes=axes, base=base, devices={name: load_device(name) for name in devices},
        derived={name: parse_expression(str(text), kinds) for name, text in sweep.set.items()},
        conditions=tuple(parse_expression(text, kinds) for text in sweep.where),
    )  # fmt: skip


def _columns(rows: sqlite3.Cursor, objectives: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return id [n], status [n] and objectives [n, objectives] of the rows, without Python objects for all at once."""
    ids, status, values = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty((0, objectives))]
    while block := rows.fetchmany(50_000):
        columns = list(zip(*block, strict=True))
        ids.append(np.array(columns[0], dtype=np.int64))
        status.append(np.array(columns[1], dtype=np.int64))
        values.append(np.array(columns[2:], dtype=np.float64).T)
    return np.concatenate(ids), np.concatenate(status), np.concatenate(values)


def _confirmations(connection: sqlite3.Connection) -> tuple[Confirmation, ...]:
    rows = connection.execute("SELECT id, tier, cycles, latency_s, energy_j FROM confirmed ORDER BY tier, id")
    return tuple(
        Confirmation(id=point, tier=tier, cycles=_number(cycles), latency_s=_number(latency), energy_j=_number(energy))
        for point, tier, cycles, latency, energy in rows
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
