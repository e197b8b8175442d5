"""Unsound models and wrong shapes are refused with one ModelError that names file and place."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_cases import IR_VERSION, save_model

from gossamer.arch.errors import ModelError
from gossamer.mapper.onnx_import.reader import load_onnx

node = helper.make_node
MAP = {"x": (1, 3, 8, 8)}
WEIGHT = np.ones((4, 3, 3, 3), np.float32)


def good(path: Path, **changes: object) -> onnx.ModelProto:
    nodes = [node("Conv", ["x", "w"], ["a"], name="first", pads=[1, 1, 1, 1]), node("Relu", ["a"], ["y"], name="last")]
    return onnx.load(save_model(path, nodes, MAP, ["y"], {"w": WEIGHT}))


def refused(path: Path, message: str, shapes: dict[str, tuple[int, ...]] | None = None) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_onnx(path, shapes)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_good_model_is_good(tmp_path: Path) -> None:
    good(tmp_path / "m.onnx")
    assert len(load_onnx(str(tmp_path / "m.onnx")).layers) == 1


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "cannot be read: No such file")


@pytest.mark.parametrize("data", [b"", b"hello, this is no model", b"\x00" * 100, b"PK\x03\x04zip", b"\x08\x07"])
def test_not_a_model(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    refused(tmp_path / "m.onnx", "not an ONNX model|file is empty")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    good(path)
    data = path.read_bytes()
    for length in range(0, len(data) - 20, 7):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError, match=r"m\.onnx: "):
            load_onnx(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(value: float, tmp_path: Path) -> None:
    weight = WEIGHT.copy()
    weight[2, 1, 0, 2] = value
    save_model(tmp_path / "m.onnx", [node("Conv", ["x", "w"], ["y"])], MAP, ["y"], {"w": weight})
    refused(tmp_path / "m.onnx", r"initializer w: 1 of 108 values are NaN or infinite, the first at \[2, 1, 0, 2\]")


def external(path: Path, **entries: str) -> None:
    model = good(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def test_external_data_is_read(tmp_path: Path) -> None:
    weight = np.arange(108, dtype=np.float32)
    (tmp_path / "w.bin").write_bytes(b"12345678" + weight.tobytes())
    external(tmp_path / "m.onnx", location="w.bin", offset="8", length="432")
    layer = load_onnx(tmp_path / "m.onnx").layers[0]
    assert np.array_equal(layer.weight, weight.reshape(4, 3, 3, 3).transpose(0, 2, 3, 1))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "gone.bin"}, "external data file .*gone.bin cannot be read"),
        ({"location": "short.bin"}, "truncated: 100 of 432 bytes"),
        ({"location": "../up.bin"}, "must lie in the model's folder, not at ../up.bin"),
        ({}, "must lie in the model's folder"),
        ({"location": "short.bin", "offset": "x"}, "no valid offset"),
        ({"location": "short.bin", "length": "10"}, "needs 432 bytes, its external data gives 10"),
    ],
)
def test_external_data_that_is_wrong(entries: dict[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "short.bin").write_bytes(b"\0" * 100)
    external(tmp_path / "m.onnx", **entries)
    refused(tmp_path / "m.onnx", message)


def edited(path: Path, edit: Callable[[onnx.ModelProto], object], message: str) -> None:
    model = good(path)
    edit(model)
    path.write_bytes(model.SerializeToString())
    refused(path, message)


def attribute(name: str, value: object) -> Callable[[onnx.ModelProto], object]:
    def edit(model: onnx.ModelProto) -> None:
        target = model.graph.node[0]
        kept = [entry for entry in target.attribute if entry.name != name]
        del target.attribute[:]
        target.attribute.extend([*kept, helper.make_attribute(name, value)])

    return edit


def initializer(array: np.ndarray) -> Callable[[onnx.ModelProto], object]:
    return lambda model: model.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, "w"))


EDITS: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "cycle": (lambda m: m.graph.node[0].input.__setitem__(0, "y"), r"node first \(Conv\): the graph has a cycle"),
    "self loop": (lambda m: m.graph.node[1].input.__setitem__(0, "y"), r"node last \(Relu\): the graph has a cycle"),
    "dangling input": (
        lambda m: m.graph.node[1].input.__setitem__(0, "nowhere"),
        r"node last \(Relu\): input nowhere is produced by no node",
    ),
    "duplicate output": (
        lambda m: m.graph.node[1].output.__setitem__(0, "a"),
        r"node last \(Relu\): output a is also produced by node first",
    ),
    "output shadows input": (lambda m: m.graph.node[1].output.__setitem__(0, "x"), "output x is also a graph input"),
    "no output": (lambda m: m.graph.node[0].output.__setitem__(0, ""), "a node must have an output"),
    "output not made": (lambda m: setattr(m.graph.output[0], "name", "z"), "graph output z is produced by no node"),
    "no graph outputs": (lambda m: m.graph.ClearField("output"), "expected one or more graph outputs"),
    "output is a constant": (lambda m: setattr(m.graph.output[0], "name", "w"), "graph output w is constant"),
    "two initializers": (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "initializer w is given twice"),
    "no opset": (lambda m: m.ClearField("opset_import"), "operator set must be 7 to 25, not none"),
    "old opset": (lambda m: setattr(m.opset_import[0], "version", 6), "must be 7 to 25, not 6"),
    "wrong attribute type": (
        attribute("pads", 1.5), r"node first \(Conv\): attribute pads must be a list of integers, not float 1.5",
    ),
    "text for a number": (attribute("group", "two"), "attribute group must be an integer, not string 'two'"),
    "too few pads": (attribute("pads", [1, 1]), r"attribute pads must be 4 numbers from 0 to 4096, not \[1, 1\]"),
    "zero stride": (attribute("strides", [0, 1]), "attribute strides must be 2 numbers from 1"),
    "wrong kernel": (attribute("kernel_shape", [5, 5]), r"kernel_shape says \(5, 5\), the weights \(3, 3\)"),
    "wrong group": (attribute("group", 2), "with 2 groups need 6 input channels, found 3"),
    "window too large": (attribute("dilations", [9, 9]), "does not fit a map of 8x8"),
    "unknown auto_pad": (attribute("auto_pad", "SOMETIMES"), "auto_pad must be NOTSET"),
    "weight too short": (
        lambda m: setattr(m.graph.initializer[0], "raw_data", b"\0" * 100),
        "initializer w: .* needs 432 bytes, found 100",
    ),
    "weight of another shape": (initializer(WEIGHT[:, :2]), "need 2 input channels, found 3"),
    "weight rank": (initializer(WEIGHT[0]), r"input 1 \(w\) must have 4 axes, not shape \[3, 3, 3\]"),
    "weight type": (initializer(WEIGHT.astype(np.int64)), "must be float, not int64"),
    "weight without elements": (initializer(WEIGHT[:0]), "node first"),
    "negative axis": (lambda m: m.graph.initializer[0].dims.__setitem__(0, -4), r"shape \[-4, 3, 3, 3\] is not"),
    "huge axes": (lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**40), "is not that of a tensor"),
    "element type": (
        lambda m: setattr(m.graph.initializer[0], "data_type", TensorProto.STRING),
        "element type must be .* not STRING",
    ),
    "zero-size input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 0),
        "input x has an axis without elements: 1x3x0x8",
    ),
    "integer input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.INT64),
        "must be a tensor of floats",
    ),
    "input without shape": (
        lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"), "must have 0 to 8 axes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_unsound_model(name: str, tmp_path: Path) -> None:
    edit, message = EDITS[name]
    edited(tmp_path / "m.onnx", edit, message)


DYNAMIC = {"x": ("batch", 3, "height", "width")}


def test_dynamic_axes_must_be_bound(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], DYNAMIC, ["y"])
    refused(path, re.escape("x [batch, 3, height, width]. Give every axis a size, such as --shape x=1x3x48x192"))
    assert load_onnx(path, {"x": (2, 3, 4, 5)}).tensors["y"].shape == (2, 4, 5, 3)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"images": (1, 3, 8, 8)}, r"--shape names input images, which is not there; inputs: x \[batch"),
        ({"x": (1, 3, 8)}, r"--shape x=1x3x8 has 3 axes, the model's has 4"),
        ({"x": (1, 3, 0, 8)}, "axis without elements: 1x3x0x8"),
        ({"x": (1, 3, -1, 8)}, "axis without elements"),
        ({"x": (1, 3, 2**20, 2**20)}, "more than 2147483647 elements"),
    ],
)
def test_wrong_shape_option(shapes: dict[str, tuple[int, ...]], message: str, tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], DYNAMIC, ["y"])
    refused(path, message, shapes)


def test_unsupported_nodes_are_listed_together(tmp_path: Path) -> None:
    nodes = [
        node("Softplus", ["x"], ["a"], name="soft"),
        node("Relu", ["a"], ["b"], name="fine"),
        node("Mish", ["b"], ["c"], name="mish"),
        node("MaxPool", ["x"], ["d", "where"], name="pool", kernel_shape=[2, 2], dilations=[2, 2]),
        node("Attention", ["c"], ["e"], name="attend", domain="com.microsoft"),
        node("GlobalAveragePool", ["e"], ["y"], name="end"),
    ]
    path = save_model(tmp_path / "m.onnx", [*nodes, node("Relu", ["d"], ["z"])], MAP, ["y", "z"], opset=18)
    with pytest.raises(ModelError) as caught:
        load_onnx(path)
    text = str(caught.value)
    assert "4 nodes are not supported; nothing was imported:" in text
    for line in (
        "soft (Softplus): operator not supported",
        "mish (Mish): operator not supported",
        "pool (MaxPool): dilations (2, 2): pooling only without",
        "attend (com.microsoft.Attention): operator set com.microsoft not supported",
    ):
        assert line in text
    assert "fine" not in text


def test_unsupported_node_that_nobody_needs_is_ignored(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["y"]), node("Mish", ["x"], ["unused"])]
    path = save_model(tmp_path / "m.onnx", nodes, MAP, ["y"], opset=18)
    assert len(load_onnx(path).layers) == 1


def test_batch_norm_with_negative_variance(tmp_path: Path) -> None:
    constants = {name: np.ones(3, np.float32) for name in "gbm"} | {"v": np.array([1, -1, 1], np.float32)}
    path = save_model(tmp_path / "m.onnx", [node("BatchNormalization", ["x", *"gbmv"], ["y"])], MAP, ["y"], constants)
    refused(path, r"node y \(BatchNormalization\): its variance plus epsilon must be positive")


def test_weights_computed_to_infinity(tmp_path: Path) -> None:
    nodes = [node("Div", ["w", "zero"], ["v"]), node("Conv", ["x", "v"], ["y"])]
    constants = {"w": WEIGHT, "zero": np.array(0, np.float32)}
    path = save_model(tmp_path / "m.onnx", nodes, MAP, ["y"], constants)
    refused(path, r"node y \(Conv\): input 1 \(v\) holds NaN or infinite values")


def test_reshape_that_does_not_fit(tmp_path: Path) -> None:
    constants = {"s": np.array([1, 100], np.int64)}
    path = save_model(tmp_path / "m.onnx", [node("Reshape", ["x", "s"], ["y"])], MAP, ["y"], constants)
    refused(path, r"node y \(Reshape\): cannot reshape \[1, 3, 8, 8\] to \[1, 100\]: 192 elements do not fit")


def test_nodes_in_any_order_are_sorted(tmp_path: Path) -> None:
    nodes = [node("Exp", ["b"], ["y"]), node("Relu", ["a"], ["b"]), node("Tanh", ["x"], ["a"])]
    graph = helper.make_graph(
        nodes,
        "shuffled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_empty_tensor_value_info("y")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=IR_VERSION)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    layer = load_onnx(tmp_path / "m.onnx").layers[0]
    assert [step.function.value for step in layer.steps] == ["tanh", "relu", "exp"]  # type: ignore[attr-defined]
