"""Write the reference of the Python interface: directives that mkdocstrings fills with signatures and docstrings."""

import dataclasses
import inspect
from typing import Any, get_type_hints

import gossamer
from gossamer.arch import errors
from gossamer.arch.errors import GossamerError

_INTRODUCTION = """# Python

The verbs of the command line as functions of `gossamer`; arguments are those of the [command line](cli.md). Results are
frozen objects; `as_json()` of a report is what the command prints with `--json`, `str()` of a simulation what it prints
without. Errors are `gossamer.GossamerError`, with the message that the command would print.
"""


def pages() -> dict[str, str]:
    """Return the page by its name."""
    functions = [name for name in gossamer.__all__ if inspect.isfunction(getattr(gossamer, name))]
    results = {
        hint.__name__: hint
        for name in functions
        for hint in [get_type_hints(getattr(gossamer, name)).get("return", Any)]
        if dataclasses.is_dataclass(hint) and isinstance(hint, type)
    }
    text = _INTRODUCTION + "\n## Functions\n"
    text += "".join(_directive(getattr(gossamer, name), f"gossamer.{name}") for name in functions)
    text += "\n## Results\n" + "".join(_directive(results[name], name) for name in sorted(results))
    text += "\n## Errors\n" + "".join(_directive(kind, kind.__name__) for kind in error_kinds())
    return {"python.md": text}


def error_kinds() -> list[type[GossamerError]]:
    """Return the classes of errors, GossamerError first."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GossamerError)]
    return sorted(kinds, key=lambda kind: len(kind.__mro__))


def _directive(thing: Any, heading: str) -> str:
    return f"\n::: {thing.__module__}.{thing.__qualname__}\n    options:\n      heading: {heading}\n"
