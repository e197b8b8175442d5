"""Tensors that stay on chip: the bytes of the layer kernels in any legal order of the engines, in fewer bytes moved."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from layer_programs import sized_spec
from network_programs import assert_values, compiled
from quantized_layers import IN, binary, convolution
from replay import replay

from gossamer.arch.activation import half_bytes
from gossamer.arch.config import fingerprint, load_config
from gossamer.arch.encoding import decode_columns
from gossamer.arch.isa import Opcode, Space
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import Objective
from gossamer.dataflow.network import BinaryKind, Network, Tensor
from gossamer.mapper import compile as compiler
from gossamer.mapper.compile import choose, compile_mapped
from gossamer.mapper.grouping import Turns
from gossamer.mapper.holding import NOTHING_HELD, hold_tensors
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.timing import run_program, simulate

SAME = {"kernel": (3, 3), "pads": (1, 1, 1, 1)}
POINT = {"kernel": (1, 1)}


def chain(seed: int, shape: tuple[int, ...], layers: Sequence[dict[str, Any]], *, add: tuple[int, int] | None = None):
    """Return a network of convolutions, one of the other's result, and its input.

    `add`: the tensors (0: the input, 1: the first result, ...) that are added at the end.
    """
    rng = np.random.default_rng(seed)
    tensors, made, values = {"t0": Tensor(name="t0", shape=shape, quant=IN)}, [], {}
    for number, fields in enumerate(layers, 1):
        source = tensors[f"t{number - 1}"].shape
        each = convolution(rng, f"layer{number}", source, **{"outputs": source[3], **fields})
        values = values or {"t0": each.values["a"]}
        tensors[f"t{number}"] = Tensor(name=f"t{number}", shape=each.network.tensors["out"].shape, quant=IN)
        params = replace(each.layer.params, zero_out=IN.zero_point)
        made.append(replace(each.layer, inputs=(f"t{number - 1}",), output=f"t{number}", params=params))
    if add is not None:
        names = tuple(f"t{number}" for number in add)
        layer = binary(rng, "sum", BinaryKind.ADD, tensors[names[0]].shape, tensors[names[1]].shape).layer
        made.append(replace(layer, inputs=names, output="sum"))
        tensors["sum"] = Tensor(name="sum", shape=tensors[names[0]].shape, quant=IN)
    network = Network(
        name="chain", inputs=("t0",), outputs=(made[-1].output,), tensors=tensors, layers=tuple(made)
    )  # fmt: skip
    return network, values


def held_in(network: Network, spec: SparseAccelerator) -> set[str]:
    return set(compile_mapped(network, spec, config_fingerprint="").held)


def stores(program) -> int:
    return int((decode_columns(program.instructions)["opcode"] == Opcode.STORE).sum())


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no layers take turns."""
    monkeypatch.setattr(Turns, "best", lambda *_: [])


