"""Generate code for Permute: read the input as `view`, transpose by `order`, read the result as the output's shape.

Four cases, cheapest first: nothing moves; whole words move (strided DMA); channels move within every pixel in the same
way (one-hot convolution on the array); anything else is gathered byte by byte into output pixels, a scatter where bytes
are adjacent off chip.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import MappingError
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.network import Permute
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.channel_maps import ChannelMap, emit_channel_maps
from gossamer.mapper.codegen.movement import emit_copy, place_strides
from gossamer.mapper.codegen.strided import Axis, Nest, collapse, offsets, permutation_nest
from gossamer.mapper.codegen.tile_choice import TileCost, cheapest, halvings
from gossamer.mapper.codegen.transfer import fill_range, load_nest, store_nest
from gossamer.mapper.emit import Emitter

CHANNELS = 3
"""Axis number of the channels of a stored shape."""


def emit_permute(emitter: Emitter, layer: Permute, out: TensorPlace, source: TensorPlace) -> None:
    """Append the code of a Permute. Raises MappingError if the smallest piece of output does not fit on chip."""
    moves = permutation_nest(*pixel_axes(source), layer.view, layer.order, *pixel_axes(out))
    words = None if moves is None else word_nest(moves, source, out)
    if words is not None:
        if source.address != out.address or any(axis.strides[0] != axis.strides[1] for axis in words):
            emit_copy(emitter, layer.name, words, source.address, out.address)
        return
    taken = channel_permutation(layer, out, source)
    if taken is not None:
        emit_channel_maps(emitter, layer.name, out, [ChannelMap(source, taken, np.arange(taken.size))])
        return
    emit_gather(emitter, layer, out, source)


def pixel_axes(place: TensorPlace) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return shape and byte strides of a tensor with as few pixel axes as its place allows, channels last."""
    if place.is_contiguous:
        return (math.prod(place.shape[:CHANNELS]), place.shape[CHANNELS]), (place.column_bytes, 1)
    return place.shape, (*place_strides(place), 1)


def word_nest(moves: Nest, source: TensorPlace, out: TensorPlace) -> Nest | None:
    """Return the nest with a last axis of whole words if every word of the output is a word of the input, else None.

    A last word of a pixel that is not full counts as whole if it is the last of a pixel on both sides.
    """
    merged = collapse(moves)
    group_size = out.group_size
    run = merged[-1] if merged and merged[-1].strides == (1, 1) else Axis(1, (1, 1))
    lines = merged[:-1] if merged and merged[-1].strides == (1, 1) else merged
    if any(stride % group_size for axis in lines for stride in axis.strides):
        return None
    if run.size % group_size == 0:
        return (*lines, run)
    if run.size == source.shape[CHANNELS] == out.shape[CHANNELS]:
        return (*lines, Axis(out.words * group_size, (1, 1)))
    return None


def channel_permutation(layer: Permute, out: TensorPlace, source: TensorPlace) -> NDArray[np.int64] | None:
    """Return int64 [channels]: the input channel of every output channel, if that is all a Permute does; else None."""
    if out.shape != source.shape:
        return None
    pitch = out.shape[CHANNELS]
    flat, strides = (math.prod(out.shape[:CHANNELS]), pitch), (pitch, 1)
    moves = permutation_nest(flat, strides, layer.view, layer.order, flat, strides)
    if moves is None:
        return None
    within = [axis for axis in moves if axis.strides[1] < pitch]
    if any(axis.strides[0] != axis.strides[1] for axis in moves if axis.strides[1] >= pitch):
        return None
    taken = np.array([read for read, _ in offsets(within, 2)], np.int64)
    return taken if int(taken.max()) < pitch else None


@dataclass(frozen=True, slots=True)
class Piece:
    """One stretch of packed output bytes, and the (source, chip) byte nests that fill its real channels.

    `offset` counts from the output's first byte as if its pixels followed each other at their own words.
    """

    offset: int
    size_bytes: int
    moves: tuple[tuple[Nest, int, int], ...]


def emit_gather(emitter: Emitter, layer: Permute, out: TensorPlace, source: TensorPlace) -> None:
    """Append the LOADs that gather output pixels byte by byte, tile by tile, and their STOREs."""
    pitch = out.words * emitter.group_size
    channels = out.shape[CHANNELS]
    flat = (math.prod(out.shape[:CHANNELS]), channels)
    moves = permutation_nest(*pixel_axes(source), layer.view, layer.order, flat, (pitch, 1))
    if moves is None:
        choice = cheapest(emitter.spec, _listed_candidates(out))
    else:
        moves = moves or (Axis(1, (1, 1)),)
        choice = cheapest(emitter.spec, _nest_candidates(moves, pitch, emitter.group_size))
    if choice is None:
        raise MappingError(
            f"{layer.name}: one piece of an output pixel must fit the activation buffer of "
            f"{emitter.spec.buffers.activation.capacity_bytes} bytes; enlarge `buffers.activation.capacity_bytes`"
        )
    tile, slots = choice
    base = emitter.activation.alloc(tile.on_chip_bytes * slots, emitter.group_size, who=layer.name)
    if moves is None:
        pieces = _listed_pieces(layer, out, source, tile.sizes)
    else:
        pieces = _nest_pieces(moves, tile.sizes, pitch, emitter.group_size)
    for number, piece in enumerate(pieces):
        chip = base + number % slots * tile.on_chip_bytes
        if channels % emitter.group_size and (number < slots or tile.on_chip_bytes % pitch):
            fill_range(
                emitter, source=source.address, dst=chip, size_bytes=tile.on_chip_bytes, fill=out.quant.zero_point
            )
        for axes, read, write in piece.moves:
            load_nest(emitter, axes, source.address + read, chip + write)
        _store_piece(emitter, out, piece, chip)


