"""Export quantized layers as ONNX integer operators, so that onnxruntime can check the golden kernels.

Every graph reads and writes int8 (batch, rows, columns, channels) like the kernels; transposes are part of the graph.

Convolutions and products are given to onnxruntime as uint8 x uint8 (values and weights moved up by 128, zero points
too). Its int8 x int8 and uint8 x int8 kernels for AVX2 without VNNI add pairs of products in 16 bits with saturation
(VPMADDUBSW), so their sums are wrong for large weights; its uint8 x uint8 kernel is exact on every processor.
"""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from gossamer.dataflow.network import (
    Binary,
    BinaryKind,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Function,
    LayerNorm,
    Lrn,
    MatMul,
    Network,
    Permute,
    Pool2d,
    PoolKind,
    Resize,
    Slice,
    Softmax,
    Unary,
    View,
)

TO_NCHW, TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


class Graph:
    """Collects nodes and constants of one ONNX graph; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.count = 0

    def node(self, op, *inputs, domain="", **attributes):
        self.count += 1
        name = f"t{self.count}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], domain=domain, **attributes))
        return name

    def constant(self, value, dtype):
        self.count += 1
        name = f"c{self.count}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def unsigned(self, name):
        """Return int8 as uint8, moved up by 128."""
        wide = self.node("Add", self.node("Cast", name, to=TensorProto.INT32), self.constant(128, np.int32))
        return self.node("Cast", wide, to=TensorProto.UINT8)

    def signed(self, name):
        wide = self.node("Sub", self.node("Cast", name, to=TensorProto.INT32), self.constant(128, np.int32))
        return self.node("Cast", wide, to=TensorProto.INT8)

    def nchw(self, name):
        return self.node("Transpose", name, perm=TO_NCHW)

    def nhwc(self, name):
        return self.node("Transpose", name, perm=TO_NHWC)

    def real(self, name, quant):
        scale, zero = self.constant(quant.scale, np.float32), self.constant(quant.zero_point, np.int8)
        return self.node("DequantizeLinear", name, scale, zero)

    def quantized(self, name, quant):
        scale, zero = self.constant(quant.scale, np.float32), self.constant(quant.zero_point, np.int8)
        return self.node("QuantizeLinear", name, scale, zero)

    def model(self, inputs, outputs):
        """Return the model; inputs and outputs are (name, element type, shape)."""
        graph = helper.make_graph(
            self.nodes,
            "layer",
            [helper.make_tensor_value_info(*entry) for entry in inputs],
            [helper.make_tensor_value_info(*entry) for entry in outputs],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run(model, values):
    """Return the first output of a model, run without graph optimisations so that the operators are those written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(values))[0]


def _tensor(network: Network, name, kind=TensorProto.INT8):
    return (name, kind, network.tensors[name].shape)


def run_accumulators(network: Network, layer, values):
    """Return onnxruntime's int32 sums of (value - zero point) * weight for a Conv2d, ConvTranspose2d or MatMul.

    Transposed convolution has no integer operator: float32 on integers, exact below 2**24.
    """
    graph = Graph()
    quant = network.tensors[layer.inputs[0]].quant
    zero = graph.constant(quant.zero_point + 128, np.uint8)
    half = graph.constant(128, np.uint8)
    match layer:
        case Conv2d():
            sums = graph.node(
                "ConvInteger", graph.nchw(graph.unsigned(layer.inputs[0])), _weight(graph, layer), zero, half,
                **_conv_attributes(layer),
            )  # fmt: skip
            out = graph.nhwc(sums)
        case MatMul():
            b = _second_operand(graph, layer)
            out = graph.node("MatMulInteger", graph.unsigned(layer.inputs[0]), graph.unsigned(b), zero, half)
        case ConvTranspose2d():
            centred = graph.node(
                "Sub",
                graph.node("Cast", layer.inputs[0], to=TensorProto.FLOAT),
                graph.constant(quant.zero_point, np.float32),
            )
            weight = graph.constant(layer.weight.transpose(3, 0, 1, 2), np.float32)
            sums = graph.node("ConvTranspose", graph.nchw(centred), weight, **_transposed_attributes(layer))
            out = graph.node("Cast", graph.nhwc(sums), to=TensorProto.INT32)
    shape = network.tensors[layer.output].shape
    model = graph.model([_tensor(network, name) for name in layer.inputs], [(out, TensorProto.INT32, shape)])
    return run(model, {name: values[name] for name in layer.inputs})


def run_layer_onnx(network: Network, layer, values):
    """Return onnxruntime's int8 output of one quantized layer from our own inputs.

    A table that follows requantization is left out: compare with `without_table(layer)`.
    """
    graph = Graph()
    out = add_layer(graph, network, layer)
    shape = network.tensors[layer.output].shape
    names = dict.fromkeys(layer.inputs)
    model = graph.model([_tensor(network, name) for name in names], [(out, TensorProto.INT8, shape)])
    return run(model, {name: values[name] for name in names})


