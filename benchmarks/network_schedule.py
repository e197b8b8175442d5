"""Compare the schedule of whole networks with their layers one by one, on the timing simulator, and with a bound.

    python benchmarks/network_schedule.py [MODEL:CONFIG:SPARSITY ...]

Layer by layer: every layer is compiled and simulated as a network of its own, from its first LOAD to its last STORE,
and the cycles are added. Layers that only rename or place bytes (views, parts, concatenations) count nothing. Whole:
what `gossamer simulate` gives: layers overlap, tensors stay on chip, additions and products run in the tiles of the
layer before them, and pairs of layers take turns. The mappings are searched in both.

Bound: what no order of the whole Program's instructions takes less than. COMPUTE and VECTOR each run theirs one after
another; and where all layers either come before a global average or a product of activations or read its result, what
is behind it cannot begin before what is in front of it has ended (weights aside), so that the busier of the two counts
on either side.
"""

import argparse

import networkx as nx
from rich.console import Console
from rich.progress import track

from gossamer.arch.config import fingerprint, load_config
from gossamer.arch.isa import Engine
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.network import Concat, Layer, MatMul, Network, Pool2d, Slice, View
from gossamer.dataflow.program import Program
from gossamer.mapper.compile import compile_network
from gossamer.mapper.slicing import slice_layers
from gossamer.request import SimulationRequest
from gossamer.sim.results import Simulation
from gossamer.sim.timing import run_program, simulate
from gossamer.simulation import compile_for

MODELS = ("resnet50", "mobilenet-v2", "shufflenet", "ppocr-det", "ppocr-rec", "ppocr-cls")
CASES = (*(f"{model}:kv260-edge:{sparsity}" for model in MODELS for sparsity in ("2:4", "dense")),
         "digits-2x4:ecp5-tiny:keep")  # fmt: skip


def cycles_of(program: Program, spec: SparseAccelerator) -> int:
    """Return the cycles of a Program."""
    return run_program(program, spec).total_cycles


def reads_everything(network: Network, layer: Layer) -> bool:
    """Return whether every element of a layer's result depends on every pixel of an input."""
    if isinstance(layer, Pool2d):
        return network.tensors[layer.output].shape[1:3] == (1, 1)
    return isinstance(layer, MatMul)


def bound(network: Network, simulation: Simulation) -> int:
    """Return what no order of the instructions takes less than."""
    graph = nx.DiGraph((name, layer.output) for layer in network.layers for name in layer.inputs)
    made = [layer.output for layer in network.layers]
    stages = dict.fromkeys(made, 0)
    for layer in network.layers:
        behind = nx.descendants(graph, layer.output)
        before = nx.ancestors(graph, layer.output) | {layer.output}
        if reads_everything(network, layer) and set(made) <= behind | before:
            for name in behind:
                stages[name] += 1
    outputs = {layer.name: layer.output for layer in network.layers}
    busy: dict[int, list[int]] = {}
    for timing in simulation.layers:
        both = busy.setdefault(stages[outputs[timing.record.name]], [0, 0])
        both[0], both[1] = both[0] + timing.compute_cycles, both[1] + timing.vector_cycles
    moving = max(simulation.engines[engine].busy for engine in (Engine.LOAD, Engine.STORE))
    return max(moving, sum(max(both) for both in busy.values()))


def compare(case: str, console: Console) -> tuple[int, Simulation, Network]:
    """Return the cycles layer by layer, and the whole network simulated."""
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
    return alone, simulate(compiled.program, spec), network


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare whole networks with their layers one by one.")
    parser.add_argument("cases", nargs="*", default=CASES, help="MODEL:CONFIG:SPARSITY")
    console = Console(stderr=True)
    print(f"{'network on config':30} {'layer by layer':>14} {'whole':>10} {'change':>7} {'bound':>10} {'':>7} off chip")
    for case in parser.parse_args().cases:
        alone, simulation, network = compare(case, console)
        least, whole = bound(network, simulation), simulation.total_cycles
        print(
            f"{case:30} {alone:14,} {whole:10,} {100 * (whole / alone - 1):+6.1f}% {least:10,} "
            f"{100 * (least / alone - 1):+6.1f}% {simulation.traffic.total_bytes / 1e6:5.1f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
