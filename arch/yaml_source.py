"""Read a YAML file into plain data, remembering the line and column of every key and value.

Whatever the bytes are, the outcome is data and a list of problems: no input raises anything but ConfigError, and none
takes more than the limits below. Numbers are read as YAML 1.2 does (`1e9` is a number, `0123` and `1:30` are refused).
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path as FilePath
from typing import Any

import yaml

from gossamer.arch.errors import ConfigError
from gossamer.arch.problems import LABEL_CHARACTERS, Path, Place, Problem, dotted, shown

MAX_FILE_BYTES = 262_144
MAX_DEPTH = 16
MAX_VALUES = 2_000
"""Limits against runaway files: bytes, nesting, and keys and values after aliases are expanded."""

_MAX_NUMBER_CHARACTERS = 40
_MAX_EXPONENT = 30

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+|0o[0-7_]+)")
_REAL = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(slots=True)
class Document:
    """Plain data of one YAML mapping with the place of every key and value, and the problems met on the way."""

    label: str
    data: dict[str, Any] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place_of(self, path: Path) -> Place:
        """Return where the value at `path` is, or the nearest key above it that exists."""
        if path in self.values:
            return self.values[path]
        for length in range(len(path), 0, -1):
            if path[:length] in self.keys:
                return self.keys[path[:length]]
        return Place(self.label, 1, 1)

    def place_of_key(self, path: Path) -> Place:
        """Return where the key at `path` is, or the nearest key above it that exists."""
        return self.keys[path] if path in self.keys else self.place_of(path)

    def graft(self, path: Path, other: "Document") -> None:
        """Put the data of `other`, with its places and problems, at `path` below existing mappings."""
        node = self.data
        for key in path[:-1]:
            node = node[str(key)]
        node[str(path[-1])] = other.data
        self.keys.update({path + below: place for below, place in other.keys.items()})
        self.values.update({path + below: place for below, place in other.values.items()})
        self.problems += [
            Problem(problem.place, dotted(path) + f".{problem.path}" * bool(problem.path), problem.message)
            for problem in other.problems
        ]


def read_document(file: FilePath, label: str, what: str = "config") -> Document:
    """Return the YAML mapping in `file`; messages call the file `label` and expect a hardware `what`.

    Raises ConfigError if the file cannot be read or is not one YAML mapping; smaller problems are in the result.
    """
    try:
        with open(file, "rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)
        state = "is a folder" if isinstance(error, IsADirectoryError) else f"cannot be read: {reason}"
        raise ConfigError(f"{label}: {state}; give a readable YAML file or the name of a shipped {what}") from None
    return parse_document(raw, label, what)


def parse_document(raw: bytes, label: str, what: str = "config") -> Document:
    """Return the YAML mapping in `raw`. Raises ConfigError if it is not one; smaller problems are in the result."""
    return _Walk(label).read(_decoded(raw, label, what), what)


def parse_value(text: str, label: str) -> Document:
    """Return the value of an override as the only key "value" of a document. Errors as `parse_document`."""
    place = Place(label)
    walk = _Walk(label, place)
    node = walk.compose(text)
    document = walk.document
    document.keys["value",] = place
    document.data["value"] = walk.value(node, ("value",), ()) if node is not None else None
    document.values.setdefault(("value",), place)
    return document


def _decoded(raw: bytes, label: str, what: str) -> str:
    """Return the text of a file, or raise ConfigError with the place of the first byte that is not text."""
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigError(f"{label}: must be at most {MAX_FILE_BYTES} bytes, not more: is this a hardware {what}?")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        message = f"must be UTF-8 text, not the byte 0x{raw[error.start]:02x}: is this a YAML file?"
        raise ConfigError(str(Problem(Place(label, line, column), "", message))) from None


class _Walk:
    """Turn the nodes of one YAML text into a Document."""

    def __init__(self, label: str, place: Place | None = None) -> None:
        """`place`, if given, stands for every place in the text."""
        self.document = Document(label)
        self._fixed = place
        self._count = 0

    def read(self, text: str, what: str) -> Document:
        """Return the document of a whole file."""
        node = self.compose(text)
        top = Place(self.document.label, 1, 1)
        if node is None:
            raise ConfigError(f"{top}: is empty; expected a hardware {what}: see `gossamer configs`")
        if not isinstance(node, yaml.MappingNode):
            kind = "a list" if isinstance(node, yaml.SequenceNode) else f"the text `{shown(node.value)}`"
            raise ConfigError(f"{self._place(node)}: must be a mapping of `key: value` lines, not {kind}")
        self.document.data = self.value(node, (), ())
        return self.document

    def compose(self, text: str) -> yaml.Node | None:
        """Return the top node, or raise ConfigError with the place of the first syntax error."""
        try:
            self._check_depth(text)
            node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            if "nesting depth" in str(error.problem):
                self._check_depth(text, yaml.SafeLoader)  # libyaml gave up looking ahead, before the first event
            mark = error.problem_mark or error.context_mark
            at = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            place = self._fixed or Place(self.document.label, *at)
            told = " ".join(part for part in (error.context, error.problem) if part)
            raise ConfigError(f"{place}: is not YAML: {shown(told, LABEL_CHARACTERS)}") from None
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            place = self._fixed or Place(
                self.document.label, before.count("\n") + 1, len(before) - before.rfind("\n")
            )  # fmt: skip
            raise ConfigError(f"{place}: is not YAML: {shown(str(error.reason))}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{self._fixed or self.document.label}: is not YAML: {shown(str(error))}") from None
        return node

    def _check_depth(self, text: str, loader: type[Any] = _LOADER) -> None:
        """Raise ConfigError for nesting beyond MAX_DEPTH before anything recursive sees it."""
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                depth += 1
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                depth -= 1
            if depth > MAX_DEPTH:
                raise ConfigError(f"{self._place(event)}: must be nested at most {MAX_DEPTH} levels deep, not deeper")

    def _place(self, node: Any) -> Place:
        mark = node.start_mark
        return self._fixed or Place(self.document.label, mark.line + 1, mark.column + 1)

    def _problem(self, node: yaml.Node, path: Path, message: str) -> None:
        self.document.problems.append(Problem(self._place(node), dotted(path), message))

    def _spend(self, node: yaml.Node) -> None:
        """Count one value; raise ConfigError when aliases have multiplied them beyond MAX_VALUES."""
        self._count += 1
        if self._count > MAX_VALUES:
            raise ConfigError(
                f"{self._place(node)}: must hold at most {MAX_VALUES} values once aliases are expanded, not more"
            )

    def value(self, node: yaml.Node, path: Path, above: tuple[int, ...]) -> Any:
        """Return plain data for `node`; `above` are the identities of the nodes it is within."""
        self._spend(node)
        self.document.values[path] = self._place(node)
        if id(node) in above:
            message = "must not contain itself: an alias refers to a mapping or list around it"
            self.document.problems.append(Problem(self.document.place_of_key(path), dotted(path), message))
            return None
        if len(path) > MAX_DEPTH:
            raise ConfigError(f"{self._place(node)}: must be nested at most {MAX_DEPTH} levels deep, not deeper")
        within = (*above, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, within)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, at), within) for at, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path, within: tuple[int, ...]) -> dict[str, Any]:
        """Return the mapping; its own keys come before merged ones (`<<`), and a repeated key is a problem."""
        result: dict[str, Any] = {}
        if node.tag != _TAG + "map":
            self._problem(node, path, f"must not have the tag `{shown(node.tag)}`: leave it out")
        merges: list[tuple[yaml.Node, yaml.Node]] = []
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, path, "must have plain names as keys, not a list or mapping")
                continue
            if key.tag == _TAG + "merge":
                merges += [(key, part) for part in (child.value if isinstance(child, yaml.SequenceNode) else [child])]
                continue
            name, below = key.value, (*path, key.value)
            if below in self.document.keys and name in result:
                first = self.document.keys[below]
                self._problem(key, below, f"must be given once; it is already given at {first}")
                continue
            self.document.keys[below] = self._place(key)
            result[name] = self.value(child, below, within)
        for key, merged in merges:
            self._merge(key, merged, path, within, result)
        return result

    def _merge(
        self, key: yaml.Node, merged: yaml.Node, path: Path, within: tuple[int, ...], result: dict[str, Any]
    ) -> None:
        """Add the keys of `<<: *alias` that `result` does not have yet."""
        if not isinstance(merged, yaml.MappingNode) or id(merged) in within:
            self._problem(key, path, "must merge (`<<`) an alias of another mapping")
            return
        self._spend(merged)
        own = dict(result)
        places = {at: place for at, place in self.document.keys.items() if at[: len(path)] == path}
        values = {at: place for at, place in self.document.values.items() if at[: len(path)] == path}
        extra = self._mapping(merged, path, (*within, id(merged)))
        self.document.keys.update(places)
        self.document.values.update(values)
        result.update({**extra, **own})

    def _scalar(self, node: Any, path: Path) -> Any:
        """Return null, truth value, number or text; anything else is a problem and read as text."""
        text = node.value
        kind = node.tag.removeprefix(_TAG)
        match kind:
            case "str" | "timestamp":
                return self._number(node, path) if not node.style and _REAL.fullmatch(text) else text
            case "null":
                return None
            case "bool" if text.lower() in _TRUTH:
                return _TRUTH[text.lower()]
            case "int" | "float":
                return self._number(node, path)
            case _:
                self._problem(node, path, f"must be plain text, a number or a truth value, not `{shown(node.tag)}`")
                return text

    def _number(self, node: yaml.Node, path: Path) -> int | float | str:
        """Return the number; `1e9` is the integer 1000000000."""
        text = str(node.value)
        if len(text) <= _MAX_NUMBER_CHARACTERS:
            if _INTEGER.fullmatch(text):
                return int(text.replace("_", ""), 0)
            real = _REAL.fullmatch(text)
            if real and text.replace("_", "").lstrip("+-").startswith("0") and text.lstrip("+-").isdigit():
                real = None  # 0123: octal to YAML 1.1, decimal to YAML 1.2
            if real:
                plain = text.replace("_", "")
                if real[3] and abs(int(real[3][1:])) <= _MAX_EXPONENT:
                    exact = Decimal(plain)
                    return int(exact) if exact == exact.to_integral_value() else float(exact)
                if not real[3]:
                    return float(plain)
        message = f"must be a plain finite decimal number such as 250, 14.4 or 1e6, not `{shown(text)}`"
        self._problem(node, path, message)
        return text


def is_number(text: str) -> bool:
    """Tell whether this reader takes unquoted text for a number, also where YAML 1.1 would not."""
    return _REAL.fullmatch(text) is not None


def set_value(document: Document, path: Path, value: Document) -> None:
    """Replace the value at `path`, and its places, by the one `parse_value` returned. The mappings above must exist."""
    node = document.data
    for key in path[:-1]:
        node = node[str(key)]
    for places in (document.keys, document.values):
        for at in [at for at in places if at[: len(path)] == path]:
            del places[at]
    node[str(path[-1])] = value.data["value"]
    document.keys.update({path + at[1:]: place for at, place in value.keys.items()})
    document.values.update({path + at[1:]: place for at, place in value.values.items()})
    document.problems = [problem for problem in document.problems if not _covers(path, problem.path)] + [
        Problem(problem.place, dotted(path) + problem.path.removeprefix("value"), problem.message)
        for problem in value.problems
    ]


def _covers(path: Path, other: str) -> bool:
    """Tell whether the dotted path `other` is at or below `path`."""
    return f"{other}.".startswith(f"{dotted(path)}.")
