"""Bound what mappings with one slot instead of two could gain, for every operand of every layer of a network.

    python benchmarks/single_buffers.py [MODEL:CONFIG:SPARSITY ...]

The search gives every operand two slots, so that it is loaded or stored while the other slot is in use. A mapping with
single slots in a buffer could have two of each in one of twice the size, and would be no slower there. So the best
mapping with twice the room for activations, weights and indices is at least as good as any with single slots in the
room there is. Costs are those of every layer alone, by the analytic model.
"""

import argparse

from gossamer.arch.config import load_config, require_hardware
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvShape, Objective
from gossamer.mapper.mapping_bound import ACTIVATION, INDEX_ROWS, LOADED, WEIGHT_ROWS, WRITTEN
from gossamer.mapper.objective import prices
from gossamer.mapper.tiling import Chip, Space, branch_and_bound, chip_numbers
from gossamer.request import SimulationRequest
from gossamer.sim.analytic import LayerModel
from gossamer.simulation import compile_for

CASES = (
    "resnet50:kv260-edge:2:4", "resnet50:u280-sparse:2:4", "mobilenet-v2:kv260-edge:2:4", "ppocr-det:kv260-edge:2:4",
    "ppocr-cls:ecp5-tiny:dense", "digits-2x4:ecp5-tiny:keep",
)  # fmt: skip
DOUBLED = (ACTIVATION, LOADED, WRITTEN, WEIGHT_ROWS, INDEX_ROWS)


def costs(shape: ConvShape, spec: SparseAccelerator, objective: Objective) -> tuple[float, float]:
    """Return the cost of the best mapping of a layer, and of the best with twice the room."""
    chip, charged = chip_numbers(spec, held_bytes=shape.held_bytes), prices(objective, spec)
    roomy = Chip(tuple(2 * size if place in DOUBLED else size for place, size in enumerate(chip.numbers)))
    spaces = [Space(shape, each, charged) for each in (chip, roomy)]
    if not all(len(space.choices) for space in spaces):  # what LOAD and VECTOR write does not fit a half each
        return 0.0, 0.0
    best, least = (branch_and_bound(space, LayerModel(shape, spec), charged) for space in spaces)
    return best.cost, least.least


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Bound what single buffers could gain.")
    parser.add_argument("cases", nargs="*", default=CASES, metavar="MODEL:CONFIG:SPARSITY")
    print(f"{'network on config':<30}{'objective':>10}{'layers':>8}{'at most':>9}{'best layer':>12}")
    for case in parser.parse_args().cases:
        model, config, sparsity = case.split(":", 2)
        spec = require_hardware(load_config(config), config)
        request = SimulationRequest(model=model, config=config, sparsity=sparsity, shapes={})
        shapes = [each.mapping.shape for each in compile_for(request, spec, lambda _: None).compilation.mapped]
        for objective in (Objective.LATENCY, Objective.ENERGY, Objective.BYTES):
            found = {shape: costs(shape, spec, objective) for shape in set(shapes)}
            now, least = (sum(found[shape][at] for shape in shapes) for at in range(2))
            gains = [1 - less / cost for cost, less in found.values() if cost]
            print(f"{case:<30}{objective:>10}{len(shapes):>8}{-(1 - least / now):>9.2%}{-max(gains):>12.1%}")


if __name__ == "__main__":
    main()
