"""Every operator and odd parameter the importer knows, one small graph each, equals onnxruntime."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx_cases import assert_equal_to_onnxruntime, save_model

from gossamer.dataflow.network import (
    Binary,
    Function,
    LayerNorm,
    MatMul,
    Network,
    Permute,
    Softmax,
    Step,
    Unary,
    View,
)

node = helper.make_node
RANDOM = np.random.default_rng(7)


def w(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def check(path: Path, nodes: list, inputs: dict, constants: dict | None = None, opset: int = 13) -> Network:
    """Save, import, compare; the last node's first output is the graph's."""
    save_model(path / "case.onnx", nodes, inputs, [nodes[-1].output[0]], constants, opset)
    return assert_equal_to_onnxruntime(path / "case.onnx", tolerance=2e-5)


def kinds(network: Network) -> list[str]:
    return [type(layer).__name__ for layer in network.layers]


MAP = {"x": (2, 6, 9, 11)}

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


def test_channel_shuffle_is_one_permute(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", ["x", "a"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["t", "b"], ["s"]),
        node("Conv", ["s", "k"], ["y"]),
    ]
    constants = {"a": ints(0, 2, 3, 9, 11), "b": ints(2, -1, 9, 11), "k": w(4, 6, 3, 3)}
    assert kinds(check(tmp_path, nodes, MAP, constants)) == ["Permute", "Conv2d"]


def test_transposes_around_layout_are_free(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        node("Conv", ["t", "k"], ["c"]),
        node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1]),
    ]
    network = check(tmp_path, nodes, {"x": (2, 9, 11, 6)}, {"k": w(4, 6, 3, 3)})
    assert kinds(network)[-1] == "Conv2d"


def test_tokens_from_a_map_are_a_view(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", ["x", "s"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["t", "r"], ["y"]),
    ]
    network = check(tmp_path, nodes, {"x": (2, 6, 3, 4)}, {"s": ints(2, 6, 12)})
    assert kinds(network) == ["View", "MatMul"]


RESHAPES = {
    "uneven": ((2, 6, 10), (4, 3, 10)),
    "no_common_factor": ((1, 4, 9), (1, 6, 6)),
    "crossing_channels": ((2, 3, 8), (2, 12, 2)),
    "to_vector": ((2, 6, 3, 4), (144,)),
    "five_axes": ((2, 6, 3, 4), (2, 2, 3, 3, 4)),
}


@pytest.mark.parametrize("name", RESHAPES)
def test_reshape_that_moves_bytes(name: str, tmp_path: Path) -> None:
    before, after = RESHAPES[name]
    nodes = [node("Relu", ["x"], ["r"]), node("Reshape", ["r", "s"], ["t"]), node("Exp", ["t"], ["y"])]
    check(tmp_path, nodes, {"x": before}, {"s": ints(*after)})


def test_squeeze_unsqueeze_flatten_identity(tmp_path: Path) -> None:
    nodes = [
        node("Unsqueeze", ["x"], ["a"], axes=[0, 3]),
        node("Squeeze", ["a"], ["b"], axes=[0]),
        node("Identity", ["b"], ["c"]),
        node("Dropout", ["c"], ["d"], ratio=0.5),
        node("Flatten", ["d"], ["e"], axis=2),
        node("Relu", ["e"], ["y"]),
    ]
    check(tmp_path, nodes, {"x": (3, 4, 5)}, opset=11)


SLICES = {
    "channels": ([1], [5], [1], [1]),
    "rows_and_columns": ([1, -4], [100, -1], [2, 3], [1, 1]),
    "steps": ([0, 1, 2], [6, 9, 11], [1, 2, 3], [2, 3, 4]),
}


@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("opset", [9, 13])
def test_slice(name: str, opset: int, tmp_path: Path) -> None:
    starts, ends, axes, steps = SLICES[name]
    if opset == 9:
        if max(steps) > 1:
            steps = [1] * len(steps)
        nodes = [node("Slice", ["x"], ["y"], starts=starts, ends=ends, axes=axes)]
        check(tmp_path, nodes, MAP, opset=9)
        return
    constants = {"s": ints(*starts), "e": ints(*ends), "a": ints(*axes), "t": ints(*steps)}
    check(tmp_path, [node("Slice", ["x", *"seat"], ["y"])], MAP, constants)


def test_slice_of_a_flattened_axis(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", ["x", "r"], ["a"]),
        node("Slice", ["a", "s", "e", "t"], ["y"]),
    ]
    check(tmp_path, nodes, MAP, {"r": ints(2, -1), "s": ints(17), "e": ints(400), "t": ints(1)})


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_split(opset: int, tmp_path: Path) -> None:
    parts = {"split": [1, 2, 3]} if opset < 13 else {}
    names = ["x"] if opset < 13 else ["x", "p"]
    nodes = [
        node("Split", names, ["a", "b", "c"], axis=1, **parts),
        node("Relu", ["b"], ["d"]),
        node("Concat", ["c", "d", "a"], ["y"], axis=1),
    ]
    check(tmp_path, nodes, MAP, {} if opset < 13 else {"p": ints(1, 2, 3)}, opset)


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_concat(axis: int, tmp_path: Path) -> None:
    shape = [2, 3, 4, 5]
    other = shape.copy()
    other[axis] = 7
    nodes = [node("Concat", ["a", "b", "a"], ["c"], axis=axis), node("Relu", ["c"], ["y"])]
    check(tmp_path, nodes, {"a": tuple(shape), "b": tuple(other)})


def test_concat_along_an_axis_of_length_one(tmp_path: Path) -> None:
    inputs = {"a": (2, 1, 4, 5), "b": (2, 3, 4, 5)}
    check(tmp_path, [node("Concat", ["a", "b"], ["y"], axis=1)], inputs)


@pytest.mark.parametrize("index", [0, -2])
def test_gather_of_one_index(index: int, tmp_path: Path) -> None:
    nodes = [node("Gather", ["x", "i"], ["g"], axis=1), node("MatMul", ["g", "w"], ["y"])]
    check(tmp_path, nodes, {"x": (2, 5, 8)}, {"i": np.array(index, np.int64), "w": w(8, 3)})


RESIZES = {
    "upsample_7": (7, [node("Upsample", ["x"], ["y"], mode="nearest", scales=[1.0, 1.0, 2.0, 3.0])], {}),
    "upsample_9": (9, [node("Upsample", ["x", "s"], ["y"])], {"s": np.array([1, 1, 2, 2], np.float32)}),
    "resize_10": (10, [node("Resize", ["x", "s"], ["y"])], {"s": np.array([1, 1, 3, 2], np.float32)}),
    "half_pixel": (13, [node("Resize", ["x", "", "s"], ["y"])], {"s": np.array([1, 1, 3, 2], np.float32)}),
    "asymmetric": (
        13,
        [node("Resize", ["x", "", "s"], ["y"], coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
        {"s": np.array([1, 1, 4, 3], np.float32)},
    ),
    "sizes": (13, [node("Resize", ["x", "", "", "s"], ["y"])], {"s": ints(2, 6, 18, 33)}),
}


@pytest.mark.parametrize("name", RESIZES)
def test_resize(name: str, tmp_path: Path) -> None:
    opset, nodes, constants = RESIZES[name]
    assert kinds(check(tmp_path, nodes, MAP, constants, opset)) == ["Resize"]


def test_shape_arithmetic_is_folded(tmp_path: Path) -> None:
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"]),
        node("Cast", ["n"], ["n32"], to=6),
        node("Cast", ["n32"], ["n64"], to=7),
        node("Unsqueeze", ["n64"], ["u"], axes=[0]),
        node("Constant", [], ["rest"], value_ints=[-1]),
        node("Concat", ["u", "rest"], ["t"], axis=0),
        node("Reshape", ["x", "t"], ["r"]),
        node("Gemm", ["r", "w"], ["y"]),
    ]
    constants = {"zero": np.array(0, np.int64), "w": w(6 * 9 * 11, 4)}
    assert kinds(check(tmp_path, nodes, MAP, constants, opset=12)) == ["Conv2d"]


def test_pad_joins_the_convolution(tmp_path: Path) -> None:
    nodes = [node("Pad", ["x", "p"], ["a"]), node("Conv", ["a", "k"], ["y"], pads=[1, 0, 0, 1])]
    constants = {"p": ints(0, 0, 1, 2, 0, 0, 3, 0), "k": w(4, 6, 3, 3)}
    assert kinds(check(tmp_path, nodes, MAP, constants)) == ["Conv2d"]


def test_digits_like_network(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "k1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "kd", "bd"], ["d"], pads=[1, 1, 1, 1], group=8),
        node("Clip", ["d", "zero", "six"], ["rd"]),
        node("Conv", ["rd", "k2", "b2"], ["c2"]),
        node("Add", ["c2", "r1"], ["s"]),
        node("Relu", ["s"], ["rs"]),
        node("GlobalAveragePool", ["rs"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w", "b"], ["y"], transB=1),
    ]
    constants = {
        "k1": w(8, 1, 3, 3), "b1": w(8), "kd": w(8, 1, 3, 3), "bd": w(8), "zero": scalar(0), "six": scalar(6),
        "k2": w(8, 8, 1, 1), "b2": w(8), "w": w(10, 8), "b": w(10),
    }  # fmt: skip
    network = check(tmp_path, nodes, {"x": (1, 1, 8, 8)}, constants)
    assert kinds(network) == ["Conv2d", "Conv2d", "Conv2d", "Binary", "Pool2d", "Conv2d"]
    assert [layer.op for layer in network.layers] == [
        "conv", "depthwise", "conv", "add", "global_average_pool", "gemm",
    ]  # fmt: skip


def test_vision_transformer_stem_with_position_embedding(tmp_path: Path) -> None:
    """A constant per token and channel is a depthwise convolution over all of them."""
    nodes = [
        node("Conv", ["x", "k"], ["p"], strides=[4, 4]),
        node("Reshape", ["p", "s"], ["r"]),
        node("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        node("Add", ["t", "e"], ["u"]),
        node("MatMul", ["u", "w"], ["y"]),
    ]
    constants = {"k": w(8, 3, 4, 4), "s": ints(2, 8, -1), "e": w(1, 6, 8), "w": w(8, 5)}
    check(tmp_path, nodes, {"x": (2, 3, 8, 12)}, constants)


def test_output_that_is_also_read_inside(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["a"]), node("Transpose", ["a"], ["b"], perm=[0, 2, 3, 1]), node("Exp", ["a"], ["c"])]
    save_model(tmp_path / "case.onnx", nodes, MAP, ["b", "a", "c"])
    network = assert_equal_to_onnxruntime(tmp_path / "case.onnx")
    assert network.outputs == ("b", "a", "c")
    assert any(isinstance(layer, View) for layer in network.layers)


def test_output_that_is_the_input(tmp_path: Path) -> None:
    nodes: list = [node("Reshape", ["x", "s"], ["y"])]
    check(tmp_path, nodes, {"x": (2, 3, 4, 5)}, {"s": ints(2, 3, 20)})
