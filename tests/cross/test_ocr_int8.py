"""A trained attention network: the int8 PP-OCRv4 recogniser must read drawn words as the float network does."""

import difflib

import cv2
import numpy as np
import pytest

from gossamer.mapper.quantization.quantize import quantize
from gossamer.mapper.quantization.tables import quantized
from gossamer.models import load_model
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.reference import run_float

CALIBRATION = ("HELLO 123", "Gossamer", "sparse 2:4", "FPGA 27x18")
WORDS = ("accelerate", "Zebra 9876", "chain 512", "Quantized")
BLANK, SPACE = 0, 6624


def drawn(word, seed):
    """Return a word on a plain background, stored order (1, 48, 320, 3), in [-1, 1] as the network expects."""
    rng = np.random.default_rng(seed)
    image = np.full((48, 320, 3), rng.integers(180, 255), np.uint8)
    ink = (int(rng.integers(0, 80)),) * 3
    cv2.putText(image, word, (6, 34), cv2.FONT_HERSHEY_SIMPLEX, 1.0, ink, 2, cv2.LINE_AA)
    return ((image.astype(np.float32) / 255 - 0.5) / 0.5)[None]


def read(scores):
    """Return the character numbers of the best path: repetitions and blanks dropped, spaces too."""
    best = scores.reshape(-1, scores.shape[-1]).argmax(axis=1)
    kept = [int(c) for i, c in enumerate(best) if i == 0 or best[i - 1] != c]
    return [c for c in kept if c not in (BLANK, SPACE)]


@pytest.fixture(scope="module")
def network():
    return load_model("ppocr-rec")


@pytest.mark.parametrize("method", ["min-max", "percentile", "mse"])
def test_int8_recogniser_reads_what_float_reads(network, method):
    samples = np.concatenate([drawn(word, seed) for seed, word in enumerate(CALIBRATION)])
    result = quantize(network, {"x": samples}, method)
    output = network.outputs[0]
    ratios = []
    for seed, word in enumerate(WORDS, 100):
        image = drawn(word, seed)
        want = read(run_float(network, {"x": image})[output])
        got = read(run_layers(result, {"x": quantized(image, result.tensors["x"].quant)})[output])
        assert len(want) == len(word.replace(" ", ""))
        ratios.append(difflib.SequenceMatcher(None, want, got).ratio())
    assert np.mean(ratios) >= 0.9, ratios
