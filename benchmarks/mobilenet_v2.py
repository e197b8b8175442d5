"""Write MobileNetV2 as ONNX from the table of its paper: the real architecture, with placeholders for weights.

    python benchmarks/mobilenet_v2.py OUTPUT.onnx

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2: width 1, 224 x 224. Batch
normalisation is folded into the convolutions. Weights are ConstantOfShape, so that the file is small and cycles, bytes
and energy are those of the architecture.
"""

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, output channels, repeats, stride of the first."""
PLACEHOLDER = 0.01


class Builder:
    """Collects the nodes of a graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def _constant(self, name: str, shape: tuple[int, ...]) -> str:
        self.initializers.append(helper.make_tensor(f"{name}_shape", TensorProto.INT64, [len(shape)], shape))
        value = helper.make_tensor("value", TensorProto.FLOAT, [1], [PLACEHOLDER])
        self.nodes.append(helper.make_node("ConstantOfShape", [f"{name}_shape"], [name], value=value))
        return name

    def conv(
        self, x: str, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> str:
        """Add a convolution with bias and perhaps a ReLU6; return its output."""
        name = f"conv{sum(node.op_type == 'Conv' for node in self.nodes)}"
        weight = self._constant(f"{name}_weight", (outputs, inputs // groups, kernel, kernel))
        bias = self._constant(f"{name}_bias", (outputs,))
        self.nodes.append(
            helper.make_node(
                "Conv", [x, weight, bias], [name], name=name, kernel_shape=[kernel] * 2, strides=[stride] * 2,
                pads=[kernel // 2] * 4, group=groups,
            )
        )  # fmt: skip
        if not relu:
            return name
        self.nodes.append(helper.make_node("Clip", [name, "zero", "six"], [f"{name}_relu6"], name=f"{name}_relu6"))
        return f"{name}_relu6"


def build() -> onnx.ModelProto:
    """Return the model."""
    graph = Builder()
    graph.initializers += [
        helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("zero", 0), ("six", 6))
    ]
    x, channels = graph.conv("image", 3, 32, 3, stride=2), 32
    for expansion, outputs, repeats, first_stride in STAGES:
        for number in range(repeats):
            stride, wide = first_stride if number == 0 else 1, channels * expansion
            y = x if expansion == 1 else graph.conv(x, channels, wide, 1)
            y = graph.conv(y, wide, wide, 3, stride=stride, groups=wide)
            y = graph.conv(y, wide, outputs, 1, relu=False)
            if stride == 1 and channels == outputs:
                graph.nodes.append(helper.make_node("Add", [x, y], [f"{y}_sum"], name=f"{y}_sum"))
                y = f"{y}_sum"
            x, channels = y, outputs
    x = graph.conv(x, channels, 1280, 1)
    graph.nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"], name="pool"))
    x = graph.conv("pooled", 1280, 1000, 1, relu=False)
    graph.nodes.append(helper.make_node("Flatten", [x], ["scores"], name="flatten"))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", [1, 3, 224, 224]), ("scores", [1, 1000]))
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "mobilenet-v2", ends[:1], ends[1:], graph.initializers),
        opset_imports=[helper.make_opsetid("", 17)], producer_name="gossamer",
    )  # fmt: skip
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    Path(sys.argv[1]).write_bytes(build().SerializeToString())
