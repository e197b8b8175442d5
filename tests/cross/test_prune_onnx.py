"""Pruned ONNX files: onnxruntime runs them, the importer finds the pattern, nothing but weights has changed."""

from importlib.resources import files

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from gossamer.arch.errors import ModelError
from gossamer.mapper.onnx_import.reader import load_onnx
from gossamer.mapper.pruning.prune import prune
from gossamer.mapper.pruning.prune_onnx import prune_onnx
from gossamer.sim.reference import run_float

DIGITS = files("gossamer.configs") / "models" / "digits.onnx"


def weight(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def save(path, nodes, constants, shape, output, ir_version=8):
    """Write a model with input x of `shape` and output y; constants become initializers, below IR 4 inputs as well."""
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    if ir_version < 4:
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, output)
    graph = helper.make_graph(nodes, "net", inputs, [y], tensors)
    opset = 13 if ir_version >= 4 else 8
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version), path)
    return path


def small_net(path):
    """Write stem - conv with batch norm - transposed conv - flatten - gemm, matmul, head: each weight layout once."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w0"], ["a"], name="stem"),
        node("Conv", ["a", "w1"], ["b"], name="conv", group=2),
        node("BatchNormalization", ["b", "gamma", "beta", "mean", "variance"], ["c"], name="norm"),
        node("Relu", ["c"], ["d"], name="relu"),
        node("ConvTranspose", ["d", "w2"], ["e"], name="up", strides=[2, 2]),
        node("Flatten", ["e"], ["f"], name="flat"),
        node("Gemm", ["f", "w3", "b3"], ["g"], name="fc", alpha=-0.5),
        node("MatMul", ["g", "w4"], ["h"], name="matmul"),
        node("MatMul", ["h", "w5"], ["y"], name="head"),
    ]
    constants = {
        "w0": weight(0, 12, 3, 1, 1), "w1": weight(1, 10, 6, 3, 3), "w2": weight(2, 10, 6, 2, 2),
        "w3": weight(3, 6 * 4 * 6, 9), "b3": weight(4, 9), "w4": weight(5, 9, 16), "w5": weight(6, 16, 5),
        "gamma": weight(7, 10), "beta": weight(8, 10), "mean": weight(9, 10), "variance": weight(10, 10) ** 2,
    }  # fmt: skip
    return save(path, nodes, constants, [1, 3, 4, 5], [1, 5])


def outputs(path, shape):
    session = onnxruntime.InferenceSession(str(path))
    return session.run(None, {"x": weight(99, *shape)})[0]


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "2:8"])
def test_every_weight_layout_follows_the_imported_layers(tmp_path, pattern):
    source, target = small_net(tmp_path / "net.onnx"), tmp_path / "pruned.onnx"
    summary = prune_onnx(source, pattern, target)
    assert str(summary).startswith("4 of 6 layers with weights pruned, ")
    onnx.checker.check_model(onnx.load(target), full_check=True)
    wanted, found = prune(load_onnx(source), pattern), load_onnx(target)
    for want, got in zip(wanted.layers, found.layers, strict=True):
        if hasattr(want, "weight"):
            np.testing.assert_array_equal(got.weight, want.weight, err_msg=want.name)
    again = prune(found, "keep", max_group=int(pattern[-1]))
    kept = {layer.name: str(layer.pattern) for layer in again.layers if hasattr(layer, "pattern")}
    assert kept["conv"] == kept["up"] == kept["fc"] == kept["matmul"] == pattern
    assert kept["stem"] == kept["head"] == "None"
    x = {"x": weight(99, 1, 3, 4, 5).transpose(0, 2, 3, 1)}
    np.testing.assert_allclose(
        run_float(found, x)["y"].reshape(1, 5), outputs(target, (1, 3, 4, 5)), rtol=1e-3, atol=1e-3
    )
    assert not np.allclose(outputs(source, (1, 3, 4, 5)), outputs(target, (1, 3, 4, 5)))


def test_only_weights_change(tmp_path):
    source, target = small_net(tmp_path / "net.onnx"), tmp_path / "pruned.onnx"
    prune_onnx(source, "2:4", target, overrides={"fc": "dense"})
    before, after = onnx.load(source), onnx.load(target)
    changed = set()
    for old, new in zip(before.graph.initializer, after.graph.initializer, strict=True):
        first, second = numpy_helper.to_array(old), numpy_helper.to_array(new)
        if not np.array_equal(first, second):
            changed.add(old.name)
            np.testing.assert_array_equal(second[second != 0], first[second != 0])
        new.CopyFrom(old)
    assert changed == {"w1", "w2", "w4"}
    assert before == after


def test_placeholders_become_initializers_in_old_files_too(tmp_path):
    node = helper.make_node
    value = numpy_helper.from_array(np.array([0.5], np.float32))
    nodes = [
        node("Conv", ["x", "w0"], ["a"], name="first"),
        node("ConstantOfShape", ["shape"], ["w1"], name="filler", value=value),
        node("Conv", ["a", "w1"], ["b"], name="second"),
        node("Conv", ["b", "w2"], ["y"], name="third"),
    ]
    constants = {"w0": weight(0, 8, 3, 1, 1), "shape": np.array([8, 8, 1, 1]), "w2": weight(2, 4, 8, 1, 1)}
    source = save(tmp_path / "old.onnx", nodes, constants, [1, 3, 4, 4], [1, 4, 4, 4], ir_version=3)
    target = tmp_path / "pruned.onnx"
    prune_onnx(source, "2:4", target)
    model = onnx.load(target)
    assert [entry.name for entry in model.graph.node] == ["first", "second", "third"]
    assert {entry.name for entry in model.graph.initializer} == {"w0", "w2", "w1/pruned"}
    made = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "w1/pruned")
    np.testing.assert_array_equal(made[:, :, 0, 0], np.tile(np.array([0.5, 0.5, 0, 0], np.float32), (8, 2)))
    assert outputs(target, (1, 3, 4, 4)).shape == (1, 4, 4, 4)


def test_a_shared_weight_is_pruned_only_where_asked(tmp_path):
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["a"], name="first"),
        node("Conv", ["a", "w"], ["b"], name="second"),
        node("Conv", ["b", "w"], ["y"], name="third"),
    ]
    source = save(tmp_path / "net.onnx", nodes, {"w": weight(0, 8, 8, 1, 1)}, [1, 8, 2, 2], [1, 8, 2, 2])
    prune_onnx(source, "2:4", tmp_path / "pruned.onnx")
    found = prune(load_onnx(tmp_path / "pruned.onnx"), "keep", max_group=4)
    assert [str(layer.pattern) for layer in found.layers] == ["None", "2:4", "None"]
    np.testing.assert_array_equal(found.layers[0].weight, load_onnx(source).layers[0].weight)


def test_digits_and_batch_stay_usable(tmp_path):
    target = tmp_path / "digits.onnx"
    prune_onnx(DIGITS, "1:4", target, overrides={"residual_*": "2:8"})
    kept = {layer.name: str(layer.pattern) for layer in prune(load_onnx(target), "keep").layers if layer.op == "conv"}
    assert kept == {"stem": "None", "pointwise": "1:4", "residual_a": "2:8", "residual_b": "2:8", "wide": "1:4"}
    session = onnxruntime.InferenceSession(str(target))
    assert session.run(None, {"image": np.zeros((1, 1, 8, 8), np.float32)})[0].shape == (1, 10)


def test_keep_checks_and_copies(tmp_path):
    target = tmp_path / "same.onnx"
    assert str(prune_onnx(DIGITS, "keep", target)) == "0 of 7 layers with weights pruned"
    assert onnx.load(target) == onnx.load(DIGITS)
    with pytest.raises(ModelError, match="wide: 2:4 allows 2 nonzeros"):
        prune_onnx(DIGITS, "keep", tmp_path / "other.onnx", overrides={"wide": "2:4"})
    assert not (tmp_path / "other.onnx").exists()


def test_nothing_is_left_behind_on_failure(tmp_path):
    with pytest.raises(ModelError, match=r"layer wdie: .* did you mean wide"):
        prune_onnx(DIGITS, "2:4", tmp_path / "out.onnx", overrides={"wdie": "2:4"})
    with pytest.raises(ModelError, match=r"absent.out\.onnx: cannot be written: No such file or directory"):
        prune_onnx(DIGITS, "2:4", tmp_path / "absent" / "out.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelError, match=r"folder\.onnx: cannot be written"):
        prune_onnx(DIGITS, "2:4", tmp_path / "folder.onnx")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.onnx"]
    assert list((tmp_path / "folder.onnx").iterdir()) == []


def test_output_may_replace_its_source(tmp_path):
    path = small_net(tmp_path / "net.onnx")
    prune_onnx(path, "2:4", path)
    assert str(prune(load_onnx(path), "keep", max_group=4).layers[1].pattern) == "2:4"
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.onnx"]
