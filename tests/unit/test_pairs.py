"""Layers whose steps take turns: the bytes of the layer kernels in any legal order of the engines, in fewer cycles."""

from dataclasses import replace
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from layer_programs import sized_spec
from network_programs import compiled
from quantized_layers import IN, OUT, binary, convolution, unary
from replay import replay
from turn_pairs import MIXED, engines_alternate, random_pair, take_turns

from gossamer.arch.config import load_config
from gossamer.arch.isa import Engine
from gossamer.dataflow.network import BinaryKind, Network, Tensor
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper import compile as compiler
from gossamer.mapper.codegen import wide_pixels
from gossamer.mapper.grouping import Turns
from gossamer.mapper.tiling import try_mapping
from gossamer.request import SimulationRequest
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.timing import run_program, simulate
from gossamer.simulation import compile_request


def two_layers(rng, shape, first: dict, second: dict, *, chained: bool = True, kind: BinaryKind | None = None):
    """Return a network of two convolutions, the second of the first's result or of the same input, and its input.

    `kind`: the second's result is joined with the first's, if both have that shape.
    """
    a = convolution(rng, "first", shape, **first)
    middle = a.network.tensors["out"].shape
    b = convolution(rng, "second", middle if chained else shape, **second)
    tensors = {
        "a": Tensor(name="a", shape=shape, quant=IN), "middle": Tensor(name="middle", shape=middle, quant=IN),
        "last": Tensor(name="last", shape=b.network.tensors["out"].shape, quant=OUT),
    }  # fmt: skip
    layers = [
        replace(a.layer, output="middle", params=replace(a.layer.params, zero_out=IN.zero_point)),
        replace(b.layer, inputs=("middle" if chained else "a",), output="last"),
    ]
    outputs = ("last",) if chained else ("middle", "last")
    if kind is not None:
        layer = binary(rng, "sum", kind, middle, middle).layer
        layers.append(replace(layer, inputs=("last", "middle"), output="sum"))
        tensors["sum"] = Tensor(name="sum", shape=middle, quant=OUT)
        outputs = ("sum",)
    network = Network(name="two", inputs=("a",), outputs=outputs, tensors=tensors, layers=tuple(layers))
    return network, a.values


@pytest.fixture
def paired(monkeypatch):
    """Let the first two layers take turns, whatever it costs; return the list of the pairs."""
    found = take_turns(monkeypatch)
    return found


def check(network: Network, spec, values, *, replayed: bool = False):
    """Return the program of a network whose output, executed (and replayed), is that of the layer kernels."""
    program = compiled(network, spec)
    expected = run_layers(network, values)
    got = execute(program, spec, values)
    for name in network.outputs:
        np.testing.assert_array_equal(got[name], expected[name])
    if replayed:
        found = replay(program, spec, values, seed=0, schedules=1)
        for name in network.outputs:
            np.testing.assert_array_equal(found.outputs[name], expected[name])
    return program