def network_model(network: Network):
    """Return the whole network as one model: its inputs and outputs int8 in stored order, tables as Gather."""
    graph = Graph()
    for layer in network.layers:
        out = add_layer(graph, network, layer)
        if without_table(layer) is not layer:
            place = graph.node("Add", graph.node("Cast", out, to=TensorProto.INT32), graph.constant(128, np.int32))
            out = graph.node("Gather", graph.constant(layer.params.table, np.int8), place)
        graph.nodes.append(helper.make_node("Identity", [out], [layer.output]))
    inputs, outputs = ([_tensor(network, name) for name in names] for names in (network.inputs, network.outputs))
    return graph.model(inputs, outputs)


def without_table(layer):
    """Return a layer whose requantization has no table: a table maps a difference of 1 to an arbitrary one."""
    if isinstance(layer, Conv2d | ConvTranspose2d | MatMul) and layer.params.table is not None:
        return replace(layer, params=replace(layer.params, table=None))
    return layer


def add_layer(graph: Graph, network: Network, layer):
    """Add one layer's operators to a graph, return the name of its int8 result."""
    quants = [network.tensors[name].quant for name in layer.inputs]
    quant = network.tensors[layer.output].quant
    first = layer.inputs[0]
    match layer:
        case Conv2d() | MatMul():
            return _clipped(graph, _linear(graph, layer, quants[0], quant), layer.params)
        case ConvTranspose2d():
            scale = _weight_scale(layer.params, quants[0], quant)
            real_weight = layer.weight * scale[:, None, None, None]
            weight = graph.constant(real_weight.transpose(3, 0, 1, 2), np.float32)
            bias = graph.constant(_bias(layer, quants[0]) * scale * quants[0].scale, np.float32)
            source = graph.nchw(graph.real(first, quants[0]))
            result = graph.node("ConvTranspose", source, weight, bias, **_transposed_attributes(layer))
            target = replace(quant, zero_point=layer.params.zero_out)
            return _clipped(graph, graph.quantized(graph.nhwc(result), target), layer.params)
        case Pool2d():
            return _pool(graph, layer, quants[0], quant)
        case Binary():
            return _clipped(graph, _binary(graph, layer, quants, quant), layer.params)
        case Unary() | Softmax() | LayerNorm() | Lrn():
            return graph.quantized(_real_function(graph, layer, graph.real(first, quants[0])), quant)
    return _movement(graph, layer, network.tensors[layer.output].shape)


def _conv_attributes(layer):
    return {
        "kernel_shape": layer.weight.shape[1:3], "strides": layer.stride, "dilations": layer.dilation,
        "pads": layer.pads, "group": layer.groups,
    }  # fmt: skip


def _transposed_attributes(layer):
    return {
        "kernel_shape": layer.weight.shape[1:3], "strides": layer.stride, "pads": layer.pads,
        "output_padding": layer.output_padding,
    }  # fmt: skip


def _weight(graph, layer):
    return graph.constant(layer.weight.transpose(0, 3, 1, 2).astype(np.int16) + 128, np.uint8)


def _second_operand(graph, layer):
    return graph.node("Transpose", layer.inputs[1], perm=(0, 1, 3, 2)) if layer.transpose_b else layer.inputs[1]


def _weight_scale(params, in_quant, out_quant):
    """Return the real weight scales that the multipliers and shifts stand for."""
    ratio = params.multiplier.astype(np.float64) / 2.0 ** params.shift.astype(np.float64)
    return ratio * out_quant.scale / in_quant.scale


def _bias(layer, quant):
    """Return the bias without the zero point's share, in units of the accumulator."""
    total = layer.weight.reshape(layer.weight.shape[0], -1).sum(axis=1, dtype=np.int64)
    return layer.params.bias + quant.zero_point * total


def _linear(graph, layer, in_quant, out_quant):
    scale = _weight_scale(layer.params, in_quant, out_quant)
    x_scale, x_zero = graph.constant(in_quant.scale, np.float32), graph.constant(in_quant.zero_point + 128, np.uint8)
    y_scale = graph.constant(out_quant.scale, np.float32)
    y_zero = graph.constant(layer.params.zero_out + 128, np.uint8)
    if isinstance(layer, MatMul):
        assert np.ptp(scale) == 0, "one scale for the whole product"
        assert not layer.params.bias.any()
        b = graph.unsigned(_second_operand(graph, layer))
        b_scale, b_zero = graph.constant(scale[0], np.float32), graph.constant(128, np.uint8)
        a = graph.unsigned(layer.inputs[0])
        return graph.signed(graph.node("QLinearMatMul", a, x_scale, x_zero, b, b_scale, b_zero, y_scale, y_zero))
    result = graph.node(
        "QLinearConv", graph.nchw(graph.unsigned(layer.inputs[0])), x_scale, x_zero, _weight(graph, layer),
        graph.constant(scale, np.float32), graph.constant(np.full(scale.size, 128), np.uint8), y_scale, y_zero,
        graph.constant(_bias(layer, in_quant), np.int32), **_conv_attributes(layer),
    )  # fmt: skip
    return graph.signed(graph.nhwc(result))


