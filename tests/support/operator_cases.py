"""Build one-operator graphs and compare their import with onnxruntime; shared by the import tests."""

from pathlib import Path

import numpy as np
from onnx import helper
from onnx_cases import assert_equal_to_onnxruntime, save_model

from gossamer.dataflow.network import Network

node = helper.make_node
RANDOM = np.random.default_rng(7)


def w(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def check(path: Path, nodes: list, inputs: dict, constants: dict | None = None, opset: int = 13) -> Network:
    """Save, import, compare; the last node's first output is the graph's."""
    save_model(path / "case.onnx", nodes, inputs, [nodes[-1].output[0]], constants, opset)
    return assert_equal_to_onnxruntime(path / "case.onnx", tolerance=2e-5)


def kinds(network: Network) -> list[str]:
    return [type(layer).__name__ for layer in network.layers]


MAP = {"x": (2, 6, 9, 11)}
