"""Models quantized elsewhere: imported with the file's own integers, compared with the tools that made them.

make_models.py and make_residual.py of tests/data/quantized make the files. onnxruntime runs their QDQ graphs without
optimisations, so in float32 between the int8 tensors; each of our layers then gets onnxruntime's own codes as inputs.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from network_programs import compiled
from onnx import numpy_helper
from onnx_integer import run_accumulators

from gossamer.arch.config import load_config
from gossamer.dataflow.network import Conv2d, Pool2d
from gossamer.mapper.batch import with_batch
from gossamer.mapper.onnx_import.reader import load_onnx
from gossamer.mapper.pruning.prune import prune
from gossamer.mapper.quantization.quantize import BIAS_LIMIT, quantize
from gossamer.mapper.quantization.tables import quantized
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import accumulators, run_layer, run_layers

FOLDER = Path(__file__).parents[1] / "data" / "quantized"
QDQ = ("digits-ort.onnx", "torch-fx.onnx", "torch-pt2e.onnx", "brevitas-qcdq.onnx")
IMAGES = 90


@pytest.fixture(scope="module")
def test_set():
    with np.load(files("gossamer.configs") / "models" / "digits-test.npz") as archive:
        return archive["image"], archive["label"]


def session(model):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_one_by_one(model, images):
    """Return every output of a model of batch 1 for all images, by name."""
    runner = session(model)
    results = [runner.run(None, {"image": image[None]}) for image in images]
    return {
        out.name: np.concatenate(part)
        for out, part in zip(runner.get_outputs(), zip(*results, strict=True), strict=True)
    }


def stored(network, images):
    return np.ascontiguousarray(images.transpose(network.layouts["image"].order)).astype(np.float64)


def logits_of(result, images):
    """Return the golden layers' int8 logits (images, classes)."""
    batched = with_batch(result, len(images))
    codes = quantized(stored(result, images), result.tensors["image"].quant)
    return run_layers(batched, {"image": codes})[result.outputs[0]].reshape(len(images), -1)


def codes_by_tensor(path, network, images):
    """Return onnxruntime's codes of every tensor of ours that the file quantizes, as int8 in stored order."""
    model = onnx.load(path)
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    model.graph.output.extend(onnx.ValueInfoProto(name=node.output[0]) for node in quantizers)
    found = run_one_by_one(model, images)
    result = {}
    for node in quantizers:
        name = node.input[0] if node.input[0] in network.tensors else network.outputs[0]
        codes = found[node.output[0]]
        codes = codes.astype(np.int16) - (128 if codes.dtype == np.uint8 else 0)
        shape = (len(images), *network.tensors[name].shape[1:])
        if codes[0].size != np.prod(shape[1:]):
            continue  # a reshaped copy of a tensor that has its format already
        moved = codes.transpose(0, 2, 3, 1) if codes.ndim == 4 else codes
        result[name] = moved.reshape(shape).astype(np.int8)
    return result


