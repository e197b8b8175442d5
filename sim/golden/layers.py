"""Run the layers of a quantized network with the golden kernels: the reference values of every tensor.

Arrays are int8 (batch, rows, columns, channels), channels not padded. Nothing here knows a schedule or a Program: the
executor, the hardware and this module meet only in the bytes of the tensors.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import (
    Binary,
    BinaryKind,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Layer,
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
from gossamer.dataflow.numerics import Requantization, VectorParams
from gossamer.sim.golden import convolution, elementwise, rows, windows
from gossamer.sim.golden.kernel_choice import convolve, multiply_batches
from gossamer.sim.golden.threads import share

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]

_NO_TABLE = np.zeros(0, np.int8)


def run_layers(network: Network, inputs: Mapping[str, Int8]) -> dict[str, Int8]:
    """Return every tensor of a quantized network, given its inputs.

    Raises ModelError if an input is missing or has another shape or type, or a layer is not quantized.
    """
    values: dict[str, Int8] = {name: _read(network, name, inputs, f"network {network.name}") for name in network.inputs}
    for layer in network.layers:
        values[layer.output] = run_layer(network, layer, values)
    return values


def run_layer(network: Network, layer: Layer, values: Mapping[str, Int8]) -> Int8:
    """Return the output of one quantized layer from `values`, which hold at least its inputs.

    Raises ModelError if an input is missing or has another shape or type, or the layer is not quantized.
    """
    shape = network.tensors[layer.output].shape
    sources = [_read(network, name, values, layer.name) for name in layer.inputs]
    result: NDArray[Any]
    match layer:
        case Conv2d() | ConvTranspose2d() | MatMul():
            acc = accumulators(network, layer, values)
            result = _requantized(acc, _requantization(layer, layer.params))
        case Pool2d():
            result = _pool(network, layer, sources[0])
        case Binary():
            result = _binary(layer, sources[0], sources[1])
        case Unary() | Softmax() | LayerNorm() | Lrn():
            result = _rowwise(layer, sources[0])
        case Concat():
            result = np.concatenate(sources, axis=layer.axis)
        case Slice():
            take = [slice(None)] * 4
            take[layer.axis] = slice(layer.start, layer.stop, layer.step)
            result = sources[0][tuple(take)]
        case Resize():
            result = sources[0].repeat(layer.factors[0], axis=1).repeat(layer.factors[1], axis=2)
        case Permute():
            result = sources[0].reshape(layer.view).transpose(layer.order).reshape(shape)
        case View():
            result = sources[0].reshape(shape)
        case _:
            raise ModelError(f"{layer.name}: the golden model has no kernel for {type(layer).__name__} ({layer.op})")
    if result.shape != shape:
        raise ModelError(
            f"{layer.name}: its output must have shape {shape}, not {result.shape}: check the layer's fields"
        )
    return np.ascontiguousarray(result)


def accumulators(network: Network, layer: Conv2d | ConvTranspose2d | MatMul, values: Mapping[str, Int8]) -> Int32:
    """Return the int32 accumulators of a layer before bias and requantization, shaped like its output.

    Convolutions: sums of stored values times weights, padding (and the gaps of a transposed convolution) holding the
    input's zero point. MatMul: the first operand's zero point is subtracted, the second's is 0.
    """
    sources = [_read(network, name, values, layer.name) for name in layer.inputs]
    acc = np.empty(network.tensors[layer.output].shape, np.int32)
    zero = _zero_point(network, layer.inputs[0], layer.name)
    match layer:
        case Conv2d():
            _check_int8(layer.weight, layer.name)
            convolve(layer, sources[0], zero, acc)
        case ConvTranspose2d():
            _check_int8(layer.weight, layer.name)
            (stride_y, stride_x), (top, left, _, _) = layer.stride, layer.pads
            convolution.convolve_transposed(
                sources[0], np.ascontiguousarray(layer.weight), zero, stride_y, stride_x, top, left, acc
            )
        case MatMul():
            a, b = sources
            if _zero_point(network, layer.inputs[1], layer.name) != 0:
                raise ModelError(f"{layer.name}: the second operand must be quantized with zero point 0")
            b = b if layer.transpose_b else b.swapaxes(2, 3)
            multiply_batches(
                a.reshape(-1, *a.shape[2:]),
                np.ascontiguousarray(b).reshape(-1, *b.shape[2:]),
                zero,
                acc.reshape(-1, *acc.shape[2:]),
            )
    return acc


def _read(network: Network, name: str, values: Mapping[str, Int8], where: str) -> Int8:
    """Return a tensor's values, contiguous, after checking their shape and type."""
    shape = network.tensors[name].shape
    if name not in values:
        raise ModelError(f"{where}: no values for tensor {name}; give int8 values of shape {shape}")
    array = values[name]
    if array.dtype != np.int8 or array.shape != shape:
        raise ModelError(f"{where}: tensor {name} must be int8 of shape {shape}, not {array.dtype} of {array.shape}")
    return np.ascontiguousarray(array)


