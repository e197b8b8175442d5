"""Check what N:M buys: compute-bound layers gain M/N in the array, memory-bound layers what their bytes say."""

from functools import cache

import pytest

from gossamer.arch.timing import LOAD_SETUP_CYCLES, LOAD_WRITE_CYCLES
from gossamer.dataflow.assembly import disassemble
from gossamer.request import SimulationRequest
from gossamer.sim.results import LayerTiming, Simulation, TrafficKind
from gossamer.sim.timing import simulate
from gossamer.simulation import compile_request

COMPUTE_BOUND = ("conv:28x28x128:3x3x128:p=1", "conv:56x56x256:1x1x128", "gemm:784x1024x256")
ROOM = ("buffers.weight.capacity_bytes=1048576", "device.lut=1000000")
"""So that dense weights are not cut into shorter runs than sparse ones, with more ragged folds."""
MEMORY_BOUND = "gemm:1x4096x4096"
BURST_CYCLES = 32
"""Beats of a 512-byte burst through one port of kv260-edge: the last burst of a LOAD comes through one port alone."""


def _listing(sparsity: str) -> list[str]:
    request = SimulationRequest(model=MEMORY_BOUND, config="kv260-edge", sparsity=sparsity, shapes={})
    return disassemble(compile_request(request).program).splitlines()


@cache
def _simulate(model: str, config: str, sparsity: str, overrides: tuple[str, ...] = ()) -> Simulation:
    request = SimulationRequest(model=model, config=config, sparsity=sparsity, shapes={}, overrides=overrides)
    compiled = compile_request(request)
    return simulate(compiled.program, compiled.spec)


def _layer(model: str, config: str, sparsity: str, overrides: tuple[str, ...] = ()) -> LayerTiming:
    (layer,) = _simulate(model, config, sparsity, overrides).layers
    return layer


def _passes(layer: LayerTiming) -> int:
    """Return COMPUTE cycles without the fill, which no sparsity shortens."""
    return layer.compute_cycles - layer.fill_cycles


@pytest.mark.parametrize("config", ["u280-sparse", "kv260-edge"])
@pytest.mark.parametrize("model", COMPUTE_BOUND)
@pytest.mark.parametrize(
    ("sparsity", "share"), [("2:4", 0.5), ("1:4", 0.25), ("4:8", 0.5), ("2:8", 0.25), ("1:8", 0.125)]
)
def test_compute_cycles_shrink_by_the_kept_share(config: str, model: str, sparsity: str, share: float) -> None:
    dense, sparse = (_layer(model, config, pattern, ROOM) for pattern in ("dense", sparsity))
    assert _passes(sparse) == pytest.approx(share * _passes(dense), rel=0.02)
    assert sparse.record.macs == pytest.approx(share * dense.record.dense_macs, rel=0.02)  # a few kept ones round to 0


@pytest.mark.parametrize(("sparsity", "share"), [("2:4", 0.5), ("2:8", 0.25)])
def test_every_pruned_layer_of_resnet50(sparsity: str, share: float) -> None:
    dense, sparse = (_simulate("resnet50", "u280-sparse", pattern).layers for pattern in ("dense", sparsity))
    checked = 0
    for before, after in zip(dense, sparse, strict=True):
        if after.record.pattern == sparsity and before.bound == "compute":
            # A layer that another engine is the limit of may get tiles with ragged edges in the array.
            within = 0.02 if after.bound == "compute" else 0.05
            assert _passes(after) == pytest.approx(share * _passes(before), rel=within), after.record.name
            checked += 1
    assert checked >= 30


@pytest.mark.parametrize(("sparsity", "bits"), [("2:4", 5.0), ("2:8", 2.75)])
def test_memory_bound_layer_gains_what_its_bytes_say(sparsity: str, bits: float) -> None:
    dense, sparse = (_layer(MEMORY_BOUND, "kv260-edge", pattern) for pattern in ("dense", sparsity))
    assert dense.bound == sparse.bound == "memory"
    read = sparse.traffic.read_bytes
    assert 8 * (read[TrafficKind.WEIGHTS] + read[TrafficKind.INDEX]) == bits * dense.record.dense_macs
    share = sparse.traffic.total_bytes / dense.traffic.total_bytes
    # Never more than the bytes say; less by the latency of each LOAD, since LOAD runs one instruction at a time.
    loads = sum(1 for line in _listing(sparsity) if " LOAD " in line)
    exposed = loads * (LOAD_SETUP_CYCLES + LOAD_WRITE_CYCLES + 150e-9 * 250e6 + BURST_CYCLES)
    assert share * dense.cycles < sparse.cycles <= share * dense.cycles + exposed
