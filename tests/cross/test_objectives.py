"""What mappings cost under each objective: against compiled Programs, the simulator's energy and the whole space.

The cases are single layers, so that the Program is what the mapping alone is charged for.
"""

import os
from typing import Any

import numpy as np
import pytest
from mapped_layers import MappingCompiler, small_layer
from quantized_layers import convolution, joined

from gossamer.arch.config import load_config, require_hardware
from gossamer.arch.isa import Engine
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvMapping, Objective
from gossamer.dataflow.network import BinaryKind
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.objective import activity_of, prices
from gossamer.mapper.tiling import Space, branch_and_bound, chip_numbers, search_mapping
from gossamer.sim import accounting
from gossamer.sim.analytic import LayerModel
from gossamer.sim.results import Activity, Simulation
from gossamer.sim.timing import run_program, simulate

SEED = int(os.environ.get("GOSSAMER_SEED", "1"))
CONFIGS = ("ecp5-tiny", "kv260-edge", "u280-sparse")
LAYERS: list[dict[str, Any]] = [
    {"outputs": 72, "input_shape": (1, 7, 9, 24)},
    {"outputs": 40, "input_shape": (2, 7, 9, 24), "stride": (2, 2)},
    {"outputs": 72, "input_shape": (1, 1, 1, 264), "kernel": (1, 1), "pads": (0, 0, 0, 0), "pattern": NmPattern(2, 8)},
    {"outputs": 96, "input_shape": (1, 8, 8, 96), "groups": 96},
    {"outputs": 130, "input_shape": (1, 6, 5, 72), "pattern": NmPattern(2, 4)},
    {"outputs": 16, "input_shape": (1, 20, 9, 8), "dilation": (2, 3), "pads": (2, 3, 2, 3)},
    {"outputs": 300, "input_shape": (1, 7, 6, 40), "joined": BinaryKind.ADD},
    {"outputs": 264, "input_shape": (1, 1, 40, 40), "kernel": (1, 1), "pads": (0, 0, 0, 0)},
    {"outputs": 38, "input_shape": (1, 7, 6, 40), "joined": BinaryKind.ADD},
    {"outputs": 8, "input_shape": (1, 1, 1, 512), "kernel": (1, 1), "pads": (0, 0, 0, 0)},
]
"""The last can be done in one step, whose COMPUTE does not wait for the last LOAD."""


def sparse_config(name: str, few: bool = False) -> SparseAccelerator:
    """Return a shipped config; `few`: its parameter buffer holds three blocks of channels."""
    spec = require_hardware(load_config(name), name)
    if not few:
        return spec
    capacity = 3 * (64 + 12 * spec.array.chains)
    parameter = spec.buffers.parameter.model_copy(update={"capacity_bytes": capacity})
    return spec.model_copy(update={"buffers": spec.buffers.model_copy(update={"parameter": parameter})})


def layer_of(number: int) -> Any:
    """Return a small convolution."""
    return small_layer(SEED, **LAYERS[number])


class Compiler(MappingCompiler):
    """Compiles a layer with a given mapping and counts what it does."""

    def events(self, mapping: ConvMapping) -> tuple[Activity, Simulation]:
        """Return the events of the Program with a mapping, and its simulation."""
        program = self.program(mapping)
        run, found = run_program(program, self.spec), simulate(program, self.spec)
        computes, vectors = run.members(Engine.COMPUTE), run.members(Engine.VECTOR)
        work = accounting.array_work(run.columns, computes, self.spec)
        events = accounting.activity(
            run.columns, self.spec, computes, work, vectors, run.windows[vectors], found.traffic.total_bytes
        )
        return events, found


