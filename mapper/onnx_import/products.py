"""Lower ONNX matrix products: with constants to 1x1 or whole-map convolutions, of two activations to MatMul layers."""

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.network import Conv2d, MatMul
from gossamer.mapper.onnx_import.graph import Node
from gossamer.mapper.onnx_import.layout import CHANNELS, Axes, Unsupported, Value
from gossamer.mapper.onnx_import.lowering import Lowering
from gossamer.mapper.onnx_import.windows import MAX_WINDOW


def lower_matmul(state: Lowering, node: Node) -> None:
    """MatMul with a constant on either side, or of two activations."""
    left, right = (state.graph.constant(name) for name in _two_inputs(node))
    if right is not None:
        weight = state.weights(node, 1)
        value = state.value(node, 0)
        if weight.ndim > 2 and math.prod(weight.shape[:-2]) == 1:
            weight = weight.reshape(weight.shape[-2:])
        if weight.ndim != 2 or not value.axes:
            raise Unsupported(f"a constant of shape {list(weight.shape)}: only matrices")
        scale = state.weight_scale(node, 1, -1)
        state.values[node.outputs[0]] = dense(state, node, value, len(value.axes) - 1, weight.T, None, scale)
    elif left is not None:
        weight, value = state.weights(node, 0), state.value(node, 1)
        if weight.ndim != 2 or len(value.axes) < 2:
            raise Unsupported(f"a constant of shape {list(weight.shape)} on the left: only matrices")
        state.values[node.outputs[0]] = dense(
            state, node, value, len(value.axes) - 2, weight, None, state.weight_scale(node, 0, 0)
        )
    else:
        first, second = state.value(node, 0), state.value(node, 1)
        state.values[node.outputs[0]] = product(state, node, first, second, 1.0)


def lower_gemm(state: Lowering, node: Node) -> None:
    """Gemm: alpha A' B' + beta C; a constant C of one value per column becomes the bias."""
    _two_inputs(node)
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    if state.graph.constant(node.inputs[1]) is None:
        first, second = state.value(node, 0), state.value(node, 1)
        if len(node.inputs) > 2 and node.inputs[2]:
            raise Unsupported("C together with an activation B")
        first = state.build.transpose(first, (1, 0)) if node.integer("transA", 0) else first
        second = state.build.transpose(second, (1, 0)) if node.integer("transB", 0) else second
        state.values[node.outputs[0]] = product(state, node, first, second, alpha)
        return
    value = state.value(node, 0)
    if len(value.axes) != 2:
        raise node.error(f"its first input must have 2 axes, not shape {list(state.build.shape(value))}")
    weight = state.weights(node, 1, 2)
    weight = weight if node.integer("transB", 0) else weight.T
    weight = weight if alpha == 1.0 else weight * np.float32(alpha)
    scale = state.weight_scale(node, 1, 0 if node.integer("transB", 0) else 1)
    scale = scale * alpha if scale is not None and alpha > 0 else None
    value = state.build.transpose(value, (1, 0)) if node.integer("transA", 0) else value
    bias = None
    if len(node.inputs) > 2 and node.inputs[2]:
        given = state.weights(node, 2)
        if given.size not in (1, weight.shape[0]) or given.shape[-1:] not in ((), (1,), (weight.shape[0],)):
            raise Unsupported(f"C of shape {list(given.shape)}: only one value per output column")
        bias = np.ascontiguousarray(np.broadcast_to(given.reshape(-1), (weight.shape[0],)))
        bias = bias if beta == 1.0 else bias * np.float32(beta)
    state.values[node.outputs[0]] = dense(state, node, value, 1, weight, bias, scale)


def _two_inputs(node: Node) -> tuple[str, str]:
    if len(node.inputs) < 2 or not all(node.inputs[:2]):
        raise node.error("expected two inputs")
    return node.inputs[0], node.inputs[1]


