"""Generate code for pooling: windows over tiles of rows, columns and channel words, with their border filled by LOAD.

A border window of an average divides by another count: the tile is then computed by one VECTOR instruction per region
of equal counts, each with its own parameter block. A maximum is split into one over rows and one over columns where
that is cheaper. Where windows follow each other without a stride, a row of them is one long row of words.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from gossamer.arch.isa import FIELDS, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div, vector_cycles
from gossamer.dataflow.network import Pool2d, PoolKind
from gossamer.dataflow.numerics import INT8_MIN
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.large_pooling import emit_maxima
from gossamer.mapper.codegen.parameters import vector_block
from gossamer.mapper.codegen.pool_windows import Span, average_params, counted, regions, span
from gossamer.mapper.codegen.strided import Axis
from gossamer.mapper.codegen.summing import SumEmitter, summed_cycles
from gossamer.mapper.codegen.tile_choice import TileCost, cheapest, halvings, slotted_cycles
from gossamer.mapper.codegen.transfer import MAX_PAD_BYTES, Padded, load_block, load_padded, store_nest
from gossamer.mapper.emit import Emitter

_BITS = {field.name: field.bits for field in FIELDS[Opcode.AVERAGE]}
MAX_WINDOW = (1 << _BITS["kh"]) - 1
MAX_WORDS = (1 << _BITS["nc"]) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One VECTOR over windows; pixels of both sides are `words` words, destination lines have `d_y` bytes."""

    a: int
    a_y: int
    a_x: int
    line: int
    d: int
    d_y: int
    kernel: tuple[int, int]
    ny: int
    nx: int
    words: int

    def packed(self, group_size: int) -> tuple[int, int]:
        """Return (nx, nc): windows one pixel apart are one long row of words, as far as the field reaches."""
        if self.a_x == self.words * group_size and self.nx * self.words <= MAX_WORDS:
            return 1, self.nx * self.words
        return self.nx, self.words

    def cycles(self, opcode: Opcode, spec: SparseAccelerator) -> int:
        """Return the cycles of the VECTOR instruction."""
        nx, nc = self.packed(spec.array.group_size)
        kh, kw = self.kernel
        return vector_cycles(
            opcode, ny=self.ny, nx=nx, nc=nc, kh=kh, kw=kw, group_size=spec.array.group_size,
            vector_lanes=spec.vector.lanes,
        )  # fmt: skip

    def emit(self, emitter: Emitter, opcode: Opcode, par: tuple[int, int] = (0, 0)) -> None:
        """Append the instruction."""
        pixel = self.words * emitter.group_size
        nx, nc = self.packed(emitter.group_size)
        emitter.vector(
            opcode, a=self.a, a_y=self.a_y, a_x=self.a_x, a_ky=self.line, a_kx=pixel, kh=self.kernel[0],
            kw=self.kernel[1], d=self.d, d_y=self.d_y, d_x=pixel, ny=self.ny, nx=nx, nc=nc, par=par[0],
            par_bytes=par[1],
        )  # fmt: skip


