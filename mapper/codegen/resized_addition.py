"""Add an enlarged tensor to another one without making it: an addition in whose tiles a Resize runs.

The array reads every pixel of the small tensor as often as it is repeated, through chains of weight 1, so that its sums
are those of a tile of the enlarged one; what requantizes them adds the other operand in the same pass (REQUANTIZE_ADD).
The enlarged tensor is neither stored nor loaded.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product

import numpy as np

from gossamer.arch.accumulator import tile_entries
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Opcode, Space, index_pitch_bytes
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import compute_cycles, vector_cycles
from gossamer.dataflow.network import Binary, Network, Resize
from gossamer.mapper.allocate import REGION_ALIGN_BYTES, TensorPlace, align
from gossamer.mapper.codegen.channel_maps import pack_indices
from gossamer.mapper.codegen.mac_layers import joined_operand
from gossamer.mapper.codegen.parameters import pass_through, requantize_block, requantize_block_bytes
from gossamer.mapper.codegen.strided import Nest, nest
from gossamer.mapper.codegen.tile_choice import TileCost, cheapest, halvings, tile_count
from gossamer.mapper.codegen.transfer import MAX_COUNT, load_block, load_nest, load_range, store_nest
from gossamer.mapper.codegen.vector import vector_record
from gossamer.mapper.emit import Emitter

Ones = tuple[int, int]
"""Addresses of the weights of 1 and of their indices."""


def resized_tiles(spec: SparseAccelerator, layer: Resize, source: TensorPlace) -> tuple[TileCost, int] | None:
    """Return the rows, columns and words of the small tensor in a tile, and how many tiles are on chip; None: none."""
    array, buffers = spec.array, spec.buffers
    rows_by, columns_by = layer.factors
    batch, *pixels, _ = source.shape
    sizes, most = (*pixels, source.words), _block_words(spec, source)
    longest = spec.axi.burst_beats * spec.axi.data_bits // 8
    if (
        most * array.chains > buffers.weight.capacity_bytes
        or most * index_pitch_bytes(array.chains, array.group_size.bit_length() - 1) > buffers.index.capacity_bytes
        or requantize_block_bytes(most, array.group_size, has_table=False) > buffers.parameter.capacity_bytes
    ):
        return None

    def candidates() -> Iterator[TileCost]:
        """Rows are cut first; words only to bursts of the longest, unless a pixel is too large."""
        rows, columns, all_words = sizes
        shapes = [*((y, columns) for y in halvings(rows)), *((1, x) for x in halvings(columns))]
        for (y, x), words in product(shapes, halvings(all_words)):
            ny, nx = y * rows_by, x * columns_by
            if ny * align(nx, array.lanes) > tile_entries(spec) or max(ny, nx) > MAX_COUNT:
                continue
            if words < all_words and words * array.group_size < longest and y * x > 1:
                continue
            small, large = (count * words * array.group_size for count in (y * x, ny * nx))
            yield TileCost(
                sizes=(y, x, words), on_chip_bytes=small + 2 * large, loaded_bytes=small + large, stored_bytes=large,
                loads=2, tiles=batch * tile_count(sizes, (y, x, words)),
                load_runs=_runs((y, x, words), sizes) + _runs((ny, nx, words), (0, columns * columns_by, all_words)),
                work_cycles=_work_cycles(spec, ny, nx, words, most),
            )  # fmt: skip

    return cheapest(spec, candidates())


def _runs(tile: tuple[int, ...], sizes: tuple[int, ...]) -> int:
    """Return how many pieces of a tensor of (rows, columns, words) a tile is off chip."""
    if tile[2] < sizes[2]:
        return tile[0] * tile[1]
    return tile[0] if tile[1] < sizes[1] else 1


def _block_words(spec: SparseAccelerator, source: TensorPlace) -> int:
    """Return how many words of a pixel the chains pass through at once."""
    return min(source.words, spec.array.chains // spec.array.group_size)


def _work_cycles(spec: SparseAccelerator, ny: int, nx: int, words: int, most: int) -> int:
    """Return the cycles of the busier of COMPUTE and VECTOR for a tile of ny x nx sums of so many words."""
    array, at_once = spec.array, ny if nx % spec.array.lanes == 0 else 1
    passes = adds = 0
    for first in range(0, words, most):
        count = min(most, words - first)
        passes += ny * compute_cycles(
            positions=nx, runs=1, run_words=count, steps=1, chain_length=array.chain_length, lanes=array.lanes,
            weight_rows_per_cycle=array.weight_rows_per_cycle,
        )  # fmt: skip
        adds += ny // at_once * vector_cycles(
            Opcode.REQUANTIZE_ADD, ny=at_once, nx=nx, nc=count, kh=1, kw=1, group_size=array.group_size,
            vector_lanes=spec.vector.lanes,
        )  # fmt: skip
    return max(passes, adds)


def emit_resized_addition(
    emitter: Emitter, network: Network, layer: Resize, addition: Binary, places: Mapping[str, TensorPlace]
) -> None:  # fmt: skip
    """Emit an addition and the Resize of which nobody else reads the result. Raises MappingError if no tile fits."""
    source = places[layer.inputs[0]]
    choice = resized_tiles(emitter.spec, layer, source)
    if choice is None:
        raise MappingError(
            f"{layer.name}: no tile of it and {addition.name} fits; enlarge `buffers.activation.capacity_bytes`"
        )
    _Emission(emitter, network, layer, addition, places, *choice).emit()


def _box(place: TensorPlace, rows: int, columns: int, words: int) -> Nest:
    """Return the (off-chip, on-chip) byte nest of a tile that is packed on chip."""
    pixel = words * place.group_size
    return nest((rows, columns, pixel), (place.row_bytes, place.column_bytes, 1), (columns * pixel, pixel, 1))


class _Emission:
    """The instructions of a Resize and an addition. What reads the small tensor counts for the former."""

    def __init__(
        self, emitter: Emitter, network: Network, layer: Resize, addition: Binary, places: Mapping[str, TensorPlace],
        tile: TileCost, slots: int,
    ) -> None:  # fmt: skip
        self.emitter, self.who, self.tile, self.slots = emitter, addition.name, tile, slots
        self.source, self.target = places[layer.inputs[0]], places[addition.output]
        self.joined = joined_operand(layer, addition, places)
        self.rows_by, self.columns_by = layer.factors
        self.most = _block_words(emitter.spec, self.source)
        self.number = len(emitter.layers)
        emitter.begin_layer(vector_record(network, layer), vector_record(network, addition))
        self.loaded, self.written = emitter.activation.alloc_apart(
            slots * tile.loaded_bytes, slots * tile.stored_bytes, emitter.group_size, who=self.who
        )

    def emit(self) -> None:
        """Append everything. LOADs of the next tile come before what is done with this one."""
        batch, *pixels, _ = self.source.shape
        steps = (range(0, n, t) for n, t in zip((*pixels, self.source.words), self.tile.sizes, strict=True))
        starts = list(product(range(batch), *steps))
        ones, par = self._load_ones(), self._load_parameters()
        for number, start in enumerate(starts):
            if number == 0 or self.slots == 1:
                self._load(start, 0)
            if self.slots > 1 and number + 1 < len(starts):
                self._load(starts[number + 1], (number + 1) % self.slots)
            self._add(start, number % self.slots, ones, par)

    def _sizes(self, start: tuple[int, ...]) -> tuple[int, int, int]:
        """Return rows, columns and words of the small tensor in the tile that starts at (batch, row, column, word)."""
        whole = (*self.source.shape[1:3], self.source.words)
        rows, columns, words = (min(t, n - i) for t, n, i in zip(self.tile.sizes, whole, start[1:], strict=True))
        return rows, columns, words

    def _load_ones(self) -> Ones:
        """Append the LOADs of the weights that pass a pixel's words through."""
        emitter, array = self.emitter, self.emitter.spec.array
        chain = np.arange(self.most * array.group_size)
        values, indices = np.zeros((self.most, array.chains), np.uint8), np.zeros((self.most, array.chains), np.int64)
        values[chain // array.group_size, chain] = 1
        indices[chain // array.group_size, chain] = chain % array.group_size
        planes = values, pack_indices(indices, array.group_size)
        weight_bytes, index_bytes = (align(plane.nbytes, REGION_ALIGN_BYTES) for plane in planes)
        record = replace(emitter.layers[self.number], weight_bytes=weight_bytes, index_bytes=index_bytes)
        emitter.layers[self.number] = record
        addresses = []
        for space, ring, plane in zip(
            (Space.WEIGHT, Space.INDEX), (emitter.weight, emitter.index), planes, strict=True
        ):
            addresses.append(ring.alloc(plane.nbytes, plane.shape[1], who=self.who))
            load_range(emitter, space, emitter.memory.constant(plane), addresses[-1], plane.nbytes)
        return addresses[0], addresses[1]

    def _load_parameters(self) -> int:
        self.emitter.resume_layer(self.number + 1)
        word, channels = self.emitter.group_size, self.most * self.emitter.group_size
        block = requantize_block(
            pass_through(0, channels, 0), first=0, channels=channels, words=self.most, group_size=word,
            addition=self.joined.addition,
        )  # fmt: skip
        return load_block(self.emitter, block, self.who)[0]

    def _load(self, start: tuple[int, ...], slot: int) -> None:
        """Append the LOADs of a tile of both operands, the small one first."""
        (rows, columns, words), chip = self._sizes(start), self.loaded + slot * self.tile.loaded_bytes
        batch, y, x, word = start
        self.emitter.resume_layer(self.number)
        load_nest(self.emitter, _box(self.source, rows, columns, words), self.source.at(batch, y, x, word), chip)
        chip += rows * columns * words * self.emitter.group_size
        operand, (rows, columns, y, x) = self.joined.operand, self._enlarged(rows, columns, y, x)
        self.emitter.resume_layer(self.number + 1)
        load_nest(self.emitter, _box(operand, rows, columns, words), operand.at(batch, y, x, word), chip)

    def _enlarged(self, rows: int, columns: int, y: int, x: int) -> tuple[int, int, int, int]:
        return rows * self.rows_by, columns * self.columns_by, y * self.rows_by, x * self.columns_by

    def _add(self, start: tuple[int, ...], slot: int, ones: Ones, par: int) -> None:
        """Append what makes and stores a tile of the result."""
        emitter, word, (rows, columns, words) = self.emitter, self.emitter.group_size, self._sizes(start)
        batch, y, x, first_word = start
        pixel, source = words * word, self.loaded + slot * self.tile.loaded_bytes
        operand = source + rows * columns * pixel
        result = self.written + slot * self.tile.stored_bytes
        ny, nx, y, x = self._enlarged(rows, columns, y, x)
        pitch = align(nx, emitter.spec.array.lanes)
        at_once = ny if pitch == nx else 1
        for first in range(0, words, self.most):
            count = min(self.most, words - first)
            sums = emitter.accumulator.alloc(ny * pitch, who=self.who)
            emitter.resume_layer(self.number)
            for row in range(ny):
                emitter.compute(
                    a=source + row // self.rows_by * columns * pixel + first * word, a_y=pixel, a_x=0, ny=columns,
                    nx=self.columns_by, n_ry=1, n_rx=1, r_y=0, r_x=0, run_words=count, w=ones[0], i=ones[1], steps=1,
                    slots=1, index_bits=word.bit_length() - 1, acc=sums + row * pitch, clear=1,
                    chains_active=count * word,
                )  # fmt: skip
            emitter.resume_layer(self.number + 1)
            for row in range(0, ny, at_once):
                at = row * nx * pixel + first * word
                emitter.vector(
                    Opcode.REQUANTIZE_ADD, a=sums + row * pitch, b=operand + at, b_y=nx * pixel, b_x=pixel,
                    d=result + at, d_y=nx * pixel, d_x=pixel, ny=at_once, nx=nx, nc=count, par=par,
                    par_bytes=requantize_block_bytes(count, word, has_table=False),
                )  # fmt: skip
        store_nest(emitter, _box(self.target, ny, nx, words), self.target.at(batch, y, x, first_word), result)
