"""Whatever bytes of a model change, the importer answers with a Network or a ModelError, never another exception."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_cases import save_model

from gossamer.arch.errors import ModelError
from gossamer.mapper.onnx_import.reader import RULES, load_onnx

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


def load_or_refuse(path: Path, label: object) -> bool:
    """Return whether the model was refused; anything but a Network or a ModelError fails."""
    try:
        load_onnx(path)
    except ModelError as error:
        assert str(error).startswith(f"{path}: "), label  # noqa: PT017 - either answer is right
        return True
    except Exception as error:
        raise AssertionError(f"seed {SEED}, {label}: {error!r}") from error
    return False


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
        refused += load_or_refuse(path, (batch, attempt))
    assert refused > MUTATIONS_PER_BATCH // 4


ODD_NUMBERS = [0, 1, -1, 2, 3, -3, 5, 7, 36, 2**31 - 1, 2**31, -(2**31), 2**62, -(2**63)]
ODD_FLOATS = [0.0, -1.0, 0.5, 3.0, 1e30, float("nan"), float("inf")]


def mutate_field(model: onnx.ModelProto, random: np.random.Generator) -> None:
    """Change one field that parses: an attribute, an axis, a shape constant, an operator, a connection."""
    graph = model.graph
    target = graph.node[int(random.integers(len(graph.node)))]
    number = ODD_NUMBERS[int(random.integers(len(ODD_NUMBERS)))]
    match int(random.integers(7)):
        case 0 if target.attribute:
            attribute = target.attribute[int(random.integers(len(target.attribute)))]
            attribute.i, attribute.f = number, ODD_FLOATS[int(random.integers(len(ODD_FLOATS)))]
            for place in range(len(attribute.ints)):
                attribute.ints[place] = ODD_NUMBERS[int(random.integers(len(ODD_NUMBERS)))]
        case 1 if target.attribute:
            target.attribute[int(random.integers(len(target.attribute)))].type = int(random.integers(12))
        case 2:
            tensor = graph.initializer[int(random.integers(len(graph.initializer)))]
            array = numpy_helper.to_array(tensor).copy()
            if array.dtype == np.int64:
                array[int(random.integers(array.size))] = number
            else:
                array = np.resize(array, [abs(number) % 6 + 1, *array.shape[1:]])
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        case 3:
            names = [name for other in graph.node for name in (*other.input, *other.output)]
            if target.input:
                target.input[int(random.integers(len(target.input)))] = names[int(random.integers(len(names)))]
        case 4:
            target.op_type = sorted(RULES)[int(random.integers(len(RULES)))]
        case 5:
            target.ClearField("attribute")
        case _:
            del target.input[int(random.integers(len(target.input) + 1)) :]


@pytest.mark.parametrize("batch", range(8))
def test_mutated_fields_never_raise_anything_else(batch: int, tmp_path: Path) -> None:
    good = onnx.ModelProto.FromString(model_bytes(tmp_path))
    random = np.random.default_rng([SEED, 1000 + batch])
    path = tmp_path / "bad.onnx"
    refused = 0
    for attempt in range(MUTATIONS_PER_BATCH):
        model = onnx.ModelProto()
        model.CopyFrom(good)
        for _ in range(int(random.integers(1, 3))):
            mutate_field(model, random)
        path.write_bytes(model.SerializeToString())
        refused += load_or_refuse(path, (batch, attempt))
    assert refused > MUTATIONS_PER_BATCH // 4


@pytest.mark.parametrize("name", ["brevitas.onnx", "brevitas-qcdq.onnx", "torch-fx.onnx"])
def test_mutated_quantized_models_never_raise_anything_else(name: str, tmp_path: Path) -> None:
    good = onnx.load(Path(__file__).parents[1] / "data" / "quantized" / name)
    random = np.random.default_rng([SEED, 2000])
    path = tmp_path / "bad.onnx"
    refused = 0
    for attempt in range(MUTATIONS_PER_BATCH):
        model = onnx.ModelProto()
        model.CopyFrom(good)
        mutate_field(model, random)
        path.write_bytes(model.SerializeToString())
        refused += load_or_refuse(path, (name, attempt))
    assert refused > MUTATIONS_PER_BATCH // 4
