"""Search the mappings of ResNet-18, dense, with zigzag-dse's LOMA and with ours: CPU time, and what is found.

Install zigzag-dse in an environment of its own, then point this script at it:

    python3.11 -m venv zigzag-venv
    zigzag-venv/bin/pip install zigzag-dse==3.9.1 six  # six is a dependency it does not name
    python benchmarks/zigzag_comparison.py --zigzag-python zigzag-venv/bin/python [--config kv260-edge]

Both see the same layers on equivalent hardware (`gossamer.exports.zigzag` says what that means), one layer after the
other, in a process of their own. Latency and energy are zigzag's, of LOMA's best mapping and of ours, whose tiles are
in the memories that hold them. Our chosen mapping may have tiles that do not divide the layer, which zigzag's loops
cannot say: then it is the fastest, by our model, of those that they can, marked *. The last columns are cycles by our
model: of our choice, of that mapping, and of the tiles that LOMA chose (`zigzag_import.py`): + if our buffers do not
hold two of each, - if partial sums leave the accumulator.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from resnet18_layers import resnet18_shapes
from search_time import SearchTime, cold_and_cached, searched_space
from zigzag_import import fits, mapping_of

from gossamer.arch.config import load_config, require_hardware
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvMapping, ConvShape, Objective
from gossamer.exports.zigzag import Levels, NotExpressible, accelerator, layer, levels, mapping_entry
from gossamer.mapper.objective import prices
from gossamer.mapper.tiling import Search
from gossamer.sim.analytic import LayerModel

DRIVER = """
import json, logging, os, sys, time
from zigzag.api import get_hardware_performance_zigzag
from zigzag.datatypes import LayerDim, LayerOperand
from zigzag.mapping.temporal_mapping import TemporalMapping
from zigzag.stages.mapping import temporal_mapping_generator_stage as stage
logging.disable(logging.CRITICAL)
class Given:
    def __init__(self, accelerator, layer, spatial_mapping, ordering, mapping_type):
        self.layer, self.mapping_type = layer, mapping_type
    def run(self):
        levels = {LayerOperand(operand): [[(LayerDim(name), size) for name, size in loops] for loops in memories]
                  for operand, memories in job["levels"].items()}
        return TemporalMapping(levels, self.layer, self.mapping_type)
folder, objective, factors = sys.argv[1], sys.argv[2], int(sys.argv[3])
for job in json.load(open(os.path.join(folder, "jobs.json"))):
    if job["levels"]:
        stage.MemoryAllocator = Given  # for a mapping file with a complete order: do not allocate, take what is given
    start = time.process_time()
    energy, latency, found = get_hardware_performance_zigzag(
        [job["layer"]], os.path.join(folder, "accelerator.yaml"), os.path.join(folder, job["mapping"]),
        opt=objective, lpf_limit=factors, dump_folder=os.path.join(folder, "dump"), loma_show_progress_bar=False)
    seconds = time.process_time() - start
    loops = found[0][1][0][0].temporal_mapping.mapping_dic_origin.items()
    levels = {str(operand): [[(str(name), size) for name, size in level] for level in all] for operand, all in loops}
    print("RESULT", json.dumps([seconds, latency, energy, levels]), flush=True)
print("TOTAL", time.process_time())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZigzagResult:
    """zigzag's answer for one layer. `cpu_s`: of its search or evaluation. `levels`: loops by operand and memory."""

    cpu_s: float
    latency_cycles: float
    energy_pj: float
    levels: Levels


