"""Load hardware configs: YAML in, a checked spec out, or one error that lists everything wrong with places.

A config is an accelerator (`configs/accelerators/`); its `device` is the name of a shipped device
(`configs/devices/`) or the device's mapping itself.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path as FilePath
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from gossamer.arch.errors import ConfigError
from gossamer.arch.fields import allowed, choices_of, fields_of
from gossamer.arch.problems import LABEL_CHARACTERS, Path, Problem, dotted, found, raise_problems, shown, suggestion
from gossamer.arch.resources import shortages
from gossamer.arch.rules import Values, broken_rules
from gossamer.arch.spec import AcceleratorSpec, DeviceSpec, SparseAccelerator, SystolicAccelerator
from gossamer.arch.target import Target, default_target, segment_problem
from gossamer.arch.yaml_source import Document, is_number, parse_document, parse_value, read_document, set_value

MODEL_OF_KIND: dict[str, type[SparseAccelerator] | type[SystolicAccelerator]] = {
    "sparse_chain": SparseAccelerator,
    "systolic": SystolicAccelerator,
}
"""Accelerator spec for each `array.kind`."""

DESCRIPTIVE_FIELDS: frozenset[str] = frozenset({"name", "clock_source", "device.name", "device.board", "device.source"})
"""Fields for the reader alone: they change neither a Program nor the hardware, and are not in the fingerprint."""


class _Dumper(yaml.SafeDumper):
    """Quote what `gossamer.arch.yaml_source` would read as a number."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Return the node of a text."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if is_number(data) else None)


_Dumper.add_representer(str, _Dumper.represent_str)

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[0-9A-Za-z_-]+)*")


def config_names() -> tuple[str, ...]:
    """Return the names of the shipped accelerators, sorted."""
    return shipped_names("accelerators")


def device_names() -> tuple[str, ...]:
    """Return the names of the shipped devices, sorted."""
    return shipped_names("devices")


def load_config(name_or_path: str | FilePath, overrides: Sequence[str] = ()) -> AcceleratorSpec:
    """Return the shipped config of that name, or the one in a YAML file, after `KEY=VALUE` overrides.

    Keys of overrides are dotted: `off_chip.channels=2`; values are YAML. Raises ConfigError that lists every problem
    found, one per line, as `file:line:column: key: what is wrong`, also when the hardware does not fit its device.
    """
    document = open_document(name_or_path)
    for override in overrides:
        _override(document, override)
    _resolve_device(document)
    problems = list(document.problems)
    model = _model(document)
    if model is None:
        problems.append(_kind_problem(document))
        model = SparseAccelerator
        problems += _field_problems(document, model, skip="array")
    else:
        problems += _field_problems(document, model)
    if model is SparseAccelerator:
        values = Values(document.data, [_path(problem.path) for problem in problems])
        problems += [Problem(document.place_of(_path(path)), path, message) for path, message in broken_rules(values)]
    raise_problems(problems)
    spec = model.model_validate_json(json.dumps(document.data))
    if isinstance(spec, SparseAccelerator):
        place = document.place_of_key(("device",))
        raise_problems(Problem(place, "device", message) for message in shortages(spec))
    return spec


def load_device(name: str) -> DeviceSpec:
    """Return the shipped device of that name, one of `device_names`."""
    return DeviceSpec.model_validate_json(json.dumps(_read_shipped("devices", name).data))


def require_hardware(spec: AcceleratorSpec, where: str, target: Target | None = None) -> SparseAccelerator:
    """Return a config that hardware can be generated from; raise ConfigError, beginning with `where`, if not.

    `target`: whose primitives the array is built from; absent: those of the device.
    """
    if not isinstance(spec, SparseAccelerator):
        raise ConfigError(
            f"{where}: `array.kind` must be sparse_chain to generate hardware, not systolic: a plain array has no RTL, "
            "it is a model for comparison; choose a sparse_chain config, `gossamer configs` lists them"
        )
    array = spec.array
    problem = segment_problem(
        chain_length=array.chain_length, segments=array.weight_rows_per_cycle, lanes=array.lanes,
        target=default_target(spec.device.family) if target is None else target,
    )  # fmt: skip
    if problem is not None:
        raise ConfigError(f"{where}: array.weight_rows_per_cycle: {problem}")
    return spec


def fingerprint(spec: AcceleratorSpec) -> str:
    """Return the SHA-256, in hexadecimal, of every field that affects a Program or the hardware.

    `cores` counts if it is not 1.
    """
    data = spec.model_dump(mode="json")
    for path in DESCRIPTIVE_FIELDS:
        *above, last = path.split(".")
        node = data
        for key in above:
            node = node.get(key, {})
        node.pop(last, None)
    if data.get("cores") == 1:  # what runs on one core does not depend on there being others
        del data["cores"]
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def resolved_yaml(spec: AcceleratorSpec) -> str:
    """Return the config as YAML with its device and every default written out; loading it gives an equal spec."""
    header = f"# Resolved config of {json.dumps(spec.name)}, fingerprint {fingerprint(spec)}.\n"
    return header + config_yaml(spec.model_dump(mode="json"))


