"""Open report pages in the Chromium of this machine, headless; whatever goes wrong there is collected."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, sync_playwright

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

_MARKS = """(wanted) => {
  const found = [];
  const walk = (mark, x, y) => {
    for (const item of mark.items ?? []) {
      if (mark.marktype === "group") {
        for (const inner of item.items) walk(inner, x + (item.x ?? 0), y + (item.y ?? 0));
      } else if (mark.marktype === wanted && item.tooltip) {
        found.push({id: item.datum.id, x: x + item.x, y: y + item.y});
      }
    }
  };
  const [dx, dy] = views[0].origin();
  const { left, top } = views[0].padding();
  walk(views[0].scenegraph().root, dx + left, dy + top);
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
        found: list[dict[str, float]] = self.page.evaluate(_MARKS, kind)
        return found

    def place(self) -> tuple[float, float]:
        """Return where the chart of the front begins in the window, scrolled into view."""
        canvas = self.page.locator("#chart-front canvas")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box is not None
        return box["x"], box["y"]

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag the pointer from one place of the chart of the front to another."""
        x, y = self.place()
        self.page.mouse.move(x + start[0], y + start[1])
        self.page.mouse.down()
        self.page.mouse.move(x + end[0], y + end[1], steps=6)
        self.page.mouse.up()


@contextmanager
def open_page(file: Path, scheme: Literal["light", "dark"] = "light") -> Iterator[OpenPage]:
    """Yield the page in a fresh browser; skip the test where there is no Chromium, but fail it in CI."""
    chromium = shutil.which("chromium")
    if chromium is None:
        message = "no `chromium` on the PATH: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        try:
            context = browser.new_context(viewport={"width": 1200, "height": 1300}, color_scheme=scheme)
            context.grant_permissions(["clipboard-read", "clipboard-write"])
            yield OpenPage(context.new_page(), file)
        finally:
            browser.close()
