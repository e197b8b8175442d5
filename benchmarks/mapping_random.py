"""Search the mappings of ResNet-50 at random for ten times as long as branch and bound took, with the same cost model.

    python benchmarks/mapping_random.py [--sparsity 2:4] [--config u280-sparse] [--config kv260-edge] [--seed 1]

Every different layer: so many legal tilings of the same space, drawn without return, are costed exactly; a space that
has fewer is costed whole. Branch and bound proves its answer the best of the space, so nothing drawn may be faster:
exit status 1 if something is.
"""

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from analytic_speed import resnet_mappings
from search_time import searched_space

from gossamer.arch.config import load_config, require_hardware
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvShape
from gossamer.mapper.tiling import Search, branch_and_bound
from gossamer.sim.analytic import LayerModel

TIMES = 10
"""Tilings drawn for each one that branch and bound costed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both searches of one layer. `legal`: tilings of the space that fit; `drawn` of them, the best takes `cycles`."""

    search: Search
    legal: int
    drawn: int
    cycles: int


def compare(shape: ConvShape, spec: SparseAccelerator, seed: int) -> Comparison:
    """Return what branch and bound finds, and what `TIMES` as many draws find."""
    space, model = searched_space(shape, spec), LayerModel(shape, spec)
    search = branch_and_bound(space, model)
    legal = len(space.choices)
    numbers = np.random.default_rng(seed).permutation(legal)[: TIMES * search.costed]
    cycles = min(model.run(model.jobs(space.mapping(int(number))))[0] for number in numbers)
    return Comparison(search=search, legal=legal, drawn=len(numbers), cycles=cycles)


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", action="append", help="default: u280-sparse and kv260-edge")
    parser.add_argument("--sparsity", default="2:4")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    better = 0
    for config in options.config or ["u280-sparse", "kv260-edge"]:
        spec = require_hardware(load_config(config), config)
        layers: dict[ConvShape, str] = {}
        for name, mapping in resnet_mappings(config, spec, options.sparsity).items():
            layers.setdefault(mapping.shape, name)
        print(f"ResNet-50 at {options.sparsity} on {config}, {len(layers)} different layers, seed {options.seed}")
        print(f"{'layer':<14}{'legal':>8}{'costed':>8}{'drawn':>8}{'cycles':>10}{'random':>10}{'worse by':>10}")
        found = []
        for shape, name in layers.items():
            each = compare(shape, spec, options.seed)
            found.append(each)
            worse = 100 * (each.cycles / each.search.cycles - 1)
            print(f"{name[:13]:<14}{each.legal:>8,}{each.search.costed:>8,}{each.drawn:>8,}{each.search.cycles:>10,}"
                  f"{each.cycles:>10,}{worse:>8.2f} %", flush=True)  # fmt: skip
        ratios = [each.cycles / each.search.cycles for each in found]
        better += sum(ratio < 1 for ratio in ratios)
        print(
            f"costed {sum(each.search.costed for each in found):,}, drawn {sum(each.drawn for each in found):,} of "
            f"{sum(each.legal for each in found):,}: random is faster in {sum(ratio < 1 for ratio in ratios)}, as fast "
            f"in {sum(ratio == 1 for ratio in ratios)}, slower in {sum(ratio > 1 for ratio in ratios)} layers, by "
            f"{100 * (np.mean(ratios) - 1):.2f} % on average, {100 * (max(ratios) - 1):.2f} % at most"
        )
    sys.exit(1 if better else 0)


if __name__ == "__main__":
    main()
