"""Every operator and odd parameter the importer knows, one small graph each, equals onnxruntime."""

from pathlib import Path

import numpy as np
import pytest
from operator_cases import MAP, check, ints, kinds, node, scalar, w

from gossamer.dataflow.network import Binary, Function, LayerNorm, MatMul, Permute, Softmax, Step, Unary

CONVOLUTIONS = {
    "plain": ((8, 6, 3, 3), {}),
    "asymmetric_pads": ((8, 6, 3, 3), {"pads": [0, 1, 2, 3]}),
    "stride": ((8, 6, 3, 3), {"strides": [2, 3], "pads": [1, 1, 1, 1]}),
    "dilation": ((8, 6, 3, 3), {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    "groups": ((8, 3, 3, 3), {"group": 2}),
    "depthwise": ((6, 1, 5, 3), {"group": 6, "pads": [2, 1, 2, 1]}),
    "depthwise_multiplier": ((12, 1, 3, 3), {"group": 6}),
    "pointwise": ((5, 6, 1, 1), {}),
    "pointwise_stride": ((5, 6, 1, 1), {"strides": [2, 2]}),
    "same_upper": ((8, 6, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same_lower": ((8, 6, 4, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 3]}),
    "valid": ((8, 6, 2, 4), {"auto_pad": "VALID"}),
    "whole_map": ((4, 6, 9, 11), {}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_conv(name: str, bias: bool, tmp_path: Path) -> None:
    shape, attributes = CONVOLUTIONS[name]
    constants = {"w": w(*shape)} | ({"b": w(shape[0])} if bias else {})
    network = check(tmp_path, [node("Conv", ["x", *constants], ["y"], **attributes)], MAP, constants)
    assert kinds(network) == ["Conv2d"]


TRANSPOSED = {
    "plain": ((6, 4, 3, 3), {}),
    "stride": ((6, 4, 2, 2), {"strides": [2, 2]}),
    "stride_pads_output_padding": ((6, 4, 3, 4), {"strides": [2, 3], "pads": [1, 0, 0, 2], "output_padding": [1, 2]}),
    "stride_beyond_kernel": ((6, 4, 1, 2), {"strides": [3, 3]}),
    "groups": ((6, 2, 3, 3), {"group": 3, "strides": [2, 1]}),
    "same_upper": ((6, 4, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same_lower": ((6, 4, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "output_shape": ((6, 4, 3, 3), {"strides": [2, 2], "output_shape": [18, 21]}),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose(name: str, tmp_path: Path) -> None:
    shape, attributes = TRANSPOSED[name]
    constants = {"w": w(*shape), "b": w(shape[1] * attributes.get("group", 1))}
    network = check(tmp_path, [node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)], MAP, constants)
    assert kinds(network) == ["ConvTranspose2d"]


def test_one_dimensional_windows(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[2, 1], strides=[2], dilations=[2]),
        node("MaxPool", ["a"], ["b"], kernel_shape=[3], pads=[1, 0]),
        node("ConvTranspose", ["b", "v"], ["y"], strides=[2], output_padding=[1]),
    ]
    check(tmp_path, nodes, {"x": (2, 4, 17)}, {"w": w(5, 4, 3), "v": w(5, 3, 2)})


POOLS = {
    "plain": {"kernel_shape": [3, 2]},
    "stride_pads": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 2, 1]},
    "ceil": {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    "ceil_pads": {"kernel_shape": [3, 4], "strides": [2, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    "ceil_drops_window_in_padding": {"kernel_shape": [2, 2], "strides": [4, 4], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    "same_upper": {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "whole_map": {"kernel_shape": [9, 11]},
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "counting AveragePool"])
@pytest.mark.parametrize("opset", [11, 19])
def test_pool(name: str, op: str, opset: int, tmp_path: Path) -> None:
    counting = {"count_include_pad": 1} if op.startswith("counting") else {}
    made = node(op.split()[-1], ["x"], ["y"], **POOLS[name], **counting)
    assert kinds(check(tmp_path, [made], MAP, opset=opset)) == ["Pool2d"]


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pool(op: str, tmp_path: Path) -> None:
    check(tmp_path, [node(op, ["x"], ["y"])], MAP)


@pytest.mark.parametrize(
    ("shape", "axes", "keep"),
    [
        ((2, 6, 5, 7), [2, 3], 1),
        ((2, 6, 5, 7), [-1, -2], 0),
        ((2, 6, 5, 7), [3], 0),
        ((2, 6, 5, 7), [1], 1),
        ((2, 6, 5, 7), [1, 2], 0),
        ((2, 9, 8), [1], 0),
        ((2, 9, 8), [2], 1),
        ((3, 8), [1], 0),
    ],
)
@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax"])
def test_reductions(op: str, shape: tuple[int, ...], axes: list[int], keep: int, tmp_path: Path) -> None:
    check(tmp_path, [node(op, ["x"], ["y"], axes=axes, keepdims=keep)], {"x": shape})


def test_reduce_mean_with_axes_as_input(tmp_path: Path) -> None:
    check(tmp_path, [node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)], MAP, {"axes": ints(2, 3)}, opset=18)


@pytest.mark.parametrize("size", [1, 3, 5])  # onnxruntime refuses even ones
def test_lrn(size: int, tmp_path: Path) -> None:
    check(tmp_path, [node("LRN", ["x"], ["y"], size=size, alpha=0.3, beta=0.6, bias=1.5)], MAP)


@pytest.mark.parametrize(("trans_a", "trans_b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("c", [None, (10,), (1, 10), (1,), ()])
def test_gemm_with_constants(trans_a: int, trans_b: int, c: tuple[int, ...] | None, tmp_path: Path) -> None:
    constants = {"w": w(10, 7) if trans_b else w(7, 10)} | ({} if c is None else {"c": w(*c)})
    made = node("Gemm", ["x", *constants], ["y"], transA=trans_a, transB=trans_b, alpha=0.5, beta=3.0)
    network = check(tmp_path, [made], {"x": (7, 4) if trans_a else (4, 7)}, constants)
    assert kinds(network)[-1] == "Conv2d"


@pytest.mark.parametrize("trans_b", [0, 1])
def test_gemm_of_activations(trans_b: int, tmp_path: Path) -> None:
    inputs = {"x": (4, 7), "z": (5, 7) if trans_b else (7, 5)}
    network = check(tmp_path, [node("Gemm", ["x", "z"], ["y"], transB=trans_b, alpha=2.0)], inputs)
    assert kinds(network) == ["View", "View", "MatMul"]
    assert network.layers[2].transpose_b == bool(trans_b)  # type: ignore[attr-defined]


def test_flattened_map_needs_no_permute(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "k"], ["a"]),
        node("Flatten", ["a"], ["b"]),
        node("Gemm", ["b", "w", "c"], ["y"], transB=1),
    ]
    constants = {"k": w(5, 6, 3, 3), "w": w(10, 5 * 7 * 9), "c": w(10)}
    network = check(tmp_path, nodes, MAP, constants)
    assert kinds(network) == ["Conv2d", "Conv2d"]
    assert network.layers[1].weight.shape == (10, 7, 9, 5)  # type: ignore[attr-defined]


def test_flattened_map_read_twice_is_moved_once(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", ["x", "s"], ["a"]),
        node("Softmax", ["a"], ["b"]),
        node("Softmax", ["a"], ["c"]),
        node("Concat", ["b", "c"], ["y"], axis=1),
    ]
    network = check(tmp_path, nodes, MAP, {"s": ints(2, -1)})
    assert kinds(network).count("Permute") == 1


@pytest.mark.parametrize(
    ("shape", "constant", "left"),
    [((2, 5, 7), (7, 4), False), ((2, 3, 5, 7), (7, 4), False), ((5, 7), (7, 1), False), ((7,), (7, 4), False),
     ((2, 7, 5), (4, 7), True), ((2, 5, 7), (1, 7, 4), False)],
)  # fmt: skip
def test_matmul_with_constant(shape: tuple[int, ...], constant: tuple[int, ...], left: bool, tmp_path: Path) -> None:
    made = node("MatMul", ["w", "x"] if left else ["x", "w"], ["y"])
    assert kinds(check(tmp_path, [made], {"x": shape}, {"w": w(*constant)}))[-1] == "Conv2d"


def test_matmul_of_activations_with_heads(tmp_path: Path) -> None:
    inputs = {"q": (2, 3, 5, 8), "k": (2, 3, 6, 8), "v": (2, 3, 6, 4)}
    nodes = [
        node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        node("Mul", ["q", "scale"], ["qs"]),
        node("MatMul", ["qs", "kt"], ["s"]),
        node("Softmax", ["s"], ["p"], axis=3),
        node("MatMul", ["p", "v"], ["y"]),
    ]
    network = check(tmp_path, nodes, inputs, {"scale": scalar(0.35)})
    products = [layer for layer in network.layers if isinstance(layer, MatMul)]
    assert [product.factor for product in products] == [pytest.approx(0.35), 1.0]


def test_attention_block(tmp_path: Path) -> None:
    """Fused query, key and value; heads of 4; projection reads the heads as they lie."""
    nodes = [
        node("MatMul", ["x", "qkv"], ["a"]),
        node("Reshape", ["a", "cut"], ["b"]),
        node("Transpose", ["b"], ["c"], perm=[2, 0, 3, 1, 4]),
        node("Split", ["c"], ["q0", "k0", "v0"], axis=0),
        *[node("Squeeze", [f"{name}0", "zero"], [name]) for name in "qkv"],
        node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        node("MatMul", ["q", "kt"], ["s"]),
        node("Div", ["s", "root"], ["d"]),
        node("Softmax", ["d"], ["p"]),
        node("MatMul", ["p", "v"], ["o"]),
        node("Transpose", ["o"], ["t"], perm=[0, 2, 1, 3]),
        node("Reshape", ["t", "join"], ["u"]),
        node("MatMul", ["u", "out"], ["r"]),
        node("Add", ["r", "x"], ["y"]),
    ]
    constants = {
        "qkv": w(12, 36), "cut": ints(2, 7, 3, 3, 4), "zero": ints(0), "root": scalar(2.0), "join": ints(2, 7, 12),
        "out": w(12, 12),
    }  # fmt: skip
    network = check(tmp_path, nodes, {"x": (2, 7, 12)}, constants)
    assert kinds(network).count("Permute") == 3
    assert not any(isinstance(layer, Unary) for layer in network.layers)


def test_batch_norm_folds_into_conv(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "k"], ["a"]),
        node("BatchNormalization", ["a", "g", "b", "m", "v"], ["n"], epsilon=0.01),
        node("Unsqueeze", ["s"], ["s2"], axes=[1, 2]),
        node("Mul", ["n", "s2"], ["c"]),
        node("Unsqueeze", ["t"], ["t2"], axes=[1, 2]),
        node("Add", ["c", "t2"], ["d"]),
        node("Relu", ["d"], ["y"]),
    ]
    constants = {name: w(5) for name in "gbmst"} | {"v": np.abs(w(5)) + 0.1, "k": w(5, 6, 3, 3)}
    network = check(tmp_path, nodes, MAP, constants, opset=11)
    assert kinds(network) == ["Conv2d"]
    assert network.layers[0].activation == (Step(Function.RELU),)  # type: ignore[attr-defined]
    assert network.layers[0].output == "y"


def test_batch_norm_alone_is_depthwise(tmp_path: Path) -> None:
    constants = {name: w(6) for name in "gbm"} | {"v": np.abs(w(6)) + 0.1}
    nodes = [node("BatchNormalization", ["x", *"gbmv"], ["a"]), node("Relu", ["a"], ["y"])]
    network = check(tmp_path, nodes, MAP, constants)
    assert kinds(network) == ["Conv2d"]
    assert network.layers[0].groups == 6  # type: ignore[attr-defined]


@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1]])
@pytest.mark.parametrize("groups", [1, 3])
def test_scale_before_conv_folds_only_without_padding(pads: list[int], groups: int, tmp_path: Path) -> None:
    constants = {name: w(6) for name in "gbm"} | {"v": np.abs(w(6)) + 0.1, "k": w(9, 6 // groups, 3, 3)}
    nodes = [
        node("BatchNormalization", ["x", *"gbmv"], ["a"]),
        node("Conv", ["a", "k"], ["y"], pads=pads, group=groups),
    ]
    assert len(check(tmp_path, nodes, MAP, constants).layers) == 1 + any(pads)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("shape", [(), (1, 1, 1), (6, 1, 1), (1, 6, 1, 1), (9, 1), (11,), (9, 11), (6, 9, 11)])
def test_elementwise_with_constant(op: str, first: bool, shape: tuple[int, ...], tmp_path: Path) -> None:
    constant = np.sign(w(*shape)) * (np.abs(w(*shape)) + 0.5)
    nodes = [node("Abs", ["x"], ["p"]), node("Exp", ["p"], ["e"])]  # at least 1: safe to divide by
    nodes.append(node(op, ["c", "e"] if first else ["e", "c"], ["y"]))
    check(tmp_path, nodes, MAP, {"c": constant.astype(np.float32)})


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 6, 5, 7), (2, 6, 5, 7)),
        ((2, 6, 5, 7), (2, 6, 1, 1)),
        ((2, 6, 1, 1), (2, 6, 5, 7)),
        ((2, 6, 5, 7), (1, 1, 5, 7)),
        ((2, 6, 5, 7), (5, 1)),
        ((2, 9, 8), (9, 8)),
        ((2, 9, 8), (2, 1, 8)),
        ((4, 8), (8,)),
        ((2, 3, 4, 5, 6), (2, 1, 4, 5, 6)),
    ],
)
def test_elementwise_of_activations(op: str, a: tuple[int, ...], b: tuple[int, ...], tmp_path: Path) -> None:
    network = check(tmp_path, [node(op, ["a", "b"], ["y"])], {"a": a, "b": b})
    assert sum(isinstance(layer, Binary) for layer in network.layers) == 1


def test_sum_of_three_then_relu(tmp_path: Path) -> None:
    inputs = dict.fromkeys("abc", (1, 4, 5, 5))
    network = check(tmp_path, [node("Sum", [*"abc"], ["s"]), node("Relu", ["s"], ["y"])], inputs, opset=8)
    assert kinds(network) == ["Binary", "Binary"]
    assert network.layers[1].activation == (Step(Function.RELU),)  # type: ignore[attr-defined]


HARD_SWISH = (Step(Function.HARD_SWISH),)
UNARY: dict[str, tuple[list, dict, int, tuple[Step, ...] | None]] = {
    "relu": ([node("Relu", ["x"], ["y"])], {}, 13, None),
    "clip_attributes": ([node("Clip", ["x"], ["y"], min=-0.5, max=0.75)], {}, 7, None),
    "clip_inputs": ([node("Clip", ["x", "a", "b"], ["y"])], {"a": scalar(-0.5), "b": scalar(0.7)}, 11, None),
    "clip_low_only": ([node("Clip", ["x", "a"], ["y"])], {"a": scalar(0)}, 13, (Step(Function.RELU),)),
    "clip_high_only": ([node("Clip", ["x", "", "b"], ["y"])], {"b": scalar(0.1)}, 13, None),
    "max_min": (
        [node("Max", ["x", "a"], ["m"]), node("Min", ["b", "m"], ["y"])],
        {"a": scalar(-0.5), "b": scalar(0.7)}, 13, None,
    ),
    "sigmoid": ([node("Sigmoid", ["x"], ["y"])], {}, 13, None),
    "hard_sigmoid": ([node("HardSigmoid", ["x"], ["y"], alpha=0.3, beta=0.4)], {}, 13, None),
    "hard_swish": ([node("HardSwish", ["x"], ["y"])], {}, 14, HARD_SWISH),
    "tanh": ([node("Tanh", ["x"], ["y"])], {}, 13, None),
    "erf": ([node("Erf", ["x"], ["y"])], {}, 13, None),
    "exp_sqrt": ([node("Exp", ["x"], ["e"]), node("Sqrt", ["e"], ["y"])], {}, 13, None),
    "abs_reciprocal": ([node("Exp", ["x"], ["e"]), node("Reciprocal", ["e"], ["y"])], {}, 13, None),
    "neg_abs": ([node("Neg", ["x"], ["n"]), node("Abs", ["n"], ["y"])], {}, 13, None),
    "leaky_relu": ([node("LeakyRelu", ["x"], ["y"], alpha=0.2)], {}, 13, None),
    "prelu_one_slope": ([node("PRelu", ["x", "s"], ["y"])], {"s": w(1, 1, 1)}, 13, None),
    "pow": ([node("Pow", ["x", "p"], ["y"])], {"p": scalar(2)}, 13, None),
    "gelu_op": ([node("Gelu", ["x"], ["y"])], {}, 20, (Step(Function.GELU),)),
    "hard_swish_div": (
        [node("Add", ["x", "t"], ["a"]), node("Clip", ["a", "z", "s"], ["c"]), node("Mul", ["x", "c"], ["m"]),
         node("Div", ["m", "s"], ["y"])],
        {"t": scalar(3), "z": scalar(0), "s": scalar(6)}, 13, HARD_SWISH,
    ),
    "hard_swish_mul": (
        [node("Add", ["t", "x"], ["a"]), node("Clip", ["a"], ["c"], min=0.0, max=6.0), node("Mul", ["c", "i"], ["d"]),
         node("Mul", ["d", "x"], ["y"])],
        {"t": scalar(3), "i": scalar(1 / 6)}, 7, HARD_SWISH,
    ),
    "hard_swish_gate": (
        [node("HardSigmoid", ["x"], ["a"], alpha=1 / 6, beta=0.5), node("Mul", ["x", "a"], ["y"])], {}, 13, HARD_SWISH,
    ),
    "silu": ([node("Sigmoid", ["x"], ["a"]), node("Mul", ["a", "x"], ["y"])], {}, 13, (Step(Function.SILU),)),
    "silu_beta": (
        [node("Mul", ["x", "b"], ["s"]), node("Sigmoid", ["s"], ["a"]), node("Mul", ["x", "a"], ["y"])],
        {"b": scalar(1.7)}, 13, None,
    ),
    "gelu_erf": (
        [node("Div", ["x", "r"], ["a"]), node("Erf", ["a"], ["e"]), node("Add", ["e", "o"], ["p"]),
         node("Mul", ["x", "p"], ["m"]), node("Mul", ["m", "h"], ["y"])],
        {"r": scalar(2**0.5), "o": scalar(1), "h": scalar(0.5)}, 13, (Step(Function.GELU),),
    ),
    "gelu_erf_half_first": (
        [node("Mul", ["x", "h"], ["g"]), node("Mul", ["x", "r"], ["a"]), node("Erf", ["a"], ["e"]),
         node("Add", ["e", "o"], ["p"]), node("Mul", ["g", "p"], ["y"])],
        {"r": scalar(0.5**0.5), "o": scalar(1), "h": scalar(0.5)}, 13, (Step(Function.GELU),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str, tmp_path: Path) -> None:
    nodes, constants, opset, steps = UNARY[name]
    network = check(tmp_path, nodes, MAP, constants, opset)
    assert kinds(network) == ["Unary"]
    if steps is not None:
        assert network.layers[0].steps == steps  # type: ignore[attr-defined]


NEAR_MISSES = {
    "hard-swish with another limit": (3.0, 0.0, 4.0),
    "hard-swish with another offset": (2.0, 0.0, 6.0),
    "hard-swish with another floor": (3.0, 0.5, 6.0),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_almost_hard_swish_is_not_hard_swish(name: str, tmp_path: Path) -> None:
    offset, low, high = NEAR_MISSES[name]
    nodes = [
        node("Add", ["x", "t"], ["a"]),
        node("Clip", ["a"], ["c"], min=low, max=high),
        node("Mul", ["x", "c"], ["y"]),
    ]
    assert kinds(check(tmp_path, nodes, MAP, {"t": scalar(offset)}, opset=7)) == ["Unary", "Binary"]


@pytest.mark.parametrize(("root", "one"), [(1.0, 1.0), (0.5**0.5, 0.9)])
def test_almost_gelu_is_not_gelu(root: float, one: float, tmp_path: Path) -> None:
    nodes = [
        node("Mul", ["x", "r"], ["a"]),
        node("Erf", ["a"], ["e"]),
        node("Add", ["e", "o"], ["p"]),
        node("Mul", ["x", "p"], ["y"]),
    ]
    assert kinds(check(tmp_path, nodes, MAP, {"r": scalar(root), "o": scalar(one)})) == ["Unary", "Binary"]


def test_product_of_unrelated_functions_stays_a_product(tmp_path: Path) -> None:
    nodes = [node("Tanh", ["x"], ["a"]), node("Relu", ["x"], ["b"]), node("Mul", ["a", "b"], ["y"])]
    assert kinds(check(tmp_path, nodes, MAP)) == ["Unary", "Unary", "Binary"]


def test_activation_joins_the_layer_before_it(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "k", "b"], ["a"]),
        node("Mul", ["a", "s"], ["c"]),
        node("Sigmoid", ["c"], ["d"]),
        node("Mul", ["c", "d"], ["e"]),
        node("Add", ["e", "s"], ["y"]),
    ]
    network = check(tmp_path, nodes, MAP, {"k": w(5, 6, 3, 3), "b": w(5), "s": scalar(0.3)})
    assert kinds(network) == ["Conv2d"]
    functions = [step.function for step in network.layers[0].activation]  # type: ignore[attr-defined]
    assert functions == [Function.SILU, Function.AFFINE]


def test_tensor_with_two_readers_keeps_its_layer(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "k"], ["a"]), node("Relu", ["a"], ["b"]), node("Sub", ["a", "b"], ["y"])]
    assert kinds(check(tmp_path, nodes, MAP, {"k": w(5, 6, 3, 3)})) == ["Conv2d", "Unary", "Binary"]


