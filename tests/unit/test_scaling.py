"""Products with one value per channel on the array: the bytes of MULTIPLY, whatever zero points, sizes and buffers."""

from dataclasses import replace

import numpy as np
import pytest
from layer_programs import sized_spec
from network_programs import compiled
from quantized_layers import binary
from replay import replay

from gossamer.arch.encoding import decode_columns
from gossamer.arch.isa import Opcode
from gossamer.dataflow.network import Binary, BinaryKind, Network, Tensor
from gossamer.dataflow.numerics import QuantParams
from gossamer.mapper import compile as compiler
from gossamer.mapper.codegen.scaling import negated
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.timing import simulate


def scaling(rng, shape, *, zero_a: int, zero_b: int, low: int = -128):
    """Return a product of (batch, rows, columns, channels) with (1, 1, 1, channels) with the given zero points."""
    case = binary(rng, "scale", BinaryKind.MULTIPLY, shape, (1, 1, 1, shape[3]), low=low)
    tensors = dict(case.network.tensors)
    for name, zero in (("a", zero_a), ("b", zero_b)):
        tensors[name] = replace(tensors[name], quant=QuantParams(tensors[name].quant.scale, zero))
    layer = replace(case.layer, params=replace(case.layer.params, zero_a=zero_a, zero_b=zero_b))
    return replace(case, network=replace(case.network, tensors=tensors, layers=(layer,)), layer=layer)


def with_residual(case, kind: BinaryKind, *, first: bool) -> Network:
    """Return the network that adds the product to its first operand, or subtracts: x * g + x."""
    params = binary(np.random.default_rng(0), "sum", kind, (1, 1, 1, 8), (1, 1, 1, 8)).layer.params
    inputs = ("out", "a") if first else ("a", "out")
    layer = Binary(name="sum", inputs=inputs, output="sum", op=str(kind), kind=kind, params=params)
    out = case.network.tensors["out"]
    return replace(
        case.network, outputs=("sum",), layers=(case.layer, layer),
        tensors={**case.network.tensors, "sum": Tensor(name="sum", shape=out.shape, quant=out.quant)},
    )  # fmt: skip


def check(spec, network: Network, values, *, replayed: bool = False):
    """Return the program of a network whose output, executed (and replayed), is that of the layer kernels."""
    program = compiled(network, spec)
    (name,) = network.outputs
    expected = run_layers(network, values)[name]
    np.testing.assert_array_equal(execute(program, spec, values)[name], expected)
    if replayed:
        np.testing.assert_array_equal(replay(program, spec, values, seed=0, schedules=1).outputs[name], expected)
    return program


@pytest.fixture
def on_array(monkeypatch):
    """Let the array scale whether or not VECTOR alone is faster."""
    monkeypatch.setattr(compiler, "scales_on_array", lambda network, layer, spec: layer.output == "out")


def uses_array(program) -> bool:
    """Return whether a program has COMPUTEs and no MULTIPLY."""
    opcodes = set(decode_columns(program.instructions)["opcode"].tolist())
    return Opcode.COMPUTE in opcodes and Opcode.MULTIPLY not in opcodes


@pytest.mark.parametrize("zero_a", [0, -7, 127, -128])
@pytest.mark.parametrize("zero_b", [0, 33, -127, -128])
@pytest.mark.parametrize("group", [4, 8])
def test_bytes_of_multiply(on_array, zero_a: int, zero_b: int, group: int) -> None:
    rng = np.random.default_rng(zero_a + 128 + 999 * (zero_b + 128))
    for shape in ((1, 1, 5, 3), (2, 4, 6, 8), (1, 7, 9, 24), (1, 3, 5, 70)):
        case = scaling(rng, shape, zero_a=zero_a, zero_b=zero_b, low=int(rng.choice([-128, 0])))
        spec = sized_spec(group=group, chains=int(rng.choice([16, 64])))
        assert uses_array(check(spec, case.network, case.values))
        tight = {"activation": int(rng.choice([256, 1024])), "weight": 6 * 16 * int(rng.choice([1, 20]))}
        spec = sized_spec(group=group, chains=16, index=tight["weight"], **tight)
        check(spec, case.network, case.values, replayed=zero_a in (0, -7))


@pytest.mark.parametrize("kind", [BinaryKind.ADD, BinaryKind.SUBTRACT])
@pytest.mark.parametrize("first", [True, False])
def test_what_follows_runs_in_the_same_tiles(on_array, kind: BinaryKind, first: bool) -> None:
    """A block that weighs channels: x * g + x. The product does not leave the chip."""
    rng = np.random.default_rng(3)
    for shape in ((1, 6, 8, 24), (1, 5, 5, 40)):
        case = scaling(rng, shape, zero_a=-5, zero_b=-128)
        network = with_residual(case, kind, first=first)
        program = check(sized_spec(chains=64), network, case.values)
        assert uses_array(program)
        assert "out" not in {binding.name for binding in program.intermediates}


def test_the_faster_engine_multiplies() -> None:
    """With 64 chains the array is faster than VECTOR; with one word of chains it would not be."""
    case = scaling(np.random.default_rng(1), (1, 40, 40, 64), zero_a=3, zero_b=-128)
    many, few = sized_spec(chains=64, vector_lanes=8), sized_spec(chains=8, vector_lanes=8)
    program = check(many, case.network, case.values)
    assert uses_array(program)
    slow = check(few, case.network, case.values)
    assert not uses_array(slow)
    assert simulate(program, many).total_cycles < 0.75 * simulate(slow, few).total_cycles


def test_layers_that_do_not_fit_together_are_not_joined(on_array) -> None:
    """Slots for two words in and two out are there, for a second operand they are not."""
    case = scaling(np.random.default_rng(1), (1, 4, 4, 64), zero_a=0, zero_b=5)
    network = with_residual(case, BinaryKind.ADD, first=True)
    for activation, stored in ((64, True), (4096, False)):
        program = check(sized_spec(chains=16, activation=activation), network, case.values)
        assert ("out" in {binding.name for binding in program.intermediates}) is stored


def test_negated_values_are_int8() -> None:
    for zero in range(-128, 128):
        values = negated(zero)
        assert sum(values) == -zero
        assert all(-128 <= value <= 127 for value in values)
