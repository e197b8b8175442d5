"""Write Markdown."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; bars in cells are escaped, line ends are blanks."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        cells = (" ".join(str(cell).split()).replace("|", "\\|") for cell in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def code(text: str) -> str:
    """Return inline code, empty for an empty text."""
    return f"`{text}`" if text else ""


def fence(language: str, text: str) -> str:
    """Return a fenced block."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def paragraphs(doc: str | None) -> str:
    """Return a docstring as Markdown, its lines flush left."""
    lines = (doc or "").strip().splitlines()
    return "\n".join(line.strip() for line in lines)


def first_sentence(doc: str | None) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join((doc or "").strip().split("\n\n")[0].split())
