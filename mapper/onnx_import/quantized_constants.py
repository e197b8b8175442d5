"""Evaluate the quantization operators of ONNX (QuantizeLinear, DequantizeLinear) and QONNX (Quant) on constants.

A constant whose centred codes fit int8 gets a second constant of its shape beside it, its scale (`scale_name`), which
follows it through transposes and reshapes: the layer that takes it as weights then has the file's own integers.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from gossamer.dataflow.numerics import INT8_MAX, INT8_MIN
from gossamer.mapper.onnx_import.graph import Graph, Node

Array = NDArray[Any]

LEAST_SCALE, GREATEST_SCALE = 1e-30, 1e30
CODE_RANGES = {
    onnx.TensorProto.INT8: (-128, 127), onnx.TensorProto.UINT8: (0, 255), onnx.TensorProto.INT16: (-(2**15), 2**15 - 1),
    onnx.TensorProto.UINT16: (0, 2**16 - 1), onnx.TensorProto.INT32: (-(2**31), 2**31 - 1),
}  # fmt: skip


def scale_name(name: str) -> str:
    """Return the name of the constant that holds the scale of every element of a dequantized constant."""
    return f"{name}/scale"


def scale_of(node: Node, graph: Graph) -> NDArray[np.float32]:
    """Return the constant scale of a quantization node. Raises ModelError when it is none or not positive."""
    scale = graph.constant(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else None
    if scale is None or scale.dtype.kind != "f" or not scale.size:
        raise node.error("its scale (input 1) must be a constant of floats")
    if not ((scale >= LEAST_SCALE) & (scale <= GREATEST_SCALE)).all():
        bad = scale[~((scale >= LEAST_SCALE) & (scale <= GREATEST_SCALE))].reshape(-1)[0]
        raise node.error(f"its scales must be positive, from {LEAST_SCALE:g} to {GREATEST_SCALE:g}, not {bad:g}")
    return scale.astype(np.float32, copy=False)


def zero_of(node: Node, graph: Graph) -> NDArray[np.int64]:
    """Return the constant zero point of a quantization node, 0 where it is omitted. Raises ModelError otherwise."""
    if len(node.inputs) < 3 or not node.inputs[2]:
        return np.zeros((), np.int64)
    zero = graph.constant(node.inputs[2])
    if zero is None or not zero.size or (zero.dtype.kind == "f" and (zero != np.rint(zero)).any()):
        raise node.error("its zero point (input 2) must be a constant of integers")
    return zero.astype(np.int64, copy=False)


def code_type(node: Node, graph: Graph) -> int:
    """Return the ONNX element type of a QuantizeLinear's codes, one of CODE_RANGES. Raises ModelError for others."""
    name = node.inputs[2] if len(node.inputs) > 2 else ""
    kind = graph.element_types.get(name) or node.integer("output_dtype", 0) or onnx.TensorProto.UINT8
    if kind not in CODE_RANGES:
        raise node.error(f"its codes must be int8, uint8 or 16 bits, not element type {kind}")
    return kind


def quantize_constant(node: Node, graph: Graph, inputs: list[Array]) -> Array:
    """Return the codes of a constant, int64."""
    scale, zero = _aligned(node, graph, inputs[0])
    low, high = CODE_RANGES[code_type(node, graph)]
    return np.asarray(np.clip(np.rint(inputs[0] / scale).astype(np.int64) + zero, low, high))


def dequantize_constant(node: Node, graph: Graph, inputs: list[Array]) -> Array:
    """Return the float32 values of constant codes."""
    if inputs[0].dtype.kind != "i":
        raise node.error(f"its input 0 must hold integers, not {inputs[0].dtype}")
    scale, zero = _aligned(node, graph, inputs[0])
    return _dequantized(node, graph, inputs[0] - zero, scale)


def quant_constant(node: Node, graph: Graph, inputs: list[Array]) -> Array:
    """Return the float32 values of a constant that QONNX's Quant rounds."""
    low, high = quant_limits(node, graph)
    scale, zero = scale_of(node, graph), zero_of(node, graph)
    codes = np.rint(np.clip(inputs[0] / scale + zero, low, high)).astype(np.int64)
    return _dequantized(node, graph, codes - zero, scale)


def quant_limits(node: Node, graph: Graph) -> tuple[int, int]:
    """Return the smallest and largest code of a QONNX Quant.

    Raises ModelError for a bit width that is not constant, not integer or not 2 to 32, and rounding other than ROUND.
    """
    bits = graph.scalar(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else None
    if bits is None or bits != round(bits) or not 2 <= bits <= 32:
        raise node.error(f"its bit width (input 3) must be a constant integer from 2 to 32, not {bits}")
    mode = node.text("rounding_mode", "ROUND")
    if mode.upper() not in ("ROUND", "HALF_EVEN"):
        raise node.error(f"attribute rounding_mode must be ROUND, not {mode}")
    narrow, width = node.integer("narrow", 0), round(bits)
    if node.integer("signed", 1):
        return -(2 ** (width - 1)) + narrow, 2 ** (width - 1) - 1
    return 0, 2**width - 1 - narrow


def _aligned(node: Node, graph: Graph, array: Array) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scale and zero point of ONNX's operators, shaped to broadcast against `array`."""
    if node.integer("block_size", 0):
        raise node.error("blocked scales are not supported: quantize per tensor or per output channel")
    scale, zero = scale_of(node, graph), zero_of(node, graph)
    if scale.size == 1 and zero.size == 1:
        return scale.reshape(()), zero.reshape(())
    axis = node.integer("axis", 1)
    length = array.shape[axis] if -array.ndim <= axis < array.ndim else None
    if scale.ndim > 1 or zero.ndim > 1 or scale.size != length or zero.size not in (1, length):
        raise node.error(f"{scale.size} scales and {zero.size} zero points do not fit axis {axis} of {array.shape}")
    shape = [1] * array.ndim
    shape[axis] = -1
    return scale.reshape(shape), zero.reshape(shape if zero.size == length else ())


def _dequantized(node: Node, graph: Graph, centred: NDArray[np.int64], scale: NDArray[np.float32]) -> Array:
    """Return centred codes times scale, float32; remember the scale when the codes fit int8."""
    if centred.size and (centred.min() < INT8_MIN or centred.max() > INT8_MAX):
        if centred.ndim > 1:
            graph.notes.append(
                f"node {node.name} ({node.op}): its weights are asymmetric or wider than 8 bits: symmetric int8 "
                "weights are computed from their values"
            )
    else:
        graph.constants[scale_name(node.outputs[0])] = np.broadcast_to(scale, centred.shape)
    return np.asarray(centred.astype(np.float32) * scale, np.float32)
