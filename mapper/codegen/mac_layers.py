"""Compile the layers that multiply and accumulate: convolutions, transposed convolutions, products of activations."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Space
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import Block, ConvShape, Split
from gossamer.dataflow.network import Binary, Conv2d, ConvTranspose2d, Layer, MatMul, Network, effective_macs
from gossamer.dataflow.numerics import Requantization
from gossamer.dataflow.program import LayerRecord
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.convolution import ConvEmitter, Joined
from gossamer.mapper.codegen.convolution_loads import PackedWeights, Row, fill_lines, load_row
from gossamer.mapper.codegen.convolution_shape import conv_shape, flatten
from gossamer.mapper.codegen.packing import active_chains, pack_weights
from gossamer.mapper.codegen.parameters import vector_block
from gossamer.mapper.codegen.vector import BINARY_OPCODES, vector_params, vector_record
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
            what = None if joined is None else joined_operand(emitter, layer, joined, places)
            parts = [_convolution(emitter, layer, source, target, layer.params, what)]
        case ConvTranspose2d():
            parts = _phases(emitter, layer, source, target, layer.params)
        case MatMul():
            parts = _products(emitter, layer, source, places[layer.inputs[1]], target, layer.params)
    emitter.begin_layer(_record(network, layer, parts), None if joined is None else vector_record(network, joined))
    for part, _ in parts:
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


def _prepare(
    emitter: Emitter,
    who: str,
    shape: ConvShape,
    weight: NDArray[np.int8],
    params: Requantization,
    source: TensorPlace,
    target: TensorPlace,
    *,
    groups: int = 1,
    joined: Joined | None = None,
) -> Part:
    """Map and pack a convolution with constant weights int8 (out, kernel rows, kernel columns, in / groups)."""
    mapping = choose_mapping(shape, emitter.spec, who, objective=emitter.objective)
    array = emitter.spec.array
    planes = pack_weights(
        weight, mapping, groups=groups, chain_length=array.chain_length, group_size=array.group_size, who=who
    )
    weights = PackedWeights(emitter, mapping, planes)
    part = ConvEmitter(
        emitter, mapping, source, target, weights, params, who=who, fill=source.quant.zero_point, joined=joined
    )  # fmt: skip
    return part, weights


def _convolution(
    emitter: Emitter, layer: Conv2d, source: TensorPlace, target: TensorPlace, params: Requantization,
    joined: Joined | None,
) -> Part:  # fmt: skip
    kernel = (layer.weight.shape[1], layer.weight.shape[2])
    pointwise = kernel == (1, 1) and layer.stride == (1, 1) and not any(layer.pads)
    contiguous = source.is_contiguous and target.is_contiguous and (joined is None or joined.operand.is_contiguous)
    if pointwise and contiguous:
        source, target = flatten(source), flatten(target)
        joined = joined and replace(joined, operand=flatten(joined.operand))
    shape = conv_shape(
        emitter.spec, source, target, who=layer.name, kernel=kernel, stride=layer.stride, dilation=layer.dilation,
        pads=(layer.pads[0], layer.pads[1]), groups=layer.groups, pattern=layer.pattern,
        has_table=params.table is not None, joined_bytes=0 if joined is None else len(joined.block),
    )  # fmt: skip
    return _prepare(
        emitter, layer.name, shape, layer.weight, params, source, target, groups=layer.groups, joined=joined
    )  # fmt: skip


def joined_operand(emitter: Emitter, layer: Conv2d, joined: Binary, places: Mapping[str, TensorPlace]) -> Joined:
    """Return what joins a convolution's result with the other operand of a layer that reads it."""
    first = joined.inputs[0] == layer.output
    operand = places[joined.inputs[1 if first else 0]]
    opcode = BINARY_OPCODES[joined.kind]
    block = vector_block(
        opcode, vector_params(joined, joined.params), channels=operand.shape[3], words=operand.words,
        group_size=emitter.group_size,
    )  # fmt: skip
    return Joined(opcode=opcode, operand=operand, block=block, first=first)


def _phases(
    emitter: Emitter, layer: ConvTranspose2d, source: TensorPlace, target: TensorPlace, params: Requantization
) -> list[Part]:
    """Return one ordinary convolution per residue of the output position modulo the stride.

    Output Y gets taps ky with (Y + top - ky) divisible by the stride: a convolution with every stride-th tap, reversed.
    The bias holds the zero point of all taps (as if gaps held it), so each phase adds back those of taps it skips.
    """
    (stride_y, stride_x), zero = layer.stride, source.quant.zero_point
    weight = layer.weight.astype(np.int64)
    parts = []
    for row in range(min(stride_y, target.shape[1])):
        taps_y, pad_y = _phase_taps(row, layer.pads[0], stride_y, weight.shape[1])
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
            shape = conv_shape(
                emitter.spec, source, phase, who=layer.name, kernel=(kept.shape[1], kept.shape[2]),
                pads=pads, pattern=layer.pattern, has_table=params.table is not None,
            )  # fmt: skip
            bias = (params.bias + zero * skipped).astype(np.int32)
            parts.append(_prepare(emitter, layer.name, shape, kept, replace(params, bias=bias), source, phase))
    return parts


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
    correction = () if zero == 0 else (64, 64) if zero == -128 else (-zero,)
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
