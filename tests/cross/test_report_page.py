"""Open the page of a sweep in a real browser: it draws, asks nothing of the network, and its plots are linked."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from chromium import OpenPage, launched, open_page
from playwright.sync_api import Browser
from sweep_stores import SWEEP, write_store

from gossamer import load_config
from gossamer.arch.config import resolved_yaml
from gossamer.arch.spec import SparseAccelerator
from gossamer.explore.space import base_value
from gossamer.explore.store import read_store
from gossamer.explore.sweep_file import load_sweep
from gossamer.pages.command import write_report

Columns = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with sweep.yaml, sweep.db and its page.html."""
    path = tmp_path_factory.mktemp("report")
    write_store(path / "sweep.db")
    write_report([path / "sweep.db"], path / "page.html")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield the browser of all tests."""
    with launched() as started:
        yield started


@pytest.fixture
def opened(browser: Browser, folder: Path) -> Iterator[OpenPage]:
    """Yield the open page; in the end nothing may have gone wrong in it."""
    with open_page(browser, folder / "page.html") as page:
        yield page
        assert not page.errors
        assert not page.requests


@pytest.fixture(scope="module")
def point(folder: Path) -> Callable[[int], dict[str, int | float | str]]:
    """Return a function that gives every field of a point by its number."""
    space = load_sweep(folder / "sweep.yaml").space
    return lambda number: {name: column.tolist()[0] for name, column in space.columns(np.array([number])).items()}


def _feasible(folder: Path) -> set[int]:
    with read_store(folder / "sweep.db") as store:
        return set(store.results("status = 0").ids.tolist())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_draws_in_light_and_dark(
    browser: Browser, folder: Path, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    with open_page(browser, folder / "page.html", scheme) as opened:
        opened.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        inks = opened.page.evaluate("views.map((view) => view.signal('dark'))")
        label = opened.page.locator("#chart-sensitivity svg text").first.get_attribute("fill")
        assert (background, label) == (
            ("rgb(22, 22, 22)", "#e4e4e4") if scheme == "dark" else ("rgb(255, 255, 255)", "#222222")
        )
        assert inks == [scheme == "dark"] * 2
        opened.page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
        opened.page.wait_for_function(
            "dark => views.every((view) => view.signal('dark') === dark)", arg=scheme == "light"
        )
        opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert opened.page.evaluate("views.map((view) => view.signal('dark'))") == [False] * 2
        assert not opened.errors
        assert not opened.requests
    assert (tmp_path / f"{scheme}.png").stat().st_size > 50_000


def test_every_feasible_point_is_drawn(opened: OpenPage, folder: Path) -> None:
    feasible = _feasible(folder)
    assert {mark["id"] for mark in opened.points("symbol")} == feasible
    assert {mark["id"] for mark in opened.points("rule")} == feasible
    assert opened.page.locator("#table tbody tr").count() >= 2


def test_click_selects_and_its_yaml_loads(
    opened: OpenPage, folder: Path, tmp_path: Path, point: Callable[[int], dict[str, int | float | str]]
) -> None:
    mark = min(opened.points("symbol"), key=lambda mark: mark["x"])
    x, y = opened.place()
    opened.page.mouse.click(x + mark["x"], y + mark["y"])
    number = int(opened.page.inner_text("#point-name").removeprefix("Point "))
    opened.page.click("#copy")
    opened.page.wait_for_selector("#copied:not(:empty)")
    assert opened.page.inner_text("#copied") == "copied"
    copied = opened.page.evaluate("navigator.clipboard.readText()")
    assert f"Point {number} of sweep" in copied
    config = tmp_path / "point.yaml"
    config.write_text(copied)
    spec, base = load_config(config), load_config(str(SWEEP["base"]))
    assert isinstance(spec, SparseAccelerator)
    fields = point(number)
    assert f'sparsity: "{fields["sparsity"]}"' in copied.splitlines()[0]
    changed = [f"{name}={value}" for name, value in fields.items() if name not in ("model", "batch", "sparsity")]
    expected = load_config(str(SWEEP["base"]), [*changed, f"name=tiny-{number}"])
    assert spec == expected
    assert resolved_yaml(spec) != resolved_yaml(base)
    assert base_value(spec, "array.chains") == fields["array.chains"]


def test_number_in_the_table_selects_too(opened: OpenPage) -> None:
    button = opened.page.locator("button.pick").last
    number = button.inner_text()
    button.click()
    assert opened.page.inner_text("#point-name") == f"Point {number}"
    assert opened.page.evaluate("views[0].signal('picked')") == int(number)


def test_brushes_link_the_plots(
    opened: OpenPage, folder: Path, point: Callable[[int], dict[str, int | float | str]]
) -> None:
    marks = opened.points("symbol")
    across = np.unique([mark["x"] for mark in marks])
    widest = int(np.diff(across).argmax())
    middle = float(across[widest : widest + 2].mean())
    bottom = max(mark["y"] for mark in marks)
    opened.drag((middle, bottom + 4), (float(across[-1]) + 4, 5))
    inside = {mark["id"] for mark in marks if mark["x"] > middle}
    drawn = {mark["id"] for mark in opened.points("rule")}
    assert drawn == inside
    assert 0 < len(drawn) < len(marks)

    rules = opened.points("rule")
    left = sorted({round(rule["x"]) for rule in rules})
    varied = opened.page.evaluate("page.fields.filter((field) => field.values.length > 1).map((field) => field.name)")
    device = left[varied.index("device")]
    top = min(rule["y"] for rule in rules if round(rule["x"]) == device)
    opened.drag((device + 20, top - 6), (device + 24, top + 40))
    lines = {mark["id"] for mark in opened.points("rule")}
    assert lines == {mark["id"] for mark in opened.points("symbol")}
    assert lines == {number for number in inside if point(int(number))["device"] == "u280"}
    assert 0 < len(lines) < len(inside)

    x, y = opened.place()
    opened.page.mouse.dblclick(x + device + 22, y + top + 10)
    opened.page.mouse.dblclick(x + middle + 20, y + bottom - 20)
    assert {mark["id"] for mark in opened.points("rule")} == _feasible(folder)


def test_colour_and_front_only(opened: OpenPage) -> None:
    opened.page.select_option("#controls select", label="array.lanes")
    number = opened.page.evaluate("page.fields.findIndex((field) => field.name === 'array.lanes')")
    assert opened.page.evaluate("views[0].signal('colour')") == f"p{number}"
    opened.page.check("#controls input[type=checkbox]")
    front = {mark["id"] for mark in opened.points("rule")}
    assert front == set(opened.page.evaluate("points.filter((point) => point.front).map((point) => point.id)"))
    assert 0 < len(front) < 20


def test_hover_shows_the_whole_point(opened: OpenPage) -> None:
    mark = min(opened.points("symbol"), key=lambda mark: mark["x"])
    x, y = opened.place()
    opened.page.mouse.move(x + mark["x"], y + mark["y"])
    opened.page.wait_for_selector("#vg-tooltip-element.visible")
    shown = opened.page.inner_text("#vg-tooltip-element")
    for name in ("array.chains", "off_chip.channel_bandwidth_gb_s", "vector.lanes", "Latency (µs)", "LUT (count)"):
        assert name in shown
