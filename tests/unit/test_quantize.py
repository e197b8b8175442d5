"""Quantization: constants against the slow specification, whole layers against the float network, hostile values."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import (
    Binary,
    BinaryKind,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Function,
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
    Step,
    Tensor,
    Unary,
    View,
)
from gossamer.dataflow.numerics import QuantParams, quantize_multiplier
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.pruning.prune import check_pattern, prune
from gossamer.mapper.quantization.calibrate import ActivationRange, Observer, calibrate
from gossamer.mapper.quantization.kernels import quantize_rows
from gossamer.mapper.quantization.number_formats import affine_format, symmetric_format
from gossamer.mapper.quantization.quantize import quantize, window_counts
from gossamer.mapper.quantization.tables import (
    common_multipliers,
    dequantized,
    quantized,
    ratio_multipliers,
    trim_flat_ends,
    unary_table,
)
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.reference import run_float

SEED = 7
RELU = (Step(Function.RELU),)
SHAPE = (1, 6, 5, 8)


def normal(seed, *shape):
    return np.random.default_rng(SEED + seed).normal(size=shape).astype(np.float32)


def conv(name, source, output, weight, **fields):
    return Conv2d(name=name, inputs=(source,), output=output, op="conv", weight=weight, **fields)


def network_of(layers, shapes, inputs=("x",), outputs=None):
    tensors = {name: Tensor(name=name, shape=shape) for name, shape in shapes.items()}
    outputs = outputs or (layers[-1].output,)
    return Network(name="net", inputs=inputs, outputs=outputs, tensors=tensors, layers=tuple(layers))


def one_layer(layer, in_shapes, out_shape):
    shapes = dict(zip(layer.inputs, in_shapes, strict=True))
    return network_of([layer], {**shapes, layer.output: out_shape}, inputs=layer.inputs)


def rounded_weights(layer):
    """Return the layer with the real values of its int8 weights: what the float network must use to compare."""
    if not isinstance(layer, Conv2d | ConvTranspose2d):
        return layer
    largest = np.abs(layer.weight).max(axis=(1, 2, 3), keepdims=True)
    scale = np.where(largest == 0, 1, largest) / 127
    return replace(layer, weight=(np.rint(layer.weight / scale) * scale).astype(np.float32))


def compare(network, data=None):
    """Return (float outputs, dequantized int8 outputs, int8 network) of the same representable inputs and weights.

    So what is left of the error comes from rounding results.
    """
    if data is None:
        data = {n: normal(i, *network.tensors[n].shape) for i, n in enumerate(network.inputs)}
    result = quantize(network, data)
    formats = {name: tensor.quant for name, tensor in result.tensors.items()}
    inputs = {name: quantized(data[name], formats[name]) for name in network.inputs}
    same = {name: dequantized(codes, formats[name]).astype(np.float32) for name, codes in inputs.items()}
    exact = run_float(network.with_layers(tuple(rounded_weights(layer) for layer in network.layers)), same)
    codes = run_layers(result, inputs)
    return exact, {name: dequantized(value, result.tensors[name].quant) for name, value in codes.items()}, result


def single_layers():
    """Yield (name, layer, input shapes, output shape, allowed error in output steps)."""
    one = {"name": "layer", "inputs": ("x",), "output": "y"}
    two = {"name": "layer", "inputs": ("x", "z"), "output": "y"}
    w = normal(3, 12, 3, 3, 8) / 8
    pads = (1, 1, 1, 1)
    for activation in ((), RELU, (Step(Function.CLIP, (0.0, 0.4)),), (Step(Function.HARD_SWISH),),
                       (Step(Function.SIGMOID),), (Step(Function.SILU),), (Step(Function.GELU),)):  # fmt: skip
        label = activation[0].function.value if activation else "plain"
        layer = conv("layer", "x", "y", w, bias=normal(4, 12), pads=pads, activation=activation)
        yield f"conv_{label}", layer, [SHAPE], (1, 6, 5, 12), 3
    depthwise = conv("layer", "x", "y", normal(5, 8, 3, 3, 1) / 3, pads=pads, groups=8, stride=(2, 2), activation=RELU)
    yield "depthwise", depthwise, [SHAPE], (1, 3, 3, 8), 3
    yield "groups", conv("layer", "x", "y", normal(6, 6, 3, 3, 4) / 6, groups=2), [SHAPE], (1, 4, 3, 6), 3
    transposed = ConvTranspose2d(**one, op="t", weight=normal(7, 4, 3, 3, 8) / 8, bias=normal(8, 4), stride=(2, 2),
                                 pads=(1, 1, 1, 1), output_padding=(1, 1))  # fmt: skip
    yield "transposed", transposed, [SHAPE], (1, 12, 10, 4), 3
    yield "matmul", MatMul(**two, op="m", factor=0.3), [(1, 2, 5, 8), (1, 2, 8, 6)], (1, 2, 5, 6), 3
    yield "matmul_t", MatMul(**two, op="m", transpose_b=True), [(1, 2, 5, 8), (1, 2, 6, 8)], (1, 2, 5, 6), 3
    average = Pool2d(**one, op="p", kind=PoolKind.AVERAGE, kernel=(3, 3), stride=(2, 2), pads=pads)
    yield "average", average, [SHAPE], (1, 3, 3, 8), 2
    yield "average_pads", replace(average, count_include_pad=True, extra_pads=(1, 1)), [SHAPE], (1, 4, 3, 8), 2
    yield "global", Pool2d(**one, op="p", kind=PoolKind.AVERAGE, kernel=(6, 5)), [SHAPE], (1, 1, 1, 8), 2
    maximum = Pool2d(**one, op="p", kind=PoolKind.MAX, kernel=(3, 3), stride=(2, 2), pads=pads)
    yield "maximum", maximum, [SHAPE], (1, 3, 3, 8), 1
    for kind in BinaryKind:
        yield str(kind), Binary(**two, op=str(kind), kind=kind), [SHAPE, SHAPE], SHAPE, 3
        yield f"{kind}_channel", Binary(**two, op=str(kind), kind=kind), [SHAPE, (1, 1, 1, 8)], SHAPE, 3
        yield f"{kind}_relu", Binary(**two, op=str(kind), kind=kind, activation=RELU), [SHAPE, SHAPE], SHAPE, 3
    for step in (Step(Function.SIGMOID), Step(Function.TANH), Step(Function.ERF), Step(Function.ABS),
                 Step(Function.LEAKY_RELU, (0.1,)), Step(Function.HARD_SIGMOID, (0.2, 0.5))):  # fmt: skip
        yield step.function.value, Unary(**one, op="u", steps=(step,)), [SHAPE], SHAPE, 2
    yield (
        "exp_affine",
        Unary(**one, op="u", steps=(Step(Function.EXP), Step(Function.AFFINE, (2.0, -1.0)))),
        [SHAPE],
        SHAPE,
        4,
    )
    yield "softmax", Softmax(**one, op="softmax"), [SHAPE], SHAPE, 2
    norm = LayerNorm(**one, op="norm", gamma=normal(1, 8), beta=normal(2, 8), epsilon=1e-5)
    yield "layer_norm", norm, [SHAPE], SHAPE, 3
    yield "lrn", Lrn(**one, op="lrn", window=5, alpha=0.1, beta=0.75, bias=1.0), [SHAPE], SHAPE, 2


CASES = {name: rest for name, *rest in single_layers()}


@pytest.mark.parametrize("name", CASES)
def test_int8_layer_follows_the_float_layer(name):
    layer, in_shapes, out_shape, steps = CASES[name]
    exact, approximate, result = compare(one_layer(layer, in_shapes, out_shape))
    step = result.tensors["y"].quant.scale
    assert result.layers[0].params is not None
    assert np.abs(exact["y"] - approximate["y"]).max() <= steps * step
    assert np.unique(approximate["y"]).size > 6


def test_formats_are_shared_where_bytes_move():
    fields = {"op": "move"}
    layers = [
        conv("a", "x", "a", normal(1, 8, 1, 1, 8)),
        conv("b", "x", "b", 5 * normal(2, 8, 1, 1, 8), activation=RELU),
        Concat(name="joined", inputs=("a", "b"), output="joined", axis=3, **fields),
        Slice(name="cut", inputs=("joined",), output="cut", axis=3, start=4, stop=12, **fields),
        Pool2d(name="pool", inputs=("cut",), output="pool", kind=PoolKind.MAX, kernel=(2, 1), stride=(2, 1), **fields),
        Resize(name="big", inputs=("pool",), output="big", factors=(2, 1), **fields),
        Permute(name="turned", inputs=("big",), output="turned", view=(6, 5, 8), order=(1, 0, 2), **fields),
        View(name="view", inputs=("turned",), output="view", **fields),
    ]
    wide = (1, 6, 5, 16)
    shapes = {"x": SHAPE, "a": SHAPE, "b": SHAPE, "joined": wide, "cut": SHAPE, "pool": (1, 3, 5, 8), "big": SHAPE,
              "turned": (1, 5, 6, 8), "view": (1, 1, 30, 8)}  # fmt: skip
    exact, approximate, result = compare(network_of(layers, shapes))
    formats = {name: tensor.quant for name, tensor in result.tensors.items()}
    assert len({formats[name] for name in shapes if name != "x"}) == 1
    assert formats["x"] != formats["a"]
    assert np.abs(exact["view"] - approximate["view"]).max() <= 2 * formats["view"].scale


def test_attention():
    """softmax(q k') v: symmetric operands except the softmax result, whose zero point the accumulators carry."""
    token = (1, 1, 12, 8)
    layers = [
        *(conv(n, "x", n, normal(i, 8, 1, 1, 8) / 2, bias=normal(i, 8)) for i, n in enumerate("qkv")),
        MatMul(name="scores", inputs=("q", "k"), output="scores", op="matmul", transpose_b=True, factor=8**-0.5),
        Softmax(name="soft", inputs=("scores",), output="soft", op="softmax"),
        MatMul(name="mixed", inputs=("soft", "v"), output="mixed", op="matmul"),
    ]
    square = (1, 1, 12, 12)
    shapes = {"x": token, "q": token, "k": token, "v": token, "scores": square, "soft": square, "mixed": token}
    exact, approximate, result = compare(network_of(layers, shapes))
    assert [result.tensors[name].quant.zero_point for name in "qkv"] == [0, 0, 0]
    assert result.tensors["soft"].quant == QuantParams(1 / 256, -128)
    assert np.abs(exact["mixed"] - approximate["mixed"]).max() <= 4 * result.tensors["mixed"].quant.scale


def test_softmax_gets_a_change_of_format_where_its_own_cannot_stay():
    layers = [
        Softmax(name="soft", inputs=("x",), output="soft", op="softmax"),
        conv("conv", "x", "c", normal(1, 8, 1, 1, 8)),
        Concat(name="joined", inputs=("soft", "c"), output="joined", op="concat", axis=3),
    ]
    shapes = {"x": SHAPE, "soft": SHAPE, "c": SHAPE, "joined": (1, 6, 5, 16)}
    exact, approximate, result = compare(network_of(layers, shapes))
    assert [layer.name for layer in result.layers] == ["soft", "soft/rescale", "conv", "joined"]
    assert result.tensors["soft/softmax"].quant == QuantParams(1 / 256, -128)
    step = result.tensors["joined"].quant.scale
    assert np.abs(exact["joined"] - approximate["joined"]).max() <= 2 * step
    alone = network_of(layers[:1], {"x": SHAPE, "soft": SHAPE})
    assert [layer.name for layer in quantize(alone).layers] == ["soft"]


def test_sigmoid_formats():
    fused = one_layer(conv("c", "x", "y", normal(1, 8, 1, 1, 8), activation=(Step(Function.SIGMOID),)), [SHAPE], SHAPE)
    plain = one_layer(Unary(name="u", inputs=("x",), output="y", op="sigmoid", steps=(Step(Function.SIGMOID),)),
                      [SHAPE], SHAPE)  # fmt: skip
    for network in (fused, plain):
        assert quantize(network).tensors["y"].quant == QuantParams(1 / 256, -128)


@pytest.mark.parametrize("scale", [0.0, 1e-38, 1e30, 3e38])
def test_degenerate_values_survive(scale):
    """All weights equal, zero, tiny or so large that float32 overflows: formats stay finite and positive."""
    weights = np.full((8, 3, 3, 8), scale, np.float32)
    layers = [
        conv("a", "x", "a", weights, pads=(1, 1, 1, 1), bias=np.full(8, scale, np.float32), activation=RELU),
        conv("b", "a", "b", weights, pads=(1, 1, 1, 1), activation=(Step(Function.HARD_SWISH),)),
        Binary(name="add", inputs=("a", "b"), output="add", op="add", kind=BinaryKind.ADD),
        Binary(name="mul", inputs=("add", "x"), output="mul", op="mul", kind=BinaryKind.MULTIPLY),
        Lrn(name="lrn", inputs=("mul",), output="lrn", op="lrn", window=5, alpha=1e-4, beta=0.75, bias=1.0),
        LayerNorm(name="norm", inputs=("lrn",), output="norm", op="norm", gamma=np.ones(8, np.float32),
                  beta=np.zeros(8, np.float32), epsilon=1e-5),
        Softmax(name="soft", inputs=("norm",), output="soft", op="softmax"),
    ]  # fmt: skip
    network = network_of(layers, dict.fromkeys(("x", "a", "b", "add", "mul", "lrn", "norm", "soft"), SHAPE))
    result = quantize(network)
    for tensor in result.tensors.values():
        assert math.isfinite(tensor.quant.scale)
        assert tensor.quant.scale > 0
        assert -128 <= tensor.quant.zero_point <= 127
    outputs = run_layers(result, {"x": np.full(SHAPE, 3, np.int8)})
    assert set(outputs) == set(result.tensors)
    assert any("overflow float32" in note for note in result.notes) == (scale >= 1e30)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 1, 3)])