def _store_piece(emitter: Emitter, out: TensorPlace, piece: Piece, chip: int) -> None:
    """Append the STOREs of a piece: whole pixels, row by row unless they are contiguous, or a part of one pixel."""
    pitch = out.words * out.group_size
    _, rows, columns, _ = out.shape
    pixel, within = divmod(piece.offset, pitch)
    if piece.size_bytes % pitch:
        address = out.at(*divmod(pixel // columns, rows), pixel % columns) + within
        store_nest(emitter, (Axis(piece.size_bytes, (1, 1)),), address, chip)
        return
    last = pixel + piece.size_bytes // pitch
    while pixel < last:
        count = last - pixel if out.is_contiguous else min(last - pixel, columns - pixel % columns)
        axes = (Axis(count, (out.column_bytes, pitch)), Axis(pitch, (1, 1)))
        store_nest(emitter, axes, out.at(*divmod(pixel // columns, rows), pixel % columns), chip)
        chip += count * pitch
        pixel += count


def _gather_cost(sizes: tuple[int, ...], held: int, tiles: int) -> TileCost:
    return TileCost(
        sizes=sizes, on_chip_bytes=held, tiles=tiles, loaded_bytes=held, stored_bytes=held, work_cycles=held
    )


def _nest_candidates(moves: Nest, pitch: int, group_size: int) -> Iterator[TileCost]:
    """Yield tiles of a destination-ordered nest: one axis cut, inner ones whole; every tile starts at a whole word."""
    sizes = [axis.size for axis in moves]
    for cut, axis in enumerate(moves):
        step = axis.strides[1]
        if any(outer.strides[1] % group_size for outer in moves[:cut]):
            return
        quantum = 1 if step >= pitch else group_size // math.gcd(step, group_size)
        for part in halvings(sizes[cut]):
            part = min(sizes[cut], ceil_div(part, quantum) * quantum)
            held = ceil_div(part * step, group_size) * group_size
            whole = part == sizes[cut] and step < pitch and all(outer.strides[1] >= pitch for outer in moves[:cut])
            yield _gather_cost(
                (*(1,) * cut, part, *sizes[cut + 1 :]), pitch if whole else held,
                math.prod(sizes[:cut]) * ceil_div(sizes[cut], part),
            )  # fmt: skip


def _nest_pieces(moves: Nest, tile: Sequence[int], pitch: int, group_size: int) -> Iterator[Piece]:
    """Yield the pieces of a nest cut into tiles."""
    for start in product(*(range(0, axis.size, size) for axis, size in zip(moves, tile, strict=True))):
        sizes = [min(t, axis.size - i) for t, axis, i in zip(tile, moves, start, strict=True)]
        read, write = (sum(i * axis.strides[o] for i, axis in zip(start, moves, strict=True)) for o in (0, 1))
        spans = [(n - 1) * axis.strides[1] for n, axis in zip(sizes, moves, strict=True)]
        size_bytes = ceil_div(sum(spans) + 1, group_size) * group_size
        if all(n == axis.size for n, axis in zip(sizes, moves, strict=True) if axis.strides[1] < pitch):
            size_bytes = ceil_div(size_bytes, pitch) * pitch
        axes = tuple(Axis(n, axis.strides) for n, axis in zip(sizes, moves, strict=True))
        yield Piece(write, size_bytes, ((axes, read, 0),))


def _listed_candidates(out: TensorPlace) -> Iterator[TileCost]:
    """Yield tiles (pixels, channels) of an output gathered pixel by pixel."""
    pitch = out.words * out.group_size
    pixels = math.prod(out.shape[:CHANNELS])
    for count in halvings(pixels):
        yield _gather_cost((count, pitch), count * pitch, ceil_div(pixels, count))
    for words in halvings(out.words):
        held = words * out.group_size
        yield _gather_cost((1, held), held, pixels * ceil_div(out.words, words))


def _listed_pieces(layer: Permute, out: TensorPlace, source: TensorPlace, tile: Sequence[int]) -> Iterator[Piece]:
    """Yield the pieces of a Permute whose boundaries cross, from the source offset of every single element."""
    strides = (*place_strides(source), 1)
    reads = sum(
        np.arange(size).reshape([-1 if axis == own else 1 for axis in range(4)]) * stride
        for own, (size, stride) in enumerate(zip(source.shape, strides, strict=True))
    )
    channels = out.shape[CHANNELS]
    listed = np.asarray(reads).reshape(layer.view).transpose(layer.order).reshape(-1, channels)
    pitch = out.words * out.group_size
    for pixel, first in product(range(0, len(listed), tile[0]), range(0, channels, tile[1])):
        block = listed[pixel : pixel + tile[0], first : first + tile[1]]
        moves = [
            (axes, read, at * pitch + start)
            for at, row in enumerate(block.tolist())
            for axes, read, start in _stretches(row)
        ]
        size_bytes = (
            len(block) * pitch if tile[1] == pitch else ceil_div(block.shape[1], out.group_size) * out.group_size
        )
        yield Piece(pixel * pitch + first, size_bytes, tuple(moves))


def _stretches(row: Sequence[int]) -> Iterator[tuple[Nest, int, int]]:
    """Yield (nest, first source offset, first position) of the stretches of one stride in a row of offsets."""
    start = 0
    while start < len(row):
        stop = start + 1
        step = row[stop] - row[start] if stop < len(row) else 1
        while stop < len(row) and step > 0 and row[stop] - row[stop - 1] == step:
            stop += 1
        yield (Axis(stop - start, (step if stop > start + 1 else 1, 1)),), row[start], start
        start = stop