def config_yaml(data: Mapping[str, Any]) -> str:
    """Return the data of a config as YAML; reading it gives the same data."""
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file, for completion and checks in an editor."""
    schema = TypeAdapter(AcceleratorSpec).json_schema()
    definitions = schema["$defs"]
    device = definitions["SparseAccelerator"]["properties"]["device"]
    definitions["SparseAccelerator"]["properties"]["device"] = {
        "description": "Name of a shipped device, or the device itself",
        "anyOf": [{"type": "string", "enum": list(device_names())}, device],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Gossamer hardware config",
        **schema,
    }


def shipped_names(folder: str) -> tuple[str, ...]:
    """Return the names of the YAML files in one folder of `gossamer.configs`."""
    entries = (files("gossamer.configs") / folder).iterdir()
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml")))


def _read_shipped(folder: str, name: str, what: str = "config") -> Document:
    return parse_document((files("gossamer.configs") / folder / f"{name}.yaml").read_bytes(), f"{name}.yaml", what)


def open_document(name_or_path: str | FilePath, folder: str = "accelerators", what: str = "config") -> Document:
    """Return the document of a name shipped in a folder of `gossamer.configs` or of a path. Raises ConfigError."""
    text = str(name_or_path)
    names = shipped_names(folder)
    if text in names:
        return _read_shipped(folder, text, what)
    is_name = isinstance(name_or_path, str) and _NAME.fullmatch(text) and not text.endswith((".yaml", ".yml"))
    if is_name and not FilePath(text[:255]).exists():
        raise ConfigError(
            f"{what} must be a shipped name or the path of a YAML file, not `{shown(text)}`; {suggestion(text, names)}"
            f"shipped: {', '.join(names)}"
        )
    return read_document(FilePath(text), shown(text, LABEL_CHARACTERS), what)


def _override(document: Document, override: str) -> None:
    """Apply one `KEY=VALUE` to the document."""
    label = f"override `{shown(override, LABEL_CHARACTERS)}`"
    key, equals, text = override.partition("=")
    path: Path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise ConfigError(f"{label}: must be KEY=VALUE with a dotted key, such as off_chip.channels=2")
    if not override.isprintable():
        raise ConfigError(f"{label}: must be printable text on one line")
    value = parse_value(text, label)
    if len(path) > 1 and path[0] == "device":
        _resolve_device(document)
    node: Any = document.data
    for depth, part in enumerate(path[:-1]):
        below = path[: depth + 1]
        if isinstance(node.get(part), dict):
            node = node[part]
            continue
        if part in node:
            raise ConfigError(f"{label}: `{dotted(below)}` must be a mapping to hold `{path[depth + 1]}`, not a value")
        raise ConfigError(
            f"{label}: the config has no `{dotted(below)}`; {suggestion(str(part), list(node))}it has {', '.join(node)}"
        )
    set_value(document, path, value)


def _resolve_device(document: Document) -> None:
    """Replace a shipped device's name by its mapping; a name that does not exist is a problem."""
    name = document.data.get("device")
    if not isinstance(name, str) or any(problem.path == "device" for problem in document.problems):
        return
    names = device_names()
    if name in names:
        document.graft(("device",), _read_shipped("devices", name))
        return
    message = (
        f"must be a shipped device or a mapping, not `{shown(name)}`; {suggestion(name, names)}"
        f"shipped: {', '.join(names)}"
    )
    document.problems.append(Problem(document.place_of(("device",)), "device", message))


def _model(document: Document) -> type[SparseAccelerator] | type[SystolicAccelerator] | None:
    """Return the spec that `array.kind` chooses, or None if it does not."""
    array = document.data.get("array")
    kind = array.get("kind") if isinstance(array, dict) else None
    return MODEL_OF_KIND.get(kind) if isinstance(kind, str) else None


def _kind_problem(document: Document) -> Problem:
    """Return what is wrong with `array.kind`."""
    kinds = f"one of {', '.join(MODEL_OF_KIND)}"
    array = document.data.get("array")
    if not isinstance(array, dict):
        missing = "array" not in document.data
        message = "is missing" if missing else f"must be a mapping with `kind`, {kinds}, not {found(array)}"
        return Problem(document.place_of(("array",)), "array", f"{message}; `kind` is {kinds}" if missing else message)
    if "kind" not in array:
        return Problem(document.place_of_key(("array",)), "array.kind", f"is missing; must be {kinds}")
    kind = array["kind"]
    hint = suggestion(kind, list(MODEL_OF_KIND)) if isinstance(kind, str) else ""
    message = f"must be {kinds}, not {found(kind)}" + f"; {hint}".rstrip() * bool(hint)
    return Problem(document.place_of(("array", "kind")), "array.kind", message)


def _field_problems(document: Document, model: type[BaseModel], skip: str = "") -> Iterator[Problem]:
    """Yield what pydantic finds wrong with single fields, except below the key `skip` and where reading failed."""
    known = {problem.path for problem in document.problems}
    try:
        model.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path: Path = tuple(detail["loc"])
            if dotted(path) in known or (path and path[0] == skip):
                continue
            yield _field_problem(document, model, path, detail["type"])


def _field_problem(document: Document, model: type[BaseModel], path: Path, kind: str) -> Problem:
    """Return one of pydantic's findings in our words."""
    fields = fields_of(model, path[:-1])
    name = str(path[-1])
    if kind == "extra_forbidden":
        missing = [key for key in fields if key not in _mapping_at(document.data, path[:-1])]
        hint = suggestion(name, missing) or suggestion(name, list(fields))
        message = f"unknown key; {hint}valid keys: {', '.join(fields)}"
        return Problem(document.place_of_key(path), dotted(path), message)
    if kind == "missing":
        message = f"is missing; must be {allowed(fields[name])}"
        return Problem(document.place_of_key(path[:-1]), dotted(path), message)
    value = _mapping_at(document.data, path[:-1]).get(name)
    message = f"must be {allowed(fields[name])}, not {found(value)}"
    choices = choices_of(fields[name].annotation)
    if choices and isinstance(value, str) and (hint := suggestion(value, choices)):
        message += f"; {hint}".rstrip()
    return Problem(document.place_of(path), dotted(path), message)


def _mapping_at(data: dict[str, Any], path: Path) -> dict[str, Any]:
    node: Any = data
    for key in path:
        node = node[key]
    return dict(node)


def _path(text: str) -> Path:
    return tuple(text.split("."))
