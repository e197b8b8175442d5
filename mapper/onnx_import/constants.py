"""Evaluate nodes whose inputs are all constant: shape arithmetic, weights that are reshaped or built in the graph."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.mapper.onnx_import.file import MAX_ELEMENTS, MAX_RANK
from gossamer.mapper.onnx_import.graph import Graph, Node
from gossamer.mapper.onnx_import.quantized_constants import (
    dequantize_constant,
    quant_constant,
    quantize_constant,
    scale_name,
)

Array = NDArray[Any]
PLACEHOLDER_ELEMENTS = 64
"""A ConstantOfShape with more elements than this stands for weights that the file does not carry."""

_CAST_KINDS = {1: np.float32, 10: np.float32, 11: np.float32, 9: np.bool_} | dict.fromkeys(
    (2, 3, 4, 5, 6, 7, 12, 13), np.int64
)
_ELEMENTWISE: dict[str, Callable[..., Array]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Pow": np.power, "Mod": np.mod, "Neg": np.negative,
    "Abs": np.abs, "Floor": np.floor, "Ceil": np.ceil, "Sqrt": np.sqrt, "Exp": np.exp, "Not": np.logical_not,
    "Equal": np.equal, "Greater": np.greater, "Less": np.less, "And": np.logical_and, "Or": np.logical_or,
    "Where": np.where, "Reciprocal": np.reciprocal,
}  # fmt: skip


def axes_of(node: Node, graph: Graph, index: int) -> tuple[int, ...] | None:
    """Return `axes`: an attribute in old operator sets, input `index` in new ones; None when absent.

    Raises ModelError when the input is not constant.
    """
    if len(node.inputs) <= index or not node.inputs[index]:
        return node.integers("axes")
    return integers_of(node, graph, index)


def integers_of(node: Node, graph: Graph, index: int) -> tuple[int, ...]:
    """Return a constant integer input as a tuple. Raises ModelError when it is missing, not constant or not integer."""
    value = graph.constant(node.inputs[index]) if index < len(node.inputs) and node.inputs[index] else None
    if value is None:
        raise node.error(f"input {index} must be a constant")
    if value.dtype.kind != "i" or value.ndim > 1 or value.size > 64:
        raise node.error(f"input {index} must be a short list of integers, not {value.dtype} of shape {value.shape}")
    return tuple(int(entry) for entry in value.reshape(-1))


def normal_axis(node: Node, axis: int, rank: int) -> int:
    """Return an axis counted from the front. Raises ModelError when the tensor does not have it."""
    if not -rank <= axis < rank:
        raise node.error(f"axis {axis} does not exist: the tensor has {rank} axes")
    return axis % rank


def reshaped(node: Node, wanted: tuple[int, ...], shape: tuple[int, ...], allow_zero: bool = False) -> tuple[int, ...]:
    """Return Reshape's output shape: 0 copies an axis, one -1 takes the rest. Raises ModelError if it does not fit."""
    result = list(wanted)
    for index, size in enumerate(wanted):
        if size == 0 and not allow_zero:
            if index >= len(shape):
                raise node.error(
                    f"target shape {list(wanted)} copies axis {index}, but the input has {len(shape)} axes"
                )
            result[index] = shape[index]
    elements, free = math.prod(shape), [index for index, size in enumerate(result) if size == -1]
    rest = math.prod(size for size in result if size != -1)
    if len(free) == 1 and rest > 0 and elements % rest == 0:
        result[free[0]] = elements // rest
    if len(result) > MAX_RANK or math.prod(result) != elements or any(size < 1 for size in result):
        raise node.error(f"cannot reshape {list(shape)} to {list(wanted)}: {elements} elements do not fit")
    return tuple(result)


