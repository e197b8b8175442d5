"""Quantize a network to int8 after training: number formats, integer weights, and every layer's constants.

Weights are symmetric per output channel in [-127, 127]. Activations have one format per tensor (`number_formats`).
A bias is an int32 multiple of input scale times weight scale, with the input's zero point folded in (of a transposed
convolution as if the gaps it inserts held the zero point, as padding does). It is kept below 2**29: a channel whose
weights are so small beside its bias that this fails gets a coarser weight scale, which costs nothing that an int8
output can show. Sums of products that could still leave int32 are refused.

What a model states itself (it was quantized before) is kept: formats, and int8 weights with their scales.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import (
    Binary,
    BinaryKind,
    Conv2d,
    ConvTranspose2d,
    Function,
    Layer,
    LayerNorm,
    Lrn,
    MatMul,
    Network,
    Pool2d,
    PoolKind,
    Softmax,
    Step,
    Unary,
)
from gossamer.dataflow.numerics import INT8_MAX, INT8_MIN, QuantParams, Requantization, VectorParams
from gossamer.mapper.quantization.calibrate import ActivationRange, calibrate, inner_tensor, needs_table
from gossamer.mapper.quantization.kernels import quantize_rows
from gossamer.mapper.quantization.number_formats import (
    Range,
    affine_format,
    choose_formats,
    separate_softmax,
    unstated,
)
from gossamer.mapper.quantization.stated import fit_stated, stated_weights
from gossamer.mapper.quantization.tables import (
    clamp_codes,
    common_multipliers,
    layer_norm_params,
    lrn_params,
    ratio_multiplier,
    ratio_multipliers,
    softmax_params,
    trim_flat_ends,
    unary_table,
)

BIAS_LIMIT = 2**29
_ZERO_ROW_BIAS = 2**20
_LEAST_WEIGHT_SCALE = 2.0**-99
"""Of weights that vanish; above the least scale that is imported."""
_INT32_MAX = 2**31 - 1

SIGMOID_RANGE: Range = (0.0, 255 / 256)
"""Range of every result of a sigmoid: scale 1/256, zero point -128."""


def quantize(
    network: Network,
    calibration: Mapping[str, NDArray[Any]] | None = None,
    method: str | ActivationRange = ActivationRange.MIN_MAX,
) -> Network:
    """Return the int8 network: int8 weights, `params` on every layer with arithmetic, a format on every tensor.

    calibration maps each input to float values in stored order (samples, rows, columns, channels); without it ranges
    come from one synthetic batch, and a note says so. A model that states every format needs none. method: how
    activation ranges are read (min-max, percentile, mse). Patterns are kept: quantization only adds zeros. Raises
    ModelError for an unknown method, bad calibration data, weights or biases that are not finite, and layers whose
    sums can leave int32.
    """
    try:
        method = ActivationRange(method)
    except ValueError as error:
        raise ModelError(
            f"activation range must be one of {', '.join(ActivationRange)}, not {str(method)!r}"
        ) from error
    for layer in network.layers:
        _check(layer)
    network = separate_softmax(fit_stated(network))
    ranges, notes = _ranges(network, calibration, method)
    for layer in network.layers:
        if _ends_in_sigmoid(layer):
            ranges[layer.output] = SIGMOID_RANGE
    formats = choose_formats(network, ranges)
    layers = tuple(_quantized_layer(network, layer, formats, ranges) for layer in network.layers)
    tensors = {name: replace(tensor, quant=formats[name]) for name, tensor in network.tensors.items()}
    return replace(network, tensors=tensors, layers=layers, notes=(*network.notes, *notes))


def _ranges(
    network: Network, calibration: Mapping[str, NDArray[Any]] | None, method: ActivationRange
) -> tuple[dict[str, Range], list[str]]:
    """Return the ranges that formats still need, and notes; nothing runs where the model states them all."""
    missing = unstated(network)
    inner = [layer for layer in network.layers if needs_table(layer) and getattr(layer, "inner", None) is None]
    if not missing and not inner:
        unused = ["The model states all its number formats: the calibration data is not used."]
        return {}, unused if calibration is not None else []
    ranges, notes = calibrate(network, calibration, method)
    if any(tensor.quant is not None for tensor in network.tensors.values()) and missing:
        notes.append(
            f"The model states no format for {len(missing)} of {len(network.tensors)} tensors, the first is "
            f"{missing[0]}: theirs come from calibration."
        )
    return ranges, notes


def _check(layer: Layer) -> None:
    """Raise ModelError for a layer that cannot be quantized."""
    needs_table(layer)
    if not isinstance(layer, Conv2d | ConvTranspose2d):
        return
    if layer.weight.dtype != np.float32:
        raise ModelError(f"{layer.name}: weights must be float32 to be quantized, not {layer.weight.dtype}")
    for what, values in (("weights", layer.weight), ("bias", layer.bias)):
        if values is not None and not np.isfinite(values).all():
            raise ModelError(f"{layer.name}: {what} must be finite; {int((~np.isfinite(values)).sum())} are not")


def _ends_in_sigmoid(layer: Layer) -> bool:
    steps: tuple[Step, ...] = ()
    match layer:
        case Unary():
            steps = layer.steps
        case Conv2d() | ConvTranspose2d():
            steps = layer.activation
    return bool(steps) and steps[-1].function is Function.SIGMOID


def _quantized_layer(
    network: Network, layer: Layer, formats: Mapping[str, QuantParams], ranges: Mapping[str, Range]
) -> Layer:
    """Return the layer with its integer constants; layers that only move bytes come back as they are."""
    source, target = formats[layer.inputs[0]], formats[layer.output]
    match layer:
        case Conv2d() | ConvTranspose2d():
            return _quantized_convolution(layer, source, target, ranges)
        case MatMul():
            ratio = source.scale * formats[layer.inputs[1]].scale * layer.factor / target.scale
            return replace(layer, params=_product_params(ratio, network.tensors[layer.output].shape[3], target))
        case Pool2d():
            return _quantized_pool(network, layer, source, target)
        case Binary():
            return replace(layer, params=_binary_params(layer, source, formats[layer.inputs[1]], target))
        case Unary():
            table = unary_table(layer.steps, source, target)
            params = VectorParams(zero_a=source.zero_point, zero_out=target.zero_point, table=table)
            return replace(layer, params=params)
        case Softmax():
            return replace(layer, params=softmax_params(source, target))
        case LayerNorm():
            return replace(layer, params=layer_norm_params(layer, source, target))
        case Lrn():
            channels = network.tensors[layer.inputs[0]].shape[3]
            return replace(layer, params=lrn_params(layer, channels, source, target))
    return layer


def _quantized_convolution(
    layer: Conv2d | ConvTranspose2d, source: QuantParams, target: QuantParams, ranges: Mapping[str, Range]
) -> Conv2d | ConvTranspose2d:
    """Return the layer with int8 weights and its Requantization; `ranges` has those before tabled activations."""
    channels = layer.weight.shape[0]
    bias = np.zeros(channels) if layer.bias is None else layer.bias.astype(np.float64)
    rows = np.ascontiguousarray(layer.weight).reshape(channels, -1)
    weight = np.empty(rows.shape, np.int8)
    scale = np.empty(channels)
    total, reach = np.empty(channels, np.int64), np.empty(channels, np.int64)
    wanted = np.abs(bias) / source.scale
    least = np.maximum(wanted / BIAS_LIMIT, _LEAST_WEIGHT_SCALE)
    if layer.weight_scale is None:
        quantize_rows(rows, least, np.where(bias == 0, 1.0, wanted / _ZERO_ROW_BIAS), weight, scale, total, reach)
    else:
        scale = np.maximum(layer.weight_scale, least)
        weight, total, reach = stated_weights(rows, scale)

    folded = np.rint(bias / (source.scale * scale)).astype(np.int64) - source.zero_point * total
    largest = reach + np.abs(folded)
    if (largest > _INT32_MAX).any():
        channel = int(largest.argmax())
        raise ModelError(
            f"{layer.name}: output channel {channel} can reach {int(largest[channel])}, beyond the 32-bit accumulator; "
            f"its {rows.shape[1]} weights per channel are too many. Split the layer's input channels"
        )
    low, high, table = INT8_MIN, INT8_MAX, None
    inner = target
    if needs_table(layer):
        inner = layer.inner or affine_format(
            *trim_flat_ends(layer.activation, *ranges[inner_tensor(layer)], tolerance=target.scale / 4)
        )
        table = unary_table(layer.activation, inner, target)
    else:
        low, high = clamp_codes(layer.activation, target)
    multiplier, shift = ratio_multipliers(source.scale * scale / inner.scale)
    params = Requantization(
        bias=folded.astype(np.int32), multiplier=multiplier, shift=shift, zero_out=inner.zero_point, low=low, high=high,
        table=table,
    )  # fmt: skip
    return replace(
        layer, weight=weight.reshape(layer.weight.shape), weight_scale=scale, inner=None if table is None else inner,
        params=params,
    )  # fmt: skip


def _product_params(ratio: float, channels: int, target: QuantParams) -> Requantization:
    """Return the Requantization of a product of two activations: one ratio for all channels, no bias.

    Its accumulators are sums of (a - zero_a) * b; a zero point of `a` (softmax results) depends on the data.
    """
    multiplier, shift = ratio_multiplier(ratio)
    return Requantization(
        bias=np.zeros(channels, np.int32),
        multiplier=np.full(channels, multiplier, np.int32),
        shift=np.full(channels, shift, np.uint8),
        zero_out=target.zero_point,
    )


def _quantized_pool(network: Network, layer: Pool2d, source: QuantParams, target: QuantParams) -> Pool2d:
    params = VectorParams(zero_a=source.zero_point, zero_out=target.zero_point)
    if layer.kind is PoolKind.MAX:
        return replace(layer, params=params)
    ratio = source.scale / target.scale
    mult_a, shift = ratio_multiplier(ratio / (layer.kernel[0] * layer.kernel[1]))
    counts = window_counts(layer, network.tensors[layer.inputs[0]].shape, network.tensors[layer.output].shape)
    return replace(
        layer,
        params=replace(params, mult_a=mult_a, shift=shift),
        count_multipliers=tuple((count, *ratio_multiplier(ratio / count)) for count in counts),
    )


def window_counts(layer: Pool2d, source: tuple[int, ...], target: tuple[int, ...]) -> list[int]:
    """Return every number of counted elements that a window of an average has, ascending, zero left out."""
    axes = []
    for axis in (0, 1):
        begin, end = 0, source[1 + axis]
        if layer.count_include_pad:
            begin, end = -layer.pads[axis], end + layer.pads[2 + axis]
        start = np.arange(target[1 + axis]) * layer.stride[axis] - layer.pads[axis]
        axes.append(np.minimum(start + layer.kernel[axis], end) - np.maximum(start, begin))
    counts = {int(rows) * int(columns) for rows in np.unique(axes[0]) for columns in np.unique(axes[1]) if rows > 0}
    return sorted(count for count in counts if count > 0)


def _binary_params(layer: Binary, a: QuantParams, b: QuantParams, target: QuantParams) -> VectorParams:
    low, high = clamp_codes(layer.activation, target)
    params = VectorParams(zero_a=a.zero_point, zero_b=b.zero_point, zero_out=target.zero_point, low=low, high=high)
    if layer.kind is BinaryKind.MULTIPLY:
        mult_a, shift = ratio_multiplier(a.scale * b.scale / target.scale)
        return replace(params, mult_a=mult_a, shift=shift)
    mult_a, mult_b, shift = common_multipliers(a.scale / target.scale, b.scale / target.scale)
    sign = -1 if layer.kind is BinaryKind.SUBTRACT else 1
    return replace(params, mult_a=mult_a, mult_b=sign * mult_b, shift=shift)
