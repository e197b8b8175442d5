"""Build the LOADs of multiply-accumulate layers: padded input tiles and packed weight rows."""

from typing import Any, Protocol

from gossamer.arch.isa import Space, index_pitch_bytes
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import Block, ConvMapping, ConvShape, Split, Tile, input_extent
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.packing import WeightPlanes, row_chains
from gossamer.mapper.emit import Emitter

Row = tuple[int, ...]
"""Operands of one instruction in table order, as `Emitter.append` takes them."""

RUN_LIMIT = 2**20 - 1
LINE_LIMIT = 2**16 - 1
PAD_LIMIT = 2**8 - 1
FILL_LIMIT = 2**16
"""Largest `run_bytes`, `ny` or `nx`, `pad_top`, and filled line of a LOAD."""


class WeightSource(Protocol):
    """Where the weight rows of a (block, split) come from."""

    def loads(self, number: int, part: int, block: Block, split: Split, w: int, i: int) -> list[Row]:
        """Return the LOADs that fill the weight buffer from `w` and the index buffer from `i`."""


def run_pieces(run_bytes: int) -> int:
    """Return the fewest equal pieces a run must be cut into to fit `run_bytes`."""
    pieces = ceil_div(run_bytes, RUN_LIMIT)
    while run_bytes % pieces:
        pieces += 1
    return pieces


def load_row(space: Space, *, dram: int, dst: int, run_bytes: int, ny: int = 1, nx: int = 1, dram_y: int = 0,
             dram_x: int = 0, dst_y: int = 0, dst_x: int = 0, dst_e: int = 1, pad_top: int = 0, pad_bottom: int = 0,
             pad_left: int = 0, pad_right: int = 0, fill: int = 0) -> Row:  # fmt: skip
    """Return the operands of a LOAD in table order."""
    return (space, dram, dram_y, dram_x, ny, nx, run_bytes, dst, dst_y, dst_x, dst_e, pad_top, pad_bottom, pad_left,
            pad_right, fill)  # fmt: skip


def fill_lines(space: Space, dst: int, lines: int, line_bytes: int, pitch: int, fill: int) -> list[Row]:
    """Return LOADs that fill `lines` lines (none if not positive), `pitch` bytes apart, and read nothing."""
    if line_bytes > FILL_LIMIT:
        half = line_bytes // 32 * 16  # whole words
        left = fill_lines(space, dst, lines, half, pitch, fill)
        return left + fill_lines(space, dst + half, lines, line_bytes - half, pitch, fill)
    return [
        load_row(
            space,
            dram=0,
            dst=dst + first * pitch,
            run_bytes=1,
            ny=0,
            dst_y=pitch,
            pad_top=min(PAD_LIMIT, lines - first),
            pad_right=line_bytes - 1,
            fill=fill,
        )
        for first in range(0, lines, PAD_LIMIT)
    ]


def plane_loads(space: Space, dram: int, dst: int, rows: int, row_bytes: int, pitch: int) -> list[Row]:
    """Return LOADs of `rows` consecutive off-chip rows into buffer rows `pitch` bytes apart."""
    if row_bytes == pitch:
        total = rows * row_bytes
        pieces = run_pieces(total)
        size = total // pieces
        return [load_row(space, dram=dram, dst=dst, run_bytes=size, nx=pieces, dram_x=size, dst_x=size)]
    return [
        load_row(
            space, dram=dram + first * row_bytes, dst=dst + first * pitch, run_bytes=row_bytes,
            ny=min(LINE_LIMIT, rows - first), dram_y=row_bytes, dst_y=pitch,
        )
        for first in range(0, rows, LINE_LIMIT)
    ]  # fmt: skip


