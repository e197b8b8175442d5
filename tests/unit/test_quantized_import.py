"""Quantization operators of ONNX and QONNX: the formats they state, what cannot be kept, and clear refusals."""

import re

import numpy as np
import onnx
import onnxruntime
import pytest
from network_programs import compiled
from onnx import TensorProto, helper, numpy_helper

from gossamer.arch.config import load_config
from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Conv2d, MatMul, Pool2d, Unary
from gossamer.dataflow.numerics import QuantParams
from gossamer.mapper.onnx_import.reader import load_onnx
from gossamer.mapper.pruning.prune import prune
from gossamer.mapper.pruning.prune_onnx import prune_onnx
from gossamer.mapper.quantization.quantize import quantize
from gossamer.mapper.quantization.tables import quantized
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers

RNG = np.random.default_rng(5)
QONNX = "qonnx.custom_op.general"


class Builder:
    """Collects nodes and constants of a model with the input x (1, 4, 6, 6)."""

    def __init__(self):
        self.nodes, self.constants, self.output = [], [], "x"

    def constant(self, name, value, dtype):
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, op, *inputs, output=None, domain="", **attributes):
        self.output = output or f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [self.output], name=self.output, domain=domain, **attributes))
        return self.output

    def numbers(self, scale, zero, dtype=np.uint8):
        count = len(self.constants)
        return self.constant(f"s{count}", scale, np.float32), self.constant(f"z{count}", zero, dtype)

    def stated(self, name, scale, zero, dtype=np.uint8):
        """Append QuantizeLinear and DequantizeLinear."""
        numbers = self.numbers(scale, zero, dtype)
        return self.node("DequantizeLinear", self.node("QuantizeLinear", name, *numbers), *numbers)

    def weights(self, codes, scale, zero=0, dtype=np.int8, axis=0):
        scale = np.asarray(scale)
        numbers = self.numbers(scale, np.broadcast_to(zero, scale.shape), dtype)
        return self.node(
            "DequantizeLinear", self.constant(f"w{len(self.constants)}", codes, dtype), *numbers, axis=axis
        )

    def quant(self, name, scale, zero, bits, **attributes):
        numbers = self.numbers(scale, zero, np.float32)
        return self.node("Quant", name, *numbers, self.constant(f"b{len(self.constants)}", bits, np.float32),
                         domain=QONNX, **attributes)  # fmt: skip

    def save(self, path, output=None, shape=(1, 4, 6, 6)):
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output or self.output, TensorProto.FLOAT, None)],
            self.constants,
        )
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid(QONNX, 1)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
        return path


@pytest.fixture
def build():
    return Builder()


CODES = RNG.integers(-127, 128, (8, 4, 3, 3))
SCALES = RNG.uniform(0.001, 0.02, 8).astype(np.float32)


def imported(build, tmp_path, **given):
    return load_onnx(build.save(tmp_path / "m.onnx", **given))


@pytest.mark.parametrize(("dtype", "zero", "expected"), [(np.uint8, 7, -121), (np.int8, -3, -3)])
def test_formats_and_weights_are_kept(build, tmp_path, dtype, zero, expected):
    x = build.stated("x", 0.02, zero, dtype)
    build.stated(build.node("Conv", x, build.weights(CODES, SCALES)), 0.05, zero, dtype)
    result = quantize(imported(build, tmp_path))
    assert result.notes == ()
    (layer,) = result.layers
    np.testing.assert_array_equal(layer.weight, CODES.transpose(0, 2, 3, 1))
    assert result.tensors["x"].quant == QuantParams(float(np.float32(0.02)), expected)
    assert result.tensors[layer.output].quant == QuantParams(float(np.float32(0.05)), expected)


def test_least_weight_code_is_kept(build, tmp_path):
    codes = CODES.copy()
    codes[0, 0, 0, 0] = -128
    build.stated(build.node("Conv", build.stated("x", 0.02, 0), build.weights(codes, SCALES)), 0.05, 0)
    (layer,) = quantize(imported(build, tmp_path)).layers
    np.testing.assert_array_equal(layer.weight, codes.transpose(0, 2, 3, 1))


