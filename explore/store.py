"""Keep the results of a sweep in an SQLite file: every completed chunk is one transaction, and survives what follows.

Tables (schema version 2), for readers in any language; docs/decisions/0018 says why they are so:

    meta(key, value)                         what was swept, by what code, from which inputs
    axis(axis, name, position, value)        the values of every axis
    chunk(first, count, excluded)            completed ranges of the strategy's order, and points `where` left out
    proposed(position, id)                   the order of a search: what it asked for, one after the other
    point(id, status, <metrics>)             results; NULL where there is none
    confirmed(id, tier, cycles, ...)         points simulated again
    points                                   a view: point joined with its axis values, one column an axis

The write-ahead log makes a transaction whole or absent after kill -9 and on a full disk. There is one writer, which
holds a lock on the file; readers need none.
"""

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.config import resolved_yaml
from gossamer.arch.errors import GossamerError
from gossamer.explore.evaluate import Results
from gossamer.explore.space import Axis, Space
from gossamer.explore.spec import METRICS, SweepSpec, Value

SCHEMA_VERSION = 2
_APPLICATION_ID = 0x676F7373
"""Marks a file as ours: "goss"."""

_ROWS = 65_536
_TABLES = f"""
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE axis(axis INTEGER, name TEXT, position INTEGER, value, PRIMARY KEY(axis, position)) WITHOUT ROWID;
CREATE TABLE chunk(first INTEGER PRIMARY KEY, count INTEGER NOT NULL, excluded INTEGER NOT NULL);
CREATE TABLE proposed(position INTEGER PRIMARY KEY, id INTEGER NOT NULL);
CREATE TABLE point(id INTEGER PRIMARY KEY, status INTEGER NOT NULL, {", ".join(f"{name} REAL" for name in METRICS)});
CREATE TABLE confirmed(
    id INTEGER, tier TEXT, cycles REAL, latency_s REAL, energy_j REAL, detail TEXT, PRIMARY KEY(id, tier)
) WITHOUT ROWID;
"""
_INSERT = f"INSERT OR REPLACE INTO point VALUES ({', '.join('?' * (2 + len(METRICS)))})"