def _zero_point(network: Network, name: str, where: str) -> int:
    quant = network.tensors[name].quant
    if quant is None:
        raise ModelError(f"{where}: tensor {name} is not quantized; quantize the network first")
    return quant.zero_point


def _requantization(layer: Layer, params: Requantization | None) -> Requantization:
    if params is None:
        raise ModelError(f"{layer.name}: this {layer.op} layer is not quantized; quantize the network first")
    return params


def _vector_params(layer: Layer, params: VectorParams | None) -> VectorParams:
    if params is None:
        raise ModelError(f"{layer.name}: this {layer.op} layer is not quantized; quantize the network first")
    return params


def _check_int8(weight: NDArray[Any], where: str) -> None:
    if weight.dtype != np.int8:
        raise ModelError(f"{where}: weights must be int8, not {weight.dtype}; quantize the network first")


def _requantized(acc: Int32, params: Requantization) -> Int8:
    """Return int8 outputs from accumulators with the channels last."""
    out = np.empty(acc.shape, np.int8)
    channels = acc.shape[-1]
    share(
        elementwise.requantize,
        acc.size // channels,
        acc.reshape(-1, channels),
        params.bias,
        params.multiplier,
        params.shift,
        params.zero_out,
        params.low,
        params.high,
        _NO_TABLE if params.table is None else params.table,
        out.reshape(-1, channels),
    )
    return out


def _pool(network: Network, layer: Pool2d, source: Int8) -> Int8:
    out = np.empty(network.tensors[layer.output].shape, np.int8)
    top, left, bottom, right = layer.pads
    if layer.kind is PoolKind.MAX:
        windows.maximum(source, *layer.kernel, *layer.stride, top, left, out)
        return out
    params = _vector_params(layer, layer.params)
    multipliers = np.full(layer.kernel[0] * layer.kernel[1] + 1, params.mult_a, np.int64)
    shifts = np.full(multipliers.size, params.shift, np.int64)
    for count, multiplier, shift in layer.count_multipliers:
        multipliers[count], shifts[count] = multiplier, shift
    if not layer.count_include_pad:
        bottom = right = -1
    windows.average(
        source, *layer.kernel, *layer.stride, top, left, bottom, right, params.zero_a, multipliers, shifts,
        params.zero_out, params.low, params.high, out,
    )  # fmt: skip
    return out


def _binary(layer: Binary, a: Int8, b: Int8) -> Int8:
    params = _vector_params(layer, layer.params)
    out = np.empty(a.shape, np.int8)
    zeros = (params.zero_a, params.zero_b)
    limits = (params.shift, params.zero_out, params.low, params.high)
    if layer.kind is BinaryKind.MULTIPLY:
        elementwise.multiply(a, b, *zeros, params.mult_a, *limits, out)
    else:
        elementwise.add(a, b, *zeros, params.mult_a, params.mult_b, *limits, out)
    return out


def _rowwise(layer: Unary | Softmax | LayerNorm | Lrn, source: Int8) -> Int8:
    params = _vector_params(layer, layer.params)
    out = np.empty(source.shape, np.int8)
    channels = source.shape[3]
    table, result = source.reshape(-1, channels), out.reshape(-1, channels)
    match layer:
        case Unary():
            elementwise.look_up(source.reshape(-1), _present(layer, params.table), out.reshape(-1))
        case Softmax():
            rows.softmax(table, _present(layer, params.wide_table), params.zero_out, result)
        case LayerNorm():
            rows.layer_norm(
                table, _present(layer, params.gamma), _present(layer, params.beta), params.epsilon, params.shift,
                params.zero_out, params.low, params.high, result,
            )  # fmt: skip
        case Lrn():
            rows.lrn(
                table, _present(layer, params.wide_table), params.window, params.index_shift, params.zero_a,
                params.shift, params.zero_out, result,
            )  # fmt: skip
    return out


def _present(layer: Layer, constant: NDArray[Any] | None) -> NDArray[Any]:
    if constant is None:
        raise ModelError(f"{layer.name}: its parameters lack a table that {layer.op} needs; quantize the network again")
    return constant
