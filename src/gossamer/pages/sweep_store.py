"""Read a sweep's results database for a report: plain SQLite, opened read-only, also while the sweep still runs."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

from gossamer.arch.config import load_config, load_device
from gossamer.arch.errors import GossamerError
from gossamer.arch.spec import SparseAccelerator
from gossamer.explore.expressions import ExpressionError, Kind, parse_expression
from gossamer.explore.space import FIELDS, Axis, Space, base_value
from gossamer.explore.spec import MAXIMISED, METRICS, SweepSpec, Value


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
    `feasible` bool [n] tells which of them break no constraint. `counts` are points by status.
    """

    path: Path
    sweep: SweepSpec
    space: Space
    counts: Mapping[int, int]
    excluded: int
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
        """Return every metric float64 [n] of points, in the order of `ids` int64 [n], ascending."""
        with _reading(self.path) as connection:
            wanted = "[" + ",".join(map(str, ids.tolist())) + "]"
            rows = connection.execute(
                f"SELECT {', '.join(METRICS)} FROM point WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
                (wanted,),
            ).fetchall()
        table = np.array(rows, dtype=np.float64).reshape(len(rows), len(METRICS))
        return {name: table[:, column] for column, name in enumerate(METRICS)}


def read_sweep(path: Path) -> SweepResults:
    """Return the results in a database. Raises GossamerError when it is not one of a sweep or cannot be read."""
    with _reading(path) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta"))
        sweep = SweepSpec.model_validate_json(meta["sweep"])
        space = _space(sweep, _axes(connection), meta.get("base"))
        known = " AND ".join(f"{name} IS NOT NULL" for name in sweep.objectives)
        rows = connection.execute(
            f"SELECT id, status, {', '.join(sweep.objectives)} FROM point WHERE {known} ORDER BY id"
        )
        ids, status, values = _columns(rows, len(sweep.objectives))
        return SweepResults(
            path=path, sweep=sweep, space=space,
            counts=dict(connection.execute("SELECT status, COUNT(*) FROM point GROUP BY status")),
            excluded=int(connection.execute("SELECT COALESCE(SUM(excluded), 0) FROM chunk").fetchone()[0]),
            ids=ids, feasible=status == 0, objectives=values, confirmations=_confirmations(connection),
        )  # fmt: skip


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a read-only connection that sees one state of the database; its errors become GossamerError."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("BEGIN")
            yield connection
    except (sqlite3.Error, KeyError, TypeError, ValidationError, ExpressionError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise GossamerError(
            f"{path}: is not the results database of a sweep ({reason}); give the file that `gossamer sweep -o` wrote"
        ) from error


def _space(sweep: SweepSpec, axes: tuple[Axis, ...], base_yaml: str | None) -> Space:
    """Return the space of the stored points; without a stored base config, the one that the sweep names now."""
    if base_yaml is None:
        base = load_config(sweep.base)
        if not isinstance(base, SparseAccelerator):
            raise TypeError(f"base config {sweep.base} is not a sparse_chain")
    else:
        base = SparseAccelerator.model_validate_json(json.dumps(yaml.safe_load(base_yaml)))
    kinds: dict[str, Kind] = {name: _kind_of(base_value(base, name)) for name in FIELDS}
    kinds |= {axis.name: _kind_of(axis.values[0]) for axis in axes}
    devices = [str(value) for axis in axes if axis.name == "device" for value in axis.values]
    return Space(
        axes=axes, base=base, devices={name: load_device(name) for name in devices},
        derived={name: parse_expression(str(text), kinds) for name, text in sweep.set.items()},
    )  # fmt: skip


def _kind_of(value: Value | None) -> Kind:
    return "text" if isinstance(value, str) else "number"


def _axes(connection: sqlite3.Connection) -> tuple[Axis, ...]:
    values: dict[str, list[Value]] = {}
    for name, value in connection.execute("SELECT name, value FROM axis ORDER BY axis, position"):
        values.setdefault(name, []).append(value)
    return tuple(Axis(name=name, values=tuple(found)) for name, found in values.items())


def _columns(rows: sqlite3.Cursor, objectives: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return id [n], status [n] and objectives [n, objectives] of the rows, without a Python object for all at once."""
    ids, status, values = [], [], []
    while block := rows.fetchmany(50_000):
        columns = list(zip(*block, strict=True))
        ids.append(np.array(columns[0], dtype=np.int64))
        status.append(np.array(columns[1], dtype=np.int64))
        values.append(np.array(columns[2:], dtype=np.float64).T)
    if not ids:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, objectives))
    return np.concatenate(ids), np.concatenate(status), np.concatenate(values)


def _confirmations(connection: sqlite3.Connection) -> tuple[Confirmation, ...]:
    rows = connection.execute("SELECT id, tier, cycles, latency_s, energy_j FROM confirmed ORDER BY tier, id")
    return tuple(
        Confirmation(id=point, tier=tier, cycles=_number(cycles), latency_s=_number(latency), energy_j=_number(energy))
        for point, tier, cycles, latency, energy in rows
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
