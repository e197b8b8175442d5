"""Hold the innermost steps of the golden model as vector code: sums of pairs of int16 products in int32.

numba's vectoriser does not find the multiply-add-pairs instruction that every x86 with AVX2 has (16 products a cycle
and unit, twice what float32 can do), so these steps are written in LLVM's intermediate representation. On another
processor the same steps are lowered from plain vector arithmetic. Sums wrap in 32 bits like the hardware's.

Activations come as a panel: rows of int16, one per reduction index, contiguous positions. `offsets` uint16 gives where
in the panel the two rows of each pair begin; `weights` int32 their two weights as int16, the first in the low half.
"""

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

SPARSE_POSITIONS = 64
"""Positions that `add_sparse` serves at once: 8 accumulator registers of 8."""

DENSE_POSITIONS = 16
DENSE_OUTPUTS = 6
"""Tile of `add_dense`: 12 accumulator registers of 8, one for the weight, two for the activations: all 16 of AVX2."""

TURN_CHANNELS = 8
"""Channels that `turn` makes panel rows of at once, from DENSE_POSITIONS positions."""

_I8, _I16, _I32, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_V16, _V32 = ir.VectorType(_I16, 16), ir.VectorType(_I32, 8)
# The halves of 16 positions as AVX2 interleaves them: within each 128-bit lane.
_LOW = (0, 1, 2, 3, 8, 9, 10, 11)
_HIGH = (4, 5, 6, 7, 12, 13, 14, 15)


def _mask(indices: Any) -> ir.Constant:
    return ir.Constant(ir.VectorType(_I32, len(indices)), list(indices))


def _shuffle(builder: Any, a: Any, b: Any, indices: Any) -> Any:
    return builder.shuffle_vector(a, b, _mask(indices))


def _vector_load(builder: Any, base: Any, index: Any, vector: Any) -> Any:
    pointer = builder.bitcast(builder.gep(base, [index]), vector.as_pointer())
    return builder.load(pointer, align=vector.element.width // 8)


def _vector_store(builder: Any, value: Any, base: Any, index: Any) -> None:
    pointer = builder.bitcast(builder.gep(base, [index]), value.type.as_pointer())
    builder.store(value, pointer, align=4)


def _load_halves(builder: Any, base: Any, index: Any) -> list[Any]:
    """Load 16 sums in position order, return them in the order of interleaved halves."""
    first = _vector_load(builder, base, index, _V32)
    second = _vector_load(builder, base, builder.add(index, _I64(8)), _V32)
    return [_shuffle(builder, first, second, _LOW), _shuffle(builder, first, second, _HIGH)]


def _store_halves(builder: Any, halves: list[Any], base: Any, index: Any) -> None:
    """Store 16 sums in position order."""
    low, high = halves
    _vector_store(builder, _shuffle(builder, low, high, _LOW), base, index)
    _vector_store(builder, _shuffle(builder, low, high, _HIGH), base, builder.add(index, _I64(8)))


def _interleave(builder: Any, first: Any, second: Any) -> list[Any]:
    """Return the pairs (first[p], second[p]) of 16 positions as two vectors of 8 pairs."""
    return [_shuffle(builder, first, second, [i for p in half for i in (p, p + 16)]) for half in (_LOW, _HIGH)]


def _splat(builder: Any, scalar: Any) -> Any:
    """Return a pair of int16 weights, held in an int32, in every place of a vector."""
    lane = builder.insert_element(ir.Constant(_V32, ir.Undefined), scalar, _I32(0))
    return builder.bitcast(_shuffle(builder, lane, lane, [0] * 8), _V16)


def _add_pairs(context: Any, builder: Any, total: Any, pairs: Any, weight: Any) -> Any:
    """Return total + pairs[2 i] * weight[2 i] + pairs[2 i + 1] * weight[2 i + 1] for the 8 places i."""
    if "+avx2" in context.codegen().magic_tuple()[2]:
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_V32, [_V16, _V16]), "llvm.x86.avx2.pmadd.wd"
        )
        return builder.add(total, builder.call(function, [pairs, weight]))
    for part in range(2):
        places = range(part, 16, 2)
        x = builder.sext(_shuffle(builder, pairs, pairs, places), _V32)
        w = builder.sext(_shuffle(builder, weight, weight, places), _V32)
        total = builder.add(total, builder.mul(x, w))
    return total


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_array(kind)(context, builder, value).data


