"""Export the points of a result store with their axis values, as CSV or Parquet."""

import csv
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gossamer.arch.errors import GossamerError
from gossamer.explore.store import Store, read_store

_ROWS = 65_536


def export_points(store_path: Path, output: Path) -> int:
    """Write the view `points` of a store, in the order of ids, and return how many there are.

    The suffix of `output` chooses the format. Raises GossamerError; the file is there whole or not at all.
    """
    if output.suffix not in (".csv", ".parquet"):
        raise GossamerError(f"{output}: must end in .csv or .parquet, not {output.suffix or 'without a suffix'}")
    with read_store(store_path) as store:
        try:
            handle, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
        except OSError as error:
            raise GossamerError(f"{output}: cannot be written ({error.strerror})") from error
        os.close(handle)
        part = Path(name)
        try:
            count = (_write_csv if output.suffix == ".csv" else _write_parquet)(store, part)
            part.chmod(0o666 & ~_umask())
            os.replace(part, output)
        except OSError as error:
            raise GossamerError(f"{output}: cannot be written ({error.strerror or error})") from error
        except sqlite3.Error as error:
            raise GossamerError(f"{store_path}: cannot be read ({error})") from error
        finally:
            part.unlink(missing_ok=True)
    return count


def _umask() -> int:
    """Return the mask of file modes, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _batches(store: Store) -> tuple[list[str], Iterator[list[tuple[Any, ...]]]]:
    """Return the names of the columns and the rows, many at a time."""
    cursor = store.connection.execute("SELECT * FROM points ORDER BY id")
    return [column[0] for column in cursor.description], iter(lambda: cursor.fetchmany(_ROWS), [])


def _write_csv(store: Store, part: Path) -> int:
    names, batches = _batches(store)
    count = 0
    with open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for rows in batches:
            writer.writerows(rows)
            count += len(rows)
    return count


def _write_parquet(store: Store, part: Path) -> int:
    """Write whole numbers as int64, others as float64, texts as strings."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise GossamerError("Parquet needs pyarrow: pip install 'gossamer[parquet]'; .csv needs nothing") from None
    kinds = {axis.name: pyarrow.array(axis.values).type for axis in store.axes()}
    kinds |= {"id": pyarrow.int64(), "status": pyarrow.int8()}
    names, batches = _batches(store)
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in names])
    count = 0
    with parquet.ParquetWriter(part, schema) as writer:
        for rows in batches:
            columns = [
                pyarrow.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
            count += len(rows)
    return count
