"""Describe data movement as nests of strided axes, and turn reshapes and transposes into such nests.

A nest is a sequence of `Axis`, outer to inner; every axis has one byte stride per operand (off-chip address, buffer
address, ...). All hardware moves here are nests cut down to the three axes an instruction has.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Axis:
    """One loop of a nest: `size` iterations, `strides` bytes per iteration, one per operand (0 broadcasts)."""

    size: int
    strides: tuple[int, ...]


Nest = tuple[Axis, ...]


def nest(sizes: Sequence[int], *strides: Sequence[int]) -> Nest:
    """Return the nest with these sizes and, per operand, these strides."""
    return tuple(Axis(size, tuple(each)) for size, *each in zip(sizes, *strides, strict=True))


def collapse(axes: Sequence[Axis], *, keep_inner: bool = False) -> Nest:
    """Drop axes of size one and merge neighbours that are one axis for every operand; an empty nest is possible.

    With `keep_inner` the last axis stays as it is, even with size one.
    """
    inner = [axes[-1]] if keep_inner else []
    merged: list[Axis] = []
    for axis in axes[: len(axes) - len(inner)]:
        if axis.size == 1:
            continue
        if merged and merged[-1].strides == tuple(axis.size * stride for stride in axis.strides):
            merged[-1] = Axis(merged[-1].size * axis.size, axis.strides)
        else:
            merged.append(axis)
    return tuple(merged + inner)


def offsets(axes: Sequence[Axis], operands: int) -> Iterator[tuple[int, ...]]:
    """Yield the byte offsets of all operands for every iteration of a nest, last axis fastest."""
    if not axes:
        yield (0,) * operands
        return
    first, rest = axes[0], axes[1:]
    for i in range(first.size):
        for inner in offsets(rest, operands):
            yield tuple(i * stride + offset for stride, offset in zip(first.strides, inner, strict=True))


def refine(outer: Sequence[int], other: Sequence[int]) -> tuple[int, ...] | None:
    """Return the coarsest factorisation that refines both (equal products), or None if their boundaries cross."""
    boundaries = sorted({math.prod(sizes[i:]) for sizes in (outer, other) for i in range(len(sizes) + 1)})
    if any(high % low for low, high in pairwise(boundaries)):
        return None
    return tuple(high // low for low, high in reversed(list(pairwise(boundaries))))


def split_axes(axes: Sequence[Axis], factors: Sequence[int]) -> Nest:
    """Split each axis into the next factors whose product is its size; `factors` must refine the axes' sizes."""
    result: list[Axis] = []
    pending = [factor for factor in factors if factor > 1]
    for axis in axes:
        rest = axis.size
        while rest > 1:
            factor = pending.pop(0)
            rest, left = divmod(rest, factor)
            if left:
                raise ValueError(f"factors {factors} do not refine an axis of {axis.size}")
            result.append(Axis(factor, tuple(rest * stride for stride in axis.strides)))
    return tuple(result)


def permutation_nest(
    shape: Sequence[int],
    strides: Sequence[int],
    view: Sequence[int],
    order: Sequence[int],
    out_shape: Sequence[int],
    out_strides: Sequence[int],
) -> Nest | None:
    """Return the nest (source, destination) of a Permute in destination order, or None if its boundaries cross.

    `strides` and `out_strides` are bytes per index of the stored shapes. The nest moves every real element once.
    """
    factors = refine(shape, view)
    if factors is None:
        return None
    source = split_axes(nest(shape, strides), factors)
    groups: list[list[Axis]] = []
    position = 0
    for size in view:
        start, product = position, 1
        while product < size:
            product *= source[position].size
            position += 1
        groups.append(list(source[start:position]))
    moved = [axis for axis in (axis for i in order for axis in groups[i])]
    factors = refine([axis.size for axis in moved], out_shape)
    if factors is None:
        return None
    reads = split_axes(moved, factors)
    writes = split_axes(nest(out_shape, out_strides), factors)
    return tuple(Axis(r.size, r.strides + w.strides) for r, w in zip(reads, writes, strict=True))
