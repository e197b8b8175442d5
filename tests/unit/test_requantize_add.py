"""REQUANTIZE_ADD against REQUANTIZE followed by ADD, and its use by the compiler."""

from dataclasses import replace

import numpy as np
import pytest
from layer_programs import sized_spec
from network_programs import assert_values, compiled, random_inputs
from quantized_layers import convolution, joined

from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import Opcode
from gossamer.dataflow.network import BinaryKind
from gossamer.dataflow.numerics import (
    HEADER_DTYPE,
    MAX_SHIFT,
    MIN_SHIFT,
    REQUANTIZE_DTYPE,
    fits_addend_factor,
    pack_limits,
    unpack_limits,
)
from gossamer.sim.golden.executor_blocks import run_vector
from gossamer.sim.golden.layers import run_layers

CHANNELS, ENTRIES, GROUP = 16, 12, 8
OPERAND, BETWEEN, TWO_STEPS, ONE_STEP = 0, 512, 1024, 1536
FIELDS = {"ny": 3, "nx": 4, "nc": 2, "kh": 1, "kw": 1, "a": 0, "a_ky": 0, "a_kx": 0}


def line_strides(name: str, at: int) -> dict[str, int]:
    return {name: at, f"{name}_y": 4 * CHANNELS, f"{name}_x": CHANNELS}


def random_blocks(random: np.random.Generator) -> tuple[bytes, bytes, bytes]:
    """Return the blocks of REQUANTIZE, ADD and REQUANTIZE_ADD of the same constants."""
    names = ("zero_a", "zero_b", "sum_zero", "sum_low", "sum_high", "zero_out", "low", "high")
    bytes_of = {name: int(random.choice([-128, 127, random.integers(-128, 128)])) for name in names}
    if random.random() < 0.7:
        bytes_of |= {"low": -128, "high": 127, "sum_low": -128, "sum_high": 127}
    factors = {name: int(random.choice([-(2**17), 2**17 - 1, random.integers(-(2**17), 2**17)]))
               for name in ("mult_a", "mult_b")}  # fmt: skip
    addition = {**factors, "zero_a": bytes_of["zero_a"], "zero_b": bytes_of["zero_b"],
                "shift": int(random.choice([MIN_SHIFT, 16, 17, 18, 19, MAX_SHIFT]))}  # fmt: skip
    header, add, both = (np.zeros(1, HEADER_DTYPE) for _ in range(3))
    for name in ("zero_out", "low", "high"):
        header[name] = both[name] = bytes_of[name]
    header["has_table"] = both["has_table"] = random.integers(0, 2)
    for name, value in addition.items():
        add[name] = both[name] = value
    limits = (bytes_of["sum_zero"], bytes_of["sum_low"], bytes_of["sum_high"])
    add["zero_out"], add["low"], add["high"] = limits
    both["extra"] = pack_limits(*limits)
    assert unpack_limits(int(both["extra"][0])) == limits
    entries = np.zeros(CHANNELS, REQUANTIZE_DTYPE)
    entries["bias"] = random.integers(-(2**31), 2**31, CHANNELS) >> random.integers(0, 31, CHANNELS)
    entries["multiplier"] = random.integers(2**30, 2**31, CHANNELS)
    entries["shift"] = random.integers(24, 62, CHANNELS)
    rest = entries.tobytes() + random.integers(-128, 128, 256).astype(np.int8).tobytes()
    return header.tobytes() + rest, add.tobytes(), both.tobytes() + rest


