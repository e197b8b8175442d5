"""Accuracy of the shipped digits networks on 360 images that training never saw: onnxruntime, float reference, int8."""

from importlib.resources import files

import numpy as np
import onnxruntime
import pytest

from gossamer.mapper.batch import with_batch
from gossamer.mapper.onnx_import.reader import load_onnx
from gossamer.mapper.pruning.prune import prune
from gossamer.mapper.quantization.quantize import quantize
from gossamer.mapper.quantization.tables import quantized
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.reference import run_float

FOLDER = files("gossamer.configs") / "models"
VARIANTS = {"digits.onnx": None, "digits-2x4.onnx": "2:4", "digits-1x4.onnx": "1:4", "digits-2x8.onnx": "2:8"}


@pytest.fixture(scope="module")
def test_set():
    with np.load(FOLDER / "digits-test.npz") as archive:
        return archive["image"], archive["label"]


@pytest.fixture(scope="module")
def calibration():
    with np.load(FOLDER / "digits-calibration.npz") as archive:
        return archive["image"]


def stored(network, images):
    return np.ascontiguousarray(images.transpose(network.layouts["image"].order))


def int8_accuracy(network, calibration, images, labels, method="min-max"):
    result = with_batch(quantize(network, {"image": stored(network, calibration)}, method), len(images))
    codes = quantized(stored(network, images), result.tensors["image"].quant)
    logits = run_layers(result, {"image": codes})["logits"].reshape(len(images), -1)
    return float(np.mean(logits.argmax(axis=1) == labels)), result


def test_data_is_what_it_says(test_set, calibration):
    images, labels = test_set
    assert images.shape == (360, 1, 8, 8)
    assert calibration.shape == (64, 1, 8, 8)
    assert np.unique(labels).tolist() == list(range(10))
    seen = {image.tobytes() for image in calibration}
    assert not any(image.tobytes() in seen for image in images)
    for name in VARIANTS:
        assert len((FOLDER / name).read_bytes()) < 200_000


@pytest.mark.parametrize("name", VARIANTS)
def test_accuracy(name, test_set, calibration, capsys):
    images, labels = test_set
    session = onnxruntime.InferenceSession((FOLDER / name).read_bytes())
    outside = np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])
    float_accuracy = float(np.mean(outside.argmax(axis=1) == labels))

    network = prune(load_onnx(FOLDER / name), "keep")
    patterns = {str(layer.pattern) for layer in network.layers if getattr(layer, "pattern", None) is not None}
    assert patterns == ({VARIANTS[name]} if VARIANTS[name] else set())
    ours = run_float(with_batch(network, len(images)), {"image": stored(network, images)})["logits"]
    np.testing.assert_allclose(ours.reshape(outside.shape), outside, rtol=1e-4, atol=1e-4)

    accuracies = {}
    for method in ("min-max", "percentile", "mse") if VARIANTS[name] is None else ("min-max",):
        accuracies[method], _ = int8_accuracy(network, calibration, images, labels, method)
    with capsys.disabled():
        int8 = ", ".join(f"{method} {value:.4f}" for method, value in accuracies.items())
        print(f"\n{name}: float {float_accuracy:.4f}; int8 {int8}")
    assert float_accuracy >= 0.97
    for value in accuracies.values():
        assert abs(value - float_accuracy) <= 0.01


def test_one_shot_pruning_costs_what_fine_tuning_recovers(test_set, calibration):
    images, labels = test_set
    one_shot, result = int8_accuracy(prune(load_onnx(FOLDER / "digits.onnx"), "2:4"), calibration, images, labels)
    tuned, _ = int8_accuracy(prune(load_onnx(FOLDER / "digits-2x4.onnx"), "keep"), calibration, images, labels)
    assert [str(layer.pattern) for layer in result.layers if layer.op in ("conv", "depthwise", "gemm")] == [
        "None", "None", "2:4", "2:4", "2:4", "2:4", "None",
    ]  # fmt: skip
    assert 0.5 < one_shot < tuned - 0.1
