"""Make the quantized and pruned ONNX files of this folder with the tools that users export with.

    python3.11 -m venv VENV
    VENV/bin/pip install torch==2.13.0 brevitas==0.13.4 qonnx onnxoptimizer onnx onnxruntime onnxscript scikit-learn
    VENV/bin/python tests/data/quantized/make_models.py

- digits-ort.onnx: the shipped digits network by onnxruntime's quantize_static, QDQ form, uint8 activations.
- torch-2x4.onnx: a CNN pruned 2:4 with torch.ao.pruning, trained on under the mask, by torch.onnx.export.
- torch-fx.onnx: the same network quantized by torch.ao's FX mode (x86 settings), exported in QDQ form.
- brevitas.onnx: a CNN trained with Brevitas' quantizers, exported as QONNX. brevitas.npz: the outputs that the qonnx
  package's own execution gives for the test images.

All are trained or calibrated on scikit-learn's digits without the 360 test images of configs/models/digits-test.npz.
"""

import copy
from pathlib import Path

import brevitas.nn as qnn
import numpy as np
import onnx
import torch
from brevitas.export import export_qonnx
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat, Int32Bias, Uint8ActPerTensorFloat
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from sklearn.datasets import load_digits
from torch import nn
from torch.ao.pruning import WeightNormSparsifier
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

HERE = Path(__file__).resolve().parent
MODELS = HERE.parents[2] / "configs" / "models"
IMAGE = (1, 1, 8, 8)


def training_data() -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (samples, 1, 8, 8) in [0, 1] and labels, without the test images."""
    with np.load(MODELS / "digits-test.npz") as archive:
        test = {image.tobytes() for image in archive["image"].astype(np.float32)}
        largest = archive["image"].max()
    digits = load_digits()
    images = (digits.images / digits.images.max() * largest).astype(np.float32)[:, None]
    kept = np.array([image.tobytes() not in test for image in images])
    return torch.from_numpy(images[kept]), torch.from_numpy(digits.target[kept])


def train(model: nn.Module, epochs: int) -> None:
    """Train with Adam; prints the loss."""
    images, labels = training_data()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    model.train()
    for _ in range(epochs):
        for part in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[part]), labels[part])
            loss.backward()
            optimizer.step()
    model.eval()
    print(f"{type(model).__name__}: loss {loss.item():.4f} after {epochs} epochs, {len(images)} images")


class TwoOfFour(WeightNormSparsifier):
    """torch.ao's semi-structured sparsifier (2 of 4 along the last axis), for convolutions along input channels."""

    def update_mask(self, module, tensor_name, sparse_block_shape, zeros_per_block, **config):
        """Set the mask of a parametrized weight (out, in) or (out, in, rows, columns)."""
        mask = getattr(module.parametrizations, tensor_name)[0].mask
        weight = getattr(module, tensor_name).detach()
        last = weight if weight.ndim == 2 else weight.permute(0, 2, 3, 1)
        rows = last.reshape(-1, last.shape[-1])
        made = self._make_block_mask(rows * rows, sparse_block_shape, zeros_per_block).reshape(last.shape)
        mask.data = made if weight.ndim == 2 else made.permute(0, 3, 1, 2).contiguous()