def stated_integers(path):
    """Return a file's int8 tensors, and its vectors of int32 or float32 (PT2E leaves biases real)."""
    model = onnx.load(path)
    arrays = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    arrays += [
        numpy_helper.to_array(attribute.t)
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    weights = [array for array in arrays if array.dtype == np.int8 and array.ndim > 1]
    return weights, [array for array in arrays if array.dtype in (np.int32, np.float32) and array.ndim == 1]


@pytest.mark.parametrize("name", QDQ)
def test_integers_are_the_files(name):
    result = quantize(load_onnx(FOLDER / name))
    assert result.notes == ()
    layers = [layer for layer in result.layers if isinstance(layer, Conv2d)]
    assert len(layers) >= 4
    weights, biases = stated_integers(FOLDER / name)
    for layer in layers:
        assert layer.weight.dtype == np.int8
        rows = np.ascontiguousarray(layer.weight.transpose(0, 3, 1, 2)).reshape(len(layer.weight), -1)
        total = rows.sum(axis=1, dtype=np.int64)
        bias = layer.params.bias + result.tensors[layer.inputs[0]].quant.zero_point * total
        # onnxruntime gives dead channels biases near 2**31; they get a coarser weight scale (docs/decisions/0005).
        alive = np.abs(bias) < BIAS_LIMIT
        assert alive.mean() > 0.8
        unit = result.tensors[layer.inputs[0]].quant.scale * layer.weight_scale
        known = [
            np.rint(each / unit) if each.dtype == np.float32 else each for each in biases if each.size == bias.size
        ]
        assert any(np.array_equal(bias, np.clip(each, -BIAS_LIMIT, BIAS_LIMIT)) for each in known), layer.name
        alike = [known.reshape(len(known), -1) for known in weights if len(known) == len(rows)]
        assert any(np.array_equal(rows[alive], known[alive]) for known in alike if known.size == rows.size), layer.name


@pytest.mark.parametrize("name", QDQ)
def test_every_layer_is_onnxruntimes(name, test_set):
    images = test_set[0][:IMAGES]
    result = with_batch(quantize(load_onnx(FOLDER / name)), IMAGES)
    values = codes_by_tensor(FOLDER / name, result, images)
    checked = 0
    for layer in result.layers:
        if not all(tensor in values for tensor in (*layer.inputs, layer.output)):
            values.setdefault(layer.output, run_layer(result, layer, values))
            continue
        checked += 1
        expected, actual = values[layer.output].astype(np.int16), run_layer(result, layer, values).astype(np.int16)
        differing = int(np.count_nonzero(actual != expected))
        print(f"{name} {layer.name}: {differing} of {actual.size} outputs differ")
        assert np.abs(actual - expected).max() <= 1, layer.name
        # Averages of 16 codes often lie on the boundary where ours rounds up and onnxruntime to even.
        assert differing <= max(1, actual.size * (0.03 if isinstance(layer, Pool2d) else 0.001)), layer.name
        assert np.unique(expected).size > 3
        if isinstance(layer, Conv2d):
            sums = accumulators(result, layer, values).astype(np.int64)
            total = layer.weight.reshape(len(layer.weight), -1).sum(axis=1, dtype=np.int64)
            sums -= result.tensors[layer.inputs[0]].quant.zero_point * total
            np.testing.assert_array_equal(sums, run_accumulators(result, layer, values), err_msg=layer.name)
    assert checked >= 5


@pytest.mark.parametrize("name", QDQ)
def test_accuracy_of_the_program_is_onnxruntimes(name, test_set, capsys):
    images, labels = test_set
    outside = run_one_by_one(onnx.load(FOLDER / name), images)["logits"]
    result = quantize(load_onnx(FOLDER / name))
    spec = load_config("kv260-edge")
    program = compiled(result, spec)
    codes = quantized(stored(result, images), result.tensors["image"].quant)
    ours = np.array([execute(program, spec, {"image": code[None]})["logits"].reshape(-1) for code in codes])
    np.testing.assert_array_equal(ours, logits_of(result, images))
    left, right = (float(np.mean(logits.argmax(axis=1) == labels)) for logits in (ours, outside))
    with capsys.disabled():
        print(f"\n{name}: accuracy {left:.4f}, onnxruntime {right:.4f}")
    assert right > 0.9
    assert abs(left - right) <= 0.005


def test_brevitas_model_gives_what_qonnx_executes(test_set, capsys):
    images, labels = test_set
    result = quantize(load_onnx(FOLDER / "brevitas.onnx"))
    assert result.notes == ()
    with np.load(FOLDER / "brevitas.npz") as archive:
        expected = archive["logits"]
    ours = logits_of(result, images[: len(expected)]).astype(np.int16)
    quant = result.tensors[result.outputs[0]].quant
    codes = np.rint(expected / quant.scale).astype(np.int16) + quant.zero_point
    differing = int(np.count_nonzero(ours != codes))
    left, right = (float(np.mean(part.argmax(axis=1) == labels[: len(part)])) for part in (ours, expected))
    with capsys.disabled():
        print(f"\nbrevitas.onnx: {differing} of {ours.size} logits differ; accuracy {left:.4f}, qonnx {right:.4f}")
    assert np.abs(ours - codes).max() <= 1
    assert differing <= ours.size * 0.02
    assert right > 0.9
    assert abs(left - right) <= 0.005


@pytest.mark.parametrize(("name", "dense"), [("torch-2x4.onnx", 1), ("torch-fx.onnx", 1), ("torch-pt2e.onnx", 2)])
def test_keep_finds_the_pattern_of_torch_pruning(name, dense):
    network = prune(load_onnx(FOLDER / name), "keep")
    patterns = {layer.name: str(layer.pattern) for layer in network.layers if isinstance(layer, Conv2d)}
    assert list(patterns.values()) == ["None"] * dense + ["2:4"] * (len(patterns) - dense), patterns
    assert len(patterns) >= 4
    for layer, before in zip(quantize(network).layers, network.layers, strict=True):
        if isinstance(layer, Conv2d):
            assert not layer.weight[before.weight == 0].any()


def test_torch_2x4_runs_sparse_as_onnxruntime_runs_it_dense(test_set):
    images, labels = test_set
    network = prune(load_onnx(FOLDER / "torch-2x4.onnx"), "keep")
    result = quantize(network, {"image": stored(network, images).astype(np.float32)})
    program = compiled(result, load_config("kv260-edge"))
    sparse = [record for record in program.layers if record.pattern == "2:4"]
    assert len(sparse) == 3
    assert all(0.4 < record.macs / record.dense_macs <= 0.5 for record in sparse)
    codes = quantized(stored(result, images[:IMAGES]), result.tensors["image"].quant)
    ours = np.array([execute(program, load_config("kv260-edge"), {"image": code[None]})["logits"] for code in codes])
    ours = ours.reshape(IMAGES, -1)
    np.testing.assert_array_equal(ours, logits_of(result, images[:IMAGES]))
    outside = run_one_by_one(onnx.load(FOLDER / "torch-2x4.onnx"), images[:IMAGES])["logits"]
    assert np.mean(outside.argmax(axis=1) == labels[:IMAGES]) > 0.9
    assert np.mean(ours.argmax(axis=1) == outside.argmax(axis=1)) >= 0.98
