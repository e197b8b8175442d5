"""Open the pages of simulated runs in a real browser: they draw, ask nothing of the network, and can be explored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from chromium import OpenPage, launched, open_page
from playwright.sync_api import Browser
from saved_runs import save

from gossamer.pages.command import write_report
from gossamer.pages.run_folder import Run, read_runs

CHARTS = 11
MOST_BYTES = 5_000_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return run folders of a network, dense on one design and at 2:4 on another."""
    base = tmp_path_factory.mktemp("runs")
    return save(base / "dense", "digits", "kv260-edge"), save(base / "sparse", "digits", "ecp5-tiny", "2:4")


@pytest.fixture(scope="module")
def run(folders: tuple[Path, Path]) -> Run:
    """Return the run whose page `opened` shows."""
    return read_runs(folders[1:])[0]


@pytest.fixture(scope="module")
def pages(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the page of the run at 2:4 and that of both."""
    base = tmp_path_factory.mktemp("pages")
    write_report(folders[1:], base / "one.html")
    write_report(folders, base / "both.html")
    return base / "one.html", base / "both.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield the browser of all tests."""
    with launched() as started:
        yield started


@pytest.fixture
def opened(browser: Browser, pages: tuple[Path, Path]) -> Iterator[OpenPage]:
    """Yield the open page of one run; in the end nothing may have gone wrong in it."""
    with open_page(browser, pages[0]) as page:
        yield page
        assert not page.errors
        assert not page.requests


def _middle(mark: dict[str, Any]) -> tuple[float, float]:
    return mark["x"] + (mark["width"] or 0) / 2, mark["y"] + (mark["height"] or 0) / 2


def _widest(marks: list[dict[str, Any]]) -> dict[str, Any]:
    return max(marks, key=lambda mark: mark["width"] * mark["height"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", [0, 1])
def test_pages_draw_in_light_and_dark(
    browser: Browser, pages: tuple[Path, Path], tmp_path: Path, scheme: Literal["light", "dark"], which: int
) -> None:
    assert pages[which].stat().st_size < MOST_BYTES
    with open_page(browser, pages[which], scheme) as opened:
        opened.page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)
        assert opened.page.evaluate("views.map((view) => view.signal('dark'))") == [scheme == "dark"] * CHARTS
        label = opened.page.locator("#chart-cycles svg text").first.get_attribute("fill")
        assert label == ("#e4e4e4" if scheme == "dark" else "#222222")
        assert opened.page.locator("section h2").count() == CHARTS + (1 if which == 0 else 3)
        assert not opened.errors
        assert not opened.requests
    assert (tmp_path / f"{scheme}.png").stat().st_size > 50_000


def test_every_layer_is_drawn(opened: OpenPage, run: Run) -> None:
    """The sum takes no cycles of its own: VECTOR does it with the layer that it is joined to, and nothing is moved."""
    layers = {layer.name for layer in run.result.layers if layer.op != "add"}
    assert [layer.cycles for layer in run.result.layers if layer.op == "add"] == [0]
    multiplying = {layer.name for layer in run.result.layers if layer.macs}
    assert {mark["datum"]["layer"] for mark in opened.marks("cycles", "rect")} == layers
    dots = [mark["datum"].get("layer") for mark in opened.marks("roofline", "symbol")]
    assert {name for name in dots if name} == multiplying
    assert dots.count(None) == 1
    assert run.execution is not None
    spans = [mark for mark in opened.marks("timeline", "rect") if "o" in mark["datum"]]
    assert len(spans) == len(run.execution.program.instructions) - 1


def test_click_marks_a_layer_in_all_charts(opened: OpenPage) -> None:
    bar = _widest(opened.marks("cycles", "rect"))
    layer = bar["datum"]["layer"]
    x, y = opened.place("cycles")
    left, top = _middle(bar)
    opened.page.mouse.click(x + left, y + top)
    picked = "views.filter((view) => 'picked' in view.getState().signals).map((view) => view.signal('picked'))"
    assert opened.page.evaluate(picked) == [layer] * CHARTS
    for chart in ("cycles", "traffic", "sparsity", "timeline", "occupancy"):
        for mark in opened.marks(chart, "rect"):
            if "layer" in mark["datum"]:
                assert mark["opacity"] == (1 if mark["datum"]["layer"] == layer else 0.25), chart
    opened.place("cycles")
    opened.page.mouse.click(x + left, y + top)
    assert opened.page.evaluate(picked) == [""] * CHARTS
    assert {mark["opacity"] for mark in opened.marks("traffic", "rect")} == {1}


def test_legend_shows_one_class_alone(opened: OpenPage) -> None:
    assert len({mark["datum"]["part"] for mark in opened.marks("cycles", "rect")}) >= 4
    opened.page.locator("#chart-cycles svg .role-legend-label text", has_text="memory").click()
    assert {mark["datum"]["part"] for mark in opened.marks("cycles", "rect")} == {"memory"}


def test_drag_zooms_the_timeline_and_double_click_shows_all(opened: OpenPage, run: Run) -> None:
    def spans() -> dict[int, float]:
        return {mark["datum"]["i"]: mark["width"] for mark in opened.marks("timeline", "rect") if "o" in mark["datum"]}

    strip = [mark for mark in opened.marks("timeline", "rect") if "busy" in mark["datum"]]
    left, right = min(mark["x"] for mark in strip), max(mark["x"] + mark["width"] for mark in strip)
    middle, third = strip[0]["y"] + 5, (right - left) / 3
    before = spans()
    opened.drag((left + third, middle), (left + 2 * third, middle), "timeline")
    after = spans()
    assert before.keys() == after.keys()
    for number, width in before.items():
        assert after[number] == pytest.approx(3 * width, rel=0.05)
    x, y = opened.place("timeline")
    opened.page.mouse.dblclick(x + left + 1.5 * third, y + middle)
    assert spans() == before


def test_hover_tells_instruction_layer_and_cycles(opened: OpenPage) -> None:
    span = _widest([mark for mark in opened.marks("timeline", "rect") if "o" in mark["datum"]])
    x, y = opened.place("timeline")
    left, top = _middle(span)
    opened.page.mouse.move(x + left, y + top)
    opened.page.wait_for_selector("#vg-tooltip-element.visible")
    shown = opened.page.inner_text("#vg-tooltip-element")
    for expected in ("operation", span["datum"]["what"], span["datum"]["layer"], f"{span['datum']['b']:,}"):
        assert expected in shown


def test_hover_tells_which_tensor_a_buffer_holds(opened: OpenPage) -> None:
    marks = opened.marks("occupancy", "rect")
    assert {mark["datum"]["tensor"].partition(" ")[0] for mark in marks} == {
        "inputs", "results", "weights", "indices", "sums",
    }  # fmt: skip
    held = _widest(marks)
    x, y = opened.place("occupancy")
    left, top = _middle(held)
    opened.page.mouse.move(x + left, y + top)
    opened.page.wait_for_selector("#vg-tooltip-element.visible")
    shown = opened.page.inner_text("#vg-tooltip-element")
    for expected in (held["datum"]["tensor"], "of the buffer (%)", f"{held['datum']['bytes']:,}"):
        assert expected in shown


def test_runs_share_their_axes(browser: Browser, pages: tuple[Path, Path]) -> None:
    with open_page(browser, pages[1]) as opened:
        bars = opened.marks("cycles", "rect")
        tops = sorted({round(mark["y"] + mark["height"]) for mark in bars})
        per_cycle = {
            round(mark["height"] / mark["datum"]["cycles"], 6) for mark in bars if mark["datum"]["cycles"] > 50
        }
        assert len(tops) > 2
        assert len(per_cycle) <= 2
        assert max(per_cycle) == pytest.approx(min(per_cycle), rel=1e-3)
        spans = [mark for mark in opened.marks("timeline", "rect") if "o" in mark["datum"]]
        widths = [mark["width"] / (mark["datum"]["f"] - mark["datum"]["s"]) for mark in spans]
        assert max(widths) == pytest.approx(min(widths), rel=1e-6)
        assert not opened.errors
        assert not opened.requests
