"""Fold scales, unary functions and MatMul factors into neighbouring layers; drop layers nobody needs.

Only a tensor with one reader, that is no output of the network, can disappear into its producer or its reader; one
whose format the model states stays, but between the sums of a convolution and a function, where hardware has a format.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError
from gossamer.dataflow.functions import simplify
from gossamer.dataflow.network import (
    Binary,
    Conv2d,
    ConvTranspose2d,
    Function,
    Layer,
    LayerNorm,
    MatMul,
    Permute,
    Slice,
    Step,
    Tensor,
    Unary,
    View,
)
from gossamer.mapper.quantization.tables import clamp_limits

Vector = NDArray[np.float32]


def fold_layers(
    layers: list[Layer], tensors: dict[str, Tensor], outputs: tuple[str, ...]
) -> tuple[tuple[Layer, ...], dict[str, Tensor]]:
    """Return the folded layers in order, and the tensors they still use."""
    folding = _Folding(_needed(layers, outputs), set(outputs), tensors)
    folding.run()
    folding.scale_products()
    result = tuple(layer for layer in folding.result if layer is not None)
    used = {name for layer in result for name in (*layer.inputs, layer.output)} | set(outputs)
    return result, {name: tensor for name, tensor in tensors.items() if name in used}


def _needed(layers: list[Layer], outputs: tuple[str, ...]) -> list[Layer]:
    wanted = set(outputs)
    kept = []
    for layer in reversed(layers):
        if layer.output in wanted:
            wanted.update(layer.inputs)
            kept.append(layer)
    return kept[::-1]


@dataclass(slots=True)
class _Affine:
    """a x + b per channel, or for all channels when the arrays have one element."""

    factors: Vector
    offsets: Vector


class _Folding:
    """One walk in topological order; `result` holds the layers so far, None where one was folded into another."""

    def __init__(self, layers: list[Layer], outputs: set[str], tensors: dict[str, Tensor]) -> None:
        self.layers, self.outputs = layers, outputs
        self.stated = {name: tensor.quant for name, tensor in tensors.items() if tensor.quant is not None}
        self.result: list[Layer | None] = []
        self.producer: dict[str, int] = {}
        self.reads: dict[str, int] = {}
        for layer in layers:
            for name in layer.inputs:
                self.reads[name] = self.reads.get(name, 0) + 1

    def run(self) -> None:
        for layer in self.layers:
            index = self._private_producer(layer.inputs[0], layer) if len(layer.inputs) == 1 else None
            source = self.result[index] if index is not None else None
            merged = _into_producer(source, layer) if source is not None else None
            if source is None:
                index, merged = self._behind_sums(layer)
            if index is not None and merged is not None:
                self.result[index] = merged
                self.producer[layer.output] = index
                continue
            if index is not None and source is not None and isinstance(layer, Conv2d):
                ahead = _into_reader(source, layer)
                if ahead is not None:
                    self.result[index], layer = None, ahead
            self.producer[layer.output] = len(self.result)
            self.result.append(layer)

    def _private_producer(self, tensor: str, reader: Layer | None = None) -> int | None:
        """Return the place of the layer that makes a tensor only its one reader sees, or None.

        A tensor that the model rounds to a format must stay, but for a relu or clip that keeps the format.
        """
        if tensor in self.stated:
            clamps = isinstance(reader, Unary) and clamp_limits(reader.steps) is not None
            if not clamps or reader is None or self.stated[tensor] != self.stated.get(reader.output):
                return None
        return self._sole_producer(tensor)

    def _sole_producer(self, tensor: str) -> int | None:
        """Return the place of the layer that makes a tensor with one reader, whatever its format, or None."""
        return self.producer.get(tensor) if self.reads[tensor] == 1 and tensor not in self.outputs else None

    def _behind_sums(self, layer: Layer) -> tuple[int | None, Layer | None]:
        """Return the place of a convolution whose sums are rounded to a stated format and then given to a function that
        is more than a clamp, and both in one; hardware does just that with a table. (None, None) for anything else.
        """
        if not isinstance(layer, Unary) or not layer.steps or clamp_limits(layer.steps) is not None:
            return None, None
        tensor = layer.inputs[0]
        index = self._sole_producer(tensor)
        source = self.result[index] if index is not None and tensor in self.stated else None
        if not isinstance(source, Conv2d | ConvTranspose2d) or source.activation:
            return None, None
        return index, replace(source, output=layer.output, activation=layer.steps, inner=self.stated[tensor])

    def scale_products(self) -> None:
        """Move a pure scale of a MatMul's operand, also through layers that only move bytes, into its factor."""
        for index, layer in enumerate(self.result):
            if not isinstance(layer, MatMul):
                continue
            for operand in layer.inputs:
                layer = self._take_scale(layer, operand)
            self.result[index] = layer

    def _take_scale(self, product: MatMul, operand: str) -> MatMul:
        reader: int | None = None
        index = self._private_producer(operand)
        while index is not None and isinstance(mover := self.result[index], Permute | View | Slice):
            reader, index = index, self._private_producer(mover.inputs[0])
        found = self.result[index] if index is not None else None
        factor = _pure_factor(found.steps) if isinstance(found, Unary) else None
        if index is None or found is None or factor is None:
            return product
        self.result[index] = None
        source = found.inputs[0]
        moved = self.result[reader] if reader is not None else None
        if reader is not None and moved is not None:
            self.result[reader] = replace(moved, inputs=(source,))
            return replace(product, factor=product.factor * factor)
        inputs = tuple(source if name == operand else name for name in product.inputs)
        return replace(product, inputs=inputs, factor=product.factor * factor)


