"""Generate code for pooling: windows over tiles of rows, columns and channel words, with their border filled by LOAD.

A border window of an average divides by another count: the tile is then computed by one VECTOR instruction per region
of equal counts, each with its own parameter block.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, product

from gossamer.arch.errors import MappingError
from gossamer.arch.isa import FIELDS, Opcode
from gossamer.arch.timing import ceil_div, vector_cycles
from gossamer.dataflow.network import Pool2d, PoolKind
from gossamer.dataflow.numerics import INT8_MIN, VectorParams
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.emit import Emitter
from gossamer.mapper.parameters import vector_block
from gossamer.mapper.strided import Axis
from gossamer.mapper.tile_choice import TileCost, cheapest, halvings
from gossamer.mapper.transfer import MAX_PAD_BYTES, Padded, load_block, load_padded, store_nest

MAX_WINDOW = (1 << next(field.bits for field in FIELDS[Opcode.AVERAGE] if field.name == "kh")) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Windows [first, first + windows) along one axis: the input they read, and how much of it is padding."""

    first: int
    windows: int
    start: int
    real: int
    before: int
    after: int

    @property
    def size(self) -> int:
        """Input positions of the span, padding included."""
        return self.before + self.real + self.after


def span(first: int, windows: int, *, kernel: int, stride: int, pad: int, size: int) -> Span:
    """Return what `windows` windows from `first` on read of an axis of `size` positions padded by `pad` before."""
    low = first * stride - pad
    high = low + (windows - 1) * stride + kernel
    start, stop = max(low, 0), min(high, size)
    if start >= stop:
        raise MappingError(
            f"pooling windows {first} to {first + windows - 1} must touch the input, not only its padding"
        )
    return Span(first=first, windows=windows, start=start, real=stop - start, before=start - low, after=high - stop)


def counted(layer: Pool2d, axis: int, window: int, size: int) -> int:
    """Return how many positions of a window along rows (axis 0) or columns (1) an average divides by."""
    low = window * layer.stride[axis] - layer.pads[axis]
    high = low + layer.kernel[axis]
    if layer.count_include_pad:
        return min(high, size + layer.pads[2 + axis]) - low
    return min(high, size) - max(low, 0)


def regions(counts: list[int]) -> list[tuple[int, int, int]]:
    """Return (first, length, count) of the stretches of equal counts."""
    result, first = [], 0
    for count, members in groupby(counts):
        length = len(list(members))
        result.append((first, length, count))
        first += length
    return result


