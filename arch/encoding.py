"""Pack instructions into their 64-byte words and back; every position comes from the table in `gossamer.arch.isa`.

The column form works on whole programs: one int64 array per field, all of one length. Fields an opcode does not have
are 0 in its rows. A word is handled as eight little-endian 64-bit limbs, since a field may straddle two.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import FIELDS, INSTRUCTION_BYTES, Field, Opcode

LIMBS = INSTRUCTION_BYTES // 8
LIMB_BITS = 64
_LIMB_MASK = 2**LIMB_BITS - 1


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a field within one limb: field bits [low, low + bits) are limb bits [shift, shift + bits)."""

    limb: int
    shift: int
    low: int
    bits: int


def _pieces(start: int, bits: int) -> tuple[Piece, ...]:
    """Return the pieces of a field of `bits` bits at bit `start` of the instruction."""
    pieces = []
    low = 0
    while low < bits:
        limb, shift = divmod(start + low, LIMB_BITS)
        width = min(bits - low, LIMB_BITS - shift)
        pieces.append(Piece(limb, shift, low, width))
        low += width
    return tuple(pieces)


def _layout(fields: tuple[Field, ...]) -> tuple[tuple[Field, tuple[Piece, ...]], ...]:
    """Return each field with its pieces, packed from bit 0 upwards in table order."""
    start = 0
    layout = []
    for field in fields:
        layout.append((field, _pieces(start, field.bits)))
        start += field.bits
    return tuple(layout)


LAYOUT: dict[Opcode, tuple[tuple[Field, tuple[Piece, ...]], ...]] = {op: _layout(FIELDS[op]) for op in Opcode}
"""Every field of every opcode with the limb bits it occupies."""

FIELD_NAMES: tuple[str, ...] = tuple(dict.fromkeys(field.name for op in Opcode for field in FIELDS[op]))
"""Names of all fields of all opcodes; the keys of what `decode_columns` returns."""

_UNUSED: dict[Opcode, NDArray[np.uint64]] = {}
for _op in Opcode:
    _used = (1 << sum(_field.bits for _field in FIELDS[_op])) - 1
    _UNUSED[_op] = np.array(
        [~(_used >> (LIMB_BITS * _limb)) & _LIMB_MASK for _limb in range(LIMBS)], dtype=np.uint64
    )  # fmt: skip


def _check_column(name: str, values: NDArray[np.int64], opcodes: NDArray[np.int64]) -> None:
    """Raise ProgramError unless every value fits the field of its row's opcode."""
    limit = np.zeros(max(Opcode) + 1, dtype=np.int64)
    for op in Opcode:
        for field in FIELDS[op]:
            if field.name == name:
                limit[op] = 2**field.bits - 1
    limits = limit[opcodes]
    bad = np.flatnonzero((values < 0) | (values > limits))
    if bad.size:
        at = int(bad[0])
        opcode = Opcode(int(opcodes[at]))
        what = f"must be in [0, {limits[at]}]" if limits[at] else "does not exist there and must be 0"
        raise ProgramError(f"instruction {at} ({opcode.name}): field `{name}` {what}, not {values[at]}")


def _check_opcodes(opcodes: NDArray[np.int64]) -> None:
    """Raise ProgramError unless every opcode is defined."""
    known = np.zeros(2 ** FIELDS[Opcode.END][0].bits, dtype=bool)
    known[list(Opcode)] = True
    bad = np.flatnonzero((opcodes < 0) | (opcodes >= known.size) | ~known[opcodes % known.size])
    if bad.size:
        names = ", ".join(f"{op.value} {op.name}" for op in Opcode)
        raise ProgramError(f"instruction {bad[0]}: opcode must be one of {names}; not {opcodes[bad[0]]}")