def flattened(node: Node, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return Flatten's output shape."""
    axis = node.integer("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise node.error(f"axis {axis} does not exist: the tensor has {len(shape)} axes")
    axis = axis + len(shape) if axis < 0 else axis
    return math.prod(shape[:axis]), math.prod(shape[axis:])


def squeezed(node: Node, axes: tuple[int, ...] | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return Squeeze's output shape."""
    if axes is None:
        return tuple(size for size in shape if size != 1)
    drop = {normal_axis(node, axis, len(shape)) for axis in axes}
    if any(shape[axis] != 1 for axis in drop):
        raise node.error(f"cannot squeeze axes {sorted(drop)} of shape {list(shape)}: only axes of length 1")
    return tuple(size for axis, size in enumerate(shape) if axis not in drop)


def unsqueezed(node: Node, axes: tuple[int, ...] | None, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return Unsqueeze's output shape."""
    if axes is None or len(shape) + len(axes) > MAX_RANK:
        raise node.error(f"expected axes for a result of at most {MAX_RANK} axes, not {axes}")
    rank = len(shape) + len(axes)
    places = {normal_axis(node, axis, rank) for axis in axes}
    if len(places) != len(axes):
        raise node.error(f"axes {list(axes)} name one axis twice")
    sizes = iter(shape)
    return tuple(1 if axis in places else next(sizes) for axis in range(rank))


def slice_ranges(node: Node, graph: Graph, shape: tuple[int, ...]) -> list[tuple[int, slice]]:
    """Return (axis, slice) pairs of a Slice, attributes or inputs. Raises ModelError when a bound is not constant."""
    if graph.opset < 10:
        starts, ends = node.integers("starts"), node.integers("ends")
        axes, steps = node.integers("axes"), None
        if starts is None or ends is None:
            raise node.error("attributes starts and ends are missing")
    else:
        starts, ends = integers_of(node, graph, 1), integers_of(node, graph, 2)
        axes = axes_of(node, graph, 3)
        steps = integers_of(node, graph, 4) if len(node.inputs) > 4 and node.inputs[4] else None
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise node.error(f"starts {starts}, ends {ends}, axes {axes}, steps {steps} must be equally long, no step 0")
    return [
        (normal_axis(node, axis, len(shape)), slice(start, None if end < -(2**31) and step < 0 else end, step))
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True)
    ]


def permutation(node: Node, rank: int) -> tuple[int, ...]:
    """Return Transpose's axis order. Raises ModelError when it is none."""
    order = node.integers("perm")
    order = tuple(reversed(range(rank))) if order is None else order
    if sorted(order) != list(range(rank)):
        raise node.error(f"perm {list(order)} is not an order of {rank} axes")
    return order


def split_sizes(node: Node, graph: Graph, size: int) -> tuple[int, ...]:
    """Return the part sizes of a Split. Raises ModelError when they do not add up."""
    if len(node.inputs) > 1 and node.inputs[1]:
        parts: tuple[int, ...] = integers_of(node, graph, 1)
    else:
        count = node.integer("num_outputs", len(node.outputs))
        each = -(-size // max(1, count))
        given = node.integers("split")
        parts = given if given is not None else (*[each] * (count - 1), size - each * (count - 1))
    if sum(parts) != size or len(parts) < len(node.outputs) or any(part < 1 for part in parts):
        raise node.error(f"parts {list(parts)} do not split an axis of {size} into {len(node.outputs)} outputs")
    return parts


def evaluate(node: Node, graph: Graph) -> list[Array] | None:
    """Return the outputs of a node whose inputs are all constant, or None when the operator is not evaluated here.

    Raises ModelError when the node is wrong (shapes that do not fit, axes that do not exist).
    """
    arrays = [graph.constant(name) if name else None for name in node.inputs]
    try:
        with np.errstate(all="ignore"):
            result = _evaluate(node, graph, [array for array in arrays if array is not None])
    except (ValueError, IndexError, TypeError, OverflowError, MemoryError, ZeroDivisionError) as error:
        raise node.error(f"its constant inputs do not fit: {error}") from error
    if result is not None and any(array.size > MAX_ELEMENTS or array.ndim > MAX_RANK for array in result):
        raise node.error(f"the constant result is larger than {MAX_ELEMENTS} elements or {MAX_RANK} axes")
    scale = graph.constant(scale_name(node.inputs[0])) if node.op in _KEEPS_SCALE and node.inputs else None
    if scale is not None:
        moved = evaluate(replace(node, inputs=(scale_name(node.inputs[0]), *node.inputs[1:])), graph)
        graph.constants.update({scale_name(node.outputs[0]): array for array in moved or ()})
    return result


def _evaluate(node: Node, graph: Graph, inputs: list[Array]) -> list[Array] | None:
    if node.op in _GENERATORS:
        return [_GENERATORS[node.op](node, graph, inputs)]
    if not inputs:
        return None
    if node.op in _ELEMENTWISE:
        if math.prod(np.broadcast_shapes(*(array.shape for array in inputs))) > MAX_ELEMENTS:
            raise node.error("the constant result is too large")
        result = np.asarray(_ELEMENTWISE[node.op](*inputs))
        return [result.astype(np.float32) if result.dtype.kind == "f" else result]
    data = inputs[0]
    match node.op:
        case "Div":
            quotient = data / inputs[1] if data.dtype.kind == "f" else np.trunc(data / inputs[1]).astype(np.int64)
            return [quotient]
        case "Split":
            axis = normal_axis(node, node.integer("axis", 0), data.ndim)
            cuts = np.cumsum(split_sizes(node, graph, data.shape[axis]))[:-1]
            return list(np.split(data, cuts, axis))
        case "Clip" if data.dtype.kind == "i" and len(node.inputs) > 1:  # codes; real values are clipped as activations
            low, high, *_ = (*(graph.constant(name) if name else None for name in node.inputs[1:]), None)
            return [np.asarray(np.clip(data, low, high))]
        case "Dropout":
            return [data, *[np.ones(data.shape, np.bool_)] * (len(node.outputs) - 1)]
    shaping = _SHAPING.get(node.op)
    return None if shaping is None else [shaping(node, graph, inputs)]


def _constant(node: Node, graph: Graph, inputs: list[Array]) -> Array:
    for key in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        value = node.attributes.get(key)
        if value is not None and not isinstance(value, str):
            array = np.asarray(value)
            return array.astype({"f": np.float32, "b": np.bool_}.get(array.dtype.kind, np.int64), copy=False)
    raise node.error("the node must have a numeric value attribute")


def _constant_of_shape(node: Node, graph: Graph, inputs: list[Array]) -> Array:
    shape = integers_of(node, graph, 0)
    value = node.attributes.get("value", np.zeros(1, np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise node.error("attribute value must be a tensor of one element")
    if any(size < 0 for size in shape) or math.prod(shape) > MAX_ELEMENTS or len(shape) > MAX_RANK:
        raise node.error(f"shape {list(shape)} is not that of a tensor")
    return np.broadcast_to(value.reshape(()), shape)  # a view: placeholder weights cost no memory


def _range(node: Node, graph: Graph, inputs: list[Array]) -> Array:
    start, limit, delta = (array.reshape(()).item() for array in inputs)
    if delta == 0 or abs((limit - start) / delta) > 1e6:
        raise node.error(f"range from {start} to {limit} by {delta} is not a short list")
    return np.arange(start, limit, delta)


def _cast(node: Node, graph: Graph, inputs: list[Array]) -> Array:
    kind = _CAST_KINDS.get(node.integer("to", 0))
    if kind is None:
        raise node.error(f"cannot cast to element type {node.integer('to', 0)}")
    once = inputs[0][tuple(slice(0, 1) if stride == 0 else slice(None) for stride in inputs[0].strides)]
    return np.broadcast_to(once.astype(kind), inputs[0].shape)  # what ConstantOfShape fills stays a view


def _expand(node: Node, graph: Graph, inputs: list[Array]) -> Array:
    shape = np.broadcast_shapes(inputs[0].shape, integers_of(node, graph, 1))
    return np.broadcast_to(inputs[0], shape)


def _gather(node: Node, graph: Graph, inputs: list[Array]) -> Array:
    axis = normal_axis(node, node.integer("axis", 0), inputs[0].ndim)
    return np.asarray(np.take(inputs[0], inputs[1].astype(np.int64), axis))


def _slice(node: Node, graph: Graph, inputs: list[Array]) -> Array:
    ranges = dict(slice_ranges(node, graph, inputs[0].shape))
    return inputs[0][tuple(ranges.get(axis, slice(None)) for axis in range(inputs[0].ndim))]


def _concat(node: Node, graph: Graph, inputs: list[Array]) -> Array:
    return np.concatenate(inputs, normal_axis(node, node.integer("axis", 0), inputs[0].ndim))


def _reduce(function: Callable[..., Any]) -> Callable[[Node, Graph, list[Array]], Array]:
    def reduce(node: Node, graph: Graph, inputs: list[Array]) -> Array:
        return np.asarray(
            function(inputs[0], axis=axes_of(node, graph, 1), keepdims=bool(node.integer("keepdims", 1)))
        ).astype(inputs[0].dtype)

    return reduce


_KEEPS_SCALE = ("Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
_GENERATORS: dict[str, Callable[[Node, Graph, list[Array]], Array]] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
}
_SHAPING: dict[str, Callable[[Node, Graph, list[Array]], Array]] = {
    "Cast": _cast,
    "Expand": _expand,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMean": _reduce(np.mean),
    "QuantizeLinear": quantize_constant,
    "DequantizeLinear": dequantize_constant,
    "Quant": quant_constant,
    "IntQuant": quant_constant,
    "Identity": lambda node, graph, inputs: inputs[0],
    "Min": lambda node, graph, inputs: np.asarray(np.minimum.reduce(inputs)),
    "Max": lambda node, graph, inputs: np.asarray(np.maximum.reduce(inputs)),
    "Shape": lambda node, graph, inputs: np.array(inputs[0].shape, np.int64),
    "Size": lambda node, graph, inputs: np.array(inputs[0].size, np.int64),
    "Transpose": lambda node, graph, inputs: inputs[0].transpose(permutation(node, inputs[0].ndim)),
    "Reshape": lambda node, graph, inputs: inputs[0].reshape(
        reshaped(node, integers_of(node, graph, 1), inputs[0].shape, bool(node.integer("allowzero", 0)))
    ),
    "Flatten": lambda node, graph, inputs: inputs[0].reshape(flattened(node, inputs[0].shape)),
    "Squeeze": lambda node, graph, inputs: inputs[0].reshape(squeezed(node, axes_of(node, graph, 1), inputs[0].shape)),
    "Unsqueeze": lambda node, graph, inputs: inputs[0].reshape(
        unsqueezed(node, axes_of(node, graph, 1), inputs[0].shape)
    ),
}


def fold_constants(graph: Graph) -> None:
    """Replace every node whose inputs are all constant by its value; note placeholder weights."""
    left: list[Node] = []
    placeholders = 0
    for node in graph.nodes:
        known = all(graph.constant(name) is not None for name in node.inputs if name)
        values = evaluate(node, graph) if known and not node.domain else None
        if values is None:
            left.append(node)
            continue
        graph.constants.update(zip(node.outputs, values, strict=False))
        weights = node.op == "ConstantOfShape" and values[0].dtype.kind == "f"
        placeholders += weights and values[0].size > PLACEHOLDER_ELEMENTS
    graph.nodes = left
    if placeholders:
        graph.notes.append(
            f"{placeholders} weight tensors are placeholders (ConstantOfShape): cycles, bytes and energy are those of "
            "the real architecture, values and accuracy mean nothing"
        )
