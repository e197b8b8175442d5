"""See design points as columns of field values, and a function of a config as a table over the fields it reads.

Millions of points differ in few fields, and each part of an estimate depends on fewer still: the logic of the
parameter buffer, say, on four. `Tabulated` calls a function once for every combination of the fields it reads, which
it finds out by watching the function read them, and spreads the results over the points. The functions are those that
`simulate` and `generate` use, so that nothing is stated twice.
"""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from gossamer.arch.rules import Values
from gossamer.arch.spec import DeviceSpec, MemoryKind, SparseAccelerator
from gossamer.explore.axes import layers_of

Ints = NDArray[np.int64]
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

WORKLOAD = ("model", "batch", "sparsity", "precision")
"""Axes that say what runs, not on what; so does `sparsity[GLOB]`."""


def is_workload(name: str) -> bool:
    """Return whether an axis says what runs."""
    return name in WORKLOAD or layers_of(name) is not None


class Points:
    """`count` designs: `columns` [count] of the fields in which they may differ from `base`.

    Fields are dotted; the column `device` holds names of `devices`.
    """

    def __init__(
        self, base: SparseAccelerator, columns: Mapping[str, NDArray[Any]], devices: Mapping[str, DeviceSpec]
    ) -> None:
        self.base, self.columns, self.devices = base, dict(columns), devices
        self.fields = tuple(self.columns)
        self.count = len(next(iter(self.columns.values())))
        coded = {name: np.unique(column, return_inverse=True) for name, column in self.columns.items()}
        self._codes = {name: (codes.astype(np.int64), len(values)) for name, (values, codes) in coded.items()}

    def groups(self, fields: Iterable[str]) -> tuple[Ints, Ints]:
        """Return the combinations of some fields' values: a point of each, int64 [groups], and each point's group."""
        total, size = np.zeros(self.count, dtype=np.int64), 1
        for name in fields:
            codes, values = self._codes[name]
            total, size = total * values + codes, size * values
            if size > self.count:  # renumber, so that the numbers stay small however many fields there are
                total = np.unique(total, return_inverse=True)[1].astype(np.int64)
                size = int(total.max()) + 1
        _, first, inverse = np.unique(total, return_index=True, return_inverse=True)
        return first.astype(np.int64), inverse.astype(np.int64)

    def values(self, fields: Sequence[str], point: int) -> tuple[Any, ...]:
        """Return a point's values of some fields."""
        return tuple(self.columns[name][point].item() for name in fields)

    def hardware(self, point: int) -> dict[str, Any]:
        """Return a point's values of its config fields."""
        return {name: column[point].item() for name, column in self.columns.items()}

    def spec(self, point: int) -> SparseAccelerator:
        """Return the config of a point."""
        return with_fields(self.base, self.hardware(point), self.devices)

    def take(self, points: Ints) -> "Points":
        """Return some of the points."""
        return Points(self.base, {name: column[points] for name, column in self.columns.items()}, self.devices)


def with_fields(
    base: SparseAccelerator, fields: Mapping[str, Any], devices: Mapping[str, DeviceSpec]
) -> SparseAccelerator:
    """Return a config with some fields replaced by values that are legal one by one."""
    changed: dict[str, Any] = {}
    for name, value in fields.items():
        *above, last = name.split(".")
        if name == "device":
            changed["device"] = devices[value]
            continue
        node = changed
        for key in above:
            node = node.setdefault(key, {})
        node[last] = legal_value(name, value)
    return _updated(base, changed)


def legal_value(field: str, value: Any) -> Any:
    """Return a value as the config holds it: of memories, the kind."""
    return MemoryKind(value) if field.endswith(".memory") else value


def _updated(model: M, changed: Mapping[str, Any]) -> M:
    update = {
        key: _updated(getattr(model, key), value) if isinstance(value, Mapping) else value
        for key, value in changed.items()
    }
    return model.model_copy(update=update)


class Recorded:
    """A config, or a part of it, with some fields replaced, that notes the dotted names of the fields that are read.

    What was read once is an attribute from then on.
    """

    def __init__(
        self, model: BaseModel, fields: Mapping[str, Any], devices: Mapping[str, DeviceSpec], reads: dict[str, None],
        path: str = "",
    ) -> None:  # fmt: skip
        self._recording = model, fields, devices, reads, path

    def __getattr__(self, name: str) -> Any:
        if name == "_recording":  # while a copy is made
            raise AttributeError(name)
        model, fields, devices, reads, above = self._recording
        path = above + name
        if name not in type(model).model_fields:
            found = inspect.getattr_static(type(model), name, None)
            if not (isinstance(found, property) and found.fget is not None):
                raise AttributeError(f"{type(model).__name__} has no field {name}")
            value = found.fget(self)
        elif path == "device" and path in fields:
            value = Recorded(devices[fields[path]], {}, {}, reads, "device.")
        elif isinstance(value := getattr(model, name), BaseModel):
            value = Recorded(value, fields, devices, reads, path + ".")
        else:
            reads[path] = None
            value = legal_value(path, fields.get(path, value))
        self.__dict__[name] = value
        return value


class RecordedValues(Values):
    """The values of a config as rules ask for them."""

    def __init__(self, spec: Recorded) -> None:
        super().__init__({}, ())
        self._spec = spec

    def __getitem__(self, dotted: str) -> Any:
        """Return the value at a dotted path."""
        node: Any = self._spec
        for key in dotted.split("."):
            node = getattr(node, key)
        return node


class Tabulated(Generic[T]):
    """A function of a config, called once for every combination of the fields it reads.

    Fields that a call reads for the first time make all earlier results too coarse: they are dropped, and made again
    where they are needed. `whole`: the function is given a config itself, and what it reads of it is `whole`.
    """

    def __init__(self, function: Callable[[Any], T], whole: Collection[str] = ()) -> None:
        self._function, self._whole = function, whole
        self._seen: set[str] = set()
        self._fields: set[str] = set()
        self._known: dict[tuple[Any, ...], T] = {}

    def at(self, points: Points) -> tuple[list[T], Ints]:
        """Return the different results and, int64 [count], which of them each point has."""
        while True:
            fields = tuple(name for name in points.fields if name in self._fields)
            first, inverse = points.groups(fields)
            results = [self._result(points, fields, int(point)) for point in first]
            if len(fields) == sum(name in self._fields for name in points.fields):
                return results, inverse

    def _result(self, points: Points, fields: tuple[str, ...], point: int) -> T:
        key = points.values(fields, point)
        if key not in self._known:
            if self._whole:
                reads, result = dict.fromkeys(self._whole), self._function(points.spec(point))
            else:
                reads = {}
                result = self._function(Recorded(points.base, points.hardware(point), points.devices, reads))
            self._note(points, reads)
            self._known[key] = result
        return self._known[key]

    def _note(self, points: Points, reads: dict[str, None]) -> None:
        """Remember the fields of the points that were read, whole or in part; forget results that knew fewer."""
        new = reads.keys() - self._seen
        if not new:
            return
        self._seen |= new
        fields = {name for name in points.fields if any(_touches(read, name) for read in new)}
        if not fields <= self._fields:
            self._fields |= fields
            self._known.clear()


def _touches(read: str, field: str) -> bool:
    """Return whether what was read is a field, a part of it, or what it is a part of."""
    return read == field or read.startswith(field + ".") or field.startswith(read + ".")