@pytest.mark.parametrize("axis", [-1, 1, 2])
@pytest.mark.parametrize("opset", [11, 13])
def test_softmax(axis: int, opset: int, tmp_path: Path) -> None:
    network = check(tmp_path, [node("Softmax", ["x"], ["y"], axis=axis)], MAP, opset=opset)
    assert isinstance(network.layers[-1], Softmax)


def test_layer_norm_op(tmp_path: Path) -> None:
    made = node("LayerNormalization", ["x", "g", "b"], ["y"], epsilon=1e-3)
    check(tmp_path, [made], {"x": (2, 5, 12)}, {"g": w(12), "b": w(12)}, opset=17)


def test_layer_norm_over_two_axes(tmp_path: Path) -> None:
    made = node("LayerNormalization", ["x", "g"], ["y"], axis=2)
    check(tmp_path, [made], {"x": (2, 5, 3, 4)}, {"g": w(3, 4)}, opset=17)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("square", ["Pow", "Mul"])
def test_layer_norm_decomposed(axis: int, square: str, tmp_path: Path) -> None:
    nodes = [
        node("ReduceMean", ["x"], ["m"], axes=[axis]),
        node("Sub", ["x", "m"], ["c"]),
        node("Pow", ["c", "two"], ["q"]) if square == "Pow" else node("Mul", ["c", "c"], ["q"]),
        node("ReduceMean", ["q"], ["v"], axes=[axis]),
        node("Add", ["v", "eps"], ["e"]),
        node("Sqrt", ["e"], ["r"]),
        node("Div", ["c", "r"], ["d"]),
        node("Mul", ["d", "g"], ["t"]),
        node("Add", ["t", "b"], ["y"]),
    ]
    shape = (8,) if axis == -1 else (6, 1, 1)
    constants = {"two": scalar(2), "eps": scalar(1e-3), "g": w(*shape), "b": w(*shape)}
    network = check(tmp_path, nodes, {"x": (2, 6, 5, 8)}, constants)
    assert sum(isinstance(layer, LayerNorm) for layer in network.layers) == 1
    assert all(isinstance(layer, LayerNorm | Permute) for layer in network.layers)
