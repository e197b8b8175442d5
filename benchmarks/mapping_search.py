"""Measure the search for mappings over ResNet-50: how large the spaces are, and what proving the best costs.

    python benchmarks/mapping_search.py [--sparsity 2:4] [--config kv260-edge]

Kernels are compiled before, and nothing comes from the cache on disk. Cycles are those of each layer alone.
"""

import argparse
import time

from gossamer.arch.config import load_config, require_hardware
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvMapping, ConvShape
from gossamer.mapper.codegen import mac_layers
from gossamer.mapper.tiling import Space, branch_and_bound, chip_numbers
from gossamer.request import SimulationRequest
from gossamer.sim.analytic import LayerModel
from gossamer.simulation import compile_for


def shapes_of(config: str, sparsity: str, spec: SparseAccelerator) -> dict[ConvShape, tuple[str, int]]:
    """Return the different layers on the array, the first of each by name, and how often it comes."""
    shapes: dict[ConvShape, tuple[str, int]] = {}
    choose = mac_layers.choose_mapping

    def remember(shape: ConvShape, spec: SparseAccelerator, who: str, **options: int) -> ConvMapping:
        name, count = shapes.get(shape, (who, 0))
        shapes[shape] = name, count + 1
        return choose(shape, spec, who, **options)

    mac_layers.choose_mapping = remember
    try:
        request = SimulationRequest(model="resnet50", config=config, sparsity=sparsity, shapes={})
        compile_for(request, spec, lambda _: None)
    finally:
        mac_layers.choose_mapping = choose
    return shapes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time the search for mappings over ResNet-50.")
    parser.add_argument("--config", default="u280-sparse")
    parser.add_argument("--sparsity", default="2:4")
    options = parser.parse_args()
    spec = require_hardware(load_config(options.config), options.config)
    shapes = shapes_of(options.config, options.sparsity, spec)
    tilings = costed = proved = cycles = 0
    print(f"{'layer':<14}{'times':>6}{'tilings':>9}{'legal':>8}{'costed':>8}{'cycles':>10}{'least':>10}{'ms':>7}")
    begin = time.process_time()
    for shape, (name, count) in shapes.items():
        start = time.process_time()
        space = Space(shape, chip_numbers(spec))
        search = branch_and_bound(space, LayerModel(shape, spec))
        spent = 1e3 * (time.process_time() - start)
        print(f"{name[:13]:<14}{count:>6}{search.tilings:>9,}{len(space.choices):>8,}{search.costed:>8,}"
              f"{search.cycles:>10,}{search.least:>10,}{spent:>7.0f}")  # fmt: skip
        tilings, costed = tilings + search.tilings, costed + search.costed
        proved, cycles = proved + (search.least == search.cycles), cycles + count * search.cycles
    print(f"{len(shapes)} different layers, {proved} proved best; {tilings:,} tilings, {costed:,} costed; all layers, "
          f"each alone: {cycles:,} cycles; {time.process_time() - begin:.2f} s of CPU")  # fmt: skip


if __name__ == "__main__":
    main()
