"""Check what a report of a sweep says against brute force, its bad inputs, and its pictures."""

import json
import sqlite3
import sys
from contextlib import closing
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from sweep_stores import AXES, write_store

from gossamer import cli
from gossamer.arch.errors import GossamerError
from gossamer.explore.pareto import front, hypervolume
from gossamer.pages import sweep_points
from gossamer.pages.command import write_report
from gossamer.pages.front_chart import linked_figure
from gossamer.pages.progress_chart import progress_figure
from gossamer.pages.quantities import four_digits, quantity_of, value_text
from gossamer.pages.sensitivity import effects
from gossamer.pages.sweep_page import sweep_page
from gossamer.pages.sweep_points import choose_points
from gossamer.pages.sweep_store import read_sweep
from gossamer.pages.tornado_chart import sensitivity_figure


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sweep of three objectives with a condition and a constraint."""
    return write_store(
        tmp_path_factory.mktemp("store") / "sweep.db", objectives=["latency_s", "kept_energy", "dsp"],
        where=["array.chains * array.lanes < 200"], constraints={"power_w": {"max": 3.0}},
    )  # fmt: skip


def test_sensitivity_equals_brute_force(store: Path) -> None:
    results = read_sweep(store)
    space = results.space
    value_of = dict(zip(results.ids.tolist(), results.objectives, strict=True))
    found = {(effect.axis, effect.value, effect.objective): effect for effect in effects(results)}
    bases = {"clock_mhz": 250.0, "device": "kv260", "off_chip.channel_bandwidth_gb_s": 19.2, "array.lanes": 2}
    checked = 0
    for at, axis in enumerate(space.axes):
        reference = axis.values.index(bases[axis.name]) if axis.name in bases else 0
        for position, (column, objective) in product(range(len(axis.values)), enumerate(results.sweep.objectives)):
            factors = []
            for number, values in value_of.items():
                if number // space.strides[at] % len(axis.values) == reference:
                    other = number + (position - reference) * space.strides[at]
                    if other in value_of:
                        factors.append(value_of[other][column] / values[column])
            key = (axis.name, axis.values[position], objective)
            if len(axis.values) == 1:
                assert key not in found
                continue
            effect = found[key]
            assert effect.reference == axis.values[reference]
            assert effect.pairs == len(factors)
            assert effect.factor == pytest.approx(np.median(factors), rel=1e-12)
            checked += 1
    assert checked > 30


def test_points_are_the_front_and_a_seeded_sample(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = read_sweep(store)
    best = set(results.ids[results.feasible][front(results.costs[results.feasible])].tolist())
    whole = choose_points(results)
    assert set(whole.ids[whole.on_front].tolist()) == best
    assert set(whole.ids.tolist()) == set(results.ids[results.feasible].tolist())
    assert whole.alike.sum() == len(best) == whole.front_size

    monkeypatch.setattr(sweep_points, "ALL_POINTS", whole.different.size + 20)
    monkeypatch.setattr(sweep_points, "FRONT_POINTS", whole.different.size)
    few = choose_points(results, seed=5)
    assert few.ids.size == whole.different.size + 20
    assert set(few.ids[few.on_front].tolist()) == set(whole.different.tolist())
    assert not set(few.ids[~few.on_front].tolist()) & best
    assert (few.ids == choose_points(results, seed=5).ids).all()
    assert (few.ids != choose_points(results, seed=6).ids).any()
    metrics = results.metrics_of(np.sort(few.ids))
    at = dict(zip(np.sort(few.ids).tolist(), metrics["lut"].tolist(), strict=True))
    assert few.metrics["lut"].tolist() == [at[number] for number in few.ids.tolist()]


def test_specifications_are_valid(store: Path) -> None:
    results = read_sweep(store)
    points = choose_points(results)
    figures = [linked_figure(points), sensitivity_figure(points, effects(results))]
    for figure in figures:
        assert figure is not None
        assert figure.chart.to_dict()["$schema"].startswith("https://vega.github.io/schema/vega-lite/")


def test_hypervolume_grows_to_that_of_the_store(tmp_path: Path) -> None:
    results = read_sweep(write_store(tmp_path / "random.db", strategy={"kind": "random", "points": 150, "seed": 7}))
    figure = progress_figure(results)
    assert figure is not None
    rows = next(iter(figure.specification()["datasets"].values()))
    shares = [row["share"] for row in rows]
    assert [row["evaluated"] for row in rows][-1] == 150
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    first = rows[0]["evaluated"]
    assert first == 1
    assert hypervolume(np.array([[0.0, 0.0]]), np.ones(2)) == 1.0
    grid = read_sweep(write_store(tmp_path / "grid.db"))
    assert progress_figure(grid) is None


@pytest.mark.parametrize("kind", ["nsga2", "tpe"])
def test_hypervolume_of_a_search_is_in_the_order_of_its_proposals(tmp_path: Path, kind: str) -> None:
    changes = {"strategy": {"kind": kind, "points": 120, "seed": 3}, "where": ["array.chains * array.lanes < 200"]}
    results = read_sweep(write_store(tmp_path / "search.db", **changes))
    figure = progress_figure(results)
    assert figure is not None
    rows = next(iter(figure.specification()["datasets"].values()))
    known = set(sqlite3.connect(results.path).execute("SELECT id FROM point"))
    order = [number for number in dict.fromkeys(results.proposed.tolist()) if (number,) in known]
    assert len(order) == len(known) == rows[-1]["evaluated"] > 50
    costs = dict(zip(results.ids.tolist(), results.costs, strict=True))
    feasible = results.costs[results.feasible]
    low, high = feasible.min(axis=0), feasible.max(axis=0)
    volumes = []
    for row in rows:
        found = [(costs[number] - low) / (high - low) for number in order[: row["evaluated"]] if number in costs]
        volumes.append(hypervolume(np.array(found).reshape(-1, 2), np.full(2, 1.01)))
    assert [row["share"] for row in rows] == pytest.approx([volume / volumes[-1] for volume in volumes], rel=1e-12)
    assert volumes[0] < volumes[-1]


def test_page_is_one_small_file_whatever_the_store_holds(tmp_path: Path) -> None:
    axes = {**AXES, "axi.max_outstanding": list(range(1, 33)), "off_chip.latency_ns": [100.0, 150.0]}
    store = write_store(tmp_path / "large.db", axes=axes)
    write_report([store], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert len(text) < 2_000_000
    results = read_sweep(store)
    assert results.ids.size > 15_000
    points = choose_points(results)
    assert points.ids.size == sweep_points.ALL_POINTS
    rest = int((~points.on_front).sum())
    total = points.feasible - points.front_size
    assert f"and {rest:,} of {total:,} other feasible points, a seeded sample" in " ".join(text.split())


def test_text_from_a_sweep_cannot_break_the_page(tmp_path: Path) -> None:
    text = "</script><img src=x onerror=alert(1)>"
    store = write_store(tmp_path / "sweep.db", name=text, question=text)
    html = sweep_page(store).html()
    assert "<img src=x" not in html
    assert html.count("</script>") == 3


def test_confirmed_points_are_told(tmp_path: Path) -> None:
    store = write_store(tmp_path / "sweep.db")
    with closing(sqlite3.connect(store)) as connection, connection:
        number, cycles = connection.execute("SELECT id, cycles FROM point WHERE status = 0 LIMIT 1").fetchone()
        connection.execute("INSERT INTO confirmed VALUES (?, 'simulated', ?, NULL, NULL, '')", (number, cycles / 1.02))
    table = sweep_page(store).tables[-1]
    assert (table.name, table.rows[0][:2]) == ("confirmed", [str(number), "simulated"])
    assert table.rows[0][4] == "+2.00 %"
    assert table.rows[0][7] == ""


def test_nothing_feasible_is_said(tmp_path: Path) -> None:
    store = write_store(tmp_path / "sweep.db", constraints={"latency_s": {"max": 1e-9}})
    write_report([store], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "No point is feasible" in text
    assert "<canvas" not in text


def test_pictures(tmp_path: Path, store: Path) -> None:
    written = write_report([store], tmp_path / "page.html", tmp_path / "plots")
    names = {path.name for path in written}
    assert names == {"page.html", "front.png", "front.svg", "sensitivity.png", "sensitivity.svg"}
    for name in ("front", "sensitivity"):
        assert (tmp_path / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n")
        root = ElementTree.parse(tmp_path / "plots" / f"{name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 20


@pytest.mark.parametrize("make", ["absent", "folder", "text", "other database", "empty"])
def test_bad_source_is_one_error_and_no_file(
    make: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "results.db"
    if make == "folder":
        source.mkdir()
    elif make == "text":
        source.write_text("not a database" * 100)
    elif make == "other database":
        with closing(sqlite3.connect(source)) as connection:
            connection.execute("CREATE TABLE meta(key, value)")
    elif make == "empty":
        source.touch()
    monkeypatch.setattr(sys, "argv", ["gossamer", "report", str(source), "-o", str(tmp_path / "page.html")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    message = capfd.readouterr().err
    assert stop.value.code == 2
    assert message.startswith(f"gossamer: {source}: ")
    assert message.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


def test_unwritable_place_is_one_error(tmp_path: Path, store: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GossamerError, match=r"page\.html: cannot write the report"):
        write_report([store], tmp_path / "file" / "page.html")
    (tmp_path / "page.html").mkdir()
    with pytest.raises(GossamerError, match="cannot write the report"):
        write_report([store], tmp_path / "page.html")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("metric", "values", "title", "text"),
    [
        ("latency_s", [0.001, 0.002, 0.5], "Latency (ms)", "2"),
        ("energy_j", [0.0, 2e-6, 3e-6], "Energy (µJ)", "2"),
        ("energy_j", [0.0, 0.0, 0.0], "Energy (J)", "0"),
        ("utilization", [0.5, 0.25, 0.1], "Utilisation (%)", "25"),
        ("dsp", [1234.0, 12345.0, 1.0], "DSP (slices)", "12,345"),
        ("cycles", [1e6, 2.5e6, 3e6], "Cycles (million cycles)", "2.5"),
    ],
)
def test_quantities(metric: str, values: list[float], title: str, text: str) -> None:
    quantity = quantity_of(metric, np.array(values))
    assert quantity.title == title
    assert quantity.text(values[1]) == text


def test_numbers() -> None:
    assert [four_digits(value) for value in (float("nan"), 0.0, 1.23456, 999.96, 1234567.0)] == [
        "", "0", "1.235", "1000", "1,234,567"
    ]  # fmt: skip
    assert [value_text(value) for value in (50.0, 14.375, 3145728, "2:4")] == ["50", "14.375", "3145728", "2:4"]


def test_page_data_is_json(store: Path) -> None:
    html = sweep_page(store).html()
    data = html.split('id="page-data">')[1].split("</script>")[0]
    page = json.loads(data)
    assert set(page["charts"]) == {"front", "sensitivity"}
    assert len(page["points"]["id"]) == len(page["points"]["front"])
