"""Compile the layers that multiply and accumulate: convolutions, transposed convolutions, products of activations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Opcode, Space
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import Block, ConvMapping, ConvShape, Split
from gossamer.dataflow.network import Binary, Conv2d, ConvTranspose2d, Layer, MatMul, Network, effective_macs
from gossamer.dataflow.numerics import Requantization, fits_addend_factor
from gossamer.dataflow.program import LayerRecord
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.addition import addition_of
from gossamer.mapper.codegen.convolution import ConvEmitter, Joined, Turns
from gossamer.mapper.codegen.convolution_loads import PackedWeights, Row, fill_lines, load_row
from gossamer.mapper.codegen.convolution_shape import block_channels, conv_shape, flatten
from gossamer.mapper.codegen.packing import active_chains, pack_weights
from gossamer.mapper.codegen.parameters import vector_block
from gossamer.mapper.codegen.scaling import find_scaling, negated, scaling_part
from gossamer.mapper.codegen.together import emit_together
from gossamer.mapper.codegen.vector import BINARY_OPCODES, emit_vector_layer, vector_params, vector_record
from gossamer.mapper.codegen.wide_pixels import (
    Convolution,
    best_width,
    choose_width,
    has_adjacent_pixels,
    join_columns,
    join_rows,
)
from gossamer.mapper.emit import Emitter
from gossamer.mapper.tiling import choose_mapping

MacLayer = Conv2d | ConvTranspose2d | MatMul


def emit_mac_layer(
    emitter: Emitter, network: Network, layer: MacLayer, places: Mapping[str, TensorPlace],
    joined: Binary | None = None,
) -> None:  # fmt: skip
    """Emit a quantized multiply-accumulate layer between the places of its tensors. Raises MappingError.

    `joined`: a layer that is emitted with this one, of which nothing but the joined result leaves the chip.
    """
    if layer.params is None:
        raise MappingError(f"{layer.name}: the layer has no requantization: quantize the network first")
    source, target = places[layer.inputs[0]], places[(joined or layer).output]
    match layer:
        case Conv2d():
            parts = [_prepare(emitter, convolution_of(layer, places, joined))]
        case ConvTranspose2d():
            parts = _phases(emitter, layer, source, target, layer.params)
        case MatMul():
            parts = _products(emitter, layer, source, places[layer.inputs[1]], target, layer.params)
    emitter.begin_layer(_record(network, layer, parts), None if joined is None else vector_record(network, joined))
    for part, _ in parts:
        part.emit()


def emit_pair(
    emitter: Emitter, network: Network, pair: Sequence[Conv2d], places: Mapping[str, TensorPlace],
    joins: Mapping[str, Binary],
) -> None:  # fmt: skip
    """Emit two convolutions step by step in turn (`gossamer.mapper.codegen.together`).

    One by one if they do not fit: tensors that are parts of others may ask for larger tiles than those of their own.
    """
    joined = [joins.get(layer.output) for layer in pair]
    chosen = [
        best_width(convolution_of(layer, places, joiner), emitter.spec, len(pair))
        for layer, joiner in zip(pair, joined, strict=True)
    ]
    found = [each for each in chosen if each is not None]
    if len(found) < len(pair):
        for layer, joiner in zip(pair, joined, strict=True):
            emit_mac_layer(emitter, network, layer, places, joiner)
        return
    emitter.reset_buffers()
    turns, numbers = Turns(len(pair)), []
    parts = [_pack(emitter, convolution, search.mapping, turns) for convolution, search in found]
    for layer, joiner, part in zip(pair, joined, parts, strict=True):
        numbers.append(len(emitter.layers))
        emitter.begin_layer(_record(network, layer, [part]), None if joiner is None else vector_record(network, joiner))
    emit_together(emitter, numbers, [part for part, _ in parts])


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
    values, indices = (weights.plane_bytes(space) for space in (Space.WEIGHT, Space.INDEX))
    emitter.layers[number] = replace(emitter.layers[number], weight_bytes=values, index_bytes=indices)


def emit_addition(
    emitter: Emitter, network: Network, layer: Binary, places: Mapping[str, TensorPlace]
) -> None:  # fmt: skip
    """Emit an addition through the array (`gossamer.mapper.codegen.addition`), or by VECTOR if its places forbid it."""
    a, b, out = (places[name] for name in (*layer.inputs, layer.output))
    addition = addition_of(layer, vector_params(layer, layer.params), a, b, out)
    found = addition and best_width(addition, emitter.spec)
    if not found:
        emit_vector_layer(emitter, network, layer, places)
        return
    part, weights = _pack(emitter, found[0], found[1].mapping)
    assert weights is not None
    (_, values), (_, indices) = weights.planes
    emitter.begin_layer(replace(vector_record(network, layer), weight_bytes=values, index_bytes=indices))
    part.emit()


Part = tuple[ConvEmitter, PackedWeights | None]
"""A convolution ready to be emitted, and its weights if they are constants."""


def _record(network: Network, layer: MacLayer, parts: list[Part]) -> LayerRecord:
    batch, rows, columns, channels = network.tensors[layer.output].shape
    macs, dense_macs = effective_macs(network, layer)
    # Phases of a transposed convolution can have equal planes, which are stored once: count by address.
    planes = [weights.planes for _, weights in parts if weights is not None]
    values, indices = (sum(dict(plane[number] for plane in planes).values()) for number in range(2))
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


def _prepare(emitter: Emitter, convolution: Convolution) -> Part:
    """Map and pack a convolution. Raises MappingError."""
    return _pack(emitter, *choose_width(convolution, emitter.spec, emitter.objective))


def _pack(emitter: Emitter, chosen: Convolution, mapping: ConvMapping, turns: Turns | None = None) -> Part:
    """Pack the weights of a mapped convolution."""
    array = emitter.spec.array
    planes = pack_weights(
        chosen.weight, mapping, groups=chosen.groups, chain_length=array.chain_length, group_size=array.group_size,
        who=chosen.who,
    )  # fmt: skip
    weights = PackedWeights(emitter, mapping, planes)
    part = ConvEmitter(
        emitter, mapping, chosen.source, chosen.target, weights, chosen.params, who=chosen.who,
        fill=chosen.source.quant.zero_point, joined=chosen.joined, turns=turns, row_parts=max(1, len(chosen.rows)),
        row_step=chosen.row_step,
    )  # fmt: skip
    return part, weights


def convolution_of(layer: Conv2d, places: Mapping[str, TensorPlace], joiner: Binary | None) -> Convolution:
    """Return a layer, and what is joined to it, between the places of their tensors. Raises MappingError."""
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


def _phases(
    emitter: Emitter, layer: ConvTranspose2d, source: TensorPlace, target: TensorPlace, params: Requantization
) -> list[Part]:
    """Return ordinary convolutions, one per residue of the output position modulo the stride.

    Output Y gets taps ky with (Y + top - ky) divisible by the stride: a convolution with every stride-th tap, reversed.
    The bias holds the zero point of all taps (as if gaps held it), so each phase adds back those of taps it skips.
    The phases of adjacent columns become one convolution of wide pixels if it fits a block of channels, and those of
    adjacent rows one of them too if that is better.
    """
    (stride_y, stride_x), zero = layer.stride, source.quant.zero_point
    weight, limit = layer.weight.astype(np.int64), block_channels(emitter.spec)
    parts: list[Convolution] = []
    for row in range(min(stride_y, target.shape[1])):
        taps_y, pad_y = _phase_taps(row, layer.pads[0], stride_y, weight.shape[1])
        phases = []
        for column in range(min(stride_x, target.shape[2])):
            taps_x, pad_x = _phase_taps(column, layer.pads[1], stride_x, weight.shape[2])
            kept = layer.weight[:, taps_y][:, :, taps_x]
            skipped = weight.sum(axis=(1, 2, 3)) - kept.sum(axis=(1, 2, 3), dtype=np.int64)
            pads = (pad_y, pad_x)
            if kept.size == 0:
                kept, pads = np.zeros((len(weight), 1, 1, weight.shape[3]), np.int8), (0, 0)
            out_shape = (
                target.shape[0], ceil_div(target.shape[1] - row, stride_y),
                ceil_div(target.shape[2] - column, stride_x), target.shape[3],
            )  # fmt: skip
            phase = replace(
                target, shape=out_shape, address=target.at(0, row, column), row_bytes=target.row_bytes * stride_y,
                column_bytes=target.column_bytes * stride_x,
            )  # fmt: skip
            bias = (params.bias + zero * skipped).astype(np.int32)
            phases.append(
                Convolution(
                    who=layer.name, source=source, target=phase, weight=kept, params=replace(params, bias=bias),
                    pads=pads, pattern=layer.pattern,
                )
            )  # fmt: skip
        if has_adjacent_pixels(target) and target.shape[2] % stride_x == 0:
            phases = join_columns(phases, limit)
        parts += phases
    if has_adjacent_pixels(target) and len(parts) == stride_y and target.shape[2] % stride_x == 0:
        parts = _better(emitter, join_rows(parts, limit), parts)
    return [_prepare(emitter, part) for part in parts]


def _better(emitter: Emitter, first: list[Convolution], second: list[Convolution]) -> list[Convolution]:
    """Return the first of two lists of convolutions if it has any and costs less, else the second."""

    def cost(parts: list[Convolution]) -> float:
        found = [best_width(part, emitter.spec, objective=emitter.objective) for part in parts]
        return sum(math.inf if each is None else each[1].cost for each in found)

    return first if first and cost(first) < cost(second) else second


def _phase_taps(first: int, top: int, stride: int, taps: int) -> tuple[list[int], int]:
    """Return the kernel rows of the outputs first, first + stride, ... in input order, and the padding before them."""
    residue = (first + top) % stride
    kept = list(range(residue, taps, stride))[::-1]
    return kept, len(kept) - 1 - (first + top - residue) // stride


def _products(
    emitter: Emitter, layer: MatMul, a: TensorPlace, b: TensorPlace, target: TensorPlace, params: Requantization
) -> list[Part]:
    """Return one 1x1 convolution per (batch, row), whose weights are loaded from the second operand."""
    if b.quant.zero_point != 0:
        raise MappingError(f"{layer.name}: the second operand must have zero point 0, not {b.quant.zero_point}")
    zero = a.quant.zero_point
    correction = negated(zero)
    parts: list[Part] = []
    for batch in range(target.shape[0]):
        for row in range(target.shape[1]):
            left = a.slice(a.name, (1, 1, *a.shape[2:]), a.quant, batch=batch, row=row)
            right = b.slice(b.name, (1, 1, *b.shape[2:]), b.quant, batch=batch, row=row)
            out = target.slice(target.name, (1, 1, *target.shape[2:]), target.quant, batch=batch, row=row)
            shape = conv_shape(
                emitter.spec, left, out, who=layer.name, kernel=(1, 1), has_table=params.table is not None
            )
            reserved = len(correction) * left.words * left.group_size
            mapping = choose_mapping(
                shape, emitter.spec, layer.name, reserved_bytes=reserved, objective=emitter.objective
            )
            weights = StreamedWeights(emitter, right, shape, transposed=layer.transpose_b)
            part = ConvEmitter(
                emitter, mapping, left, out, weights, params, who=layer.name, fill=zero, correction=correction
            )
            parts.append((part, None))
    return parts


class StreamedWeights:
    """Weights that are an activation tensor: (1, 1, K, channels), or (1, 1, channels, K) if transposed."""

    def __init__(self, emitter: Emitter, place: TensorPlace, shape: ConvShape, *, transposed: bool) -> None:
        self.place, self.transposed = place, transposed
        self.reduction, self.steps = shape.channels, shape.steps
        self.chains, self.chain_length = emitter.spec.array.chains, emitter.spec.array.chain_length
        self.group_size = emitter.group_size

    def loads(self, number: int, part: int, block: Block, split: Split, w: int, i: int) -> list[Row]:
        """Return the LOADs of a (block, split): for each fold its whole words, then a ragged word filled with zeros."""
        rows: list[Row] = []
        active = active_chains(block, self.group_size)
        if self.transposed and active > block.channels:
            count = split.words * self.steps
            rows += fill_lines(
                Space.WEIGHT, w + block.channels, count, active - block.channels, self.chains, 0
            )  # fmt: skip
        for first in range(0, split.words, self.chain_length):
            stages = min(self.chain_length, split.words - first)
            base = w + first * self.steps * self.chains
            start = (split.word + first) * self.group_size
            whole, ragged = min(stages, (self.reduction - start) // self.steps), 0
            if whole < stages:
                ragged = self.reduction - start - whole * self.group_size
            pitch = stages * self.chains
            if whole:
                rows.append(self._words(block, start, whole, self.steps, base, pitch, active))
            if ragged:
                at = base + whole * self.chains
                rows.append(self._words(block, start + whole * self.group_size, 1, ragged, at, pitch, active))
                missing = self.steps - ragged
                rows += fill_lines(Space.WEIGHT, at + ragged * pitch, missing, active, pitch, 0)
        return rows

    def _words(self, block: Block, k: int, words: int, count: int, dst: int, pitch: int, active: int) -> Row:
        """Return the LOAD of `count` elements from element `k` of each of `words` words; steps lie `pitch` apart."""
        column = self.place.column_bytes
        if self.transposed:
            return load_row(
                Space.WEIGHT, dram=self.place.at(0, 0, block.first) + k, dst=dst, run_bytes=count, ny=words,
                nx=block.channels, dram_y=self.group_size, dram_x=column, dst_y=self.chains, dst_x=1, dst_e=pitch,
            )  # fmt: skip
        return load_row(
            Space.WEIGHT, dram=self.place.at(0, 0, k) + block.first, dst=dst, run_bytes=active, ny=count, nx=words,
            dram_y=column, dram_x=self.group_size * column, dst_y=pitch, dst_x=self.chains,
        )  # fmt: skip


def is_mac_layer(layer: Layer) -> bool:
    """Return whether the array runs a layer."""
    return isinstance(layer, Conv2d | ConvTranspose2d | MatMul)
