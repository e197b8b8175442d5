"""Designs costed in bulk: the same rules, resources and mappings as one at a time; close to the timing simulator."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.arch.config import load_config
from gossamer.arch.errors import ConfigError
from gossamer.arch.resources import RESOURCE_NAMES, estimate_resources
from gossamer.arch.spec import AcceleratorSpec, SparseAccelerator
from gossamer.explore import array_costs
from gossamer.explore.designs import DesignEvaluator
from gossamer.explore.evaluate import METRICS, STATUS, Results
from gossamer.explore.points import is_workload
from gossamer.explore.sweep_file import Sweep, load_sweep
from gossamer.mapper.grouping import search_layer
from gossamer.request import SimulationRequest
from gossamer.sim.timing import simulate
from gossamer.simulation import compile_for

HARDWARE = """
name: hardware
base: kv260-edge
axes:
  model: ["gemm:64x96x80"]
  device: [kv260, zcu104, u280, xc7a100t]
  array.chains: [16, 24, 64, 128]
  array.chain_length: [4, 8, 12]
  array.lanes: [1, 2, 3]
  array.group_size: [4, 8, 16]
  array.weight_rows_per_cycle: [1, 2]
  vector.lanes: [8, 16, 64]
  axi.ports: [1, 2, 8]
  buffers.activation.capacity_bytes: [512, 131072, 524288]
  buffers.activation.memory: [bram36, uram288]
  buffers.weight.capacity_bytes: [2048, 65536]
objectives: [latency_s]
"""

NETWORK = """
name: network
base: ecp5-tiny
axes:
  model: [digits]
  sparsity: [dense, "2:4", "2:8"]
  array.chains: [8, 16, 32]
  array.lanes: [1, 2, 4]
  vector.lanes: [8, 16, 32]
  off_chip.channel_bandwidth_gb_s: [0.4, 1.6]
  buffers.activation.capacity_bytes: [8192, 32768]
  buffers.weight.capacity_bytes: [4096, 16384]
