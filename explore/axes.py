"""Read the axes of a sweep file: lists, ranges and powers of two, each value checked by what it is a value of."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Any

from gossamer.arch.config import DESCRIPTIVE_FIELDS, device_names
from gossamer.arch.errors import ModelError
from gossamer.arch.fields import allowed, takes
from gossamer.arch.problems import found, suggestion
from gossamer.dataflow.sparsity import NmPattern
from gossamer.explore.space import FIELDS
from gossamer.explore.spec import Value
from gossamer.one_liners import is_one_liner, parse_one_liner
from gossamer.shipped_models import shipped_models

WORKLOAD: dict[str, tuple[Value, ...]] = {"batch": (1,), "sparsity": ("dense",)}
"""Axes every sweep has, with their values if the file does not give them; `model` has none."""

MAX_BATCH = 4096
MAX_AXIS_VALUES = 10_000
MAX_POINTS = 2**62
"""Limits: inputs of a batch, values of an axis, ids."""

PRECISIONS = ("int8",)

_LAYERS = re.compile(r"sparsity\[([^\[\]\"]+)\]")
_LARGEST_WHOLE = 2**53
_FORMS = "a list, {range: {from: A, to: B, step: S}} or {powers_of_two: {from: A, to: B}}"

Tell = Callable[..., None]
"""Told the path of a problem and its message, with key=True if it is about the key."""

SWEPT_FIELDS = {
    name: field
    for name, field in FIELDS.items()
    if name not in DESCRIPTIVE_FIELDS and name not in ("array.kind", "cores")
}
"""Config fields that can be an axis; estimates are of one core."""


def layers_of(axis: str) -> str | None:
    """Return the glob of `sparsity[GLOB]`, None of any other axis."""
    match = _LAYERS.fullmatch(axis)
    return None if match is None else match[1]


class AxisReader:
    """Turn what a file says about axes into values."""

    def __init__(self, tell: Tell) -> None:
        """`tell` collects problems."""
        self._tell = tell

    def read(self, name: str, source: Any) -> tuple[Value, ...]:
        """Return the values of one axis, empty if there is a problem."""
        check = self._check_of(name)
        if check is None:
            self._tell(("axes", name), _unknown(name), key=True)
            return ()
        values = self._listed(name, source) if isinstance(source, list) else self._generated(name, source)
        good = True
        seen: set[Value] = set()
        for at, value in enumerate(values):
            message = check(value)
            if message is None and value in seen:
                message = f"must hold each value once, not {found(value)} again"
            seen.add(value)
            if message is not None:
                place = ("axes", name, at) if isinstance(source, list) else ("axes", name)
                self._tell(place, message)
                good = False
                if not isinstance(source, list):
                    break
        if name in SWEPT_FIELDS and SWEPT_FIELDS[name].annotation is float:
            values = tuple(float(value) for value in values) if good else ()
        return values if good else ()

    def _check_of(self, name: str) -> Callable[[Value], str | None] | None:
        """Return the check of a value of an axis, None if there is no such axis."""
        if name == "sparsity" or layers_of(name) is not None:
            return _sparsity_problem
        checks = {"model": _model_problem, "batch": _batch_problem, "device": _device_problem}
        if name in checks:
            return checks[name]
        if name == "precision":
            return lambda value: (
                None if value in PRECISIONS else f"must be int8, the only one there is, not {found(value)}"
            )
        if name in SWEPT_FIELDS:
            return lambda value: _field_problem(name, value)
        return None

    def _listed(self, name: str, source: list[Any]) -> tuple[Value, ...]:
        """Return the values of a list if all are plain ones."""
        if not source:
            self._tell(("axes", name), "must have at least one value, not none")
        for at, value in enumerate(source):
            if not isinstance(value, int | float | str) or isinstance(value, bool):
                self._tell(("axes", name, at), f"must be a number or a text, not {found(value)}")
                return ()
        return tuple(source)

    def _generated(self, name: str, source: Any) -> tuple[Value, ...]:
        """Return the values of a range or of powers of two."""
        path = ("axes", name)
        forms = {"range": ("from", "to", "step"), "powers_of_two": ("from", "to")}
        if not isinstance(source, dict) or len(source) != 1:
            self._tell(path, f"must be {_FORMS}, not {found(source)}")
            return ()
        form = next(iter(source))
        if form not in forms:
            self._tell(
                (*path, form), f"unknown key; {suggestion(form, list(forms))}valid keys: range, powers_of_two", key=True
            )
            return ()
        bounds, keys = source[form], forms[form]
        if not isinstance(bounds, dict):
            self._tell((*path, form), f"must be a mapping with the keys {', '.join(keys)}, not {found(bounds)}")
            return ()
        good = True
        for key in [key for key in bounds if key not in keys]:
            self._tell(
                (*path, form, key), f"unknown key; {suggestion(key, keys)}valid keys: {', '.join(keys)}", key=True
            )
            good = False
        for key in keys:
            value = bounds.get(key)
            if key not in bounds:
                self._tell((*path, form), f"`{key}` is missing; must have the keys {', '.join(keys)}", key=True)
            elif not isinstance(value, int | float) or isinstance(value, bool):
                self._tell((*path, form, key), f"must be a number, not {found(value)}")
            else:
                continue
            good = False
        if not good:
            return ()
        return self._range(path, bounds) if form == "range" else self._powers(path, bounds)

    def _range(self, path: tuple[str, ...], bounds: dict[str, Any]) -> tuple[Value, ...]:
        first, last, step = (Decimal(str(bounds[key])) for key in ("from", "to", "step"))
        if step <= 0 or last < first:
            self._tell(
                (*path, "range"), f"must have from <= to and a step above 0, not {first}, {last}, {step}", key=True
            )
            return ()
        count = int((last - first) / step) + 1
        if count > MAX_AXIS_VALUES:
            self._tell((*path, "range"), f"must have at most {MAX_AXIS_VALUES} values, not {count}", key=True)
            return ()
        exact = [first + step * at for at in range(count)]
        whole = all(isinstance(bounds[key], int) for key in ("from", "step"))
        return tuple(int(value) if whole else float(value) for value in exact)

    def _powers(self, path: tuple[str, ...], bounds: dict[str, Any]) -> tuple[Value, ...]:
        values = []
        for key in ("from", "to"):
            value = bounds[key]
            if not isinstance(value, int) or value < 1 or value & (value - 1):
                self._tell(
                    (*path, "powers_of_two", key), f"must be a power of two, not {found(value)}{_nearest(value)}"
                )
                return ()
            values.append(value.bit_length() - 1)
        if values[0] > values[1]:
            self._tell(
                (*path, "powers_of_two"), f"must have from <= to, not {bounds['from']} > {bounds['to']}", key=True
            )
        return tuple(2**exponent for exponent in range(values[0], values[1] + 1))


def _nearest(value: Any) -> str:
    """Return the powers of two around a number above one."""
    if value <= 1:
        return ""
    below = 1 << (int(value).bit_length() - 1)
    return f"; nearest are {below} and {2 * below}"


def _unknown(name: str) -> str:
    """Return what is wrong with the name of an axis."""
    if name in FIELDS:
        return "cannot be swept: it is " + (
            "for the reader alone" if name in DESCRIPTIVE_FIELDS else "always sparse_chain"
        )
    valid = ["model", "sparsity", "sparsity[GLOB]", "precision", "device", "batch", *SWEPT_FIELDS]
    ending = [field for field in SWEPT_FIELDS if field.rsplit(".", 1)[-1] == name]
    hint = f"did you mean `{ending[0]}`? " if ending else suggestion(name, valid)
    return (
        f"unknown axis; {hint}an axis is model, batch, sparsity, sparsity[GLOB], precision, device or a config field "
        "such as array.chains"
    )


def _field_problem(name: str, value: Value) -> str | None:
    field = SWEPT_FIELDS[name]
    if isinstance(value, int) and abs(value) > _LARGEST_WHOLE:
        return f"must be at most 2**53, not {value}"
    return None if takes(field, value) else f"must be {allowed(field)}, not {found(value)}"


def _sparsity_problem(value: Value) -> str | None:
    expected = 'must be dense or a pattern N:M in quotes, such as "2:4"'
    if not isinstance(value, str):
        return f"{expected}, not {found(value)}"
    try:
        if value != "dense":
            NmPattern.parse(value)
    except ModelError:
        return f"{expected}, M one of 2, 4, 8, 16 and N at most M, not {found(value)}"
    return None


def _batch_problem(value: Value) -> str | None:
    if isinstance(value, int) and 1 <= value <= MAX_BATCH:
        return None
    return f"must be a whole number from 1 to {MAX_BATCH}, not {found(value)}"


def _device_problem(value: Value) -> str | None:
    names = device_names()
    if value in names:
        return None
    hint = suggestion(value, names) if isinstance(value, str) else ""
    return f"must be a shipped device, not {found(value)}; {hint}shipped: {', '.join(names)}"


def _model_problem(value: Value) -> str | None:
    if not isinstance(value, str):
        return f"must be the name or path of a network, not {found(value)}"
    if is_one_liner(value):
        try:
            parse_one_liner(value)
        except ModelError as error:
            return str(error)
        return None
    shipped = shipped_models()
    if value in shipped:
        path = shipped[value].path
        there = path is not None and path.exists()
        return None if there else f"`{value}` is not installed: pip install 'gossamer[ocr]'"
    if FilePath(value).is_file():
        return None
    message = f"must be a shipped model, a one-liner or a file, not {found(value)}; {suggestion(value, list(shipped))}"
    return message.rstrip("; ")
