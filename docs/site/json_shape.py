"""Find out which keys `as_json` of a report has, and what they hold, by calling it on a made-up report."""

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel


class _AnyKey(dict[str, Any]):
    """A mapping with the key NAME that has every other, too."""

    def __missing__(self, key: str) -> Any:
        return self["NAME"]


def keys_of(kind: type) -> Iterator[tuple[str, str]]:
    """Yield every key of the object, as a path, with what it holds."""
    full = dict(_flat(_sample(kind, True).as_json()))
    bare = dict(_flat(_sample(kind, False).as_json()))
    for path, what in full.items():
        above = path.rpartition(".")[0].removesuffix("[]")
        if path not in bare and (not above or above in bare) and bare.get(above) != "null":
            what += ", if there is one"
        elif bare.get(path) == "null":
            what += " or null"
        yield path, what


def parts_of(kind: type) -> list[tuple[str, type]]:
    """Return the fields of a report that hold other reports, with the classes of these."""
    found = []
    for name, hint in typing.get_type_hints(kind).items():
        for each in (hint, *get_args(hint), *(inner for outer in get_args(hint) for inner in get_args(outer))):
            if dataclasses.is_dataclass(each) and isinstance(each, type):
                found.append((name, each))
    return found


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the paths of a JSON value, depth first."""
    if isinstance(value, dict):
        if path:
            yield path, "object"
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple):
        inner = value[0] if value else None
        simple = not isinstance(inner, dict | list | tuple)
        yield path, f"list of {_name(inner)}s" if simple and value else "list"
        if not simple:
            yield from ((at, what) for at, what in _flat(inner, f"{path}[]") if at != f"{path}[]")
    else:
        yield path, _name(value)


def _name(value: Any) -> str:
    names = {
        bool: "true or false",
        int: "whole number",
        float: "number",
        str: "text",
        type(None): "null",
        type(Ellipsis): "any",
    }
    return next(name for kind, name in names.items() if isinstance(value, kind))


def _sample(kind: Any, full: bool) -> Any:
    """Return a made-up value of a type; `full`: what may be absent is there."""
    if kind is Any:
        return Ellipsis
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (typing.Union, types.UnionType):
        inner = [each for each in arguments if each is not type(None)]
        if not full and len(inner) < len(arguments):
            return None
        return _sample(inner[0], full) if len(inner) == 1 else Ellipsis
    if origin is Literal:
        return arguments[0]
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return tuple(_sample(each, full) for each in arguments if each is not Ellipsis)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _AnyKey(NAME=_sample(arguments[1], full))
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{each.name: _sample(hints[each.name], full) for each in dataclasses.fields(kind)})
    if issubclass(kind, BaseModel):
        return kind.model_construct(**{n: _sample(f.annotation, full) for n, f in kind.model_fields.items()})
    if issubclass(kind, Enum):
        return next(iter(kind))
    plain: Mapping[type, Any] = {bool: True, int: 1, float: 1.0, str: "text", Path: Path("folder")}
    return plain[kind]