def test_weights_with_zero_point_128_are_symmetric(build, tmp_path):
    weights = build.weights(CODES + 128, SCALES, 128, np.uint8)
    build.stated(build.node("Conv", build.stated("x", 0.02, 0), weights), 0.05, 0)
    result = quantize(imported(build, tmp_path))
    np.testing.assert_array_equal(result.layers[0].weight, CODES.transpose(0, 2, 3, 1))
    assert result.notes == ()


def test_transposed_weights_of_a_product_are_kept(build, tmp_path):
    codes = RNG.integers(-127, 128, (8, 6))
    weights = build.node("Transpose", build.weights(codes, SCALES), perm=(1, 0))
    build.stated(build.node("MatMul", build.stated("x", 0.02, 0), weights), 0.05, 0)
    result = quantize(imported(build, tmp_path))
    kept = [layer for layer in result.layers if isinstance(layer, Conv2d)]
    np.testing.assert_array_equal(kept[0].weight.reshape(8, 6), codes)


@pytest.mark.parametrize(
    ("codes", "scale", "options", "note"),
    [
        (RNG.integers(0, 256, CODES.shape), SCALES, {"zero": 20, "dtype": np.uint8}, "dequantizelinear.*asymmetric"),
        (RNG.integers(-3000, 3000, CODES.shape), SCALES, {"dtype": np.int16}, "dequantizelinear.*wider than 8 bits"),
        (CODES, SCALES[:4], {"axis": 1}, "conv.*no single scale per output channel"),
    ],
)
def test_other_weights_are_computed_anew_with_a_note(build, tmp_path, codes, scale, options, note):
    x = build.stated("x", 0.02, 0)
    build.stated(build.node("Conv", x, build.weights(codes, scale, **options)), 0.05, 0)
    network = imported(build, tmp_path)
    assert len(network.notes) == 1
    assert re.search(note, network.notes[0]), network.notes
    layer = quantize(network).layers[0]
    assert (np.abs(layer.weight.reshape(8, -1)).max(axis=1) == 127).all()


@pytest.mark.parametrize(("dtype", "zero", "limits"), [(np.uint8, 0, (0, 15)), (np.int8, -3, (-8, 7))])
def test_clipped_codes_are_those_of_onnxruntime(build, tmp_path, dtype, zero, limits):
    numbers = build.numbers(0.05, zero, dtype)
    low, high = (build.constant(f"limit{limit}", limit, dtype) for limit in limits)
    codes = build.node("Clip", build.node("QuantizeLinear", "x", *numbers), low, high)
    x = build.node("DequantizeLinear", codes, *numbers)
    build.stated(build.node("Conv", x, build.weights(np.clip(CODES, -8, 7), SCALES)), 0.05, 3)
    path = build.save(tmp_path / "m.onnx")
    result = quantize(load_onnx(path))
    assert result.notes == ()
    value = RNG.normal(0, 1, (1, 4, 6, 6)).astype(np.float32)
    stored = {"x": quantized(value.transpose(0, 2, 3, 1), result.tensors["x"].quant)}
    quant = result.tensors[result.outputs[0]].quant
    ours = (run_layers(result, stored)[result.outputs[0]].astype(np.float32) - quant.zero_point) * quant.scale
    (theirs,) = onnxruntime.InferenceSession(path).run(None, {"x": value})
    off = np.abs(ours.transpose(0, 3, 1, 2) - theirs)
    assert off.max() < 1.1 * quant.scale
    assert np.count_nonzero(off > quant.scale / 2) <= 1
    assert np.unique(theirs).size > 10


@pytest.mark.parametrize("function", ["HardSwish", "Sigmoid"])
def test_a_function_behind_rounded_sums_is_a_table_of_the_convolution(build, tmp_path, function):
    x = build.stated("x", 0.02, 128)
    sums = build.stated(build.node("Conv", x, build.weights(CODES, SCALES)), 0.04, 120)
    build.stated(build.node(function, sums), 1 / 256 if function == "Sigmoid" else 0.04, 0)
    path = build.save(tmp_path / "m.onnx")
    result = quantize(load_onnx(path))
    assert result.notes == ()
    (layer,) = result.layers
    assert layer.inner == QuantParams(float(np.float32(0.04)), -8)
    assert layer.params.table is not None
    value = RNG.normal(0, 1, (1, 4, 6, 6)).astype(np.float32)
    stored = {"x": quantized(value.transpose(0, 2, 3, 1), result.tensors["x"].quant)}
    quant = result.tensors[result.outputs[0]].quant
    ours = (run_layers(result, stored)[result.outputs[0]].astype(np.float32) - quant.zero_point) * quant.scale
    (theirs,) = onnxruntime.InferenceSession(path).run(None, {"x": value})
    assert np.abs(ours.transpose(0, 3, 1, 2) - theirs).max() < 2.1 * quant.scale  # one code before, one behind
    assert np.unique(theirs).size > 20


