"""Generate code for layers that only move data: concat, slice, resize; `permute_codegen` has the transposes.

What keeps words whole is strided DMA, LOAD and STORE of the same range; what moves channels within a pixel is a one-hot
convolution on the array; what crosses the channel axis is gathered byte by byte. A tensor that the memory map already
put where it belongs costs nothing.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Opcode
from gossamer.arch.timing import vector_cycles
from gossamer.dataflow.network import Concat, Resize, Slice
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.channel_maps import ChannelMap, emit_channel_maps
from gossamer.mapper.codegen.strided import Axis, Nest, collapse, nest
from gossamer.mapper.codegen.tile_choice import TileCost, cheapest, halvings, tile_count
from gossamer.mapper.codegen.transfer import load_nest, store_nest
from gossamer.mapper.emit import Emitter

CHANNELS = 3
"""Axis number of the channels of a stored shape."""


def place_strides(place: TensorPlace) -> tuple[int, int, int]:
    """Return a tensor's off-chip bytes per batch, row and column."""
    return place.batch_bytes, place.row_bytes, place.column_bytes


def is_same_place(a: TensorPlace, b: TensorPlace) -> bool:
    """Whether two tensors of one shape are the same bytes, so that copying one to the other is nothing."""
    same = all(s == t or size == 1 for s, t, size in zip(place_strides(a), place_strides(b), a.shape, strict=False))
    return a.address == b.address and same


def emit_concat(emitter: Emitter, layer: Concat, out: TensorPlace, sources: Sequence[TensorPlace]) -> None:
    """Append the code of a concat; inputs stored in place by their producers cost nothing."""
    starts = np.cumsum([0, *(source.shape[layer.axis] for source in sources)]).tolist()[:-1]
    if layer.axis == CHANNELS and any(start % emitter.group_size for start in starts):
        maps = [
            ChannelMap(source, np.arange(source.shape[CHANNELS]), start + np.arange(source.shape[CHANNELS]))
            for source, start in zip(sources, starts, strict=True)
        ]
        emit_channel_maps(emitter, layer.name, out, maps)
        return
    names = ("batch", "row", "column", "word")
    for source, start in zip(sources, starts, strict=True):
        first = start // emitter.group_size if layer.axis == CHANNELS else start
        part = out.slice(source.name, source.shape, out.quant, **{names[layer.axis]: first})
        if not is_same_place(source, part):
            emit_copy(emitter, layer.name, _box(source, part, source.words), source.address, part.address)


def emit_slice(emitter: Emitter, layer: Slice, out: TensorPlace, source: TensorPlace) -> None:
    """Append the code of a slice; one that the memory map made an alias costs nothing."""
    if layer.axis == CHANNELS and (layer.step != 1 or layer.start % emitter.group_size):
        taken = np.arange(layer.start, layer.stop, layer.step)
        emit_channel_maps(emitter, layer.name, out, [ChannelMap(source, taken, np.arange(taken.size))])
        return
    first = [0, 0, 0, 0]
    first[layer.axis] = layer.start // emitter.group_size if layer.axis == CHANNELS else layer.start
    address = source.at(*first)
    steps = [layer.step if axis == layer.axis else 1 for axis in range(CHANNELS)]
    reads = [step * stride for step, stride in zip(steps, place_strides(source), strict=True)]
    sizes = (*out.shape[:CHANNELS], out.words * emitter.group_size)
    axes = nest(sizes, (*reads, 1), (*place_strides(out), 1))
    if address == out.address and all(axis.strides[0] == axis.strides[1] or axis.size == 1 for axis in axes):
        return
    emit_copy(emitter, layer.name, axes, address, out.address)