def emit_pool(emitter: Emitter, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> None:
    """Append the code of a pooling layer. Raises MappingError if a window of one channel word does not fit on chip."""
    blocks = AverageBlocks(emitter, layer) if layer.kind is PoolKind.AVERAGE else None
    fill = INT8_MIN if layer.kind is PoolKind.MAX else _params(layer).zero_a
    choice = (
        cheapest(emitter.spec, _candidates(emitter, layer, out, source)) if max(layer.kernel) <= MAX_WINDOW else None
    )
    if choice is None:
        window = layer.kernel[0] * layer.kernel[1] * emitter.group_size
        raise MappingError(
            f"{layer.name}: a pooling window must be at most {MAX_WINDOW} x {MAX_WINDOW} and, one channel word deep, "
            f"fit the activation buffer: {layer.kernel[0]} x {layer.kernel[1]} needs {window} bytes of "
            f"{emitter.spec.buffers.activation.capacity_bytes}; enlarge `buffers.activation.capacity_bytes`"
        )
    tile, slots = choice
    base = emitter.activation.alloc(tile.on_chip_bytes * slots, emitter.group_size, who=layer.name)
    for number, (batch, word, rows, columns) in enumerate(_tiles(layer, tile.sizes, out, source)):
        chip = base + number % slots * tile.on_chip_bytes
        words = min(tile.sizes[2], out.words - word)
        pixel = words * emitter.group_size
        result = chip + tile.loaded_bytes
        box = Padded(
            ny=rows.real, nx=columns.real, run_bytes=pixel, dram_y=source.row_bytes, dram_x=source.column_bytes,
            dst_y=columns.size * pixel, top=rows.before, bottom=rows.after, left_bytes=columns.before * pixel,
            right_bytes=columns.after * pixel, fill=fill,
        )  # fmt: skip
        load_padded(emitter, box, source.at(batch, rows.start, columns.start, word), chip)
        _issue(emitter, layer, blocks, rows, columns, words, (chip, result), source.shape)
        axes = (
            Axis(rows.windows, (out.row_bytes, columns.windows * pixel)),
            Axis(columns.windows, (out.column_bytes, pixel)),
            Axis(pixel, (1, 1)),
        )
        store_nest(emitter, axes, out.at(batch, rows.first, columns.first, word), result)


class AverageBlocks:
    """Parameter blocks of an average, one per count; all stay on chip if they fit, else each use loads its own."""

    def __init__(self, emitter: Emitter, layer: Pool2d) -> None:
        self._emitter = emitter
        self._layer = layer
        self._resident: dict[int, tuple[int, int]] = {}
        self._known = {count: (multiplier, shift) for count, multiplier, shift in layer.count_multipliers}

    def at(self, count: int) -> tuple[int, int]:
        """Return address and bytes of the block for windows of `count` elements, loaded by now."""
        known = self._resident.get(count)
        if known is not None:
            return known
        params = _params(self._layer)
        full = self._layer.kernel[0] * self._layer.kernel[1]
        if count not in self._known and count != full:
            raise MappingError(f"{self._layer.name}: has no multiplier for windows of {count} elements; quantize again")
        multiplier, shift = self._known.get(count, (params.mult_a, params.shift))
        params = replace(params, mult_a=multiplier, shift=shift)
        block = vector_block(Opcode.AVERAGE, params, channels=0, words=0, group_size=self._emitter.group_size)
        place = load_block(self._emitter, block, self._layer.name)
        self._resident = {
            other: held
            for other, held in self._resident.items()
            if held[0] + held[1] <= place[0] or held[0] >= sum(place)
        }
        self._resident[count] = place
        return place


def _params(layer: Pool2d) -> VectorParams:
    if layer.params is None:
        raise MappingError(f"{layer.name}: has no quantized parameters; quantize the network before compiling it")
    return layer.params


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


def _candidates(emitter: Emitter, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> Iterator[TileCost]:
    """Yield tiles (rows, columns, words) of the output with the input bytes they need."""
    batch, rows, columns, _ = out.shape
    group_size, lanes = emitter.group_size, emitter.spec.vector.lanes
    opcode = Opcode.MAXIMUM if layer.kind is PoolKind.MAX else Opcode.AVERAGE
    for y, x, w in product(halvings(rows), halvings(columns), halvings(out.words)):
        read_rows = (y - 1) * layer.stride[0] + layer.kernel[0]
        read_columns = (x - 1) * layer.stride[1] + layer.kernel[1]
        pixel = w * group_size
        if max(layer.pads[1], layer.pads[3] + layer.extra_pads[1]) * pixel > MAX_PAD_BYTES:
            continue
        loaded, stored = read_rows * read_columns * pixel, y * x * pixel
        yield TileCost(
            sizes=(y, x, w), on_chip_bytes=loaded + stored, loaded_bytes=loaded, stored_bytes=stored,
            tiles=batch * ceil_div(rows, y) * ceil_div(columns, x) * ceil_div(out.words, w),
            work_cycles=vector_cycles(
                opcode, ny=y, nx=x, nc=w, kh=layer.kernel[0], kw=layer.kernel[1], group_size=group_size,
                vector_lanes=lanes,
            ),
        )  # fmt: skip


def _issue(
    emitter: Emitter, layer: Pool2d, blocks: AverageBlocks | None, rows: Span, columns: Span, words: int,
    chips: tuple[int, int], shape: tuple[int, int, int, int],
) -> None:  # fmt: skip
    """Append the VECTOR instructions of one tile: input at chips[0], result at chips[1]."""
    pixel = words * emitter.group_size
    line = columns.size * pixel
    if blocks is None:
        parts = [((0, rows.windows, 1), (0, columns.windows, 1))]
    else:
        row_counts = [counted(layer, 0, rows.first + i, shape[1]) for i in range(rows.windows)]
        column_counts = [counted(layer, 1, columns.first + i, shape[2]) for i in range(columns.windows)]
        parts = list(product(regions(row_counts), regions(column_counts)))
    for (y, ny, row_count), (x, nx, column_count) in parts:
        par = (0, 0) if blocks is None else blocks.at(row_count * column_count)
        emitter.vector(
            Opcode.MAXIMUM if blocks is None else Opcode.AVERAGE,
            a=chips[0] + y * layer.stride[0] * line + x * layer.stride[1] * pixel,
            a_y=layer.stride[0] * line, a_x=layer.stride[1] * pixel, a_ky=line, a_kx=pixel, kh=layer.kernel[0],
            kw=layer.kernel[1], d=chips[1] + (y * columns.windows + x) * pixel, d_y=columns.windows * pixel, d_x=pixel,
            ny=ny, nx=nx, nc=words, par=par[0], par_bytes=par[1],
        )  # fmt: skip