class PackedWeights:
    """Weights that are constants of the program. `planes`: off-chip address and bytes of values and of indices."""

    def __init__(self, emitter: Emitter, mapping: ConvMapping, planes: WeightPlanes) -> None:
        self._mapping, self._planes = mapping, planes
        self._values = emitter.memory.constant(planes.values)
        self._indices = emitter.memory.constant(planes.indices) if planes.indices.size else 0
        self.planes = ((self._values, planes.values.size), (self._indices, planes.indices.size))
        self._group_size, self._chains = emitter.group_size, emitter.spec.array.chains
        self._pitch = index_pitch_bytes(emitter.spec.array.chains, mapping.shape.index_bits)

    def loads(self, number: int, part: int, block: Block, split: Split, w: int, i: int) -> list[Row]:
        """Return the LOADs of a (block, split)."""
        rows, per_row = self._mapping.weight_rows(split), row_chains(block, self._group_size)
        at = self._values + self._planes.value_offsets[number, part]
        result = plane_loads(Space.WEIGHT, at, w, rows, per_row, self._chains)
        bits = self._mapping.shape.index_bits
        if bits:
            at = self._indices + self._planes.index_offsets[number, part]
            result += plane_loads(Space.INDEX, at, i, rows, per_row * bits // 8, self._pitch)
        return result


class InputTiles:
    """LOADs of the input tiles of one layer."""

    def __init__(self, shape: ConvShape, source: TensorPlace, fill: int) -> None:
        self.shape, self.source, self.fill = shape, source, fill & 0xFF
        self.group_size = source.group_size

    def loads(self, tile: Tile, block: Block, split: Split, base: int, chunks: int = 1) -> list[Row]:
        """Return the LOADs of the input of a tile over a split, cut into about `chunks` pieces of lines or columns.

        The tile lies at `base`: [lines][columns][words of the split], without gaps.
        """
        (stride_y, stride_x), (dilation_y, dilation_x) = self.shape.stride, self.shape.dilation
        lines = input_extent(tile.rows, split.rows, stride_y, dilation_y)
        width = input_extent(tile.columns, split.columns, stride_x, dilation_x)
        top = tile.row * stride_y - self.shape.pads[0] + split.row * dilation_y
        left = tile.column * stride_x - self.shape.pads[1] + split.column * dilation_x
        word = block.word + split.word
        pixel = split.words * self.group_size
        result: list[Row] = []
        if lines == 1:
            piece = ceil_div(width, chunks)
            for first in range(0, width, piece):
                count = min(piece, width - first)
                at = base + first * pixel
                result += self._rectangle(tile.batch, top, 1, left + first, count, word, pixel, at)
            return result
        piece = ceil_div(lines, chunks)
        for first in range(0, lines, piece):
            count = min(piece, lines - first)
            at = base + first * width * pixel
            result += self._rectangle(tile.batch, top + first, count, left, width, word, pixel, at)
        return result

    def _rectangle(
        self, batch: int, top: int, lines: int, left: int, width: int, word: int, pixel: int, base: int
    ) -> list[Row]:
        """Return LOADs of input pixels [top, top + lines) x [left, left + width), filled where outside the tensor."""
        source, line = self.source, width * pixel
        low, high = max(0, top), min(self.shape.rows, top + lines)
        first, last = max(0, left), min(self.shape.columns, left + width)
        if high <= low or last <= first:
            return self._fill_lines(base, lines, line)
        rows = self._fill_lines(base, low - top - PAD_LIMIT, line)
        above = min(PAD_LIMIT, low - top)
        below = top + lines - high
        columns, start = last - first, base + (low - top - above) * line
        common: dict[str, Any] = {
            "dram": source.at(batch, low, first, word), "dst": start, "pad_top": above,
            "pad_bottom": min(PAD_LIMIT, below), "pad_left": (first - left) * pixel,
            "pad_right": (left + width - last) * pixel, "fill": self.fill,
        }  # fmt: skip
        count, run = high - low, columns * pixel
        if source.column_bytes != pixel:
            rows.append(
                load_row(
                    Space.ACTIVATION, run_bytes=pixel, ny=count, nx=columns, dram_y=source.row_bytes,
                    dram_x=source.column_bytes, dst_y=line, dst_x=pixel, **common,
                )
            )  # fmt: skip
        else:
            if run == line == source.row_bytes and above == below == 0:
                count, run = 1, run * count
            pieces = run_pieces(run)
            piece = run // pieces
            rows.append(
                load_row(
                    Space.ACTIVATION, run_bytes=piece, ny=count, nx=pieces, dram_y=source.row_bytes, dram_x=piece,
                    dst_y=line, dst_x=piece, **common,
                )
            )  # fmt: skip
        return rows + self._fill_lines(base + (lines - below + PAD_LIMIT) * line, below - PAD_LIMIT, line)

    def _fill_lines(self, base: int, lines: int, line: int) -> list[Row]:
        return fill_lines(Space.ACTIVATION, base, lines, line, line, self.fill)
