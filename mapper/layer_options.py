"""List how each layer of a network can run, without code: shapes for the array, closed forms for VECTOR and DMA.

What sweeps cost designs with. The options are those `gossamer.mapper.compile` chooses from, but that layers do not take
turns (`gossamer.mapper.grouping`), that tensors which are parts of others cost no copy, and that an addition that can
be joined to a convolution is not tried with a Resize.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.config import fingerprint
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import INSTRUCTION_BYTES, TWO_SOURCES, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvShape
from gossamer.dataflow.network import (
    Binary,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Layer,
    LayerNorm,
    Lrn,
    MatMul,
    Network,
    Pool2d,
    PoolKind,
    Resize,
    Slice,
    Softmax,
    Unary,
    View,
)
from gossamer.dataflow.numerics import QuantParams
from gossamer.mapper.allocate import TensorPlace, dense_place, place_tensor
from gossamer.mapper.codegen.addition import addition_of
from gossamer.mapper.codegen.convolution_shape import conv_shape
from gossamer.mapper.codegen.mac_layers import convolution_of, joined_operand
from gossamer.mapper.codegen.pooling import pool_tiles
from gossamer.mapper.codegen.resized_addition import resized_tiles
from gossamer.mapper.codegen.scaling import negated, scaling_widths
from gossamer.mapper.codegen.summing import summed_cycles
from gossamer.mapper.codegen.tile_choice import TileCost, slotted_cycles
from gossamer.mapper.codegen.transposed import phase_lists
from gossamer.mapper.codegen.vector import StreamLayer, stream_opcode, stream_tiles, vector_params
from gossamer.mapper.codegen.wide_pixels import Convolution
from gossamer.mapper.compile import compile_network
from gossamer.mapper.holding import Holdable, holdable_tensors, units_of
from gossamer.mapper.joining import join_layers, resized_additions
from gossamer.mapper.mapping_counts import COUNTS, INSTRUCTIONS, OFF_CHIP, OPERATIONS, READ, WRITTEN
from gossamer.mapper.objective import counts_of
from gossamer.mapper.slicing import slice_layers
from gossamer.sim.timing import simulate

Alternative = tuple[ConvShape, int]
"""A shape for the array, and the bytes of the activation buffer that must stay free beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnArray:
    """Work for the array: `parts(spec)` run one after the other, each the best of its alternatives.

    Depends on the array, never on what a buffer holds.
    """

    parts: Callable[[SparseAccelerator], list[list[Alternative]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Work of LOAD, VECTOR and STORE: `cost(spec)`, None if no tile fits. `reads_all`: not only what it asks for."""

    cost: Callable[[SparseAccelerator], "MovedCost | None"]
    reads_all: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedCost:
    """Cycles and counts int64 [COUNTS] (`gossamer.mapper.mapping_counts`) of a layer that the array does not run."""

    cycles: float
    counts: NDArray[np.int64]


Work = OnArray | Moved


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerOptions:
    """Ways to run a layer, with what is joined to it: the works of each way run one after the other.

    `on_chip`: the ways to run it with some of the tensors in `held` on chip, by which of them are.
    """

    name: str
    options: tuple[tuple[Work, ...], ...]
    held: tuple["HeldTensor", ...] = ()
    on_chip: Mapping[frozenset[str], OnArray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTensor:
    """A tensor that can stay on chip. `alive`: the layers that run meanwhile, by their places in the list of all;
    `users`: those of them that make or read it; `sources`: tensors that the one that makes it reads.

    `needs`: its bytes, and the cycles that fill its padding, by the group size of the array and the bytes LOAD writes
    in a cycle.
    """

    name: str
    alive: range
    users: tuple[int, ...]
    sources: frozenset[str]
    needs: Callable[[int, int], tuple[int, int]]


def layer_options(network: Network) -> list[LayerOptions]:
    """Return the ways to run every layer of a quantized network, in its order. Layers without work are left out."""
    scalings = {layer.output for layer in network.layers if _is_scaling(network, layer)}
    _, joins = join_layers(network, scalings)
    resizes = [name for name, layer in resized_additions(network).items() if layer not in joins.values()]
    network, joins = join_layers(network, scalings, resizes)
    joined = {layer.output for layer in joins.values()}
    found: list[LayerOptions] = []
    holdable = {each.name: each for each in holdable_tensors(network, joins)}
    units, places = units_of(network, joins), {}
    for layer in network.layers:
        if layer.output in joined or isinstance(layer, View | Slice | Concat):
            continue
        reader = joins.get(layer.output)
        ways = [*_alone(network, layer)]
        if reader is not None:
            apart = [(*way, *rest) for way in ways for rest in _alone(network, reader)]
            ways = [(_together(network, layer, reader),), *apart]
        places[layer.output] = len(found)
        names = {*layer.inputs, *(reader.inputs if reader else ()), (reader or layer).output} & set(holdable)
        found.append(
            LayerOptions(
                name=layer.name, options=tuple(ways),
                on_chip={
                    frozenset(held): _on_chip(network, layer, reader, [holdable[name] for name in held])
                    for count in range(1, len(names) + 1) for held in combinations(sorted(names), count)
                },
            )
        )  # fmt: skip
    for tensor in holdable.values():
        first, last = (places[units[tensor.alive[end]].output] for end in (0, -1))
        users = (first, *(places[units[number].output] for number in tensor.readers))
        maker = units[tensor.alive[0]]
        joiner = joins.get(maker.output)
        sources = frozenset((*maker.inputs, *(joiner.inputs if joiner else ()))) - {maker.output}
        held = HeldTensor(
            name=tensor.name, alive=range(first, last + 1), users=users, sources=sources,
            needs=partial(_needs, network, tensor),
        )  # fmt: skip
        found[first] = replace(found[first], held=(held,))
    return found


def _needs(network: Network, tensor: Holdable, group_size: int, row_bytes: int) -> tuple[int, int]:
    """Return `HeldTensor.needs`."""
    shape = network.tensors[tensor.name].shape
    place, size_bytes = tensor.placed(place_tensor(tensor.name, shape, QuantParams(1.0, 0), group_size, 0))
    return size_bytes, tensor.fill_cycles(place, row_bytes)


def _on_chip(network: Network, layer: Layer, reader: Binary | None, held: Sequence[Holdable]) -> OnArray:
    """Return a convolution, and what is joined to it, with some tensors on chip."""
    assert isinstance(layer, Conv2d)

    def parts(spec: SparseAccelerator) -> list[list[Alternative]]:
        names = dict.fromkeys((*layer.inputs, layer.output, *((*reader.inputs, reader.output) if reader else ())))
        places = {name: dense_place(network, name, spec) for name in names}
        places |= {each.name: each.placed(places[each.name])[0] for each in held}
        return [_widths(convolution_of(layer, places, reader), spec)]

    return OnArray(parts=parts)


def _is_scaling(network: Network, layer: Layer) -> bool:
    """Return whether a layer multiplies every pixel by one value per channel."""
    if not isinstance(layer, Binary) or layer.kind != "multiply":
        return False
    a, b = (network.tensors[name].shape for name in layer.inputs)
    return b == (1, 1, 1, a[3]) and a[:3] != (1, 1, 1)


def _alone(network: Network, layer: Layer) -> Iterator[tuple[Work, ...]]:
    """Yield the ways to run one layer."""

    def places(spec: SparseAccelerator) -> dict[str, TensorPlace]:
        return {name: dense_place(network, name, spec) for name in (*layer.inputs, layer.output)}

    match layer:
        case Conv2d():
            yield (OnArray(parts=lambda spec: [_widths(convolution_of(layer, places(spec), None), spec)]),)
        case ConvTranspose2d():
            for number in range(2):
                yield (OnArray(parts=lambda spec, number=number: _phases(network, layer, number, spec)),)  # type: ignore[misc]
        case MatMul():
            yield (OnArray(parts=lambda spec: _products(network, layer, spec)),)
        case Binary() | Unary() | Softmax() | LayerNorm() | Lrn():
            yield (Moved(cost=lambda spec: _stream(network, layer, spec)),)
            if _is_scaling(network, layer):
                yield (OnArray(parts=lambda spec: [_scaling(network, layer, None, spec)]),)
            elif isinstance(layer, Binary):
                yield (OnArray(parts=lambda spec: [_addition(network, layer, spec)]),)
        case Pool2d():
            yield (Moved(cost=lambda spec: _pool(network, layer, spec)),)
            if layer.kind is PoolKind.AVERAGE:
                yield (Moved(cost=lambda spec: _summed(network, layer, spec)),)
        case _:
            yield (Moved(cost=lambda spec: _simulated(network, layer, spec), reads_all=True),)


def _together(network: Network, layer: Layer, reader: Binary) -> Work:
    """Return a layer and what is joined to it, in the same tiles."""
    if isinstance(layer, Resize):
        return Moved(cost=lambda spec: _resized(network, layer, spec))

    def parts(spec: SparseAccelerator) -> list[list[Alternative]]:
        names = dict.fromkeys((*layer.inputs, layer.output, *reader.inputs, reader.output))
        places = {name: dense_place(network, name, spec) for name in names}
        if isinstance(layer, Conv2d):
            return [_widths(convolution_of(layer, places, reader), spec)]
        return [_scaling(network, layer, reader, spec)]

    return OnArray(parts=parts)


def _widths(convolution: Convolution, spec: SparseAccelerator) -> list[Alternative]:
    """Return a convolution and those that split its columns over chains."""
    return [(each.shape(spec), 0) for each in (convolution, *convolution.wide(spec))]


def _phases(network: Network, layer: ConvTranspose2d, number: int, spec: SparseAccelerator) -> list[list[Alternative]]:
    """Return the convolutions of one way to run a transposed one; one that cannot run if there is no such way."""
    if layer.params is None:
        raise MappingError(f"{layer.name}: the layer has no requantization: quantize the network first")
    source, target = (dense_place(network, name, spec) for name in (layer.inputs[0], layer.output))
    ways = phase_lists(layer, source, target, layer.params, spec)
    return [_widths(phase, spec) for phase in ways[number]] if number < len(ways) else [[]]


def _products(network: Network, layer: MatMul, spec: SparseAccelerator) -> list[list[Alternative]]:
    """Return one product per (batch, row)."""
    a, out = (dense_place(network, name, spec) for name in (layer.inputs[0], layer.output))
    left, right = (place.slice(place.name, (1, 1, *place.shape[2:]), place.quant) for place in (a, out))
    has_table = layer.params is not None and layer.params.table is not None
    shape = conv_shape(spec, left, right, who=layer.name, kernel=(1, 1), has_table=has_table)
    reserved = len(negated(a.quant.zero_point)) * left.words * left.group_size
    return [[(shape, reserved)]] * (out.shape[0] * out.shape[1])


def _scaling(network: Network, layer: Layer, reader: Binary | None, spec: SparseAccelerator) -> list[Alternative]:
    """Return the widths of a scaling, and what is joined to it."""
    assert isinstance(layer, Binary)
    names = dict.fromkeys((*layer.inputs, layer.output, *(() if reader is None else (*reader.inputs, reader.output))))
    places = {name: dense_place(network, name, spec) for name in names}
    joined = None if reader is None else joined_operand(layer, reader, places)
    out = places[(reader or layer).output]
    params = vector_params(layer, layer.params)
    widths = scaling_widths(spec, layer, params, places[layer.inputs[0]], out, joined)
    return [(shape, reserved) for _, _, shape, reserved in widths]


def _addition(network: Network, layer: Binary, spec: SparseAccelerator) -> list[Alternative]:
    """Return the widths of an addition through the array; none if it cannot be one."""
    a, b, out = (dense_place(network, name, spec) for name in (*layer.inputs, layer.output))
    addition = addition_of(layer, vector_params(layer, layer.params), a, b, out)
    return [] if addition is None else _widths(addition, spec)


def _stream(network: Network, layer: StreamLayer, spec: SparseAccelerator) -> MovedCost | None:
    """Return the cost of one opcode over whole tensors."""
    sources = [dense_place(network, name, spec) for name in layer.inputs]
    window = vector_params(layer, layer.params).window if isinstance(layer, Lrn) else 1
    out, opcode = dense_place(network, layer.output, spec), stream_opcode(layer)
    choice = stream_tiles(spec, layer.name, opcode, out, sources, window)
    walks = {Opcode.SOFTMAX: 3, Opcode.LAYER_NORM: 3}.get(opcode, window)
    return _tiles_cost(spec, choice, walks, 2 if opcode in TWO_SOURCES else 1)


def _resized(network: Network, layer: Resize, spec: SparseAccelerator) -> MovedCost | None:
    """Return the cost of an addition in the tiles of a Resize."""
    source = dense_place(network, layer.inputs[0], spec)
    return _tiles_cost(spec, resized_tiles(spec, layer, source), 1, 1)


def _pool(network: Network, layer: Pool2d, spec: SparseAccelerator) -> MovedCost | None:
    """Return the cost of a pooling layer in tiles of whole windows; of maxima, in pieces of windows if none fits."""
    out = dense_place(network, layer.output, spec)
    tiled = _tiles_cost(spec, pool_tiles(spec, layer, out), layer.kernel[0] * layer.kernel[1], 1)
    return _simulated(network, layer, spec) if tiled is None and layer.kind is PoolKind.MAX else tiled


def _summed(network: Network, layer: Pool2d, spec: SparseAccelerator) -> MovedCost | None:
    """Return the cost of an average that the array sums."""
    source, out = (dense_place(network, name, spec) for name in (layer.inputs[0], layer.output))
    cycles = summed_cycles(spec, layer, out, source)
    if not math.isfinite(cycles):
        return None
    counts = np.zeros(COUNTS, dtype=np.int64)
    moved = math.prod(source.shape[:3]) * source.column_bytes
    counts[[OFF_CHIP, READ, WRITTEN]] = moved + math.prod(out.shape[:3]) * out.column_bytes, moved, moved
    return MovedCost(cycles=cycles, counts=counts)


def _tiles_cost(
    spec: SparseAccelerator, choice: tuple[TileCost, int] | None, walks: int, sources: int
) -> MovedCost | None:  # fmt: skip
    """Return what tiles cost whose elements are read `walks` times by VECTOR, from each of `sources` operands."""
    if choice is None:
        return None
    tile, slots = choice
    loaded, stored = tile.tiles * tile.loaded_bytes, tile.tiles * tile.stored_bytes
    counts = np.zeros(COUNTS, dtype=np.int64)
    counts[OPERATIONS], counts[INSTRUCTIONS] = stored * walks, tile.tiles * (tile.loads + tile.stores + 1)
    counts[OFF_CHIP] = loaded + stored + counts[INSTRUCTIONS] * INSTRUCTION_BYTES
    counts[READ], counts[WRITTEN] = stored * (walks * sources + 1), loaded + stored
    return MovedCost(cycles=slotted_cycles(spec, tile, slots), counts=counts)


def _simulated(network: Network, layer: Layer, spec: SparseAccelerator) -> MovedCost | None:
    """Return the cost of a layer that is compiled and simulated alone."""
    alone = slice_layers(network, layer.name)
    try:
        simulation = simulate(compile_network(alone, spec, config_fingerprint=fingerprint(spec)), spec)
    except MappingError:
        return None
    return MovedCost(cycles=float(simulation.total_cycles), counts=counts_of(simulation.events))
