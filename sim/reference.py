"""Run a Network in float32 with numpy: the values calibration needs, one array per tensor.

Convolutions are matrix products over gathered windows (im2col), so speed is that of BLAS. Checked against onnxruntime
by tests/cross/test_import_models.py.
"""

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError
from gossamer.dataflow.functions import apply_steps
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

Map = NDArray[np.float32]
WINDOW_BYTES = 32 << 20
"""Gathered windows are made in blocks of about this size."""


def run_float(network: Network, inputs: Mapping[str, Map]) -> dict[str, Map]:
    """Return every tensor of a float network, inputs included, float32 (batch, rows, columns, channels).

    inputs: by name, in the stored shape. Raises ModelError for a missing input or another shape, and when a layer is
    already quantized.
    """
    values: dict[str, Map] = {}
    for name in network.inputs:
        expected = network.tensors[name].shape
        if name not in inputs or inputs[name].shape != expected:
            found = inputs[name].shape if name in inputs else "nothing"
            raise ModelError(f"{network.name}: input {name} must have shape {expected}, not {found}")
        values[name] = np.ascontiguousarray(inputs[name], dtype=np.float32)
    for layer in network.layers:
        operands = [values[name] for name in layer.inputs]
        values[layer.output] = run_layer(layer, operands, network.tensors[layer.output].shape)
    return values


def run_layer(layer: Layer, operands: list[Map], shape: tuple[int, int, int, int]) -> Map:
    """Return one layer's output of the given shape, float32."""
    result = _run(layer, operands, shape)
    activation = getattr(layer, "activation", ())
    if activation:
        result = apply_steps(activation, result)
    if result.shape != shape:
        raise ModelError(f"layer {layer.name}: computed shape {result.shape}, the network says {shape}")
    return np.ascontiguousarray(result, dtype=np.float32)


def _run(layer: Layer, operands: list[Map], shape: tuple[int, int, int, int]) -> Map:
    x = operands[0]
    match layer:
        case Conv2d():
            return convolve(layer, x)
        case ConvTranspose2d():
            return convolve_transposed(layer, x, shape)
        case MatMul():
            other = operands[1].swapaxes(2, 3) if layer.transpose_b else operands[1]
            return np.asarray(np.matmul(x, other) * np.float32(layer.factor))
        case Pool2d():
            return pool(layer, x, shape)
        case Binary():
            return binary(layer.kind, x, operands[1])
        case Unary():
            return np.asarray(apply_steps(layer.steps, x))
        case Softmax():
            powers = np.exp(x - x.max(3, keepdims=True))
            return np.asarray(powers / powers.sum(3, keepdims=True))
        case LayerNorm():
            centred = x - x.mean(3, keepdims=True)
            spread = np.sqrt(np.square(centred).mean(3, keepdims=True) + np.float32(layer.epsilon))
            return np.asarray(centred / spread * layer.gamma + layer.beta)
        case Lrn():
            return normalise_locally(layer, x)
    return _moved(layer, operands, shape)


def _moved(layer: Layer, operands: list[Map], shape: tuple[int, int, int, int]) -> Map:
    x = operands[0]
    match layer:
        case Concat():
            return np.concatenate(operands, layer.axis)
        case Slice():
            window = [slice(None)] * 4
            window[layer.axis] = slice(layer.start, layer.stop, layer.step)
            return x[tuple(window)]
        case Resize():
            return x.repeat(layer.factors[0], 1).repeat(layer.factors[1], 2)
        case Permute():
            return x.reshape(layer.view).transpose(layer.order).reshape(shape)
        case View():
            return x.reshape(shape)
    raise ModelError(f"layer {layer.name}: no float model of a {type(layer).__name__}")


def binary(kind: BinaryKind, a: Map, b: Map) -> Map:
    """Return a kind b with numpy broadcasting."""
    match kind:
        case BinaryKind.ADD:
            return np.asarray(a + b)
        case BinaryKind.SUBTRACT:
            return np.asarray(a - b)
        case BinaryKind.MULTIPLY:
            return np.asarray(a * b)


def convolve(layer: Conv2d, x: Map) -> Map:
    """Return the convolution of (batch, rows, columns, channels) without the activation."""
    if layer.weight.dtype.kind != "f":
        raise ModelError(f"layer {layer.name} is quantized; the float model needs float weights")
    outputs, rows, columns, inputs = layer.weight.shape
    result: Map
    if (rows, columns) == (1, 1) and layer.stride == (1, 1) and layer.groups == 1 and not any(layer.pads):
        result = x.reshape(-1, inputs) @ layer.weight.reshape(outputs, inputs).T
        result = result.reshape(*x.shape[:3], outputs)
    elif inputs == 1 and outputs == layer.groups:
        result = _depthwise(layer, x)
    else:
        per_group = outputs // layer.groups
        parts = [
            _convolve_group(
                layer, x[..., g * inputs : (g + 1) * inputs], layer.weight[g * per_group : (g + 1) * per_group]
            )
            for g in range(layer.groups)
        ]
        result = parts[0] if layer.groups == 1 else np.concatenate(parts, 3)
    if layer.bias is not None:
        result += layer.bias
    return result


