"""Run products of two activations on the array: convolutions whose weights are loaded from an activation tensor."""

from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Space
from gossamer.dataflow.mapping import Block, ConvShape, Split
from gossamer.dataflow.network import MatMul
from gossamer.dataflow.numerics import Requantization
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.convolution import ConvEmitter
from gossamer.mapper.codegen.convolution_loads import Row, fill_lines, load_row
from gossamer.mapper.codegen.convolution_shape import conv_shape
from gossamer.mapper.codegen.packing import active_chains
from gossamer.mapper.codegen.scaling import negated
from gossamer.mapper.emit import Emitter
from gossamer.mapper.tiling import choose_mapping


def matrix_products(
    emitter: Emitter, layer: MatMul, a: TensorPlace, b: TensorPlace, target: TensorPlace, params: Requantization
) -> list[ConvEmitter]:
    """Return one 1x1 convolution per (batch, row), whose weights are loaded from the second operand."""
    if b.quant.zero_point != 0:
        raise MappingError(f"{layer.name}: the second operand must have zero point 0, not {b.quant.zero_point}")
    zero = a.quant.zero_point
    correction = negated(zero)
    parts: list[ConvEmitter] = []
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
            parts.append(part)
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
