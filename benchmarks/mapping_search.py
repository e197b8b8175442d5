"""Measure the search for mappings over ResNet-50: how large the spaces are, and what proving the best costs.

    python benchmarks/mapping_search.py [--sparsity 2:4] [--config kv260-edge] [--objective energy]

Kernels are compiled before, and nothing comes from the cache on disk. Costs are those of each layer alone: cycles, J,
J s or off-chip bytes. The last line is what the mapper does for latency: a process that searches every layer with an
empty cache on disk, then one with a full one.
"""

import argparse
import time

from analytic_speed import resnet_mappings
from search_time import cold_and_cached

from gossamer.arch.config import load_config, require_hardware
from gossamer.dataflow.mapping import ConvShape, Objective
from gossamer.mapper.objective import prices
from gossamer.mapper.tiling import Space, branch_and_bound, chip_numbers
from gossamer.sim.analytic import LayerModel


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time the search for mappings over ResNet-50.")
    parser.add_argument("--config", default="u280-sparse")
    parser.add_argument("--sparsity", default="2:4")
    parser.add_argument("--objective", default="latency", choices=list(Objective))
    options = parser.parse_args()
    spec = require_hardware(load_config(options.config), options.config)
    layers: dict[ConvShape, list[str]] = {}
    for name, mapping in resnet_mappings(options.config, spec, options.sparsity).items():
        layers.setdefault(mapping.shape, []).append(name)
    charged = prices(Objective(options.objective), spec)
    tilings = costed = proved = cycles = 0
    total = 0.0
    print(
        f"{'layer':<14}{'times':>6}{'tilings':>9}{'legal':>8}{'costed':>8}{'cycles':>10}{'cost':>12}{'least':>12}{'ms':>7}"
    )
    begin = time.process_time()
    for shape, names in layers.items():
        start = time.process_time()
        space = Space(shape, chip_numbers(spec), charged)
        search = branch_and_bound(space, LayerModel(shape, spec), charged)
        spent = 1e3 * (time.process_time() - start)
        print(f"{names[0][:13]:<14}{len(names):>6}{search.tilings:>9,}{len(space.choices):>8,}{search.costed:>8,}"
              f"{search.cycles:>10,}{search.cost:>12.6g}{search.least:>12.6g}{spent:>7.0f}")  # fmt: skip
        tilings, costed = tilings + search.tilings, costed + search.costed
        proved, cycles = proved + search.proved, cycles + len(names) * search.cycles
        total += len(names) * search.cost
    print(f"{len(layers)} different layers, {proved} proved best; {tilings:,} tilings, {costed:,} costed; all layers, "
          f"each alone: {cycles:,} cycles, {options.objective} {total:.6g}; "
          f"{time.process_time() - begin:.2f} s of CPU")  # fmt: skip
    cold, cached = cold_and_cached(list(layers), options.config)
    print(f"cache empty: {cold.search_s:.2f} s of CPU, {cold.process_s:.1f} s with imports; filled: "
          f"{cached.search_s:.4f} s, {cached.process_s:.1f} s with imports")  # fmt: skip


if __name__ == "__main__":
    main()
