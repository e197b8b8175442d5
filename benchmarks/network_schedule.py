"""Compare the schedule of whole networks with their layers one by one, on the timing simulator.

    python benchmarks/network_schedule.py [MODEL:CONFIG:SPARSITY ...]

Layer by layer: every layer is compiled and simulated as a network of its own, from its first LOAD to its last STORE,
and the cycles are added. Layers that only rename or place bytes (views, parts, concatenations) count nothing. Whole:
what `gossamer simulate` gives: layers overlap, additions and products run in the tiles of the layer before them, and
pairs of layers take turns. The mappings are searched in both.
"""

import argparse

from rich.console import Console
from rich.progress import track

from gossamer.arch.config import fingerprint, load_config
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.network import Concat, Slice, View
from gossamer.dataflow.program import Program
from gossamer.mapper.compile import compile_network
from gossamer.mapper.slicing import slice_layers
from gossamer.request import SimulationRequest
from gossamer.sim.timing import run_program
from gossamer.simulation import compile_for

CASES = tuple(
    f"{model}:kv260-edge:{sparsity}"
    for model in ("resnet50", "mobilenet-v2", "shufflenet", "ppocr-det")
    for sparsity in ("2:4", "dense")
)


def cycles_of(program: Program, spec: SparseAccelerator) -> int:
    """Return the cycles of a Program."""
    return run_program(program, spec).total_cycles


def compare(case: str, console: Console) -> tuple[int, int]:
    """Return the cycles layer by layer and of the whole network."""
    model, config, sparsity = case.split(":", 2)
    spec = load_config(config)
    assert isinstance(spec, SparseAccelerator)
    request = SimulationRequest(model=model, config=config, sparsity=sparsity, shapes={})
    compiled = compile_for(request, spec, lambda _: None)
    network, alone = compiled.network, 0
    layers = [layer for layer in network.layers if not isinstance(layer, View | Slice | Concat)]
    for layer in track(layers, description=case, console=console, transient=True):
        program = compile_network(slice_layers(network, layer.name), spec, config_fingerprint=fingerprint(spec))
        alone += cycles_of(program, spec)
    return alone, cycles_of(compiled.program, spec)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare whole networks with their layers one by one.")
    parser.add_argument("cases", nargs="*", default=CASES, help="MODEL:CONFIG:SPARSITY")
    console = Console(stderr=True)
    print(f"{'network on config':34} {'layer by layer':>15} {'whole':>12} {'change':>8}")
    for case in parser.parse_args().cases:
        alone, whole = compare(case, console)
        print(f"{case:34} {alone:15,} {whole:12,} {100 * (whole / alone - 1):+7.1f}%", flush=True)


if __name__ == "__main__":
    main()
