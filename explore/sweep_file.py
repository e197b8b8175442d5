"""Load sweep files: YAML in, a checked sweep and its space out, or one error that lists everything wrong."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from gossamer.arch.config import load_config, load_device, open_document, shipped_names
from gossamer.arch.errors import ConfigError
from gossamer.arch.fields import allowed, choices_of
from gossamer.arch.problems import Path, Problem, dotted, found, raise_problems, shown, suggestion
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.yaml_source import Document
from gossamer.explore.axes import MAX_POINTS, SWEPT_FIELDS, WORKLOAD, AxisReader
from gossamer.explore.expressions import Expression, ExpressionError, Kind, parse_expression
from gossamer.explore.space import FIELDS, ROOM_FIELDS, Axis, Space, base_value
from gossamer.explore.spec import METRICS, Bounds, Strategy, SweepSpec, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A loaded sweep file."""

    spec: SweepSpec
    space: Space


def sweep_names() -> tuple[str, ...]:
    """Return the names of the shipped sweeps, sorted."""
    return shipped_names("sweeps")


def load_sweep(name_or_path: str | FilePath) -> Sweep:
    """Return the shipped sweep of that name, or the one in a YAML file.

    Raises ConfigError that lists every problem found, one per line, as `file:line:column: key: what is wrong`.
    """
    reader = _Reader(open_document(name_or_path, "sweeps", "sweep"))
    return reader.read()


