"""Every shipped model, imported and run in float, equals onnxruntime on the original file.

Light models get random weights first: their placeholders are constants, and constant weights would hide most errors.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import rapidocr_onnxruntime
from onnx_cases import assert_equal_to_onnxruntime, with_random_weights

from gossamer import configs
from gossamer.dataflow.network import Network
from gossamer.mapper.onnx_import.reader import load_onnx

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
OCR = Path(rapidocr_onnxruntime.__file__).parent / "models"
SEED = 20

LIGHT_LAYERS = {
    "bvlc_alexnet": {"Conv2d": 8, "Lrn": 2, "Pool2d": 3, "Softmax": 1},
    "densenet121": {"Conv2d": 183, "Pool2d": 5, "Concat": 58},
    "inception_v1": {"Conv2d": 58, "Lrn": 2, "Pool2d": 14, "Concat": 9, "Softmax": 1},
    "inception_v2": {"Conv2d": 70, "Pool2d": 13, "Concat": 10, "Softmax": 1},
    "resnet50": {"Conv2d": 54, "Pool2d": 2, "Binary": 16, "Softmax": 1},
    "shufflenet": {
        "Conv2d": 50, "Pool2d": 5, "Permute": 16, "Concat": 3, "Unary": 3, "Binary": 13, "Softmax": 1,
    },
    "squeezenet": {"Conv2d": 26, "Pool2d": 4, "Concat": 8, "Softmax": 1},
    "vgg19": {"Conv2d": 19, "Pool2d": 5, "Softmax": 1},
    "zfnet512": {"Conv2d": 8, "Lrn": 2, "Pool2d": 3, "Softmax": 1},
}  # fmt: skip
OCR_LAYERS = {
    "ch_PP-OCRv4_det_infer": (
        (1, 3, 160, 160),
        {"Conv2d": 62, "Pool2d": 10, "Binary": 21, "Resize": 6, "Concat": 1, "ConvTranspose2d": 2},
    ),
    "ch_PP-OCRv4_rec_infer": (
        (1, 3, 48, 320),
        {
            "Conv2d": 47, "Pool2d": 3, "Binary": 6, "LayerNorm": 5, "Slice": 6, "Permute": 6, "MatMul": 4,
            "Softmax": 3, "Concat": 1,
        },
    ),
    "ch_ppocr_mobile_v2.0_cls_infer": (
        (1, 3, 48, 192),
        {"Conv2d": 54, "Pool2d": 11, "Binary": 16, "Softmax": 1},
    ),
}  # fmt: skip


def kinds(network: Network) -> dict[str, int]:
    return dict(Counter(type(layer).__name__ for layer in network.layers))


@pytest.mark.parametrize("name", LIGHT_LAYERS)
def test_light_model_equals_onnxruntime(name: str, tmp_path: Path) -> None:
    path = with_random_weights(LIGHT / f"light_{name}.onnx", tmp_path / "model.onnx", SEED)
    network = assert_equal_to_onnxruntime(path, seed=SEED, tolerance=1e-3)
    assert kinds(network) == LIGHT_LAYERS[name]
    assert network.notes == ()


@pytest.mark.parametrize("name", LIGHT_LAYERS)
def test_light_model_with_placeholders_says_so(name: str) -> None:
    network = load_onnx(LIGHT / f"light_{name}.onnx")
    assert kinds(network) == LIGHT_LAYERS[name]
    assert any("placeholders" in note for note in network.notes)
    assert all(np.isfinite(layer.weight).all() for layer in network.layers if hasattr(layer, "weight"))


@pytest.mark.parametrize("name", OCR_LAYERS)
def test_ocr_model_equals_onnxruntime(name: str) -> None:
    shape, expected = OCR_LAYERS[name]
    network = assert_equal_to_onnxruntime(
        OCR / f"{name}.onnx", {"x": shape}, tolerance=1e-3, feeds={"x": page(shape, SEED)}
    )
    assert kinds(network) == expected


@pytest.mark.parametrize("name", ["digits", "digits-1x4", "digits-2x4", "digits-2x8"])
def test_digits_model_equals_onnxruntime(name: str) -> None:
    folder = Path(configs.__file__).parent / "models"
    network = assert_equal_to_onnxruntime(folder / f"{name}.onnx", seed=SEED)
    assert kinds(network).keys() <= {"Conv2d", "Binary", "Pool2d"}
    assert network.notes == ()


def page(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return something like lines of print: on plain noise the detector answers 1e-6 everywhere."""
    random = np.random.default_rng(seed)
    image = np.ones(shape, np.float32)
    for row in range(10, shape[2] - 20, 40):
        for column in range(12, shape[3] - 12, 9):
            image[:, :, row : row + 16, column : column + 6] = np.where(random.random((1, 1, 16, 6)) < 0.6, -1.5, 1.0)
    return image


def test_recogniser_of_another_width_and_batch_equals_onnxruntime() -> None:
    path = OCR / "ch_PP-OCRv4_rec_infer.onnx"
    assert_equal_to_onnxruntime(path, {"x": (2, 3, 48, 104)}, seed=SEED, tolerance=1e-3)
