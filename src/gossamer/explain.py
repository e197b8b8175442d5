"""Explain one layer of a simulated network: its loops, what is reused where, bytes, roofs, how its mapping was found.

Cycles, traffic and busy engines are the simulator's, bytes at every level those its energy is charged for; mappings are
those the compiler emitted. Nothing here decides anything.
"""

import difflib
from collections import Counter
from math import prod

from gossamer.arch.errors import ModelError
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.core_report import memory_seconds
from gossamer.dataflow.mapping import Objective
from gossamer.dataflow.network import Conv2d, ConvTranspose2d, Layer, Network
from gossamer.explain_mapping import explain_part
from gossamer.explanation import Explanation, Level, Roof
from gossamer.render import quantity
from gossamer.request import Compiled, SimulationRequest
from gossamer.sim.layer_events import LayerEvents, layer_events
from gossamer.sim.results import Bound, CycleClass, LayerTiming, Simulation, TrafficKind

_LIMITS = {
    Bound.COMPUTE: "the array: its passes over the positions",
    Bound.VECTOR: "VECTOR: one element per lane and cycle, two cycles where it reads two operands (`vector.lanes`)",
    Bound.MEMORY: "LOAD and STORE: bytes off chip, and the latency of every transfer (`off_chip`, `axi`)",
    Bound.OVERHEAD: "overhead: filling the array's pipeline, fetching and starting instructions",
}


def explain(request: SimulationRequest, compiled: Compiled, simulation: Simulation) -> Explanation:
    """Return what there is to say about the layer `request.explain`. Raises ModelError if there is none."""
    assert request.explain is not None
    network, joined = compiled.network, compiled.compilation.joined
    names = [record.name for record in compiled.program.layers]
    number = find_layer(request.explain, names, network.name)
    if names[number] in joined:  # explained with the convolution before it
        number = names.index(joined[names[number]])
    follower = next((name for name, before in joined.items() if before == names[number]), None)
    numbers = (number,) if follower is None else (number, names.index(follower))
    timings = [simulation.layers[each] for each in numbers]
    layers = {layer.name: layer for layer in network.layers}
    main = layers[names[number]]
    chosen = Counter(part for part in compiled.compilation.mapped if part.layer == number)
    partner = compiled.compilation.partners.get(names[number])
    objective = Objective(request.objective)
    streamed = not isinstance(main, Conv2d | ConvTranspose2d)
    channels = ceil_div(network.tensors[main.output].shape[3], compiled.spec.array.group_size)
    parts = tuple(
        explain_part(
            part, count, compiled.spec, objective, streamed=streamed,
            columns=ceil_div(part.mapping.shape.out_channels, channels * compiled.spec.array.group_size),
        )
        for part, count in chosen.items()
    )  # fmt: skip
    events = layer_events(compiled.program, compiled.spec, numbers)
    cycles = sum(timing.cycles for timing in timings)
    alone = parts[0].cycles if sum(chosen.values()) == 1 and not streamed and partner is None else None
    roofs = _roofs(network, main, compiled.spec, timings, events, simulation)
    roof = max(each.cycles for each in roofs)
    limiting = max(timings, key=lambda timing: timing.cycles)
    held: dict[str, int] = {}
    for part in chosen:
        held.update({name: max(size, held.get(name, 0)) for name, size in part.held_bytes})
    return Explanation(
        layers=tuple(names[each] for each in numbers), numbers=tuple(each + 1 for each in numbers), op=main.op,
        what=_what(network, main, timings[0]), joined=follower, partner=partner, cycles=cycles, alone_cycles=alone,
        bound=str(limiting.bound), limit=_limit(limiting, events), roofs=roofs, roofline_cycles=roof,
        above_roof=(cycles if alone is None else alone) / roof - 1 if roof else 0.0,
        busy_cycles={
            engine: sum(getattr(timing, f"{engine}_cycles") for timing in timings)
            for engine in ("load", "compute", "vector", "store")
        },
        class_cycles={str(name): sum(timing.classes[name] for timing in timings) for name in timings[0].classes},
        levels=_levels(compiled.spec, timings, events, held), off_chip_bytes=_off_chip(timings), parts=parts,
    )  # fmt: skip


def _limit(timing: LayerTiming, events: LayerEvents) -> str:
    """Return what limits a layer, in words."""
    if not events.activity.instructions:
        return "nothing: it has no instructions, its result is where its source is or its neighbours put it"
    if timing.bound is Bound.COMPUTE and timing.classes[CycleClass.EDGES] > timing.classes[CycleClass.COMPUTE]:
        return "the array, more by what it leaves unused (chains, stages, lanes, zero weights) than by work"
    return _LIMITS[timing.bound]


