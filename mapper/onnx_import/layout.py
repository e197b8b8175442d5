"""Keep track of where an ONNX tensor's elements lie in its stored tensor, so that bytes move only when they must.

An ONNX tensor (a Value) is a stored tensor plus two readings of the same factors: its logical axes and the four stored
axes are both lists of factors (sub-axes longer than 1). Transposes and reshapes only regroup factors, which is free;
an operator that needs another stored order asks for it with `move`, which adds a View (same bytes) or a Permute.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Layer, Permute, Shape, Tensor, View

Axes = tuple[tuple[int, ...], ...]
"""A reading: one tuple of factor numbers per axis, outermost factor first; empty for an axis of length 1."""

CHANNELS = 3
_CANONICAL: dict[int, Axes] = {
    0: ((), (), (), ()),
    1: ((), (), (), (0,)),
    2: ((0,), (), (), (1,)),
    3: ((0,), (), (1,), (2,)),
    4: ((0,), (2,), (3,), (1,)),
}


class Unsupported(Exception):
    """Say why a node cannot be expressed; the importer lists all of them in one ModelError."""


@dataclass(frozen=True, slots=True)
class Value:
    """One ONNX tensor: the stored tensor's name, its logical axes and its stored axes as factors."""

    tensor: str
    axes: Axes
    stored: Axes


def canonical_groups(rank: int) -> Axes:
    """Return which logical axes make (batch, rows, columns, channels) by convention: channels last for maps."""
    if rank in _CANONICAL:
        return _CANONICAL[rank]
    return tuple(range(rank - 3)), (rank - 3,), (rank - 2,), (rank - 1,)


def natural_groups(rank: int) -> Axes:
    """Return the grouping that keeps the logical order, last axis as channels."""
    return ((0,), (1,), (2,), (3,)) if rank == 4 else canonical_groups(rank)


