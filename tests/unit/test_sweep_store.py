"""The store: what it refuses, what survives a full disk, what it exports."""

import csv
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from stand_in import StandIn
from sweep_cases import TEXT, made_up_sweep, point_table

from gossamer.arch.errors import GossamerError
from gossamer.explore.evaluate import METRICS, STATUS, Results
from gossamer.explore.export import export_points
from gossamer.explore.runner import run_sweep
from gossamer.explore.store import Store, open_store, read_store


def some_results(first: int, count: int) -> Results:
    """Return results of `count` points from `first`."""
    ids = np.arange(first, first + count)
    metrics = np.random.default_rng(first).random((count, len(METRICS)))
    metrics[::3] = np.nan
    status = np.where(np.isnan(metrics[:, 0]), STATUS.BREAKS_RULE, STATUS.FEASIBLE).astype(np.int8)
    return Results(ids=ids, status=status, metrics=metrics)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    sweep = made_up_sweep(tmp_path)
    return open_store(tmp_path / "r.db", sweep.spec, sweep.space, {"code": "1"})


def test_results_come_back_bit_for_bit(store: Store) -> None:
    with store:
        store.add_chunk(0, 100, 0, some_results(0, 100))
        store.add_chunk(100, 50, 10, some_results(110, 40))
    with read_store(store.path) as again:
        found = again.results()
        expected = [some_results(0, 100), some_results(110, 40)]
        assert found.ids.tolist() == [*range(100), *range(110, 150)]
        assert found.metrics.tobytes() == np.concatenate([part.metrics for part in expected]).tobytes()
        assert found.status.tolist() == [*expected[0].status.tolist(), *expected[1].status.tolist()]
        assert again.chunks() == {0: (100, 0), 100: (50, 10)}
        assert again.look_up(np.array([149, 105, 3])).ids.tolist() == [3, 149]
        assert again.spec().name == "made-up"
        assert again.axes() == made_up_sweep(store.path.parent).space.axes


def test_the_view_joins_points_with_their_axes(store: Store) -> None:
    with store:
        store.add_chunk(0, 4032, 0, some_results(0, 4032))
    space = made_up_sweep(store.path.parent).space
    columns = space.columns(np.arange(4032))
    with closing(sqlite3.connect(store.path)) as connection:
        rows = connection.execute("SELECT * FROM points ORDER BY id")
        names = [column[0] for column in rows.description]
        found = list(zip(*rows, strict=True))
    assert names == ["id", *(axis.name for axis in space.axes), "status", *METRICS]
    for axis in space.axes:
        assert list(found[names.index(axis.name)]) == columns[axis.name].tolist()


def test_a_full_disk_keeps_completed_chunks(store: Store) -> None:
    with store:
        store.add_chunk(0, 100, 0, some_results(0, 100))
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(
            GossamerError, match=r"r\.db: cannot be written \(database or disk is full\); the points compl"
        ):
            store.add_chunk(100, 5000, 0, some_results(100, 5000))
        assert store.chunks() == {0: (100, 0)}
        store.connection.execute("PRAGMA max_page_count = 100000")
        store.add_chunk(100, 5000, 0, some_results(100, 5000))
    with read_store(store.path) as again:
        assert len(again.results().ids) == 5100


def test_one_writer_many_readers(store: Store) -> None:
    sweep = made_up_sweep(store.path.parent)
    with store:
        store.add_chunk(0, 10, 0, some_results(0, 10))
        with read_store(store.path) as reader:
            assert len(reader.results().ids) == 10
        with pytest.raises(GossamerError, match="another process is writing this sweep"):
            open_store(store.path, sweep.spec, sweep.space, {"code": "1"})
        store.add_chunk(10, 10, 0, some_results(10, 10))
    assert sorted(path.name for path in store.path.parent.iterdir()) == ["made-up.yaml", "r.db"]


def test_reading_leaves_nothing_beside_the_store(store: Store) -> None:
    store.close()
    with read_store(store.path) as reader:
        assert not len(reader.results().ids)
    assert sorted(path.name for path in store.path.parent.iterdir()) == ["made-up.yaml", "r.db"]


def test_results_of_something_else_are_not_mixed(store: Store) -> None:
    store.close()
    sweep = made_up_sweep(store.path.parent)
    with pytest.raises(
        GossamerError, match=r"must not be mixed.*\n  code: 1 there, 2 now\n  numpy: none there, 9 now\n"
    ):
        open_store(store.path, sweep.spec, sweep.space, {"code": "2", "numpy": "9"})


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("to: 256", "to: 248", "sweep: axes"),
        ("array.chains / array.lanes", "array.chains", "sweep: set"),
        ("<= 1024", "<= 1000", "sweep: where"),
        ("max: 250", "max: 251", "sweep: constraints"),
        ("base: u280-sparse", "base: u280-6144", "base config"),
        ("STRATEGY", "{kind: random, points: 9}", "sweep: strategy"),
    ],
)
def test_a_changed_sweep_is_refused_by_its_changed_part(tmp_path: Path, old: str, new: str, part: str) -> None:
    run_sweep(made_up_sweep(tmp_path), tmp_path / "r.db", factory=StandIn())
    before = point_table(tmp_path / "r.db")
    changed = made_up_sweep(tmp_path, text=TEXT.replace(old, new))
    with pytest.raises(GossamerError, match="must not be mixed") as caught:
        run_sweep(changed, tmp_path / "r.db", factory=StandIn())
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[1].startswith(f"  {part}: ")
    assert point_table(tmp_path / "r.db") == before


