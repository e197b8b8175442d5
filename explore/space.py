"""Number the points of a sweep and give their values by column, without ever making one object per point."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.fields import leaf_fields, takes
from gossamer.arch.spec import DeviceSpec, SparseAccelerator
from gossamer.explore.expressions import Expression
from gossamer.explore.spec import Value

FIELDS = leaf_fields(SparseAccelerator)
"""Every config field that holds a plain value, by its dotted name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis: what varies (a config field, model, batch, sparsity, ...) and its values, all numbers or all texts."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, kw_only=True)
class Space:
    """The grid of a sweep: mixed radix over its axes, the last axis fastest.

    Members: `axes`; `base`, whose values the fields that are not swept keep; `devices` by name, of the axis `device`;
    `derived`, the config fields that follow from others, in order; `conditions`, all of which a point must meet.
    """

    axes: tuple[Axis, ...]
    base: SparseAccelerator
    devices: Mapping[str, DeviceSpec] = field(default_factory=dict)
    derived: Mapping[str, Expression] = field(default_factory=dict)
    conditions: tuple[Expression, ...] = ()

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Values of each axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @cached_property
    def size(self) -> int:
        """Points of the grid, before conditions."""
        return prod(self.lengths)

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Distance of ids from one value of an axis to the next."""
        return tuple(prod(self.lengths[at + 1 :]) for at in range(len(self.axes)))

    @cached_property
    def _values(self) -> tuple[NDArray[Any], ...]:
        """Values of each axis: int64, float64 or text."""
        return tuple(np.array(axis.values) for axis in self.axes)

    def coordinates(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the position on every axis, int64 [n, axes], of points ids int64 [n]."""
        strides, lengths = np.array(self.strides, np.int64), np.array(self.lengths, np.int64)
        return np.asarray(ids, np.int64)[:, None] // strides % lengths

    def ids(self, coordinates: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids int64 [n] of positions int64 [n, axes]."""
        result: NDArray[np.int64] = np.asarray(coordinates, np.int64) @ np.array(self.strides, np.int64)
        return result

    def columns(self, ids: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return the values [n] of every axis and every derived field of points ids int64 [n].

        Derived whole numbers are int64; where `legal` is false they are meaningless.
        """
        scope = self._scope(ids)
        columns = {axis.name: scope[axis.name] for axis in self.axes}
        return columns | {name: _stored(name, scope[name]) for name in self.derived}

    def legal(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return, bool [n], whether the config takes every derived value: whole where it must be, within its limits."""
        result = np.ones(len(ids), np.bool_)
        scope = self._scope(ids)
        for name in self.derived:
            distinct, where = np.unique(scope[name], return_inverse=True)
            result &= np.array([_takes(name, value) for value in distinct.tolist()], np.bool_)[where]
        return result

    def included(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return, bool [n], whether points ids int64 [n] meet every condition."""
        result = np.ones(len(ids), np.bool_)
        if not self.conditions:
            return result
        scope = self._scope(ids)
        for condition in self.conditions:
            result &= np.broadcast_to(condition.evaluate(scope), len(ids))
        return result

    def _scope(self, ids: NDArray[np.int64]) -> dict[str, Any]:
        """Return the values [n] of axes and derived fields, and values or scalars of all else that expressions use."""
        coordinates = self.coordinates(ids)
        scope: dict[str, Any] = {
            axis.name: values[coordinates[:, at]]
            for at, (axis, values) in enumerate(zip(self.axes, self._values, strict=True))
        }
        names = [axis.name for axis in self.axes]
        for name in self._used - scope.keys() - self.derived.keys():
            if name.startswith("device.") and "device" in names:
                at = names.index("device")
                each = np.array([base_value(self.devices[str(device)], name[7:]) for device in self.axes[at].values])
                scope[name] = each[coordinates[:, at]]
            else:
                scope[name] = base_value(self.base, name)
        for name, expression in self.derived.items():
            scope[name] = np.broadcast_to(expression.evaluate(scope), len(ids))
        return scope

    @cached_property
    def _used(self) -> frozenset[str]:
        """Names that expressions use."""
        return frozenset(name for each in (*self.derived.values(), *self.conditions) for name in each.names)


def base_value(base: SparseAccelerator | DeviceSpec, name: str) -> Any:
    """Return the value of the dotted field `name` of a config or device."""
    node: Any = base
    for part in name.split("."):
        node = getattr(node, part)
    return node


@lru_cache(maxsize=65_536)
def _takes(name: str, value: Value) -> bool:
    """Tell whether a config field takes a derived value."""
    if isinstance(value, float):
        if not np.isfinite(value):
            return False
        value = int(value) if value.is_integer() else value
    return takes(FIELDS[name], value)


def _stored(name: str, found: NDArray[Any]) -> NDArray[Any]:
    """Return derived values as the field holds them: whole numbers as int64, others as they are."""
    if found.dtype.kind != "f" or FIELDS[name].annotation is float:
        return found
    with np.errstate(all="ignore"):
        whole: NDArray[np.int64] = np.nan_to_num(found, posinf=0, neginf=0).clip(-(2**53), 2**53).astype(np.int64)
    return whole