objectives: [latency_s]
"""


def sweep(text: str, folder: Path) -> Sweep:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return load_sweep(path)


def overrides(case: Sweep, number: int) -> list[str]:
    """Return what makes the base config that of a point."""
    columns = case.space.columns(np.array([number]))
    return [f"{name}={column[0]}" for name, column in columns.items() if not is_workload(name)]


def points(case: Sweep, count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.sort(np.random.default_rng(seed).choice(case.space.size, count, replace=False))


def loaded(settings: list[str]) -> tuple[AcceleratorSpec | None, str]:
    """Return a config, or why it is refused."""
    try:
        return load_config("kv260-edge", settings), ""
    except ConfigError as error:
        return None, str(error)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return sweep(NETWORK, tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def results(network: Sweep) -> Results:
    return DesignEvaluator(network.spec, network.space).evaluate(np.arange(network.space.size))


def test_rules_and_resources_are_those_of_configs_one_by_one(tmp_path: Path) -> None:
    """What `load_config` refuses is infeasible for the same reason, and what it takes has its estimate."""
    case = sweep(HARDWARE, tmp_path)
    ids = points(case, 400)
    found = DesignEvaluator(case.spec, case.space).evaluate(ids)
    seen = dict.fromkeys(STATUS, 0)
    for row, number in enumerate(ids):
        status = STATUS(found.status[row])
        seen[status] += 1
        spec, problem = loaded(overrides(case, int(number)))
        if not isinstance(spec, SparseAccelerator):
            wanted = STATUS.EXCEEDS_DEVICE if "(estimated) but" in problem else STATUS.BREAKS_RULE
            assert status == wanted, f"point {number}: {problem}"
            assert np.isnan(found.metrics[row]).all()
            continue
        assert status in (STATUS.FEASIBLE, STATUS.DOES_NOT_FIT_BUFFERS), f"point {number}"
        if status == STATUS.FEASIBLE:
            total = estimate_resources(spec).total
            assert found.metrics[row, -len(RESOURCE_NAMES) :].tolist() == [
                getattr(total, name) for name in RESOURCE_NAMES
            ]
    assert min(seen[each] for each in (STATUS.FEASIBLE, STATUS.BREAKS_RULE, STATUS.EXCEEDS_DEVICE)) > 20


def test_results_do_not_depend_on_what_is_evaluated_together(network: Sweep, results: Results) -> None:
    ids = points(network, 60)
    one_by_one = DesignEvaluator(network.spec, network.space)
    for number in ids[::-1]:
        again = one_by_one.evaluate(np.array([number]))
        assert again.status[0] == results.status[number]
        assert again.metrics[0].tobytes() == results.metrics[number].tobytes()


def layer_cases() -> Iterator[tuple[str, str, str]]:
    for line in ("conv:28x28x24:3x3x40:p=1", "gemm:300x96x80", "conv:28x28x48:3x3x48:p=1:g=48"):
        for sparsity in ("dense", "2:4"):
            yield "kv260-edge", line, sparsity


@pytest.mark.parametrize(("config", "line", "sparsity"), list(layer_cases()))
def test_without_a_beam_a_layer_takes_what_the_search_finds(
    config: str, line: str, sparsity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All tilings costed: exactly the mapper's proved optimum, under every capacity at once."""
    monkeypatch.setattr(array_costs, "BEAM", 4096)
    monkeypatch.setattr(array_costs, "COARSE", False)
    text = f"""
name: layer
base: {config}
axes:
  model: ["{line}"]
  sparsity: ["{sparsity}"]
  buffers.activation.capacity_bytes: [32768, 131072, 524288]
  buffers.weight.capacity_bytes: [8192, 16384, 65536]
objectives: [cycles]
"""
    case = sweep(text, tmp_path)
    found = DesignEvaluator(case.spec, case.space).evaluate(np.arange(case.space.size))
    for number in range(case.space.size):
        spec = load_config(config, overrides(case, number))
        assert isinstance(spec, SparseAccelerator)
        request = SimulationRequest(model=line, config=config, sparsity=sparsity, shapes={})
        quantized = compile_for(request, spec, lambda _: None).network
        search = search_layer(quantized, quantized.layers[0], None, spec)  # type: ignore[arg-type]
        assert search is not None
        assert search.proved
        assert found.metrics[number, METRICS.index("cycles")] == search.cycles


def test_the_timing_simulator_agrees(network: Sweep, results: Results) -> None:
    """Cycles within 10 % of the simulated network, energy too; every design ranked as it ranks them."""
    feasible = np.flatnonzero(results.status == STATUS.FEASIBLE)
    chosen = np.random.default_rng(1).choice(feasible, 16, replace=False)
    ratios = []
    for number in chosen:
        spec = load_config("ecp5-tiny", overrides(network, int(number)))
        assert isinstance(spec, SparseAccelerator)
        sparsity = str(network.space.columns(np.array([number]))["sparsity"][0])
        request = SimulationRequest(model="digits", config="ecp5-tiny", sparsity=sparsity, shapes={})
        run = simulate(compile_for(request, spec, lambda _: None).program, spec)
        estimate = dict(zip(METRICS, results.metrics[number], strict=True))
        ratios.append((estimate["cycles"] / run.total_cycles, estimate["energy_j"] / run.energy.total_j))
    print(np.round(ratios, 3))
    assert np.abs(np.array(ratios) - 1).max() < 0.10


def test_infeasible_patterns_break_a_rule(tmp_path: Path) -> None:
    """A pattern wider than the array's groups cannot run."""
    text = """
name: wide
base: ecp5-tiny
axes:
  model: [digits]
  sparsity: ["2:4", "2:8"]
  array.group_size: [4, 8]
objectives: [cycles]
"""
    case = sweep(text, tmp_path)
    found = DesignEvaluator(case.spec, case.space).evaluate(np.arange(case.space.size))
    patterns, groups = (case.space.columns(np.arange(4))[name] for name in ("sparsity", "array.group_size"))
    broken = (patterns == "2:8") & (groups == 4)
    assert ((found.status == STATUS.BREAKS_RULE) == broken).all()