class Store:
    """The open store of one sweep. Close it, or use it as a context, so that its log is folded into the file."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int | None) -> None:
        """Use `open_store` or `read_store`."""
        self.path = path
        self._connection = connection
        self._lock = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; its completed chunks are kept."""
        self._connection.close()
        if self._lock is not None:
            os.close(self._lock)  # after SQLite: closing any descriptor of a file drops SQLite's locks on it
            self._lock = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The database, for queries."""
        return self._connection

    def meta(self) -> dict[str, str]:
        """Return what the table `meta` holds."""
        return dict(self._connection.execute("SELECT key, value FROM meta"))

    def spec(self) -> SweepSpec:
        """Return the sweep as it was written."""
        return SweepSpec.model_validate_json(self.meta()["sweep"])

    def axes(self) -> tuple[Axis, ...]:
        """Return the axes of the space, in the order of its ids."""
        found: dict[str, list[Value]] = {}
        for name, value in self._connection.execute("SELECT name, value FROM axis ORDER BY axis, position"):
            found.setdefault(name, []).append(value)
        return tuple(Axis(name=name, values=tuple(values)) for name, values in found.items())

    def chunks(self) -> dict[int, tuple[int, int]]:
        """Return the completed chunks: first to count and points left out."""
        rows = self._connection.execute("SELECT first, count, excluded FROM chunk")
        return {first: (count, excluded) for first, count, excluded in rows}

    def add_chunk(
        self, first: int, count: int, excluded: int, results: Results, proposed: NDArray[np.int64] | None = None
    ) -> None:  # fmt: skip
        """Record a completed chunk with its results. Raises GossamerError, with nothing recorded, on a full disk.

        proposed: of a search, the ids int64 [count] at positions from `first`.
        """
        values = results.metrics.astype(object)
        values[np.isnan(results.metrics)] = None
        rows = zip(results.ids.tolist(), results.status.tolist(), *values.T.tolist(), strict=True)
        with self._writing() as connection:
            connection.executemany(_INSERT, rows)
            connection.execute("INSERT OR REPLACE INTO chunk VALUES (?, ?, ?)", (first, count, excluded))
            if proposed is not None:
                connection.executemany("INSERT INTO proposed VALUES (?, ?)", list(enumerate(proposed.tolist(), first)))

    def proposed(self) -> NDArray[np.int64]:
        """Return the ids that a search asked for, in its order: some several times, some left out by conditions."""
        rows = self._connection.execute("SELECT id FROM proposed ORDER BY position")
        return np.array([identity for (identity,) in rows], np.int64)

    def add_confirmed(self, point: int, tier: str, numbers: tuple[float, float, float | None], detail: str) -> None:
        """Record a point that was evaluated again in another way: cycles, latency_s, energy_j and a JSON object."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO confirmed VALUES (?, ?, ?, ?, ?, ?)",
                               (point, tier, *numbers, detail))  # fmt: skip

    def confirmed(self, tier: str) -> dict[int, tuple[float, float, float | None, str]]:
        """Return what `add_confirmed` recorded of a tier, by point."""
        rows = self._connection.execute(
            "SELECT id, cycles, latency_s, energy_j, detail FROM confirmed WHERE tier = ?", (tier,)
        )
        return {point: (cycles, latency, energy, detail) for point, cycles, latency, energy, detail in rows}

    def set_meta(self, entries: Mapping[str, str]) -> None:
        """Add entries to the table `meta`."""
        with self._writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(entries.items()))

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection within one transaction."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise GossamerError(
                f"{self.path}: cannot be written ({error}); the points completed so far are kept: make room and run "
                "the same command again"
            ) from error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def batches(self, condition: str = "1") -> Iterator[Results]:
        """Yield the stored points in the order of their ids, many at a time; `condition` is SQL over table `point`."""
        cursor = self._connection.execute(f"SELECT * FROM point WHERE {condition} ORDER BY id")
        while rows := cursor.fetchmany(_ROWS):
            numbers = np.array([row[1:] for row in rows], np.float64)
            yield Results(
                ids=np.array([row[0] for row in rows], np.int64),
                status=numbers[:, 0].astype(np.int8),
                metrics=numbers[:, 1:],
            )

    def results(self, condition: str = "1") -> Results:
        """Return the stored points in the order of their ids; `condition` is SQL over table `point`."""
        return joined(list(self.batches(condition)))

    def look_up(self, ids: NDArray[np.int64]) -> Results:
        """Return those of points ids that are stored, in the order of their ids."""
        return self.results(f"id IN ({', '.join(map(str, ids.tolist()))})")

    def count_by_status(self) -> dict[int, int]:
        """Return how many stored points have each status."""
        return dict(self._connection.execute("SELECT status, count(*) FROM point GROUP BY status"))


def joined(parts: list[Results]) -> Results:
    """Return results one after the other."""
    return Results(
        ids=np.concatenate([np.zeros(0, np.int64), *(part.ids for part in parts)]),
        status=np.concatenate([np.zeros(0, np.int8), *(part.status for part in parts)]),
        metrics=np.concatenate([np.zeros((0, len(METRICS))), *(part.metrics for part in parts)]),
    )


def open_store(
    path: Path, spec: SweepSpec, space: Space, identity: Mapping[str, str], meta: Mapping[str, str] | None = None
) -> Store:
    """Return the store of a sweep, opened for writing; made if there is none, with the entries `meta`.

    identity: what results depend on, by a name that a user understands. Raises GossamerError if the file is something
    else, is in use, cannot be written, or holds results of another identity: the message says which parts differ.
    """
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise GossamerError(f"{path}: cannot be written ({error.strerror}); name another file with -o") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        connection = sqlite3.connect(path, isolation_level=None)
    except BlockingIOError:
        os.close(lock)
        raise GossamerError(f"{path}: another process is writing this sweep; wait for it or stop it") from None
    store = Store(path, connection, lock)
    new = False
    try:
        new = is_absent(path)
        if new:
            _create(connection, spec, space, {**(meta or {}), "identity": json.dumps(identity)})
        else:
            _require_ours(path)
            _require_same(path, json.loads(store.meta()["identity"]), identity)
    except sqlite3.Error as error:
        store.close()
        if new:
            path.unlink(missing_ok=True)
        raise GossamerError(f"{path}: cannot be written ({error}); name another file with -o") from error
    except GossamerError:
        store.close()
        raise
    return store


