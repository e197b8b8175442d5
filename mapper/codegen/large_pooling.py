"""Generate code for pooling windows that exceed the activation buffer or a window field, or are faster piece by piece.

A maximum runs on from piece to piece. An average sums on the array: pixels are loaded as weights, a row each, and
multiplied with ones; every chain sums a channel, the pieces add to the same accumulator, and the requantization
divides. The bits are those of AVERAGE, whose sum is as exact.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from gossamer.arch.accumulator import tile_entries
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import FIELDS, Opcode, Space
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div, compute_cycles
from gossamer.dataflow.network import Pool2d, PoolKind
from gossamer.dataflow.numerics import Requantization
from gossamer.mapper.allocate import TensorPlace, align
from gossamer.mapper.codegen.convolution_loads import fill_lines, load_row
from gossamer.mapper.codegen.parameters import requantize_block, requantize_block_bytes
from gossamer.mapper.codegen.pool_windows import Span, average_params, counted, span
from gossamer.mapper.codegen.strided import nest
from gossamer.mapper.codegen.tile_choice import TileCost, pipeline_cycles
from gossamer.mapper.codegen.transfer import load_block, load_nest, store_nest
from gossamer.mapper.emit import Emitter
from gossamer.sim.offchip import offchip_timing

_BITS = {op: {field.name: field.bits for field in FIELDS[op]} for op in (Opcode.MAXIMUM, Opcode.COMPUTE, Opcode.LOAD)}
MAX_RUN_WORDS = (1 << _BITS[Opcode.COMPUTE]["run_words"]) - 1
MAX_PIECE = (1 << _BITS[Opcode.MAXIMUM]["kw"]) - 1
MAX_PIXELS = (1 << _BITS[Opcode.LOAD]["nx"]) - 1
SLOTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The real part of one output pixel's window, and what an average divides by."""

    batch: int
    row: int
    column: int
    rows: Span
    columns: Span
    count: int

    def pieces(self, height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield (first row, first column, rows, columns) of the input in pieces of at most height x width."""
        for y, x in product(range(0, self.rows.real, height), range(0, self.columns.real, width)):
            size = min(height, self.rows.real - y), min(width, self.columns.real - x)
            yield self.rows.start + y, self.columns.start + x, *size


def emit_large_pool(emitter: Emitter, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> None:
    """Append the code of a pooling layer window by window. Raises MappingError if no piece fits."""
    if layer.kind is PoolKind.MAX:
        _emit_maxima(emitter, layer, out, source)
    else:
        SumEmitter(emitter, layer, out, source).emit()


def _windows(layer: Pool2d, out: TensorPlace, source: TensorPlace) -> Iterator[Window]:
    batch, rows, columns, _ = out.shape
    for b, y, x in product(range(batch), range(rows), range(columns)):
        spans = [
            span(
                i,
                1,
                kernel=layer.kernel[axis],
                stride=layer.stride[axis],
                pad=layer.pads[axis],
                size=source.shape[1 + axis],
            )
            for axis, i in ((0, y), (1, x))
        ]
        count = counted(layer, 0, y, source.shape[1]) * counted(layer, 1, x, source.shape[2])
        yield Window(batch=b, row=y, column=x, rows=spans[0], columns=spans[1], count=count)


def _piece_shape(layer: Pool2d, source: TensorPlace, elements: int, widest: int) -> tuple[int, int]:
    """Return rows and columns (at most `widest`) of near-equal pieces of at most `elements` pixels, or MappingError."""
    if elements < 1:
        raise MappingError(
            f"{layer.name}: one word of a pooling window and its result must fit on chip; enlarge "
            "`buffers.activation.capacity_bytes` or `buffers.weight.capacity_bytes`"
        )
    rows, columns = (min(layer.kernel[axis], source.shape[1 + axis]) for axis in (0, 1))
    width = _near_equal(columns, min(elements, widest))
    return _near_equal(rows, elements // width), width


def _near_equal(length: int, limit: int) -> int:
    """Return the length of the fewest near-equal parts that are at most `limit` long."""
    return ceil_div(length, ceil_div(length, limit))


def _load_piece(
    emitter: Emitter, source: TensorPlace, window: Window, piece: tuple[int, int, int, int], word: int, words: int,
    chip: int,
) -> None:  # fmt: skip
    y, x, ny, nx = piece
    pixel = words * emitter.group_size
    axes = nest((ny, nx, pixel), (source.row_bytes, source.column_bytes, 1), (nx * pixel, pixel, 1))
    load_nest(emitter, axes, source.at(window.batch, y, x, word), chip)


def _store_pixel(emitter: Emitter, out: TensorPlace, window: Window, word: int, words: int, chip: int) -> None:
    axes = nest((words * emitter.group_size,), (1,), (1,))
    store_nest(emitter, axes, out.at(window.batch, window.row, window.column, word), chip)


def _emit_maxima(emitter: Emitter, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> None:
    """Append maxima of pieces of one word; the running maximum is the word in front of the next piece."""
    word_bytes = emitter.group_size
    fitting = emitter.spec.buffers.activation.capacity_bytes // (SLOTS * word_bytes) - 1
    height, width = _piece_shape(layer, source, min(fitting, MAX_PIECE - 1), MAX_PIECE - 1)
    slot_bytes = (1 + height * width) * word_bytes
    base = emitter.activation.alloc(SLOTS * slot_bytes, word_bytes, who=layer.name)
    number = 0
    for window, word in product(_windows(layer, out, source), range(out.words)):
        for order, piece in enumerate(window.pieces(height, width)):
            running, following = (base + slot % SLOTS * slot_bytes for slot in (number, number + 1))
            number += 1
            _load_piece(emitter, source, window, piece, word, 1, running + word_bytes)
            first = word_bytes if order == 0 else 0
            emitter.vector(
                Opcode.MAXIMUM, a=running + first, a_kx=word_bytes, kw=piece[2] * piece[3] + int(order > 0),
                d=following, ny=1, nx=1, nc=1,
            )  # fmt: skip
        _store_pixel(emitter, out, window, word, 1, base + number % SLOTS * slot_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summing:
    """How the array sums windows: `words` of a pixel at once, from pieces of height x width pixels.

    A pixel's channels are a row of the weight buffer, `steps` of which are the weights of a word of ones.
    """

    words: int
    height: int
    width: int
    steps: int
    slots: int

    def run_words(self, pixels: int) -> int:
        """Return the words of ones that a piece is multiplied with."""
        return ceil_div(pixels, self.steps)

    @property
    def slot_rows(self) -> int:
        """Rows of the weight buffer that a piece takes, those of zeros behind it included."""
        return self.run_words(self.height * self.width) * self.steps

    @property
    def ones_words(self) -> int:
        """Words of ones that a whole piece is multiplied with."""
        return self.run_words(self.height * self.width)


def _summing(spec: SparseAccelerator, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> Summing:
    """Return how the array sums the windows of a layer. Raises MappingError if not even a pixel fits."""
    group_size, chains, buffers = spec.array.group_size, spec.array.chains, spec.buffers
    words, rows = min(out.words, chains // group_size), buffers.weight.capacity_bytes // chains
    steps = min(group_size, max(1, rows // SLOTS))
    slots = min(SLOTS, rows)
    ones = buffers.activation.capacity_bytes // group_size - words
    fitting = min(rows // max(1, slots) // steps, ones, MAX_RUN_WORDS) * steps
    height, width = _piece_shape(layer, source, fitting, MAX_PIXELS)
    return Summing(words=words, height=height, width=width, steps=steps, slots=slots)


def summed_cycles(spec: SparseAccelerator, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> float:
    """Return about how many cycles an average takes when the array sums it; infinity if it does not fit."""
    array = spec.array
    try:
        how = _summing(spec, layer, out, source)
    except MappingError:
        return math.inf
    if requantize_block_bytes(how.words, array.group_size, has_table=False) > spec.buffers.parameter.capacity_bytes:
        return math.inf
    rows, columns = (min(layer.kernel[axis], source.shape[1 + axis]) for axis in (0, 1))
    pieces = math.prod(out.shape[:3]) * ceil_div(rows, how.height) * ceil_div(columns, how.width)
    memory, costs = offchip_timing(spec), dict[int, float]()
    counts = [min(how.words, out.words - first) for first in range(0, out.words, how.words)]
    pixels = how.height * how.width
    for count in dict.fromkeys(counts):
        pixel = count * array.group_size
        tile = TileCost(
            sizes=(how.height, how.width), on_chip_bytes=pixels * pixel, tiles=pieces,
            loaded_bytes=pixels * align(pixel, memory.row_bytes), stored_bytes=0,
            load_runs=how.height * (1 if count == source.words else how.width),
            work_cycles=compute_cycles(
                positions=1, runs=1, run_words=how.ones_words, steps=how.steps, chain_length=array.chain_length,
                lanes=array.lanes, weight_rows_per_cycle=array.weight_rows_per_cycle,
            ),
        )  # fmt: skip
        costs[count] = pipeline_cycles(memory, tile)
    return sum(costs[count] for count in counts)


class SumEmitter:
    """Emission of averages that the array sums: ones times the pixels, which are loaded as weights.

    All channels of a piece follow each other, so that the source is read from its first pixel to its last once.
    """

    def __init__(self, emitter: Emitter, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> None:
        """Give it buffers. Raises MappingError if they are too small."""
        self.emitter, self.layer, self.target, self.source = emitter, layer, out, source
        group_size, who = emitter.group_size, layer.name
        self.how = how = _summing(emitter.spec, layer, out, source)
        self.chains = emitter.spec.array.chains
        self.ones_bytes = how.ones_words * group_size
        self.ones, self.result = emitter.activation.alloc_apart(
            self.ones_bytes, how.words * group_size, group_size, who=who
        )
        self.weight = emitter.weight.alloc(how.slots * how.slot_rows * self.chains, self.chains, who=who)
        self._number = 0

    def emit(self) -> None:
        """Emit the layer."""
        fill = fill_lines(Space.ACTIVATION, self.ones, 1, self.ones_bytes, self.ones_bytes, 1)
        for row in fill:
            self.emitter.append(Opcode.LOAD, row)
        lanes = self.emitter.spec.array.lanes
        groups = [(word, min(self.how.words, self.target.words - word))
                  for word in range(0, self.target.words, self.how.words)]  # fmt: skip
        at_once = tile_entries(self.emitter.spec) // lanes
        for window in _windows(self.layer, self.target, self.source):
            for first in range(0, len(groups), at_once):
                self._window(window, groups[first : first + at_once])

    def _window(self, window: Window, groups: list[tuple[int, int]]) -> None:
        """Emit an output pixel for some groups of words, each with its sums in entries of one half."""
        emitter, how, lanes = self.emitter, self.how, self.emitter.spec.array.lanes
        acc = emitter.accumulator.alloc(len(groups) * lanes, who=self.layer.name)
        for order, piece in enumerate(window.pieces(how.height, how.width)):
            for number, (word, count) in enumerate(groups):
                self._sum(window, piece, word, count, acc + number * lanes, clear=order == 0)
        for number, (word, count) in enumerate(groups):
            block = _divide_block(self.layer, window, count, emitter.group_size)
            par, par_bytes = load_block(emitter, block, self.layer.name)
            emitter.vector(
                Opcode.REQUANTIZE, a=acc + number * lanes, d=self.result, ny=1, nx=1, nc=count, par=par,
                par_bytes=par_bytes,
            )  # fmt: skip
            _store_pixel(emitter, self.target, window, word, count, self.result)

    def _sum(
        self, window: Window, piece: tuple[int, int, int, int], word: int, count: int, acc: int, *, clear: bool
    ) -> None:  # fmt: skip
        """Emit the LOAD of some words of a piece's pixels as weights, zeros behind them, and their sums."""
        y, x, ny, nx = piece
        source, how, chains, pixel = self.source, self.how, self.chains, count * self.emitter.group_size
        weight = self.weight + self._number % how.slots * how.slot_rows * chains
        self._number += 1
        run_words = how.run_words(ny * nx)
        missing = run_words * how.steps - ny * nx
        rows = [
            load_row(
                Space.WEIGHT, dram=source.at(window.batch, y, x, word), dst=weight, run_bytes=pixel, ny=ny, nx=nx,
                dram_y=source.row_bytes, dram_x=source.column_bytes, dst_y=nx * chains, dst_x=chains,
            )
        ]  # fmt: skip
        if missing:
            rows += fill_lines(Space.WEIGHT, weight + ny * nx * chains, missing, pixel, chains, 0)
        for row in rows:
            self.emitter.append(Opcode.LOAD, row)
        self.emitter.compute(
            a=self.ones, a_y=0, a_x=0, ny=1, nx=1, n_ry=1, n_rx=1, r_y=0, r_x=0, run_words=run_words, w=weight, i=0,
            steps=how.steps, slots=0, index_bits=0, acc=acc, clear=int(clear), chains_active=pixel,
        )  # fmt: skip


def _divide_block(layer: Pool2d, window: Window, words: int, group_size: int) -> bytes:
    """Return the REQUANTIZE block that subtracts the zero point of all real elements and divides by the count."""
    params = average_params(layer, window.count)
    channels = words * group_size
    real = window.rows.real * window.columns.real
    return requantize_block(
        Requantization(
            bias=np.full(channels, -real * params.zero_a, np.int32),
            multiplier=np.full(channels, params.mult_a, np.int32),
            shift=np.full(channels, params.shift, np.uint8),
            zero_out=params.zero_out, low=params.low, high=params.high,
        ),
        first=0, channels=channels, words=words, group_size=group_size,
    )  # fmt: skip