@dataclass(slots=True)
class LayoutBuilder:
    """Stored tensors, layers so far, and the factors' sizes."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    layer_names: set[str] = field(default_factory=set)
    _moves: dict[tuple[object, ...], str] = field(default_factory=dict)

    def factor(self, size: int) -> tuple[int, ...]:
        """Return a new factor as an axis: empty for length 1."""
        if size == 1:
            return ()
        self.sizes.append(size)
        return (len(self.sizes) - 1,)

    def extent(self, axis: Iterable[int]) -> int:
        """Return the length of an axis."""
        return math.prod(self.sizes[index] for index in axis)

    def shape(self, value: Value) -> tuple[int, ...]:
        """Return the ONNX shape."""
        return tuple(self.extent(axis) for axis in value.axes)

    def stored_shape(self, stored: Axes) -> Shape:
        """Return (batch, rows, columns, channels)."""
        batch, rows, columns, channels = (self.extent(axis) for axis in stored)
        return batch, rows, columns, channels

    def unique(self, name: str, taken: Iterable[str]) -> str:
        """Return the name, numbered if it is taken."""
        candidate, copies = name, 1
        while candidate in taken:
            copies += 1
            candidate = f"{name}_{copies}"
        return candidate

    def add_tensor(self, name: str, stored: Axes) -> str:
        """Add a stored tensor; returns its unique name."""
        name = self.unique(name, self.tensors)
        self.tensors[name] = Tensor(name=name, shape=self.stored_shape(stored))
        return name

    def layer_name(self, name: str) -> str:
        """Return a unique layer name."""
        name = self.unique(name, self.layer_names)
        self.layer_names.add(name)
        return name

    def input_value(self, name: str, shape: tuple[int, ...]) -> Value:
        """Return the Value of a graph input, stored in the canonical order."""
        axes = tuple(self.factor(size) for size in shape)
        stored = self.groups(axes, canonical_groups(len(shape)))
        return Value(self.add_tensor(name, stored), axes, stored)

    def groups(self, axes: Axes, order: Axes) -> Axes:
        """Return stored axes that hold these logical axes."""
        return tuple(tuple(index for axis in group for index in axes[axis]) for group in order)

    # Free changes of the logical reading

    def transpose(self, value: Value, order: Sequence[int]) -> Value:
        """Return the value with its logical axes in another order."""
        return replace(value, axes=tuple(value.axes[axis] for axis in order))

    def split(self, value: Value, index: int, outer: int) -> Value:
        """Return the value with a factor split into (outer, rest) in both readings."""
        parts = (*self.factor(outer), *self.factor(self.sizes[index] // outer))

        def apply(axes: Axes) -> Axes:
            return tuple(tuple(p for f in axis for p in (parts if f == index else (f,))) for axis in axes)

        return replace(value, axes=apply(value.axes), stored=apply(value.stored))

    def reshape(self, value: Value, shape: tuple[int, ...], near: str) -> Value:
        """Return the value under another logical shape of as many elements; moves bytes only if factors do not nest."""
        regrouped = self._regroup(value, shape)
        if regrouped is not None:
            return regrouped
        flat = tuple(index for axis in value.axes for index in axis)
        axes = tuple(self.factor(size) for size in shape)
        stored = self.groups(axes, natural_groups(len(shape)))
        view = self._view(value.stored)
        places = [entry for entry, index in enumerate(view) if index is None]
        order = places + [view.index(index) for index in flat]
        sizes = tuple(1 if index is None else self.sizes[index] for index in view)
        return Value(self._permute(value, sizes, tuple(order), stored, near), axes, stored)

    def _regroup(self, value: Value, shape: tuple[int, ...]) -> Value | None:
        axes: list[tuple[int, ...]] = []
        rest = [index for axis in value.axes for index in axis]
        for size in shape:
            taken: list[int] = []
            while (missing := size // self.extent(taken)) > 1:
                head = self.sizes[rest[0]]
                if head > missing:
                    if head % missing:
                        return None
                    value = self.split(value, rest[0], missing)
                    rest[:1] = [len(self.sizes) - 2, len(self.sizes) - 1]
                elif missing % head:
                    return None
                taken.append(rest.pop(0))
            axes.append(tuple(taken))
        return replace(value, axes=tuple(axes))

    # Changes of the stored order

    def move(self, value: Value, stored: Axes, near: str) -> Value:
        """Return the value stored as asked: as it is, through a View (same bytes) or through a Permute."""
        if stored == value.stored:
            return value
        flat_now = [index for axis in value.stored for index in axis]
        flat_new = [index for axis in stored for index in axis]
        if flat_now == flat_new and len(stored[CHANNELS]) == len(value.stored[CHANNELS]):
            if self.stored_shape(stored) == self.stored_shape(value.stored):
                return replace(value, stored=stored)
            return replace(value, tensor=self._same_bytes(value, stored, near), stored=stored)
        view = self._view(value.stored)
        places = iter(entry for entry, index in enumerate(view) if index is None)
        order = [view.index(index) for axis in stored for index in axis]
        order = [*places, *order]
        sizes = tuple(1 if index is None else self.sizes[index] for index in view)
        return replace(value, tensor=self._permute(value, sizes, tuple(order), stored, near), stored=stored)

    def channels_last(self, value: Value, axes: Sequence[int], near: str) -> Value:
        """Return the value with exactly these logical axes as stored channels; the others stay in stored order."""
        wanted = tuple(index for axis in axes for index in value.axes[axis])
        if value.stored[CHANNELS] == wanted:
            return value
        batch, rows, columns, channels = (
            tuple(index for index in axis if index not in wanted) for axis in value.stored
        )
        return self.move(value, (batch, rows, (*columns, *channels), wanted), near)

    def whole_axes(self, value: Value) -> Axes | None:
        """Return which logical axes make each stored axis, or None when a logical axis is scattered or re-cut."""
        left = {axis: factors for axis, factors in enumerate(value.axes) if factors}
        result: list[tuple[int, ...]] = []
        for stored in value.stored:
            group: list[int] = []
            place = 0
            while place < len(stored):
                axis = next((axis for axis, factors in left.items() if factors[0] == stored[place]), None)
                if axis is None or stored[place : place + len(left[axis])] != left[axis]:
                    return None
                place += len(left.pop(axis))
                group.append(axis)
            result.append(tuple(group))
        units = [axis for axis, factors in enumerate(value.axes) if not factors]
        usual = canonical_groups(len(value.axes))
        return tuple((*(axis for axis in units if axis in usual[place]), *group) for place, group in enumerate(result))

    def _view(self, stored: Axes) -> list[int | None]:
        """Return the factors of a stored tensor; None stands for a stored axis of length 1."""
        return [index for axis in stored for index in (axis or (None,))]

    def _same_bytes(self, value: Value, stored: Axes, near: str) -> str:
        key = (value.tensor, self.stored_shape(stored))
        if key not in self._moves:
            name = self.add_tensor(f"{near}.view", stored)
            self.layers.append(View(name=self.layer_name(name), inputs=(value.tensor,), output=name, op="view"))
            self._moves[key] = name
        return self._moves[key]

    def _permute(self, value: Value, view: tuple[int, ...], order: tuple[int, ...], stored: Axes, near: str) -> str:
        key = (value.tensor, view, order, self.stored_shape(stored))
        if key not in self._moves:
            name = self.add_tensor(f"{near}.permute", stored)
            self.layers.append(
                Permute(
                    name=self.layer_name(name),
                    inputs=(value.tensor,),
                    output=name,
                    op="permute",
                    view=view,
                    order=order,
                )
            )
            self._moves[key] = name
        return self._moves[key]

    # Two values read together

    def align(self, first: Value, second: Value, near: str) -> tuple[Value, Value]:
        """Return two values of the same rank whose shared axes are cut into the same factors.

        An axis of length 1 in the second is left alone. Raises ModelError when lengths differ otherwise.
        """
        for axis in range(len(first.axes)):
            if not first.axes[axis] or not second.axes[axis]:
                continue
            if self.extent(first.axes[axis]) != self.extent(second.axes[axis]):
                raise ModelError(f"shapes {self.shape(first)} and {self.shape(second)} do not fit at axis {axis}")
            aligned = self._align_axis(first, second, axis)
            if aligned is None:
                first = self._whole(first, near)
                second = self._whole(second, near)
                return first, second
            first, second = aligned
        return first, second

    def _align_axis(self, first: Value, second: Value, axis: int) -> tuple[Value, Value] | None:
        place = 0
        while place < len(first.axes[axis]):
            a, b = first.axes[axis][place], second.axes[axis][place]
            size_a, size_b = self.sizes[a], self.sizes[b]
            if size_a > size_b:
                if size_a % size_b:
                    return None
                first = self.split(first, a, size_b)
            elif size_b > size_a:
                if size_b % size_a:
                    return None
                second = self.split(second, b, size_a)
            place += 1
        return first, second

    def _whole(self, value: Value, near: str) -> Value:
        """Return the value stored canonically with one factor per axis."""
        value = self.move(value, self.groups(value.axes, canonical_groups(len(value.axes))), near)
        axes = tuple(self.factor(size) for size in self.shape(value))
        return Value(value.tensor, axes, self.groups(axes, canonical_groups(len(axes))))