def test_a_tensor_without_scale_is_calibrated_with_a_note(build, tmp_path):
    x = build.stated("x", 0.02, 0)
    build.node("Relu", build.node("Conv", x, build.weights(CODES, SCALES)))
    result = quantize(imported(build, tmp_path))
    assert any("states no format for 1 of 2 tensors" in note for note in result.notes)
    assert result.tensors["x"].quant == QuantParams(float(np.float32(0.02)), -128)


def test_unused_calibration_data_is_noted(build, tmp_path):
    build.stated(build.node("Conv", build.stated("x", 0.02, 0), build.weights(CODES, SCALES)), 0.05, 0)
    result = quantize(imported(build, tmp_path), {"x": np.zeros((1, 6, 6, 4), np.float32)})
    assert result.notes == ("The model states all its number formats: the calibration data is not used.",)


def test_scales_that_differ_around_a_move_become_a_change_of_format(build, tmp_path):
    pooled = build.node("MaxPool", build.stated("x", 0.02, 10), kernel_shape=(2, 2), strides=(2, 2))
    build.stated(pooled, 0.05, 30)
    result = quantize(imported(build, tmp_path))
    assert [type(layer) for layer in result.layers] == [Unary, Pool2d]
    codes = RNG.integers(-128, 128, (1, 6, 6, 4)).astype(np.int8)
    found = run_layers(result, {"x": codes})[result.outputs[0]]
    largest = codes.reshape(1, 3, 2, 3, 2, 4).max(axis=(2, 4)).astype(np.float64)
    real = (largest + 118) * np.float32(0.02)
    np.testing.assert_array_equal(found, np.clip(np.rint(real / np.float32(0.05)) - 98, -128, 127).astype(np.int8))


def test_a_second_format_of_a_tensor_becomes_a_second_tensor(build, tmp_path):
    again = build.stated(build.stated("x", 0.02, 0), 0.04, 0)
    build.stated(build.node("Relu", again), 0.04, 0)
    result = quantize(imported(build, tmp_path))
    assert [tensor.quant.scale for tensor in result.tensors.values()] == pytest.approx([0.02, 0.04])
    codes = np.arange(-128, 16, dtype=np.int8).reshape(1, 6, 6, 4)
    found = run_layers(result, {"x": codes})[result.outputs[0]]
    np.testing.assert_array_equal(found, np.rint((codes.astype(np.float64) + 128) / 2).astype(np.int16) - 128)


def test_right_operand_of_a_product_becomes_symmetric(build, tmp_path):
    left = build.stated("x", 0.02, 128)
    right = build.stated(build.node("Relu", left), 0.01, 0)
    build.stated(build.node("MatMul", left, right), 0.1, 128)
    result = quantize(imported(build, tmp_path))
    (product,) = (layer for layer in result.layers if isinstance(layer, MatMul))
    assert result.tensors[product.inputs[1]].quant.zero_point == 0
    assert result.tensors[product.inputs[0]].quant == QuantParams(float(np.float32(0.02)), 0)


def attention(build):
    """Append softmax(x x') x with formats as onnxruntime gives them: zero points everywhere, softmax not at 1/256."""
    x = build.stated("x", 0.02, 100)
    scores = build.stated(build.node("MatMul", x, build.node("Transpose", x, perm=(0, 1, 3, 2))), 0.09, 40)
    share = build.stated(build.node("Softmax", scores, axis=3), 0.004, 3)
    build.stated(build.node("MatMul", share, x), 0.02, 90)


