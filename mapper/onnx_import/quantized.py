"""Lower the quantization operators on activations: they state the number format of a tensor and compute nothing.

QuantizeLinear followed by DequantizeLinear, and QONNX's Quant, give the stored tensor their scale and zero point
(`Tensor.quant`), which quantization then uses as it is. Between the two a tensor holds codes: only operators that
move bytes, and Clip, may read it there.
"""

import math

import numpy as np

from gossamer.dataflow.network import Function, Step
from gossamer.dataflow.numerics import INT8_MAX, INT8_MIN, QuantParams
from gossamer.mapper.onnx_import.graph import Graph, Node
from gossamer.mapper.onnx_import.layout import Unsupported
from gossamer.mapper.onnx_import.lowering import Lowering
from gossamer.mapper.onnx_import.quantized_constants import CODE_RANGES, code_type, quant_limits, scale_of, zero_of
from gossamer.mapper.quantization.number_formats import affine_format


def lower_quantize(state: Lowering, node: Node) -> None:
    """QuantizeLinear of an activation: states its format; the result holds codes."""
    kind = code_type(node, state.graph)
    quant = _format(node, state.graph, *CODE_RANGES[kind], note=True)
    state.values[node.outputs[0]] = state.stated(node, state.value(node, 0), quant)
    state.codes[node.outputs[0]] = quant, kind


def lower_dequantize(state: Lowering, node: Node) -> None:
    """DequantizeLinear of an activation: must take the codes as they were made."""
    value = state.value(node, 0)
    found = state.codes.get(node.inputs[0])
    if found is None:
        raise Unsupported("no QuantizeLinear made its input")
    made, kind = found
    quant = _format(node, state.graph, *CODE_RANGES[kind], note=False)
    if quant != made:
        raise Unsupported(
            f"its scale {quant.scale:g} and zero point {quant.zero_point} (as int8) are not those its input was "
            f"quantized with, {made.scale:g} and {made.zero_point}"
        )
    state.values[node.outputs[0]] = value


def lower_clip_codes(state: Lowering, node: Node) -> None:
    """Clip of codes, for fewer than 8 bits: a clip of the real values, in their format."""
    found = state.codes.get(node.inputs[0])
    limits = [name for name in node.inputs[1:] if name]
    if found is None or any(state.graph.scalar(name) is None for name in limits):
        raise Unsupported("it clips by limits that are not constant")
    quant, kind = found
    least, greatest = CODE_RANGES[kind]
    if greatest - least > INT8_MAX - INT8_MIN:
        raise Unsupported("it clips codes of more than 8 bits: quantize activations to 8 bits")
    low, high = (
        float(limit) if name and (limit := state.graph.scalar(name)) is not None else default
        for name, default in zip((*node.inputs[1:], "", "")[:2], (least, greatest), strict=True)
    )
    zero = quant.zero_point + (128 if greatest > INT8_MAX else 0)
    steps = (Step(Function.CLIP, ((low - zero) * quant.scale, (high - zero) * quant.scale)),)
    value = state.unary(node, state.value(node, 0), steps, node.outputs[0])
    state.values[node.outputs[0]] = state.stated(node, value, quant)


def lower_quant(state: Lowering, node: Node) -> None:
    """QONNX Quant of an activation: states its format; codes that int8 has beyond its range are clipped off."""
    low, high = quant_limits(node, state.graph)
    quant = _format(node, state.graph, low, high, note=True)
    value = state.value(node, 0)
    if high - low < INT8_MAX - INT8_MIN:
        zero, scale = int(zero_of(node, state.graph).reshape(())), quant.scale
        limits = (Step(Function.CLIP, ((low - zero) * scale, (high - zero) * scale)),)
        value = state.unary(node, value, limits, node.outputs[0])
    state.values[node.outputs[0]] = state.stated(node, value, quant)


def _format(node: Node, graph: Graph, low: int, high: int, *, note: bool) -> QuantParams:
    """Return the int8 format of codes from low to high; more than 8 bits become 8 over the same range.

    Raises Unsupported for several scales and for more than 16 bits.
    """
    scales, zeros = scale_of(node, graph), zero_of(node, graph)
    if scales.size != 1 or zeros.size != 1:
        raise Unsupported(f"{max(scales.size, zeros.size)} scales for an activation: quantize activations per tensor")
    scale, zero = float(scales.reshape(())), int(zeros.reshape(()))
    if not low <= zero <= high:
        raise node.error(f"its zero point must be one of its codes, {low} to {high}, not {zero}")
    if high - low > 2**16 - 1:
        raise Unsupported("an activation of more than 16 bits: quantize activations to 8 bits")
    if high - low > INT8_MAX - INT8_MIN:
        if note:
            graph.notes.append(
                f"node {node.name} ({node.op}): an activation of {math.ceil(np.log2(high - low + 1))} bits becomes "
                "8 bits over the same range"
            )
        return affine_format((low - zero) * scale, (high - zero) * scale)
    return QuantParams(scale=scale, zero_point=zero - 128 if high > INT8_MAX else zero)
