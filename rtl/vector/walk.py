"""Walk the block of a VECTOR instruction: rows, columns, beats of words, window taps, and the addresses they have.

Addresses need no multiplier: every loop keeps the address its next iteration begins at, worked out while this one goes
on. Flags that tell of a last iteration are registers, and so is what they are loaded with.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

ADDRESS_BITS = 26
"""Of an activation buffer address."""

STRIDE_BITS = 24
"""Of the stride between columns."""

ROW_COUNT_BITS = 16
WORD_COUNT_BITS = 14
TAP_COUNT_BITS = 10
_FEW_BITS = 4
"""Bits of a count of rows that are compared when it is used; the others before."""


def row_bits(rows: int) -> int:
    """Return the bits of a row number of the lanes' constants, of which there are at least two."""
    return (max(2, rows) - 1).bit_length()


class BlockLoops(wiring.Component):
    """Count rows, columns and beats of up to `beat_words` words, beats innermost.

    Members
    -------
    load: take a block of ny rows, nx columns and nc words (all at least 1; held from load on).
    advance: go to the next beat; the first after load, in the next cycle or later, to the first beat.
    single: beats are of one word; held from load on.
    again: walk this column once more before the next; looked at in its last beat, and low for the first beat.
    words: words of the current beat, 1 to beat_words.
    last_beat, last_column, last: this beat is the last of its column; this column of its row; this beat of the block,
        what follows is undefined.
    beat: number of the beat within its column, modulo 2**beat_bits.

    Latency and throughput
    ----------------------
    One beat per cycle; outputs follow advance by one cycle.
    """

    def __init__(self, beat_words: int, beat_bits: int) -> None:
        self.beat_words = beat_words
        super().__init__(
            {
                "load": In(1), "advance": In(1), "single": In(1), "again": In(1), "ny": In(ROW_COUNT_BITS),
                "nx": In(ROW_COUNT_BITS), "nc": In(WORD_COUNT_BITS), "words": Out(range(beat_words + 1)),
                "last_beat": Out(1), "last_column": Out(1), "last": Out(1), "beat": Out(beat_bits),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the counters of what is left, the current iteration included, and registers that tell of the last."""
        m = Module()
        rows_left = Signal(ROW_COUNT_BITS + 1)
        few_rows = Signal()  # their bits from _FEW_BITS on are zero, known a row late, long before they reach 2
        before_first = Signal()
        columns_left = Signal(ROW_COUNT_BITS)
        words_left = Signal(WORD_COUNT_BITS)
        last_row = Signal()
        one_beat, one_column, one_row = (Signal(name=name) for name in ("one_beat", "one_column", "one_row"))
        beat_words = Signal(range(self.beat_words + 1))
        m.d.comb += [
            beat_words.eq(Mux(self.single, 1, self.beat_words)),
            self.words.eq(Mux(self.last_beat, words_left, beat_words)),
            self.last.eq(self.last_beat & ~self.again & self.last_column & last_row),
        ]
        m.d.sync += [one_beat.eq(self.nc <= beat_words), one_column.eq(self.nx == 1), one_row.eq(self.ny == 1)]
        with m.If(self.load):  # as if a row before the first ended
            m.d.sync += [
                rows_left.eq(self.ny + 1), before_first.eq(1), self.last_beat.eq(1), self.last_column.eq(1),
            ]  # fmt: skip
        with m.Elif(self.advance):
            m.d.sync += [
                before_first.eq(0),
                words_left.eq(words_left - beat_words), self.beat.eq(self.beat + 1),
                self.last_beat.eq(words_left <= Mux(self.single, 2, 2 * self.beat_words)),
            ]  # fmt: skip
            with m.If(self.last_beat):
                m.d.sync += [words_left.eq(self.nc), self.beat.eq(0), self.last_beat.eq(one_beat)]
            with m.If(self.last_beat & ~self.again):
                m.d.sync += [columns_left.eq(columns_left - 1), self.last_column.eq(columns_left == 2)]
                with m.If(self.last_column):
                    m.d.sync += [
                        columns_left.eq(self.nx), self.last_column.eq(one_column), rows_left.eq(rows_left - 1),
                        few_rows.eq(rows_left[_FEW_BITS:] == 0),
                        last_row.eq(Mux(before_first, one_row, few_rows & (rows_left[:_FEW_BITS] == 2))),
                    ]  # fmt: skip
        return m


class BlockPointer(wiring.Component):
    """Keep one operand's address of the current beat.

    Members
    -------
    load, base: take the address of the first beat.
    advance, again, last_beat, last_column: go to the next beat, as `BlockLoops` says.
    step, column_stride, row_stride: bytes from beat to beat, column to column and row to row; held from load on.
    address: of the current beat.

    Latency and throughput
    ----------------------
    One beat per cycle; the address follows advance by one cycle.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "load": In(1), "base": In(ADDRESS_BITS), "advance": In(1), "again": In(1), "last_beat": In(1),
                "last_column": In(1), "step": In(ADDRESS_BITS), "column_stride": In(STRIDE_BITS),
                "row_stride": In(ADDRESS_BITS), "address": Out(ADDRESS_BITS),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return an adder per loop."""
        m = Module()
        next_row = Signal(ADDRESS_BITS)
        next_column = Signal(ADDRESS_BITS)
        column = Signal(ADDRESS_BITS)
        begun = Signal(ADDRESS_BITS)
        m.d.comb += begun.eq(Mux(self.last_column, next_row, next_column))
        with m.If(self.advance):
            m.d.sync += self.address.eq(self.address + self.step)
            with m.If(self.last_beat):
                m.d.sync += self.address.eq(Mux(self.again, column, begun))
        with m.If(self.advance & self.last_beat & ~self.again):
            m.d.sync += [column.eq(begun), next_column.eq(begun + self.column_stride)]
        with m.If(self.load):
            m.d.sync += next_row.eq(self.base)
        with m.Elif(self.advance & self.last_beat & ~self.again & self.last_column):
            m.d.sync += next_row.eq(next_row + self.row_stride)
        return m


class WindowWalk(wiring.Component):
    """Walk the kh x kw taps of the window of one beat.

    Members
    -------
    load, base: go to tap (0, 0) at address `base`.
    advance: go to the next tap, columns innermost.
    kh, kw, row_stride, column_stride: window and its strides in bytes; held from the cycle before load on. two: the
        window, of one tap then, has a second one. Held likewise.
    address: of the current tap. first: it is tap (0, 0). next_last: that of the next cycle is tap (kh - 1, kw - 1).

    Latency and throughput
    ----------------------
    One tap per cycle; outputs follow load and advance by one cycle.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "load": In(1), "base": In(ADDRESS_BITS), "advance": In(1), "kh": In(TAP_COUNT_BITS),
                "kw": In(TAP_COUNT_BITS), "two": In(1), "row_stride": In(ADDRESS_BITS),
                "column_stride": In(STRIDE_BITS), "address": Out(ADDRESS_BITS), "first": Out(1), "next_last": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the counters of what is left, an adder for each, and whether the next tap is a last one."""
        m = Module()
        rows_left = Signal(TAP_COUNT_BITS)
        columns_left = Signal(TAP_COUNT_BITS)
        row = Signal(ADDRESS_BITS)
        next_row = Signal(ADDRESS_BITS)
        last = Signal()
        last_column, last_row, two_columns, two_rows, column_follows, row_follows = (
            Signal(name=name)
            for name in ("last_column", "last_row", "two_columns", "two_rows", "column_follows", "row_follows")
        )
        one, two = Signal(2), Signal(2)
        one_tap = Signal()
        m.d.comb += [
            next_row.eq(row + self.row_stride), column_follows.eq(Mux(last_column, one[0], two_columns)),
            row_follows.eq(Mux(last_column, two_rows, last_row)),
            self.next_last.eq(Mux(self.load, one_tap, Mux(self.advance, column_follows & row_follows, last))),
        ]  # fmt: skip
        m.d.sync += [
            last.eq(self.next_last), one.eq(Cat(~self.two & (self.kw == 1), self.kh == 1)),
            two.eq(Cat(self.two | (self.kw == 2), self.kh == 2)),
            one_tap.eq(~self.two & (self.kw == 1) & (self.kh == 1)),
        ]  # fmt: skip
        with m.If(self.load):
            m.d.sync += [
                rows_left.eq(self.kh), columns_left.eq(self.kw), row.eq(self.base), self.address.eq(self.base),
                self.first.eq(1), last_column.eq(one[0]), last_row.eq(one[1]), two_columns.eq(two[0]),
                two_rows.eq(two[1]),
            ]  # fmt: skip
        with m.Elif(self.advance):
            m.d.sync += [
                self.address.eq(self.address + self.column_stride), columns_left.eq(columns_left - 1),
                self.first.eq(0), last_column.eq(column_follows), last_row.eq(row_follows),
                two_columns.eq(columns_left == 3),
            ]  # fmt: skip
            with m.If(last_column):
                m.d.sync += [
                    self.address.eq(next_row), row.eq(next_row), columns_left.eq(self.kw), two_columns.eq(two[0]),
                    rows_left.eq(rows_left - 1), two_rows.eq(rows_left == 3),
                ]  # fmt: skip
        return m
