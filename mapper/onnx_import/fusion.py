"""Recognise functions that exporters spell with several ONNX nodes.

A node whose result depends on one tensor through scalar constants is a unary function: it gets `source` and `steps`.
Diamonds that meet in a product (x * sigmoid(x), x * clip(x + 3, 0, 6) / 6, x / 2 * (1 + erf(x / sqrt 2))) become one
step; the decomposed layer normalisation becomes one LayerNormalization node; a zero Pad joins the convolution after it.
"""

import math

import numpy as np

from gossamer.dataflow.functions import simplify
from gossamer.dataflow.network import Function, Step
from gossamer.mapper.onnx_import.constants import axes_of, integers_of
from gossamer.mapper.onnx_import.graph import Graph, Node, order_nodes

_PLAIN = {
    "Relu": Step(Function.RELU), "Sigmoid": Step(Function.SIGMOID), "HardSwish": Step(Function.HARD_SWISH),
    "Tanh": Step(Function.TANH), "Erf": Step(Function.ERF), "Exp": Step(Function.EXP), "Sqrt": Step(Function.SQRT),
    "Reciprocal": Step(Function.RECIPROCAL), "Abs": Step(Function.ABS), "Neg": Step(Function.AFFINE, (-1.0, 0.0)),
}  # fmt: skip
_Lineage = list[tuple[str, tuple[Step, ...]]]
"""Tensors a value derives from, nearest first, with the steps that lead from each to the value."""


def fuse_patterns(graph: Graph) -> None:
    """Annotate unary nodes, fuse diamonds, layer normalisations and pads; drop the nodes nobody needs any more."""
    producer = {name: node for node in graph.nodes for name in node.outputs if name}
    for node in graph.nodes:
        if node.domain:
            continue
        unary = unary_steps(node, graph)
        if unary is not None:
            node.source, node.steps = unary
        elif node.op == "Mul" and len(node.inputs) == 2:
            _fuse_product(node, graph, producer)
        elif node.op == "Div" and len(node.inputs) == 2:
            _fuse_layer_norm(node, graph, producer)
    _fuse_pads(graph, producer)
    known = graph.constants.keys() | graph.pending.keys() | graph.inputs.keys()
    graph.nodes = order_nodes(graph.nodes, set(known), graph.outputs)


def unary_steps(node: Node, graph: Graph) -> tuple[str, tuple[Step, ...]] | None:
    """Return (tensor, steps) when the node is a unary function of one tensor with scalar constants, else None."""
    if not node.inputs:
        return None
    source = node.inputs[0]
    if node.op in _PLAIN:
        return source, (_PLAIN[node.op],)
    match node.op:
        case "Clip":
            limits = _clip_limits(node, graph)
            return None if limits is None else (source, simplify((Step(Function.CLIP, limits),)))
        case "HardSigmoid":
            alpha, beta = node.real("alpha", 0.2), node.real("beta", 0.5)
            return source, (Step(Function.HARD_SIGMOID, (alpha, beta)),)
        case "LeakyRelu":
            return source, (Step(Function.LEAKY_RELU, (node.real("alpha", 0.01),)),)
        case "Gelu" if node.text("approximate", "none") == "none":
            return source, (Step(Function.GELU),)
        case "Swish":
            return source, _swish(node.real("alpha", 1.0))
        case "PRelu" if len(node.inputs) == 2 and (slope := graph.scalar(node.inputs[1])) is not None:
            return source, (Step(Function.LEAKY_RELU, (slope,)),)
    if len(node.inputs) == 2:
        right, left = graph.scalar(node.inputs[1]), graph.scalar(node.inputs[0])
        if right is not None:
            steps = _with_constant_right(node.op, right)
            return None if steps is None else (source, steps)
        if left is not None:
            steps = _with_constant_left(node.op, left)
            return None if steps is None else (node.inputs[1], steps)
    return None


def _clip_limits(node: Node, graph: Graph) -> tuple[float, float] | None:
    low, high = -math.inf, math.inf
    if "min" in node.attributes:
        low = node.real("min", low)
    if "max" in node.attributes:
        high = node.real("max", high)
    for index, name in enumerate(node.inputs[1:3]):
        if not name:
            continue
        value = graph.scalar(name)
        if value is None:
            return None
        low, high = (value, high) if index == 0 else (low, value)
    if low > high:
        raise node.error(f"the lower limit {low} is above the upper limit {high}")
    return low, high


