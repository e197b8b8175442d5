"""Generate code for layers that one VECTOR instruction per tile computes: elementwise, tables, normalisations.

Each layer is a nest (batch, row, column, word) over its output and inputs. Axes that are contiguous for all operands
merge, so that a layer without broadcasting becomes one long row of words and fills the widest vector lanes; the
normalisations keep a pixel's channels together. Tiles of the nest go through the activation buffer in ping-pong slots.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from gossamer.arch.errors import MappingError
from gossamer.arch.isa import FIELDS, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import vector_cycles
from gossamer.dataflow.network import (
    Binary,
    BinaryKind,
    Concat,
    Layer,
    LayerNorm,
    Lrn,
    Network,
    Permute,
    Pool2d,
    Resize,
    Slice,
    Softmax,
    Unary,
)
from gossamer.dataflow.numerics import VectorParams
from gossamer.dataflow.program import LayerRecord
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.movement import emit_concat, emit_resize, emit_slice
from gossamer.mapper.codegen.parameters import vector_block
from gossamer.mapper.codegen.permute import emit_permute
from gossamer.mapper.codegen.pooling import emit_pool
from gossamer.mapper.codegen.strided import Axis, Nest, collapse, nest
from gossamer.mapper.codegen.tile_choice import TileCost, cheapest, halvings, slotted_cycles, tile_count
from gossamer.mapper.codegen.transfer import load_block, load_nest, store_nest
from gossamer.mapper.emit import Emitter

_VECTOR_BITS = {field.name: field.bits for field in FIELDS[Opcode.TABLE]}
MAX_WORDS = (1 << _VECTOR_BITS["nc"]) - 1
MAX_POSITIONS = (1 << _VECTOR_BITS["nx"]) - 1

SECOND = 2
"""Operand number of source B; 0 is the destination, 1 source A."""

_WHOLE_ROWS = (Opcode.SOFTMAX, Opcode.LAYER_NORM, Opcode.LRN)
BINARY_OPCODES = {
    BinaryKind.ADD: Opcode.ADD,
    BinaryKind.SUBTRACT: Opcode.ADD,
    BinaryKind.MULTIPLY: Opcode.MULTIPLY,
}


def emit_vector_layer(emitter: Emitter, network: Network, layer: Layer, places: Mapping[str, TensorPlace]) -> None:
    """Append the instructions of one layer without multiply-accumulates.

    `places` has the off-chip place of every tensor of the layer. Raises MappingError for a layer that is not of this
    kind, has no parameters yet, or whose smallest tile exceeds a buffer.
    """
    out = places[layer.output]
    sources = [places[name] for name in layer.inputs]
    emitter.begin_layer(vector_record(network, layer))
    match layer:
        case Binary() | Unary() | Softmax() | LayerNorm() | Lrn():
            emit_stream(emitter, layer, stream_opcode(layer), vector_params(layer, layer.params), out, sources)
        case Pool2d():
            emit_pool(emitter, layer, out, sources[0])
        case Concat():
            emit_concat(emitter, layer, out, sources)
        case Slice():
            emit_slice(emitter, layer, out, sources[0])
        case Resize():
            emit_resize(emitter, layer, out, sources[0])
        case Permute():
            emit_permute(emitter, layer, out, sources[0])
        case _:
            raise MappingError(f"{layer.name}: {type(layer).__name__} is not a layer the VECTOR engine or DMA computes")


StreamLayer = Binary | Unary | Softmax | LayerNorm | Lrn
"""Layers that are one opcode over whole tensors."""


def stream_opcode(layer: StreamLayer) -> Opcode:
    """Return the opcode of a layer."""
    match layer:
        case Binary():
            return BINARY_OPCODES[layer.kind]
        case Unary():
            return Opcode.TABLE
        case Softmax():
            return Opcode.SOFTMAX
        case LayerNorm():
            return Opcode.LAYER_NORM
        case Lrn():
            return Opcode.LRN


def vector_record(network: Network, layer: Layer) -> LayerRecord:
    """Return the report record of a layer without multiply-accumulates."""
    batch, rows, columns, channels = network.tensors[layer.output].shape
    window = layer.kernel[0] * layer.kernel[1] if isinstance(layer, Pool2d) else 1
    return LayerRecord(
        name=layer.name, op=layer.op, positions=batch * rows * columns, channels=channels, reduction=window, macs=0,
        dense_macs=0, weight_bytes=0, index_bytes=0, pattern="",
    )  # fmt: skip


def vector_params(layer: Layer, params: VectorParams | None) -> VectorParams:
    """Return the parameters of a layer. Raises MappingError if it has none yet."""
    if params is None:
        raise MappingError(f"{layer.name}: has no quantized parameters; quantize the network before compiling it")
    return params


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One VECTOR opcode over a nest of exactly four axes: outer loop, rows, columns, words.

    Operand 0 is the destination, 1 source A, 2 (if there) source B; strides are off-chip bytes. `single_b`: B has one
    channel, its word axis has stride 0 and one word per position is loaded.
    """

    opcode: Opcode
    who: str
    axes: Nest
    single_b: bool
    window: int

    @property
    def operands(self) -> int:
        """Operands including the destination."""
        return len(self.axes[0].strides)

    def offset(self, operand: int, start: Sequence[int]) -> int:
        """Return the off-chip bytes from an operand's first word to its word at index `start`."""
        return sum(index * axis.strides[operand] for index, axis in zip(start, self.axes, strict=True))

    def words(self, operand: int, tile: Sequence[int]) -> int:
        """Return the words one operand of a tile holds on chip; broadcast axes hold one."""
        count = 1
        for axis, size in zip(self.axes, tile, strict=True):
            count *= size if axis.strides[operand] else 1
        return count

    def chip_strides(self, operand: int, tile: Sequence[int], group_size: int) -> list[int]:
        """Return the on-chip bytes per index of every axis of an operand of a tile, packed; 0 where broadcast."""
        strides, step = [], group_size
        for axis, size in reversed(list(zip(self.axes, tile, strict=True))):
            strides.append(step if axis.strides[operand] else 0)
            step *= size if axis.strides[operand] else 1
        return strides[::-1]