def sweep_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a sweep file, for completion and checks in an editor."""
    schema = TypeAdapter(SweepSpec).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Gossamer sweep"}


_EXPECTED = {
    "axes": "a mapping of axis names to values",
    "set": "a mapping of config fields to expressions",
    "where": "a list of conditions in quotes or plain text",
    "constraints": "a mapping of metrics to `{min: ...}`, `{max: ...}` or both",
    "objectives": f"a list of one or more metrics: {', '.join(METRICS)}",
    "strategy": "a mapping with the keys kind, points, seed",
}
"""What the keys take that hold more than a plain value."""


class _Reader:
    """Check one document and collect its problems."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._data = document.data
        self._unread = {problem.path for problem in document.problems}
        self._problems = [
            replace(problem, message=f"{problem.message}; put a pattern in quotes")
            if problem.path.startswith("axes.sparsity")
            else problem
            for problem in document.problems
        ]

    def read(self) -> Sweep:
        """Return the sweep, or raise ConfigError."""
        self._problems += self._shape_problems()
        base = self._base()
        axes = self._axes()
        derived, conditions = ({}, ()) if base is None else self._expressions(base, axes)
        self._constraints()
        self._objectives()
        self._strategy(axes)
        raise_problems(self._problems)
        assert base is not None
        devices = next((axis.values for axis in axes if axis.name == "device"), ())
        return Sweep(
            spec=SweepSpec.model_validate_json(json.dumps(self._data)),
            space=Space(
                axes=axes, base=base, devices={str(name): load_device(str(name)) for name in devices},
                derived=derived, conditions=conditions,
            ),
        )  # fmt: skip

    def _problem(self, path: Path, message: str, *, key: bool = False) -> None:
        place = self._document.place_of_key(path) if key else self._document.place_of(path)
        if dotted(path) in self._unread:
            return
        named = tuple(part for part in path if isinstance(part, str))
        self._problems.append(Problem(place, dotted(named), message))

    def _shape_problems(self) -> Iterator[Problem]:
        """Yield what pydantic finds wrong, in our words; axes have their own reader."""
        try:
            SweepSpec.model_validate_json(json.dumps(self._data))
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                path = self._existing(tuple(detail["loc"]), detail["type"])
                if path == ("axes",) and detail["type"] == "missing":
                    yield Problem(self._document.place_of(()), "axes", f"is missing; must be {_EXPECTED['axes']}")
                elif path[0] != "axes" and dotted(path) not in self._unread:
                    yield self._shape_problem(path, detail["type"])

    def _existing(self, path: Path, kind: str) -> Path:
        """Return the part of one of pydantic's paths that is in the file, with what is missing there."""
        node: Any = self._data
        for depth, part in enumerate(path):
            if not (part in node if isinstance(node, dict) else isinstance(node, list) and isinstance(part, int)):
                return path[: depth + 1] if kind == "missing" else path[:depth]
            node = node[part]
        return path

    def _shape_problem(self, path: Path, kind: str) -> Problem:
        """Return one of pydantic's findings in our words."""
        names = tuple(str(part) for part in path if isinstance(part, str))
        models: dict[str, type[BaseModel]] = {"strategy": Strategy, "constraints": Bounds}
        model = models.get(names[0], SweepSpec) if len(path) > 1 else SweepSpec
        value: Any = self._data
        for part in path[:-1] if kind == "missing" else path:
            value = value[part]
        if kind == "extra_forbidden":
            fields = list(model.model_fields)
            message = f"unknown key; {suggestion(names[-1], fields)}valid keys: {', '.join(fields)}"
            return Problem(self._document.place_of_key(path), dotted(names), message)
        if names[0] in ("objectives", "constraints") and len(path) == 2:
            message = _metric_message(names[0], path, value)
            return Problem(self._document.place_of_key(path), dotted(names), message)
        if names[0] in _EXPECTED and len(path) == 1:
            expected = _EXPECTED[names[0]]
        elif names[0] in ("set", "where"):
            expected = "an expression, such as array.chains * 2" if names[0] == "set" else "a condition, as text"
        else:
            expected = allowed(model.model_fields[names[-1]]).removesuffix("a number") or "a number"
        if kind == "missing":
            return Problem(self._document.place_of_key(path[:-1]), dotted(names), f"is missing; must be {expected}")
        message = f"must be {expected}, not {found(value)}"
        choices = choices_of(model.model_fields[names[-1]].annotation) if names[-1] in model.model_fields else []
        if isinstance(value, str) and (hint := suggestion(value, choices)):
            message += f"; {hint}".rstrip()
        return Problem(self._document.place_of(path), dotted(names), message)

    def _base(self) -> SparseAccelerator | None:
        """Return the base config, None if there is a problem with it."""
        name = self._data.get("base")
        if not isinstance(name, str):
            return None
        try:
            base = load_config(name)
        except ConfigError as error:
            for line in str(error).splitlines():
                self._problem(("base",), line)
            return None
        if isinstance(base, SparseAccelerator) and base.cores > 1:
            self._problem(("base",), f"must have one core, not {base.cores}: estimates are of one core")
            return None
        if isinstance(base, SparseAccelerator):
            return base
        self._problem(("base",), f"must be a sparse_chain config, not `{shown(name)}`, a plain systolic array")
        return None

    def _axes(self) -> tuple[Axis, ...]:
        """Return the axes that have no problem: those of the workload that are not given first, those of room last."""
        given = self._data.get("axes")
        if not isinstance(given, dict):
            if "axes" in self._data:
                self._problem(("axes",), f"must be {_EXPECTED['axes']}, not {found(given)}")
            return ()
        reader = AxisReader(self._problem)
        axes = [Axis(name=name, values=values) for name, values in WORKLOAD.items() if name not in given]
        for name, source in given.items():
            values = reader.read(name, source)
            if values:
                axes.append(Axis(name=name, values=values))
        if "model" not in given:
            self._problem(("axes",), "needs the axis `model`: one or more networks, see `gossamer models`", key=True)
        if "device" in given:
            for name in given:
                if name.startswith("device."):
                    self._problem(("axes", name), "must not be swept with `device`, which sets it", key=True)
        size = 1
        for axis in axes:
            size *= len(axis.values)
        if size > MAX_POINTS:
            self._problem(("axes",), f"must span at most 2**62 points, not {size:.3g}", key=True)
        return tuple(sorted(axes, key=lambda axis: axis.name.startswith(ROOM_FIELDS)))

    def _expressions(
        self, base: SparseAccelerator, axes: tuple[Axis, ...]
    ) -> tuple[dict[str, Expression], tuple[Expression, ...]]:
        """Return the derived fields and the conditions that have no problem."""
        kinds = {name: kind_of(value) for name in FIELDS if (value := base_value(base, name)) is not None}
        kinds.update({axis.name: kind_of(axis.values[0]) for axis in axes})
        kinds.update(dict.fromkeys(("model", "sparsity"), "text"))  # also when their own values are wrong
        derived: dict[str, Expression] = {}
        given = self._data.get("set")
        given = given if isinstance(given, dict) else {}
        for name, text in given.items():
            path: Path = ("set", name)
            if (message := self._derived_problem(name)) is not None:
                self._problem(path, message, key=True)
                continue
            expression = self._expression(path, text, kinds)
            if expression is not None and expression.kind != kinds.get(name, "number"):
                self._problem(path, f"must yield a {kinds[name]}, not a {expression.kind}")
            elif expression is not None and (later := (expression.names & given.keys()) - derived.keys()):
                self._problem(path, f"must not use `{min(later)}`, which `set` gives here or later: put that one first")
            elif expression is not None:
                derived[name] = expression
        conditions = []
        given = self._data.get("where")
        for at, text in enumerate(given if isinstance(given, list) else ()):
            condition = self._expression(("where", at), text, kinds) if isinstance(text, str) else None
            if condition is not None and condition.kind != "truth":
                message = f"must be a condition, such as array.lanes <= 4, not the {condition.kind} `{shown(text)}`"
                self._problem(("where", at), message)
            elif condition is not None:
                conditions.append(condition)
        return derived, tuple(conditions)

    def _derived_problem(self, name: str) -> str | None:
        """Return what is wrong with deriving a field, None if nothing."""
        given = self._data.get("axes")
        if isinstance(given, dict) and name in given:
            return "must not be both in `set` and an axis; leave one out"
        valid = [field for field in SWEPT_FIELDS if not field.startswith("device.")]
        if name not in valid:
            return f"must be a field of the config that can vary; {suggestion(name, valid)}".rstrip("; ")
        return None

    def _expression(self, path: Path, text: Any, kinds: dict[str, Kind]) -> Expression | None:
        """Return the expression, None if there is a problem with it."""
        if not isinstance(text, str | int | float) or isinstance(text, bool):
            return None  # told already
        try:
            return parse_expression(str(text), kinds)
        except ExpressionError as error:
            self._problem(path, f"the expression `{shown(str(text))}` {error}")
            return None

    def _constraints(self) -> None:
        given = self._data.get("constraints")
        for metric, bounds in given.items() if isinstance(given, dict) else ():
            if not isinstance(bounds, dict):
                continue
            least, most = bounds.get("min"), bounds.get("max")
            if least is None and most is None:
                self._problem(("constraints", metric), "must have `min`, `max` or both, not neither", key=True)
            elif isinstance(least, int | float) and isinstance(most, int | float) and least > most:
                self._problem(("constraints", metric), f"must have min <= max, not {least} > {most}", key=True)

    def _objectives(self) -> None:
        given = self._data.get("objectives")
        for at, metric in enumerate(given if isinstance(given, list) else ()):
            if metric in list(given or ())[:at]:
                self._problem(("objectives", at), f"must name each metric once, not `{shown(str(metric))}` again")

    def _strategy(self, axes: tuple[Axis, ...]) -> None:
        given = self._data.get("strategy")
        if not isinstance(given, dict) or given.get("kind") not in choices_of(Strategy.model_fields["kind"].annotation):
            return
        kind, points = given["kind"], given.get("points")
        if kind == "grid":
            for name in given.keys() & {"points", "seed"}:
                self._problem(
                    ("strategy", name), "has no effect on a grid, which takes all points; leave it out", key=True
                )
        elif points is None:
            message = f"is missing; {kind} needs the number of points to evaluate, a whole number"
            self._problem(("strategy", "points"), message)


def _metric_message(key: str, path: Path, value: Any) -> str:
    """Return what is wrong with one metric of objectives or constraints."""
    name = value if key == "objectives" else path[-1]
    if key == "constraints" and name in METRICS:
        return f"must be a mapping with `min`, `max` or both, not {found(value)}"
    what = found(name) if key == "objectives" else f"`{shown(str(name))}`"
    hint = suggestion(name, METRICS) if isinstance(name, str) else ""
    return f"must be a metric, not {what}; {hint}metrics: {', '.join(METRICS)}"


def kind_of(value: Value | None) -> Kind:
    """Return the kind of a value of an axis or config field, for expressions."""
    return "text" if isinstance(value, str) else "number"
