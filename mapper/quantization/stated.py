"""Fit the number formats that a model states to what the layers need, and take over the integer weights it states.

A layer that only moves bytes has one format: where the model states another one for its input, a change of format (a
256-entry table, `rescale`) comes first. That equals changing the format behind it, because moving elements and taking
their maximum commute with a monotone function. The right operand of a product gets zero point 0 the same way.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.network import Layer, MatMul, Network, Softmax, Tensor, Unary
from gossamer.dataflow.numerics import INT8_MAX, INT8_MIN, QuantParams
from gossamer.mapper.quantization.number_formats import Range, affine_format, moves_bytes, symmetric_format

_SAME_SCALE = 1e-6
"""Scales closer than this differ by rounding in float32 only."""


def stated_range(quant: QuantParams) -> Range:
    """Return the real values of the smallest and the largest code."""
    return quant.scale * (INT8_MIN - quant.zero_point), quant.scale * (INT8_MAX - quant.zero_point)


def fit_stated(network: Network) -> Network:
    """Return the network with stated formats spread over the layers that keep them, and changes of format inserted."""
    known = _spread(network)
    if not known:
        return network
    fitting = _Fitting(network, known)
    layers: list[Layer] = []
    for layer in network.layers:
        if moves_bytes(layer) and layer.output in known:
            target = known[layer.output]
            layer = replace(layer, inputs=tuple(fitting.operand(name, target) for name in layer.inputs))
        elif isinstance(layer, MatMul) and layer.inputs[1] in known and known[layer.inputs[1]].zero_point != 0:
            right = symmetric_format(*stated_range(known[layer.inputs[1]]))
            layer = replace(layer, inputs=(layer.inputs[0], fitting.operand(layer.inputs[1], right)))
        layers += [*fitting.taken(), layer]
    tensors = {name: replace(tensor, quant=known.get(name)) for name, tensor in fitting.tensors.items()}
    return replace(network, tensors=tensors, layers=tuple(layers))


class _Fitting:
    """Inserts each change of format once."""

    def __init__(self, network: Network, known: dict[str, QuantParams]) -> None:
        self.tensors: dict[str, Tensor] = dict(network.tensors)
        self.known = known
        self._made: dict[tuple[str, QuantParams], str] = {}
        self._new: list[Layer] = []

    def operand(self, name: str, target: QuantParams) -> str:
        """Return the tensor that holds `name` in the target format."""
        source = self.known.get(name, target)
        if _same(source, target):
            self.known[name] = target if name not in self.known else source
            return name
        if (name, target) not in self._made:
            inner = f"{name}/rescaled{len(self._made) or ''}"
            self._made[name, target] = inner
            self.tensors[inner] = replace(self.tensors[name], name=inner)
            self.known[inner] = target
            self._new.append(Unary(name=f"{inner}/rescale", inputs=(name,), output=inner, op="rescale", steps=()))
        return self._made[name, target]

    def taken(self) -> list[Layer]:
        """Return the layers made since the last call."""
        new, self._new = self._new, []
        return new


def _same(a: QuantParams, b: QuantParams) -> bool:
    return a.zero_point == b.zero_point and math.isclose(a.scale, b.scale, rel_tol=_SAME_SCALE)


def _spread(network: Network) -> dict[str, QuantParams]:
    """Return stated formats, also of tensors that get theirs through layers that only move bytes."""
    known = {name: tensor.quant for name, tensor in network.tensors.items() if tensor.quant is not None}
    movers = [layer for layer in network.layers if moves_bytes(layer)]
    soft = {layer.output for layer in network.layers if isinstance(layer, Softmax)}
    if not known:
        return known
    for layer in movers:
        found = [known[name] for name in layer.inputs if name in known]
        if layer.output in known or len(found) < len(layer.inputs):
            continue
        lows, highs = zip(*map(stated_range, found), strict=True)
        alike = all(_same(found[0], other) for other in found)
        known[layer.output] = found[0] if alike else affine_format(min(lows), max(highs))
    for layer in reversed(movers):
        if layer.output in known:
            for name in layer.inputs:
                if name not in soft:
                    known.setdefault(name, known[layer.output])
    return known


def stated_weights(
    rows: NDArray[np.float32], scale: NDArray[np.float64]
) -> tuple[NDArray[np.int8], NDArray[np.int64], NDArray[np.int64]]:
    """Return int8 codes of rows (channels, weights), the sum of each row, and its largest possible accumulator.

    Exact for rows that are codes times scale in float32: the quotient is off by less than 2**-16.
    """
    codes = np.clip(np.rint(rows / scale[:, None]), INT8_MIN, INT8_MAX).astype(np.int8)
    wide = codes.astype(np.int64)
    positive, negative = np.maximum(wide, 0).sum(axis=1), np.maximum(-wide, 0).sum(axis=1)
    return codes, wide.sum(axis=1), np.maximum(128 * positive + 127 * negative, 127 * positive + 128 * negative)
