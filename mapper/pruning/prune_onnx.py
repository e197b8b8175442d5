"""Write an ONNX file whose weights are pruned to N:M along the hardware's reduction order; nothing else changes.

Masks follow the imported layers: the same layers stay dense, the same groups are formed. A fully connected layer behind
a flattened map is stored row, column, channel while ONNX counts channel, row, column; which column lies where is found
by importing the graph a second time with column numbers as its weights.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Conv2d
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.onnx_export.file import write_model
from gossamer.mapper.onnx_import.constants import fold_constants
from gossamer.mapper.onnx_import.file import read_graph
from gossamer.mapper.onnx_import.fusion import fuse_patterns
from gossamer.mapper.onnx_import.graph import Graph, Node
from gossamer.mapper.onnx_import.lowering import lower
from gossamer.mapper.onnx_import.reader import RULES, load_onnx
from gossamer.mapper.pruning.prune import magnitude_mask, prune, resolve, weight_layers

FIRST_IR_WITH_FREE_INITIALIZERS = 4
"""Before this IR version every initializer must also be listed as a graph input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightPlace:
    """Where a node's weight is: input index of the node, tensor name, the axis its sums run over, and its value."""

    index: int
    name: str
    axis: int
    value: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrder:
    """How a product's weights are stored: ONNX position of each stored weight of an output; channels of the kernel."""

    positions: NDArray[np.int64]
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneSummary:
    """What was pruned: layers of all with weights, and of their weights how many are zero now."""

    pruned_layers: int
    weight_layers: int
    weights: int
    zeroed: int

    def as_json(self) -> dict[str, int]:
        """Return the object `prune --json` prints, but for the file."""
        return asdict(self)

    def __str__(self) -> str:
        done = f"{self.pruned_layers} of {self.weight_layers} layers with weights pruned"
        if not self.weights:
            return done
        return f"{done}, {100 * self.zeroed / self.weights:.1f} % of their {self.weights:,} weights zeroed"