def _with_constant_right(op: str, value: float) -> tuple[Step, ...] | None:
    """Return the steps of `x op value`."""
    match op:
        case "Add":
            return (Step(Function.AFFINE, (1.0, value)),)
        case "Sub":
            return (Step(Function.AFFINE, (1.0, -value)),)
        case "Mul":
            return (Step(Function.AFFINE, (value, 0.0)),)
        case "Div" if value != 0:
            return (Step(Function.AFFINE, (1.0 / value, 0.0)),)
        case "Pow":
            return (Step(Function.POWER, (value,)),)
        case "Max":
            return (Step(Function.CLIP, (value, math.inf)),)
        case "Min":
            return (Step(Function.CLIP, (-math.inf, value)),)
    return None


def _with_constant_left(op: str, value: float) -> tuple[Step, ...] | None:
    """Return the steps of `value op x`."""
    if op in ("Add", "Mul", "Max", "Min"):
        return _with_constant_right(op, value)
    match op:
        case "Sub":
            return (Step(Function.AFFINE, (-1.0, value)),)
        case "Div":
            return Step(Function.RECIPROCAL), Step(Function.AFFINE, (value, 0.0))
    return None


def _swish(alpha: float) -> tuple[Step, ...]:
    """Return x * sigmoid(alpha x) as steps."""
    if alpha == 0:
        return (Step(Function.AFFINE, (0.5, 0.0)),)
    return simplify((Step(Function.AFFINE, (alpha, 0.0)), Step(Function.SILU), Step(Function.AFFINE, (1 / alpha, 0.0))))


def _lineage(name: str, producer: dict[str, Node]) -> _Lineage:
    found: _Lineage = [(name, ())]
    node = producer.get(name)
    while node is not None and node.source is not None:
        name, steps = node.source, (*node.steps, *found[-1][1])
        found.append((name, steps))
        node = producer.get(name)
    return found


def _fuse_product(node: Node, graph: Graph, producer: dict[str, Node]) -> None:
    """Fuse f(x) * g(x) when it is a known function of x."""
    first, second = (_lineage(name, producer) for name in node.inputs)
    for base, left in first:
        right = next((steps for name, steps in second if name == base), None)
        if right is None:
            continue
        steps = product_steps(left, right) or product_steps(right, left)
        if steps is not None:
            node.source, node.steps = base, steps
            return


def product_steps(plain: tuple[Step, ...], gate: tuple[Step, ...]) -> tuple[Step, ...] | None:
    """Return the steps of plain(x) * gate(x) when plain only scales and the product is a known function, else None."""
    scale = _pure_scale(simplify(plain))
    gate = simplify(gate)
    if scale is None:
        return None
    last = 1.0
    if gate and gate[-1].function is Function.AFFINE and gate[-1].arguments[1] == 0 and len(gate) > 1:
        last, gate = gate[-1].arguments[0], gate[:-1]
    known = _gated(gate)
    if known is None:
        known = _gelu_gate(gate)
    return None if known is None else simplify((*known, Step(Function.AFFINE, (scale * last, 0.0))))


def _pure_scale(steps: tuple[Step, ...]) -> float | None:
    if not steps:
        return 1.0
    if len(steps) == 1 and steps[0].function is Function.AFFINE and steps[0].arguments[1] == 0:
        return steps[0].arguments[0]
    return None


def _gated(gate: tuple[Step, ...]) -> tuple[Step, ...] | None:
    """Return x * gate(x) for sigmoid and hard-sigmoid gates in their spellings."""
    match gate:
        case (Step(Function.SIGMOID),):
            return (Step(Function.SILU),)
        case (Step(Function.AFFINE, (alpha, 0.0)), Step(Function.SIGMOID)) if alpha != 0:
            return _swish(alpha)
        case (Step(Function.HARD_SIGMOID, (alpha, beta)),) if _close(alpha, 1 / 6) and _close(beta, 0.5):
            return (Step(Function.HARD_SWISH),)
        case (Step(Function.AFFINE, (a, b)), Step(Function.CLIP, (low, high))) if (
            low == 0 and a > 0 and _close(high, 6 * a) and _close(b, 3 * a)
        ):
            return Step(Function.HARD_SWISH), Step(Function.AFFINE, (6.0 * a, 0.0))
    return None


