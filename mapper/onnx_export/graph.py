"""Collect the nodes and constants of an ONNX graph whose tensors are stored (batch, channels, rows, columns)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from gossamer.dataflow.network import Function, Step
from gossamer.dataflow.numerics import QuantParams
from gossamer.mapper.quantization.number_formats import LEAST_SCALE

TO_CHANNELS_FIRST, TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)

_PLAIN = {
    Function.RELU: "Relu", Function.SIGMOID: "Sigmoid", Function.HARD_SWISH: "HardSwish", Function.TANH: "Tanh",
    Function.ERF: "Erf", Function.EXP: "Exp", Function.SQRT: "Sqrt", Function.RECIPROCAL: "Reciprocal",
    Function.ABS: "Abs", Function.GELU: "Gelu",
}  # fmt: skip


class GraphBuilder:
    """An ONNX graph that grows node by node; tensor and node names are made unique."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._taken: set[str] = set()

    def unique(self, name: str) -> str:
        """Return the name, or one like it if it is taken; it is taken from now on."""
        found, count = name, 1
        while found in self._taken:
            found, count = f"{name}.{count}", count + 1
        self._taken.add(found)
        return found

    def node(self, op: str, inputs: Sequence[str], output: str, name: str | None = None, **attributes: Any) -> str:
        """Append a node and return its output; node names are those of outputs unless given."""
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name or output, **attributes))
        return output

    def constant(self, name: str, value: Any, dtype: Any) -> str:
        """Append an initializer and return its name."""
        name = self.unique(name)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(value, dtype)), name))
        return name

    def transposed(self, source: str, order: Sequence[int], output: str) -> str:
        """Return the tensor with its axes in another order."""
        return source if list(order) == sorted(order) else self.node("Transpose", [source], output, perm=list(order))

    def reshaped(self, source: str, shape: Sequence[int], output: str) -> str:
        """Return the tensor in another shape."""
        target = self.constant(f"{output}.shape", shape, np.int64)
        return self.node("Reshape", [source, target], output)

    def stated(self, source: str, quant: QuantParams, name: str, node: str | None = None) -> str:
        """Return the tensor as the values its int8 codes stand for: QuantizeLinear and DequantizeLinear.

        With `node`, that is the name of the QuantizeLinear, and `name` that of its codes.
        """
        numbers = [
            self.constant(f"{name}.scale", quant.scale, np.float32),
            self.constant(f"{name}.zero_point", quant.zero_point, np.int8),
        ]
        codes = self.unique(f"{name}.codes" if node is None else name)
        self.node("QuantizeLinear", [source, *numbers], codes, name=node)
        return self.node("DequantizeLinear", [codes, *numbers], self.unique(f"{name}.real"))

    def weights(self, codes: NDArray[np.int8], scale: NDArray[np.float64], name: str, axis: int) -> str:
        """Return int8 weights, with a scale for each place along `axis`, as real values.

        Scales that float32 does not hold are those of channels with vanishing weights; the next below gives the same
        codes, and quantization finds the same scale again.
        """
        single = scale.astype(np.float32)
        single = np.where(single > scale, np.nextafter(single, np.float32(0)), single)
        inputs = [
            self.constant(name, codes, np.int8), self.constant(f"{name}.scale", single, np.float32),
            self.constant(f"{name}.zero_point", np.zeros(scale.size), np.int8),
        ]  # fmt: skip
        return self.node("DequantizeLinear", inputs, self.unique(f"{name}.real"), axis=axis)

    def bias(self, bias: NDArray[np.float32], unit: NDArray[np.float64], name: str) -> str:
        """Return a bias: int32 in units of the sums where that gives the same codes again, else real values."""
        codes, single = np.rint(bias.astype(np.float64) / unit), unit.astype(np.float32)
        again = np.rint((codes.astype(np.float32) * single).astype(np.float64) / unit)
        if not np.array_equal(codes, again) or (unit < LEAST_SCALE).any():
            return self.constant(name, bias, np.float32)
        inputs = [
            self.constant(name, codes, np.int32), self.constant(f"{name}.scale", single, np.float32),
            self.constant(f"{name}.zero_point", np.zeros(unit.size), np.int32),
        ]  # fmt: skip
        return self.node("DequantizeLinear", inputs, self.unique(f"{name}.real"), axis=0)

    def functions(self, source: str, steps: Sequence[Step], output: str, name: str) -> str:
        """Return a chain of unary functions of a tensor, the last one with this output; the first node has the name."""
        for number, step in enumerate(steps):
            last = number == len(steps) - 1
            target = output if last else self.unique(f"{output}.{step.function.value}")
            source = self._function(source, step, target, name if number == 0 else None)
        return source

    def _function(self, source: str, step: Step, output: str, name: str | None) -> str:
        arguments = step.arguments
        match step.function:
            case Function.CLIP:
                limits = [
                    "" if np.isinf(value) else self.constant(f"{output}.{side}", value, np.float32)
                    for side, value in zip(("min", "max"), arguments, strict=True)
                ]
                return self.node("Clip", [source, *limits], output, name)
            case Function.HARD_SIGMOID:
                return self.node("HardSigmoid", [source], output, name, alpha=arguments[0], beta=arguments[1])
            case Function.LEAKY_RELU:
                return self.node("LeakyRelu", [source], output, name, alpha=arguments[0])
            case Function.SILU:
                gate = self.node("Sigmoid", [source], self.unique(f"{output}.gate"))
                return self.node("Mul", [source, gate], output, name)
            case Function.POWER:
                power = self.constant(f"{output}.power", arguments[0], np.float32)
                return self.node("Pow", [source, power], output, name)
            case Function.AFFINE:
                factor, offset = arguments
                scaled = output if offset == 0 else self.unique(f"{output}.scaled")
                self.node("Mul", [source, self.constant(f"{output}.factor", factor, np.float32)], scaled, name)
                if offset == 0:
                    return scaled
                return self.node("Add", [scaled, self.constant(f"{output}.offset", offset, np.float32)], output)
        return self.node(_PLAIN[step.function], [source], output, name)

    def model(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        """Return the checked model. Gelu is of operator set 20, everything else of 17, which more tools read."""
        graph = helper.make_graph(self.nodes, name, list(inputs), list(outputs), self.constants)
        opset = 20 if any(node.op_type == "Gelu" for node in self.nodes) else 17
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9 if opset > 17 else 8,
            producer_name="gossamer",
        )  # fmt: skip
        onnx.checker.check_model(model, full_check=True)
        return model
