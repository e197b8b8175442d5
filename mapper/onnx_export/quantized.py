"""Write a quantized network as ONNX in QDQ form: every tensor's int8 format stated, weights int8, biases int32.

The operators are those the layers stand for, on real values, as other tools write and read them. Importing the file
gives the same formats and integers, so the same Program. Layers that run as one here (a convolution and its activation)
are a node each; scales and batch normalisation that were folded into weights stay folded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import (
    Binary,
    BinaryKind,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Layer,
    LayerNorm,
    Layout,
    Lrn,
    MatMul,
    Network,
    Permute,
    Pool2d,
    PoolKind,
    Resize,
    Shape,
    Slice,
    Softmax,
    Unary,
    View,
)
from gossamer.mapper.onnx_export.file import write_model
from gossamer.mapper.onnx_export.graph import TO_CHANNELS_FIRST, TO_CHANNELS_LAST, GraphBuilder

_AXES = (0, 2, 3, 1)
"""Place of stored axis (batch, rows, columns, channels) in an ONNX feature map."""


def qdq_model(network: Network) -> Any:
    """Return a quantized network as an ONNX model. Raises ModelError for a network that is not quantized."""
    if any(tensor.quant is None for tensor in network.tensors.values()):
        raise ModelError(f"{network.name}: only a quantized network has number formats to write; quantize it first")
    return _Export(network).run()


@dataclass(slots=True)
class _Source:
    """A layer's inputs as real values, by name and shape."""

    names: list[str]
    shapes: list[Shape]


