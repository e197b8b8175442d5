"""Train the shipped digits network on scikit-learn's handwritten digits, with numpy alone, and export it to ONNX.

    python benchmarks/train_digits.py [--output FOLDER] [--epochs 60] [--seed 1]

A 3x3 stem, a depthwise-separable block, a residual block, a strided 3x3 convolution, global average pooling and a
fully connected layer: 39,338 parameters. It writes digits.onnx (dense), digits-2x4.onnx, digits-1x4.onnx and
digits-2x8.onnx (magnitude-pruned, then fine-tuned under the fixed mask), digits-calibration.npz (64 training images)
and digits-test.npz (360 images that training never saw), and prints the test accuracy of each. Weights are
(out, rows, columns, in), the hardware's reduction order, and images (batch, rows, columns, channels); both are turned
into ONNX's order on export. The figures depend on the BLAS in the last digit.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.pruning.prune import magnitude_mask

Array = NDArray[np.float32]
Parameters = dict[str, Array]

CHANNELS, WIDE, CLASSES = 32, 64, 10
PRUNABLE = ("pointwise", "residual_a", "residual_b", "wide")
"""The stem, the depthwise convolution and the classifier stay dense, as `gossamer prune` leaves them."""
TEST_IMAGES, CALIBRATION_IMAGES = 360, 64


def initial_parameters(rng: np.random.Generator) -> Parameters:
    """Return He-initialised weights (out, rows, columns, in) and zero biases; the residual branch starts small."""
    shapes = {
        "stem": (CHANNELS, 3, 3, 1),
        "depthwise": (CHANNELS, 3, 3, 1),
        "pointwise": (CHANNELS, 1, 1, CHANNELS),
        "residual_a": (CHANNELS, 3, 3, CHANNELS),
        "residual_b": (CHANNELS, 3, 3, CHANNELS),
        "wide": (WIDE, 3, 3, CHANNELS),
        "classifier": (CLASSES, 1, 1, WIDE),
    }
    parameters = {}
    for name, shape in shapes.items():
        gain = 0.5 if name == "residual_b" else 1.0
        deviation = gain * np.sqrt(2.0 / np.prod(shape[1:]))
        parameters[name] = rng.normal(0.0, deviation, shape).astype(np.float32)
        parameters[f"{name}_bias"] = np.zeros(shape[0], np.float32)
    return parameters


def patches(images: Array, kernel: int, stride: int) -> Array:
    """Return (batch, rows, columns, kernel, kernel, channels) windows of `images` padded to keep its size."""
    border = kernel // 2
    padded = np.pad(images, ((0, 0), (border, border), (border, border), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
    return np.moveaxis(windows[:, ::stride, ::stride], 3, 5)


def fold_patches(gradient: Array, shape: tuple[int, ...], stride: int) -> Array:
    """Add window gradients (as `patches` lays them out) back onto an image of `shape`."""
    batch, rows, columns, kernel, _, channels = gradient.shape
    border = kernel // 2
    padded = np.zeros((batch, shape[1] + 2 * border, shape[2] + 2 * border, channels), np.float32)
    for y in range(kernel):
        for x in range(kernel):
            padded[:, y : y + stride * rows : stride, x : x + stride * columns : stride] += gradient[:, :, :, y, x]
    return padded[:, border : border + shape[1], border : border + shape[2]]


class Tape:
    """Run the layers forward, remembering what the backward pass needs; gradients add up in `gradients`."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.gradients: Parameters = {}
        self._saved: dict[str, tuple[Array, ...]] = {}

    def conv(self, name: str, images: Array, stride: int = 1) -> Array:
        """Return the convolution of `images` with the weights called `name`."""
        weight = self.parameters[name]
        windows = np.ascontiguousarray(patches(images, weight.shape[1], stride))
        self._saved[name] = (windows, images)
        return windows.reshape(*windows.shape[:3], -1) @ weight.reshape(len(weight), -1).T + self._bias(name)

    def conv_back(self, name: str, gradient: Array, stride: int = 1) -> Array:
        """Return the gradient of `conv`'s images; store those of weight and bias."""
        windows, images = self._saved[name]
        weight = self.parameters[name]
        flat = gradient.reshape(-1, len(weight))
        self.gradients[name] = (flat.T @ windows.reshape(len(flat), -1)).reshape(weight.shape)
        self.gradients[f"{name}_bias"] = flat.sum(axis=0)
        return fold_patches((flat @ weight.reshape(len(weight), -1)).reshape(windows.shape), images.shape, stride)

    def depthwise(self, name: str, images: Array) -> Array:
        """Return the depthwise convolution of `images`."""
        windows = patches(images, 3, 1)
        self._saved[name] = (windows, images)
        return np.einsum("nhwyxc,cyx->nhwc", windows, self.parameters[name][..., 0]) + self._bias(name)

    def depthwise_back(self, name: str, gradient: Array) -> Array:
        """Return the gradient of `depthwise`'s images; store those of weight and bias."""
        windows, images = self._saved[name]
        weight = self.parameters[name][..., 0]
        self.gradients[name] = np.einsum("nhwyxc,nhwc->cyx", windows, gradient)[..., None]
        self.gradients[f"{name}_bias"] = gradient.sum(axis=(0, 1, 2))
        spread = gradient[:, :, :, None, None, :] * np.moveaxis(weight, 0, 2)
        return fold_patches(spread, images.shape, 1)

    def relu(self, name: str, images: Array) -> Array:
        """Return max(0, images)."""
        self._saved[name] = (images,)
        return np.maximum(images, 0)

    def relu_back(self, name: str, gradient: Array) -> Array:
        """Return the gradient of `relu`'s images."""
        return gradient * (self._saved[name][0] > 0)

    def _bias(self, name: str) -> Array:
        return self.parameters[f"{name}_bias"]


