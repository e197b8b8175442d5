"""Whatever bytes of a model change, the importer answers with a Network or a ModelError, never another exception."""

import os
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from onnx_cases import save_model

from gossamer.arch.errors import ModelError
from gossamer.mapper.onnx_reader import load_onnx

SEED = int(os.environ.get("GOSSAMER_SEED", "2026"))
MUTATIONS_PER_BATCH = 100
node = helper.make_node


def model_bytes(folder: Path) -> bytes:
    """Return a model that touches most rules: convolution, shapes, attention-like reshapes, split, resize, gemm."""
    random = np.random.default_rng(1)

    def w(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    nodes = [
        node("Conv", ["x", "k", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2], kernel_shape=[3, 3], group=1),
        node("BatchNormalization", ["c", "s", "t", "m", "v"], ["n"], epsilon=1e-5),
        node("HardSigmoid", ["n"], ["g"], alpha=1 / 6, beta=0.5),
        node("Mul", ["n", "g"], ["h"]),
        node("MaxPool", ["h"], ["p"], kernel_shape=[2, 2], strides=[1, 1], ceil_mode=1),
        node("Resize", ["p", "", "scales"], ["r"], mode="nearest"),
        node("Split", ["r", "parts"], ["r1", "r2"], axis=1),
        node("Concat", ["r2", "r1"], ["q"], axis=1),
        node("Shape", ["q"], ["shape"]),
        node("Slice", ["shape", "zero", "two"], ["lead"]),
        node("Concat", ["lead", "rest"], ["target"], axis=0),
        node("Reshape", ["q", "target"], ["f"]),
        node("Transpose", ["f"], ["ft"], perm=[0, 2, 1]),
        node("LayerNormalization", ["ft", "s", "t"], ["l"], axis=-1),
        node("MatMul", ["l", "f"], ["a"]),
        node("Softmax", ["a"], ["sm"], axis=-1),
        node("ReduceMean", ["sm", "last"], ["mean"], keepdims=0),
        node("Gemm", ["mean", "w", "bias"], ["y"], transB=1),
    ]
    constants = {
        "k": w(4, 3, 3, 3), "b": w(4), "s": w(4), "t": w(4), "m": w(4), "v": np.abs(w(4)) + 1,
        "scales": np.array([1, 1, 2, 2], np.float32), "parts": np.array([1, 3], np.int64),
        "zero": np.array([0], np.int64), "two": np.array([2], np.int64), "rest": np.array([-1], np.int64),
        "last": np.array([2], np.int64), "w": w(5, 36), "bias": w(5),
    }  # fmt: skip
    path = save_model(folder / "good.onnx", nodes, {"x": (1, 3, 8, 8)}, ["y"], constants, opset=18)
    return path.read_bytes()


@pytest.mark.parametrize("batch", range(8))
def test_mutated_bytes_never_raise_anything_else(batch: int, tmp_path: Path) -> None:
    data = model_bytes(tmp_path)
    assert load_onnx(tmp_path / "good.onnx").outputs == ("y",)
    random = np.random.default_rng([SEED, batch])
    path = tmp_path / "bad.onnx"
    refused = 0
    for attempt in range(MUTATIONS_PER_BATCH):
        changed = bytearray(data)
        for _ in range(int(random.integers(1, 4))):
            place = int(random.integers(len(changed)))
            match int(random.integers(4)):
                case 0:
                    changed[place] = int(random.integers(256))
                case 1:
                    changed[place] ^= 1 << int(random.integers(8))
                case 2:
                    del changed[place : place + int(random.integers(1, 9))]
                case 3:
                    changed[place:place] = random.bytes(int(random.integers(1, 9)))
        path.write_bytes(bytes(changed))
        try:
            load_onnx(path)
        except ModelError as error:
            assert str(error).startswith(f"{path}: "), (SEED, batch, attempt)  # noqa: PT017 - either answer is right
            refused += 1
        except Exception as error:
            raise AssertionError(f"seed {SEED}, batch {batch}, mutation {attempt}: {error!r}") from error
    assert refused > MUTATIONS_PER_BATCH // 4
