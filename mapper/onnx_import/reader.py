"""Import an ONNX file as a Network.

The steps, in order: read and check the file, fold constants, recognise functions spelled with several nodes, lower
every node in one walk that binds shapes and keeps track of layout, fold scales and activations into the layers before.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Layout, Network, View
from gossamer.mapper.onnx_import.constants import fold_constants
from gossamer.mapper.onnx_import.elementwise import (
    lower_batch_norm,
    lower_elementwise,
    lower_layer_norm,
    lower_softmax,
    lower_unary,
)
from gossamer.mapper.onnx_import.file import read_graph
from gossamer.mapper.onnx_import.folding import fold_layers
from gossamer.mapper.onnx_import.fusion import fuse_patterns
from gossamer.mapper.onnx_import.graph import Graph
from gossamer.mapper.onnx_import.layout import Axes, Value, canonical_groups
from gossamer.mapper.onnx_import.lowering import Lowering, Rule, lower
from gossamer.mapper.onnx_import.products import lower_gemm, lower_matmul
from gossamer.mapper.onnx_import.quantized import (
    lower_clip_codes,
    lower_dequantize,
    lower_quant,
    lower_quantize,
)
from gossamer.mapper.onnx_import.reshaping import (
    lower_concat,
    lower_expand,
    lower_gather,
    lower_identity,
    lower_reshape,
    lower_resize,
    lower_shape,
    lower_slice,
    lower_split,
    lower_transpose,
)
from gossamer.mapper.onnx_import.windows import (
    lower_conv,
    lower_conv_transpose,
    lower_global_pool,
    lower_lrn,
    lower_pool,
    lower_reduce_mean,
)

RULES: dict[str, Rule] = {
    "Conv": lower_conv,
    "ConvTranspose": lower_conv_transpose,
    "MaxPool": lower_pool,
    "AveragePool": lower_pool,
    "GlobalAveragePool": lower_global_pool,
    "GlobalMaxPool": lower_global_pool,
    "ReduceMean": lower_reduce_mean,
    "ReduceMax": lower_reduce_mean,
    "LRN": lower_lrn,
    "Gemm": lower_gemm,
    "MatMul": lower_matmul,
    "BatchNormalization": lower_batch_norm,
    "LayerNormalization": lower_layer_norm,
    "Softmax": lower_softmax,
    "QuantizeLinear": lower_quantize,
    "DequantizeLinear": lower_dequantize,
    "Clip of codes": lower_clip_codes,
    **dict.fromkeys(("Quant", "IntQuant"), lower_quant),
    "Concat": lower_concat,
    "Slice": lower_slice,
    "Split": lower_split,
    "Gather": lower_gather,
    "Expand": lower_expand,
    "Transpose": lower_transpose,
    "Resize": lower_resize,
    "Upsample": lower_resize,
    "Shape": lower_shape,
    "Size": lower_shape,
    **dict.fromkeys(("Identity", "Dropout", "Cast"), lower_identity),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), lower_reshape),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Sum", "Max", "Min"), lower_elementwise),
    **dict.fromkeys(
        (
            "Unary", "Relu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu", "Gelu", "Swish",
            "Tanh", "Erf", "Exp", "Sqrt", "Reciprocal", "Abs", "Neg", "Pow",
        ),
        lower_unary,
    ),
}  # fmt: skip
"""Every supported operator of the default operator set."""


def load_onnx(path: str | Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Network:
    """Return the Network of an ONNX file: float weights, stored shapes, `layouts` of inputs and outputs.

    Of a quantized model the weights are real values too, beside the formats it states (`Tensor.quant`, `weight_scale`).

    shapes: by input name, for dynamic axes (required) or to replace fixed ones. Raises ModelError naming file and node
    for a file that is not a sound model; one ModelError lists every node that is not supported.
    """
    path = Path(path)
    graph = read_graph(path, shapes or {})
    try:
        fold_constants(graph)
        fuse_patterns(graph)
        state = lower(graph, RULES)
        return _network(state, graph)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _network(state: Lowering, graph: Graph) -> Network:
    layouts: dict[str, Layout] = {}
    inputs = tuple(name for name in graph.inputs if name in state.values)
    for name in inputs:
        shape = graph.inputs[name]
        layouts[name] = Layout(shape=shape, order=_order(canonical_groups(len(shape))))
    for name in graph.outputs:
        if name not in state.values:
            raise ModelError(f"graph output {name} is constant or not a float activation: there is nothing to simulate")
        value = _whole_output(state, name)
        groups = state.build.whole_axes(value)
        assert groups is not None
        layouts[name] = Layout(shape=state.build.shape(value), order=_order(groups))
        _name_output(state, name, value, inputs)
    layers, tensors = fold_layers(state.build.layers, state.build.tensors, graph.outputs)
    return Network(
        name=graph.name,
        inputs=inputs,
        outputs=graph.outputs,
        tensors=tensors,
        layers=layers,
        notes=tuple(graph.notes),
        layouts=layouts,
    )


def _order(groups: Axes) -> tuple[int, ...]:
    return tuple(axis for group in groups for axis in group)


def _whole_output(state: Lowering, name: str) -> Value:
    """Return an output stored by whole logical axes, moving it to the canonical order only if it is not."""
    value = state.values[name]
    if state.build.whole_axes(value) is None:
        groups = canonical_groups(len(value.axes))
        value = state.build.move(value, state.build.groups(value.axes, groups), name)
    return value


def _name_output(state: Lowering, name: str, value: Value, inputs: tuple[str, ...]) -> None:
    """Give an output's stored tensor the output's name: by renaming, or by a View when the tensor has other duties."""
    build = state.build
    if value.tensor == name:
        return
    if name in build.tensors:  # the output is a moved copy of a tensor that already has its name
        state.rename(name, build.unique(f"{name}.unmoved", build.tensors))
    if value.tensor in inputs or value.tensor in state.graph.outputs:
        build.tensors[name] = replace(build.tensors[value.tensor], name=name)
        build.layers.append(View(name=build.layer_name(name), inputs=(value.tensor,), output=name, op="view"))
    else:
        state.rename(value.tensor, name)
