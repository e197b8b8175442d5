"""Reshapes, transposes, slices, concats, resizes and small networks import equal to onnxruntime."""

from pathlib import Path

import numpy as np
import pytest
from onnx_cases import assert_equal_to_onnxruntime, save_model
from operator_cases import MAP, check, ints, kinds, node, scalar, w

from gossamer.dataflow.network import View


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
