"""Lower ONNX elementwise operators, per-channel constants, batch and layer normalisation, softmax."""

import math
from itertools import chain, groupby

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.functions import apply_steps, simplify
from gossamer.dataflow.network import Binary, BinaryKind, Function, LayerNorm, Softmax, Step
from gossamer.mapper.onnx_import.constants import normal_axis
from gossamer.mapper.onnx_import.graph import Node
from gossamer.mapper.onnx_import.layout import CHANNELS, Axes, Unsupported, Value, canonical_groups
from gossamer.mapper.onnx_import.lowering import Lowering

_KINDS = {
    "Add": BinaryKind.ADD,
    "Sum": BinaryKind.ADD,
    "Sub": BinaryKind.SUBTRACT,
    "Mul": BinaryKind.MULTIPLY,
}
_NEGATE = (Step(Function.AFFINE, (-1.0, 0.0)),)


def lower_unary(state: Lowering, node: Node) -> None:
    """A node that fusion recognised as a chain of unary functions of `source`."""
    if node.source is None:
        raise Unsupported("its parameters are not scalar constants")
    constant = state.graph.constant(node.source)
    if constant is not None:
        if constant.dtype != np.float32:
            raise Unsupported("it is a function of integers that are constant")
        state.graph.constants[node.outputs[0]] = apply_steps(node.steps, constant)
        return
    source = state.values[node.source]
    ranks = [array.ndim for array in map(state.graph.constant, node.inputs) if array is not None]
    for step in node.steps:
        limits = step.function is Function.CLIP
        if any(math.isnan(v) or (math.isinf(v) and not limits) for v in step.arguments):
            raise node.error(f"parameters {step.arguments} of {step.function} must be finite")
    missing = max(ranks, default=0) - len(source.axes)
    if missing > 0:
        shape = (1,) * missing + state.build.shape(source)
        source = state.build.reshape(source, shape, node.name)
    steps = simplify(node.steps)
    state.values[node.outputs[0]] = state.unary(node, source, steps, node.outputs[0]) if steps else source


def lower_elementwise(state: Lowering, node: Node) -> None:
    """Add, Sub, Mul, Div, Sum, Max, Min: with a per-channel constant, or of activations."""
    if len(node.inputs) == 1:
        state.values[node.outputs[0]] = state.value(node, 0)
        return
    constants = [state.graph.constant(name) is not None for name in node.inputs]
    if len(node.inputs) == 2 and any(constants):
        index = constants.index(True)
        value, array = state.value(node, 1 - index), state.weights(node, index)
        state.values[node.outputs[0]] = _with_constant(state, node, value, array, constant_first=index == 0)
        return
    kind = _KINDS.get(node.op)
    if kind is None or any(constants):
        raise Unsupported("of activations only Add, Sub, Mul and Sum; Sum without constants")
    result = state.value(node, 0)
    for index in range(1, len(node.inputs)):
        last = index == len(node.inputs) - 1
        output = node.outputs[0] if last else f"{node.outputs[0]}.{index}"
        result = _binary(state, node, kind, result, state.value(node, index), output)
    state.values[node.outputs[0]] = result


def _with_constant(
    state: Lowering, node: Node, value: Value, array: NDArray[np.float32], constant_first: bool
) -> Value:
    build = state.build
    shape = build.shape(value)
    if array.size == 1:  # not folded as unary when shapes became known late
        raise Unsupported(f"its constant of shape {list(array.shape)} came too late to be folded")
    full = (1,) * (len(shape) - array.ndim) + array.shape
    if len(full) > len(shape) or any(c not in (1, s) for c, s in zip(full, shape, strict=True)):
        raise Unsupported(f"its constant of shape {list(array.shape)} enlarges the activation {list(shape)}")
    value = channels_hold(state, node, value, tuple(axis for axis, size in enumerate(full) if size > 1))
    vector = per_channel(state, value, array.reshape(full))
    ones, zeros = np.ones_like(vector), np.zeros_like(vector)
    with np.errstate(all="ignore"):
        match node.op, constant_first:
            case ("Add" | "Sum", _):
                factors, offsets = ones, vector
            case "Sub", False:
                factors, offsets = ones, -vector
            case "Sub", True:
                factors, offsets = -ones, vector
            case "Mul", _:
                factors, offsets = vector, zeros
            case "Div", False:
                factors, offsets = np.reciprocal(vector), zeros
            case "Div", True:
                factors, offsets = vector, zeros
                steps = (Step(Function.RECIPROCAL),)
                value = state.unary(node, value, steps, f"{node.outputs[0]}.reciprocal")
            case _:
                raise Unsupported(f"its constant of shape {list(array.shape)}: only scalars")
    if not np.isfinite(factors).all():
        raise node.error("it divides by zero")
    return state.scale(node, value, node.op.lower(), factors, offsets)


