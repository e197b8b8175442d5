"""Lower ONNX operators that only regroup, select or join: reshape, transpose, slice, split, concat, resize."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.network import Concat, Resize, Slice
from gossamer.mapper.onnx_import.constants import (
    axes_of,
    flattened,
    integers_of,
    normal_axis,
    permutation,
    reshaped,
    slice_ranges,
    split_sizes,
    squeezed,
    unsqueezed,
)
from gossamer.mapper.onnx_import.graph import Node
from gossamer.mapper.onnx_import.layout import CHANNELS, Axes, Unsupported, Value, canonical_groups
from gossamer.mapper.onnx_import.lowering import Lowering


def lower_identity(state: Lowering, node: Node) -> None:
    """Identity, Dropout and Cast between floats: another name for the same tensor."""
    if node.op == "Cast" and node.integer("to", 1) not in (1, 10, 11) and node.inputs[0] not in state.codes:
        raise Unsupported("an activation can only be cast to a float type")
    state.values[node.outputs[0]] = state.value(node, 0)


def lower_shape(state: Lowering, node: Node) -> None:
    """Shape and Size of an activation are constants once inputs are bound."""
    shape = state.build.shape(state.value(node, 0))
    if node.op == "Size":
        result = np.array(math.prod(shape), np.int64)
    else:
        end = node.integer("end", len(shape)) if "end" in node.attributes else len(shape)
        result = np.array(shape[node.integer("start", 0) : end], np.int64)
    state.graph.constants[node.outputs[0]] = result


def lower_reshape(state: Lowering, node: Node) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze: regroup factors."""
    value = state.value(node, 0)
    shape = state.build.shape(value)
    target: tuple[int, ...]
    match node.op:
        case "Reshape":
            target = reshaped(node, integers_of(node, state.graph, 1), shape, bool(node.integer("allowzero", 0)))
        case "Flatten":
            target = flattened(node, shape)
        case "Squeeze":
            target = squeezed(node, axes_of(node, state.graph, 1), shape)
        case _:
            target = unsqueezed(node, axes_of(node, state.graph, 1), shape)
    state.values[node.outputs[0]] = state.build.reshape(value, target, node.name)


def lower_expand(state: Lowering, node: Node) -> None:
    """Expand to the shape the tensor already has, with new axes of length 1 in front."""
    value = state.value(node, 0)
    shape = state.build.shape(value)
    target = tuple(map(int, np.broadcast_shapes(shape, integers_of(node, state.graph, 1))))
    if math.prod(target) != math.prod(shape):
        raise Unsupported(f"it repeats elements: {list(shape)} to {list(target)}")
    state.values[node.outputs[0]] = state.build.reshape(value, target, node.name)


def lower_transpose(state: Lowering, node: Node) -> None:
    """Reorder logical axes; no bytes move until somebody needs them elsewhere."""
    value = state.value(node, 0)
    state.values[node.outputs[0]] = state.build.transpose(value, permutation(node, len(value.axes)))


def lower_slice(state: Lowering, node: Node) -> None:
    """Slice with positive steps, one stored Slice per axis that shrinks."""
    value = state.value(node, 0)
    shape = state.build.shape(value)
    for axis, window in slice_ranges(node, state.graph, shape):
        start, stop, step = window.indices(state.build.extent(value.axes[axis]))
        if step < 0:
            raise Unsupported(f"step {step} on axis {axis}: only positive steps")
        if start >= stop:
            raise node.error(f"axis {axis} of length {shape[axis]} is sliced to nothing ({start} to {stop})")
        value = select(state, node, value, axis, start, stop, step, node.outputs[0])
    state.values[node.outputs[0]] = value


def lower_split(state: Lowering, node: Node) -> None:
    """Split into one Slice per part."""
    value = state.value(node, 0)
    axis = normal_axis(node, node.integer("axis", 0), len(value.axes))
    start = 0
    for output, part in zip(
        node.outputs, split_sizes(node, state.graph, state.build.extent(value.axes[axis])), strict=False
    ):
        if output:
            state.values[output] = select(state, node, value, axis, start, start + part, 1, output)
        start += part


