"""Compile a quantized Network to a Program: place tensors, emit layer by layer, derive tokens, encode."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from gossamer.arch.encoding import encode_columns
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import Objective
from gossamer.dataflow.network import Binary, Conv2d, ConvTranspose2d, Layer, MatMul, Network, Permute, Resize, View
from gossamer.dataflow.program import Program
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.addition import adds_on_array
from gossamer.mapper.codegen.mac_layers import emit_addition, emit_mac_layer, emit_scaling
from gossamer.mapper.codegen.members import Context, Pair
from gossamer.mapper.codegen.resized_addition import emit_resized_addition
from gossamer.mapper.codegen.scaling import scales_on_array
from gossamer.mapper.codegen.vector import emit_vector_layer
from gossamer.mapper.emit import PARAMETER_BYTES, Emitter, Mapped
from gossamer.mapper.grouping import find_turns, joins_that_fit, side_by_side
from gossamer.mapper.holding import NOTHING_HELD, Holding, hold_tensors
from gossamer.mapper.joining import join_layers, resized_additions
from gossamer.mapper.objective import program_cost, simulation_cost
from gossamer.mapper.placement import place_tensors
from gossamer.mapper.slicing import subnetwork
from gossamer.mapper.tokens import derive_accesses, derive_tokens, engine_numbers
from gossamer.sim.timing import simulate


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """A Program and what it was made of.

    `mapped`: the mappings of its layers on the array; a layer may have several parts. `joined`: names of layers that
    run in the tiles of another, and of that one. `partners`: names of layers that take turns, each with the other.
    `held`: places in the activation buffer of tensors that stay on chip.
    """

    program: Program
    mapped: tuple[Mapped, ...]
    joined: Mapping[str, str]
    partners: Mapping[str, str]
    held: Mapping[str, TensorPlace] = field(default_factory=dict)


def compile_network(
    network: Network, spec: SparseAccelerator, *, config_fingerprint: str, objective: Objective = Objective.LATENCY
) -> Program:
    """Return the Program of `compile_mapped`."""
    return compile_mapped(network, spec, config_fingerprint=config_fingerprint, objective=objective).program


def compile_mapped(
    network: Network, spec: SparseAccelerator, *, config_fingerprint: str, objective: Objective = Objective.LATENCY
) -> Compilation:
    """Return the Program of a quantized network on a config, every mapping the best for an objective.

    For several cores see `gossamer.mapper.cores`.

    Raises MappingError naming the layer if it has no legal tile on this config, or is not quantized.
    """
    if spec.cores > 1:
        from gossamer.mapper.cores import compile_cores  # which compiles for one core as well

        return compile_cores(network, spec, config_fingerprint=config_fingerprint, objective=objective)
    network, choices, pairs, holding = schedule(network, spec, objective)
    return _compile(network, choices, pairs, holding, spec, config_fingerprint, objective)


def schedule(
    network: Network, spec: SparseAccelerator, objective: Objective
) -> tuple[Network, "Choices", Sequence[Pair], Holding]:  # fmt: skip
    """Return the network in the order its layers run in, what `choose` does, which layers take turns, and the tensors
    that stay on chip beside them.

    Turns and tensors on chip want the same bytes. Compiled and simulated are no turns, all that are worth it, and those
    that save more than the tensors on chip they stand in the way of.
    """
    network, choices = choose(network, spec, objective)
    if objective is Objective.BYTES:  # shares of the buffers move more
        return network, choices, (), hold(network, choices, (), spec, objective)
    joins = choices.joins

    def program(layers: Sequence[Layer], pairs: Sequence[Pair]) -> Program:
        names = {layer.output for layer in layers}
        names |= {joins[name].output for name in names if name in joins}
        part = subnetwork(network, [layer for layer in network.layers if layer.output in names])
        return _compile(part, choices, pairs, NOTHING_HELD, spec, "", Objective.LATENCY).program

    turns = find_turns(network, joins, spec, program)
    holding, spans = _worthwhile(network, choices, hold_tensors(network, joins, spec, objective), spec, objective)
    found: list[tuple[Network, Choices, Sequence[Pair], Holding]] = [(network, choices, (), holding)]
    for pairs in (turns.beside(spans), turns.best()):
        if pairs and all(pairs != other for _, _, other, _ in found):
            order = side_by_side(network, joins, pairs)
            found.append((order, choices, pairs, hold(order, choices, pairs, spec, objective)))
    if len(found) == 1:
        return found[0]
    costs = [
        program_cost(_compile(order, choices, pairs, held, spec, "", objective).program, spec, objective)
        for order, _, pairs, held in found
    ]
    return found[costs.index(min(costs))]


def hold(
    network: Network, choices: "Choices", pairs: Sequence[Pair], spec: SparseAccelerator, objective: Objective
) -> Holding:  # fmt: skip
    """Return the tensors that stay on chip while no layers take turns."""
    apart = {layer.output for pair in pairs for layer in pair}
    holding = hold_tensors(network, choices.joins, spec, objective, apart)
    return _worthwhile(network, choices, holding, spec, objective)[0]


def _worthwhile(
    network: Network, choices: "Choices", holding: Holding, spec: SparseAccelerator, objective: Objective
) -> tuple[Holding, list[tuple[list[str], int]]]:  # fmt: skip
    """Return what stays on chip without the parts of the network that cost more so, measured one by one; and of the
    other parts the outputs of their layers and the cycles they save."""
    saved = []
    for outputs in holding.spans():
        joined = {choices.joins[name].output for name in outputs if name in choices.joins}
        part = subnetwork(network, [layer for layer in network.layers if layer.output in {*outputs, *joined}])
        stored, kept = (
            simulate(_compile(part, choices, (), each, spec, "", objective).program, spec)
            for each in (NOTHING_HELD, holding.of(part))
        )
        if simulation_cost(kept, objective) > simulation_cost(stored, objective):
            holding = holding.without(outputs)
        else:
            saved.append((outputs, stored.total_cycles - kept.total_cycles))
    return holding, saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """How layers are run that can be run in more than one way.

    `joins`: readers that run in the tiles of the layer before them, by its output. `scalings`, `additions`: elementwise
    layers on the array, by their outputs.
    """

    joins: Mapping[str, Binary]
    scalings: Collection[str]
    additions: Collection[str]


def choose(
    network: Network, spec: SparseAccelerator, objective: Objective = Objective.LATENCY
) -> tuple[Network, Choices]:
    """Return how layers are run that can be run in more than one way, and the network in an order that allows it."""
    scalings = {layer.output for layer in network.layers if scales_on_array(network, layer, spec)}
    resizes = {
        name
        for name, layer in resized_additions(network).items()
        if _adds_resized(network, name, layer, scalings, spec, objective)
    }
    return _choose(network, scalings, resizes, spec, objective)


def _choose(
    network: Network, scalings: Collection[str], resizes: Collection[str], spec: SparseAccelerator, objective: Objective
) -> tuple[Network, Choices]:  # fmt: skip
    """Return what `choose` does, given the products on the array and what runs with the addition that reads it."""
    network, found = join_layers(network, scalings, resizes)
    joins = joins_that_fit(network, found, spec, objective)
    rest = [layer for layer in network.layers if not any(name in joins for name in layer.inputs)]
    additions = {layer.output for layer in rest if adds_on_array(network, layer, spec)}
    return network, Choices(joins=joins, scalings=scalings, additions=additions)


def _adds_resized(
    network: Network, resized: str, addition: Binary, scalings: Collection[str], spec: SparseAccelerator,
    objective: Objective,
) -> bool:  # fmt: skip
    """Return whether an addition in the tiles of a Resize is not worse than both apart, the former perhaps joined."""
    _, joins = join_layers(network, scalings)
    layers = [
        each
        for each in network.layers
        if each is addition or each.output == resized or joins.get(each.output) is addition
    ]
    part, costs = subnetwork(network, layers), []
    for resizes in ((), (resized,)):
        chosen, choices = _choose(part, scalings, resizes, spec, objective)
        try:
            program = _compile(chosen, choices, (), NOTHING_HELD, spec, "", objective).program
        except MappingError:
            return False
        costs.append(program_cost(program, spec, objective))
    return costs[1] <= costs[0]


def _compile(
    network: Network, choices: Choices, pairs: Sequence[Pair], holding: Holding, spec: SparseAccelerator,
    config_fingerprint: str, objective: Objective,
) -> Compilation:  # fmt: skip
    """Return the Program of a network of which all is chosen, the layers that take turns too."""
    emitter, joins = Emitter(spec, objective), choices.joins
    leads = {layer.output: pair[0].output for pair in pairs for layer in pair}
    places = place_tensors(network, emitter.memory, joins, leads, holding.places)
    emit_layers(emitter, network, choices, pairs, places, holding)
    emitter.end()
    program = assemble(emitter, network, places, config_fingerprint=config_fingerprint)
    joined, partners = names_together(network, choices, pairs)
    return Compilation(
        program=program, mapped=tuple(emitter.mapped), joined=joined, partners=partners, held=holding.places
    )  # fmt: skip


def names_together(
    network: Network, choices: Choices, pairs: Sequence[Pair]
) -> tuple[dict[str, str], dict[str, str]]:  # fmt: skip
    """Return `joined` and `partners` of a Compilation."""
    names = {layer.output: layer.name for layer in network.layers}
    joined = {layer.name: names[output] for output, layer in choices.joins.items() if output in names}
    return joined, {one.name: other.name for pair in pairs for one, other in (pair, pair[::-1])}


def emit_layers(
    emitter: Emitter, network: Network, choices: Choices, pairs: Sequence[Pair], places: Mapping[str, TensorPlace],
    holding: Holding = NOTHING_HELD,
) -> None:  # fmt: skip
    """Emit all layers of a network of which all is chosen."""
    joins = choices.joins
    starts = {pair[0].output: pair for pair in pairs}
    leads = {layer.output for pair in pairs for layer in pair}

    def alone(emitter: Emitter, layer: Layer) -> None:
        match layer:
            case Conv2d():
                joined = joins.get(layer.output)
                padding = holding.padding_loads((joined or layer).output)
                emit_mac_layer(emitter, network, layer, places, joined, padding)
            case Resize() if layer.output in joins:
                emit_resized_addition(emitter, network, layer, joins[layer.output], places)
            case Binary() if any(name in joins for name in layer.inputs):
                pass  # emitted with the layer before it
            case Binary() if layer.output in choices.additions:
                emit_addition(emitter, network, layer, places)
            case Binary() if layer.output in choices.scalings:
                emit_scaling(emitter, network, layer, places, joins.get(layer.output))
            case ConvTranspose2d() | MatMul():
                emit_mac_layer(emitter, network, layer, places)
            case View():
                _emit_view(emitter, network, layer, places)
            case _:
                emit_vector_layer(emitter, network, layer, places)

    context = Context(
        emitter=emitter, network=network, places=places, joins=joins, additions=choices.additions,
        scalings=choices.scalings, alone=alone
    )  # fmt: skip
    for layer in network.layers:
        emitter.activation.hold(holding.taken_bytes.get(layer.output, 0))
        if layer.output not in leads:
            alone(emitter, layer)
        elif layer.output in starts:
            context.emit_pair(starts[layer.output])


def _emit_view(emitter: Emitter, network: Network, layer: View, places: Mapping[str, TensorPlace]) -> None:
    """Emit nothing for a View whose tensors share their bytes, else the copy that makes it one."""
    source, target = places[layer.inputs[0]], places[layer.output]
    if source.is_contiguous and target.is_contiguous and source.address == target.address:
        return
    shape = network.tensors[layer.inputs[0]].shape
    copy = Permute(
        name=layer.name, inputs=layer.inputs, output=layer.output, op=layer.op, view=shape, order=(0, 1, 2, 3)
    )
    emit_vector_layer(emitter, network, copy, places)


def assemble(emitter: Emitter, network: Network, places: dict[str, TensorPlace], *, config_fingerprint: str) -> Program:
    """Return the Program of everything emitted: tokens derived, off-chip addresses final, words encoded."""
    spec, opcodes, columns = emitter.spec, emitter.opcodes(), emitter.columns()
    accesses = derive_accesses(opcodes, columns, spec)
    wait, release = derive_tokens(engine_numbers(opcodes), accesses)
    layout = emitter.memory.layout(len(emitter))
    del columns[PARAMETER_BYTES]
    if "dram" in columns:
        moves = (opcodes == Opcode.LOAD) | (opcodes == Opcode.STORE)
        columns["dram"] = np.where(moves, layout.relocate(columns["dram"]), 0)
    instructions = encode_columns(opcodes, {**columns, "wait": wait, "release": release})
    ends = {*network.inputs, *network.outputs}
    return Program(
        name=network.name,
        config_name=spec.name,
        config_fingerprint=config_fingerprint,
        instructions=instructions,
        image=emitter.memory.image(),
        regions=layout.regions,
        inputs=tuple(layout.binding(places[name]) for name in network.inputs),
        outputs=tuple(layout.binding(places[name]) for name in network.outputs),
        intermediates=tuple(
            layout.binding(place)
            for name, place in places.items()
            if name not in ends and place.is_contiguous and not place.on_chip
        ),
        layers=tuple(emitter.layers),
        layer_of=emitter.layer_of(),
    )