def forward(tape: Tape, images: Array) -> Array:
    """Return the logits (batch, 10) of images (batch, 8, 8, 1)."""
    x = tape.relu("stem_relu", tape.conv("stem", images))
    x = tape.relu("depthwise_relu", tape.depthwise("depthwise", x))
    block = tape.relu("pointwise_relu", tape.conv("pointwise", x))
    x = tape.relu("residual_relu", tape.conv("residual_a", block))
    x = tape.relu("sum_relu", tape.conv("residual_b", x) + block)
    x = tape.relu("wide_relu", tape.conv("wide", x, stride=2))
    return tape.conv("classifier", x.mean(axis=(1, 2), keepdims=True))[:, 0, 0]


def backward(tape: Tape, gradient: Array) -> None:
    """Fill tape.gradients from the gradient (batch, 10) of the logits."""
    pooled = tape.conv_back("classifier", gradient[:, None, None])
    x = np.broadcast_to(pooled / 16, (len(pooled), 4, 4, WIDE))
    x = tape.conv_back("wide", tape.relu_back("wide_relu", x), stride=2)
    total = tape.relu_back("sum_relu", x)
    x = tape.relu_back("residual_relu", tape.conv_back("residual_b", total))
    block = total + tape.conv_back("residual_a", x)
    x = tape.conv_back("pointwise", tape.relu_back("pointwise_relu", block))
    x = tape.depthwise_back("depthwise", tape.relu_back("depthwise_relu", x))
    tape.conv_back("stem", tape.relu_back("stem_relu", x))


def batches(images: Array, labels: NDArray[np.int64], rng: np.random.Generator, size: int
            ) -> Iterator[tuple[Array, NDArray[np.int64]]]:  # fmt: skip
    """Yield shuffled batches, each image moved by up to one pixel: the only augmentation."""
    order = rng.permutation(len(images))
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        moves = rng.choice(3, size=(len(chosen), 2), p=(0.2, 0.6, 0.2))
        moved = [padded[i, y : y + 8, x : x + 8] for i, (y, x) in zip(chosen, moves, strict=True)]
        yield np.stack(moved), labels[chosen]