def _gelu_gate(gate: tuple[Step, ...]) -> tuple[Step, ...] | None:
    """Return x * c (1 + erf(x / sqrt 2)) = 2 c GELU(x)."""
    match gate:
        case (Step(Function.AFFINE, (a, 0.0)), Step(Function.ERF), Step(Function.AFFINE, (c, b))) if _close(
            a, math.sqrt(0.5)
        ) and _close(c, b):
            return Step(Function.GELU), Step(Function.AFFINE, (2.0 * c, 0.0))
    return None


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-4)


def _fuse_layer_norm(node: Node, graph: Graph, producer: dict[str, Node]) -> None:
    """Turn (x - mean) / sqrt(mean((x - mean) ** 2) + epsilon) into LayerNormalization without gamma and beta."""
    centred, spread = (producer.get(name) for name in node.inputs)
    if centred is None or spread is None or centred.op != "Sub":
        return
    source = centred.inputs[0]
    axes = _mean_axes(centred.inputs[1], source, graph, producer)
    base, steps = _lineage(node.inputs[1], producer)[-1]
    match simplify(steps):
        case (Step(Function.AFFINE, (1.0, epsilon)), Step(Function.SQRT | Function.POWER) as root) if (
            root.arguments in ((), (0.5,)) and epsilon > 0
        ):
            variance = producer.get(base)
        case _:
            return
    if axes is None or variance is None or variance.op != "ReduceMean":
        return
    square = producer.get(variance.inputs[0])
    if square is None or _mean_axes(base, variance.inputs[0], graph, producer) != axes:
        return
    by_power = square.op == "Pow" and len(square.inputs) == 2 and graph.scalar(square.inputs[1]) == 2
    by_product = square.op == "Mul" and square.inputs[0] == square.inputs[1]
    again = producer.get(square.inputs[0])
    same = again is not None and again.op == "Sub" and again.inputs[0] == source
    if again is not None and same and (by_power or by_product):
        if _mean_axes(again.inputs[1], source, graph, producer) != axes:
            return
        node.op, node.inputs = "LayerNormalization", (source,)
        node.attributes = {"axes": axes, "epsilon": epsilon}


def _mean_axes(name: str, source: str, graph: Graph, producer: dict[str, Node]) -> tuple[int, ...] | None:
    """Return the axes when `name` is the mean of `source` with kept axes, else None."""
    mean = producer.get(name)
    if mean is None or mean.op != "ReduceMean" or mean.inputs[0] != source or not mean.integer("keepdims", 1):
        return None
    return axes_of(mean, graph, 1)


def _fuse_pads(graph: Graph, producer: dict[str, Node]) -> None:
    """Move a zero Pad of rows and columns into the Conv that reads it."""
    for node in graph.nodes:
        pad = producer.get(node.inputs[0]) if node.op == "Conv" and node.inputs else None
        if pad is None or pad.op != "Pad" or pad.text("mode", "constant") != "constant":
            continue
        by_input = len(pad.inputs) > 1
        if (by_input and graph.constant(pad.inputs[1]) is None) or len(pad.inputs) > 3:
            continue
        amounts = integers_of(pad, graph, 1) if by_input else pad.integers("pads") or ()
        fill = graph.scalar(pad.inputs[2]) if len(pad.inputs) > 2 and pad.inputs[2] else pad.real("value", 0.0)
        rank = len(amounts) // 2
        outer = (*amounts[:2], *amounts[rank : rank + 2])
        if fill != 0 or rank < 3 or len(amounts) % 2 or any(outer) or min(amounts) < 0:
            continue
        if node.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            continue
        spatial = np.array([*amounts[2:rank], *amounts[rank + 2 :]])
        own = node.integers("pads") or (0,) * len(spatial)
        if len(own) == len(spatial):
            pads = tuple(int(size) for size in spatial + own)
            node.attributes = {**node.attributes, "pads": pads, "auto_pad": "NOTSET"}
            node.inputs = (pad.inputs[0], *node.inputs[1:])
