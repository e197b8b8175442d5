"""The layers of ResNet-18 on a 224x224 image that multiply and accumulate: He et al., CVPR 2016, table 1."""

from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvShape
from gossamer.dataflow.numerics import QuantParams
from gossamer.mapper.allocate import place_tensor
from gossamer.mapper.codegen.convolution_shape import conv_shape

STAGES = ((2, 64, 56), (3, 128, 28), (4, 256, 14), (5, 512, 7))
"""Number, channels and output rows; two blocks of two convolutions each."""


def resnet18_shapes(spec: SparseAccelerator) -> dict[str, ConvShape]:
    """Return the dense shapes of all 21 layers on a config, by name."""
    shapes = {"conv1": dense_shape(spec, rows=224, channels=3, outputs=64, kernel=7, stride=2)}
    channels = 64
    for number, outputs, rows in STAGES:
        for block in range(2):
            stride = 2 if number > 2 and block == 0 else 1
            name = f"conv{number}_{block + 1}"
            shapes[f"{name}a"] = dense_shape(
                spec, rows=rows * stride, channels=channels, outputs=outputs, kernel=3, stride=stride
            )
            shapes[f"{name}b"] = dense_shape(spec, rows=rows, channels=outputs, outputs=outputs, kernel=3)
            if stride == 2:
                shapes[f"{name}s"] = dense_shape(
                    spec, rows=rows * stride, channels=channels, outputs=outputs, kernel=1, stride=2
                )
            channels = outputs
    shapes["fc"] = dense_shape(spec, rows=1, channels=512, outputs=1000, kernel=1)
    return shapes


def dense_shape(
    spec: SparseAccelerator, *, rows: int, channels: int, outputs: int, kernel: int, stride: int = 1
) -> ConvShape:
    """Return a square dense convolution with same padding."""
    group, quant, out = spec.array.group_size, QuantParams(0.1, 0), -(-rows // stride)
    return conv_shape(
        spec, place_tensor("input", (1, rows, rows, channels), quant, group, 0),
        place_tensor("output", (1, out, out, outputs), quant, group, 0), who="layer", kernel=(kernel, kernel),
        stride=(stride, stride), pads=(kernel // 2, kernel // 2),
    )  # fmt: skip