class Small(nn.Module):
    """Three convolutions, max pooling, average over the map, a linear layer: 8,458 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.middle = nn.Conv2d(16, 24, 3, padding=1)
        self.wide = nn.Conv2d(24, 20, 3, padding=1)
        self.classifier = nn.Linear(20, 10)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 10)."""
        x = self.pool(self.relu(self.middle(self.relu(self.stem(image)))))
        x = self.relu(self.wide(x))
        return self.classifier(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


class Trained(nn.Module):
    """The same kind of network of Brevitas' layers: int8 weights per channel, int32 biases, uint8 after relu."""

    def __init__(self) -> None:
        super().__init__()
        weights = {"weight_quant": Int8WeightPerChannelFloat, "bias_quant": Int32Bias, "return_quant_tensor": True}
        self.image = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, return_quant_tensor=True)
        self.stem = qnn.QuantConv2d(1, 8, 3, padding=1, **weights)
        self.stem_relu = qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, return_quant_tensor=True)
        self.wide = qnn.QuantConv2d(8, 16, 3, padding=1, stride=2, **weights)
        self.wide_relu = qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, return_quant_tensor=True)
        self.pool = nn.MaxPool2d(2)
        self.classifier = qnn.QuantLinear(64, 10, bias=True, **weights)
        self.logits = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 10)."""
        x = self.stem_relu(self.stem(self.image(image)))
        x = self.pool(self.wide_relu(self.wide(x)))
        return self.logits(self.classifier(torch.flatten(x, 1)))


class Calibration(CalibrationDataReader):
    """The 64 calibration images, one by one."""

    def __init__(self) -> None:
        with np.load(MODELS / "digits-calibration.npz") as archive:
            self.images = iter(list(archive["image"]))

    def get_next(self):
        """Return the next input, or None."""
        image = next(self.images, None)
        return None if image is None else {"image": image[None].astype(np.float32)}


def make_digits_ort() -> None:
    """Write digits-ort.onnx."""
    quantize_static(
        MODELS / "digits.onnx", HERE / "digits-ort.onnx", Calibration(), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip


def make_torch() -> None:
    """Write torch-2x4.onnx and torch-fx.onnx."""
    torch.manual_seed(1)
    model = Small()
    train(model, 20)
    sparsifier = TwoOfFour(sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=2)
    sparsifier.prepare(model, [{"tensor_fqn": f"{name}.weight"} for name in ("middle", "wide", "classifier")])
    sparsifier.step()
    train(model, 20)
    sparsifier.squash_mask()
    example = (torch.zeros(IMAGE),)
    program = torch.onnx.export(model, example, dynamo=True, input_names=["image"], output_names=["logits"])
    save(program.model_proto, "torch-2x4.onnx")
    images, _ = training_data()
    prepared = prepare_fx(copy.deepcopy(model), get_default_qconfig_mapping("x86"), example)
    prepared(images[:256])
    path = HERE / "torch-fx.onnx"
    names = {"input_names": ["image"], "output_names": ["logits"]}
    torch.onnx.export(convert_fx(prepared), example, path, dynamo=False, opset_version=17, **names)
    save(onnx.load(path), path.name)


def make_brevitas() -> None:
    """Write brevitas.onnx and brevitas.npz."""
    torch.manual_seed(1)
    model = Trained()
    train(model, 40)
    path = HERE / "brevitas.onnx"
    export_qonnx(model, args=torch.zeros(IMAGE), export_path=str(path), input_names=["image"], output_names=["logits"])
    save(onnx.load(path), path.name)
    wrapper = ModelWrapper(str(path))
    with np.load(MODELS / "digits-test.npz") as archive:
        images = archive["image"].astype(np.float32)
    logits = [execute_onnx(wrapper, {"image": image[None]})["logits"][0] for image in images]
    np.savez_compressed(HERE / "brevitas.npz", logits=np.array(logits, np.float32))


def save(model: onnx.ModelProto, name: str) -> None:
    """Write a model without the exporter's records of where each node came from, which name folders of the machine."""
    model.doc_string = ""
    for entry in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        entry.doc_string = ""
        if hasattr(entry, "metadata_props"):
            del entry.metadata_props[:]
    del model.graph.metadata_props[:], model.metadata_props[:]
    onnx.save(model, HERE / name)
    (HERE / f"{name}.data").unlink(missing_ok=True)


if __name__ == "__main__":
    make_digits_ort()
    make_torch()
    make_brevitas()
    for file in sorted(HERE.glob("*.onnx")):
        print(f"{file.name}: {file.stat().st_size:,} bytes")
