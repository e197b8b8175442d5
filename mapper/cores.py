"""Compile a network for several cores: whole images for each, or every layer cut over them, whichever is better.

Cores have equal shares of off-chip memory (`gossamer.arch.cores`) and one memory map with one constant image. Between
two stages all of them wait for each other (BARRIER). Several Programs are made and simulated, and the best is kept:

    images  every core runs the whole network on its own images; no barrier. If cores have not equally many, also with
            equally many for each, and the rest by layers
    layers  every layer is cut the way in which its slowest part is fastest (`gossamer.mapper.splitting`), or runs on
            the first core; a barrier before a layer that touches what another core did since the last one. Once with
            every way, once by positions alone: layers cut alike need fewer barriers
    one     the first core does everything, as it would alone
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import gcd

from gossamer.arch.cores import core_spec
from gossamer.arch.errors import MappingError
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import BARRIER_CYCLES
from gossamer.dataflow.mapping import Objective
from gossamer.dataflow.network import Concat, Conv2d, Layer, Network, Permute, Slice
from gossamer.dataflow.program import Way
from gossamer.mapper.allocate import OffChip, TensorPlace
from gossamer.mapper.codegen.mac_layers import convolution_of
from gossamer.mapper.codegen.members import Pair
from gossamer.mapper.codegen.wide_pixels import best_width
from gossamer.mapper.compile import (
    Choices,
    Compilation,
    assemble,
    choose,
    emit_layers,
    hold,
    names_together,
    schedule,
)
from gossamer.mapper.emit import Emitter
from gossamer.mapper.objective import program_cost
from gossamer.mapper.placement import place_images, place_tensors
from gossamer.mapper.splitting import Part, spans, split_layers
from gossamer.mapper.stages import Piece, Work, assemble_cores
from gossamer.sim.timing import run_program

WAYS = ((Way.WHOLE, Way.IMAGES, Way.POSITIONS, Way.CHANNELS), (Way.WHOLE, Way.POSITIONS))
"""What layers are cut by, in each of the Programs by layers."""


def compile_cores(
    network: Network, spec: SparseAccelerator, *, config_fingerprint: str, objective: Objective
) -> Compilation:
    """Return the best Program of a quantized network on several cores. Raises MappingError as for one."""
    found = candidates(network, core_spec(spec), spec.cores, objective)
    best = min(found, key=lambda each: program_cost(each.program, spec, objective))
    return replace(best, program=replace(best.program, config_fingerprint=config_fingerprint))


def candidates(network: Network, core: SparseAccelerator, cores: int, objective: Objective) -> list[Compilation]:
    """Return every Program that is tried, without the fingerprint of a config."""
    found = [
        _on_one(network, core, cores, objective),
        *(_by_layers(network, core, cores, objective, ways) for ways in WAYS),
        *(_by_images(network, core, cores, objective, rest) for rest in (False, True)),
    ]
    return [each for each in found if each is not None]


def _on_one(network: Network, core: SparseAccelerator, cores: int, objective: Objective) -> Compilation:
    """Return the Program in which only the first core works."""
    network, choices, pairs, holding = schedule(network, core, objective)
    leads = {layer.output: pair[0].output for pair in pairs for layer in pair}
    memory = OffChip(core.array.group_size)
    places = place_tensors(network, memory, choices.joins, leads, holding.places)
    work = Work(core, objective, memory, cores)
    emit_layers(work.emitters[0], network, choices, pairs, places, holding)
    work.note([Piece(0, Way.WHOLE)])
    return _compilation(work, network, network, choices, pairs, places, places)


def _by_images(
    network: Network, core: SparseAccelerator, cores: int, objective: Objective, rest: bool
) -> Compilation | None:  # fmt: skip
    """Return the Program in which every core runs the network on its own images, None if there are too few.

    `rest`: all on equally many, and what is left of the images by layers; None if nothing is left.
    """
    images = gcd(*(tensor.shape[0] for tensor in network.tensors.values()))
    each = images // cores
    if not each or (rest and images % cores == 0) or any(_mixes_images(layer, images) for layer in network.layers):
        return None
    cuts = spans(images, cores) or []
    if rest:
        cuts = [*(spans(each * cores, cores) or []), (each * cores, images)]
    subs = {count: _with_images(network, count, images) for count in {stop - first for first, stop in cuts}}
    most, choices, pairs, holding = schedule(subs[max(subs)], core, objective)
    order = [layer.output for layer in most.layers]
    holdings = {
        count: holding if count == max(subs) else hold(_ordered(part, order), choices, pairs, core, objective)
        for count, part in subs.items()
    }
    memory = OffChip(core.array.group_size)
    leads = {layer.output: pair[0].output for pair in pairs for layer in pair}
    everywhere = set.intersection(*(set(each.tensors) for each in holdings.values())) if not rest else set()
    whole, own = place_images(_ordered(network, order), memory, images, cuts, choices.joins, leads, everywhere)
    parts = [_ordered(subs[stop - first], order) for first, stop in cuts]
    work = Work(core, objective, memory, cores)
    for number, (first, stop) in enumerate(cuts[:cores]):
        held = holdings[stop - first]
        own[number] |= held.places
        emit_layers(work.emitters[number], parts[number], choices, pairs, own[number], held)
    work.note([Piece(number, Way.IMAGES) for number in range(cores)])
    if rest:
        _emit_by_layers(work, parts[-1], choices, own[-1], WAYS[0])
    every = {f"{name} of part {number}": place for number, each in enumerate(own) for name, place in each.items()}
    return _compilation(work, network, most, choices, pairs, whole, every)


def _mixes_images(layer: Layer, images: int) -> bool:
    return (isinstance(layer, Concat | Slice) and layer.axis == 0) or (
        isinstance(layer, Permute) and (layer.order[0] != 0 or layer.view[0] % images != 0)
    )


def _with_images(network: Network, count: int, images: int) -> Network:
    """Return a network of `images` images with `count` of them."""
    tensors = {
        name: replace(tensor, shape=(tensor.shape[0] // images * count, *tensor.shape[1:]))
        for name, tensor in network.tensors.items()
    }
    layers = tuple(
        replace(layer, view=(layer.view[0] // images * count, *layer.view[1:])) if isinstance(layer, Permute) else layer
        for layer in network.layers
    )
    return replace(network, tensors=tensors, layers=layers)


def _ordered(network: Network, outputs: Sequence[str]) -> Network:
    layers = {layer.output: layer for layer in network.layers}
    return replace(network, layers=tuple(layers[name] for name in outputs))


def _by_layers(
    network: Network, core: SparseAccelerator, cores: int, objective: Objective, among: Sequence[Way]
) -> Compilation:  # fmt: skip
    """Return the Program in which every layer is cut in the way among some that is best for it alone."""
    network, choices = choose(network, core, objective)
    memory = OffChip(core.array.group_size)
    places = place_tensors(network, memory, choices.joins)
    work = Work(core, objective, memory, cores)
    _emit_by_layers(work, network, choices, places, among)
    return _compilation(work, network, network, choices, (), places, places)


def _emit_by_layers(
    work: Work, network: Network, choices: Choices, places: Mapping[str, TensorPlace], among: Sequence[Way]
) -> None:  # fmt: skip
    """Emit every layer cut in the way among some that is best for it alone, each in a step of its own."""
    for layers in _units(network, choices):
        own = {name: places[name] for layer in layers for name in (*layer.inputs, layer.output) if name in places}
        ways = {way: split_layers(network, layers, own, way, work.core, work.cores) for way in among}
        costs = {
            way: max(_part_cost(part, choices, work) for part in parts) + (0 if way is Way.WHOLE else BARRIER_CYCLES)
            for way, parts in ways.items()
            if parts is not None
        }
        way = best_way(costs)
        for number, part in enumerate(ways[way] or ()):
            emit_layers(work.emitters[number], part.network, choices, (), part.places)
        work.note([Piece(number, way) for number in range(len(ways[way] or ()))])


def best_way(costs: Mapping[Way, float]) -> Way:
    """Return the way that takes least; of equal ones the first."""
    return min(costs, key=lambda way: costs[way])


def _units(network: Network, choices: Choices) -> list[tuple[Layer, ...]]:
    """Return the layers in order, each with the one that is joined to it."""
    return [
        (layer, choices.joins[layer.output]) if layer.output in choices.joins else (layer,)
        for layer in network.layers
        if not any(name in choices.joins for name in layer.inputs)
    ]


def _part_cost(part: Part, choices: Choices, work: Work) -> float:
    """Return the cycles of a part alone; infinity if no tile of it fits."""
    core, objective = work.core, work.objective
    layer = part.network.layers[0]
    if isinstance(layer, Conv2d):
        found = best_width(
            convolution_of(layer, part.places, choices.joins.get(layer.output)), core, objective=objective
        )
        return float("inf") if found is None else found[1].cycles
    emitter = Emitter(core, objective)
    try:
        emit_layers(emitter, part.network, choices, (), part.places)
    except MappingError:
        return float("inf")
    emitter.end()
    return run_program(assemble(emitter, part.network, dict(part.places), config_fingerprint=""), core).total_cycles


def _compilation(
    work: Work, network: Network, chosen: Network, choices: Choices, pairs: Sequence[Pair],
    ends: Mapping[str, TensorPlace], places: Mapping[str, TensorPlace],
) -> Compilation:  # fmt: skip
    """Return what was emitted. `ends`: places of inputs and outputs; `places`: of everything else too."""
    program, mapped = assemble_cores(work, network, ends, places)
    joined, partners = names_together(network=chosen, choices=choices, pairs=pairs)
    return Compilation(program=program, mapped=mapped, joined=joined, partners=partners)