def run_zigzag(
    python: str, spec: SparseAccelerator, shapes: dict[str, ConvShape], objective: str, factors: int,
    given: list[Levels] | None = None, *, order_only: bool = False,
) -> tuple[list[ZigzagResult], float]:  # fmt: skip
    """Return the results of layers, searched or with the loops given, and the CPU seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "accelerator.yaml").write_text(yaml.safe_dump(accelerator(spec), sort_keys=False))
        listed = []
        for number, (name, shape) in enumerate(shapes.items()):
            loops = given[number] if given else None
            mapping = mapping_entry(shape, spec, loops and in_order(loops))
            (work / f"{number}.yaml").write_text(yaml.safe_dump(mapping))
            listed.append(
                {"layer": layer(name, shape), "mapping": f"{number}.yaml", "levels": None if order_only else loops}
            )
        (work / "jobs.json").write_text(json.dumps(listed))
        process = subprocess.run(
            [python, "-c", DRIVER, folder, objective, str(factors)], cwd=work, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    lines = process.stdout.splitlines()
    found = [ZigzagResult(**dict(zip(ZigzagResult.__slots__, json.loads(line[7:]), strict=True)))
             for line in lines if line.startswith("RESULT ")]  # fmt: skip
    if process.returncode or len(found) != len(shapes):
        sys.exit(f"zigzag-dse failed after {len(found)} of {len(shapes)} layers:\n{process.stderr[-2000:]}")
    return found, float(lines[-1].removeprefix("TOTAL "))


def in_order(loops: Levels) -> list[tuple[str, int]]:
    """Return all loops, innermost first."""
    return [(name, size) for memory in loops["W"] for name, size in memory]


def expressible(search: Search, spec: SparseAccelerator, objective: Objective) -> tuple[ConvMapping, int]:
    """Return the best mapping, by our model, that zigzag's loops can say, and its cycles."""
    shape, charged = search.mapping.shape, prices(objective, spec)
    space, model = searched_space(shape, spec, objective), LayerModel(shape, spec)
    best, least, cycles = None, np.inf, 0
    for number in range(len(space.choices)):
        if space.bound[number] >= least:
            break
        mapping = space.mapping(number)
        try:
            levels(mapping, spec)
        except NotExpressible:
            continue
        cost = charged.cost(model, mapping, space.counts[number])
        if cost.value < least:
            best, least, cycles = mapping, cost.value, cost.cycles
    if best is None:
        sys.exit("no mapping of a layer can be said with zigzag's loops")
    return best, int(cycles)


def why_not(mapping: ConvMapping, spec: SparseAccelerator) -> str | None:
    """Return why zigzag's loops cannot say a mapping, None if they can."""
    try:
        levels(mapping, spec)
    except NotExpressible as reason:
        return str(reason)
    return None


def loma_by_our_model(result: ZigzagResult, shape: ConvShape, spec: SparseAccelerator) -> tuple[int, str]:
    """Return the cycles of LOMA's tiles by our model, with a mark; 0 if partial sums leave the accumulator."""
    try:
        mapping = mapping_of(result.levels, shape, spec)
    except NotExpressible:
        return 0, "-"
    model = LayerModel(shape, spec)
    return model.run(model.jobs(mapping))[0], " " if fits(mapping, spec) else "+"


def print_layers(
    names: list[str], counts: dict[int, int], loma: list[ZigzagResult], ours: list[ZigzagResult], cold: SearchTime,
    said: list[tuple[ConvMapping, int]], reasons: list[str | None], back: list[tuple[int, str]],
) -> None:  # fmt: skip
    """Print one line for each different layer; `counts`: place of its first occurrence to how often it occurs."""
    print(
        f"{'':<15}{'CPU ms':>16}{'':>7}{'zigzag latency':>20}{'ours':>8}{'zigzag energy uJ':>18}{'ours':>8}"
        f"{'our cycles':>27}\n{'layer':<10}{'times':>5}{'LOMA':>8}{'ours':>8}{'ratio':>7}{'LOMA':>10}{'ours':>10}"
        f"{'/LOMA':>8}{'LOMA':>9}{'ours':>9}{'/LOMA':>8}{'chosen':>9}{'said':>9}{'LOMA':>9}"
    )
    for number, count in counts.items():
        theirs, mine, (_, cycles) = loma[number], ours[number], said[number]
        mine_ms = 1e3 * cold.layer_s[number]
        print(
            f"{names[number] + '*' * (reasons[number] is not None):<10}{count:>5}{1e3 * theirs.cpu_s:>8,.0f}"
            f"{mine_ms:>8.1f}{1e3 * theirs.cpu_s / mine_ms:>7,.0f}{theirs.latency_cycles:>10,.0f}"
            f"{mine.latency_cycles:>10,.0f}{mine.latency_cycles / theirs.latency_cycles:>8.3f}"
            f"{theirs.energy_pj / 1e6:>9,.1f}{mine.energy_pj / 1e6:>9,.1f}{mine.energy_pj / theirs.energy_pj:>8.3f}"
            f"{cold.found[number].cycles:>9,}{cycles:>9,}{back[number][0]:>9,}{back[number][1]}".rstrip()
        )