def _clipped(graph, name, params):
    if (params.low, params.high) == (-128, 127):
        return name
    return graph.node("Clip", name, graph.constant(params.low, np.int8), graph.constant(params.high, np.int8))


def _pool(graph, layer, in_quant, out_quant):
    pads = {
        "kernel_shape": layer.kernel,
        "strides": layer.stride,
        "pads": layer.pads,
        "ceil_mode": int(any(layer.extra_pads)),
    }
    if layer.kind is PoolKind.MAX:
        return graph.nhwc(graph.node("MaxPool", graph.nchw(layer.inputs[0]), **pads))
    source = graph.nchw(graph.real(layer.inputs[0], in_quant))
    result = graph.node("AveragePool", source, count_include_pad=int(layer.count_include_pad), **pads)
    return _clipped(graph, graph.quantized(graph.nhwc(result), out_quant), layer.params)


def _binary(graph, layer, quants, out_quant):
    if layer.kind is BinaryKind.SUBTRACT:
        reals = [graph.real(name, quant) for name, quant in zip(layer.inputs, quants, strict=True)]
        return graph.quantized(graph.node("Sub", *reals), out_quant)
    operands = []
    for name, quant in [*zip(layer.inputs, quants, strict=True), (None, out_quant)]:
        operands += [name] if name is not None else []
        operands += [graph.constant(quant.scale, np.float32), graph.constant(quant.zero_point, np.int8)]
    op = "QLinearAdd" if layer.kind is BinaryKind.ADD else "QLinearMul"
    return graph.node(op, *operands, domain="com.microsoft")


def _real_function(graph, layer, real):
    match layer:
        case Softmax():
            return graph.node("Softmax", real, axis=3)
        case LayerNorm():
            gamma, beta = graph.constant(layer.gamma, np.float32), graph.constant(layer.beta, np.float32)
            return graph.node("LayerNormalization", real, gamma, beta, axis=3, epsilon=layer.epsilon)
        case Lrn():
            scaled = {"size": layer.window, "alpha": layer.alpha, "beta": layer.beta, "bias": layer.bias}
            return graph.nhwc(graph.node("LRN", graph.nchw(real), **scaled))
    for step in layer.steps:
        real = _step(graph, step, real)
    return real


def _step(graph, step, real):
    """Add one unary function as ONNX spells it."""
    numbers = [graph.constant(value, np.float32) for value in step.arguments]
    match step.function:
        case Function.CLIP:
            return graph.node("Clip", real, *numbers)
        case Function.HARD_SIGMOID:
            return graph.node("HardSigmoid", real, alpha=step.arguments[0], beta=step.arguments[1])
        case Function.HARD_SWISH:
            return graph.node("HardSwish", real)
        case Function.SILU:
            return graph.node("Mul", real, graph.node("Sigmoid", real))
        case Function.GELU:
            inner = graph.node("Erf", graph.node("Mul", real, graph.constant(2**-0.5, np.float32)))
            one = graph.node("Add", inner, graph.constant(1, np.float32))
            return graph.node("Mul", graph.node("Mul", real, one), graph.constant(0.5, np.float32))
        case Function.LEAKY_RELU:
            return graph.node("LeakyRelu", real, alpha=step.arguments[0])
        case Function.AFFINE:
            return graph.node("Add", graph.node("Mul", real, numbers[0]), numbers[1])
        case Function.POWER:
            return graph.node("Pow", real, numbers[0])
    names = {
        Function.RELU: "Relu", Function.SIGMOID: "Sigmoid", Function.TANH: "Tanh", Function.ERF: "Erf",
        Function.EXP: "Exp", Function.SQRT: "Sqrt", Function.RECIPROCAL: "Reciprocal", Function.ABS: "Abs",
    }  # fmt: skip
    return graph.node(names[step.function], real)


def _movement(graph, layer, shape):
    first = layer.inputs[0]
    match layer:
        case Concat():
            return graph.node("Concat", *layer.inputs, axis=layer.axis)
        case Slice():
            ends = [graph.constant([n], np.int64) for n in (layer.start, layer.stop, layer.axis, layer.step)]
            return graph.node("Slice", first, *ends)
        case Resize():
            scales = graph.constant([1, 1, *layer.factors], np.float32)
            mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            return graph.nhwc(graph.node("Resize", graph.nchw(first), "", scales, **mode))
        case Permute():
            viewed = graph.node("Reshape", first, graph.constant(layer.view, np.int64))
            moved = graph.node("Transpose", viewed, perm=layer.order)
            return graph.node("Reshape", moved, graph.constant(shape, np.int64))
        case View():
            return graph.node("Reshape", first, graph.constant(shape, np.int64))
    raise AssertionError(f"no ONNX form of {layer}")
