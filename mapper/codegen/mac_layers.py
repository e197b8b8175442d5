"""Compile the layers that multiply and accumulate: convolutions, transposed convolutions, products of activations."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Opcode, Space
from gossamer.dataflow.mapping import ConvMapping
from gossamer.dataflow.network import Binary, Conv2d, ConvTranspose2d, Layer, MatMul, Network, effective_macs
from gossamer.dataflow.numerics import fits_addend_factor
from gossamer.dataflow.program import LayerRecord
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.addition import addition_of
from gossamer.mapper.codegen.convolution import ConvEmitter
from gossamer.mapper.codegen.convolution_loads import PackedWeights, Row
from gossamer.mapper.codegen.convolution_parts import Joined, Turns
from gossamer.mapper.codegen.convolution_shape import flatten
from gossamer.mapper.codegen.packing import pack_weights
from gossamer.mapper.codegen.parameters import vector_block
from gossamer.mapper.codegen.products import matrix_products
from gossamer.mapper.codegen.scaling import ScalingWeights, find_scaling, scaling_part
from gossamer.mapper.codegen.transposed import transposed_phases
from gossamer.mapper.codegen.vector import BINARY_OPCODES, emit_vector_layer, vector_params, vector_record
from gossamer.mapper.codegen.wide_pixels import Convolution, best_width, choose_width
from gossamer.mapper.emit import Emitter
from gossamer.mapper.shares import WHOLE, Share

MacLayer = Conv2d | ConvTranspose2d | MatMul


def emit_mac_layer(
    emitter: Emitter, network: Network, layer: MacLayer, places: Mapping[str, TensorPlace],
    joined: Binary | None = None, first: Sequence[Row] = (),
) -> None:  # fmt: skip
    """Emit a quantized multiply-accumulate layer between the places of its tensors. Raises MappingError.

    `joined`: a layer that is emitted with this one, of which nothing but the joined result leaves the chip. `first`:
    LOADs that come before all others.
    """
    if layer.params is None:
        raise MappingError(f"{layer.name}: the layer has no requantization: quantize the network first")
    source, target = places[layer.inputs[0]], places[(joined or layer).output]
    match layer:
        case Conv2d():
            held = emitter.activation.held_bytes
            parts = [_prepare(emitter, convolution_of(layer, places, joined, held_bytes=held))]
        case ConvTranspose2d():
            phases = transposed_phases(layer, source, target, layer.params, emitter.spec, emitter.objective)
            parts = [_prepare(emitter, phase) for phase in phases]
        case MatMul():
            b = places[layer.inputs[1]]
            parts = [(part, None) for part in matrix_products(emitter, layer, source, b, target, layer.params)]
    emitter.begin_layer(mac_record(network, layer, parts), None if joined is None else vector_record(network, joined))
    for row in first:
        emitter.append(Opcode.LOAD, row)
    for part, _ in parts:
        part.emit()


def emit_scaling(
    emitter: Emitter, network: Network, layer: Binary, places: Mapping[str, TensorPlace], joined: Binary | None
) -> None:  # fmt: skip
    """Emit a product with one value per channel on the array (`gossamer.mapper.codegen.scaling`), and what is joined.

    Raises MappingError if no tile fits.
    """
    what = None if joined is None else joined_operand(layer, joined, places)
    params = vector_params(layer, layer.params)
    source, target = places[layer.inputs[0]], places[(joined or layer).output]
    found = find_scaling(emitter.spec, layer, params, source, target, what, emitter.objective)
    if found is None:
        if joined is not None:
            raise MappingError(
                f"{layer.name}: no tile of it and {joined.name} fits; enlarge `buffers.activation.capacity_bytes`"
            )
        emit_vector_layer(emitter, network, layer, places)
        return
    number = len(emitter.layers)
    emitter.begin_layer(vector_record(network, layer), None if joined is None else vector_record(network, joined))
    part, weights = scaling_part(emitter, layer, found, places[layer.inputs[1]])
    part.emit()
    note_constants(emitter, number, weights)


def note_constants(emitter: Emitter, number: int, weights: ScalingWeights) -> None:
    """Say in the record of a layer, by its number, which of its weights were constants, once it is emitted."""
    values, indices = (weights.plane_bytes(space) for space in (Space.WEIGHT, Space.INDEX))
    emitter.layers[number] = replace(emitter.layers[number], weight_bytes=values, index_bytes=indices)


def emit_addition(
    emitter: Emitter, network: Network, layer: Binary, places: Mapping[str, TensorPlace]
) -> None:  # fmt: skip
    """Emit an addition through the array (`gossamer.mapper.codegen.addition`), or by VECTOR if its places forbid it."""
    a, b, out = (places[name] for name in (*layer.inputs, layer.output))
    addition = addition_of(layer, vector_params(layer, layer.params), a, b, out)
    found = addition and best_width(addition, emitter.spec, objective=emitter.objective)
    if not found:
        emit_vector_layer(emitter, network, layer, places)
        return
    part, weights = pack_convolution(emitter, found[0], found[1].mapping)
    emitter.begin_layer(mac_record(network, layer, [(part, weights)]))
    part.emit()


Packed = tuple[ConvEmitter, PackedWeights | None]
"""A convolution ready to be emitted, and its weights if they are constants."""


def mac_record(network: Network, layer: MacLayer | Binary, parts: list[Packed]) -> LayerRecord:
    """Return the report record of a layer on the array."""
    batch, rows, columns, channels = network.tensors[layer.output].shape
    # Phases of a transposed convolution can have equal planes, which are stored once: count by address.
    planes = [weights.planes for _, weights in parts if weights is not None]
    values, indices = (sum(dict(plane[number] for plane in planes).values()) for number in range(2))
    if isinstance(layer, Binary):
        return replace(vector_record(network, layer), weight_bytes=values, index_bytes=indices)
    macs, dense_macs = effective_macs(network, layer)
    pattern = None if isinstance(layer, MatMul) else layer.pattern
    if isinstance(layer, MatMul):
        reduction = network.tensors[layer.inputs[0]].shape[3]
    else:
        reduction = layer.weight[0].size
    return LayerRecord(
        name=layer.name, op=layer.op, positions=batch * rows * columns, channels=channels, reduction=int(reduction),
        macs=macs, dense_macs=dense_macs, weight_bytes=values, index_bytes=indices,
        pattern="dense" if pattern is None else str(pattern),
    )  # fmt: skip


def _prepare(emitter: Emitter, convolution: Convolution) -> Packed:
    """Map and pack a convolution. Raises MappingError."""
    return pack_convolution(emitter, *choose_width(convolution, emitter.spec, emitter.objective))


def pack_convolution(
    emitter: Emitter, chosen: Convolution, mapping: ConvMapping, turns: Turns | None = None, share: Share = WHOLE
) -> Packed:
    """Pack the weights of a mapped convolution."""
    array = emitter.spec.array
    planes = pack_weights(
        chosen.weight, mapping, groups=chosen.groups, chain_length=array.chain_length, group_size=array.group_size,
        who=chosen.who,
    )  # fmt: skip
    weights = PackedWeights(emitter, mapping, planes)
    part = ConvEmitter(
        emitter, mapping, chosen.source, chosen.target, weights, chosen.params, who=chosen.who,
        fill=chosen.source.quant.zero_point, joined=chosen.joined, turns=turns, share=share,
        row_parts=max(1, len(chosen.rows)), row_step=chosen.row_step,
    )  # fmt: skip
    return part, weights


def convolution_of(
    layer: Conv2d, places: Mapping[str, TensorPlace], joiner: Binary | None, *, held_bytes: int = 0
) -> Convolution:  # fmt: skip
    """Return a layer, and what is joined to it, between the places of their tensors. Raises MappingError.

    `held_bytes`: of the activation buffer, that tensors on chip take meanwhile.
    """
    if layer.params is None:
        raise MappingError(f"{layer.name}: the layer has no requantization: quantize the network first")
    source, target = places[layer.inputs[0]], places[(joiner or layer).output]
    joined = None if joiner is None else joined_operand(layer, joiner, places)
    kernel = (layer.weight.shape[1], layer.weight.shape[2])
    pointwise = kernel == (1, 1) and layer.stride == (1, 1) and not any(layer.pads)
    contiguous = source.is_contiguous and target.is_contiguous and (joined is None or joined.operand.is_contiguous)
    if pointwise and contiguous:
        source, target = flatten(source), flatten(target)
        joined = joined and replace(joined, operand=flatten(joined.operand))
    return Convolution(
        who=layer.name, source=source, target=target, weight=layer.weight, params=layer.params, stride=layer.stride,
        dilation=layer.dilation,
        pads=(layer.pads[0], layer.pads[1]), groups=layer.groups, pattern=layer.pattern, joined=joined,
        held_bytes=held_bytes,
    )  # fmt: skip


def joined_operand(layer: Layer, joined: Binary, places: Mapping[str, TensorPlace]) -> Joined:
    """Return what joins a layer's result with the other operand of a layer that reads it."""
    first = joined.inputs[0] == layer.output
    operand = places[joined.inputs[1 if first else 0]]
    opcode, params = BINARY_OPCODES[joined.kind], vector_params(joined, joined.params)
    if opcode is Opcode.ADD and fits_addend_factor(params.mult_a, params.mult_b):
        swapped = replace(
            params, zero_a=params.zero_b, zero_b=params.zero_a, mult_a=params.mult_b, mult_b=params.mult_a
        )  # fmt: skip
        return Joined(operand=operand, addition=params if first else swapped)
    block = vector_block(
        opcode, params, channels=operand.shape[3], words=operand.words, group_size=operand.group_size
    )  # fmt: skip
    return Joined(operand=operand, opcode=opcode, block=block, first=first)


def is_mac_layer(layer: Layer) -> bool:
    """Return whether the array runs a layer."""
    return isinstance(layer, Conv2d | ConvTranspose2d | MatMul)
