"""Print the test accuracy of the shipped digits networks: float, N:M-pruned, and int8 on the golden model.

    python examples/digits_accuracy.py [--activation-range min-max|percentile|mse]

360 images that training never saw; int8 is calibrated on 64 training images. "One shot" prunes digits.onnx by magnitude
alone; "fine-tuned" is the file that benchmarks/train_digits.py went on training under its mask.
"""

import argparse
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.network import Network
from gossamer.mapper.batch import with_batch
from gossamer.mapper.onnx_import.reader import load_onnx
from gossamer.mapper.pruning.prune import prune
from gossamer.mapper.quantization.quantize import quantize
from gossamer.mapper.quantization.tables import quantized
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.reference import run_float

FOLDER = files("gossamer.configs") / "models"
ROWS = (
    ("dense", "digits.onnx", "dense"),
    ("2:4 one shot", "digits.onnx", "2:4"),
    ("2:4 fine-tuned", "digits-2x4.onnx", "keep"),
    ("1:4 one shot", "digits.onnx", "1:4"),
    ("1:4 fine-tuned", "digits-1x4.onnx", "keep"),
    ("2:8 one shot", "digits.onnx", "2:8"),
    ("2:8 fine-tuned", "digits-2x8.onnx", "keep"),
)


def accuracies(
    network: Network,
    calibration: NDArray[np.float32],
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
    method: str,
) -> tuple[float, float]:
    """Return (float, int8) accuracy; images (samples, 1, 8, 8), labels (samples)."""
    order = network.layouts["image"].order
    x = np.ascontiguousarray(images.transpose(order))
    logits = run_float(with_batch(network, len(x)), {"image": x})["logits"]
    int8 = with_batch(quantize(network, {"image": calibration.transpose(order)}, method), len(x))
    quant = int8.tensors["image"].quant
    assert quant is not None
    codes = run_layers(int8, {"image": quantized(x, quant)})["logits"]
    first, second = (float(np.mean(v.reshape(len(x), -1).argmax(axis=1) == labels)) for v in (logits, codes))
    return first, second


def main() -> None:
    """Print one line for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--activation-range", default="min-max", choices=("min-max", "percentile", "mse"))
    method = parser.parse_args().activation_range
    with np.load(FOLDER / "digits-test.npz") as archive:
        images, labels = archive["image"], archive["label"]
    with np.load(FOLDER / "digits-calibration.npz") as archive:
        calibration = archive["image"]
    print("network          float    int8")
    for label, file, sparsity in ROWS:
        network = prune(load_onnx(FOLDER / file), sparsity)
        first, second = accuracies(network, calibration, images, labels, method)
        print(f"{label:15}  {first:.4f}  {second:.4f}")


if __name__ == "__main__":
    main()
