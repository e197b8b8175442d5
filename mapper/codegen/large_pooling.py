"""Generate code for pooling windows that exceed the activation buffer or a window field, or are faster piece by piece.

A maximum runs on from piece to piece. An average sums on the array: every channel of a word is a chain with
one weight of 1, the pieces add to the same accumulator, and the requantization divides; the bits are those of AVERAGE,
whose sum is as exact.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from gossamer.arch.activation import half_bytes
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import FIELDS, Opcode, Space, index_pitch_bytes
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div, compute_cycles
from gossamer.dataflow.network import Pool2d, PoolKind
from gossamer.dataflow.numerics import Requantization
from gossamer.mapper.allocate import REGION_ALIGN_BYTES, TensorPlace, align
from gossamer.mapper.codegen.channel_maps import pack_indices
from gossamer.mapper.codegen.parameters import requantize_block, requantize_block_bytes
from gossamer.mapper.codegen.pool_windows import Span, average_params, counted, span
from gossamer.mapper.codegen.strided import nest
from gossamer.mapper.codegen.tile_choice import TileCost, pipeline_cycles
from gossamer.mapper.codegen.transfer import load_block, load_nest, load_range, store_nest
from gossamer.mapper.emit import Emitter
from gossamer.sim.offchip import offchip_timing

_BITS = {op: {field.name: field.bits for field in FIELDS[op]} for op in (Opcode.MAXIMUM, Opcode.COMPUTE)}
MAX_ROWS = (1 << _BITS[Opcode.COMPUTE]["n_ry"]) - 1
MAX_RUN_WORDS = (1 << _BITS[Opcode.COMPUTE]["run_words"]) - 1
MAX_PIECE = (1 << _BITS[Opcode.MAXIMUM]["kw"]) - 1
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
        _emit_sums(emitter, layer, out, source)


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
    return _near_equal(rows, min(elements // width, MAX_ROWS)), width


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


def _summed_piece(
    spec: SparseAccelerator, layer: Pool2d, out: TensorPlace, source: TensorPlace
) -> tuple[int, int, int]:  # fmt: skip
    """Return the words the array sums at once, and the rows and columns of a piece."""
    group_size, chains, buffers = spec.array.group_size, spec.array.chains, spec.buffers
    words = min(out.words, chains // group_size)
    index_row = index_pitch_bytes(chains, group_size.bit_length() - 1)
    per_pixel = words * group_size
    elements = min(
        (buffers.activation.capacity_bytes - per_pixel) // (SLOTS * per_pixel),
        max(1, half_bytes(spec) // (SLOTS * per_pixel)),
        buffers.weight.capacity_bytes // (words * chains),
        buffers.index.capacity_bytes // (words * index_row),
    )
    return words, *_piece_shape(layer, source, elements, MAX_RUN_WORDS // words)


def summed_cycles(spec: SparseAccelerator, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> float:
    """Return about how many cycles an average takes when the array sums it; infinity if it does not fit."""
    array = spec.array
    try:
        words, height, width = _summed_piece(spec, layer, out, source)
    except MappingError:
        return math.inf
    if requantize_block_bytes(words, array.group_size, has_table=False) > spec.buffers.parameter.capacity_bytes:
        return math.inf
    rows, columns = (min(layer.kernel[axis], source.shape[1 + axis]) for axis in (0, 1))
    pieces = math.prod(out.shape[:3]) * ceil_div(rows, height) * ceil_div(columns, width)
    memory, costs = offchip_timing(spec), dict[int, float]()
    counts = [min(words, out.words - first) for first in range(0, out.words, words)]
    for count in dict.fromkeys(counts):
        pixel = count * array.group_size
        tile = TileCost(
            sizes=(height, width), on_chip_bytes=height * width * pixel, tiles=pieces,
            loaded_bytes=height * width * pixel, stored_bytes=0,
            load_runs=height * (1 if count == source.words else width),
            work_cycles=compute_cycles(
                positions=1, runs=height, run_words=width * count, steps=1, chain_length=array.chain_length,
                lanes=array.lanes, weight_rows_per_cycle=array.weight_rows_per_cycle,
            ),
        )  # fmt: skip
        costs[count] = pipeline_cycles(memory, tile)
    total = 0.0
    for count in counts:
        total += costs[count]
    return total


def _emit_sums(emitter: Emitter, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> None:
    """Append sums of pieces on the array, up to one channel per chain at a time, and their requantization."""
    group_size = emitter.group_size
    words, height, width = _summed_piece(emitter.spec, layer, out, source)
    per_pixel = words * group_size
    slot_bytes = height * width * per_pixel
    base, result = emitter.activation.alloc_apart(SLOTS * slot_bytes, per_pixel, group_size, who=layer.name)
    number = 0
    recorded = dict.fromkeys((Space.WEIGHT, Space.INDEX), 0)
    for word in range(0, out.words, words):
        count = min(words, out.words - word)
        if word == 0 or count != words:
            weight, index = _load_ones(emitter, layer, height * width, count, recorded)
        for window in _windows(layer, out, source):
            acc = emitter.accumulator.alloc(1, who=layer.name)
            for order, piece in enumerate(window.pieces(height, width)):
                chip = base + number % SLOTS * slot_bytes
                number += 1
                _load_piece(emitter, source, window, piece, word, count, chip)
                emitter.compute(
                    a=chip, a_y=0, a_x=0, ny=1, nx=1, n_ry=piece[2], n_rx=1, r_y=piece[3] * count * group_size, r_x=0,
                    run_words=piece[3] * count, w=weight, i=index, steps=1, slots=1,
                    index_bits=group_size.bit_length() - 1, acc=acc, clear=int(order == 0),
                    chains_active=count * group_size,
                )  # fmt: skip
            block = _divide_block(layer, window, count, group_size)
            par = load_block(emitter, block, layer.name)
            emitter.vector(Opcode.REQUANTIZE, a=acc, d=result, ny=1, nx=1, nc=count, par=par[0], par_bytes=par[1])
            _store_pixel(emitter, out, window, word, count, result)
    emitter.layers[-1] = replace(
        emitter.layers[-1], weight_bytes=recorded[Space.WEIGHT], index_bytes=recorded[Space.INDEX]
    )


def _load_ones(
    emitter: Emitter, layer: Pool2d, elements: int, words: int, recorded: dict[Space, int]
) -> tuple[int, int]:
    """Append the LOADs of the weights that sum `elements` pixels of `words` words; return their two addresses."""
    group_size, chains = emitter.group_size, emitter.spec.array.chains
    chain = np.arange(words * group_size)
    values, indices = np.zeros((words, chains), np.uint8), np.zeros((words, chains), np.int64)
    values[chain // group_size, chain] = 1
    indices[chain // group_size, chain] = chain % group_size
    planes = (np.tile(values, (elements, 1)), np.tile(pack_indices(indices, group_size), (elements, 1)))
    addresses = []
    for space, ring, plane in zip(recorded, (emitter.weight, emitter.index), planes, strict=True):
        address = ring.alloc(plane.nbytes, plane.shape[1], who=layer.name)
        load_range(emitter, space, emitter.memory.constant(plane), address, plane.nbytes)
        recorded[space] += align(plane.nbytes, REGION_ALIGN_BYTES)
        addresses.append(address)
    return addresses[0], addresses[1]


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
