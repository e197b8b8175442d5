"""Open report pages in the Chromium of this machine, headless; whatever goes wrong there is collected."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

_MARKS = """([chart, wanted]) => {
  const view = views.find((view) => view.container().closest(".chart").id === chart);
  const found = [];
  const walk = (mark, x, y) => {
    for (const item of mark.items ?? []) {
      if (mark.marktype === "group") {
        for (const inner of item.items) walk(inner, x + (item.x ?? 0), y + (item.y ?? 0));
      } else if (mark.marktype === wanted && item.tooltip) {
        const {x: left, y: top} = item;
        found.push({datum: item.datum, x: x + left, y: y + top, width: item.width, height: item.height,
                    opacity: item.opacity});
      }
    }
  };
  const [dx, dy] = view.origin();
  const { left, top } = view.padding();
  walk(view.scenegraph().root, dx + left, dy + top);
  return found;
}"""


class OpenPage:
    """An open page with what it said: `errors` of scripts and console, `requests` for anything but itself."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page, self.errors, self.requests = page, list[str](), list[str]()
        address = file.resolve().as_uri()
        page.on("console", lambda message: self.errors.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

        def check(route: Any) -> None:
            if route.request.url == address or route.request.url.startswith("data:"):
                route.continue_()
            else:
                self.requests.append(route.request.url)
                route.abort()

        page.context.route("**/*", check)
        page.goto(address)
        page.wait_for_selector("html[data-ready=yes]", state="attached")

    def points(self, kind: Literal["symbol", "rule"]) -> list[dict[str, float]]:
        """Return number and place in the chart of the front of the points drawn as marks of a kind, if selected."""
        return [{"id": mark["datum"]["id"], "x": mark["x"], "y": mark["y"]} for mark in self.marks("front", kind)]

    def marks(self, chart: str, kind: str) -> list[dict[str, Any]]:
        """Return datum, place (of rect: its corner), width, height and opacity of a chart's marks with tooltips."""
        found: list[dict[str, Any]] = self.page.evaluate(_MARKS, [f"chart-{chart}", kind])
        return found

    def place(self, chart: str = "front") -> tuple[float, float]:
        """Return where a chart begins in the window, scrolled into view."""
        drawing = self.page.locator(f"#chart-{chart}").locator("canvas, svg.marks")
        drawing.scroll_into_view_if_needed()
        box = drawing.bounding_box()
        assert box is not None
        return box["x"], box["y"]

    def drag(self, start: tuple[float, float], end: tuple[float, float], chart: str = "front") -> None:
        """Drag the pointer from one place of a chart to another."""
        x, y = self.place(chart)
        self.page.mouse.move(x + start[0], y + start[1])
        self.page.mouse.down()
        self.page.mouse.move(x + end[0], y + end[1], steps=6)
        self.page.mouse.up()


@contextmanager
def launched() -> Iterator[Browser]:
    """Yield a browser; skip the test where there is no Chromium, but fail it in CI."""
    chromium = shutil.which("chromium")
    if chromium is None:
        message = "no `chromium` on the PATH: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


def fresh(browser: Browser, scheme: Literal["light", "dark"] = "light", width: int = 1200) -> BrowserContext:
    """Return a browser window without a past."""
    return browser.new_context(viewport={"width": width, "height": 1300}, color_scheme=scheme)


@contextmanager
def open_browser(scheme: Literal["light", "dark"] = "light", width: int = 1200) -> Iterator[BrowserContext]:
    """Yield a window of a browser of its own."""
    with launched() as browser:
        yield fresh(browser, scheme, width)


@contextmanager
def open_page(browser: Browser, file: Path, scheme: Literal["light", "dark"] = "light") -> Iterator[OpenPage]:
    """Yield the page in a window without a past."""
    with fresh(browser, scheme) as context:
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield OpenPage(context.new_page(), file)
