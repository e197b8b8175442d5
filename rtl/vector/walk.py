"""Walk the block of a VECTOR instruction: rows, columns, beats of words, window taps, and the addresses they have.

Addresses need no multiplier: every loop keeps the address its current iteration began at, and one adder per operand
adds the stride of the loop that goes on.
"""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

ADDRESS_BITS = 26
"""Of an activation buffer address."""

STRIDE_BITS = 24
"""Of the stride between columns."""

ROW_COUNT_BITS = 16
WORD_COUNT_BITS = 14
TAP_COUNT_BITS = 10


def row_bits(rows: int) -> int:
    """Return the bits of a row number of the lanes' constants, of which there are at least two."""
    return (max(2, rows) - 1).bit_length()


class BlockLoops(wiring.Component):
    """Count rows, columns and beats of up to `beat_words` words, beats innermost.

    Members
    -------
    load: start at the first beat of a block of ny rows, nx columns and nc words (all at least 1, held while walking).
    advance: go to the next beat.
    single: beats are of one word.
    again: walk this column once more before the next; looked at in its last beat.
    words: words of the current beat, 1 to beat_words.
    restart: the next beat is the first of this column again.
    next_column, next_row: the next beat belongs to another column of this row, to another row.
    last: this is the last beat of the block; what follows is undefined.
    beat: number of the beat within its column, modulo 2**beat_bits.

    Latency and throughput
    ----------------------
    One beat per cycle; outputs follow load and advance by one cycle.
    """

    def __init__(self, beat_words: int, beat_bits: int) -> None:
        self.beat_words = beat_words
        super().__init__(
            {
                "load": In(1), "advance": In(1), "single": In(1), "again": In(1), "ny": In(ROW_COUNT_BITS),
                "nx": In(ROW_COUNT_BITS), "nc": In(WORD_COUNT_BITS), "words": Out(range(beat_words + 1)),
                "restart": Out(1), "next_column": Out(1), "next_row": Out(1), "last": Out(1), "beat": Out(beat_bits),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the counters of what is left, the current iteration included, and registers that tell of the last."""
        m = Module()
        rows_left = Signal(ROW_COUNT_BITS)
        columns_left = Signal(ROW_COUNT_BITS)
        words_left = Signal(WORD_COUNT_BITS)
        last_beat, last_column, last_row = (Signal(name=name) for name in ("last_beat", "last_column", "last_row"))
        one_beat, one_column, one_row = (Signal(name=name) for name in ("one_beat", "one_column", "one_row"))
        beat_words = Signal(range(self.beat_words + 1))
        m.d.comb += [
            beat_words.eq(Mux(self.single, 1, self.beat_words)),
            one_beat.eq(self.nc <= beat_words),
            one_column.eq(self.nx == 1),
            one_row.eq(self.ny == 1),
            self.words.eq(Mux(last_beat, words_left, beat_words)),
            self.restart.eq(last_beat & self.again),
            self.next_column.eq(last_beat & ~self.again & ~last_column),
            self.next_row.eq(last_beat & ~self.again & last_column),
            self.last.eq(self.next_row & last_row),
        ]
        with m.If(self.load):
            m.d.sync += [
                rows_left.eq(self.ny), columns_left.eq(self.nx), words_left.eq(self.nc), self.beat.eq(0),
                last_beat.eq(one_beat), last_column.eq(one_column), last_row.eq(one_row),
            ]  # fmt: skip
        with m.Elif(self.advance):
            m.d.sync += [
                words_left.eq(words_left - beat_words), self.beat.eq(self.beat + 1),
                last_beat.eq(words_left <= Mux(self.single, 2, 2 * self.beat_words)),
            ]  # fmt: skip
            with m.If(last_beat):
                m.d.sync += [words_left.eq(self.nc), self.beat.eq(0), last_beat.eq(one_beat)]
            with m.If(self.next_column):
                m.d.sync += [columns_left.eq(columns_left - 1), last_column.eq(columns_left == 2)]
            with m.If(self.next_row):
                m.d.sync += [
                    columns_left.eq(self.nx), last_column.eq(one_column), rows_left.eq(rows_left - 1),
                    last_row.eq(rows_left == 2),
                ]  # fmt: skip
        return m


class BlockPointer(wiring.Component):
    """Keep one operand's address of the current beat.

    Members
    -------
    load, base: go to the address of the first beat.
    advance, restart, next_column, next_row: go to the next beat, as `BlockLoops` says.
    step, column_stride, row_stride: bytes from beat to beat, column to column and row to row; held while walking.
    address: of the current beat. following: of the next one, unless it is a restart.

    Latency and throughput
    ----------------------
    One beat per cycle; the address follows load and advance by one cycle.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "load": In(1), "base": In(ADDRESS_BITS), "advance": In(1), "restart": In(1), "next_column": In(1),
                "next_row": In(1), "step": In(ADDRESS_BITS), "column_stride": In(STRIDE_BITS),
                "row_stride": In(ADDRESS_BITS), "address": Out(ADDRESS_BITS), "following": Out(ADDRESS_BITS),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return one adder and the address each loop's iteration began at."""
        m = Module()
        row = Signal(ADDRESS_BITS)
        column = Signal(ADDRESS_BITS)
        start = Signal(ADDRESS_BITS)
        stride = Signal(ADDRESS_BITS)
        m.d.comb += [
            start.eq(Mux(self.next_row, row, Mux(self.next_column, column, self.address))),
            stride.eq(Mux(self.next_row, self.row_stride, Mux(self.next_column, self.column_stride, self.step))),
            self.following.eq(start + stride),
        ]
        with m.If(self.load):
            m.d.sync += [row.eq(self.base), column.eq(self.base), self.address.eq(self.base)]
        with m.Elif(self.advance):
            m.d.sync += self.address.eq(Mux(self.restart, column, self.following))
            with m.If(self.next_column | self.next_row):
                m.d.sync += column.eq(self.following)
            with m.If(self.next_row):
                m.d.sync += row.eq(self.following)
        return m


class WindowWalk(wiring.Component):
    """Walk the kh x kw taps of the window of one beat.

    Members
    -------
    load, base: go to tap (0, 0) at address `base`.
    advance: go to the next tap, columns innermost.
    kh, kw, row_stride, column_stride: window and its strides in bytes; held while walking.
    address: of the current tap. first, last: it is tap (0, 0), or (kh - 1, kw - 1).

    Latency and throughput
    ----------------------
    One tap per cycle; outputs follow load and advance by one cycle.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "load": In(1), "base": In(ADDRESS_BITS), "advance": In(1), "kh": In(TAP_COUNT_BITS),
                "kw": In(TAP_COUNT_BITS), "row_stride": In(ADDRESS_BITS), "column_stride": In(STRIDE_BITS),
                "address": Out(ADDRESS_BITS), "first": Out(1), "last": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the two counters of what is left and one adder."""
        m = Module()
        rows_left = Signal(TAP_COUNT_BITS)
        columns_left = Signal(TAP_COUNT_BITS)
        row = Signal(ADDRESS_BITS)
        following = Signal(ADDRESS_BITS)
        last_column, last_row = Signal(), Signal()
        m.d.comb += [
            self.last.eq(last_column & last_row),
            following.eq(Mux(last_column, row + self.row_stride, self.address + self.column_stride)),
        ]
        with m.If(self.load):
            m.d.sync += [
                rows_left.eq(self.kh), columns_left.eq(self.kw), row.eq(self.base), self.address.eq(self.base),
                self.first.eq(1), last_column.eq(self.kw == 1), last_row.eq(self.kh == 1),
            ]  # fmt: skip
        with m.Elif(self.advance):
            m.d.sync += [
                self.address.eq(following), columns_left.eq(columns_left - 1), last_column.eq(columns_left == 2),
                self.first.eq(0),
            ]  # fmt: skip
            with m.If(last_column):
                m.d.sync += [
                    columns_left.eq(self.kw), last_column.eq(self.kw == 1), rows_left.eq(rows_left - 1),
                    last_row.eq(rows_left == 2), row.eq(following),
                ]  # fmt: skip
        return m
