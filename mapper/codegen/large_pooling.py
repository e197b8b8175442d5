"""Cut pooling windows that exceed the activation buffer or a window field into pieces; maxima run on from one to the
next.

Averages of such windows, and of others that it takes less time for, are summed on the array
(`gossamer.mapper.codegen.summing`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from gossamer.arch.errors import MappingError
from gossamer.arch.isa import FIELDS, Opcode
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.network import Pool2d
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.pool_windows import Span, counted, span
from gossamer.mapper.codegen.strided import nest
from gossamer.mapper.codegen.transfer import load_nest, store_nest
from gossamer.mapper.emit import Emitter

MAX_PIECE = (1 << {field.name: field.bits for field in FIELDS[Opcode.MAXIMUM]}["kw"]) - 1
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


def windows_of(layer: Pool2d, out: TensorPlace, source: TensorPlace) -> Iterator[Window]:
    """Yield the windows of all output pixels, in the order of their pixels."""
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


def piece_shape(layer: Pool2d, source: TensorPlace, elements: int, widest: int) -> tuple[int, int]:
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


def store_pixel(emitter: Emitter, out: TensorPlace, window: Window, word: int, words: int, chip: int) -> None:
    """Append the STORE of some words of an output pixel."""
    axes = nest((words * emitter.group_size,), (1,), (1,))
    store_nest(emitter, axes, out.at(window.batch, window.row, window.column, word), chip)


def emit_maxima(emitter: Emitter, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> None:
    """Append maxima of pieces of one word; the running maximum is the word in front of the next piece."""
    word_bytes = emitter.group_size
    fitting = emitter.spec.buffers.activation.capacity_bytes // (SLOTS * word_bytes) - 1
    height, width = piece_shape(layer, source, min(fitting, MAX_PIECE - 1), MAX_PIECE - 1)
    slot_bytes = (1 + height * width) * word_bytes
    base = emitter.activation.alloc(SLOTS * slot_bytes, word_bytes, who=layer.name)
    number = 0
    for window, word in product(windows_of(layer, out, source), range(out.words)):
        for order, piece in enumerate(window.pieces(height, width)):
            running, following = (base + slot % SLOTS * slot_bytes for slot in (number, number + 1))
            number += 1
            _load_piece(emitter, source, window, piece, word, 1, running + word_bytes)
            first = word_bytes if order == 0 else 0
            emitter.vector(
                Opcode.MAXIMUM, a=running + first, a_kx=word_bytes, kw=piece[2] * piece[3] + int(order > 0),
                d=following, ny=1, nx=1, nc=1,
            )  # fmt: skip
        store_pixel(emitter, out, window, word, 1, base + number % SLOTS * slot_bytes)