def emit_resize(emitter: Emitter, layer: Resize, out: TensorPlace, source: TensorPlace) -> None:
    """Append the code of a nearest enlargement: columns by COPY on chip (or strided STOREs), rows by repeated STOREs.

    A pixel of at least a longest burst is stored once per destination column directly; smaller ones are interleaved on
    chip first, so that STORE writes long runs.
    """
    rows_by, columns_by = layer.factors
    axi = emitter.spec.axi
    whole = columns_by == 1 or source.words * emitter.group_size >= axi.burst_beats * axi.data_bits // 8
    tile, slots = _resize_tile(emitter, layer, source, interleave=not whole)
    written_bytes = tile.on_chip_bytes - tile.loaded_bytes
    loaded, written = emitter.activation.alloc_apart(
        slots * tile.loaded_bytes, slots * written_bytes, emitter.group_size, who=layer.name
    )
    batch, rows, columns, _ = source.shape
    starts = product(
        range(batch), *(range(0, n, t) for n, t in zip((rows, columns, source.words), tile.sizes, strict=True))
    )
    for number, (b, y, x, word) in enumerate(starts):
        ny, nx, nc = (
            min(t, n - i) for t, n, i in zip(tile.sizes, (rows, columns, source.words), (y, x, word), strict=True)
        )
        pixel = nc * emitter.group_size
        chip, interleaved = loaded + number % slots * tile.loaded_bytes, written + number % slots * written_bytes
        reads = nest((ny, nx, pixel), (source.row_bytes, source.column_bytes, 1), (nx * pixel, pixel, 1))
        load_nest(emitter, reads, source.at(b, y, x, word), chip)
        spread = chip if whole else interleaved
        for phase in range(0 if whole else columns_by):
            emitter.vector(
                Opcode.COPY, a=chip, a_y=nx * pixel, a_x=pixel, d=spread + phase * pixel,
                d_y=nx * columns_by * pixel, d_x=columns_by * pixel, ny=ny, nx=nx, nc=nc,
            )  # fmt: skip
        width = 1 if whole else columns_by
        for row, column in product(range(rows_by), range(columns_by // width)):
            writes = nest(
                (ny, nx * width, pixel),
                (out.row_bytes * rows_by, out.column_bytes * (columns_by // width), 1),
                (nx * width * pixel, pixel, 1),
            )
            store_nest(emitter, writes, out.at(b, y * rows_by + row, x * columns_by + column, word), spread)


def _resize_tile(emitter: Emitter, layer: Resize, source: TensorPlace, *, interleave: bool) -> tuple[TileCost, int]:
    batch, rows, columns, _ = source.shape
    rows_by, columns_by = layer.factors
    group_size, lanes = emitter.group_size, emitter.spec.vector.lanes

    def candidates() -> Iterator[TileCost]:
        for y, x, w in product(halvings(rows), halvings(columns), halvings(source.words)):
            loaded = y * x * w * group_size
            spread = loaded * columns_by if interleave else 0
            work = columns_by * vector_cycles(
                Opcode.COPY,
                ny=y,
                nx=x,
                nc=w,
                kh=1,
                kw=1,
                group_size=group_size,
                vector_lanes=lanes,
            )
            yield TileCost(
                sizes=(y, x, w), on_chip_bytes=loaded + spread, loaded_bytes=loaded,
                tiles=batch * tile_count((rows, columns, source.words), (y, x, w)),
                stored_bytes=loaded * rows_by * columns_by, stores=rows_by * (1 if interleave else columns_by),
                work_cycles=work if interleave else 0,
            )  # fmt: skip

    choice = cheapest(emitter.spec, candidates())
    if choice is None:
        raise MappingError(
            f"{layer.name}: one word and its {columns_by} copies must fit the activation buffer of "
            f"{emitter.spec.buffers.activation.capacity_bytes} bytes; enlarge `buffers.activation.capacity_bytes`"
        )
    return choice


def _box(source: TensorPlace, target: TensorPlace, words: int) -> Nest:
    """Return the (source, target) byte nest of all pixels of two tensors of one shape."""
    sizes = (*source.shape[:CHANNELS], words * source.group_size)
    return nest(sizes, (*place_strides(source), 1), (*place_strides(target), 1))


def emit_copy(emitter: Emitter, who: str, axes: Sequence[Axis], source: int, target: int) -> None:
    """Append LOADs and STOREs that copy a (source, target) byte nest of whole words, through tiles of any size."""
    group_size = emitter.group_size
    words = (*axes[:-1], Axis(axes[-1].size // group_size, (group_size, group_size)))
    merged = collapse(words) or (Axis(1, (group_size, group_size)),)
    if merged[-1].strides != (group_size, group_size):
        merged = (*merged, Axis(1, (group_size, group_size)))
    choice = cheapest(emitter.spec, _copy_tiles(merged, group_size))
    if choice is None:
        raise MappingError(
            f"{who}: one word must fit the activation buffer; enlarge `buffers.activation.capacity_bytes`"
        )
    tile, slots = choice
    base = emitter.activation.alloc(tile.on_chip_bytes * slots, group_size, who=who)
    ranges = [range(0, axis.size, size) for axis, size in zip(merged, tile.sizes, strict=True)]
    for number, start in enumerate(product(*ranges)):
        sizes = [min(t, axis.size - i) for t, axis, i in zip(tile.sizes, merged, start, strict=True)]
        packed = [math.prod(sizes[i + 1 :]) * group_size for i in range(len(sizes))]
        there, here = (sum(i * axis.strides[o] for i, axis in zip(start, merged, strict=True)) for o in (0, 1))
        chip = base + number % slots * tile.on_chip_bytes
        run = Axis(sizes[-1] * group_size, (1, 1))
        lines = list(zip(sizes, merged, packed, strict=True))[:-1]
        load_nest(emitter, [*(Axis(n, (axis.strides[0], step)) for n, axis, step in lines), run], source + there, chip)
        store_nest(emitter, [*(Axis(n, (axis.strides[1], step)) for n, axis, step in lines), run], target + here, chip)


def _copy_tiles(axes: Nest, group_size: int) -> Iterator[TileCost]:
    """Yield tiles of a copy: inner axes whole, one axis cut, outer axes one."""
    sizes = [axis.size for axis in axes]
    for cut in range(len(axes)):
        for part in halvings(sizes[cut]):
            tile = (*(1,) * cut, part, *sizes[cut + 1 :])
            held = math.prod(tile) * group_size
            yield TileCost(
                sizes=tile, on_chip_bytes=held, tiles=tile_count(sizes, tile), loaded_bytes=held, stored_bytes=held,
                work_cycles=0,
            )  # fmt: skip