def test_a_changed_question_is_the_same_sweep(tmp_path: Path) -> None:
    run_sweep(made_up_sweep(tmp_path), tmp_path / "r.db", factory=StandIn())
    asked = made_up_sweep(tmp_path, text="# more\n" + TEXT.replace("What does", "And what does"))
    assert run_sweep(asked, tmp_path / "r.db", factory=StandIn()).points_new == 0


def test_a_changed_model_is_refused(tmp_path: Path) -> None:
    model = Path(__file__).parents[2] / "configs" / "models" / "digits.onnx"
    mine = tmp_path / "mine.onnx"
    mine.write_bytes(model.read_bytes())
    text = TEXT.replace("model: [digits]", f"model: [{mine}]")
    run_sweep(made_up_sweep(tmp_path, text=text), tmp_path / "r.db", factory=StandIn())
    mine.write_bytes(model.read_bytes() + b" ")
    with pytest.raises(GossamerError, match=r"different are\n  model .*mine\.onnx: \w{16} there, \w{16} now\nstart"):
        run_sweep(made_up_sweep(tmp_path, text=text), tmp_path / "r.db", factory=StandIn())


def a_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine(x)")
    connection.commit()
    connection.close()


def a_later_store(path: Path) -> None:
    sweep = made_up_sweep(path.parent)
    with open_store(path, sweep.spec, sweep.space, {}) as store:
        store.connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("hello " * 1000), "is not a result store of gossamer"),
        (a_database, "is an SQLite file, but not a result store"),
        (a_later_store, "must be a result store of schema 2, not 99"),
        (lambda path: path.mkdir(), "r.db"),
    ],
)
def test_other_files_are_left_alone(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "r.db"
    make(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(GossamerError, match=message):
        run_sweep(made_up_sweep(tmp_path), path, factory=StandIn())
    with pytest.raises(GossamerError, match=message):
        read_store(path)
    assert not path.is_file() or path.read_bytes() == before


def test_an_unwritable_place(tmp_path: Path) -> None:
    with pytest.raises(GossamerError, match=r"none/r\.db: cannot be written"):
        run_sweep(made_up_sweep(tmp_path), tmp_path / "none" / "r.db", factory=StandIn())


@pytest.mark.parametrize("content", [b"", "header"])
def test_a_store_that_was_about_to_be_made(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "r.db"
    if content == "header":
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    else:
        path.touch()
    run_sweep(made_up_sweep(tmp_path), path, factory=StandIn())
    run_sweep(made_up_sweep(tmp_path), tmp_path / "other.db", factory=StandIn())
    assert point_table(path) == point_table(tmp_path / "other.db")


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    run_sweep(made_up_sweep(tmp_path), tmp_path / "r.db", factory=StandIn())
    return tmp_path / "r.db"


def test_csv_and_parquet_hold_the_view(swept: Path) -> None:
    with closing(sqlite3.connect(swept)) as connection:
        view = connection.execute("SELECT * FROM points ORDER BY id")
        names = [column[0] for column in view.description]
        rows = view.fetchall()
    assert export_points(swept, swept.with_suffix(".csv")) == len(rows)
    with open(swept.with_suffix(".csv"), newline="") as file:
        header, *lines = csv.reader(file)
    assert header == names
    assert lines == [["" if value is None else str(value) for value in row] for row in rows]
    assert export_points(swept, swept.with_suffix(".parquet")) == len(rows)
    table = parquet.read_table(swept.with_suffix(".parquet"))
    assert table.column_names == names
    assert [tuple(row.values()) for row in table.to_pylist()] == rows
    assert {str(table.schema.field(name).type) for name in ("id", "array.chains")} == {"int64"}
    assert sorted(path.name for path in swept.parent.iterdir()) == ["made-up.yaml", "r.csv", "r.db", "r.parquet"]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("points.xlsx", r"must end in \.csv or \.parquet, not \.xlsx"),
        ("points", r"must end in \.csv or \.parquet, not without a suffix"),
        ("none/points.csv", "none/points.csv: cannot be written"),
    ],
)
def test_exports_refused(swept: Path, output: str, message: str) -> None:
    before = sorted(os.listdir(swept.parent))
    with pytest.raises(GossamerError, match=message):
        export_points(swept, swept.parent / output)
    with pytest.raises(GossamerError, match="there is no result store"):
        export_points(swept.parent / "none.db", swept.parent / "points.csv")
    assert sorted(os.listdir(swept.parent)) == before
