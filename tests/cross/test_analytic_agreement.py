"""The analytic model against the event simulator on random layers, and what N:M sparsity must gain.

The bounds state what is reached; the target is 5 % for every layer (VALIDATION: timing simulator and analytic model).
"""

import os
from typing import Any

import numpy as np
import pytest
from quantized_layers import convolution
from scipy.stats import spearmanr

from gossamer.arch.config import fingerprint, load_config
from gossamer.arch.isa import Engine
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvMapping
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.codegen import mac_layers
from gossamer.mapper.compile import compile_network
from gossamer.sim.analytic import layer_cycles
from gossamer.sim.results import Simulation
from gossamer.sim.timing import simulate

SEED = int(os.environ.get("GOSSAMER_SEED", "1"))
PATTERNS = (None, NmPattern(2, 4), NmPattern(2, 8), NmPattern(1, 4), NmPattern(4, 8))


def sparse_config(name: str) -> SparseAccelerator:
    spec = load_config(name)
    assert isinstance(spec, SparseAccelerator)
    return spec


def random_layer(random: np.random.Generator, *, large: bool, most_macs: float) -> Any:
    """Return a random convolution case of at most so many dense MACs."""
    channels = (3, 16, 64, 128, 256, 512, 1000, 2048) if large else (1, 3, 8, 16, 24, 64, 130, 256)
    sizes = (1, 7, 14, 28, 56, 112) if large else (1, 4, 7, 14, 28, 31)
    while True:
        kernel, stride = int(random.choice([1, 1, 3, 3, 5, 7])), int(random.choice([1, 1, 1, 2]))
        inputs, outputs = (int(random.choice(channels)) for _ in range(2))
        size, groups = int(random.choice(sizes)), 1
        if random.random() < 0.15:
            groups = inputs = outputs = int(random.choice([8, 24, 64, 96]))
        kernel = min(kernel, size)
        if size**2 / stride**2 * inputs * outputs * kernel**2 / groups > most_macs:
            continue
        pattern = PATTERNS[int(random.integers(0, len(PATTERNS)))] if groups == 1 and inputs >= 8 else None
        return convolution(
            random, "layer", (1, size, size, inputs), outputs, (kernel, kernel), stride=(stride, stride),
            pads=(kernel // 2,) * 4, groups=groups, pattern=pattern,
        )  # fmt: skip


class Layers:
    """Compiles single layers and keeps the mapping the compiler chose."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mapping: ConvMapping | None = None
        choose = mac_layers.choose_mapping

        def remember(*arguments: Any) -> ConvMapping:
            self.mapping = choose(*arguments)
            return self.mapping

        monkeypatch.setattr(mac_layers, "choose_mapping", remember)

    def simulate(self, case: Any, spec: SparseAccelerator) -> Simulation:
        return simulate(compile_network(case.network, spec, config_fingerprint=fingerprint(spec)), spec)


@pytest.mark.parametrize(
    ("name", "most_macs", "median", "worst"),
    [("ecp5-tiny", 3e6, 0.03, 0.25), ("kv260-edge", 1e8, 0.01, 0.13), ("u280-sparse", 3e8, 0.01, 0.08)],
)
def test_the_analytic_model_agrees_with_the_simulator(
    monkeypatch: pytest.MonkeyPatch, name: str, most_macs: float, median: float, worst: float
) -> None:
    print(f"seed {SEED}")
    random, spec, layers = np.random.default_rng(SEED), sparse_config(name), Layers(monkeypatch)
    simulated, modelled = [], []
    for _ in range(24):
        case = random_layer(random, large=name != "ecp5-tiny", most_macs=most_macs)
        result = layers.simulate(case, spec)
        assert layers.mapping is not None
        cost = layer_cycles(layers.mapping, spec)
        simulated.append(result.total_cycles)
        modelled.append(cost.cycles)
        for engine in (Engine.COMPUTE, Engine.VECTOR):
            assert cost.engine_cycles[engine] == result.engines[engine].busy
    errors = np.abs(np.array(modelled) / np.array(simulated) - 1)
    print(f"{name}: median {np.median(errors):.4f}, worst {errors.max():.4f}")
    assert spearmanr(simulated, modelled)[0] >= 0.99
    assert np.median(errors) <= median
    assert errors.max() <= worst


@pytest.mark.parametrize(("pattern", "factor"), [(NmPattern(2, 4), 2), (NmPattern(2, 8), 4)])
def test_sparsity_divides_the_compute_cycles_of_a_compute_bound_layer(
    monkeypatch: pytest.MonkeyPatch, pattern: NmPattern, factor: int
) -> None:
    layers, spec = Layers(monkeypatch), sparse_config("kv260-edge")
    cycles = {}
    for used in (None, pattern):
        random = np.random.default_rng(SEED)
        case = convolution(random, "layer", (1, 28, 28, 128), 64, (3, 3), pads=(1, 1, 1, 1), pattern=used)
        layer = layers.simulate(case, spec).layers[0]
        assert layer.bound == "compute"
        cycles[used] = layer.compute_cycles - layer.fill_cycles
    assert cycles[None] / cycles[pattern] == pytest.approx(factor, rel=0.02)
