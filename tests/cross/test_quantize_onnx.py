"""Quantized models as ONNX in QDQ form: imported again they are the same integers, and onnxruntime says the same."""

import json
from importlib.resources import files

import numpy as np
import onnx
import onnxruntime
import pytest
from network_programs import random_inputs

from gossamer.arch.errors import ModelError
from gossamer.dataflow.program_file import load_program
from gossamer.mapper.onnx_export.quantized import qdq_model, write_qdq
from gossamer.mapper.onnx_import.reader import load_onnx
from gossamer.mapper.pruning.prune import prune
from gossamer.mapper.quantization.quantize import quantize
from gossamer.mapper.quantization.tables import quantized
from gossamer.mapper.random_networks import random_network
from gossamer.models import load_model
from gossamer.sim.golden.layers import run_layers

LSB_SHARE = 0.01
"""Of int8 logits, how many onnxruntime, which computes in float32 between the codes, may round to the next one."""


def again(network, path):
    """Return the network that importing a quantized one's file gives, quantized and with its patterns found."""
    write_qdq(network, path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    result = quantize(prune(load_onnx(path), "keep"))
    assert result.notes == (), "everything is stated, nothing is calibrated"
    return result


@pytest.mark.parametrize("seed", range(25))
def test_random_networks_keep_every_output_byte(seed, tmp_path):
    network = quantize(random_network(seed, most_m=16))
    result = again(network, tmp_path / "random.onnx")
    inputs = random_inputs(network, seed)
    expected = run_layers(network, inputs)
    found = run_layers(result, {name: inputs[name] for name in result.inputs})
    for name in network.outputs:
        ours = result.layouts[name].to_model(found[name])
        np.testing.assert_array_equal(ours, expected[name].transpose(0, 3, 1, 2), err_msg=name)


@pytest.mark.parametrize("name", ["ppocr-cls", "ppocr-rec"])
def test_trained_networks_keep_formats_and_integers(name, tmp_path):
    network = quantize(prune(load_model(name), "2:4"))
    result = again(network, tmp_path / f"{name}.onnx")
    assert result.tensors == network.tensors
    assert len(result.layers) == len(network.layers)
    for before, after in zip(network.layers, result.layers, strict=True):
        assert (type(after), after.inputs, after.output) == (type(before), before.inputs, before.output)
        if hasattr(before, "weight"):
            np.testing.assert_array_equal(after.weight, before.weight)
            assert (after.activation, after.inner) == (before.activation, before.inner)
            for field in ("bias", "multiplier", "shift", "table"):
                np.testing.assert_array_equal(getattr(after.params, field), getattr(before.params, field))


def test_the_program_of_the_file_is_the_same(run, tmp_path):
    """Also where weights are pruned on the way, and nothing but the file's name is left of the model."""
    status, out, err = run("quantize", "digits", "-s", "2:4", "-o", "digits.onnx", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["patterns"] == {"2:4": 4}
    for model, sparsity in (("digits", "2:4"), ("digits.onnx", "keep")):
        assert run("compile", model, "-c", "ecp5-tiny", "-s", sparsity, "-o", f"{sparsity[0]}.gsm")[0] == 0
    first, second = load_program(tmp_path / "2.gsm"), load_program(tmp_path / "k.gsm")
    assert (tmp_path / "2.gsm").read_bytes() == (tmp_path / "k.gsm").read_bytes()
    assert first.layers == second.layers


def test_accuracy_is_that_of_onnxruntime(run, tmp_path):
    assert run("quantize", "digits-2x4", "-s", "keep", "-o", "q.onnx")[0] == 0
    with np.load(files("gossamer.configs") / "models" / "digits-test.npz") as archive:
        images, labels = archive["image"], archive["label"]
    session = onnxruntime.InferenceSession(tmp_path / "q.onnx", providers=["CPUExecutionProvider"])
    theirs = np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])
    network = quantize(load_onnx(tmp_path / "q.onnx"))
    source, target = (network.tensors[name].quant for name in ("image", "logits"))
    codes = quantized(images.transpose(0, 2, 3, 1), source)
    ours = np.concatenate([run_layers(network, {"image": code[None]})["logits"].reshape(1, -1) for code in codes])
    off = np.abs(ours - (np.rint(theirs / target.scale) + target.zero_point))
    assert off.max() <= 1
    assert np.count_nonzero(off) <= LSB_SHARE * off.size
    right, same = ((logits.argmax(axis=1) == labels).mean() for logits in (ours, theirs))
    assert right == same > 0.97


def test_a_network_without_formats_is_refused():
    with pytest.raises(ModelError, match="digits: only a quantized network has number formats"):
        qdq_model(load_model("digits"))


def test_a_file_that_cannot_be_written_is_refused(run, tmp_path):
    status, out, err = run("quantize", "digits", "-o", "absent/q.onnx")
    assert (status, out) == (2, "")
    assert "absent/q.onnx: cannot be written" in err
    assert list(tmp_path.iterdir()) == []