@pytest.mark.parametrize("seed", range(8))
def test_random_chains(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers: list[dict[str, Any]] = []
    for _ in range(int(rng.integers(2, 5))):
        kernel, dilation = int(rng.choice([1, 3, 3, 5])), int(rng.choice([1, 1, 2]))
        reach = (kernel - 1) * dilation
        layer = {"kernel": (kernel, kernel), "dilation": (dilation, dilation), "pads": (reach // 2,) * 4}
        if rng.random() < 0.3:
            layer["stride"] = (int(rng.choice([1, 2])), int(rng.choice([1, 2])))
        layers.append(layer | ({} if rng.random() < 0.4 else {"outputs": int(rng.choice([3, 8, 24, 40]))}))
    width = int(rng.choice([8, 16, 40]))
    for number, layer in enumerate(layers):
        if number and "outputs" not in layer and rng.random() < 0.5:
            layers[number - 1]["outputs"] = width
            layer |= {"outputs": width, "groups": width}
    shape = (int(rng.integers(1, 3)), int(rng.integers(7, 14)), int(rng.integers(5, 12)), width)
    network, values = chain(seed, shape, layers)
    capacity = int(rng.choice([8192, 32768]))
    spec = sized_spec(chains=16, activation=capacity, weight=8192, index=8192)
    program, expected = compiled(network, spec), run_layers(network, values)
    assert_values(network, program, spec, values, expected)
    simulate(program, spec)
    if seed < 6:
        name = network.outputs[0]
        np.testing.assert_array_equal(
            replay(program, spec, values, seed=seed, schedules=2).outputs[name], expected[name]
        )


def test_a_block_keeps_all_it_makes_on_chip() -> None:
    """Expand, depthwise, project, add: the residual is read twice."""
    layers = [
        {"kernel": (1, 1)},
        {"kernel": (1, 1), "outputs": 48},
        {**SAME, "groups": 48},
        {"kernel": (1, 1), "outputs": 16},
    ]
    network, values = chain(3, (1, 9, 8, 16), layers, add=(4, 1))
    spec = load_config("ecp5-tiny")
    program, expected = compiled(network, spec), run_layers(network, values)
    assert held_in(network, spec) == {"t1", "t2", "t3"}
    assert_values(network, program, spec, values, expected)
    np.testing.assert_array_equal(replay(program, spec, values, seed=1, schedules=3).outputs["sum"], expected["sum"])
    network, choices = choose(network, spec)
    apart = compiler._compile(network, choices, (), NOTHING_HELD, spec, fingerprint(spec), Objective.LATENCY).program
    np.testing.assert_array_equal(execute(apart, spec, values)["sum"], expected["sum"])
    together, before = simulate(program, spec), simulate(apart, spec)
    assert together.total_cycles < before.total_cycles
    assert together.traffic.write_bytes == 9 * 8 * 16
    assert before.traffic.write_bytes == 9 * 8 * (16 + 48 + 48 + 16)


def test_outputs_and_what_others_read_are_stored() -> None:
    network, _ = chain(4, (1, 8, 8, 16), [SAME, SAME, SAME])
    spec = load_config("ecp5-tiny")
    assert held_in(network, spec) == {"t1", "t2"}
    assert held_in(replace(network, outputs=("t2", "t3")), spec) == {"t1"}


def test_what_does_not_fit_is_stored() -> None:
    network, values = chain(5, (1, 16, 16, 16), [POINT, POINT])
    assert held_in(network, sized_spec(activation=16384)) == {"t1"}
    spec = sized_spec(activation=4096)
    assert held_in(network, spec) == set()
    assert_values(network, compiled(network, spec), spec, values, run_layers(network, values))


def padding_loads(program) -> np.ndarray:
    """Return the LOADs that fill and read nothing."""
    columns = decode_columns(program.instructions)
    return np.flatnonzero((columns["opcode"] == Opcode.LOAD) & (columns["ny"] == 0))


def test_padding_that_is_still_there_is_not_filled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """t1 and t3 lie at one place with equal padding, t2 at another."""
    network, values = chain(6, (1, 8, 8, 16), [SAME, SAME, SAME, SAME])
    spec = load_config("ecp5-tiny")
    network, choices = choose(network, spec)
    holding = hold_tensors(network, choices.joins, spec, Objective.LATENCY)
    assert holding.tensors["t1"].base == holding.tensors["t3"].base != holding.tensors["t2"].base
    assert set(holding.filled) == {"t3"}
    program, expected = compiled(network, spec), run_layers(network, values)
    assert_values(network, program, spec, values, expected)
    assert len(padding_loads(program)) == len(holding.padding_loads("t1")) + len(holding.padding_loads("t2")) > 0
    assert not holding.padding_loads("t3")
    forgetful = replace(holding, filled=("t1", "t2", "t3"))
    monkeypatch.setattr(compiler, "hold_tensors", lambda *_: forgetful)
    mutant = compile_mapped(network, spec, config_fingerprint=fingerprint(spec)).program
    assert (execute(mutant, spec, values)["t4"] != expected["t4"]).any()


@pytest.mark.parametrize("between", [{"kernel": (1, 1), "outputs": 64}, {**SAME, "stride": (2, 2)}])
def test_padding_that_others_may_have_overwritten_is_filled_again(between: dict[str, Any]) -> None:
    """A larger tensor, or one of another size, lies where the padding was."""
    layers = [SAME, {"kernel": (1, 1), "outputs": 16}, between, {"kernel": (1, 1), "outputs": 16}, SAME, SAME]
    network, values = chain(7, (1, 8, 8, 16), layers)
    spec = sized_spec(chains=16, activation=16384)
    assert_values(network, compiled(network, spec), spec, values, run_layers(network, values))


def test_no_padding_is_filled_while_vector_writes_the_same_half() -> None:
    """LOAD would wait for VECTOR, cycle by cycle, which the simulator does not follow."""
    network, _ = chain(6, (1, 8, 8, 16), [SAME, SAME, SAME, SAME])
    spec = load_config("ecp5-tiny")
    program = compiled(network, spec)
    run, columns, fills = run_program(program, spec), decode_columns(program.instructions), padding_loads(program)
    vectors = np.flatnonzero(columns["opcode"] >= Opcode.REQUANTIZE)
    assert len(fills) > 2
    assert (columns["space"][fills] == Space.ACTIVATION).all()
    assert (columns["dst"][fills] >= half_bytes(spec)).all()
    written = vectors[columns["d"][vectors] >= half_bytes(spec)]
    assert written.size
    for fill in fills:
        start, end = run.times[fill, 2], run.times[fill, 3]
        assert not ((run.times[written, 2] < end) & (start < run.times[written, 3])).any()
