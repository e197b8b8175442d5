"""Collect what is wrong with a config, each problem with its place, and say it in one form for all of them."""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gossamer.arch.errors import ConfigError

Path = tuple[str | int, ...]
"""Keys from the top of a config down to a value."""

SHOWN_CHARACTERS = 60
LABEL_CHARACTERS = 300
"""Longest piece of the user's own text that a message repeats: of a value, of a file name or override."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a value was written: a file with line and column from 1 (line 0: the whole file), or an override."""

    label: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.label}:{self.line}:{self.column}" if self.line else self.label


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, at a place; `path` is empty if it is not about one key."""

    place: Place
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.place), self.path, self.message) if part)


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise one ConfigError with a line per distinct problem, in the order of their places; return if there is none."""
    lines = list(dict.fromkeys(str(problem) for problem in sorted(problems)))
    if lines:
        raise ConfigError("\n".join(lines))


def dotted(path: Path) -> str:
    """Return `buffers.weight.memory` for ("buffers", "weight", "memory"), unprintable characters escaped."""
    return ".".join(shown(str(key)) for key in path)


def shown(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    """Return text on one line with unprintable characters escaped, shortened to `limit` characters."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def found(value: object) -> str:
    """Return how a message names a value read from YAML: its kind, and its text if it is short enough."""
    match value:
        case None:
            return "empty"
        case bool():
            return f"the truth value `{json.dumps(value)}`"
        case str():
            return f"the text `{shown(value)}`"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return shown(str(value))


def suggestion(name: str, valid: Sequence[str]) -> str:
    """Return "did you mean `x`? " for the nearest valid name, or nothing if none is near."""
    wanted = name[:SHOWN_CHARACTERS].lower()
    within = [choice for choice in valid if len(wanted) > 2 and wanted in choice.lower()]
    close = within or difflib.get_close_matches(wanted, valid, n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`? " if close else ""
