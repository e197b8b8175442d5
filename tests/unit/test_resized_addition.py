"""Additions in the tiles of the Resize before them: the bytes of both, in fewer cycles and bytes off chip."""

from dataclasses import replace

import numpy as np
import pytest
from layer_programs import sized_spec
from network_programs import compiled
from quantized_layers import IN, Case, convolution, random_int8, resized_sum
from replay import replay
from replay_cores import replay_cores

from gossamer.arch.config import fingerprint, load_config
from gossamer.arch.cores import core_spec
from gossamer.arch.encoding import decode_columns
from gossamer.arch.isa import Engine, Opcode
from gossamer.dataflow.mapping import Objective
from gossamer.dataflow.network import BinaryKind, Resize, Tensor
from gossamer.dataflow.program import Way
from gossamer.mapper import compile as compiler
from gossamer.mapper import cores as mapper
from gossamer.mapper.compile import compile_mapped
from gossamer.mapper.joining import resized_additions
from gossamer.mapper.objective import program_cost
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.timing import simulate


def check(case: Case, spec, *, replayed: bool = False, objective: Objective = Objective.LATENCY):
    """Return the compilation of a network whose output, executed (and replayed), is that of the layer kernels."""
    compilation = compile_mapped(case.network, spec, config_fingerprint=fingerprint(spec), objective=objective)
    expected, program = run_layers(case.network, case.values), compilation.program
    outputs = [execute(program, spec, case.values)]
    if replayed:
        outputs.append(replay(program, spec, case.values, seed=0, schedules=1).outputs)
    for name in case.network.outputs:
        for each in outputs:
            np.testing.assert_array_equal(each[name], expected[name])
    return compilation


def opcodes(program) -> set[int]:
    return set(decode_columns(program.instructions)["opcode"].tolist())


@pytest.fixture
def together(monkeypatch):
    """Let every addition that can run in the tiles of a Resize do so, whatever it costs."""
    monkeypatch.setattr(compiler, "_adds_resized", lambda *_: True)


@pytest.mark.parametrize("factors", [(1, 2), (2, 1), (2, 2), (4, 4), (3, 1), (1, 1)])
@pytest.mark.parametrize("group", [4, 8])
def test_bytes_of_both_layers(together, factors: tuple[int, int], group: int) -> None:
    rng = np.random.default_rng([group, *factors])
    for number, shape in enumerate(((1, 1, 1, 3), (2, 3, 5, 8), (1, 5, 3, 24), (1, 4, 6, 33), (1, 2, 7, 70))):
        for first in (True, False):
            kind = BinaryKind.SUBTRACT if number % 2 else BinaryKind.ADD
            case = resized_sum(rng, shape, factors, kind=kind, first=first, low=int(rng.choice([-128, 0])))
            small = sized_spec(group=group, chains=16, activation=2048, accumulator=2048)
            for spec in (sized_spec(group=group, chains=64), small):
                compilation = check(case, spec, replayed=number in (1, 3))
                assert compilation.joined == {"sum": "resize"}
                found = opcodes(compilation.program)
                assert Opcode.REQUANTIZE_ADD in found
                assert not {Opcode.ADD, Opcode.COPY} & found
                assert [record.name for record in compilation.program.layers] == ["resize", "sum"]


@pytest.mark.parametrize("lanes", [1, 2, 3, 4])
def test_rows_that_do_not_fill_the_lanes(together, lanes: int) -> None:
    case = resized_sum(np.random.default_rng(lanes), (1, 3, 5, 20), (2, 1))
    spec = sized_spec(chains=16)
    spec = spec.model_copy(update={"array": spec.array.model_copy(update={"lanes": lanes})})
    columns = decode_columns(check(case, spec, replayed=True).program.instructions)
    ny, nx = (columns[name][columns["opcode"] == Opcode.REQUANTIZE_ADD] for name in ("ny", "nx"))
    assert ((nx % lanes == 0) | (ny == 1)).all()
    assert (lanes == 1) == (set(ny.tolist()) == {2})


def test_small_buffers_hold_one_tile(together) -> None:
    """72 bytes: a pixel, its four copies and their sums, a word each."""
    case = resized_sum(np.random.default_rng(5), (1, 3, 2, 20), (2, 2))
    check(case, sized_spec(chains=8, activation=72), replayed=True)


def test_off_chip_the_enlarged_tensor_is_nowhere(together) -> None:
    spec = sized_spec(chains=64)
    case = resized_sum(np.random.default_rng(0), (1, 6, 8, 24), (2, 2))
    program = check(case, spec).program
    assert {binding.name for binding in program.intermediates} == set()
    traffic = simulate(program, spec).traffic
    small, large = 6 * 8 * 24, 12 * 16 * 24
    constants = sum(region.size_bytes for region in program.regions if region.name in ("instructions", "constants"))
    assert 0 <= small + 2 * large + constants - traffic.total_bytes < 64  # of padding between constants