def train(parameters: Parameters, images: Array, labels: NDArray[np.int64], *, epochs: int, rate: float, seed: int,
          masks: dict[str, NDArray[np.bool_]]) -> None:  # fmt: skip
    """Minimise cross-entropy in place with Adam (Kingma and Ba 2015), cosine rate, weight decay; masks stay zero."""
    rng = np.random.default_rng(seed)
    first = {name: np.zeros_like(value) for name, value in parameters.items()}
    second = {name: np.zeros_like(value) for name, value in parameters.items()}
    batch, step = 64, 0
    steps = epochs * -(-len(images) // batch)
    for _ in range(epochs):
        for x, y in batches(images, labels, rng, batch):
            tape = Tape(parameters)
            logits = forward(tape, x)
            share = np.exp(logits - logits.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            share[np.arange(len(y)), y] -= 1
            backward(tape, share / np.float32(len(y)))
            now = 0.5 * rate * (1 + np.cos(np.pi * step / steps))
            step += 1
            for name, value in parameters.items():
                gradient = tape.gradients[name] + 5e-4 * value * (value.ndim > 1)
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.99 * second[name] + 0.01 * gradient**2
                scaled = first[name] / (1 - 0.9**step) / (np.sqrt(second[name] / (1 - 0.99**step)) + 1e-8)
                value -= np.float32(now) * scaled
                if name in masks:
                    value *= masks[name]


def accuracy(parameters: Parameters, images: Array, labels: NDArray[np.int64]) -> float:
    """Return the share of images whose largest logit is their label."""
    return float(np.mean(forward(Tape(parameters), images).argmax(axis=1) == labels))


def export(parameters: Parameters, path: Path) -> None:
    """Write the network as ONNX (opset 13), input `image` 1x1x8x8, output `logits` 1x10."""
    nodes: list[onnx.NodeProto] = []
    tensors: list[onnx.TensorProto] = []

    def constant(name: str, value: Array) -> str:
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def conv(name: str, source: str, stride: int = 1, groups: int = 1) -> str:
        weight = parameters[name].transpose(0, 3, 1, 2)
        inputs = [source, constant(f"{name}.weight", weight), constant(f"{name}.bias", parameters[f"{name}_bias"])]
        border = [weight.shape[2] // 2] * 4
        nodes.append(
            helper.make_node(
                "Conv", inputs, [f"{name}.out"], name=name, kernel_shape=list(weight.shape[2:]), pads=border,
                strides=[stride, stride], group=groups,
            )
        )  # fmt: skip
        return f"{name}.out"

    def node(op: str, name: str, *sources: str) -> str:
        nodes.append(helper.make_node(op, list(sources), [f"{name}.out"], name=name))
        return f"{name}.out"

    x = node("Relu", "stem_relu", conv("stem", "image"))
    x = node("Relu", "depthwise_relu", conv("depthwise", x, groups=CHANNELS))
    block = node("Relu", "pointwise_relu", conv("pointwise", x))
    x = conv("residual_b", node("Relu", "residual_relu", conv("residual_a", block)))
    x = node("Relu", "sum_relu", node("Add", "sum", x, block))
    x = node("Relu", "wide_relu", conv("wide", x, stride=2))
    x = node("Flatten", "flatten", node("GlobalAveragePool", "pool", x))
    weight = constant("classifier.weight", parameters["classifier"].reshape(CLASSES, WIDE))
    bias = constant("classifier.bias", parameters["classifier_bias"])
    nodes.append(helper.make_node("Gemm", [x, weight, bias], ["logits"], name="classifier", transB=1))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, CLASSES])
    graph = helper.make_graph(nodes, "digits", [image], [logits], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def main() -> None:
    """Train, prune, fine-tune, export, and print the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[1] / "configs" / "models")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    digits = load_digits()
    images = (digits.images[..., None] / 16).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits.target.astype(np.int64), test_size=TEST_IMAGES, random_state=0, stratify=digits.target
    )
    channel_first = (0, 3, 1, 2)
    calibration = train_x[:CALIBRATION_IMAGES].transpose(channel_first)
    np.savez_compressed(options.output / "digits-calibration.npz", image=calibration)
    np.savez_compressed(options.output / "digits-test.npz", image=test_x.transpose(channel_first), label=test_y)

    parameters = initial_parameters(np.random.default_rng(options.seed))
    train(parameters, train_x, train_y, epochs=options.epochs, rate=4e-3, seed=options.seed, masks={})
    export(parameters, options.output / "digits.onnx")
    print(f"seed {options.seed}: float test accuracy {accuracy(parameters, test_x, test_y):.4f}", flush=True)
    for text in ("2:4", "1:4", "2:8"):
        pattern = NmPattern.parse(text)
        masks = {name: magnitude_mask(parameters[name], pattern) for name in PRUNABLE}
        pruned = {name: value * masks.get(name, np.True_) for name, value in parameters.items()}
        one_shot = accuracy(pruned, test_x, test_y)
        train(pruned, train_x, train_y, epochs=options.epochs // 4, rate=1e-3, seed=options.seed, masks=masks)
        export(pruned, options.output / f"digits-{text.replace(':', 'x')}.onnx")
        print(f"{text}: one shot {one_shot:.4f}, fine-tuned {accuracy(pruned, test_x, test_y):.4f}", flush=True)


if __name__ == "__main__":
    main()
