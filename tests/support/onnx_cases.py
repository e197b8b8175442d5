"""Build small ONNX models, give light models random weights, and compare an import with onnxruntime."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from gossamer.dataflow.network import Network, View
from gossamer.mapper.onnx_import.reader import load_onnx
from gossamer.sim.reference import run_float

Shape = tuple[int, ...]

# IR version that onnxruntime accepts for every operator set used here.
IR_VERSION = 8


def save_model(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray] | None = None,
    opset: int = 13,
) -> Path:
    """Write a model; constants are initializers, int64 or float32."""
    graph = helper.make_graph(
        list(nodes),
        "case",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
    onnx.save(model, path)
    return path


def run_onnxruntime(path: Path, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(feeds))


def run_imported(network: Network, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return the outputs in the model's own shapes."""
    stored = {
        name: network.layouts[name].to_stored(feeds[name], network.tensors[name].shape) for name in network.inputs
    }
    values = run_float(network, stored)
    for name, value in values.items():
        assert value.shape == network.tensors[name].shape, name
    return [network.layouts[name].to_model(values[name]) for name in network.outputs]


def assert_equal_to_onnxruntime(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    seed: int = 0,
    tolerance: float = 1e-4,
    feeds: Mapping[str, np.ndarray] | None = None,
) -> Network:
    """Import, run both on `feeds` or seeded normal inputs, compare every output relative to its largest value."""
    network = load_onnx(path, shapes or {})
    random = np.random.default_rng(seed)
    feeds = feeds or {
        name: random.standard_normal(network.layouts[name].shape).astype(np.float32) for name in network.inputs
    }
    for layer in network.layers:
        if isinstance(layer, View):  # the compiler aliases it, so the channel pitch must not change
            before, after = network.tensors[layer.inputs[0]].shape, network.tensors[layer.output].shape
            assert before[3] == after[3], layer.name
    ours, theirs = run_imported(network, feeds), run_onnxruntime(path, feeds)
    assert len(ours) == len(theirs) > 0
    for name, mine, reference in zip(network.outputs, ours, theirs, strict=True):
        assert mine.shape == reference.shape, name
        largest = float(np.abs(reference).max())
        assert largest > 0, f"{name} is all zeros: the comparison would say nothing"
        error = float(np.abs(mine - reference).max()) / largest
        assert error <= tolerance, f"{name}: relative error {error:.2e} (seed {seed})"
    return network


def with_random_weights(source: Path, target: Path, seed: int, hidden: int = 96) -> Path:
    """Write a light model with its ConstantOfShape placeholders replaced by seeded weights of sensible size.

    Hidden Gemm layers are narrowed to `hidden` columns: VGG's have 120 million weights that test nothing more.
    """
    model = onnx.load(source)
    random = np.random.default_rng(seed)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    role: dict[str, tuple[str, int]] = {}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            role.setdefault(name, (node.op_type, index))
    narrowed = _narrow_shapes([node for node in model.graph.node if node.op_type == "Gemm"], hidden)
    last = [node for node in model.graph.node if node.op_type in ("Gemm", "Conv")][-1]
    kept = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(int(size) for size in shapes[node.input[0]])
        shape = narrowed.get(node.output[0], lambda shape: shape)(shape)
        array = _random_weight(role.get(node.output[0], ("", 0)), shape, random)
        if node.output[0] in last.input:
            array *= 0.02  # keeps the final softmax from saturating, which would hide errors
        model.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), node.output[0]))
    used = {name for node in kept for name in node.input}
    initializers = [tensor for tensor in model.graph.initializer if tensor.name in used]
    data = [value for value in model.graph.input if value.name not in shapes]
    del model.graph.node[:], model.graph.initializer[:], model.graph.input[:]
    model.graph.node.extend(kept)
    model.graph.input.extend(data)
    model.graph.initializer.extend(initializers)
    onnx.save(model, target)
    return target


def _narrow_shapes(gemms: Sequence[onnx.NodeProto], hidden: int) -> dict[str, Callable[[Shape], Shape]]:
    """Return by tensor name how a Gemm's weight (outputs, inputs) and bias shrink; the ends of the chain stay."""
    rules: dict[str, Callable[[Shape], Shape]] = {}
    for place, node in enumerate(gemms):
        first, final = place == 0, place == len(gemms) - 1
        rules[node.input[1]] = lambda shape, first=first, final=final: (
            shape[0] if final else hidden,
            shape[1] if first else hidden,
        )
        rules[node.input[2]] = lambda shape, final=final: shape if final else (hidden,)
    return rules


def _random_weight(role: tuple[str, int], shape: Shape, random: np.random.Generator) -> np.ndarray:
    if role[0] in ("BatchNormalization", "Unsqueeze") and role[1] in (0, 1, 4):
        return random.uniform(0.5, 1.5, shape)
    if len(shape) > 1:
        return random.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    return random.standard_normal(shape) * 0.3
