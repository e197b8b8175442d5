"""Walk an ONNX graph once: bind shapes, fold what becomes constant, hand every other node to its operator's rule.

Rules live in onnx_windows (convolution, pooling), onnx_products (matrix products, elementwise, normalisation) and
onnx_reshaping (layout, slices); each takes (Lowering, Node) and stores the Values of the node's outputs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Conv2d, Layer, Step, Unary
from gossamer.dataflow.numerics import QuantParams
from gossamer.mapper.onnx_import.constants import evaluate
from gossamer.mapper.onnx_import.graph import Graph, Node
from gossamer.mapper.onnx_import.layout import CHANNELS, Axes, LayoutBuilder, Unsupported, Value
from gossamer.mapper.onnx_import.quantized_constants import scale_name

Rule = Callable[["Lowering", Node], None]
Codes = tuple[QuantParams, int]
"""Format of a quantized activation (as int8), and the ONNX element type of its codes."""

_MOVES_CODES = (
    "MaxPool", "Concat", "Slice", "Split", "Gather", "Expand", "Transpose", "Resize", "Upsample", "Identity", "Dropout",
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Clip",
)  # fmt: skip


@dataclass(slots=True)
class Lowering:
    """What the rules share: the graph, the layers built so far, and the Value of every tensor that is an activation."""

    graph: Graph
    build: LayoutBuilder = field(default_factory=LayoutBuilder)
    values: dict[str, Value] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    """Outputs of unsupported nodes, and everything that depends on them."""
    codes: dict[str, Codes] = field(default_factory=dict)
    """What every activation between its QuantizeLinear and its DequantizeLinear holds."""

    def value(self, node: Node, index: int) -> Value:
        """Return the activation at an input. Raises Unsupported when it is a constant, ModelError when absent."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        if name in self.values:
            return self.values[name]
        if name and self.graph.constant(name) is not None:
            raise Unsupported(f"its input {index} is constant, this operator needs an activation there")
        raise node.error(f"input {index} is missing")

    def weights(self, node: Node, index: int, rank: int | None = None) -> NDArray[np.float32]:
        """Return a constant float input. Raises Unsupported when it is an activation, ModelError for another kind."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        array = self.graph.constant(name) if name else None
        if array is None:
            if name:
                raise Unsupported(f"its input {index} ({name}) is not constant")
            raise node.error(f"input {index} is missing")
        if array.dtype != np.float32:
            raise node.error(f"input {index} ({name}) must be float, not {array.dtype}")
        if rank is not None and array.ndim != rank:
            raise node.error(f"input {index} ({name}) must have {rank} axes, not shape {list(array.shape)}")
        once = array[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)]
        with np.errstate(over="ignore", invalid="ignore"):  # computed constants were not checked when they were read
            if not np.isfinite(once.sum()) and not np.isfinite(once).all():
                raise node.error(f"input {index} ({name}) holds NaN or infinite values")
        return array

    def weight_scale(self, node: Node, index: int, axis: int) -> NDArray[np.float64] | None:
        """Return the scale of each output channel (along `axis`) of a constant the file holds as int8, else None."""
        scale = self.graph.constant(scale_name(node.inputs[index]))
        if scale is None:
            return None
        rows = np.moveaxis(scale, axis, 0).reshape(scale.shape[axis], -1)
        if (rows != rows[:, :1]).any():
            self.graph.notes.append(
                f"node {node.name} ({node.op}): its weights have no single scale per output channel: int8 weights are "
                "computed from their values"
            )
            return None
        return rows[:, 0].astype(np.float64)

    def stated(self, node: Node, value: Value, quant: QuantParams) -> Value:
        """Return the value with the format that the model states for it; a second format makes a second tensor."""
        tensor = self.build.tensors[value.tensor]
        if tensor.quant is not None and tensor.quant != quant:
            layer = Unary(name=node.name, inputs=(value.tensor,), output=node.outputs[0], op="rescale", steps=())
            value = self.add(layer, value.axes, value.stored)
            tensor = self.build.tensors[value.tensor]
        self.build.tensors[value.tensor] = replace(tensor, quant=quant)
        return value

    def vector(self, node: Node, index: int, size: int) -> NDArray[np.float32]:
        """Return a constant of one value per channel, float32 (size)."""
        array = self.weights(node, index, 1)
        if array.shape != (size,):
            raise node.error(f"input {index} ({node.inputs[index]}) must hold {size} values, not {array.size}")
        return array

    def optional_vector(self, node: Node, index: int, size: int) -> NDArray[np.float32] | None:
        """Return `vector`, or None when the input is omitted."""
        return self.vector(node, index, size) if index < len(node.inputs) and node.inputs[index] else None

    def add(self, layer: Layer, axes: Axes, stored: Axes) -> Value:
        """Append a layer and its output tensor; both names are made unique. Returns the output's Value."""
        tensor = self.build.add_tensor(layer.output, stored)
        self.build.layers.append(_renamed(layer, self.build.layer_name(layer.name), tensor))
        return Value(tensor, axes, stored)

    def rename(self, old: str, new: str) -> None:
        """Give a stored tensor another name, wherever it is used."""
        self.build.tensors[new] = replace(self.build.tensors.pop(old), name=new)
        self.build.layers = [
            replace(
                layer,
                inputs=tuple(new if name == old else name for name in layer.inputs),
                output=new if layer.output == old else layer.output,
            )
            for layer in self.build.layers
        ]
        for name, value in self.values.items():
            if value.tensor == old:
                self.values[name] = replace(value, tensor=new)

    def unary(self, node: Node, source: Value, steps: tuple[Step, ...], output: str) -> Value:
        """Append a Unary over any layout."""
        op = "+".join(step.function.value for step in steps) or "identity"
        layer = Unary(name=node.name, inputs=(source.tensor,), output=output, op=op, steps=steps)
        return self.add(layer, source.axes, source.stored)

    def scale(
        self, node: Node, source: Value, op: str, factors: NDArray[np.float32], offsets: NDArray[np.float32]
    ) -> Value:
        """Append a per-channel a x + b as a depthwise 1x1 convolution; factors and offsets float32 (channels)."""
        channels = self.build.extent(source.stored[CHANNELS])
        layer = Conv2d(
            name=node.name,
            inputs=(source.tensor,),
            output=node.outputs[0],
            op=op,
            weight=factors.reshape(channels, 1, 1, 1),
            bias=offsets,
            groups=channels,
        )
        return self.add(layer, source.axes, source.stored)


