"""One channel of a VECTOR beat: from operand bytes or an accumulator to the int8 result."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gossamer.arch.target import Target
from gossamer.arch.timing import VECTOR_SUM_CYCLES
from gossamer.dataflow.numerics import ADDEND_FACTOR_BITS, MAX_SHIFT, MIN_SHIFT, REQUANTIZE_DTYPE
from gossamer.rtl.copies import Copies
from gossamer.rtl.own_copy import own_copy
from gossamer.rtl.part_product import PART_LATENCY, part_product
from gossamer.rtl.vector.arithmetic import LIMITS_BITS, MULTIPLY_LATENCY, SHIFT_LATENCY, Multiplier, RoundingShift
from gossamer.rtl.vector.lane_sum import OPERANDS, SUM_LATENCY, LaneSum
from gossamer.rtl.vector.walk import row_bits

TABLE_ROW_BYTES = 16
"""Entries of a 256-byte table that are written, and read, together."""

TABLE_ROWS = 256 // TABLE_ROW_BYTES

ENTRY_BITS = 8 * REQUANTIZE_DTYPE.itemsize

TABLE_LATENCY = 2
"""Cycles from a byte to its table entry."""

FACTOR_STAGE = 2 + PART_LATENCY
"""Cycles from an operand to its way into the multiplier: take, centre, gather or multiply."""

PRODUCT_STAGE = FACTOR_STAGE + MULTIPLY_LATENCY
"""Cycles from an operand to its product."""

SUM_BITS = 41
"""Of a product of a centred operand, 9 bits, and a multiplier."""

LANE_LATENCY = PRODUCT_STAGE + 1 + SHIFT_LATENCY + TABLE_LATENCY
"""Cycles from an operand to its result: product, sum of two products, shift, look up."""

assert SUM_LATENCY == VECTOR_SUM_CYCLES


def is_bad_shift(shift: Value) -> Value:
    """Return whether a byte is outside `MIN_SHIFT` to `MAX_SHIFT`: more than 6 bits, or all of them equal."""
    assert (MIN_SHIFT, MAX_SHIFT) == (1, 62)
    return shift[6:].any() | shift[:6].all() | ~shift[:6].any()


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
        shift, amount = self.write_entry[64:72], Signal(6)
        m.d.comb += amount.eq(shift - 1)
        m.d.sync += self.bad_shift.eq(self.write & is_bad_shift(shift))
        for name, data, row, out in (
            ("bias", self.write_entry[:32], self.bias_row, self.bias),
            ("multiplier", self.write_entry[32:64], self.multiplier_row, self.multiplier),
            ("amount", amount, self.shift_row, self.amount),
        ):
            m.submodules[f"{name}_rows"] = memory = Memory(shape=len(out), depth=self.rows, init=[])
            write, read = memory.write_port(), memory.read_port(transparent_for=())
            m.d.comb += [
                write.en.eq(self.write), write.addr.eq(self.write_row), write.data.eq(data),
                read.en.eq(1), read.addr.eq(row), out.eq(read.data),
            ]  # fmt: skip
        return m


SUM_PORTS = {
    **{f"sum_offset_{name}": In(signed(9)) for name in OPERANDS},
    **{f"sum_factor_{name}": In(signed(ADDEND_FACTOR_BITS)) for name in OPERANDS},
    "sum_amount": In(6), "sum_limits": In(LIMITS_BITS),
}  # fmt: skip
"""Constants of `LaneSum`, as ports."""


class VectorLane(wiring.Component):
    """Compute one channel of every VECTOR operation that treats channels apart.

    Members
    -------
    operand, accumulator: what this channel takes in, one step of an operation per cycle.
    requantize, multiply, maximum, add: the operation, held from two cycles before the first operand on; none of them:
        average, table or copy. To requantize, the operand is `accumulator`, and its constants are the channel's own;
        else it is `operand`, and they are below.
    offset: added to the operand (minus its zero point), one cycle after it.
    first: two cycles after the operand: it begins a window.
    factor: multiplier, `FACTOR_STAGE` - 1 cycles after the operand. It multiplies the product of the last two operands
        if `multiply`, the larger one of the window if `maximum`, else the window's sum; if `add`, the product before
        is added to the product.
    amount, limits: as in `RoundingShift`. use_table: look the result up.
    capture: `LANE_LATENCY` - 1 cycles after the last operand: keep its result.
    result: signed byte, from `LANE_LATENCY` cycles after the last operand until the next capture. If `adds`, held: the
        sum of that byte and of `operand` in the first of these cycles, `SUM_LATENCY` cycles later, for one cycle.
    sum_offset_a, ... , sum_limits: constants of the sum, as in `LaneSum`.
    table_write, table_row, table_data: fill the table. constants_write, constants_row, constants_entry: fill the
        channel's constants; bad_shift tells of a wrong one. bias_row, multiplier_row, shift_row: rows to read, with the
        operand, `FACTOR_STAGE` - 2 cycles after it, and `PRODUCT_STAGE` - 1 cycles after it.

    Latency and throughput
    ----------------------
    One operand per cycle; a result `LANE_LATENCY` cycles after the last one of its window.
    """

    def __init__(self, rows: int, target: Target) -> None:
        self.rows, self.target = rows, target
        row = In(row_bits(rows))
        super().__init__(
            {
                "operand": In(signed(8)), "accumulator": In(32), "requantize": In(1), "offset": In(signed(9)),
                "first": In(1), "multiply": In(1), "maximum": In(1), "add": In(1), "factor": In(signed(32)),
                "amount": In(6), "limits": In(LIMITS_BITS), "adds": In(1), **SUM_PORTS,
                "use_table": In(1), "capture": In(1), "result": Out(8), "table_write": In(1),
                "table_row": In(range(TABLE_ROWS)), "table_data": In(8 * TABLE_ROW_BYTES), "constants_write": In(1),
                "constants_row": row, "constants_entry": In(ENTRY_BITS), "bad_shift": Out(1), "bias_row": row,
                "multiplier_row": row, "shift_row": row,
            }
        )  # fmt: skip

    SHARED = (
        "requantize", "offset", "first", "multiply", "maximum", "add", "factor", "amount", "limits", "adds", *SUM_PORTS,
        "use_table", "capture", "table_write", "table_row", "table_data", "constants_row", "bias_row",
        "multiplier_row", "shift_row",
    )  # fmt: skip
    """Inputs that all lanes see alike."""

    def elaborate(self, platform: object) -> Module:
        """Return the stages in order."""
        m = Module()
        m.submodules.constants = constants = Copies(ChannelConstants(self.rows))
        m.submodules.multiplier = multiplier = Copies(Multiplier(self.target))
        m.submodules.shift = shift = Copies(RoundingShift())
        m.submodules.table = table = Copies(ByteTable())
        m.d.comb += [
            constants.write.eq(self.constants_write), constants.write_row.eq(self.constants_row),
            constants.write_entry.eq(self.constants_entry), self.bad_shift.eq(constants.bad_shift),
            constants.bias_row.eq(self.bias_row), constants.multiplier_row.eq(self.multiplier_row),
            constants.shift_row.eq(self.shift_row),
            table.write.eq(self.table_write), table.write_row.eq(self.table_row), table.write_data.eq(self.table_data),
        ]  # fmt: skip
        requantize, multiply, maximum, add = own_copy(m, Cat(self.requantize, self.multiply, self.maximum, self.add))
        taken, centred, factor = (Signal(signed(32), name=name) for name in ("taken", "centred", "factor"))
        m.d.sync += [
            taken.eq(Mux(requantize, self.accumulator.as_signed(), self.operand)),
            centred.eq(taken + Mux(requantize, constants.bias.as_signed(), self.offset)),
            factor.eq(Mux(requantize, constants.multiplier.as_signed(), self.factor)),
        ]
        m.d.comb += [multiplier.x.eq(self._gathered(m, centred, multiply, maximum)), multiplier.y.eq(factor)]
        before = Signal(signed(SUM_BITS))
        total = Signal(signed(64))
        amount = Signal(6)
        product = multiplier.product.as_signed()
        m.d.sync += [
            before.eq(Mux(add, product, 0)), total.eq(product + before),
            amount.eq(Mux(requantize, constants.amount, self.amount)),
        ]  # fmt: skip
        m.d.comb += [
            shift.value.eq(total), shift.amount.eq(amount), shift.limits.eq(self.limits),
        ]  # fmt: skip
        plain = Signal(8)
        kept = Signal(8)
        m.d.comb += table.index.eq(shift.result ^ 0x80)
        m.d.sync += plain.eq(shift.result)
        with m.If(self.capture):
            m.d.sync += kept.eq(Mux(self.use_table, table.entry, plain))
        m.submodules.sum = adder = Copies(LaneSum(self.target))
        m.d.comb += [getattr(adder, name.removeprefix("sum_")).eq(getattr(self, name)) for name in SUM_PORTS]
        m.d.comb += [adder.a.eq(kept), adder.b.eq(self.operand), self.result.eq(Mux(self.adds, adder.sum, kept))]
        return m

    def _gathered(self, m: Module, centred: Signal, multiply: Signal, maximum: Signal) -> Value:
        """Return what a window's operands amount to so far, or the product of the last two, PART_LATENCY cycles later.

        Operands of MAXIMUM have 9 bits, as those of MULTIPLY.
        """
        before = Signal(signed(9))
        gathered, late = Signal(signed(32)), Signal(signed(32))
        smaller = centred[:9].as_signed() <= gathered[:9].as_signed()
        product = part_product(m, "product", before, centred[:9].as_signed(), self.target)
        m.d.sync += [before.eq(centred), late.eq(gathered)]
        with m.If(~(maximum & ~self.first & smaller)):
            m.d.sync += gathered.eq(Mux(self.first | maximum, centred, gathered + centred))
        return Mux(multiply, product, late)