def channels_hold(state: Lowering, node: Node, value: Value, axes: tuple[int, ...]) -> Value:
    """Return the value with all factors of these logical axes among its stored channels."""
    wanted = {index for axis in axes for index in value.axes[axis]}
    if wanted <= set(value.stored[CHANNELS]):
        return value
    return state.build.channels_last(value, axes, node.name)


def per_channel(state: Lowering, value: Value, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an array that varies only along stored channels as float32 (channels), in stored order."""
    build = state.build
    channels = value.stored[CHANNELS]
    sizes: list[int] = []
    order: dict[int, int] = {}
    for axis, factors in enumerate(value.axes):
        for index in factors:
            order[index] = len(sizes)
            sizes.append(build.sizes[index] if array.shape[axis] > 1 else 1)
    spread = array.reshape(sizes) if sizes else array.reshape(())
    moved = spread.transpose([*(p for i, p in order.items() if i not in channels), *(order[i] for i in channels)])
    moved = moved.reshape([moved.shape[len(order) - len(channels) + place] for place in range(len(channels))])
    return np.ascontiguousarray(np.broadcast_to(moved, [build.sizes[index] for index in channels])).reshape(-1)


def _binary(state: Lowering, node: Node, kind: BinaryKind, first: Value, second: Value, output: str) -> Value:
    """Append first kind second with numpy's broadcasting; the larger one keeps its stored order."""
    build = state.build
    first, second = _same_rank(state, first, second)
    a, b = build.shape(first), build.shape(second)
    if any(x != y and 1 not in (x, y) for x, y in zip(a, b, strict=True)):
        raise node.error(f"shapes {list(a)} and {list(b)} do not fit together")
    full = tuple(map(max, a, b))
    swap = a != full
    if swap:
        first, second, a, b = second, first, b, a
    if a != full:
        raise Unsupported(f"both shapes {list(a)} and {list(b)} are broadcast")
    first, second = build.align(first, second, node.name)
    first, target = _broadcast_target(state, node, first, second)
    second = build.move(second, target, node.name)
    negate = swap and kind is BinaryKind.SUBTRACT
    layer = Binary(
        name=node.name,
        inputs=(first.tensor, second.tensor),
        output=f"{output}.negative" if negate else output,
        op={BinaryKind.ADD: "add", BinaryKind.SUBTRACT: "sub", BinaryKind.MULTIPLY: "mul"}[kind],
        kind=kind,
    )
    result = state.add(layer, first.axes, first.stored)
    return state.unary(node, result, _NEGATE, output) if negate else result


def _same_rank(state: Lowering, first: Value, second: Value) -> tuple[Value, Value]:
    rank = max(len(first.axes), len(second.axes))

    def raised(value: Value) -> Value:
        return Value(value.tensor, ((),) * (rank - len(value.axes)) + value.axes, value.stored)

    return raised(first), raised(second)


def _broadcast_target(state: Lowering, node: Node, first: Value, second: Value) -> tuple[Value, Axes]:
    """Return the first value and how the second must be stored so that whole stored axes are equal or length 1."""
    partner: dict[int, int | None] = {
        a: b
        for mine, other in zip(first.axes, second.axes, strict=True)
        for a, b in zip(mine, other if other else (None,) * len(mine), strict=True)
    }
    usual = state.build.groups(first.axes, canonical_groups(len(first.axes)))
    for stored in (first.stored, usual):
        target = _even(stored, partner)
        if target is not None:
            first = state.build.move(first, target, node.name)
            return first, tuple(
                tuple(other for index in part if (other := partner[index]) is not None) for part in target
            )
    raise Unsupported("it broadcasts part of a stored axis")


def _even(stored: Axes, partner: dict[int, int | None]) -> Axes | None:
    """Return the same order cut so that each stored axis is broadcast wholly or not at all, or None."""
    if all(len({partner[index] is None for index in part}) < 2 for part in stored):
        return stored
    runs = [tuple(run) for _, run in groupby(chain(*stored[:CHANNELS]), lambda index: partner[index] is None)]
    if len(runs) > CHANNELS or len({partner[index] is None for index in stored[CHANNELS]}) > 1:
        return None
    return (*((),) * (CHANNELS - len(runs)), *runs, stored[CHANNELS])


def lower_batch_norm(state: Lowering, node: Node) -> None:
    """BatchNormalization for inference: a per-channel a x + b, folded into its producer later."""
    value = state.value(node, 0)
    if len(value.axes) < 2:
        raise node.error(f"its input must have channels, not shape {list(state.build.shape(value))}")
    if node.integer("training_mode", 0):
        raise Unsupported("training_mode 1")
    value = state.build.channels_last(value, (1,), node.name)
    channels = state.build.extent(value.axes[1])
    gamma, beta, mean, variance = (state.vector(node, index, channels) for index in (1, 2, 3, 4))
    spread = variance + np.float32(node.real("epsilon", 1e-5))
    if not (spread > 0).all():
        raise node.error("its variance plus epsilon must be positive in every channel")
    factors = gamma / np.sqrt(spread)
    with np.errstate(over="ignore", invalid="ignore"):
        offsets = beta - mean * factors
    if not (np.isfinite(factors).all() and np.isfinite(offsets).all()):
        raise node.error("its scale and shift are not finite")
    state.values[node.outputs[0]] = state.scale(node, value, "batch_norm", factors, offsets)


def lower_layer_norm(state: Lowering, node: Node) -> None:
    """LayerNormalization over the last axes, or over the axes fusion found."""
    value = state.value(node, 0)
    rank = len(value.axes)
    axes = node.integers("axes")
    if axes is None:
        axes = tuple(range(normal_axis(node, node.integer("axis", -1), rank), rank))
    axes = tuple(sorted({normal_axis(node, axis, rank) for axis in axes}))
    value = state.build.channels_last(value, axes, node.name)
    sizes = [size for axis, size in enumerate(state.build.shape(value)) if axis in axes]
    channels = math.prod(sizes)
    parameters = [np.ones(channels, np.float32), np.zeros(channels, np.float32)]
    for index in (1, 2):
        if index < len(node.inputs) and node.inputs[index]:
            array = state.weights(node, index)
            if array.size != channels or [size for size in array.shape if size > 1] != [s for s in sizes if s > 1]:
                raise node.error(f"input {index} must have shape {sizes}, not {list(array.shape)}")
            parameters[index - 1] = array.reshape(-1)
    layer = LayerNorm(
        name=node.name,
        inputs=(value.tensor,),
        output=node.outputs[0],
        op="layer_norm",
        gamma=parameters[0],
        beta=parameters[1],
        epsilon=node.real("epsilon", 1e-5),
    )
    state.values[node.outputs[0]] = state.add(layer, value.axes, value.stored)


def lower_softmax(state: Lowering, node: Node) -> None:
    """Softmax over one axis; before operator set 13 over all axes from `axis` on."""
    value = state.value(node, 0)
    rank = len(value.axes)
    axis = normal_axis(node, node.integer("axis", -1 if state.graph.opset >= 13 else 1), rank)
    axes = (axis,) if state.graph.opset >= 13 else tuple(range(axis, rank))
    value = state.build.channels_last(value, axes, node.name)
    layer = Softmax(name=node.name, inputs=(value.tensor,), output=node.outputs[0], op="softmax")
    state.values[node.outputs[0]] = state.add(layer, value.axes, value.stored)