@pytest.mark.parametrize("seed", range(60))
def test_one_pass_gives_the_bytes_of_two(seed: int) -> None:
    random = np.random.default_rng(seed)
    act = random.integers(-128, 128, 2048).astype(np.int8)
    sums = random.integers(-(2**31), 2**31, (ENTRIES, CHANNELS)) >> random.integers(0, 30, (ENTRIES, CHANNELS))
    sums = sums.astype(np.int32)
    blocks = random_blocks(random)
    b_c = int(random.integers(0, 2))
    b = {**line_strides("b", OPERAND), "b_c": b_c}
    steps = (
        (Opcode.REQUANTIZE, {"a_y": 0, "a_x": 0, "b": 0, "b_y": 0, "b_x": 0, "b_c": 0, **line_strides("d", BETWEEN)}),
        (Opcode.ADD, {**line_strides("a", BETWEEN), **b, **line_strides("d", TWO_STEPS)}),
        (Opcode.REQUANTIZE_ADD, {"a_y": 0, "a_x": 0, **b, **line_strides("d", ONE_STEP)}),
    )
    for (opcode, fields), block in zip(steps, blocks, strict=True):
        par = np.frombuffer(block, np.uint8)
        run_vector(opcode, {**FIELDS, **fields, "par": 0}, GROUP, act, par, sums)
    size = ENTRIES * CHANNELS
    assert (act[TWO_STEPS : TWO_STEPS + size] == act[ONE_STEP : ONE_STEP + size]).all()


@pytest.mark.parametrize("name", ["mult_a", "mult_b"])
@pytest.mark.parametrize("factor", [-(2**17) - 1, 2**17])
def test_factors_that_are_too_wide_are_refused(name: str, factor: int) -> None:
    block = np.frombuffer(random_blocks(np.random.default_rng(0))[2], np.uint8).copy()
    block[:32].view(HEADER_DTYPE)[name] = factor
    fields = {**FIELDS, "a_y": 0, "a_x": 0, **line_strides("b", OPERAND), "b_c": 0, **line_strides("d", ONE_STEP)}
    with pytest.raises(ProgramError, match="at most 18 signed bits"):
        run_vector(
            Opcode.REQUANTIZE_ADD, {**fields, "par": 0}, GROUP, np.zeros(2048, np.int8), block,
            np.zeros((ENTRIES, CHANNELS), np.int32),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "first", "scale", "expected"),
    [
        (BinaryKind.ADD, True, 1, Opcode.REQUANTIZE_ADD),
        (BinaryKind.ADD, False, 1, Opcode.REQUANTIZE_ADD),
        (BinaryKind.SUBTRACT, True, 1, Opcode.REQUANTIZE_ADD),
        (BinaryKind.SUBTRACT, False, 1, Opcode.REQUANTIZE_ADD),
        (BinaryKind.SUBTRACT, False, 2**10, Opcode.ADD),
        (BinaryKind.MULTIPLY, True, 1, Opcode.MULTIPLY),
    ],
)
@pytest.mark.parametrize("weight", [256, 4096])
def test_the_compiler_adds_in_the_pass_that_requantizes(
    kind: BinaryKind, first: bool, scale: int, expected: Opcode, weight: int
) -> None:
    """Small weight buffers split the reduction: an accumulator then has several COMPUTEs before it is requantized."""
    random = np.random.default_rng(5)
    case = joined(
        random, convolution(random, "layer", (1, 5, 6, 24), 20, (3, 3), pads=(1, 1, 1, 1)), kind, first=first
    )  # fmt: skip
    network = case.network
    conv, layer = network.layers
    params = layer.params
    params = replace(
        params, mult_a=params.mult_a * scale, mult_b=params.mult_b * scale, shift=params.shift + scale.bit_length() - 1
    )
    if kind is not BinaryKind.MULTIPLY:
        assert fits_addend_factor(params.mult_a, params.mult_b) == (expected is Opcode.REQUANTIZE_ADD)
    network = replace(network, layers=(conv, replace(layer, params=params)))
    spec = sized_spec(
        group=8, chains=8, vector_lanes=8, activation=16384, weight=weight, index=4096, accumulator=2048, parameter=4096
    )  # fmt: skip
    inputs = random_inputs(network, 3)
    program = compiled(network, spec)
    assert_values(network, program, spec, inputs, run_layers(network, inputs))
    used = set((program.instructions[:, 0] & 31).tolist()) - {
        Opcode.LOAD, Opcode.COMPUTE, Opcode.STORE, Opcode.END, Opcode.REQUANTIZE
    }  # fmt: skip
    assert used == {expected}
