"""Compile elementwise, table and normalisation layers onto small buffers; execute, replay, compare with the kernels."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from layer_programs import check_layers, compile_layers, sized_spec
from quantized_layers import binary, convolution, layer_cases, layer_norm, lrn, softmax, unary

from gossamer.arch.encoding import decode_columns
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Opcode
from gossamer.dataflow.network import BinaryKind, Concat, Conv2d, ConvTranspose2d, MatMul, Slice, Tensor, View

OTHERS = (Conv2d, ConvTranspose2d, MatMul, View)
CASES = [case for case in layer_cases(7) if not isinstance(case.layer, OTHERS)]
PIXEL = (1, 1, 1)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("group", [4, 8, 16])
def test_every_kind_of_layer(case, group: int) -> None:
    check_layers(sized_spec(group=group, chains=16), case.network, case.values)


@pytest.mark.parametrize("seed", range(24))
def test_any_broadcast_on_any_buffer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = int(rng.choice([4, 8, 16]))
    shape = (*(int(v) for v in rng.choice([1, 2, 3, 5, 7], 3)), int(rng.choice([1, 3, 8, 17, 33])))
    other = tuple(int(size) if rng.random() < 0.5 else 1 for size in shape)
    kind = list(BinaryKind)[seed % 3]
    case = binary(rng, f"binary_{seed}", kind, shape, other, low=-100, high=90)
    capacity = int(rng.choice([3 * group, 5 * group + 4, 9 * group, 40 * group]))
    spec = sized_spec(group=group, activation=capacity, vector_lanes=group * int(rng.choice([1, 2, 4])))
    check_layers(spec, case.network, case.values)


@pytest.mark.parametrize("seed", range(12))
def test_rows_of_channels_stay_whole_on_small_buffers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    channels = int(rng.choice([1, 7, 16, 33]))
    shape = (int(rng.integers(1, 3)), int(rng.integers(1, 4)), int(rng.integers(1, 6)), channels)
    make = [lambda: softmax(rng, "softmax", shape), lambda: layer_norm(rng, "norm", shape)][seed % 2]
    case = make() if seed % 3 else lrn(rng, "lrn", shape, int(rng.choice([1, 2, 5])))
    row = 2 * 8 * -(-channels // 8)
    check_layers(sized_spec(activation=row * int(rng.choice([1, 2, 5]))), case.network, case.values)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("axis", [2, 3])
def test_operands_inside_larger_tensors(case, axis: int) -> None:
    """The first input is an aliased slice, the output stored in place into a concat: no place is contiguous."""
    rng = np.random.default_rng(8)
    group = 8
    whole, part = case.network.tensors["a"], case.network.tensors["out"]
    lead = [3 if axis == 2 else group, 2 if axis == 2 else 2 * group]
    shapes = {
        "whole": tuple(n + lead[0] if i == axis else n for i, n in enumerate(whole.shape)),
        "extra": tuple(lead[1] if i == axis else n for i, n in enumerate(part.shape)),
        "joined": tuple(n + lead[1] if i == axis else n for i, n in enumerate(part.shape)),
    }
    formats = {"whole": whole.quant, "extra": part.quant, "joined": part.quant}
    tensors = {name: Tensor(name=name, shape=shape, quant=formats[name]) for name, shape in shapes.items()}
    names = {"inputs": ("whole",), "output": "a", "op": "slice"}
    network = replace(
        case.network,
        inputs=("whole", "extra", *case.network.inputs[1:]),
        outputs=("joined",),
        tensors=case.network.tensors | tensors,
        layers=(
            Slice(name="cut", axis=axis, start=lead[0], stop=shapes["whole"][axis], **names),
            case.layer,
            Concat(name="join", inputs=("extra", "out"), output="joined", op="concat", axis=axis),
        ),
    )
    values = {name: values for name, values in case.values.items() if name != "a"} | {
        name: rng.integers(-128, 128, shapes[name]).astype(np.int8) for name in ("whole", "extra")
    }

    def alias(places):
        offsets = [{"column": n} if axis == 2 else {"word": n // group} for n in lead]
        return {
            "a": places["whole"].slice("a", whole.shape, whole.quant, **offsets[0]),
            "out": places["joined"].slice("out", part.shape, part.quant, **offsets[1]),
        }

    program = check_layers(sized_spec(chains=16), network, values, alias=alias)
    assert np.count_nonzero(program.layer_of == 0) == 0
    assert np.count_nonzero(program.layer_of == 2) > 0


def vectors(program, opcode: Opcode) -> list[dict[str, int]]:
    columns = decode_columns(program.instructions)
    rows = np.flatnonzero(columns["opcode"] == opcode)
    return [{name: int(column[row]) for name, column in columns.items()} for row in rows]


def test_contiguous_pixels_become_one_long_row() -> None:
    rng = np.random.default_rng(1)
    case = binary(rng, "add", BinaryKind.ADD, (2, 7, 7, 24), (2, 7, 7, 24))
    program = compile_layers(sized_spec(vector_lanes=64), case.network)
    found = vectors(program, Opcode.ADD)
    assert sum(each["ny"] * each["nx"] * each["nc"] for each in found) == 2 * 7 * 7 * 3
    assert all(each["ny"] == each["nx"] == 1 for each in found)
    assert all(each["nc"] % 8 == 0 for each in found[:-1]), "all but the last row fill the 64 lanes"
    case = unary(rng, "table", (1, 5, 5, 3))
    assert all(each["nx"] == 1 for each in vectors(compile_layers(sized_spec(), case.network), Opcode.TABLE))


def test_a_per_channel_operand_is_loaded_once_per_slot() -> None:
    rng = np.random.default_rng(2)
    case = binary(rng, "scale", BinaryKind.MULTIPLY, (1, 12, 12, 16), (1, 1, 1, 16))
    program = check_layers(sized_spec(activation=640), case.network, case.values)
    found = vectors(program, Opcode.MULTIPLY)
    assert len(found) > 4
    assert sum(each["run_bytes"] == 16 for each in vectors(program, Opcode.LOAD)) <= 2
    assert {each["b_y"] for each in found} == {0}


def test_the_whole_tensor_is_moved_once() -> None:
    case = unary(np.random.default_rng(3), "table", (2, 9, 5, 20))
    program = compile_layers(sized_spec(activation=200), case.network)
    stored = sum(each["ny"] * each["nx"] * each["run_bytes"] for each in vectors(program, Opcode.STORE))
    assert stored == 2 * 9 * 5 * 24


def test_slots_of_a_tile_alternate() -> None:
    case = unary(np.random.default_rng(3), "table", (1, 40, 40, 32))
    program = compile_layers(sized_spec(activation=8192), case.network)
    starts = [each["a"] for each in vectors(program, Opcode.TABLE)]
    assert len(starts) > 2
    assert all(one != other for one, other in pairwise(starts))


def test_what_cannot_be_compiled_is_refused() -> None:
    rng = np.random.default_rng(4)
    case = softmax(rng, "wide", (1, 1, 2, 65))
    with pytest.raises(MappingError, match="wide: one position of 9 words"):
        compile_layers(sized_spec(activation=143), case.network)
    check_layers(sized_spec(activation=144), case.network, case.values)
    case = convolution(rng, "conv", (*PIXEL, 8), 8, (1, 1))
    with pytest.raises(MappingError, match="Conv2d is not a layer the VECTOR engine"):
        compile_layers(sized_spec(), case.network)
    case = binary(rng, "swapped", BinaryKind.ADD, (1, 2, 2, 3), (1, 2, 2, 1))
    swapped = case.network.with_layers((replace(case.layer, inputs=("b", "a")),))
    with pytest.raises(MappingError, match="first operand must have all 3 channels"):
        compile_layers(sized_spec(), swapped)
