"""Read a sweep's results database for a report: plain SQLite, opened read-only, also while the sweep still runs."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from gossamer.arch.errors import GossamerError

METRICS = (
    "cycles", "latency_s", "throughput_per_s", "energy_j", "power_w", "edp_js", "dram_bytes", "utilization",
    "kept_energy", "dsp", "bram36", "uram", "lut", "ff",
)  # fmt: skip
MAXIMISED = frozenset({"throughput_per_s", "utilization", "kept_energy"})

Value = int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis of the grid; a point's number holds its position as digit: (id // stride) % len(values)."""

    name: str
    values: tuple[Value, ...]
    stride: int

    def positions(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions int64 [n] of points on this axis."""
        return ids // self.stride % len(self.values)


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

    `ids` int64 [n], ascending, and `objective_values` float64 [n, objectives] are those of all points with metrics,
    `feasible` bool [n] tells which of them break no constraint. `counts` are points by status.
    """

    path: Path
    sweep: Mapping[str, Any]
    base: Mapping[str, Any]
    meta: Mapping[str, str]
    axes: tuple[Axis, ...]
    objectives: tuple[str, ...]
    counts: Mapping[int, int]
    excluded: int
    ids: NDArray[np.int64]
    feasible: NDArray[np.bool_]
    objective_values: NDArray[np.float64]
    confirmations: tuple[Confirmation, ...]

    @property
    def costs(self) -> NDArray[np.float64]:
        """Return the objectives so that less is better: float64 [n, objectives]."""
        signs = [-1.0 if name in MAXIMISED else 1.0 for name in self.objectives]
        return self.objective_values * np.array(signs)

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
        meta = {str(key): str(value) for key, value in connection.execute("SELECT key, value FROM meta")}
        sweep, base = yaml.safe_load(meta["sweep"]), yaml.safe_load(meta["base"])
        objectives = tuple(sweep["objectives"])
        chosen = ", ".join(objectives)
        known = " AND ".join(f"{name} IS NOT NULL" for name in objectives)
        rows = connection.execute(f"SELECT id, status, {chosen} FROM point WHERE {known} ORDER BY id")
        ids, status, values = _columns(rows, len(objectives))
        return SweepResults(
            path=path, sweep=sweep, base=base, meta=meta, axes=_axes(connection), objectives=objectives,
            counts=dict(connection.execute("SELECT status, COUNT(*) FROM point GROUP BY status")),
            excluded=int(connection.execute("SELECT COALESCE(SUM(excluded), 0) FROM chunk").fetchone()[0]),
            ids=ids, feasible=status == 0, objective_values=values, confirmations=_confirmations(connection),
        )  # fmt: skip


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a read-only connection that sees one state of the database; its errors become GossamerError."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("BEGIN")
            yield connection
    except (sqlite3.Error, KeyError, TypeError, yaml.YAMLError) as error:
        raise GossamerError(
            f"{path}: is not the results database of a sweep ({error}); give the file that `gossamer sweep -o` wrote"
        ) from error


def _axes(connection: sqlite3.Connection) -> tuple[Axis, ...]:
    """Return the axes with their strides; the last one is the fastest."""
    values: dict[tuple[int, str], list[Value]] = {}
    for number, name, value in connection.execute("SELECT axis, name, value FROM axis ORDER BY axis, position"):
        values.setdefault((number, name), []).append(value)
    axes: list[Axis] = []
    stride = 1
    for (_, name), found in reversed(values.items()):
        axes.insert(0, Axis(name=name, values=tuple(found), stride=stride))
        stride *= len(found)
    return tuple(axes)


def _columns(
    rows: sqlite3.Cursor, objectives: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
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