def encode_columns(opcodes: NDArray[np.integer], columns: Mapping[str, NDArray[np.integer]]) -> NDArray[np.uint8]:
    """Return the instruction words uint8 [n, 64] of `opcodes` [n] and one int64 [n] column per field.

    A field without a column is 0; `columns` may hold "opcode" only if it equals `opcodes`. Raises ProgramError naming
    the first instruction with an unknown opcode, a value that does not fit, or a field its opcode does not have.
    """
    ops = np.asarray(opcodes).astype(np.int64).reshape(-1)
    _check_opcodes(ops)
    taken = {"opcode": ops}
    for name, values in columns.items():
        if name not in FIELD_NAMES:
            raise ProgramError(f"instruction field must be one of {', '.join(FIELD_NAMES)}; not `{name}`")
        column = np.asarray(values).astype(np.int64)
        if column.shape != ops.shape:
            raise ProgramError(f"column `{name}` must have shape {ops.shape}, one value per opcode, not {column.shape}")
        _check_column(name, column, ops)
        if name == "opcode" and not np.array_equal(column, ops):
            raise ProgramError("column `opcode` must equal `opcodes`, not differ: leave it out")
        taken[name] = column
    limbs = np.zeros((ops.size, LIMBS), dtype=np.uint64)
    for op in Opcode:
        rows = np.flatnonzero(ops == op)
        if not rows.size:
            continue
        part = np.zeros((LIMBS, rows.size), dtype=np.uint64)
        for field, pieces in LAYOUT[op]:
            if field.name not in taken:
                continue
            value = taken[field.name][rows].astype(np.uint64)
            for piece in pieces:
                bits = (value >> np.uint64(piece.low)) & np.uint64(2**piece.bits - 1)
                part[piece.limb] |= bits << np.uint64(piece.shift)
        limbs[rows] = part.T
    return limbs.astype("<u8").view(np.uint8).reshape(ops.size, INSTRUCTION_BYTES)


def decode_columns(words: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
    """Return one int64 [n] column per name of FIELD_NAMES for instruction words uint8 [n, 64].

    Raises ProgramError naming the first instruction with an unknown opcode or a nonzero unused bit.
    """
    if words.dtype != np.uint8 or words.ndim != 2 or words.shape[1] != INSTRUCTION_BYTES:
        raise ProgramError(
            f"instructions must be uint8 [count, {INSTRUCTION_BYTES}], not {words.dtype} {list(words.shape)}"
        )
    limbs = np.ascontiguousarray(words).view("<u8").astype(np.uint64)
    opcode_bits = FIELDS[Opcode.END][0].bits
    ops = (limbs[:, 0] & np.uint64(2**opcode_bits - 1)).astype(np.int64)
    _check_opcodes(ops)
    columns = {name: np.zeros(len(words), dtype=np.int64) for name in FIELD_NAMES}
    for op in Opcode:
        rows = np.flatnonzero(ops == op)
        if not rows.size:
            continue
        part = np.ascontiguousarray(limbs[rows].T)
        bad = np.flatnonzero(((part & _UNUSED[op][:, None]) != 0).any(axis=0))
        if bad.size:
            used = sum(field.bits for field in FIELDS[op])
            raise ProgramError(
                f"instruction {rows[bad[0]]} ({op.name}): bits {used} to {8 * INSTRUCTION_BYTES - 1} must be 0, not "
                "set: the program is damaged or for another instruction set"
            )
        for field, pieces in LAYOUT[op]:
            value = np.zeros(rows.size, dtype=np.uint64)
            for piece in pieces:
                bits = (part[piece.limb] >> np.uint64(piece.shift)) & np.uint64(2**piece.bits - 1)
                value |= bits << np.uint64(piece.low)
            columns[field.name][rows] = value.astype(np.int64)
    return columns


def encode(opcode: Opcode, fields: Mapping[str, int]) -> NDArray[np.uint8]:
    """Return the word uint8 [64] of one instruction; fields left out are 0. Errors as `encode_columns`."""
    columns = {name: np.array([value], dtype=np.int64) for name, value in fields.items()}
    return encode_columns(np.array([int(opcode)], dtype=np.int64), columns).reshape(-1)


def decode(word: NDArray[np.uint8]) -> dict[str, int]:
    """Return opcode and fields of one word uint8 [64], in table order. Errors as `decode_columns`."""
    columns = decode_columns(np.asarray(word).reshape(1, -1))
    opcode = Opcode(int(columns["opcode"][0]))
    return {field.name: int(columns[field.name][0]) for field in FIELDS[opcode]}