def _loop(builder: Any, count: Any, totals: list[Any], body: Any) -> list[Any]:
    """Run body(i, totals) -> totals for i in 0 .. count - 1, totals in registers; return the last."""
    entry, head = builder.block, builder.append_basic_block("head")
    inside, after = builder.append_basic_block("inside"), builder.append_basic_block("after")
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(_I64)
    carried = [builder.phi(total.type) for total in totals]
    i.add_incoming(_I64(0), entry)
    for phi, total in zip(carried, totals, strict=True):
        phi.add_incoming(total, entry)
    builder.cbranch(builder.icmp_signed("<", i, count), inside, after)
    builder.position_at_end(inside)
    results = body(i, carried)
    following = builder.add(i, _I64(1))
    for phi, result in zip([i, *carried], [following, *results], strict=True):
        phi.add_incoming(result, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return list(carried)


def _pair_rows(builder: Any, panel: Any, offsets: Any, pair: Any) -> list[Any]:
    """Return the addresses of the two panel rows of a pair."""
    twice = builder.shl(pair, _I64(1))
    rows = (builder.load(builder.gep(offsets, [builder.add(twice, _I64(k))])) for k in range(2))
    return [builder.gep(panel, [builder.zext(row, _I64)]) for row in rows]


def _sparse_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kinds = signature.args
    panel, offsets, weights = (_data(context, builder, kinds[k], arguments[k]) for k in range(3))
    first, count = arguments[3:5]
    acc, place = _data(context, builder, kinds[5], arguments[5]), arguments[6]
    blocks = range(0, SPARSE_POSITIONS, DENSE_POSITIONS)
    totals = [half for p in blocks for half in _load_halves(builder, acc, builder.add(place, _I64(p)))]

    def body(i: Any, totals: list[Any]) -> list[Any]:
        pair = builder.add(first, i)
        rows = _pair_rows(builder, panel, offsets, pair)
        weight = _splat(builder, builder.load(builder.gep(weights, [pair])))
        results = []
        for block, p in enumerate(blocks):
            # One block after the other: loading all of them first would need more registers than there are.
            pairs = _interleave(builder, *(_vector_load(builder, row, _I64(p), _V16) for row in rows))
            results += [_add_pairs(context, builder, totals[2 * block + h], pairs[h], weight) for h in range(2)]
        return results

    totals = _loop(builder, count, totals, body)
    for block, p in enumerate(blocks):
        _store_halves(builder, totals[2 * block : 2 * block + 2], acc, builder.add(place, _I64(p)))
    return context.get_dummy_value()


def _dense_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kinds = signature.args
    panel, offsets, weights = (_data(context, builder, kinds[k], arguments[k]) for k in range(3))
    first_row, first, count, position = arguments[3:7]
    acc, place, pitch = _data(context, builder, kinds[7], arguments[7]), arguments[8], arguments[9]
    places = [builder.add(place, builder.mul(pitch, _I64(o))) for o in range(DENSE_OUTPUTS)]
    totals = [half for place in places for half in _load_halves(builder, acc, place)]

    def body(i: Any, totals: list[Any]) -> list[Any]:
        rows = _pair_rows(builder, panel, offsets, builder.add(first_row, i))
        pairs = _interleave(builder, *(_vector_load(builder, row, position, _V16) for row in rows))
        here = builder.add(first, builder.mul(i, _I64(DENSE_OUTPUTS)))
        results = []
        for o in range(DENSE_OUTPUTS):
            weight = _splat(builder, builder.load(builder.gep(weights, [builder.add(here, _I64(o))])))
            results += [_add_pairs(context, builder, totals[2 * o + h], pairs[h], weight) for h in range(2)]
        return results

    totals = _loop(builder, count, totals, body)
    for o, place in enumerate(places):
        _store_halves(builder, totals[2 * o : 2 * o + 2], acc, place)
    return context.get_dummy_value()


def _turn_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    source, panel = (_data(context, builder, signature.args[k], arguments[k]) for k in (0, 3))
    place, stride, row, pitch = arguments[1], arguments[2], arguments[4], arguments[5]
    vectors = [
        _vector_load(
            builder, source, builder.add(place, builder.mul(stride, _I64(p))), ir.VectorType(_I8, TURN_CHANNELS)
        )
        for p in range(DENSE_POSITIONS)
    ]
    # Four times, interleave each vector with the one half the list further on: then positions are contiguous.
    pairs = [i for p in range(TURN_CHANNELS) for i in (p, p + TURN_CHANNELS)]
    vectors = [_shuffle(builder, a, b, pairs) for a, b in zip(vectors[:8], vectors[8:], strict=True)]
    halves = [[i for p in half for i in (p, p + 16)] for half in (range(8), range(8, 16))]
    # From here on vectors[k] holds, for every channel part in turn, positions k, k + step, k + 2 step, ...
    parts = [vectors]
    while len(parts[0]) > 1:
        middle = len(parts[0]) // 2
        parts = [
            [_shuffle(builder, a, b, half) for a, b in zip(part[:middle], part[middle:], strict=True)]
            for part in parts
            for half in halves
        ]
    for channel, (vector,) in enumerate(parts):
        wide = builder.sext(vector, _V16)
        start = builder.add(row, builder.mul(pitch, _I64(channel)))
        builder.store(wide, builder.bitcast(builder.gep(panel, [start]), _V16.as_pointer()), align=2)
    return context.get_dummy_value()


def _unpack(pair: np.int32) -> tuple[np.int32, np.int32]:
    """Return the two int16 weights of a pair."""
    low = np.int32(pair) & 0xFFFF
    return np.int32(low - ((low & 0x8000) << 1)), np.int32(pair) >> 16


def turn_plainly(
    source: NDArray[np.int8], place: int, stride: int, panel: NDArray[np.int16], row: int, pitch: int
) -> None:
    """Make panel rows of TURN_CHANNELS channels of DENSE_POSITIONS positions, the first at source[place].

    stride: elements from position to position; the row of channel c begins at panel[row + c * pitch].
    """
    for p in range(DENSE_POSITIONS):
        for c in range(TURN_CHANNELS):
            panel[row + c * pitch + p] = source[place + p * stride + c]


def add_sparse_plainly(
    panel: NDArray[np.int16],
    offsets: NDArray[np.uint16],
    weights: NDArray[np.int32],
    first: int,
    count: int,
    acc: NDArray[np.int32],
    place: int,
) -> None:
    """Add pairs first .. first + count - 1 to the SPARSE_POSITIONS sums of one output channel from acc[place] on."""
    sums = acc[place : place + SPARSE_POSITIONS]
    for pair in range(first, first + count):
        for k, weight in enumerate(_unpack(weights[pair])):
            row = np.int64(offsets[2 * pair + k])
            sums += panel[row : row + SPARSE_POSITIONS].astype(np.int32) * weight


def add_dense_plainly(
    panel: NDArray[np.int16],
    offsets: NDArray[np.uint16],
    weights: NDArray[np.int32],
    first_row: int,
    first: int,
    count: int,
    position: int,
    acc: NDArray[np.int32],
    place: int,
    pitch: int,
) -> None:
    """Add `count` pairs of panel rows to DENSE_POSITIONS sums of each of DENSE_OUTPUTS output channels.

    The rows are those of offsets pairs first_row on, read from `position`; the weights of pair i and output o are
    weights[first + i * DENSE_OUTPUTS + o]; the sums of output o begin at acc[place + o * pitch].
    """
    for i in range(count):
        for o in range(DENSE_OUTPUTS):
            sums = acc[place + o * pitch : place + o * pitch + DENSE_POSITIONS]
            for k, weight in enumerate(_unpack(weights[first + i * DENSE_OUTPUTS + o])):
                row = np.int64(offsets[2 * (first_row + i) + k]) + position
                sums += panel[row : row + DENSE_POSITIONS].astype(np.int32) * weight


if config.DISABLE_JIT:
    turn, add_sparse, add_dense = turn_plainly, add_sparse_plainly, add_dense_plainly
else:

    @intrinsic
    def turn(context, source, place, stride, panel, row, pitch):  # type: ignore[no-untyped-def]
        """Lower `turn_plainly` to vector code."""
        return types.void(source, types.int64, types.int64, panel, types.int64, types.int64), _turn_code

    @intrinsic
    def add_sparse(context, panel, offsets, weights, first, count, acc, place):  # type: ignore[no-untyped-def]
        """Lower `add_sparse_plainly` to vector code."""
        return types.void(panel, offsets, weights, types.int64, types.int64, acc, types.int64), _sparse_code

    @intrinsic
    def add_dense(  # type: ignore[no-untyped-def]
        context, panel, offsets, weights, first_row, first, count, position, acc, place, pitch
    ):
        """Lower `add_dense_plainly` to vector code."""
        longs = [types.int64] * 4
        return types.void(panel, offsets, weights, *longs, acc, types.int64, types.int64), _dense_code