def lower_gather(state: Lowering, node: Node) -> None:
    """Gather of one index: a Slice whose axis then disappears."""
    value = state.value(node, 0)
    index = state.graph.constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if index is None or index.size != 1:
        raise Unsupported("only a single constant index")
    axis = normal_axis(node, node.integer("axis", 0), len(value.axes))
    size = state.build.extent(value.axes[axis])
    place = int(index.reshape(()))
    if not -size <= place < size:
        raise node.error(f"index {place} is outside axis {axis} of length {size}")
    place %= size
    value = select(state, node, value, axis, place, place + 1, 1, node.outputs[0])
    shape = state.build.shape(value)
    target = shape[:axis] + (1,) * index.ndim + shape[axis + 1 :]
    state.values[node.outputs[0]] = state.build.reshape(value, target, node.name)


def select(
    state: Lowering, node: Node, value: Value, axis: int, start: int, stop: int, step: int, output: str
) -> Value:
    """Return start, start + step, ... < stop along a logical axis."""
    build = state.build
    if len(range(start, stop, step)) == build.extent(value.axes[axis]):
        return value
    if len(value.axes[axis]) > 1:
        value = _one_factor(state, node, value, axis)
    factor = value.axes[axis][0]
    value, place = _at_front(state, node, value, factor, step)
    inner = build.extent(value.stored[place][1:])
    fresh = build.factor(len(range(start, stop, step)))

    def shrink(axes: Axes) -> Axes:
        return tuple(tuple(p for f in one for p in (fresh if f == factor else (f,))) for one in axes)

    layer = Slice(
        name=node.name,
        inputs=(value.tensor,),
        output=output,
        op="slice",
        axis=place,
        start=start * inner,
        stop=stop * inner,
        step=step,
    )
    return state.add(layer, shrink(value.axes), shrink(value.stored))


def _one_factor(state: Lowering, node: Node, value: Value, axis: int) -> Value:
    """Return the value with a logical axis stored as one run, so that it is one factor."""
    build = state.build
    factors = value.axes[axis]
    together = any(
        stored[place : place + len(factors)] == factors for stored in value.stored for place in range(len(stored))
    )
    if not together:
        value = build.move(value, build.groups(value.axes, canonical_groups(len(value.axes))), node.name)
    merged = build.factor(build.extent(factors))

    def merge(axes: Axes) -> Axes:
        return tuple(
            tuple(p for f in one if f not in factors[1:] for p in (merged if f == factors[0] else (f,))) for one in axes
        )

    return replace(value, axes=merge(value.axes), stored=merge(value.stored))


def _at_front(state: Lowering, node: Node, value: Value, factor: int, step: int) -> tuple[Value, int]:
    """Return the value with a factor outermost in its stored axis (alone if step > 1), and that axis."""
    place = next(index for index, stored in enumerate(value.stored) if factor in stored)
    stored = value.stored[place]
    if stored[0] == factor and (step == 1 or len(stored) == 1):
        return value, place
    if place == CHANNELS:  # moves bytes: the sliced factor becomes the last axis before the channels
        batch, rows, columns, channels = value.stored
        leading = (*batch, *rows, *columns)
        target: Axes = (leading, (), (factor,), tuple(index for index in channels if index != factor))
        return state.build.move(value, target, node.name), 2
    leading = tuple(index for axis in value.stored[:CHANNELS] for index in axis)
    cut = leading.index(factor)
    target = (leading[:cut], (factor,), leading[cut + 1 :], value.stored[CHANNELS])
    return state.build.move(value, target, node.name), 1


def lower_concat(state: Lowering, node: Node) -> None:
    """Join along one logical axis; every input is brought to the first one's stored order."""
    build = state.build
    values = [state.value(node, index) for index in range(len(node.inputs))]
    rank = len(values[0].axes)
    axis = normal_axis(node, node.integer("axis", 1), rank)
    shapes = [build.shape(value) for value in values]
    if any(len(shape) != rank for shape in shapes) or len({s[:axis] + s[axis + 1 :] for s in shapes}) != 1:
        raise node.error(f"shapes {shapes} cannot be joined along axis {axis}")
    groups = build.whole_axes(values[0])
    if groups is None or not _outermost(groups, axis, shapes[0]):
        groups = canonical_groups(rank)
    if not _outermost(groups, axis, shapes[0]):
        groups = _leading(rank, axis)
    place = next(index for index, group in enumerate(groups) if axis in group)
    groups = tuple((axis, *(a for a in g if a != axis)) if index == place else g for index, g in enumerate(groups))
    moved = [build.move(value, build.groups(value.axes, groups), node.name) for value in values]
    size = sum(shape[axis] for shape in shapes)
    shape = (*shapes[0][:axis], size, *shapes[0][axis + 1 :])
    axes = tuple(build.factor(length) for length in shape)
    layer = Concat(
        name=node.name,
        inputs=tuple(value.tensor for value in moved),
        output=node.outputs[0],
        op="concat",
        axis=place,
    )
    state.values[node.outputs[0]] = state.add(layer, axes, build.groups(axes, groups))