def emit_stream(
    emitter: Emitter, layer: Layer, opcode: Opcode, params: VectorParams, out: TensorPlace, sources: list[TensorPlace]
) -> None:
    """Append the code of one opcode over whole tensors, the second source broadcast along its axes of length one."""
    group_size = emitter.group_size
    stream = plan_stream(layer.name, opcode, out, sources, params.window if opcode is Opcode.LRN else 1)
    words = stream.axes[3].size
    block = vector_block(opcode, params, channels=out.shape[3], words=words, group_size=group_size)
    choice = cheapest(emitter.spec, _candidates(emitter.spec, stream))
    if choice is None:
        raise MappingError(
            f"{layer.name}: one position of {words} words and its result must fit the activation buffer of "
            f"{emitter.spec.buffers.activation.capacity_bytes} bytes and {MAX_WORDS} words; enlarge "
            "`buffers.activation.capacity_bytes`"
        )
    tile, slots = choice
    par = load_block(emitter, block, layer.name)
    written_bytes = stream.words(0, tile.sizes) * group_size
    loaded_bytes = tile.on_chip_bytes - written_bytes
    loaded, written = emitter.activation.alloc_apart(
        slots * loaded_bytes, slots * written_bytes, group_size, who=layer.name
    )  # fmt: skip
    held: dict[int, tuple[int, ...]] = {}
    for number, (start, sizes) in enumerate(tiles(stream.axes, tile.sizes)):
        slot = number % slots
        chips = [written + slot * written_bytes, loaded + slot * loaded_bytes]
        for operand in range(2, stream.operands):
            chips.append(chips[-1] + stream.words(operand - 1, tile.sizes) * group_size)
        for operand, source in enumerate(sources, start=1):
            address = source.address + stream.offset(operand, start)
            content = (address, *stream.chip_strides(operand, sizes, group_size), stream.words(operand, sizes))
            if operand == SECOND and held.get(slot) == content:
                continue  # broadcast along the tiled axes: this slot still has it
            if operand == SECOND:
                held[slot] = content
            load_nest(emitter, _moves(stream, operand, sizes, group_size), address, chips[operand])
        _issue(emitter, stream, sizes, chips, par)
        store_nest(emitter, _moves(stream, 0, sizes, group_size), out.address + stream.offset(0, start), chips[0])


def plan_stream(who: str, opcode: Opcode, out: TensorPlace, sources: Sequence[TensorPlace], window: int) -> Stream:
    """Return the merged nest of a layer; the last axis has word stride in all operands (or 0 in a single-channel B)."""
    word = out.group_size
    if sources[0].shape[3] != out.shape[3]:
        raise MappingError(f"{who}: the first operand must have all {out.shape[3]} channels, not {sources[0].shape[3]}")
    single_b = len(sources) > 1 and sources[1].shape[3] == 1 and out.shape[3] > 1
    strides = [_strides(place, out) for place in (out, *sources)]
    unit = tuple(0 if single_b and operand == SECOND else word for operand in range(len(strides)))
    scalar_b = single_b and not any(strides[SECOND])
    keep = opcode in _WHOLE_ROWS or (single_b and not scalar_b)
    sizes = (*out.shape[:3], out.words)
    full = nest(sizes, *([*each, step] for each, step in zip(strides, unit, strict=True)))
    axes = collapse(full, keep_inner=keep)
    if not axes or axes[-1].strides != unit:
        axes = (*axes, Axis(1, unit))
    lead = Axis(1, (0,) * len(unit))
    axes = (*(lead,) * (4 - len(axes)), *axes)
    return Stream(opcode=opcode, who=who, axes=axes, single_b=single_b, window=window)