def _pure_factor(steps: tuple[Step, ...]) -> float | None:
    match steps:
        case (Step(Function.AFFINE, (a, 0.0)),) if a > 0:
            return float(a)
    return None


def _is_scale(layer: Conv2d) -> bool:
    return layer.weight.shape == (layer.groups, 1, 1, 1) and layer.stride == (1, 1) and not any(layer.pads)


def _affine(layer: Layer) -> _Affine | None:
    """Return what a layer does when it is only a scale and shift, else None."""
    if isinstance(layer, Conv2d) and _is_scale(layer) and not layer.activation:
        factors = layer.weight.reshape(-1)
        return _Affine(factors, np.zeros_like(factors) if layer.bias is None else layer.bias)
    if isinstance(layer, Unary) and len(layer.steps) == 1 and layer.steps[0].function is Function.AFFINE:
        return _step_affine(layer.steps[0])
    return None


def _step_affine(step: Step) -> _Affine:
    a, b = step.arguments
    return _Affine(np.array([a], np.float32), np.array([b], np.float32))


def _into_producer(source: Layer, layer: Layer) -> Layer | None:
    """Return the producer with the layer's work folded in, or None when it cannot take it."""
    if isinstance(layer, Unary):
        return _unary_into(source, layer)
    affine = _affine(layer)
    if affine is None:
        return None
    match source:
        case Conv2d(activation=()) | ConvTranspose2d(activation=()):
            return replace(_scaled(source, affine), output=layer.output)
        case LayerNorm():
            return replace(_scaled_norm(source, affine), output=layer.output)
    return None


def _unary_into(source: Layer, layer: Unary) -> Layer | None:
    steps = layer.steps
    match source:
        case Conv2d() | ConvTranspose2d():
            if not source.activation and steps[0].function is Function.AFFINE:
                source, steps = _scaled(source, _step_affine(steps[0])), steps[1:]
            return replace(source, output=layer.output, activation=simplify((*source.activation, *steps)))
        case Unary():
            merged = simplify((*source.steps, *steps))
            op = "+".join(step.function.value for step in merged) or "identity"
            return replace(source, output=layer.output, op=op, steps=merged)
        case Binary(activation=()) if all(step.function in (Function.RELU, Function.CLIP) for step in steps):
            return replace(source, output=layer.output, activation=steps)
        case LayerNorm() if (affine := _affine(layer)) is not None:
            return replace(_scaled_norm(source, affine), output=layer.output)
        case MatMul() if (factor := _pure_factor(steps)) is not None:
            return replace(source, output=layer.output, factor=source.factor * factor)
    return None


def _scaled(layer: Conv2d | ConvTranspose2d, affine: _Affine) -> Conv2d | ConvTranspose2d:
    outputs = layer.weight.shape[0]
    factors = np.broadcast_to(affine.factors, (outputs,))
    offsets = np.array(np.broadcast_to(affine.offsets, (outputs,)))
    weight = layer.weight
    if not any(weight.strides[1:]):  # placeholder weights: one value per output, and so they stay
        weight = weight[:, :1, :1, :1]
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = _finite(layer, weight * factors[:, None, None, None])
        bias = offsets if layer.bias is None else layer.bias * factors + offsets
    known = layer.weight_scale is not None and bool((factors > 0).all())
    return replace(
        layer,
        weight=np.broadcast_to(scaled, layer.weight.shape),
        weight_scale=layer.weight_scale * factors if known and layer.weight_scale is not None else None,
        bias=_finite(layer, bias),
    )


def _scaled_norm(layer: LayerNorm, affine: _Affine) -> LayerNorm:
    with np.errstate(over="ignore", invalid="ignore"):
        gamma, beta = layer.gamma * affine.factors, layer.beta * affine.factors + affine.offsets
    return replace(layer, gamma=_finite(layer, gamma), beta=_finite(layer, beta))


def _into_reader(source: Layer, layer: Conv2d) -> Conv2d | None:
    """Return the convolution with the scale and shift before it folded in; padding must still mean zero before it."""
    affine = _affine(source)
    if affine is None or (any(layer.pads) and affine.offsets.any()):
        return None
    outputs, rows, columns, inputs = layer.weight.shape
    channels = inputs * layer.groups
    factors = np.broadcast_to(affine.factors, (channels,)).reshape(layer.groups, 1, 1, 1, inputs)
    offsets = np.broadcast_to(affine.offsets, (channels,)).reshape(layer.groups, 1, 1, 1, inputs)
    grouped = layer.weight.reshape(layer.groups, outputs // layer.groups, rows, columns, inputs)
    with np.errstate(over="ignore", invalid="ignore"):
        shift = (grouped * offsets).sum((2, 3, 4)).reshape(outputs)
        weight = (grouped * factors).reshape(layer.weight.shape)
        bias = shift if layer.bias is None else layer.bias + shift
    return replace(
        layer, inputs=source.inputs, weight=_finite(layer, weight), weight_scale=None, bias=_finite(layer, bias)
    )


def _finite(layer: Layer, array: Vector) -> Vector:
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(array.sum()) and not np.isfinite(array).all():
            raise ModelError(f"node {layer.name}: scaling its weights by the layer next to it overflows float32")
    return array
