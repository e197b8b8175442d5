"""Compile layers that only move data onto small buffers; execute, replay, compare with numpy's own moves."""

import math

import numpy as np
import pytest
from layer_programs import check_layers, compile_layers, sized_spec
from quantized_layers import IN, one_layer

from gossamer.arch.encoding import decode_columns
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Opcode
from gossamer.dataflow.network import Concat, Permute, Resize, Slice

ONE, TWO = {"inputs": ("a",), "output": "out", "op": "move"}, {"output": "out", "op": "move"}
BY_DMA = {Opcode.LOAD, Opcode.STORE}
ON_ARRAY = BY_DMA | {Opcode.COMPUTE, Opcode.REQUANTIZE}


def opcodes(program) -> set[Opcode]:
    return {Opcode(int(code)) for code in decode_columns(program.instructions)["opcode"]}


def moved(rng, layer, shapes, out_shape):
    return one_layer(rng, layer, shapes, out_shape, [IN] * len(shapes), IN)


@pytest.mark.parametrize("seed", range(24))
def test_concat_along_any_axis(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group, axis = int(rng.choice([4, 8])), seed % 4
    shape = [int(v) for v in rng.integers(1, 5, 3)] + [int(rng.choice([1, 5, 8, 16, 19]))]
    lengths = [int(v) for v in rng.choice([1, 3, 4, 8, 16], int(rng.integers(2, 5)))]
    shapes = [tuple(length if i == axis else size for i, size in enumerate(shape)) for length in lengths]
    out_shape = tuple(sum(lengths) if i == axis else size for i, size in enumerate(shape))
    layer = Concat(name="concat", inputs=tuple("abcde"[: len(lengths)]), axis=axis, **TWO)
    case = moved(rng, layer, shapes, out_shape)
    words = sum(-(-s[3] // group) for s in shapes) + -(-out_shape[3] // group)
    spec = sized_spec(group=group, activation=group * int(words * rng.choice([1, 2, 7])))
    program = check_layers(spec, case.network, case.values)
    starts = np.cumsum([0, *lengths[:-1]])
    assert (Opcode.COMPUTE in opcodes(program)) == (axis == 3 and any(starts % group))


def test_a_concat_in_place_costs_nothing() -> None:
    rng = np.random.default_rng(1)
    layer = Concat(name="concat", inputs=("a", "b"), axis=3, **TWO)
    case = moved(rng, layer, [(1, 3, 4, 16), (1, 3, 4, 9)], (1, 3, 4, 25))

    def alias(places):
        out = places["out"]
        return {
            "a": out.slice("a", places["a"].shape, out.quant, word=0),
            "b": out.slice("b", places["b"].shape, out.quant, word=2),
        }

    assert opcodes(compile_layers(sized_spec(), case.network, alias)) == {Opcode.END}


@pytest.mark.parametrize("seed", range(30))
def test_slice_along_any_axis(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group, axis = int(rng.choice([4, 8])), seed % 4
    shape = [int(v) for v in rng.integers(1, 6, 3)] + [int(rng.choice([1, 5, 8, 16, 19, 40]))]
    start = int(rng.integers(0, shape[axis]))
    stop = int(rng.integers(start + 1, shape[axis] + 1))
    step = int(rng.choice([1, 1, 2, 3]))
    out_shape = tuple(len(range(start, stop, step)) if i == axis else size for i, size in enumerate(shape))
    layer = Slice(name="slice", axis=axis, start=start, stop=stop, step=step, **ONE)
    case = moved(rng, layer, [tuple(shape)], out_shape)
    words = -(-shape[3] // group) + -(-out_shape[3] // group)
    spec = sized_spec(group=group, activation=group * int(words * rng.choice([1, 2, 7])))
    program = check_layers(spec, case.network, case.values)
    assert (Opcode.COMPUTE in opcodes(program)) == (axis == 3 and (step > 1 or start % group > 0))


def test_an_aliased_slice_costs_nothing() -> None:
    case = moved(
        np.random.default_rng(1), Slice(name="s", axis=3, start=8, stop=20, **ONE), [(1, 3, 4, 24)], (1, 3, 4, 12)
    )

    def alias(places):
        return {"out": places["a"].slice("out", (1, 3, 4, 12), places["a"].quant, word=1)}

    assert opcodes(compile_layers(sized_spec(), case.network, alias)) == {Opcode.END}


@pytest.mark.parametrize("seed", range(20))
def test_resize_by_any_factors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 3)), int(rng.integers(1, 6)), int(rng.integers(1, 6)), int(rng.choice([3, 8, 20])))
    factors = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    out_shape = (shape[0], shape[1] * factors[0], shape[2] * factors[1], shape[3])
    case = moved(rng, Resize(name="resize", factors=factors, **ONE), [shape], out_shape)
    least = 8 * (1 + factors[1])
    spec = sized_spec(activation=int(least * rng.choice([1, 3, 30])))
    if seed % 2:
        axi = spec.axi.model_copy(update={"burst_beats": 1, "data_bits": 64})
        spec = spec.model_copy(update={"axi": axi})
    program = check_layers(spec, case.network, case.values)
    assert (Opcode.COPY in opcodes(program)) == (factors[1] > 1 and seed % 2 == 0)


def factorisation(rng, total: int, count: int) -> list[int]:
    sizes = []
    for _ in range(count - 1):
        sizes.append(int(rng.choice([d for d in range(1, total + 1) if total % d == 0])))
        total //= sizes[-1]
    return [*sizes, total]


@pytest.mark.parametrize("seed", range(60))
def test_permute_any_view_in_any_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = int(rng.choice([4, 8]))
    shape = tuple(int(v) for v in rng.choice([1, 2, 3, 4, 6, 8], 4))
    total = math.prod(shape)
    view = factorisation(rng, total, int(rng.integers(1, 6)))
    order = tuple(int(v) for v in rng.permutation(len(view)))
    out_shape = tuple(factorisation(rng, total, 4)) if seed % 2 else shape
    case = moved(rng, Permute(name="permute", view=tuple(view), order=order, **ONE), [shape], out_shape)
    words = max(-(-shape[3] // group), -(-out_shape[3] // group))
    capacity = int(group * (2 * words + 1) * rng.choice([1, 2, 9]))
    check_layers(sized_spec(group=group, activation=capacity), case.network, case.values)


@pytest.mark.parametrize(
    ("shape", "view", "order", "out_shape", "expected"),
    [
        ((1, 1, 6, 32), (6, 2, 16), (1, 0, 2), (1, 2, 6, 16), BY_DMA),  # attention heads
        ((2, 3, 4, 5), (2, 3, 4, 5), (0, 2, 1, 3), (2, 4, 3, 5), BY_DMA),  # rows and columns
        ((1, 2, 3, 24), (6, 3, 8), (0, 2, 1), (1, 2, 3, 24), ON_ARRAY),  # channel shuffle
        ((1, 1, 6, 8), (6, 8), (1, 0), (1, 1, 8, 6), BY_DMA),  # transposition by scatter
        ((1, 7, 7, 10), (490,), (0,), (1, 1, 1, 490), BY_DMA),  # flattening with pads
        ((1, 1, 4, 6), (24,), (0,), (1, 1, 6, 4), BY_DMA),  # boundaries cross
    ],
)  # fmt: skip
def test_permute_of_networks(shape, view, order, out_shape, expected) -> None:
    case = moved(np.random.default_rng(9), Permute(name="p", view=view, order=order, **ONE), [shape], out_shape)
    program = check_layers(sized_spec(), case.network, case.values)
    assert opcodes(program) == expected | {Opcode.END}


def test_a_permutation_too_large_for_the_weights_is_halved() -> None:
    case = moved(
        np.random.default_rng(10),
        Permute(name="p", view=(4, 8, 16), order=(0, 2, 1), **ONE),
        [(1, 2, 2, 128)],
        (1, 2, 2, 128),
    )
    for capacities in ({}, {"weight": 256}, {"index": 128}, {"activation": 250}):
        program = check_layers(sized_spec(**capacities), case.network, case.values)
        columns = decode_columns(program.instructions)
        for space, recorded in ((1, program.layers[0].weight_bytes), (2, program.layers[0].index_bytes)):
            loads = (columns["opcode"] == Opcode.LOAD) & (columns["space"] == space)
            planes = set(zip(columns["dram"][loads].tolist(), columns["run_bytes"][loads].tolist(), strict=True))
            assert recorded == sum(-(-size // 64) * 64 for _, size in planes) > 0


def test_what_cannot_be_compiled_is_refused() -> None:
    rng = np.random.default_rng(11)
    shuffle = moved(rng, Permute(name="p", view=(8, 8), order=(1, 0), **ONE), [(1, 1, 1, 64)], (1, 1, 1, 64))
    with pytest.raises(MappingError, match="moving one word of channels"):
        compile_layers(sized_spec(activation=40), shuffle.network)
    resize = moved(rng, Resize(name="r", factors=(1, 3), **ONE), [(1, 1, 1, 8)], (1, 1, 3, 8))
    with pytest.raises(MappingError, match="one word and its 3 copies"):
        compile_layers(sized_spec(activation=31), resize.network)