def _renamed(layer: Layer, name: str, output: str) -> Layer:
    if layer.name == name and layer.output == output:
        return layer
    return replace(layer, name=name, output=output)


def lower(graph: Graph, rules: dict[str, Rule]) -> Lowering:
    """Return the layers of a graph. Raises one ModelError listing every node that is not supported."""
    state = Lowering(graph=graph)
    for name, shape in graph.inputs.items():
        state.values[name] = state.build.input_value(name, shape)
    refused: list[str] = []
    for node in graph.nodes:
        reason = _lower_node(state, node, rules)
        if reason is not None:
            refused.append(f"  {node.name} ({f'{node.domain}.' if node.domain else ''}{node.op}): {reason}")
            state.unknown.update(node.outputs)
    if refused:
        raise ModelError(f"{len(refused)} nodes are not supported; nothing was imported:\n" + "\n".join(refused))
    return state


def _lower_node(state: Lowering, node: Node, rules: dict[str, Rule]) -> str | None:
    """Lower one node; returns why it is not supported, or None."""
    rule = rules.get(node.op) if not node.domain else None
    missing = f"operator set {node.domain} not supported" if node.domain else "operator not supported"
    if any(name in state.unknown for name in node.reads):
        state.unknown.update(node.outputs)
        return None if rule is not None or node.source is not None else missing
    constant = all(state.graph.constant(name) is not None for name in node.inputs if name)
    if constant and not node.domain:
        values = evaluate(node, state.graph)
        if values is not None:
            state.graph.constants.update(zip(node.outputs, values, strict=False))
            return None
    try:
        if node.source is not None and node.source in state.values:
            rule = rules["Unary"]
        if rule is None:
            return missing
        codes = _codes_moved(state, node)
        if codes is not None and node.op == "Clip":
            rule = rules["Clip of codes"]
        rule(state, node)
        if codes is not None:
            state.codes.update(dict.fromkeys(node.outputs, codes))
    except Unsupported as reason:
        return str(reason)
    except ModelError as error:
        text = str(error)
        raise error if text.startswith("node ") else node.error(text) from error
    except (ValueError, IndexError, TypeError, OverflowError, MemoryError, ZeroDivisionError) as error:
        raise node.error(f"its inputs and attributes do not fit together: {error}") from error
    absent = [name for name in node.outputs if name and name not in state.values]
    absent = [name for name in absent if name not in state.graph.constants]
    read = [name for name in absent if state.graph.uses().get(name)]  # masks, indices: nobody reads them as a rule
    return f"its output {read[0]} is read, only the first output is supported" if read else None


def _codes_moved(state: Lowering, node: Node) -> Codes | None:
    """Return what codes a node moves, None for a node on real values. Raises Unsupported."""
    found = {state.codes.get(name) for name in node.reads if name in state.values}
    if node.op == "DequantizeLinear" or found <= {None}:
        return None
    copies = node.op == "Cast" and all(codes is not None and codes[1] == node.integer("to", 0) for codes in found)
    if not (node.op in _MOVES_CODES or copies) or len(found) > 1:
        raise Unsupported("it reads quantized codes, not real values: only Clip and data movement of one format may")
    return found.pop()
