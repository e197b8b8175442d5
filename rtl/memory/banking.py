"""Interleave buffers over banks, and turn windows that start anywhere to their banks and back.

Byte address = ((row * banks) + bank) * word_bytes + byte, all counts powers of two but the rows. A window of at most
`banks` words touches every bank at most once; banks below its first one hold the next row ("carry").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from gossamer.arch.banking import BankSizes
from gossamer.rtl.constant_arithmetic import low_ones

ADDRESS_BITS = 26
"""Width of on-chip byte addresses in instructions."""


def rotate_left(m: Module, name: str, data: Value, amount: Value, unit_bits: int) -> Value:
    """Return data rotated left (to the most significant end) by `amount` units, one multiplexer a bit."""
    return _rotate(m, name, data, amount, [-(unit_bits << level) for level in range(len(amount))])


def rotate_right(m: Module, name: str, data: Value, amount: Value, unit_bits: int) -> Value:
    """Return data rotated right (towards the least significant end) by `amount` units."""
    return _rotate(m, name, data, amount, [unit_bits << level for level in range(len(amount))])


def at_its_place(m: Module, name: str, data: Value, address: Value, unit_bits: int, width: int) -> Value:
    """Return data that starts at unit `address` of a window of `width` bits, both powers of two of units, turned to
    its place and repeated all over the window: what lies beyond the data's length is not to be written.
    """
    units = len(data) // unit_bits
    turned = rotate_left(m, name, data, address[: units.bit_length() - 1], unit_bits)
    return turned.replicate(width // len(data)) if width > len(data) else turned


def _rotate(m: Module, name: str, data: Value, amount: Value, shifts: Sequence[int]) -> Value:
    """Return data rotated right by the bits that each set bit of `amount` asks for."""
    width = len(data)
    for level, bits in enumerate(shifts):
        shift = bits % width
        turned = Cat(data[shift:], data[:shift]) if shift else data
        stage = Signal(width, name=f"{name}_{level}")
        m.d.comb += stage.eq(Mux(amount[level], turned, data))
        data = stage
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Banking(BankSizes):
    """How a buffer is cut into banks, and which parts of an address say what."""

    @classmethod
    def of(cls, sizes: BankSizes) -> Self:
        """Return the banking of these sizes."""
        return cls(word_bytes=sizes.word_bytes, banks=sizes.banks, rows=sizes.rows)

    @property
    def row_bits(self) -> int:
        """Width of a row number."""
        return max(1, (self.rows - 1).bit_length())

    @property
    def half_bits(self) -> int:
        """Width of a row number within a half."""
        return max(1, (self.half_rows - 1).bit_length())

    def half(self, row: Value) -> Value:
        """Return whether a row lies in the upper half: its most significant bit."""
        return row[self.row_bits - 1] if self.rows > 1 else Const(0, 1)

    def split(self, address: Value) -> tuple[Value, Value, Value]:
        """Return byte within the word, bank and row of a byte address."""
        byte_bits, bank_bits = self.word_bytes.bit_length() - 1, self.banks.bit_length() - 1
        start = byte_bits + bank_bits
        return address[:byte_bits], address[byte_bits:start], address[start : start + self.row_bits]

    def carry(self, bank: Value) -> Value:
        """Return one bit per bank: it lies in the row after the window's first."""
        return low_ones(bank, self.banks)