def test_single_values(shape):
    channels = shape[3]
    layer = conv("c", "x", "y", np.full((2, 1, 1, channels), -0.5, np.float32), bias=np.array([0.0, 7.0], np.float32))
    exact, approximate, result = compare(one_layer(layer, [shape], (1, 1, 1, 2)))
    assert np.abs(exact["y"] - approximate["y"]).max() <= result.tensors["y"].quant.scale


def test_zero_channels_keep_their_bias():
    weight = normal(1, 4, 1, 1, 8)
    weight[1], weight[2] = 0, 1e-20
    layer = conv("c", "x", "y", weight, bias=np.array([1, 2, -3, 0], np.float32))
    exact, approximate, result = compare(one_layer(layer, [SHAPE], (1, 6, 5, 4)))
    assert np.abs(exact["y"] - approximate["y"]).max() <= 2 * result.tensors["y"].quant.scale
    assert np.abs(result.layers[0].params.bias.astype(np.int64)).max() <= 2**30


def test_sums_beyond_32_bits_are_refused():
    weight = np.ones((1, 1, 1, 140_000), np.float32)
    network = one_layer(conv("huge", "x", "y", weight), [(1, 1, 1, 140_000)], (1, 1, 1, 1))
    with pytest.raises(ModelError, match=r"huge: output channel 0 can reach \d+, beyond the 32-bit accumulator"):
        quantize(network)