def find_layer(text: str, names: list[str], model: str) -> int:
    """Return the position of the layer of a name, or else of a number counted from 1. Raises ModelError."""
    if text in names:
        return names.index(text)
    if text.isdecimal() and 1 <= int(text) <= len(names):
        return int(text) - 1
    near = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the first names are {', '.join(names[:4])}"
    raise ModelError(
        f"--explain must be the name of a layer of {model} or its number, 1 to {len(names)}, not `{text}`; {hint}"
    )


def _tensor_bytes(network: Network, name: str, group_size: int) -> int:
    """Return the bytes of a tensor off chip."""
    *pixels, channels = network.tensors[name].shape
    return prod(pixels) * ceil_div(channels, group_size) * group_size


def _what(network: Network, layer: Layer, timing: LayerTiming) -> str:
    """Return the tensors of a layer, and its kernel."""
    shapes = ["x".join(map(str, network.tensors[name].shape)) for name in (*layer.inputs, layer.output)]
    text = f"{' and '.join(shapes[:-1])} -> {shapes[-1]}"
    kernel = getattr(layer, "weight", getattr(layer, "kernel", None))
    if kernel is not None:
        rows, columns = kernel if isinstance(kernel, tuple) else kernel.shape[1:3]
        text += f", {rows}x{columns}"
    stride = getattr(layer, "stride", (1, 1))
    if stride != (1, 1):
        text += f", {'upsampled' if isinstance(layer, ConvTranspose2d) else 'stride'} {stride[0]}x{stride[1]}"
    return text + (f", {timing.record.pattern}" if timing.record.macs else "")


def _roofs(
    network: Network, layer: Layer, spec: SparseAccelerator, timings: list[LayerTiming], events: LayerEvents,
    simulation: Simulation,
) -> tuple[Roof, ...]:  # fmt: skip
    """Return what each resource needs at least: effective MACs, every byte once, elements through VECTOR."""
    record, moved = timings[0].record, timings[0].traffic.read_bytes
    once = sum(_tensor_bytes(network, name, spec.array.group_size) for name in layer.inputs)
    read = sum(
        min(moved[kind], size)
        for kind, size in (
            (TrafficKind.WEIGHTS, record.weight_bytes), (TrafficKind.INDEX, record.index_bytes),
            (TrafficKind.ACTIVATIONS, once),
        )
    )  # fmt: skip
    read += sum(timing.traffic.read_bytes[TrafficKind.ACTIVATIONS] for timing in timings[1:])
    written = sum(timing.traffic.write_bytes for timing in timings)
    cycles = memory_seconds(spec, read, written) * spec.clock_mhz * 1e6
    peak = simulation.peak_macs_per_cycle
    return (
        Roof(
            name="compute", cycles=record.macs / peak,
            reason=f"{quantity(record.macs, 'MAC')} kept at {peak:,} MAC/cycle",
        ),
        Roof(
            name="memory", cycles=cycles,
            reason=f"{quantity(read, 'B')} read and {quantity(written, 'B')} written, every byte once",
        ),
        Roof(
            name="vector", cycles=float(events.streaming_cycles),
            reason=f"{quantity(events.activity.vector_operations, 'op')} on elements at {spec.vector.lanes} lanes",
        ),
    )  # fmt: skip


def _levels(
    spec: SparseAccelerator, timings: list[LayerTiming], events: LayerEvents, held: dict[str, int]
) -> tuple[Level, ...]:  # fmt: skip
    """Return off-chip memory and every buffer."""
    read = sum(sum(timing.traffic.read_bytes.values()) for timing in timings)
    written = sum(timing.traffic.write_bytes for timing in timings)
    buffers = (
        Level(
            name=name, capacity_bytes=getattr(spec.buffers, name).capacity_bytes, held_bytes=held.get(name),
            read_bytes=read_bytes, written_bytes=written_bytes,
        )
        for name, (read_bytes, written_bytes) in events.activity.buffer_bytes.items()
    )  # fmt: skip
    return (
        Level(name="off chip", capacity_bytes=None, held_bytes=None, read_bytes=read, written_bytes=written), *buffers,
    )  # fmt: skip


def _off_chip(timings: list[LayerTiming]) -> dict[str, int]:
    """Return off-chip bytes by what they are for."""
    kinds = {str(kind): sum(timing.traffic.read_bytes[kind] for timing in timings) for kind in TrafficKind}
    return {**kinds, "results": sum(timing.traffic.write_bytes for timing in timings)}
