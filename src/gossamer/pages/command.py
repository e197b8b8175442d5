"""Write the report of results as one page, and its charts as pictures."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.arch.errors import GossamerError

if TYPE_CHECKING:
    from gossamer.pages.page import Page


_SOURCES = "give run folders that `gossamer simulate -o` wrote, or one results database that `gossamer sweep -o` wrote"


def write_report(sources: Sequence[Path], output: Path, plots: Path | None = None) -> tuple[Path, ...]:
    """Write the page of run folders or of a sweep's results database, its charts as PNG and SVG to the folder `plots`.

    Returns the files written. Each is whole or as it was. Raises GossamerError for a source that is none, or a place
    that cannot be written.
    """
    page = _page(sources)
    contents = {output: page.html().encode()}
    if plots is not None:
        contents |= {plots / name: data for figure in page.figures for name, data in figure.pictures().items()}
    for path, content in contents.items():
        _write(path, content)
    return tuple(contents)


def _page(sources: Sequence[Path]) -> "Page":
    for source in sources:
        if not source.exists():
            raise GossamerError(f"{source}: does not exist; {_SOURCES}")
    folders = [source.is_dir() for source in sources]
    if sources and all(folders):
        from gossamer.pages.run_page import run_page

        return run_page(sources)
    if len(sources) != 1:
        raise GossamerError(f"{', '.join(map(str, sources)) or 'no source'}: {_SOURCES}")
    from gossamer.pages.sweep_page import sweep_page

    return sweep_page(sources[0])


def _write(path: Path, content: bytes) -> None:
    """Write a file under a temporary name beside it, then rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise GossamerError(
            f"{path}: cannot write the report ({error.strerror or error}); choose a place you may write to"
        ) from error