def test_pruned_layers_keep_pattern_and_zeros():
    layers = [
        conv(f"c{i}", "x" if i == 0 else f"t{i - 1}", f"t{i}", normal(i, 8, 3, 3, 8), pads=(1, 1, 1, 1))
        for i in range(3)
    ]
    network = prune(network_of(layers, dict.fromkeys(("x", "t0", "t1", "t2"), SHAPE)), "2:4")
    result = quantize(network)
    assert result.layers[1].pattern == NmPattern(2, 4)
    check_pattern(result.layers[1])
    assert not result.layers[1].weight[network.layers[1].weight == 0].any()


def test_weights_follow_the_slow_twin():
    rng = np.random.default_rng(SEED)
    rows = rng.normal(size=(20, 37)).astype(np.float32) * rng.uniform(1e-3, 10, (20, 1)).astype(np.float32)
    rows[3] = 0
    least, fallback = np.full(20, 1e-9), np.full(20, 0.5)
    least[5] = 4.0
    out, scale = np.empty(rows.shape, np.int8), np.empty(20)
    total, reach = np.empty(20, np.int64), np.empty(20, np.int64)
    quantize_rows(rows, least, fallback, out, scale, total, reach)
    plain, sums = np.empty(rows.shape, np.int8), np.empty(20, np.int64)
    getattr(quantize_rows, "py_func", quantize_rows)(rows, least, fallback, plain, np.empty(20), sums, np.empty(20))
    np.testing.assert_array_equal(plain, out)
    np.testing.assert_array_equal(sums, total)
    for c, row in enumerate(rows.tolist()):
        largest = max(abs(value) for value in row)
        want = max(float(np.float32(largest / 127)), least[c]) if largest else fallback[c]
        codes = [max(-127, min(127, round(value * (1 / want)))) for value in row]
        assert (scale[c], out[c].tolist(), total[c]) == (want, codes, sum(codes))
        positive, negative = sum(q for q in codes if q > 0), -sum(q for q in codes if q < 0)
        assert reach[c] == max(positive * 127 + negative * 128, positive * 128 + negative * 127)
    assert scale[5] == 4.0