def test_which_additions(together) -> None:
    rng = np.random.default_rng(1)
    case = resized_sum(rng, (1, 3, 4, 8), (2, 2))
    assert list(resized_additions(case.network)) == ["resized"]
    given_out = replace(case.network, outputs=("resized", "out"))
    assert not resized_additions(given_out)
    check(Case(given_out, case.layer, case.values), sized_spec(chains=16))
    assert not resized_additions(resized_sum(rng, (1, 3, 4, 8), (2, 2), kind=BinaryKind.MULTIPLY).network)
    large = replace(case.layer, params=replace(case.layer.params, mult_a=1 << 17))
    assert not resized_additions(replace(case.network, layers=(case.network.layers[0], large)))


@pytest.mark.parametrize("objective", list(Objective))
def test_it_is_not_worse(objective: Objective, monkeypatch) -> None:
    """What two layers take, and what they take together where that is chosen."""
    for name, shape in (("kv260-edge", (1, 40, 40, 96)), ("ecp5-tiny", (1, 6, 5, 24))):
        case, spec = resized_sum(np.random.default_rng(2), shape, (2, 2)), load_config(name)
        chosen = check(case, spec, objective=objective)
        assert chosen.joined == {"sum": "resize"}
        with monkeypatch.context() as patched:
            patched.setattr(compiler, "_adds_resized", lambda *_: False)
            apart = check(case, spec, objective=objective)
        assert apart.joined == {}
        costs = [program_cost(each.program, spec, objective) for each in (chosen, apart)]
        assert costs[0] < costs[1]


def test_fewer_cycles() -> None:
    """VECTOR has to add 6,400 pixels of 6 beats: it is busy for little more, and idle while the first are loaded."""
    case, spec = resized_sum(np.random.default_rng(2), (1, 40, 40, 96), (2, 2)), load_config("kv260-edge")
    result = simulate(compiled(case.network, spec), spec)
    assert 6400 * 6 < result.engines[Engine.VECTOR].busy < 1.1 * 6400 * 6
    assert result.total_cycles < 1.2 * 6400 * 6


def with_convolution(rng, kernel: int) -> Case:
    """Return a pair whose other operand is a convolution's result that nobody else reads."""
    case = resized_sum(rng, (1, 10, 12, 16), (2, 2))
    conv = convolution(rng, "conv", (1, 20, 24, 16), 16, (kernel, kernel), pads=(kernel // 2,) * 4)
    layer = replace(conv.layer, inputs=("source",), output="large")
    tensors = {**case.network.tensors, "source": Tensor(name="source", shape=(1, 20, 24, 16), quant=IN)}
    network = replace(
        case.network, inputs=("small", "source"), tensors=tensors, layers=(layer, *case.network.layers)
    )  # fmt: skip
    return Case(network, case.layer, {"small": case.values["small"], "source": random_int8(rng, (1, 20, 24, 16))})


@pytest.mark.parametrize("kernel", [1, 3])
def test_beside_a_convolution_the_better_join_is_taken(kernel: int, monkeypatch) -> None:
    spec, case = sized_spec(chains=16, activation=16384), with_convolution(np.random.default_rng(kernel), kernel)
    chosen, cycles = check(case, spec, replayed=True), {}
    for head, answer in (("resize", True), ("conv", False)):
        monkeypatch.setattr(compiler, "_adds_resized", lambda *_, answer=answer: answer)
        compilation = check(case, spec)
        assert compilation.joined == {"sum": head}
        cycles[head] = simulate(compilation.program, spec).total_cycles
    assert chosen.joined == {"sum": min(cycles, key=cycles.__getitem__)}


@pytest.mark.parametrize("cores", [2, 3])
def test_several_cores(together, cores: int, monkeypatch) -> None:
    """By images, and cut along rows, in whole rows of the small tensor."""
    case = resized_sum(np.random.default_rng(cores), (cores, 5, 4, 20), (2, 2))
    spec = sized_spec(chains=16, activation=4096).model_copy(update={"cores": cores})
    monkeypatch.setattr(mapper, "best_way", lambda costs: list(costs)[-1])
    expected, ways = run_layers(case.network, case.values)["out"], set()
    for found in mapper.candidates(case.network, core_spec(spec), cores, Objective.LATENCY):
        program = replace(found.program, config_fingerprint=fingerprint(spec))
        np.testing.assert_array_equal(execute(program, spec, case.values)["out"], expected)
        np.testing.assert_array_equal(replay_cores(program, spec, case.values, 0)["out"], expected)
        ways |= set(program.streams.ways)
    assert ways == {Way.WHOLE, Way.IMAGES, Way.POSITIONS}


def test_of_two_enlarged_operands_one_is_made_on_chip() -> None:
    rng = np.random.default_rng(6)
    case = resized_sum(rng, (1, 4, 6, 24), (2, 2))
    other = Resize(name="other", inputs=("smaller",), output="large", op="resize", factors=(4, 4))
    smaller = replace(case.network.tensors["large"], name="smaller", shape=(1, 2, 3, 24))
    network = replace(
        case.network, inputs=("small", "smaller"), tensors={**case.network.tensors, "smaller": smaller},
        layers=(other, *case.network.layers),
    )  # fmt: skip
    values = {"small": case.values["small"], "smaller": random_int8(rng, smaller.shape)}
    compilation = check(Case(network, case.layer, values), sized_spec(chains=16), replayed=True)
    assert compilation.joined == {"sum": "resize"}