def occurrences(shapes: list[ConvShape]) -> dict[int, int]:
    """Return the place of the first of each different shape, and how many are like it."""
    return {shapes.index(shape): count for shape, count in Counter(shapes).items()}


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zigzag-python", required=True, help="the python of zigzag-dse's environment")
    parser.add_argument("--config", default="u280-sparse")
    parser.add_argument("--objective", choices=("latency", "energy", "EDP"), default="latency", help="of both")
    parser.add_argument("--factors", type=int, default=6, help="loop factors LOMA permutes; 6 is zigzag's own default")
    parser.add_argument("--order-only", action="store_true", help="zigzag allocates memory to our loops as to LOMA's")
    parser.add_argument("--quick", action="store_true", help="only the first three layers")
    options = parser.parse_args()
    spec = require_hardware(load_config(options.config), options.config)
    named = resnet18_shapes(spec)
    names = list(named)[: 3 if options.quick else None]
    shapes, layers = [named[name] for name in names], {name: named[name] for name in names}
    objective = Objective(options.objective.lower())
    cold, cached = cold_and_cached(shapes, options.config, objective)
    loma, loma_process_s = run_zigzag(options.zigzag_python, spec, layers, options.objective, options.factors)
    reasons = [why_not(search.mapping, spec) for search in cold.found]
    said = [expressible(search, spec, objective) for search in cold.found]
    given = [levels(mapping, spec) for mapping, _ in said]
    ours, _ = run_zigzag(
        options.zigzag_python, spec, layers, options.objective, options.factors, given, order_only=options.order_only
    )
    if [in_order(result.levels) for result in ours] != [in_order(loops) for loops in given]:
        sys.exit("zigzag-dse evaluated other loops than those of our mappings")
    print(f"ResNet-18, dense, on {options.config}; for {options.objective}, LOMA with {options.factors} loop factors")
    back = [loma_by_our_model(result, shape, spec) for result, shape in zip(loma, shapes, strict=True)]
    counts = occurrences(shapes)
    print_layers(names, counts, loma, ours, cold, said, reasons, back)
    for kind, chosen in (("all", range(len(names))), ("different", list(counts))):
        theirs_s, mine_s = sum(loma[at].cpu_s for at in chosen), sum(cold.layer_s[at] for at in chosen)
        totals = [
            [sum(getattr(results[at], field) for at in chosen) for results in (loma, ours)]
            for field in ("latency_cycles", "energy_pj")
        ]
        print(
            f"{len(chosen)} {kind} layers: search LOMA {theirs_s:.1f} s, ours {mine_s:.3f} s of CPU, less by "
            f"{theirs_s / mine_s:,.0f}x; zigzag's latency of ours / LOMA's {totals[0][1] / totals[0][0]:.3f}, energy "
            f"{totals[1][1] / totals[1][0]:.3f}"
        )
    print(f"cached: {cached.search_s:.4f} s; whole processes, imports included: LOMA {loma_process_s:.1f} s, ours "
          f"{cold.process_s:.1f} s, cached {cached.process_s:.1f} s")  # fmt: skip
    not_said = [f"{names[at]} ({reasons[at]})" for at in counts if reasons[at] is not None]
    print(f"* chosen mapping not expressible: {'; '.join(not_said) or 'none'}")


if __name__ == "__main__":
    main()