def some(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` numbers, spread."""
    return np.unique(np.linspace(0, count - 1, most).astype(int)).tolist()


@pytest.mark.parametrize("number", range(len(LAYERS)))
@pytest.mark.parametrize(("name", "few"), [(name, False) for name in CONFIGS] + [("ecp5-tiny", True)])
def test_events_and_costs_are_those_of_the_program(
    monkeypatch: pytest.MonkeyPatch, name: str, few: bool, number: int
) -> None:
    spec = sparse_config(name, few)
    compiler = Compiler(monkeypatch, layer_of(number), spec)
    assert compiler.shape is not None
    charged = {objective: prices(objective, spec) for objective in Objective}
    space, model = Space(compiler.shape, chip_numbers(spec), charged[Objective.BYTES]), LayerModel(compiler.shape, spec)
    for choice in some(len(space.choices), 8):
        mapping, counts = space.mapping(choice), space.counts[choice]
        events, found = compiler.events(mapping)
        assert activity_of(counts) == events
        joules = found.energy.total_j
        costs = {objective: charged[objective].cost(model, mapping, counts) for objective in Objective}
        assert {cost.cycles for cost in costs.values()} == {found.total_cycles}
        assert costs[Objective.LATENCY].value == found.total_cycles
        assert costs[Objective.BYTES].value == space.bound[choice] == found.traffic.total_bytes
        assert costs[Objective.ENERGY].value == pytest.approx(joules, rel=1e-12)
        assert costs[Objective.EDP].value == pytest.approx(joules * found.latency_s, rel=1e-12)


def random_layer(random: np.random.Generator) -> Any:
    """Return a convolution of any kind, or None if what was drawn has no output."""
    kernel, stride, dilation = (tuple(int(v) for v in random.integers(1, most, 2)) for most in (5, 4, 3))
    pads, shape = random.integers(0, 4, 4).tolist(), (*random.integers(1, 14, 2).tolist(),)
    if any(shape[at] + pads[at] + pads[at + 2] <= (kernel[at] - 1) * dilation[at] for at in range(2)):
        return None
    inputs, outputs, groups = int(random.integers(4, 200)), int(random.integers(1, 400)), 1
    if random.random() < 0.3:
        inputs = outputs = 8 * int(random.integers(1, 20))
        groups = int(random.choice([2, inputs]))
    pattern = NmPattern(2, 4) if groups == 1 and random.random() < 0.5 else None
    case = convolution(
        random, "layer", (int(random.integers(1, 3)), *shape, inputs), outputs, kernel, stride=stride,
        dilation=dilation, pads=tuple(pads), groups=groups, pattern=pattern,
    )  # fmt: skip
    return joined(random, case, BinaryKind.MULTIPLY) if random.random() < 0.3 else case


@pytest.mark.parametrize("seed", range(SEED, SEED + 30))
def test_events_of_random_layers(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    random = np.random.default_rng(seed)
    case = next(layer for layer in iter(lambda: random_layer(random), 0) if layer is not None)
    spec = sparse_config(CONFIGS[seed % 3], few=seed % 2 == 0)
    compiler, charged = Compiler(monkeypatch, case, spec), prices(Objective.BYTES, spec)
    assert compiler.shape is not None
    space = Space(compiler.shape, chip_numbers(spec), charged)
    steps = [
        space.mapping(choice).tile_count * space.mapping(choice).split_count for choice in range(len(space.choices))
    ]
    short = np.flatnonzero(np.array(steps) <= 300)
    for choice in short[:: max(1, len(short) // 3)][:3]:
        events, found = compiler.events(space.mapping(choice))
        assert activity_of(space.counts[choice]) == events
        assert space.bound[choice] == found.traffic.total_bytes


@pytest.mark.parametrize("number", range(len(LAYERS)))
@pytest.mark.parametrize(("name", "few"), [(name, False) for name in CONFIGS] + [("ecp5-tiny", True)])
@pytest.mark.parametrize("objective", Objective)
def test_no_mapping_costs_less_than_its_bound(
    monkeypatch: pytest.MonkeyPatch, name: str, few: bool, number: int, objective: Objective
) -> None:
    spec = sparse_config(name, few)
    compiler, charged = Compiler(monkeypatch, layer_of(number), spec), prices(objective, spec)
    assert compiler.shape is not None
    space, model = Space(compiler.shape, chip_numbers(spec), charged), LayerModel(compiler.shape, spec)
    assert (np.diff(space.bound) >= 0).all()
    tightness = []
    for choice in some(len(space.choices), 100):
        cost = charged.cost(model, space.mapping(choice), space.counts[choice])
        assert space.bound[choice] <= cost.value
        assert space.least[choice] <= cost.cycles
        tightness.append(space.bound[choice] / cost.value)
    assert np.median(tightness) > 0.1


def check_against_every_mapping(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int, objective: Objective
) -> None:  # fmt: skip
    """The search finds the best and the second best of the whole space."""
    spec = sparse_config(name)
    compiler, charged = Compiler(monkeypatch, layer_of(number), spec), prices(objective, spec)
    assert compiler.shape is not None
    space, model = Space(compiler.shape, chip_numbers(spec), charged), LayerModel(compiler.shape, spec)
    every = [
        charged.cost(model, space.mapping(choice), space.counts[choice]).rank for choice in range(len(space.choices))
    ]
    best, second = sorted(set(every))[:2]
    search = search_mapping(compiler.shape, spec, "layer", objective=objective)
    both = branch_and_bound(space, model, charged, keep=2)
    assert search.rank == both.rank == best
    assert search.proved
    assert search.costed <= both.costed <= len(space.choices)
    assert both.runner_up is not None
    assert both.runner_up[1].rank == second
    found = simulate(compiler.program(objective=objective), spec)
    assert found.total_cycles == search.cycles


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize(("name", "number"), [("ecp5-tiny", 2), ("kv260-edge", 0), ("u280-sparse", 6)])
def test_the_search_finds_the_best_and_the_second_best(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int, objective: Objective
) -> None:
    check_against_every_mapping(monkeypatch, name, number, objective)


@pytest.mark.slow
@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("number", range(len(LAYERS)))
@pytest.mark.parametrize("name", CONFIGS)
def test_the_search_finds_the_best_and_the_second_best_of_larger_spaces(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int, objective: Objective
) -> None:
    check_against_every_mapping(monkeypatch, name, number, objective)
