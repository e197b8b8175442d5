"""One channel of a VECTOR beat: from operand bytes or an accumulator to the int8 result."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gossamer.dataflow.numerics import MAX_SHIFT, REQUANTIZE_DTYPE
from gossamer.rtl.copies import Copies
from gossamer.rtl.vector.arithmetic import MULTIPLY_LATENCY, SHIFT_LATENCY, Multiplier, RoundingShift
from gossamer.rtl.vector.walk import row_bits

TABLE_ROW_BYTES = 16
"""Entries of a 256-byte table that are written, and read, together."""

TABLE_ROWS = 256 // TABLE_ROW_BYTES

ENTRY_BITS = 8 * REQUANTIZE_DTYPE.itemsize

TABLE_LATENCY = 2
"""Cycles from a byte to its table entry."""

PRODUCT_STAGE = 3 + MULTIPLY_LATENCY
"""Cycles from an operand to its product: take, centre, gather, multiply."""

LANE_LATENCY = PRODUCT_STAGE + 1 + SHIFT_LATENCY + TABLE_LATENCY
"""Cycles from an operand to its result: product, sum of two products, shift, look up."""


class ByteTable(wiring.Component):
    """A table of 256 bytes.

    Members
    -------
    write, write_row, write_data: write entries 16 * write_row to 16 * write_row + 15, the first in the LSBs.
    index: entry to read. entry: it, TABLE_LATENCY - 1 cycles later (the caller's register is the last of the latency).

    Latency and throughput
    ----------------------
    One entry per cycle.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "write": In(1), "write_row": In(range(TABLE_ROWS)), "write_data": In(8 * TABLE_ROW_BYTES),
                "index": In(8), "entry": Out(8),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return a memory of rows and the choice of a byte."""
        m = Module()
        m.submodules.rows = rows = Memory(shape=8 * TABLE_ROW_BYTES, depth=TABLE_ROWS, init=[])
        write, read = rows.write_port(), rows.read_port(transparent_for=())
        byte = Signal(range(TABLE_ROW_BYTES))
        at = len(byte)
        m.d.comb += [
            write.en.eq(self.write), write.addr.eq(self.write_row), write.data.eq(self.write_data),
            read.en.eq(1), read.addr.eq(self.index[at:]), self.entry.eq(read.data.word_select(byte, 8)),
        ]  # fmt: skip
        m.d.sync += byte.eq(self.index[:at])
        return m


class ChannelConstants(wiring.Component):
    """Hold one lane's share of a REQUANTIZE block: bias, multiplier and shift of every lanes-th channel.

    Members
    -------
    write, write_row, write_entry: write one 12-byte entry as it lies in the parameter buffer.
    bad_shift: the entry written in the cycle before has a shift outside 1 to 62.
    bias_row, multiplier_row, shift_row: rows to read, one for each part, since they are needed at different times.
    bias, multiplier: the parts, one cycle later. amount: shift - 1, one cycle later.
    """

    def __init__(self, rows: int) -> None:
        self.rows = max(2, rows)
        self.row_bits = row_bits(rows)
        super().__init__(
            {
                "write": In(1), "write_row": In(self.row_bits), "write_entry": In(ENTRY_BITS), "bad_shift": Out(1),
                "bias_row": In(self.row_bits), "multiplier_row": In(self.row_bits), "shift_row": In(self.row_bits),
                "bias": Out(signed(32)), "multiplier": Out(signed(32)), "amount": Out(6),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return three memories."""
        m = Module()
        shift, amount = self.write_entry[64:72], Signal(8)
        m.d.comb += amount.eq(shift - 1)
        m.d.sync += self.bad_shift.eq(self.write & (amount >= MAX_SHIFT))
        for name, data, row, out in (
            ("bias", self.write_entry[:32], self.bias_row, self.bias),
            ("multiplier", self.write_entry[32:64], self.multiplier_row, self.multiplier),
            ("amount", amount[:6], self.shift_row, self.amount),
        ):
            m.submodules[f"{name}_rows"] = memory = Memory(shape=len(out), depth=self.rows, init=[])
            write, read = memory.write_port(), memory.read_port(transparent_for=())
            m.d.comb += [
                write.en.eq(self.write), write.addr.eq(self.write_row), write.data.eq(data),
                read.en.eq(1), read.addr.eq(row), out.eq(read.data),
            ]  # fmt: skip
        return m


class VectorLane(wiring.Component):
    """Compute one channel of every VECTOR operation that treats channels apart.

    Members
    -------
    operand, accumulator: what this channel takes in, one step of an operation per cycle.
    requantize: the operand is `accumulator`, its constants are the channel's own; else `operand` and those below.
    offset: added to the operand (minus its zero point), one cycle after it.
    first, second, product, maximum: two cycles after the operand: the operand begins a window; it is the second source;
        multiply it by the first source; keep the larger one of the window. Otherwise operands of a window are summed.
    factor: multiplier, two cycles after the operand.
    add_second: `PRODUCT_STAGE` cycles after the operand: add its product to the one before.
    amount, zero, low, high: as in `RoundingShift`. use_table: look the result up.
    capture: `LANE_LATENCY` - 1 cycles after the last operand: keep its result.
    result: signed byte, from `LANE_LATENCY` cycles after the last operand until the next capture.
    table_write, table_row, table_data: fill the table. constants_write, constants_row, constants_entry: fill the
        channel's constants; bad_shift tells of a wrong one. bias_row, multiplier_row, shift_row: rows to read, with the
        operand, one cycle after it, and PRODUCT_STAGE cycles after it.

    Latency and throughput
    ----------------------
    One operand per cycle; a result `LANE_LATENCY` cycles after the last one of its window.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        row = In(row_bits(rows))
        super().__init__(
            {
                "operand": In(signed(8)), "accumulator": In(32), "requantize": In(1), "offset": In(signed(9)),
                "first": In(1), "product": In(1), "maximum": In(1), "factor": In(signed(32)), "add_second": In(1),
                "amount": In(6), "zero": In(signed(8)), "low": In(signed(8)), "high": In(signed(8)),
                "use_table": In(1), "capture": In(1), "result": Out(8), "table_write": In(1),
                "table_row": In(range(TABLE_ROWS)), "table_data": In(8 * TABLE_ROW_BYTES), "constants_write": In(1),
                "constants_row": row, "constants_entry": In(ENTRY_BITS), "bad_shift": Out(1), "bias_row": row,
                "multiplier_row": row, "shift_row": row,
            }
        )  # fmt: skip

    SHARED = (
        "requantize", "offset", "first", "product", "maximum", "factor", "add_second", "amount", "zero", "low", "high",
        "use_table", "capture", "table_write", "table_row", "table_data", "constants_row", "bias_row",
        "multiplier_row", "shift_row",
    )  # fmt: skip
    """Inputs that all lanes see alike."""

    def elaborate(self, platform: object) -> Module:
        """Return the stages in order."""
        m = Module()
        m.submodules.constants = constants = Copies(ChannelConstants(self.rows))
        m.submodules.multiplier = multiplier = Copies(Multiplier())
        m.submodules.shift = shift = Copies(RoundingShift())
        m.submodules.table = table = Copies(ByteTable())
        m.d.comb += [
            constants.write.eq(self.constants_write), constants.write_row.eq(self.constants_row),
            constants.write_entry.eq(self.constants_entry), self.bad_shift.eq(constants.bad_shift),
            constants.bias_row.eq(self.bias_row), constants.multiplier_row.eq(self.multiplier_row),
            constants.shift_row.eq(self.shift_row),
            table.write.eq(self.table_write), table.write_row.eq(self.table_row), table.write_data.eq(self.table_data),
        ]  # fmt: skip
        taken, centred, before, gathered, factor = (
            Signal(signed(32), name=name) for name in ("taken", "centred", "before", "gathered", "factor")
        )
        total = Signal(signed(64))
        m.d.sync += [
            taken.eq(Mux(self.requantize, self.accumulator.as_signed(), self.operand)),
            centred.eq(taken + Mux(self.requantize, constants.bias.as_signed(), self.offset)),
            before.eq(centred),
            factor.eq(Mux(self.requantize, constants.multiplier.as_signed(), self.factor)),
        ]
        with m.If(self.product):
            m.d.sync += gathered.eq(before[:9].as_signed() * centred[:9].as_signed())
        with m.Elif(self.first):
            m.d.sync += gathered.eq(centred)
        with m.Elif(self.maximum):
            m.d.sync += gathered.eq(Mux(centred > gathered, centred, gathered))
        with m.Else():
            m.d.sync += gathered.eq(gathered + centred)
        m.d.comb += [multiplier.x.eq(gathered), multiplier.y.eq(factor)]
        m.d.sync += total.eq(multiplier.product.as_signed() + Mux(self.add_second, total, 0))
        m.d.comb += [
            shift.value.eq(total), shift.amount.eq(Mux(self.requantize, constants.amount, self.amount)),
            shift.zero.eq(self.zero), shift.low.eq(self.low), shift.high.eq(self.high),
        ]  # fmt: skip
        plain = Signal(8)
        m.d.comb += table.index.eq(shift.result ^ 0x80)
        m.d.sync += plain.eq(shift.result)
        with m.If(self.capture):
            m.d.sync += self.result.eq(Mux(self.use_table, table.entry, plain))
        return m