def _padded(x: Map, pads: tuple[int, int, int, int], value: float = 0.0) -> Map:
    top, left, bottom, right = pads
    if not any(pads):
        return x
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def _windows(x: Map, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> Map:
    """Return a view (batch, rows, columns, channels, kernel rows, kernel columns) of a padded map."""
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = sliding_window_view(x, reach, axis=(1, 2))
    return np.asarray(view[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]])


def _convolve_group(layer: Conv2d, x: Map, weight: NDArray[np.float32]) -> Map:
    outputs, rows, columns, inputs = weight.shape
    windows = _windows(_padded(x, layer.pads), (rows, columns), layer.stride, layer.dilation).transpose(
        0, 1, 2, 4, 5, 3
    )
    batch, out_rows, out_columns = windows.shape[:3]
    matrix = weight.reshape(outputs, -1).T
    result = np.empty((batch, out_rows, out_columns, outputs), np.float32)
    step = max(1, WINDOW_BYTES // (4 * out_columns * rows * columns * inputs))
    for image in range(batch):
        for row in range(0, out_rows, step):
            block = windows[image, row : row + step]
            product = block.reshape(-1, rows * columns * inputs) @ matrix
            result[image, row : row + step] = product.reshape(block.shape[0], out_columns, outputs)
    return result


def _depthwise(layer: Conv2d, x: Map) -> Map:
    _, rows, columns, _ = layer.weight.shape
    windows = _windows(_padded(x, layer.pads), (rows, columns), layer.stride, layer.dilation)
    result = np.zeros(windows.shape[:4], np.float32)
    for ky in range(rows):
        for kx in range(columns):
            result += windows[..., ky, kx] * layer.weight[:, ky, kx, 0]
    return result


def convolve_transposed(layer: ConvTranspose2d, x: Map, shape: tuple[int, int, int, int]) -> Map:
    """Return the transposed convolution without the activation: every input element adds its scaled kernel."""
    outputs, rows, columns, inputs = layer.weight.shape
    top, left, bottom, right = layer.pads
    batch, in_rows, in_columns, _ = x.shape
    canvas = np.zeros((batch, shape[1] + top + bottom, shape[2] + left + right, outputs), np.float32)
    for ky in range(rows):
        for kx in range(columns):
            part = (x.reshape(-1, inputs) @ layer.weight[:, ky, kx].T).reshape(batch, in_rows, in_columns, outputs)
            stop_y, stop_x = ky + in_rows * layer.stride[0], kx + in_columns * layer.stride[1]
            canvas[:, ky : stop_y : layer.stride[0], kx : stop_x : layer.stride[1]] += part
    result = canvas[:, top : top + shape[1], left : left + shape[2]]
    return result if layer.bias is None else np.asarray(result + layer.bias)


def pool(layer: Pool2d, x: Map, shape: tuple[int, int, int, int]) -> Map:
    """Return max or average over windows; padding is never a maximum, and is counted only if the layer says so."""
    kernel = layer.kernel
    pads = (layer.pads[0], layer.pads[1], layer.pads[2] + layer.extra_pads[0], layer.pads[3] + layer.extra_pads[1])
    if kernel == x.shape[1:3] and not any(pads):
        return np.asarray(x.max((1, 2), keepdims=True) if layer.kind is PoolKind.MAX else x.mean((1, 2), keepdims=True))
    fill = -np.inf if layer.kind is PoolKind.MAX else 0.0
    windows = _windows(_padded(x, pads, fill), kernel, layer.stride, (1, 1))[:, : shape[1], : shape[2]]
    result = windows[..., 0, 0].copy()
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            if (ky, kx) == (0, 0):
                continue
            part = windows[..., ky, kx]
            np.maximum(result, part, out=result) if layer.kind is PoolKind.MAX else np.add(result, part, out=result)
    if layer.kind is PoolKind.MAX:
        return result
    real = np.ones((1, *x.shape[1:3], 1), np.float32)
    counted = _padded(real, layer.pads, 1.0 if layer.count_include_pad else 0.0)
    counted = _padded(counted, (0, 0, *layer.extra_pads))
    counts = _windows(counted, kernel, layer.stride, (1, 1))[:, : shape[1], : shape[2]].sum((4, 5))
    return np.asarray(result / counts)


def normalise_locally(layer: Lrn, x: Map) -> Map:
    """Return x / (bias + alpha / window * sum of squares over neighbouring channels) ** beta."""
    below, above = (layer.window - 1) // 2, layer.window // 2
    squares = np.pad(np.square(x), ((0, 0), (0, 0), (0, 0), (below, above)))
    sums = np.zeros_like(x)
    for offset in range(layer.window):
        sums += squares[..., offset : offset + x.shape[3]]
    return np.asarray(x / np.power(layer.bias + layer.alpha / layer.window * sums, layer.beta).astype(np.float32))
