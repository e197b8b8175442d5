"""Write the report of results as one page, and its charts as pictures."""

import os
from pathlib import Path

from gossamer.arch.errors import GossamerError


def write_report(source: Path, output: Path, plots: Path | None = None) -> tuple[Path, ...]:
    """Write the page of a sweep's results database, and its charts as PNG and SVG to the folder `plots`.

    Returns the files written. Each is whole or as it was. Raises GossamerError for a source that is none, or a place
    that cannot be written.
    """
    if not source.exists():
        raise GossamerError(f"{source}: does not exist; give the results database that `gossamer sweep -o` wrote")
    if source.is_dir():
        raise GossamerError(f"{source}: is a folder; give the results database that `gossamer sweep -o` wrote")
    from gossamer.pages.sweep_page import sweep_page

    page = sweep_page(source)
    contents = {output: page.html().encode()}
    if plots is not None:
        contents |= {plots / name: data for figure in page.figures for name, data in figure.pictures().items()}
    for path, content in contents.items():
        _write(path, content)
    return tuple(contents)


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
