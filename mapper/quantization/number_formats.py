"""Choose the scale and zero point of every tensor.

Tensors that one layer only moves bytes between (concat, slice, max pooling, resize, permute, view) must have one
format, so formats belong to sets of tensors. Softmax results are fixed at scale 1/256, zero point -128; operands of a
product of two activations are symmetric (zero point 0) unless the left one is a softmax result. A format that the
model itself states (`Tensor.quant`) is that of its whole set; `stated` has made the network fit for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from gossamer.dataflow.network import (
    Concat,
    Layer,
    MatMul,
    Network,
    Permute,
    Pool2d,
    PoolKind,
    Resize,
    Slice,
    Softmax,
    Tensor,
    Unary,
    View,
)
from gossamer.dataflow.numerics import INT8_MAX, INT8_MIN, QuantParams

Range = tuple[float, float]

SOFTMAX_FORMAT = QuantParams(scale=1 / 256, zero_point=-128)
LEAST_SCALE, GREATEST_SCALE = 1e-30, 1e30
"""Bounds that keep every ratio of scales finite; only placeholder or constant tensors come near them."""


def moves_bytes(layer: Layer) -> bool:
    """Return whether the layer's output must have its inputs' format."""
    if isinstance(layer, Pool2d):
        return layer.kind is PoolKind.MAX
    return isinstance(layer, Concat | Slice | Resize | Permute | View)


def affine_format(low: float, high: float) -> QuantParams:
    """Return the format whose codes cover [low, high] and 0, which is exact. A range of zero width has scale 1."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = _bounded((high - low) / (INT8_MAX - INT8_MIN))
    zero_point = round(INT8_MIN - low / scale)
    return QuantParams(scale=scale, zero_point=max(INT8_MIN, min(INT8_MAX, zero_point)))


def symmetric_format(low: float, high: float) -> QuantParams:
    """Return the format with zero point 0 whose codes -127 .. 127 cover [low, high]."""
    return QuantParams(scale=_bounded(max(abs(low), abs(high)) / INT8_MAX), zero_point=0)


def separate_softmax(network: Network) -> Network:
    """Return the network with a change of format behind every softmax whose result cannot keep its fixed format.

    That is when a concat joins it with something else, a product takes it as its right operand, or the model states
    another format.
    """
    sets = _shared_sets(network)
    producer = {layer.output: layer for layer in network.layers}
    symmetric = {sets[layer.inputs[1]] for layer in network.layers if isinstance(layer, MatMul)}
    mixed = {
        root
        for tensor, root in sets.items()
        if (maker := producer.get(tensor)) is None or not (isinstance(maker, Softmax) or moves_bytes(maker))
    }
    tensors = dict(network.tensors)
    layers: list[Layer] = []
    for layer in network.layers:
        other = network.tensors[layer.output].quant not in (None, SOFTMAX_FORMAT)
        if not (isinstance(layer, Softmax) and (other or sets[layer.output] in symmetric | mixed)):
            layers.append(layer)
            continue
        inner = f"{layer.output}/softmax"
        tensors[inner] = Tensor(name=inner, shape=tensors[layer.output].shape)
        layers.append(replace(layer, output=inner))
        layers.append(Unary(name=f"{layer.name}/rescale", inputs=(inner,), output=layer.output, op="rescale", steps=()))
    return replace(network, tensors=tensors, layers=tuple(layers))


def unstated(network: Network) -> list[str]:
    """Return the tensors whose format must come from their range: neither stated nor fixed, nor is one they share."""
    sets = _shared_sets(network)
    stated = {sets[name] for name, tensor in network.tensors.items() if tensor.quant is not None}
    fixed = {sets[layer.output] for layer in network.layers if isinstance(layer, Softmax)}
    return [name for name in network.tensors if sets[name] not in stated | fixed]


def choose_formats(network: Network, ranges: Mapping[str, Range]) -> dict[str, QuantParams]:
    """Return the format of every tensor; ranges: the values that each tensor of `unstated` must represent."""
    sets = _shared_sets(network)
    members: dict[str, list[str]] = {}
    for tensor, root in sets.items():
        members.setdefault(root, []).append(tensor)
    stated = {sets[name]: tensor.quant for name, tensor in network.tensors.items() if tensor.quant is not None}
    fixed = {sets[layer.output] for layer in network.layers if isinstance(layer, Softmax)}
    operands = {sets[name] for layer in network.layers if isinstance(layer, MatMul) for name in layer.inputs}
    formats: dict[str, QuantParams] = {}
    for root, tensors in members.items():
        if root in stated:
            quant = stated[root]
        elif root in fixed:
            quant = SOFTMAX_FORMAT
        elif root in operands:
            quant = symmetric_format(*_union(ranges[tensor] for tensor in tensors))
        else:
            quant = affine_format(*_union(ranges[tensor] for tensor in tensors))
        formats.update(dict.fromkeys(tensors, quant))
    return formats


def _bounded(scale: float) -> float:
    """Return a scale within bounds that float32, in which ONNX states scales, holds exactly."""
    return float(np.float32(min(max(scale, LEAST_SCALE), GREATEST_SCALE))) if scale > 0 else 1.0


def _union(ranges: Iterable[Range]) -> Range:
    lows, highs = zip(*ranges, strict=True)
    return min(lows), max(highs)


def _shared_sets(network: Network) -> dict[str, str]:
    """Return a representative for every tensor, equal for tensors that must share one format."""
    parent = {name: name for name in network.tensors}

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for layer in network.layers:
        if moves_bytes(layer):
            for tensor in layer.inputs:
                parent[find(tensor)] = find(layer.output)
    return {name: find(name) for name in network.tensors}