def dense(
    state: Lowering, node: Node, value: Value, axis: int, weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None, scale: NDArray[np.float64] | None = None,
) -> Value:  # fmt: skip
    """Contract a logical axis with weight (outputs, length of the axis); the result has `outputs` in its place.

    scale is that of each output if the file holds int8 weights.

    The weight's columns are permuted to the stored order, so a flattened map is read as it lies: a convolution whose
    kernel is the map.
    """
    build = state.build
    factors = value.axes[axis]
    if weight.shape[1] != build.extent(factors) or weight.shape[0] < 1:
        raise node.error(
            f"weights for {weight.shape[1]} inputs meet {build.extent(factors)}, input shape {list(build.shape(value))}"
        )
    value = _contractible(state, node, value, axis)
    factors = value.axes[axis]
    inner = tuple(tuple(index for index in stored if index in factors) for stored in value.stored)
    stored_order = [factors.index(index) for part in inner for index in part]
    sizes = [build.sizes[index] for index in factors]
    kernel = (build.extent(inner[1]), build.extent(inner[2]))
    outputs = weight.shape[0]
    spread = weight.reshape(outputs, *sizes).transpose(0, *(1 + place for place in stored_order))
    layer = Conv2d(
        name=node.name,
        inputs=(value.tensor,),
        output=node.outputs[0],
        op="gemm",
        weight=spread.reshape(outputs, *kernel, build.extent(inner[CHANNELS])),
        weight_scale=scale,
        bias=bias,
    )
    fresh = build.factor(outputs)
    axes = tuple(fresh if index == axis else one for index, one in enumerate(value.axes))
    batch, rows, columns = (
        tuple(index for index in stored if index not in factors) for stored in value.stored[:CHANNELS]
    )
    return state.add(layer, axes, (batch, rows, columns, fresh))


def _contractible(state: Lowering, node: Node, value: Value, axis: int) -> Value:
    """Return the value stored so that the contracted axis is whole stored axes, channels among them."""
    factors = set(value.axes[axis])
    batch, rows, columns, channels = (set(stored) for stored in value.stored)
    fits = channels <= factors and not batch & factors
    fits = fits and all(part <= factors or not part & factors for part in (rows, columns))
    # A kernel over rows alone, next to columns that stay, is a window too; both need length 1 afterwards.
    kernel = max((state.build.extent(part & factors) for part in (rows, columns)), default=1)
    if fits and kernel <= MAX_WINDOW and (channels or not factors):
        return value
    return state.build.channels_last(value, (axis,), node.name)


def product(state: Lowering, node: Node, first: Value, second: Value, factor: float) -> Value:
    """Append a MatMul of two activations (..., M, K) x (..., K, N) with equal leading axes."""
    build = state.build
    a, b = build.shape(first), build.shape(second)
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise node.error(f"shapes {list(a)} and {list(b)} cannot be multiplied")
    if a[:-2] != b[:-2]:
        raise Unsupported(f"leading axes {list(a[:-2])} and {list(b[:-2])} differ: broadcast products are not")
    rank = len(a)
    lead: Axes = (tuple(range(max(0, rank - 3))), tuple(range(max(0, rank - 3), rank - 2)))
    left = build.move(first, build.groups(first.axes, (*lead, (rank - 2,), (rank - 1,))), node.name)
    as_is = build.groups(second.axes, (*lead, (rank - 2,), (rank - 1,)))
    swapped = build.groups(second.axes, (*lead, (rank - 1,), (rank - 2,)))
    transpose_b = _better_swapped(second.stored, as_is, swapped)
    right = build.move(second, swapped if transpose_b else as_is, node.name)
    layer = MatMul(
        name=node.name,
        inputs=(left.tensor, right.tensor),
        output=node.outputs[0],
        op="matmul",
        transpose_b=transpose_b,
        factor=factor,
    )
    columns = build.factor(b[-1])
    return state.add(layer, (*left.axes[:-1], columns), (*left.stored[:CHANNELS], columns))


def _better_swapped(stored: Axes, as_is: Axes, swapped: Axes) -> bool:
    """Return whether reading b transposed moves fewer bytes: none at all, or the channels stay where they are."""

    def order(axes: Axes) -> list[int]:
        return [index for axis in axes for index in axis]

    for wanted, answer in ((as_is, False), (swapped, True)):
        if order(stored) == order(wanted) and stored[CHANNELS] == wanted[CHANNELS]:
            return answer
    return stored[CHANNELS] != as_is[CHANNELS] and stored[CHANNELS][-1:] == swapped[CHANNELS][-1:]
