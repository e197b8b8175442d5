"""Measure what the analytic model costs per layer, over the convolutions of ResNet-50 on three shipped configs.

    python benchmarks/analytic_speed.py [--runs 5]

Each layer is costed with the mapping the compiler chose for it; the best of some runs counts, kernels are compiled
before. Weights are 2:4, as in the other measurements of this folder.
"""

import argparse
import time

import numpy as np

from gossamer.arch.config import load_config
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvMapping
from gossamer.dataflow.network import Conv2d
from gossamer.mapper.grouping import search_layer
from gossamer.mapper.joining import join_layers
from gossamer.request import SimulationRequest
from gossamer.sim.analytic import layer_cycles, mapping_jobs
from gossamer.simulation import compile_for

CONFIGS = ("ecp5-tiny", "kv260-edge", "u280-sparse")


def resnet_mappings(name: str, spec: SparseAccelerator, sparsity: str = "2:4") -> dict[str, ConvMapping]:
    """Return the mapping the compiler chooses for every layer on the array, by layer."""
    request = SimulationRequest(model="resnet50", config=name, sparsity=sparsity, shapes={})
    network, joins = join_layers(compile_for(request, spec, lambda _: None).network, ())
    mappings: dict[str, ConvMapping] = {}
    for layer in network.layers:
        if isinstance(layer, Conv2d):
            found = search_layer(network, layer, joins.get(layer.output), spec)
            assert found is not None
            mappings[layer.name] = found.mapping
    return mappings


def best_microseconds(mapping: ConvMapping, spec: SparseAccelerator, runs: int) -> float:
    """Return the least time of some runs of the analytic model."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        layer_cycles(mapping, spec)
        times.append(time.perf_counter() - start)
    return 1e6 * min(times[1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time the analytic model per layer of ResNet-50.")
    parser.add_argument("--runs", type=int, default=5, help="runs of each layer; the best counts")
    runs = max(1, parser.parse_args().runs)
    for name in CONFIGS:
        spec = load_config(name)
        assert isinstance(spec, SparseAccelerator)
        mappings = resnet_mappings(name, spec).values()
        spent = [best_microseconds(mapping, spec, runs) for mapping in mappings]
        jobs = [len(mapping_jobs(mapping, spec)) for mapping in mappings]
        print(
            f"{name:12s} {len(spent)} layers: median {np.median(spent):.0f} us, mean {np.mean(spent):.0f} us, "
            f"most {np.max(spent):.0f} us; median {np.median(jobs):.0f} instructions",
            flush=True,
        )


if __name__ == "__main__":
    main()