def test_many_multipliers_equal_the_specification():
    rng = np.random.default_rng(SEED)
    ratios = np.concatenate(
        [np.exp(rng.uniform(-60, 20, 500)), [0.0, 1.0, 0.5, 1 - 2**-40, 2.0**-70, 1e-300, 2.0**-31, 2.0**28]]
    )
    multipliers, shifts = ratio_multipliers(ratios)
    want = [quantize_multiplier(float(ratio)) for ratio in ratios]
    assert list(zip(multipliers.tolist(), shifts.tolist(), strict=True)) == want
    assert ratio_multipliers(np.array([1e30]))[0][0] == 2**30


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.7), (1e-6, 3.0), (1.0, 1.0), (0.0, 0.0), (1e40, 1.0), (1e-20, 1e-25)])
def test_common_multipliers(a, b):
    first, second, shift = common_multipliers(a, b)
    assert 1 <= shift <= 62
    assert max(first, second) < 2**31
    for ratio, multiplier in ((a, first), (b, second)):
        assert multiplier / 2**shift == pytest.approx(min(ratio, 2**29), abs=2.0**-shift, rel=1e-6)


def test_formats_contain_zero_and_cover_the_range():
    rng = np.random.default_rng(SEED)
    for _ in range(500):
        low, high = sorted(rng.normal(size=2) * 10.0 ** rng.integers(-20, 20))
        quant = affine_format(low, high)
        assert dequantized(np.array([quant.zero_point], np.int8), quant)[0] == 0
        ends = dequantized(np.array([-128, 127], np.int8), quant)
        assert ends[0] <= min(low, 0) + quant.scale * 0.501
        assert ends[1] >= max(high, 0) - quant.scale * 0.501
        even = symmetric_format(low, high)
        assert even.zero_point == 0
        assert even.scale * 127 == pytest.approx(max(abs(low), abs(high)))
    assert affine_format(0.0, 0.0) == QuantParams(1.0, -128)