def read_store(path: Path) -> Store:
    """Return a store opened for reading. Raises GossamerError if there is none at `path`."""
    if is_absent(path):
        raise GossamerError(f"{path}: there is no result store; `gossamer sweep SWEEP.yaml -o {path}` makes one")
    _require_ours(path)
    try:
        return Store(path, _connect_reading(path), None)
    except sqlite3.Error as error:
        raise GossamerError(f"{path}: cannot be read ({error})") from error


def is_absent(path: Path) -> bool:
    """Tell whether there is no file, or one in which a store was about to be made when its process was killed."""
    try:
        return path.stat().st_size == 0 or (path.is_file() and _header(path) == (0, 0, 0))
    except FileNotFoundError:
        return True
    except OSError as error:
        raise GossamerError(f"{path}: cannot be read ({error.strerror})") from error


def _require_ours(path: Path) -> None:
    """Raise GossamerError unless the file is a store of this schema."""
    mark, version, tables = _header(path)
    if mark != _APPLICATION_ID or not tables:
        raise GossamerError(f"{path}: is an SQLite file, but not a result store of gossamer; name another file")
    if version != SCHEMA_VERSION:
        raise GossamerError(
            f"{path}: must be a result store of schema {SCHEMA_VERSION}, not {version}: it was made by another version"
        )


def _connect_reading(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot write; to a store that nobody writes, one that leaves no log beside it either."""
    quiet = "" if path.with_name(path.name + "-wal").exists() else "&immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{quiet}", uri=True)


def _header(path: Path) -> tuple[int, int, int]:
    """Return mark, schema version and number of tables of a database. Raises GossamerError if it is none."""
    try:
        connection = _connect_reading(path)
        try:
            mark = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            return mark, version, connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise GossamerError(f"{path}: is not a result store of gossamer ({error}); name another file") from error


def _create(connection: sqlite3.Connection, spec: SweepSpec, space: Space, meta: Mapping[str, str]) -> None:
    """Make the tables in one transaction."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    for statement in _TABLES.split(";"):
        connection.execute(statement)
    connection.execute(_view(space))
    written = spec.model_dump_json(by_alias=True, exclude_unset=True)
    entries = {"sweep": written, "base": resolved_yaml(space.base), **meta}
    connection.executemany("INSERT INTO meta VALUES (?, ?)", list(entries.items()))
    connection.executemany(
        "INSERT INTO axis VALUES (?, ?, ?, ?)",
        [
            (at, axis.name, position, value)
            for at, axis in enumerate(space.axes)
            for position, value in enumerate(axis.values)
        ],
    )
    connection.execute("COMMIT")


def _view(space: Space) -> str:
    """Return the SQL of the view `points`."""
    columns = [
        f"(SELECT value FROM axis WHERE axis = {at} AND position = id / {stride} % {length}) AS {quoted(axis.name)}"
        for at, (axis, stride, length) in enumerate(zip(space.axes, space.strides, space.lengths, strict=True))
    ]
    return f"CREATE VIEW points AS SELECT id, {', '.join(columns)}, status, {', '.join(METRICS)} FROM point"


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _require_same(path: Path, stored: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise GossamerError if what results depend on has changed."""
    lines = [
        f"  {name}: {stored.get(name, 'none')[:16]} there, {now.get(name, 'none')[:16]} now"
        for name in sorted({*stored, *now})
        if stored.get(name) != now.get(name)
    ]
    if lines:
        raise GossamerError(
            f"{path}: holds results that must not be mixed with those of this sweep; different are\n"
            + "\n".join(lines)
            + "\nstart a new store with -o, or go back to what made this one"
        )