@pytest.mark.parametrize("seed", range(16))
def test_random_pairs(paired, seed: int) -> None:
    rng = np.random.default_rng(seed)
    channels, middle, last = (int(rng.choice([3, 8, 24, 40])) for _ in range(3))
    kernels = [(int(k), int(k)) for k in rng.choice([1, 3, 5], 2)]
    strides = [(int(s), int(s)) for s in rng.choice([1, 1, 2], 2)]
    first = {"outputs": middle, "kernel": kernels[0], "stride": strides[0], "pads": (kernels[0][0] // 2,) * 4}
    second = {"outputs": last, "kernel": kernels[1], "stride": strides[1], "pads": (kernels[1][0] // 2,) * 4}
    if seed % 4 == 1:
        second |= {"outputs": middle, "groups": middle}
    if seed % 4 == 2:
        kind, second["outputs"], second["stride"] = BinaryKind.ADD, middle, (1, 1)
    else:
        kind = None
    shape = (int(rng.integers(1, 3)), int(rng.integers(9, 17)), int(rng.integers(5, 15)), channels)
    network, values = two_layers(rng, shape, first, second, chained=seed % 4 != 3, kind=kind)
    spec = sized_spec(chains=16, activation=int(rng.choice([4096, 16384])), weight=8192, index=8192)
    check(network, spec, values, replayed=seed < 4)
    assert paired


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kinds", MIXED, ids="-".join)
def test_layers_of_all_kinds(paired, kinds: tuple[str, str], seed: int) -> None:
    network, values = random_pair(kinds, seed)
    spec = sized_spec(chains=16, activation=32768 if seed % 2 else 8192, weight=8192, index=8192)
    program = check(network, spec, values, replayed=seed < 4)
    if seed % 2 and kinds in MIXED[:5]:
        assert engines_alternate(program)
    assert paired


def test_an_operand_is_loaded_once_it_is_stored(monkeypatch, paired) -> None:
    """The second layer, joined with the first's result, has a tile of 16 of 17 rows: no pace of steps says when."""

    def found(shape, spec, **options):
        search = try_mapping(shape, spec, **options)
        assert search is not None
        rows = 16 if shape.joined else 1
        return replace(search, mapping=replace(search.mapping, tile_rows=rows, tile_columns=4))

    monkeypatch.setattr(wide_pixels, "try_mapping", found)
    same = {"outputs": 16, "kernel": (3, 3), "pads": (1, 1, 1, 1)}
    network, values = two_layers(
        np.random.default_rng(8), (1, 17, 4, 16), same, same, chained=False, kind=BinaryKind.ADD
    )  # fmt: skip
    check(network, sized_spec(chains=16), values, replayed=True)


def test_steps_alternate_where_they_can(paired) -> None:
    rng = np.random.default_rng(5)
    network, values = two_layers(
        rng, (1, 24, 24, 16), {"outputs": 16, "kernel": (3, 3), "pads": (1, 1, 1, 1)}, {"outputs": 64, "kernel": (1, 1)}
    )
    spec = sized_spec(chains=16)
    assert engines_alternate(check(network, spec, values, replayed=True))


def test_what_does_not_fit_together_runs_one_after_the_other(paired) -> None:
    """Half of the parameter buffer does not hold a block."""
    rng = np.random.default_rng(6)
    network, values = two_layers(
        rng, (1, 9, 9, 16), {"outputs": 16, "kernel": (3, 3), "pads": (1, 1, 1, 1)}, {"outputs": 16, "kernel": (1, 1)}
    )
    spec = sized_spec(chains=16, parameter=256)
    assert not engines_alternate(check(network, spec, values))


def test_a_pair_takes_little_more_than_its_busier_engine() -> None:
    """A 3x3 convolution bound by COMPUTE, an expansion by VECTOR: the compiler pairs them by itself."""
    rng = np.random.default_rng(7)
    first = {"outputs": 64, "kernel": (3, 3), "pads": (1, 1, 1, 1), "pattern": NmPattern(2, 4)}
    second = {"outputs": 256, "kernel": (1, 1), "pattern": NmPattern(2, 4)}
    network, _ = two_layers(rng, (1, 56, 56, 64), first, second)
    spec = load_config("kv260-edge")
    program = compiled(network, spec)
    assert engines_alternate(program)
    together = simulate(program, spec)
    alone = [
        simulate(compiled(compiler.subnetwork(network, [layer]), spec), spec).total_cycles for layer in network.layers
    ]
    assert together.total_cycles < 0.95 * sum(alone)
    busiest = max(together.engines[engine].busy for engine in Engine)
    assert together.total_cycles < 1.25 * busiest
    assert sum(layer.cycles for layer in together.layers) == together.total_cycles


def made_turns(rng, count: int) -> Turns:
    """Return layers that all read the same, and what random pairs of them save in turns."""
    layer = unary(rng, "unary", (1, 1, 1, 8)).layer
    units = [replace(layer, name=f"n{number}", output=f"n{number}") for number in range(count)]
    graph, gains = nx.DiGraph(), nx.Graph()
    graph.add_nodes_from(range(count))
    for pair in combinations(range(count), 2):
        if rng.random() < 0.6:
            gains.add_edge(*pair, weight=int(rng.integers(1, 100)))
    return Turns(units=units, dependencies=graph, gains=gains)


def saved_by(turns: Turns, pairs) -> int:
    return sum(turns.gains.edges[int(a.output[1:]), int(b.output[1:])]["weight"] for a, b in pairs)


@pytest.mark.parametrize("seed", range(6))
def test_pairs_save_most_of_all_ways_to_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turns = made_turns(rng, 6)
    apart = {f"n{number}" for number in range(6) if rng.random() < 0.2}

    def most(left: tuple[int, ...]) -> int:
        if len(left) < 2:
            return 0
        first, *rest = left
        with_it = (
            turns.gains.edges[first, other]["weight"] + most(tuple(each for each in rest if each != other))
            for other in rest
            if turns.gains.has_edge(first, other)
        )
        return max([most(tuple(rest)), *with_it])

    pairs = turns.best(apart)
    assert saved_by(turns, pairs) == most(tuple(n for n in range(6) if f"n{n}" not in apart))
    assert not apart & {layer.output for pair in pairs for layer in pair}


def test_turns_leave_alone_what_saves_as_much_without_them() -> None:
    """Of two spans one saves what turns of its layers do, the other less."""
    turns = made_turns(np.random.default_rng(0), 6)
    turns.gains.clear()
    turns.gains.add_weighted_edges_from([(0, 1, 10), (2, 3, 4), (4, 5, 7), (1, 2, 3)])
    names = [[layer.output for layer in pair] for pair in turns.beside([(("n2", "n3"), 4), (("n4",), 6)])]
    assert names == [["n0", "n1"], ["n4", "n5"]]
    assert turns.beside([(("n2", "n3"), 4), (("n0", "n4"), 17)]) == []
    assert turns.beside([]) == turns.best()


def test_turns_and_tensors_on_chip_share_a_network(monkeypatch) -> None:
    """With all turns, or with none, a network takes longer than with those beside what stays on chip."""
    request = SimulationRequest(model="mobilenet-v2", config="kv260-edge", sparsity="2:4", shapes={})
    both = compile_request(request)
    monkeypatch.setattr(Turns, "beside", lambda *_: [])
    every = compile_request(request)
    monkeypatch.setattr(Turns, "best", lambda *_: [])
    none = compile_request(request)
    cycles = [run_program(found.program, found.spec).total_cycles for found in (both, every, none)]
    assert cycles[0] < min(cycles[1:])
    assert [bool(found.compilation.partners) for found in (both, every, none)] == [True, True, False]
    assert len(every.compilation.held) < len(both.compilation.held) <= len(none.compilation.held)
