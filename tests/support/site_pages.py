"""Read the pages of the built documentation site, and serve them on this machine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class SitePage(HTMLParser):
    """What a page links to, what it loads, the anchors it has, its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.loads, self.anchors, self.words = set[str](), set[str](), {""}, list[str]()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        elif tag != "a":
            self.loads |= {given[name] for name in ("href", "src") if name in given}

    def handle_data(self, data: str) -> None:
        """Collect."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """Return the text with single blanks."""
        return " ".join(" ".join(self.words).split())


def broken_links(folder: Path) -> list[str]:
    """Return every link within a site, or thing a page loads from it, that leads nowhere."""
    pages = {path: SitePage(path) for path in sorted(folder.rglob("*.html"))}
    broken = []
    for path, page in pages.items():
        for link in sorted(page.links | page.loads):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            base = folder if parts.path.startswith("/") else path.parent
            target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchors = pages[target].anchors if target in pages else {parts.fragment}
            if not target.is_file() or (unquote(parts.fragment) not in anchors and parts.fragment != "__skip"):
                broken.append(f"{path.relative_to(folder)} -> {link}")
    return broken


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yield the address at which a folder is served on this machine."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
