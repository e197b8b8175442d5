"""Build the bytes of parameter blocks: what VECTOR instructions read at `par`.

A block is a header (`HEADER_DTYPE`), then per-channel entries for whole words of channels, then a table. Entries of pad
channels (beyond the layer's real ones) are chosen so that every pad byte written is defined: REQUANTIZE and LAYER_NORM
give the zero point of the output (through clamp and table), REQUANTIZE_ADD a sum that has it.
"""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Opcode
from gossamer.dataflow.numerics import (
    HEADER_DTYPE,
    LAYER_NORM_DTYPE,
    MIN_SHIFT,
    REQUANTIZE_DTYPE,
    TABLE_BYTES,
    WIDE_TABLE_BYTES,
    Requantization,
    VectorParams,
    pack_limits,
)

T = TypeVar("T")

PASS_MULTIPLIER = 2**30
PASS_SHIFT = 30
"""Requantization by exactly one: the pass-through of permutation convolutions."""

MAX_LRN_WINDOW = 255
"""The header keeps the window of an LRN in eight bits."""


def requantize_block_bytes(words: int, group_size: int, *, has_table: bool) -> int:
    """Return the size of a REQUANTIZE block for `words` words of output channels."""
    entries = words * group_size * REQUANTIZE_DTYPE.itemsize
    return HEADER_DTYPE.itemsize + entries + (TABLE_BYTES if has_table else 0)


def requantize_block(
    params: Requantization,
    *,
    first: int,
    channels: int,
    words: int,
    group_size: int,
    addition: VectorParams | None = None,
) -> bytes:
    """Return the REQUANTIZE block of output channels [first, first + channels), padded to `words` words.

    With the constants of an `addition` it is that of a REQUANTIZE_ADD. Pad channels have bias 0, multiplier 0 and shift
    1. Raises MappingError for channels outside the words or the layer.
    """
    if not 0 < channels <= words * group_size or first < 0 or first + channels > params.bias.size:
        raise MappingError(
            f"a REQUANTIZE block must cover channels of its layer in whole words, not [{first}, {first + channels}) of "
            f"{params.bias.size} in {words} words of {group_size}"
        )
    header = np.zeros(1, HEADER_DTYPE)
    header["zero_out"], header["low"], header["high"] = params.zero_out, params.low, params.high
    header["has_table"] = params.table is not None
    if addition is not None:
        for name in ("zero_a", "zero_b", "mult_a", "mult_b", "shift"):
            header[name] = getattr(addition, name)
        header["extra"] = pack_limits(addition.zero_out, addition.low, addition.high)
    entries = np.zeros(words * group_size, REQUANTIZE_DTYPE)
    entries["shift"] = MIN_SHIFT
    entries["bias"][:channels] = params.bias[first : first + channels]
    entries["multiplier"][:channels] = params.multiplier[first : first + channels]
    entries["shift"][:channels] = params.shift[first : first + channels]
    return header.tobytes() + entries.tobytes() + _table_bytes(params.table)


def vector_block_bytes(opcode: Opcode, words: int, group_size: int) -> int:
    """Return the size of the block a VECTOR instruction other than REQUANTIZE needs; 0 if it reads none."""
    tables = {
        Opcode.COPY: 0,
        Opcode.MAXIMUM: 0,
        Opcode.TABLE: HEADER_DTYPE.itemsize + TABLE_BYTES,
        Opcode.SOFTMAX: HEADER_DTYPE.itemsize + WIDE_TABLE_BYTES,
        Opcode.LRN: HEADER_DTYPE.itemsize + WIDE_TABLE_BYTES,
        Opcode.LAYER_NORM: HEADER_DTYPE.itemsize + words * group_size * LAYER_NORM_DTYPE.itemsize,
    }
    return tables.get(opcode, HEADER_DTYPE.itemsize)


def vector_block(opcode: Opcode, params: VectorParams, *, channels: int, words: int, group_size: int) -> bytes:
    """Return the block of a VECTOR instruction other than REQUANTIZE over `channels` real channels in `words` words.

    Raises MappingError if a constant the opcode needs is missing or does not fit its field.
    """
    if opcode in (Opcode.COPY, Opcode.MAXIMUM):
        return b""
    block = _header(opcode, params, channels)
    match opcode:
        case Opcode.TABLE:
            block += _table_bytes(_needed(opcode, "table", params.table))
        case Opcode.SOFTMAX:
            block += _wide_table_bytes(_needed(opcode, "wide_table", params.wide_table), "<u4")
        case Opcode.LRN:
            block += _wide_table_bytes(_needed(opcode, "wide_table", params.wide_table), "<i4")
        case Opcode.LAYER_NORM:
            entries = np.zeros(words * group_size, LAYER_NORM_DTYPE)
            gamma = _needed(opcode, "gamma", params.gamma)
            if gamma.size != channels or channels > entries.size:
                raise MappingError(
                    f"LAYER_NORM must have one gamma per channel, not {gamma.size} for {channels} channels in "
                    f"{words} words"
                )
            entries["gamma"][:channels] = gamma
            entries["beta"][:channels] = _needed(opcode, "beta", params.beta)
            block += entries.tobytes()
    return block


def pass_through(bias: int, channels: int, zero_out: int) -> Requantization:
    """Return the requantization that gives clamp(zero_out + acc + bias) for every one of `channels` channels."""
    return Requantization(
        bias=np.full(channels, bias, np.int32),
        multiplier=np.full(channels, PASS_MULTIPLIER, np.int32),
        shift=np.full(channels, PASS_SHIFT, np.uint8),
        zero_out=zero_out,
    )


def _header(opcode: Opcode, params: VectorParams, channels: int) -> bytes:
    header = np.zeros(1, HEADER_DTYPE)
    for name in ("zero_a", "zero_b", "zero_out", "low", "high", "shift", "mult_a", "mult_b", "epsilon"):
        header[name] = getattr(params, name)
    header["has_table"] = opcode is Opcode.TABLE
    header["channels"] = channels
    if opcode is Opcode.LRN:
        if not 1 <= params.window <= MAX_LRN_WINDOW:
            raise MappingError(f"the window of an LRN must be 1 to {MAX_LRN_WINDOW} channels, not {params.window}")
        header["extra"] = params.window | params.index_shift << 8
    return header.tobytes()


def _needed(opcode: Opcode, name: str, value: T | None) -> T:
    if value is None:
        raise MappingError(f"{opcode.name} needs `{name}`, which quantization did not fill: quantize the network first")
    return value


def _table_bytes(table: NDArray[Any] | None) -> bytes:
    if table is None:
        return b""
    if table.shape != (TABLE_BYTES,):
        raise MappingError(f"a table must have {TABLE_BYTES} entries, not {table.shape}")
    return table.astype(np.int8).tobytes()


def _wide_table_bytes(table: NDArray[Any], dtype: str) -> bytes:
    limits = np.iinfo(dtype)
    if table.shape != (WIDE_TABLE_BYTES // 4,) or table.min() < limits.min or table.max() > limits.max:
        raise MappingError(
            f"a wide table must have {WIDE_TABLE_BYTES // 4} entries in [{limits.min}, {limits.max}], not shape "
            f"{table.shape} in [{table.min()}, {table.max()}]"
        )
    return table.astype(dtype).tobytes()