def emit_pool(emitter: Emitter, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> None:
    """Append the code of a pooling layer. Raises MappingError if not even a piece of a window fits on chip."""
    opcode, fill = Opcode.MAXIMUM, INT8_MIN
    if layer.kind is PoolKind.AVERAGE:
        opcode, fill = Opcode.AVERAGE, average_params(layer, layer.kernel[0] * layer.kernel[1]).zero_a
    choice = pool_tiles(emitter.spec, layer, out)
    if is_summed(emitter.spec, layer, out, source):
        SumEmitter(emitter, layer, out, source).emit()
        return
    if choice is None:
        emit_maxima(emitter, layer, out, source)
        return
    tile, slots = choice
    blocks = AverageBlocks(emitter, layer)
    written_bytes = tile.on_chip_bytes - tile.loaded_bytes
    loaded, written = emitter.activation.alloc_apart(
        slots * tile.loaded_bytes, slots * written_bytes, emitter.group_size, who=layer.name
    )
    for number, (batch, word, rows, columns) in enumerate(_tiles(layer, tile.sizes, out, source)):
        chip, result = loaded + number % slots * tile.loaded_bytes, written + number % slots * written_bytes
        words = min(tile.sizes[2], out.words - word)
        pixel = words * emitter.group_size
        box = Padded(
            ny=rows.real, nx=columns.real, run_bytes=pixel, dram_y=source.row_bytes, dram_x=source.column_bytes,
            dst_y=columns.size * pixel, top=rows.before, bottom=rows.after, left_bytes=columns.before * pixel,
            right_bytes=columns.after * pixel, fill=fill,
        )  # fmt: skip
        load_padded(emitter, box, source.at(batch, rows.start, columns.start, word), chip)
        if opcode is Opcode.MAXIMUM:
            sizes = (rows.windows, columns.windows, words)
            for each in _maximum_passes(
                layer, sizes, emitter.group_size, (chip, result), separable=bool(tile.sizes[3])
            ):
                each.emit(emitter, opcode)
        else:
            _emit_averages(emitter, layer, blocks, rows, columns, words, (chip, result), source.shape)
        axes = (
            Axis(rows.windows, (out.row_bytes, columns.windows * pixel)),
            Axis(columns.windows, (out.column_bytes, pixel)),
            Axis(pixel, (1, 1)),
        )
        store_nest(emitter, axes, out.at(batch, rows.first, columns.first, word), result)


def is_summed(spec: SparseAccelerator, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> bool:
    """Return whether the array sums a layer's windows: averages that take less time so, or that VECTOR cannot take."""
    if layer.kind is PoolKind.MAX:
        return False
    choice = pool_tiles(spec, layer, out)
    return choice is None or summed_cycles(spec, layer, out, source) < slotted_cycles(spec, *choice)


def pool_tiles(spec: SparseAccelerator, layer: Pool2d, out: TensorPlace) -> tuple[TileCost, int] | None:
    """Return the cheapest tile of whole windows on VECTOR and its ping-pong slots, None if none fits."""
    opcode = Opcode.MAXIMUM if layer.kind is PoolKind.MAX else Opcode.AVERAGE
    return cheapest(spec, _candidates(spec, layer, opcode, out)) if max(layer.kernel) <= MAX_WINDOW else None


class AverageBlocks:
    """Parameter blocks of an average, one per count; all stay on chip if they fit, else each use loads its own."""

    def __init__(self, emitter: Emitter, layer: Pool2d) -> None:
        self._emitter = emitter
        self._layer = layer
        self._resident: dict[int, tuple[int, int]] = {}

    def at(self, count: int) -> tuple[int, int]:
        """Return address and bytes of the block for windows of `count` elements, loaded by now."""
        known = self._resident.get(count)
        if known is not None:
            return known
        params = average_params(self._layer, count)
        block = vector_block(Opcode.AVERAGE, params, channels=0, words=0, group_size=self._emitter.group_size)
        place = load_block(self._emitter, block, self._layer.name)
        start, end = place[0], sum(place)
        self._resident = {n: held for n, held in self._resident.items() if sum(held) <= start or held[0] >= end}
        self._resident[count] = place
        return place


def _spans(layer: Pool2d, axis: int, tile: int, windows: int, size: int) -> Iterator[Span]:
    """Yield the spans of tiles of `tile` windows along an axis."""
    for first in range(0, windows, tile):
        yield span(
            first, min(tile, windows - first), kernel=layer.kernel[axis], stride=layer.stride[axis],
            pad=layer.pads[axis], size=size,
        )  # fmt: skip


def _tiles(
    layer: Pool2d, sizes: tuple[int, ...], out: TensorPlace, source: TensorPlace
) -> Iterator[tuple[int, int, Span, Span]]:
    """Yield (batch, first word, rows, columns) of every tile."""
    batch, rows, columns, _ = out.shape
    row_spans = list(_spans(layer, 0, sizes[0], rows, source.shape[1]))
    column_spans = list(_spans(layer, 1, sizes[1], columns, source.shape[2]))
    yield from product(range(batch), range(0, out.words, sizes[2]), row_spans, column_spans)


def _read(layer: Pool2d, axis: int, windows: int) -> int:
    """Return the input positions that `windows` windows read along an axis."""
    return (windows - 1) * layer.stride[axis] + layer.kernel[axis]


def _maximum_passes(
    layer: Pool2d, sizes: tuple[int, int, int], group_size: int, chips: tuple[int, int], *, separable: bool
) -> list[Pass]:
    """Return the passes of a tile of (rows, columns, words): input at chips[0], result at chips[1].

    Separable: the maximum over window rows goes behind the result, the one over window columns reads it there.
    """
    ny, nx, words = sizes
    pixel = words * group_size
    read_columns = _read(layer, 1, nx)
    line, d_y = read_columns * pixel, nx * pixel
    across = {"a_x": layer.stride[1] * pixel, "line": line, "words": words, "ny": ny}
    if not separable:
        a_y = layer.stride[0] * line
        return [Pass(a=chips[0], a_y=a_y, d=chips[1], d_y=d_y, kernel=layer.kernel, nx=nx, **across)]
    between = chips[1] + ny * d_y
    kernels = (layer.kernel[0], 1), (1, layer.kernel[1])
    rows = Pass(
        a=chips[0], a_y=layer.stride[0] * line, a_x=pixel, line=line, d=between, d_y=line, kernel=kernels[0], ny=ny,
        nx=read_columns, words=words,
    )  # fmt: skip
    return [rows, Pass(a=between, a_y=line, d=chips[1], d_y=d_y, kernel=kernels[1], nx=nx, **across)]


def _candidates(spec: SparseAccelerator, layer: Pool2d, opcode: Opcode, out: TensorPlace) -> Iterator[TileCost]:
    """Yield tiles (rows, columns, words, separable) of the output with the input bytes they need."""
    batch, rows, columns, _ = out.shape
    group_size = spec.array.group_size
    both = opcode is Opcode.MAXIMUM and min(layer.kernel) > 1
    sides = max(layer.pads[1], layer.pads[3] + layer.extra_pads[1])
    shapes = product(halvings(rows), halvings(columns), halvings(out.words), (0, 1) if both else (0,))
    for y, x, w, separable in shapes:
        pixel = w * group_size
        if sides * pixel > MAX_PAD_BYTES:
            continue
        loaded, stored = _read(layer, 0, y) * _read(layer, 1, x) * pixel, y * x * pixel
        between = separable * y * _read(layer, 1, x) * pixel
        runs = _read(layer, 0, y) * (1 if w == out.words else _read(layer, 1, x))
        passes = _maximum_passes(layer, (y, x, w), group_size, (0, 0), separable=bool(separable))
        yield TileCost(
            sizes=(y, x, w, separable), on_chip_bytes=loaded + stored + between, loaded_bytes=loaded,
            load_runs=runs, stored_bytes=stored,
            tiles=batch * ceil_div(rows, y) * ceil_div(columns, x) * ceil_div(out.words, w),
            work_cycles=sum(each.cycles(opcode, spec) for each in passes),
        )  # fmt: skip


def _emit_averages(
    emitter: Emitter, layer: Pool2d, blocks: AverageBlocks, rows: Span, columns: Span, words: int,
    chips: tuple[int, int], shape: tuple[int, int, int, int],
) -> None:  # fmt: skip
    """Append the averages of one tile, one per region of equal counts: input at chips[0], result at chips[1]."""
    pixel = words * emitter.group_size
    line, d_y = columns.size * pixel, columns.windows * pixel
    row_counts = [counted(layer, 0, rows.first + i, shape[1]) for i in range(rows.windows)]
    column_counts = [counted(layer, 1, columns.first + i, shape[2]) for i in range(columns.windows)]
    for (y, ny, row_count), (x, nx, column_count) in product(regions(row_counts), regions(column_counts)):
        each = Pass(
            a=chips[0] + y * layer.stride[0] * line + x * layer.stride[1] * pixel, a_y=layer.stride[0] * line,
            a_x=layer.stride[1] * pixel, line=line, d=chips[1] + y * d_y + x * pixel, d_y=d_y, kernel=layer.kernel,
            ny=ny, nx=nx, words=words,
        )  # fmt: skip
        each.emit(emitter, Opcode.AVERAGE, blocks.at(row_count * column_count))
