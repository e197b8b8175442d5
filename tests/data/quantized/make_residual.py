"""Make the ONNX files of a residual network by PyTorch's PT2E quantization and by Brevitas' QCDQ export.

In the environment of make_models.py, with torchao==0.18.0 beside torch==2.13.0 and brevitas==0.13.4:

    VENV/bin/python tests/data/quantized/make_residual.py

- torch-pt2e.onnx: a residual CNN with depthwise convolutions, pruned 2:4 by torch.ao's WeightNormSparsifier and trained
  on under the mask, quantized by torchao's PT2E with XNNPACK's settings, by torch.onnx.export's newer exporter. That
  the pruned weights are what to_sparse_semi_structured takes is checked by PyTorch's own conversion to its compressed
  form and back, which unlike its kernels needs no GPU.
- brevitas-qcdq.onnx: the same kind of network of Brevitas' layers with 4-bit weights, as QuantizeLinear, Clip and
  DequantizeLinear.
"""

import brevitas.nn as qnn
import onnx
import torch
from brevitas.export import export_onnx_qcdq
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat, Int32Bias, Uint8ActPerTensorFloat
from make_models import HERE, IMAGE, TwoOfFour, save, train, training_data
from torch import nn
from torch.sparse._semi_structured_conversions import (
    sparse_semi_structured_from_dense_cutlass,
    sparse_semi_structured_to_dense_cutlass,
)
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.testing.pt2e._xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config

PRUNED = ("expand", "first", "second", "classifier")


class Residual(nn.Module):
    """Stem, a depthwise-separable block, a residual block, average over the map, a linear layer: 18,218 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, stride=2, groups=16)
        self.expand = nn.Conv2d(16, 32, 1)
        self.first = nn.Conv2d(32, 32, 3, padding=1)
        self.second = nn.Conv2d(32, 32, 3, padding=1)
        self.classifier = nn.Linear(32, 10)
        self.relu = nn.ReLU()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 10)."""
        x = self.relu(self.depthwise(self.relu(self.stem(image))))
        block = self.relu(self.expand(x))
        x = self.relu(self.second(self.relu(self.first(block))) + block)
        return self.classifier(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


class FourBit(nn.Module):
    """A residual network of Brevitas' layers: 4-bit weights per channel, uint8 after relu."""

    def __init__(self) -> None:
        super().__init__()
        weights = {
            "weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": 4, "bias_quant": Int32Bias,
            "return_quant_tensor": True,
        }  # fmt: skip
        self.image = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, return_quant_tensor=True)
        self.stem = qnn.QuantConv2d(1, 16, 3, padding=1, **weights)
        self.stem_relu = self._relu()
        self.down = qnn.QuantConv2d(16, 32, 3, padding=1, stride=2, **weights)
        self.down_relu = self._relu()
        self.first = qnn.QuantConv2d(32, 32, 3, padding=1, **weights)
        self.first_relu = self._relu()
        self.second = qnn.QuantConv2d(32, 32, 3, padding=1, **weights)
        self.sum = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, return_quant_tensor=True)
        self.sum_relu = self._relu()
        self.pool = nn.MaxPool2d(2)
        self.classifier = qnn.QuantLinear(128, 10, bias=True, **weights)
        self.logits = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat)

    @staticmethod
    def _relu() -> nn.Module:
        return qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, return_quant_tensor=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 10)."""
        x = self.down_relu(self.down(self.stem_relu(self.stem(self.image(image)))))
        y = self.second(self.first_relu(self.first(x)))
        x = self.pool(self.sum_relu(self.sum(self.sum(y) + self.sum(x))))
        return self.logits(self.classifier(torch.flatten(x, 1)))


def check_semi_structured(weight: torch.Tensor) -> None:
    """Raise unless PyTorch's compressed 2:4 form of a weight (out, in), in half precision, gives it back."""
    rows = nn.functional.pad(weight.detach().half(), (0, -weight.shape[1] % 32, 0, -weight.shape[0] % 32))
    values, metadata = sparse_semi_structured_from_dense_cutlass(rows)
    assert values.numel() * 2 == rows.numel()
    assert torch.equal(sparse_semi_structured_to_dense_cutlass(values, metadata), rows)


def make_pt2e() -> None:
    """Write torch-pt2e.onnx."""
    torch.manual_seed(1)
    model = Residual()
    train(model, 25)
    sparsifier = TwoOfFour(sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=2)
    sparsifier.prepare(model, [{"tensor_fqn": f"{name}.weight"} for name in PRUNED])
    sparsifier.step()
    train(model, 25)
    sparsifier.squash_mask()
    for name in PRUNED:
        weight = getattr(model, name).weight
        check_semi_structured(weight if weight.ndim == 2 else weight.permute(0, 2, 3, 1).reshape(-1, weight.shape[1]))
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    example = (torch.zeros(IMAGE),)
    prepared = prepare_pt2e(torch.export.export(model, example).module(), quantizer)
    images, _ = training_data()
    for image in images[:256]:
        prepared(image[None])
    exported = torch.export.export(convert_pt2e(prepared), example)
    program = torch.onnx.export(exported, example, dynamo=True, input_names=["image"], output_names=["logits"])
    save(program.model_proto, "torch-pt2e.onnx")


def make_qcdq() -> None:
    """Write brevitas-qcdq.onnx."""
    torch.manual_seed(1)
    model = FourBit()
    train(model, 40)
    path = HERE / "brevitas-qcdq.onnx"
    names = {"input_names": ["image"], "output_names": ["logits"]}
    export_onnx_qcdq(model, args=torch.zeros(IMAGE), export_path=str(path), opset_version=17, dynamo=False, **names)
    save(onnx.load(path), path.name)


if __name__ == "__main__":
    make_pt2e()
    make_qcdq()
    for file in ("torch-pt2e.onnx", "brevitas-qcdq.onnx"):
        print(f"{file}: {(HERE / file).stat().st_size:,} bytes")
