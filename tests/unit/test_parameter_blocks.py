"""Check parameter blocks byte by byte against the header layout written out by hand with `struct`."""

import struct

import numpy as np
import pytest

from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Opcode
from gossamer.dataflow.numerics import Requantization, VectorParams, requantize
from gossamer.mapper.codegen.parameters import (
    pass_through,
    requantize_block,
    requantize_block_bytes,
    vector_block,
    vector_block_bytes,
)

SEED = 3


def requantization(channels: int, *, table: bool = False) -> Requantization:
    rng = np.random.default_rng(SEED)
    return Requantization(
        bias=rng.integers(-(2**20), 2**20, channels).astype(np.int32),
        multiplier=rng.integers(2**30, 2**31, channels).astype(np.int32),
        shift=rng.integers(1, 63, channels).astype(np.uint8),
        zero_out=-3,
        low=-100,
        high=101,
        table=np.arange(-128, 128, dtype=np.int8) if table else None,
    )


@pytest.mark.parametrize("table", [False, True])
def test_requantize_block_is_header_entries_and_table(table: bool) -> None:
    params = requantization(10, table=table)
    block = requantize_block(params, first=3, channels=5, words=2, group_size=4)
    assert len(block) == requantize_block_bytes(2, 4, has_table=table)
    header = struct.pack("<bbbbbBBBiiIIq", 0, 0, -3, -100, 101, 0, int(table), 0, 0, 0, 0, 0, 0)
    assert block[:32] == header
    for channel in range(5):
        expected = struct.pack(
            "<iiBxxx", params.bias[3 + channel], params.multiplier[3 + channel], params.shift[3 + channel]
        )
        assert block[32 + 12 * channel : 44 + 12 * channel] == expected
    for pad in range(5, 8):
        assert block[32 + 12 * pad : 44 + 12 * pad] == struct.pack("<iiBxxx", 0, 0, 1)
    assert block[32 + 12 * 8 :] == (bytes([(q + 128) % 256 for q in range(256)]) if table else b"")


def test_requantize_block_refuses_channels_that_do_not_exist() -> None:
    with pytest.raises(MappingError, match="cover channels"):
        requantize_block(requantization(10), first=6, channels=5, words=2, group_size=4)
    with pytest.raises(MappingError, match="cover channels"):
        requantize_block(requantization(10), first=0, channels=9, words=2, group_size=4)


@pytest.mark.parametrize(
    "opcode", [Opcode.ADD, Opcode.MULTIPLY, Opcode.AVERAGE, Opcode.TABLE, Opcode.SOFTMAX, Opcode.LAYER_NORM, Opcode.LRN]
)
def test_vector_block_layout(opcode: Opcode) -> None:
    rng = np.random.default_rng(SEED)
    params = VectorParams(
        zero_a=-7,
        zero_b=9,
        zero_out=-128,
        mult_a=12345,
        mult_b=-54321,
        shift=33,
        low=-50,
        high=60,
        table=rng.integers(-128, 128, 256).astype(np.int8),
        wide_table=rng.integers(0, 2**31, 256),
        gamma=rng.integers(-(2**30), 2**30, 6),
        beta=rng.integers(-(2**40), 2**40, 6),
        epsilon=2**40,
        window=5,
        index_shift=3,
    )
    block = vector_block(opcode, params, channels=6, words=2, group_size=4)
    assert len(block) == vector_block_bytes(opcode, 2, 4)
    extra = 5 | 3 << 8 if opcode is Opcode.LRN else 0
    table = int(opcode is Opcode.TABLE)
    assert block[:32] == struct.pack(
        "<bbbbbBBBiiIIq", -7, 9, -128, -50, 60, 33, table, 0, 12345, -54321, 6, extra, 2**40
    )
    match opcode:
        case Opcode.TABLE:
            assert block[32:] == params.table.tobytes()
        case Opcode.SOFTMAX | Opcode.LRN:
            assert block[32:] == struct.pack("<256I", *params.wide_table)
        case Opcode.LAYER_NORM:
            entries = [struct.pack("<ixxxxq", g, b) for g, b in zip(params.gamma, params.beta, strict=True)]
            assert block[32:] == b"".join(entries) + bytes(2 * 16)
        case _:
            assert block[32:] == b""


@pytest.mark.parametrize("opcode", [Opcode.COPY, Opcode.MAXIMUM])
def test_copy_and_maximum_have_no_block(opcode: Opcode) -> None:
    assert vector_block(opcode, VectorParams(), channels=3, words=1, group_size=4) == b""
    assert vector_block_bytes(opcode, 1, 4) == 0


def test_missing_or_wrong_constants_are_refused() -> None:
    with pytest.raises(MappingError, match="TABLE needs `table`"):
        vector_block(Opcode.TABLE, VectorParams(), channels=3, words=1, group_size=4)
    with pytest.raises(MappingError, match="window of an LRN"):
        vector_block(Opcode.LRN, VectorParams(window=0), channels=3, words=1, group_size=4)
    with pytest.raises(MappingError, match="one gamma per channel"):
        vector_block(Opcode.LAYER_NORM, VectorParams(gamma=np.ones(2, np.int64)), channels=3, words=1, group_size=4)
    wide = np.full(256, 2**31, np.int64)
    with pytest.raises(MappingError, match="256 entries"):
        vector_block(Opcode.LRN, VectorParams(wide_table=wide), channels=3, words=1, group_size=4)


def test_pass_through_is_exact_for_every_int8() -> None:
    params = pass_through(5, 3, 7)
    for acc in range(-300, 300):
        total = acc + int(params.bias[0])
        got = requantize(total, int(params.multiplier[0]), int(params.shift[0]), params.zero_out)
        assert got == max(-128, min(127, acc + 5 + 7))