class _Export:
    """`real`: the real values of each tensor, (batch, channels, rows, columns)."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.graph = GraphBuilder()
        self.real: dict[str, str] = {}
        for name in (*network.inputs, *network.outputs):
            self.graph.unique(name)

    def run(self) -> Any:
        """Return the model."""
        network = self.network
        for name in network.inputs:
            self._input(name)
        for layer in network.layers:
            self._layer(layer)
        for name in network.outputs:
            self._output(name)
        ends = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, self._layout(name).shape) for name in names]
            for names in (network.inputs, network.outputs)
        ]
        return self.graph.model(network.name, *ends)

    def _layout(self, name: str) -> Layout:
        """Return the shape an input or output has in the model; a network of no file's has feature maps."""
        batch, rows, columns, channels = self.network.tensors[name].shape
        feature_map = Layout(shape=(batch, channels, rows, columns), order=TO_CHANNELS_LAST)
        return self.network.layouts.get(name, feature_map)

    def _input(self, name: str) -> None:
        """State an input's format, then bring it from the model's own shape into that of a feature map."""
        layout, tensor, graph = self._layout(name), self.network.tensors[name], self.graph
        assert tensor.quant is not None
        found = graph.stated(name, tensor.quant, name)
        if layout.order != TO_CHANNELS_LAST:
            found = graph.transposed(found, layout.order, graph.unique(f"{name}.ordered"))
            if len(layout.shape) != 4:
                found = graph.reshaped(found, tensor.shape, graph.unique(f"{name}.map"))
            found = graph.transposed(found, TO_CHANNELS_FIRST, graph.unique(f"{name}.channels_first"))
        self.real[name] = found

    def _output(self, name: str) -> None:
        """Bring an output into the model's own shape, under its own name."""
        layout, graph, found = self._layout(name), self.graph, self.real[name]
        if layout.order != TO_CHANNELS_LAST:
            found = graph.transposed(found, TO_CHANNELS_LAST, graph.unique(f"{name}.channels_last"))
            if len(layout.shape) != 4:
                ordered = tuple(layout.shape[axis] for axis in layout.order)
                found = graph.reshaped(found, ordered, graph.unique(f"{name}.unmapped"))
            found = graph.transposed(found, np.argsort(layout.order).tolist(), graph.unique(f"{name}.restored"))
        graph.node("Identity", [found], name, graph.unique(f"{name}.output"))

    def _layer(self, layer: Layer) -> None:
        """Append a layer's nodes, the first or only one with its name, and state its output's format."""
        tensor = self.network.tensors[layer.output]
        assert tensor.quant is not None
        source = _Source(
            [self.real[name] for name in layer.inputs], [self.network.tensors[name].shape for name in layer.inputs]
        )
        if isinstance(layer, Unary) and not layer.steps:  # a change of format: nothing but another QuantizeLinear
            self.real[layer.output] = self.graph.stated(source.names[0], tensor.quant, layer.output, layer.name)
            return
        target = self.graph.unique(layer.output)
        found = self._operator(layer, source, target, tensor.shape)
        self.real[layer.output] = self.graph.stated(found, tensor.quant, layer.output)

    def _operator(self, layer: Layer, source: _Source, target: str, shape: Shape) -> str:
        """Append a layer's nodes, of which the one that makes its values has the output `target`; return the map."""
        graph, first = self.graph, source.names[0]
        match layer:
            case Conv2d() | ConvTranspose2d():
                return self._convolution(layer, source, target, shape)
            case MatMul():
                return self._product(layer, source, target)
            case Pool2d():
                self._pool(layer, source, target)
            case Binary():
                op = {BinaryKind.ADD: "Add", BinaryKind.SUBTRACT: "Sub", BinaryKind.MULTIPLY: "Mul"}[layer.kind]
                inner = graph.unique(f"{target}.exact") if layer.activation else target
                graph.node(op, source.names, inner, layer.name)
                graph.functions(inner, layer.activation, target, f"{layer.name}.activation")
            case Unary():
                graph.functions(first, layer.steps, target, layer.name)
            case Softmax():
                graph.node("Softmax", [first], target, layer.name, axis=1)
            case LayerNorm():
                return self._layer_norm(layer, first, target)
            case Lrn():
                numbers = {"alpha": layer.alpha, "beta": layer.beta, "bias": layer.bias}
                graph.node("LRN", [first], target, layer.name, size=layer.window, **numbers)
            case _:
                return self._movement(layer, source, target, shape)
        return target

    def _first(self, name: str) -> str:
        """Return a result in rows of channels as a feature map; that moves nothing where channels come last."""
        return self.graph.transposed(name, TO_CHANNELS_FIRST, self.graph.unique(f"{name}.channels_first"))

    def _convolution(self, layer: Conv2d | ConvTranspose2d, source: _Source, target: str, shape: Shape) -> str:
        """Append Conv, Gemm, MatMul or ConvTranspose, then the activation, behind its own format if it has one."""
        graph = self.graph
        inner = graph.unique(f"{target}.sums") if layer.activation else target
        if isinstance(layer, ConvTranspose2d):
            weight = self._weight(layer, (3, 0, 1, 2), 1)
            graph.node(
                "ConvTranspose", [source.names[0], weight, *self._bias(layer)], inner, layer.name,
                kernel_shape=layer.weight.shape[1:3], strides=layer.stride, pads=layer.pads,
                output_padding=layer.output_padding,
            )  # fmt: skip
        elif layer.op == "gemm" and shape[1:3] == (1, 1) and layer.weight.shape[1:3] == source.shapes[0][1:3]:
            inner = self._gemm(layer, source, inner)
        elif layer.op == "gemm" and layer.weight.shape[1:3] == (1, 1):
            inner = self._rows_product(layer, source, inner)
        else:
            weight = self._weight(layer, (0, 3, 1, 2), 0)
            graph.node(
                "Conv", [source.names[0], weight, *self._bias(layer)], inner, layer.name,
                kernel_shape=layer.weight.shape[1:3], strides=layer.stride, pads=layer.pads,
                dilations=layer.dilation, group=layer.groups,
            )  # fmt: skip
        if layer.inner is not None:
            inner = graph.stated(inner, layer.inner, inner)
        return graph.functions(inner, layer.activation, target, f"{layer.name}.activation")

    def _gemm(self, layer: Conv2d, source: _Source, target: str) -> str:
        graph, (batch, *_) = self.graph, source.shapes[0]
        flat = graph.node("Flatten", [source.names[0]], graph.unique(f"{layer.name}.flat"))
        assert layer.weight_scale is not None
        codes = layer.weight.transpose(0, 3, 1, 2).reshape(len(layer.weight), -1)
        weight = graph.weights(codes, layer.weight_scale, f"{layer.name}.weight", 0)
        graph.node("Gemm", [flat, weight, *self._bias(layer)], target, layer.name, transB=1)
        return graph.reshaped(target, (batch, len(layer.weight), 1, 1), graph.unique(f"{target}.map"))

    def _rows_product(self, layer: Conv2d, source: _Source, target: str) -> str:
        graph = self.graph
        rows = graph.transposed(source.names[0], TO_CHANNELS_LAST, graph.unique(f"{layer.name}.rows"))
        assert layer.weight_scale is not None
        codes = layer.weight.reshape(len(layer.weight), -1).T
        weight = graph.weights(codes, layer.weight_scale, f"{layer.name}.weight", 1)
        if layer.bias is None:
            return self._first(graph.node("MatMul", [rows, weight], target, layer.name))
        product = graph.node("MatMul", [rows, weight], graph.unique(f"{target}.product"), layer.name)
        return self._first(graph.node("Add", [product, *self._bias(layer)], target))

    def _weight(self, layer: Conv2d | ConvTranspose2d, order: Sequence[int], axis: int) -> str:
        assert layer.weight_scale is not None
        return self.graph.weights(layer.weight.transpose(order), layer.weight_scale, f"{layer.name}.weight", axis)

    def _bias(self, layer: Conv2d | ConvTranspose2d) -> list[str]:
        if layer.bias is None:
            return []
        quant = self.network.tensors[layer.inputs[0]].quant
        assert quant is not None
        assert layer.weight_scale is not None
        return [self.graph.bias(layer.bias, quant.scale * layer.weight_scale, f"{layer.name}.bias")]

    def _product(self, layer: MatMul, source: _Source, target: str) -> str:
        """Append the product of two activations on rows of (columns, channels)."""
        graph = self.graph
        left = graph.transposed(source.names[0], TO_CHANNELS_LAST, graph.unique(f"{layer.name}.left"))
        order = (0, 2, 1, 3) if layer.transpose_b else TO_CHANNELS_LAST
        right = graph.transposed(source.names[1], order, graph.unique(f"{layer.name}.right"))
        if layer.factor == 1:
            return self._first(graph.node("MatMul", [left, right], target, layer.name))
        found = graph.node("MatMul", [left, right], graph.unique(f"{target}.product"), layer.name)
        factor = graph.constant(f"{layer.name}.factor", layer.factor, np.float32)
        return self._first(graph.node("Mul", [found, factor], target))

    def _pool(self, layer: Pool2d, source: _Source, target: str) -> None:
        graph, kind = self.graph, "Average" if layer.kind is PoolKind.AVERAGE else "Max"
        if layer.op.startswith("global"):
            graph.node(f"Global{kind}Pool", source.names, target, layer.name)
            return
        attributes = {"count_include_pad": int(layer.count_include_pad)} if kind == "Average" else {}
        graph.node(
            f"{kind}Pool", source.names, target, layer.name, kernel_shape=layer.kernel, strides=layer.stride,
            pads=layer.pads, ceil_mode=int(any(layer.extra_pads)), **attributes,
        )  # fmt: skip

    def _layer_norm(self, layer: LayerNorm, source: str, target: str) -> str:
        graph = self.graph
        rows = graph.transposed(source, TO_CHANNELS_LAST, graph.unique(f"{layer.name}.rows"))
        gamma = graph.constant(f"{layer.name}.gamma", layer.gamma, np.float32)
        beta = graph.constant(f"{layer.name}.beta", layer.beta, np.float32)
        graph.node("LayerNormalization", [rows, gamma, beta], target, layer.name, axis=3, epsilon=layer.epsilon)
        return self._first(target)

    def _movement(self, layer: Layer, source: _Source, target: str, shape: Shape) -> str:
        graph, first = self.graph, source.names[0]
        match layer:
            case Concat():
                graph.node("Concat", source.names, target, layer.name, axis=_AXES[layer.axis])
            case Slice():
                ends = {"starts": layer.start, "ends": layer.stop, "axes": _AXES[layer.axis], "steps": layer.step}
                inputs = [graph.constant(f"{layer.name}.{name}", [value], np.int64) for name, value in ends.items()]
                graph.node("Slice", [first, *inputs], target, layer.name)
            case Resize():
                scales = graph.constant(f"{layer.name}.scales", (1, 1, *layer.factors), np.float32)
                modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
                graph.node("Resize", [first, "", scales], target, layer.name, mode="nearest", **modes)
            case Permute() | View():
                found = graph.transposed(first, TO_CHANNELS_LAST, graph.unique(f"{layer.name}.stored"))
                if isinstance(layer, Permute):
                    found = graph.reshaped(found, layer.view, graph.unique(f"{layer.name}.view"))
                    found = graph.transposed(found, layer.order, graph.unique(f"{layer.name}.moved"))
                return self._first(graph.reshaped(found, shape, target))
            case _:
                raise ModelError(f"{layer.name}: a {layer.op} layer cannot be written as ONNX")
        return target


def write_qdq(network: Network, path: Path) -> int:
    """Write a quantized network as ONNX and return the bytes of the file, which appears when it is whole."""
    model = qdq_model(network)
    write_model(model, path)
    return int(model.ByteSize())