def _outermost(groups: Axes, axis: int, shape: tuple[int, ...]) -> bool:
    """Return whether only axes of length 1 come before an axis in its stored axis."""
    group = next(group for group in groups if axis in group)
    return all(shape[other] == 1 for other in group[: group.index(axis)])


def _leading(rank: int, axis: int) -> Axes:
    """Return a grouping in logical order whose rows are the joined axis: for more than four axes."""
    return tuple(range(axis)), (axis,), tuple(range(axis + 1, rank - 1)), (rank - 1,)


def lower_resize(state: Lowering, node: Node) -> None:
    """Resize and Upsample: nearest neighbour by whole factors over rows and columns."""
    build = state.build
    value = state.value(node, 0)
    shape = build.shape(value)
    if len(shape) != 4:
        raise Unsupported(f"only feature maps of 4 axes, not shape {list(shape)}")
    if node.text("mode", "nearest") != "nearest":
        raise Unsupported(f"mode {node.text('mode', '')}: only nearest")
    factors = _resize_factors(state, node, shape)
    if factors == (1, 1, 1, 1):
        state.values[node.outputs[0]] = value
        return
    if factors[:2] != (1, 1):
        raise Unsupported(f"factors {factors}: only rows and columns can grow")
    for size, factor in zip(shape[2:], factors[2:], strict=True):
        if not np.array_equal(_nearest(state, node, size, factor), np.arange(size * factor) // factor):
            raise Unsupported("its coordinate mode does not repeat each element equally often")
    value = build.move(value, build.groups(value.axes, canonical_groups(4)), node.name)
    rows, columns = (build.factor(size * factor) for size, factor in zip(shape[2:], factors[2:], strict=True))
    axes = (value.axes[0], value.axes[1], rows, columns)
    layer = Resize(
        name=node.name, inputs=(value.tensor,), output=node.outputs[0], op="resize", factors=(factors[2], factors[3])
    )
    state.values[node.outputs[0]] = state.add(layer, axes, build.groups(axes, canonical_groups(4)))


def _resize_factors(state: Lowering, node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    scales: tuple[float, ...] = ()
    if "scales" in node.attributes:
        given = node.attributes["scales"]
        scales = tuple(float(s) for s in given) if isinstance(given, tuple) else ()
    else:
        index = 1 if node.op == "Upsample" or state.graph.opset < 11 else 2
        name = node.inputs[index] if len(node.inputs) > index else ""
        array = state.graph.constant(name) if name else np.zeros(0)
        if array is None:
            raise Unsupported("its scales are not constant")
        scales = tuple(float(s) for s in array.reshape(-1))
    if not scales:
        sizes = integers_of(node, state.graph, 3)
        scales = tuple(size / old for size, old in zip(sizes, shape, strict=True))
    if len(scales) != len(shape) or any(scale < 1 or scale != int(scale) or scale > 64 for scale in scales):
        raise Unsupported(f"scales {list(scales)}: only whole factors from 1 to 64, one per axis")
    return tuple(int(scale) for scale in scales)


def _nearest(state: Lowering, node: Node, size: int, factor: int) -> NDArray[np.float64]:
    """Return the source index of every output position (ONNX Resize, nearest)."""
    x = np.arange(size * factor, dtype=np.float64)
    mode, rounding = "asymmetric", "floor"
    if node.op == "Resize" and state.graph.opset >= 11:
        mode = node.text("coordinate_transformation_mode", "half_pixel")
        rounding = node.text("nearest_mode", "round_prefer_floor")
    match mode:
        case "asymmetric":
            x = x / factor
        case "half_pixel" | "half_pixel_symmetric" | "pytorch_half_pixel":
            x = (x + 0.5) / factor - 0.5
        case "align_corners":
            x = x * (size - 1) / max(1, size * factor - 1)
        case _:
            raise Unsupported(f"coordinate mode {mode}")
    rounded = {
        "floor": np.floor(x),
        "ceil": np.ceil(x),
        "round_prefer_floor": np.ceil(x - 0.5),
        "round_prefer_ceil": np.floor(x + 0.5),
    }.get(rounding)
    if rounded is None:
        raise Unsupported(f"nearest_mode {rounding}")
    return np.clip(rounded, 0, size - 1)