def _strides(place: TensorPlace, out: TensorPlace) -> list[int]:
    """Return batch, row and column bytes of an operand, 0 where it is broadcast."""
    if any(size not in (1, full) for size, full in zip(place.shape, out.shape, strict=True)):
        raise MappingError(f"{out.name}: an operand must have shape {out.shape} or 1 along an axis, not {place.shape}")
    own = (place.batch_bytes, place.row_bytes, place.column_bytes)
    pairs = zip(place.shape[:3], out.shape[:3], own, strict=True)
    return [0 if size == 1 and full > 1 else step for size, full, step in pairs]


def stream_tiles(
    spec: SparseAccelerator, who: str, opcode: Opcode, out: TensorPlace, sources: Sequence[TensorPlace], window: int = 1
) -> tuple[TileCost, int] | None:  # fmt: skip
    """Return the cheapest tile of an opcode over whole tensors and its ping-pong slots, None if none fits."""
    return cheapest(spec, _candidates(spec, plan_stream(who, opcode, out, sources, window)))


def stream_cycles(
    spec: SparseAccelerator, who: str, opcode: Opcode, out: TensorPlace, sources: Sequence[TensorPlace]
) -> float:  # fmt: skip
    """Return about how many cycles an elementwise opcode takes over whole tensors; infinity if no tile fits."""
    choice = stream_tiles(spec, who, opcode, out, sources)
    return math.inf if choice is None else slotted_cycles(spec, *choice)


def _candidates(spec: SparseAccelerator, stream: Stream) -> Iterator[TileCost]:
    """Yield tiles, largest first: an axis is cut only where the axes outside it are cut to one."""
    outer, rows, columns, words = (axis.size for axis in stream.axes)
    group_size, lanes = spec.array.group_size, spec.vector.lanes
    quantum = max(1, lanes // group_size)
    shapes: list[tuple[int, int, int]] = []
    if words <= MAX_WORDS:
        shapes.extend((y, min(columns, MAX_POSITIONS), words) for y in halvings(min(rows, MAX_POSITIONS)))
        shapes.extend((1, x, words) for x in halvings(min(columns, MAX_POSITIONS)))
    if stream.opcode not in _WHOLE_ROWS:
        limit = MAX_WORDS // quantum * quantum
        shapes.extend((1, 1, min(limit, words, -(-w // quantum) * quantum)) for w in halvings(words))
        shapes.extend((1, 1, w) for w in range(1, min(quantum, words)))
    for y, x, w in dict.fromkeys(shapes):
        tile = (1, y, x, w)
        held = [stream.words(operand, tile) * group_size for operand in range(stream.operands)]
        yield TileCost(
            sizes=tile, on_chip_bytes=sum(held), tiles=tile_count((outer, rows, columns, words), tile),
            loaded_bytes=sum(held[1:]), stored_bytes=held[0], loads=stream.operands - 1,
            work_cycles=vector_cycles(
                stream.opcode, ny=y, nx=x, nc=w, kh=1, kw=1, group_size=group_size, vector_lanes=lanes,
                window=stream.window,
            ),
        )  # fmt: skip


def tiles(axes: Nest, tile: Sequence[int]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield (start index, sizes) of every tile of a nest, last axis fastest; the last ones are ragged."""
    starts = [range(0, axis.size, size) for axis, size in zip(axes, tile, strict=True)]
    for start in product(*starts):
        yield start, tuple(min(size, axis.size - i) for i, axis, size in zip(start, axes, tile, strict=True))


def _moves(stream: Stream, operand: int, sizes: Sequence[int], group_size: int) -> Nest:
    """Return the (off-chip, chip) byte nest of an operand of a tile; broadcast axes move once."""
    chip = stream.chip_strides(operand, sizes, group_size)
    axes = [
        Axis(size, (axis.strides[operand], step))
        for axis, size, step in zip(stream.axes[:3], sizes, chip, strict=False)
        if axis.strides[operand]
    ]
    words = sizes[3] if stream.axes[3].strides[operand] else 1
    return (*axes, Axis(words * group_size, (1, 1)))


def _issue(emitter: Emitter, stream: Stream, sizes: Sequence[int], chips: Sequence[int], par: tuple[int, int]) -> None:
    strides = [stream.chip_strides(operand, sizes, emitter.group_size) for operand in range(stream.operands)]
    second = {}
    if stream.operands > SECOND:
        second = {"b": chips[2], "b_y": strides[2][1], "b_x": strides[2][2], "b_c": int(stream.single_b)}
    emitter.vector(
        stream.opcode, a=chips[1], a_y=strides[1][1], a_x=strides[1][2], d=chips[0], d_y=strides[0][1],
        d_x=strides[0][2], ny=sizes[1], nx=sizes[2], nc=sizes[3], par=par[0], par_bytes=par[1], **second,
    )  # fmt: skip