def test_flat_ends_are_trimmed():
    low, high = trim_flat_ends((Step(Function.SIGMOID),), -100.0, 50.0, 1 / 1024)
    assert -8 < low < -6.5
    assert 6.5 < high < 8
    assert trim_flat_ends((Step(Function.TANH),), -0.01, 0.01, 1.0) == (-0.01, 0.01)
    assert trim_flat_ends((Step(Function.HARD_SWISH),), -50.0, 5.0, 1e-6)[0] == pytest.approx(-3.0, abs=0.06)


def test_table_saturates_what_has_no_value():
    steps = (Step(Function.SQRT), Step(Function.RECIPROCAL))
    table = unary_table(steps, QuantParams(0.1, 0), QuantParams(0.05, -128))
    assert table[:128].tolist() == [-128] * 128
    assert table[128] == 127
    assert table[128 + 100] == round(10**-0.5 / 0.05) - 128


def test_window_counts_equal_brute_force():
    rng = np.random.default_rng(SEED)
    for _ in range(60):
        k, s = rng.integers(1, 5, 2), rng.integers(1, 4, 2)
        pads = tuple(int(rng.integers(0, k[i % 2])) for i in range(4))
        extra = tuple(int(rng.integers(0, s[i])) for i in range(2))
        size = rng.integers(5, 9, 2)
        out = [int((size[i] + pads[i] + pads[i + 2] + extra[i] - k[i]) // s[i] + 1) for i in range(2)]
        include = bool(rng.integers(0, 2))
        kernel, stride = (int(k[0]), int(k[1])), (int(s[0]), int(s[1]))
        layer = Pool2d(name="p", inputs=("x",), output="y", op="p", kind=PoolKind.AVERAGE, kernel=kernel,
                       stride=stride, pads=pads, extra_pads=extra, count_include_pad=include)  # fmt: skip
        counts = set()
        for y in range(out[0]):
            for x in range(out[1]):
                inside = 0
                for r in range(y * s[0] - pads[0], y * s[0] - pads[0] + k[0]):
                    for c in range(x * s[1] - pads[1], x * s[1] - pads[1] + k[1]):
                        real = 0 <= r < size[0] and 0 <= c < size[1]
                        padded = -pads[0] <= r < size[0] + pads[2] and -pads[1] <= c < size[1] + pads[3]
                        inside += padded if include else real
                counts.add(int(inside))
        assert window_counts(layer, (1, *size, 4), (1, *out, 4)) == sorted(counts - {0})


def test_ranges_by_method():
    rng = np.random.default_rng(SEED)
    values = rng.normal(size=200_000).astype(np.float32)
    values[17], values[4000] = 8.0, -7.0
    observer = Observer()
    for part in np.split(values, 4):
        observer.observe(part, 50_000)
    assert observer.range(ActivationRange.MIN_MAX) == (-7.0, 8.0)
    low, high = observer.range(ActivationRange.PERCENTILE)
    assert low == pytest.approx(-3.7, abs=0.2)
    assert high == pytest.approx(3.7, abs=0.2)
    errors = {}
    for method in ActivationRange:
        quant = affine_format(*observer.range(method))
        errors[method] = np.mean((dequantized(quantized(values, quant), quant) - values) ** 2)
    assert errors[ActivationRange.MSE] < 0.9 * errors[ActivationRange.MIN_MAX]
    assert errors[ActivationRange.MSE] < errors[ActivationRange.PERCENTILE]


def test_samples_come_from_every_channel():
    observer = Observer()
    observer.observe(np.tile(np.arange(16, dtype=np.float32), (64, 1)), 64)
    assert len(observer.samples[0]) <= 64
    assert set(observer.samples[0].tolist()) == set(range(16))


@pytest.mark.parametrize("method", [*ActivationRange])
def test_methods_quantize_a_network(method):
    network = one_layer(conv("c", "x", "y", normal(1, 8, 3, 3, 8), activation=RELU), [SHAPE], (1, 4, 3, 8))
    data = {"x": normal(5, 7, *SHAPE[1:])}
    result = quantize(network, data, str(method))
    assert result.tensors["y"].quant.zero_point == -128
    assert all(type(tensor.quant.scale) is float for tensor in result.tensors.values())
    assert result.notes == ()


def test_calibration_covers_every_sample_and_needs_no_whole_batch():
    network = one_layer(conv("c", "x", "y", np.ones((1, 1, 1, 1), np.float32)), [(2, 1, 1, 1)], (2, 1, 1, 1))
    ranges, _ = calibrate(network, {"x": np.array([1, 2, -3, 4, 9], np.float32).reshape(5, 1, 1, 1)},
                          ActivationRange.MIN_MAX)  # fmt: skip
    assert ranges == {"x": (-3.0, 9.0), "y": (-3.0, 9.0)}


def test_missing_calibration_is_said():
    network = one_layer(conv("c", "x", "y", normal(1, 8, 1, 1, 8)), [SHAPE], SHAPE)
    first, second = quantize(network), quantize(network)
    assert "No calibration data" in first.notes[0]
    assert first.tensors == second.tensors


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"other": np.zeros(SHAPE)}, "no array for input 'x'; it has other"),
        ({"x": np.zeros((3, 8))}, r"calibration data for x must be \(samples, 6, 5, 8\), not \(3, 8\)"),
        ({"x": np.zeros((0, 6, 5, 8))}, r"must be \(samples"),
        ({"x": np.full(SHAPE, np.nan)}, "must be finite"),
    ],
)
def test_bad_calibration(data, message):
    network = one_layer(conv("c", "x", "y", normal(1, 8, 1, 1, 8)), [SHAPE], SHAPE)
    with pytest.raises(ModelError, match=message):
        quantize(network, data)


def test_bad_requests():
    network = one_layer(conv("c", "x", "y", normal(1, 8, 1, 1, 8)), [SHAPE], SHAPE)
    with pytest.raises(ModelError, match="one of min-max, percentile, mse, not 'average'"):
        quantize(network, None, "average")
    with pytest.raises(ModelError, match="c: weights must be float32 to be quantized, not int8"):
        quantize(quantize(network))
    broken = network.with_layers((replace(network.layers[0], bias=np.full(8, np.inf, np.float32)),))
    with pytest.raises(ModelError, match="c: bias must be finite; 8 are not"):
        quantize(broken)
    add = Binary(name="add", inputs=("x", "y"), output="z", op="add", kind=BinaryKind.ADD,
                 activation=(Step(Function.SIGMOID),))  # fmt: skip
    shapes = dict.fromkeys("xyz", SHAPE)
    with pytest.raises(ModelError, match="add: only relu and clip can be fused into add"):
        quantize(network_of([*network.layers, add], shapes))
