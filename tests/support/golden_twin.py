"""The slow twin of the golden kernels: every layer as nested Python loops over the functions of dataflow.numerics."""

from itertools import product

import numpy as np

from gossamer.dataflow import numerics
from gossamer.dataflow.network import (
    Binary,
    BinaryKind,
    Concat,
    Conv2d,
    ConvTranspose2d,
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


def wrap(value):
    """Return the value as a 32-bit two's complement register holds it."""
    return (value + 2**31) % 2**32 - 2**31


def twin_accumulators(network: Network, layer, values) -> np.ndarray:
    """Return int32 accumulators by definition, one multiplication at a time."""
    shape = network.tensors[layer.output].shape
    zero = network.tensors[layer.inputs[0]].quant.zero_point
    source = values[layer.inputs[0]].tolist()
    _, rows, columns, _ = network.tensors[layer.inputs[0]].shape
    acc = np.zeros(shape, np.int32)
    weight = None if isinstance(layer, MatMul) else layer.weight.tolist()
    for n, y, x, o in product(*map(range, shape)):
        total = 0
        if isinstance(layer, MatMul):
            other = values[layer.inputs[1]].tolist()[n][y]
            for k, q in enumerate(source[n][y][x]):
                total += (q - zero) * (other[o][k] if layer.transpose_b else other[k][o])
        else:
            _, kernel_rows, kernel_columns, channels = layer.weight.shape
            for ky, kx, c in product(range(kernel_rows), range(kernel_columns), range(channels)):
                if isinstance(layer, Conv2d):
                    iy = y * layer.stride[0] + ky * layer.dilation[0] - layer.pads[0]
                    ix = x * layer.stride[1] + kx * layer.dilation[1] - layer.pads[1]
                    source_channel = o // (shape[3] // layer.groups) * channels + c
                else:
                    iy, off_y = divmod(y + layer.pads[0] - ky, layer.stride[0])
                    ix, off_x = divmod(x + layer.pads[1] - kx, layer.stride[1])
                    source_channel = c
                    if off_y or off_x:
                        iy = -1
                inside = 0 <= iy < rows and 0 <= ix < columns
                q = source[n][iy][ix][source_channel] if inside else zero
                total += q * weight[o][ky][kx][c]
        acc[n, y, x, o] = wrap(total)
    return acc


def twin_layer(network: Network, layer, values) -> np.ndarray:
    """Return the int8 output of one quantized layer."""
    shape = network.tensors[layer.output].shape
    first = values[layer.inputs[0]]
    params = getattr(layer, "params", None)
    match layer:
        case Conv2d() | ConvTranspose2d() | MatMul():
            return _requantized(twin_accumulators(network, layer, values), params)
        case Pool2d():
            return _pooled(layer, first, shape)
        case Binary():
            return _binary(layer, first, values[layer.inputs[1]])
        case Unary():
            return np.array([params.table[q + 128] for q in first.reshape(-1).tolist()], np.int8).reshape(shape)
        case Softmax() | LayerNorm() | Lrn():
            return np.apply_along_axis(lambda row: _row(layer, [int(q) for q in row]), 3, first).astype(np.int8)
        case View():
            return first.reshape(shape)
    out = np.zeros(shape, np.int8)
    joined = [values[name] for name in layer.inputs]
    for place in product(*map(range, shape)):
        out[place] = _moved(layer, joined, place, shape)
    return out


def _requantized(acc, params):
    out = np.zeros(acc.shape, np.int8)
    for place, value in np.ndenumerate(acc):
        c = place[-1]
        result = numerics.requantize(
            int(value) + int(params.bias[c]), int(params.multiplier[c]), int(params.shift[c]), params.zero_out,
            params.low, params.high,
        )  # fmt: skip
        out[place] = result if params.table is None else params.table[result + 128]
    return out


def _pooled(layer, source, shape):
    rows, columns = source.shape[1:3]
    by_count = {count: (multiplier, shift) for count, multiplier, shift in layer.count_multipliers}
    top, left, bottom, right = layer.pads
    out = np.zeros(shape, np.int8)
    for n, y, x, c in product(*map(range, shape)):
        window, counted = [], 0
        for ky, kx in product(range(layer.kernel[0]), range(layer.kernel[1])):
            iy, ix = y * layer.stride[0] + ky - top, x * layer.stride[1] + kx - left
            real = 0 <= iy < rows and 0 <= ix < columns
            if real:
                window.append(int(source[n, iy, ix, c]))
            counted += real or (layer.count_include_pad and iy < rows + bottom and ix < columns + right)
        if layer.kind is PoolKind.MAX:
            out[n, y, x, c] = max(window)
        else:
            params = layer.params
            multiplier, shift = by_count.get(counted, (params.mult_a, params.shift))
            out[n, y, x, c] = numerics.average(
                window, zero_a=params.zero_a, mult_a=multiplier, shift=shift, zero_out=params.zero_out,
                low=params.low, high=params.high,
            )  # fmt: skip
    return out


def _binary(layer, a, b):
    params = layer.params
    out = np.zeros(a.shape, np.int8)
    for place, q in np.ndenumerate(a):
        other = b[tuple(i if length > 1 else 0 for i, length in zip(place, b.shape, strict=True))]
        fields = {
            name: getattr(params, name) for name in ("zero_a", "zero_b", "mult_a", "shift", "zero_out", "low", "high")
        }
        if layer.kind is BinaryKind.MULTIPLY:
            out[place] = numerics.multiply(int(q), int(other), **fields)
        else:
            out[place] = numerics.add(int(q), int(other), mult_b=params.mult_b, **fields)
    return out


def _row(layer, row):
    params = layer.params
    match layer:
        case Softmax():
            return numerics.softmax(row, params.wide_table.tolist(), params.zero_out)
        case LayerNorm():
            return numerics.layer_norm(
                row, params.gamma.tolist(), params.beta.tolist(), epsilon=params.epsilon, shift=params.shift,
                zero_out=params.zero_out, low=params.low, high=params.high,
            )  # fmt: skip
    return numerics.lrn(
        row, params.wide_table.tolist(), window=params.window, index_shift=params.index_shift, zero_a=params.zero_a,
        shift=params.shift, zero_out=params.zero_out,
    )  # fmt: skip


def _moved(layer, sources, place, shape):
    """Return the element that a layer which only moves data puts at `place`."""
    at = list(place)
    match layer:
        case Concat():
            for source in sources:
                if at[layer.axis] < source.shape[layer.axis]:
                    return source[tuple(at)]
                at[layer.axis] -= source.shape[layer.axis]
        case Slice():
            at[layer.axis] = layer.start + at[layer.axis] * layer.step
            return sources[0][tuple(at)]
        case Resize():
            return sources[0][at[0], at[1] // layer.factors[0], at[2] // layer.factors[1], at[3]]
        case Permute():
            flat = int(np.ravel_multi_index(place, shape))
            moved = np.unravel_index(flat, [layer.view[axis] for axis in layer.order])
            original = [0] * len(layer.view)
            for axis, position in zip(layer.order, moved, strict=True):
                original[axis] = int(position)
            return sources[0].reshape(-1)[np.ravel_multi_index(original, layer.view)]
    raise AssertionError(f"no twin for {layer}")