def test_attention_is_onnxruntimes_within_the_change_of_formats(build, tmp_path):
    attention(build)
    path = build.save(tmp_path / "m.onnx")
    result = quantize(load_onnx(path))
    assert result.notes == ()
    image = RNG.normal(0, 0.7, (1, 4, 6, 6)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (expected,) = onnxruntime.InferenceSession(path.read_bytes(), options).run(None, {"x": image})
    real = result.layouts["x"].to_stored(image, (1, 6, 6, 4)).astype(np.float64)
    codes = {"x": quantized(real, result.tensors["x"].quant)}
    output = result.outputs[0]
    found = run_layers(result, codes)[output]
    quant = result.tensors[output].quant
    real = result.layouts[output].to_model(found).astype(np.float64)
    real = (real - quant.zero_point) * quant.scale
    steps = np.rint((real - expected) / quant.scale)
    print(f"{np.count_nonzero(steps)} of {steps.size} differ, by at most {np.abs(steps).max():g}")
    assert np.abs(steps).max() <= 2
    spec = load_config("kv260-edge")
    np.testing.assert_array_equal(execute(compiled(result, spec), spec, codes)[output], found)


def test_sixteen_bit_activations_keep_their_range(build, tmp_path):
    build.stated("x", 0.001, 0, np.int16)
    network = imported(build, tmp_path)
    assert "an activation of 16 bits becomes 8 bits" in network.notes[0]
    assert network.tensors["x"].quant.scale == pytest.approx(0.001 * 65535 / 255)


def test_depthwise_and_transposed_weights_are_kept(build, tmp_path):
    first, second = RNG.integers(-127, 128, (4, 1, 3, 3)), RNG.integers(-127, 128, (4, 8, 2, 2))
    x = build.node("Conv", build.stated("x", 0.02, 0), build.weights(first, SCALES[:4]), group=4)
    x = build.node("ConvTranspose", build.stated(x, 0.05, 0), build.weights(second, SCALES, axis=1), strides=(2, 2))
    build.stated(x, 0.1, 0)
    network = imported(build, tmp_path)
    assert network.notes == ()
    depthwise, transposed = quantize(network).layers
    np.testing.assert_array_equal(depthwise.weight, first.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(transposed.weight, second.transpose(1, 2, 3, 0))


def test_pruning_keeps_the_scales_of_what_is_left(build, tmp_path):
    build.stated(build.node("Conv", build.stated("x", 0.02, 0), build.weights(CODES, SCALES)), 0.05, 0)
    network = prune(imported(build, tmp_path), "2:4", {"*": "2:4"})
    (layer,) = quantize(network).layers
    left = layer.weight != 0
    assert left.sum() == layer.weight.size // 2
    np.testing.assert_array_equal(layer.weight[left], CODES.transpose(0, 2, 3, 1)[left])


def test_batch_norm_between_scales_the_weights_scale(build, tmp_path):
    x = build.node("Conv", build.stated("x", 0.02, 0), build.weights(CODES, SCALES))
    numbers = [build.constant(f"n{i}", values, np.float32) for i, values in enumerate(RNG.uniform(0.5, 1.5, (4, 8)))]
    build.stated(build.node("BatchNormalization", x, *numbers), 0.05, 0)
    (layer,) = quantize(imported(build, tmp_path)).layers
    np.testing.assert_array_equal(layer.weight, CODES.transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("bits", "options", "limits", "zero"),
    [
        (8, {"signed": 1, "narrow": 0}, (-128, 127), 0),
        (8, {"signed": 1, "narrow": 1}, (-127, 127), 0),
        (8, {"signed": 0, "narrow": 0}, (-128, 127), -128),
        (4, {"signed": 1, "narrow": 0}, (-8, 7), 0),
        (4, {"signed": 0, "narrow": 0}, (0, 15), 0),
    ],
)
def test_qonnx_activations(build, tmp_path, bits, options, limits, zero):
    x = build.quant("x", 0.02, 0, 8, signed=1, narrow=0)
    build.quant(build.node("Conv", x, build.weights(CODES, SCALES)), 0.05, 0, bits, **options)
    result = quantize(imported(build, tmp_path))
    (layer,) = result.layers
    assert (layer.params.low, layer.params.high) == limits
    assert result.tensors[layer.output].quant == QuantParams(float(np.float32(0.05)), zero)


def test_qonnx_weights_round_half_to_even_within_their_range(build, tmp_path):
    values = np.zeros((2, 4, 1, 1), np.float32)
    values[0, :, 0, 0] = [0.05, 0.15, -1.0, 1.0]  # at scale 0.1: 0.5, 1.5 and out of 4 bits
    scale = np.array([0.1, 0.1], np.float32).reshape(2, 1, 1, 1)
    weights = build.quant(build.constant("w", values, np.float32), scale, 0, 4, signed=1, narrow=1)
    build.quant(build.node("Conv", build.quant("x", 0.02, 0, 8), weights), 0.05, 0, 8)
    (layer,) = quantize(imported(build, tmp_path)).layers
    assert layer.weight[0].reshape(-1).tolist() == [0, 2, -7, 7]


def test_codes_may_be_moved_before_they_are_real_again(build, tmp_path):
    numbers = build.numbers(0.02, 0)
    codes = build.node("MaxPool", build.node("QuantizeLinear", "x", *numbers), kernel_shape=(2, 2))
    build.node("DequantizeLinear", codes, *numbers)
    result = quantize(imported(build, tmp_path))
    assert [type(layer) for layer in result.layers] == [Pool2d]
    assert result.notes == ()


def bad_scale(build):
    build.stated("x", -0.02, 0)


def bad_bits(build):
    build.quant("x", 0.02, 0, 8.5)


def bad_rounding(build):
    build.quant("x", 0.02, 0, 8, rounding_mode="FLOOR")


def bad_zero(build):
    build.quant("x", 0.02, 300, 8, signed=0)


def bad_channels(build):
    build.stated("x", np.full(4, 0.02), np.zeros(4))


def bad_axis(build):
    build.node("Conv", build.stated("x", 0.02, 0), build.weights(CODES, SCALES[:5]))


def bad_pair(build):
    codes = build.node("QuantizeLinear", "x", *build.numbers(0.02, 0))
    build.node("DequantizeLinear", codes, *build.numbers(0.03, 0))


def bad_reader(build):
    build.node("Relu", build.node("QuantizeLinear", "x", *build.numbers(0.02, 0)))


def bad_origin(build):
    build.node("DequantizeLinear", "x", *build.numbers(0.02, 0))


def bad_wide(build):
    build.quant("x", 0.02, 0, 24)


def bad_blocks(build):
    numbers = build.numbers(np.full((8, 2, 3, 3), 0.1), np.zeros((8, 2, 3, 3)), np.int8)
    weights = build.node("DequantizeLinear", build.constant("w", CODES, np.int8), *numbers, axis=1, block_size=2)
    build.node("Conv", build.stated("x", 0.02, 0), weights)


def bad_variable_scale(build):
    build.node("QuantizeLinear", "x", "x")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (bad_scale, r"node quantizelinear0 \(QuantizeLinear\): its scales must be positive, .* not -0.02"),
        (bad_bits, r"node quant0 \(Quant\): its bit width .* from 2 to 32, not 8.5"),
        (bad_rounding, r"node quant0 \(Quant\): attribute rounding_mode must be ROUND, not FLOOR"),
        (bad_zero, r"node quant0 \(Quant\): its zero point must be one of its codes, 0 to 255, not 300"),
        (bad_channels, r"quantizelinear0 \(QuantizeLinear\): 4 scales for an activation: .* per tensor"),
        (bad_axis, r"node dequantizelinear2 \(DequantizeLinear\): 5 scales and 5 zero points do not fit axis 0 of"),
        (bad_pair, r"dequantizelinear1 \(DequantizeLinear\): its scale 0.03 .* are not those its input was .* 0.02"),
        (bad_reader, r"relu1 \(Relu\): it reads quantized codes"),
        (bad_origin, r"dequantizelinear0 \(DequantizeLinear\): no QuantizeLinear made its input"),
        (bad_wide, r"quant0 \(Quant\): an activation of more than 16 bits"),
        (bad_blocks, r"node dequantizelinear0 \(DequantizeLinear\): blocked scales are not supported"),
        (bad_variable_scale, r"node quantizelinear0 \(QuantizeLinear\): its scale \(input 1\) must be a constant"),
    ],
)  # fmt: skip
def test_refusals_name_the_node(build, tmp_path, wrong, match):
    wrong(build)
    with pytest.raises(ModelError, match=match):
        imported(build, tmp_path)


def test_quantized_files_are_not_pruned(build, tmp_path):
    build.stated(build.node("Conv", build.stated("x", 0.02, 0), build.weights(CODES, SCALES)), 0.05, 0)
    path = build.save(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"m.onnx: layer conv.* already quantized.*prune the float model"):
        prune_onnx(path, "2:4", tmp_path / "out.onnx", {}, {"*": "2:4"})