def prune_onnx(
    model_path: Path,
    sparsity: str,
    output_path: Path,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> PruneSummary:
    """Write the pruned model and return what was pruned.

    sparsity and overrides as in `gossamer.mapper.prune.prune`; shapes binds dynamic axes for the import that decides
    which layers there are (the written model keeps its dynamic axes). The file appears under its name only when it is
    whole. Raises ModelError for a model that cannot be imported, an unknown override, weights that break a pattern
    stated for `keep`, weights that are int8 already, and a folder that cannot be written.
    """
    network = load_onnx(model_path, shapes or {})
    prune(network, sparsity, overrides)
    chosen = resolve(network, sparsity.strip(), overrides or {})
    patterns = {name: NmPattern.parse(choice) for name, choice in chosen.items() if choice not in ("dense", "keep")}
    if sparsity.strip() == "keep":
        patterns = {}
    graph = _read(model_path, shapes or {})
    orders = _stored_orders(model_path, shapes or {}, graph, patterns)
    model = onnx.load(model_path)
    zeros = weights = 0
    nodes = {node.name: node for node in graph.nodes}
    stated = {layer.name for layer in weight_layers(network) if layer.weight_scale is not None}
    for name, pattern in patterns.items():
        if name in stated:
            raise ModelError(
                f"{model_path}: layer {name} is already quantized; prune the float model and quantize the result, or "
                "give --sparsity to simulate or compile, which prune its int8 weights"
            )
        if name not in nodes:
            raise ModelError(
                f"{model_path}: layer {name} is no node of its own in ONNX; set it to dense to prune the rest"
            )
        node = nodes[name]
        place = _weight_place(graph, node)
        mask = _mask(place, pattern, orders.get(name))
        _replace_weight(model, node, place, place.value * mask)
        zeros += int(np.count_nonzero(mask == 0))
        weights += mask.size
    write_model(model, output_path)
    return PruneSummary(pruned_layers=len(patterns), weight_layers=len(chosen), weights=weights, zeroed=zeros)


def _read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    graph = read_graph(path, shapes)
    fold_constants(graph)
    fuse_patterns(graph)
    return graph


def _weight_place(graph: Graph, node: Node) -> WeightPlace:
    """Return where the constant operand of a convolution or matrix product is."""
    index = 1 if graph.constant(node.inputs[1]) is not None else 0
    value = graph.constant(node.inputs[index])
    if value is None:
        raise node.error("has no constant weights to prune; set this layer to dense")
    match node.op:
        case "Conv":
            axis = 1
        case "ConvTranspose" if node.integer("group", 1) == 1:
            axis = 0
        case "Gemm":
            axis = 1 if node.integer("transB", 0) else 0
        case "MatMul":
            axis = value.ndim - 2 if index == 1 else value.ndim - 1
        case _:
            raise node.error("cannot be pruned in ONNX; set this layer to dense")
    return WeightPlace(index=index, name=node.inputs[index], axis=axis, value=value)


def _stored_orders(
    path: Path, shapes: Mapping[str, tuple[int, ...]], graph: Graph, patterns: Mapping[str, NmPattern]
) -> dict[str, StoredOrder]:
    """Return the stored order of every matrix product that is pruned."""
    products = {node.name: node for node in graph.nodes if node.name in patterns and node.op in ("Gemm", "MatMul")}
    if not products:
        return {}
    probe = _read(path, shapes)
    for node in products.values():
        place = _weight_place(probe, node)
        numbers = np.arange(1, place.value.shape[place.axis] + 1, dtype=np.float32)
        aligned = numbers.reshape([-1 if axis == place.axis else 1 for axis in range(place.value.ndim)])
        probe.constants[place.name] = np.broadcast_to(aligned, place.value.shape)
    orders = {}
    for layer in lower(probe, RULES).build.layers:
        if layer.name in products and isinstance(layer, Conv2d):
            numbers = np.abs(layer.weight[0]).reshape(-1)  # times Gemm's alpha, which keeps their order
            orders[layer.name] = StoredOrder(positions=numbers.argsort().argsort(), channels=layer.weight.shape[-1])
    return orders


def _mask(place: WeightPlace, pattern: NmPattern, order: StoredOrder | None) -> NDArray[np.bool_]:
    """Return the mask of a weight in ONNX's own axis order; `order` is None for convolutions."""
    rows = np.moveaxis(place.value, place.axis, -1)
    if order is None:
        mask = magnitude_mask(rows, pattern)
    else:
        stored = rows[..., order.positions].reshape(-1, order.channels)
        mask = np.empty(rows.shape, np.bool_)
        mask[..., order.positions] = magnitude_mask(stored, pattern).reshape(rows.shape)
    return np.moveaxis(mask, -1, place.axis)


def _replace_weight(model: Any, node: Node, place: WeightPlace, value: NDArray[np.float32]) -> None:
    """Give a node's weight another value, as an initializer; a tensor that others read too is left for them."""
    proto = next(
        entry for entry in model.graph.node if set(filter(None, entry.output)) & set(filter(None, node.outputs))
    )
    reads = Counter(name for entry in model.graph.node for name in entry.input)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    name = place.name
    if name in initializers and reads[name] == 1:
        tensor = initializers[name]
        tensor.CopyFrom(_tensor(value, name, tensor.data_type))
        return
    taken = set(reads) | set(initializers) | {name for entry in model.graph.node for name in entry.output}
    new = f"{name}/pruned"
    while new in taken:
        new += "_"
    model.graph.initializer.append(_tensor(value, new, onnx.TensorProto.FLOAT))
    if model.ir_version < FIRST_IR_WITH_FREE_INITIALIZERS:
        model.graph.input.append(helper.make_tensor_value_info(new, onnx.TensorProto.FLOAT, value.shape))
    proto.input[place.index] = new
    _drop_unread(model, name)


def _tensor(value: NDArray[np.float32], name: str, data_type: int) -> onnx.TensorProto:
    dtype = helper.tensor_dtype_to_np_dtype(data_type)
    return numpy_helper.from_array(np.ascontiguousarray(value.astype(dtype)), name)


def _drop_unread(model: Any, name: str) -> None:
    """Remove the producer of a tensor that nothing reads any more, and what only that producer needed."""
    graph = model.graph
    pending = [name]
    while pending:
        unread = pending.pop()
        if any(unread in entry.input for entry in graph.node) or any(unread == entry.name for entry in graph.output):
            continue
        producer = next((entry for entry in graph.node if unread in entry.output), None)
        if producer is None:
            for field in (graph.initializer, graph.input):
                for entry in [entry for entry in field if entry.name == unread]:
                    field.remove(entry)
        elif len(producer.output) == 1:
            graph.node.remove(producer)
            pending.extend(filter(None, producer.input))
