"""Whole quantized networks against onnxruntime: every layer from our inputs within 1, and one network end to end."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import pytest
import rapidocr_onnxruntime
from onnx_integer import network_model, run, run_layer_onnx, without_table
from quantized_layers import random_int8

from gossamer.dataflow.network import Lrn
from gossamer.mapper.onnx_import.reader import load_onnx
from gossamer.mapper.pruning.prune import prune
from gossamer.mapper.quantization.quantize import quantize
from gossamer.mapper.quantization.tables import quantized
from gossamer.sim.golden.layers import run_layer, run_layers

DIGITS = files("gossamer.configs") / "models"
OCR = Path(rapidocr_onnxruntime.__file__).parent / "models"
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
SEED = 5
NETWORKS = {
    "digits": (Path(str(DIGITS / "digits.onnx")), None, "dense"),
    "digits 2:4": (Path(str(DIGITS / "digits-2x4.onnx")), None, "2:4"),
    "classifier 2:8": (OCR / "ch_ppocr_mobile_v2.0_cls_infer.onnx", (1, 3, 48, 64), "2:8"),
    "detector": (OCR / "ch_PP-OCRv4_det_infer.onnx", (1, 3, 64, 64), "dense"),
    "recogniser 2:4": (OCR / "ch_PP-OCRv4_rec_infer.onnx", (1, 3, 48, 64), "2:4"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_within_one(name):
    path, shape, sparsity = NETWORKS[name]
    network = load_onnx(path, None if shape is None else {"x": shape})
    if sparsity != "dense":
        network = prune(network, sparsity)
    network = quantize(network)
    rng = np.random.default_rng(SEED)
    values = run_layers(network, {tensor: random_int8(rng, network.tensors[tensor].shape) for tensor in network.inputs})
    outputs = differing = 0
    for layer in network.layers:
        plain = without_table(layer)
        actual = run_layer(network, plain, values).astype(np.int16)
        expected = run_layer_onnx(network, plain, values)
        difference = np.abs(actual - expected)
        assert difference.max() <= 1, f"{layer.name} ({layer.op}): {np.count_nonzero(difference > 1)} beyond 1"
        assert np.count_nonzero(difference) <= max(1, actual.size * (0.25 if isinstance(layer, Lrn) else 0.03)), layer
        outputs, differing = outputs + actual.size, differing + np.count_nonzero(difference)
    print(f"{name}: {differing} of {outputs} outputs of {len(network.layers)} layers differ by 1")
    assert outputs > 1000


def test_digits_end_to_end():
    """Differences of 1 may travel through the layers, but not to another digit."""
    network = load_onnx(Path(str(DIGITS / "digits-2x4.onnx")))
    order = network.layouts["image"].order
    with np.load(str(DIGITS / "digits-calibration.npz")) as archive:
        images = np.ascontiguousarray(archive["image"].transpose(order))
    network = quantize(prune(network, "2:4"), {"image": images})
    model = network_model(network)
    agreed = differing = outputs = 0
    for image in images[:32]:
        codes = quantized(image[None], network.tensors["image"].quant)
        ours = run_layers(network, {"image": codes})["logits"].astype(np.int16)
        theirs = run(model, {"image": codes}).astype(np.int16)
        agreed += int(ours.argmax() == theirs.argmax())
        differing, outputs = differing + np.count_nonzero(ours != theirs), outputs + ours.size
        assert np.abs(ours - theirs).max() <= 3
    print(f"digits end to end: {differing} of {outputs} logits differ, {agreed} of 32 images agree")
    assert agreed == 32
