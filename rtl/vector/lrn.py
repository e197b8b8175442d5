"""Local response normalisation: a sliding sum of squares over the channels of a streamed row."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.spec import MemoryKind
from gossamer.arch.target import Target
from gossamer.rtl.copies import Copies
from gossamer.rtl.memory.block import BlockMemory
from gossamer.rtl.own_copy import UNSHARED, own_copy
from gossamer.rtl.part_product import PART_LATENCY, part_product
from gossamer.rtl.vector.arithmetic import MULTIPLY_LATENCY, SHIFT_LATENCY, Multiplier, RoundingShift, ShiftLimits
from gossamer.rtl.vector.parameters import ENTRY_LATENCY

HISTORY = 256
"""Elements kept: more than the longest window."""

SQUARES_BITS = 25
"""Of a sum of 255 squares of 9 bits."""

CENTRE_STAGE = 4
"""Cycles from an element to the one half a window before."""

SQUARES_STAGE = 3 + PART_LATENCY + 3
"""Cycles from an element to the sum of squares of the window it completes."""

INDEX_STAGE = SQUARES_STAGE + 3
"""Cycles from an element to the table index of the window it completes."""

LRN_LATENCY = INDEX_STAGE + ENTRY_LATENCY + 1 + MULTIPLY_LATENCY + SHIFT_LATENCY
"""Cycles from an element to the result of the channel whose window it completes."""


class Lrn(wiring.Component):
    """Compute `gossamer.dataflow.numerics.lrn` of a stream of rows; the result lags by half a window.

    Members
    -------
    element, real, first, index: the stream, from `RowReader`; a row goes on, unreal, for window // 2 elements.
    zero_a, window, index_shift, amount, zero: constants; window is at least 1, amount is the shift minus one.
    table_index: of the table of factors, INDEX_STAGE cycles after the element. factor: entry, ENTRY_LATENCY later.
    result: signed byte, `LRN_LATENCY` cycles after the element; it is of channel index - window // 2.

    Latency and throughput
    ----------------------
    One element per cycle.
    """

    def __init__(self, index_bits: int, target: Target) -> None:
        self.target = target
        super().__init__(
            {
                "element": In(signed(8)), "real": In(1), "first": In(1), "index": In(index_bits),
                "zero_a": In(signed(8)), "window": In(8), "index_shift": In(24), "amount": In(6),
                "zero": In(signed(8)), "table_index": Out(8), "factor": In(signed(32)), "result": Out(signed(8)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return history, sum of squares, and the scaling of the centre."""
        m = Module()
        m.submodules.multiplier = multiplier = Copies(Multiplier(self.target, 9))
        m.submodules.shift = shift = Copies(RoundingShift())
        m.submodules.limits = limits = Copies(ShiftLimits())
        entering, leaving, centre = self._history(m)
        entered = Signal(17)
        left = Signal(17)
        change = Signal(signed(18))
        squares = Signal(SQUARES_BITS)
        start = Signal(SQUARES_STAGE - 1, attrs=UNSHARED)
        m.d.sync += [
            entered.eq(part_product(m, "entered_square", entering, entering, self.target)),
            left.eq(part_product(m, "left_square", leaving, leaving, self.target)),
            change.eq(entered - left), start.eq(Cat(self.first, start)),
            squares.eq(Mux(start[-1], 0, squares) + change),
        ]  # fmt: skip
        distance = Signal(5)
        coarse = Signal(SQUARES_BITS)
        shifted = Signal(SQUARES_BITS)
        fine = 3
        m.d.sync += [
            distance.eq(Mux(self.index_shift >= 2 ** len(distance), -1, self.index_shift)),
            coarse.eq(squares >> (distance[fine:] << fine)), shifted.eq(coarse >> distance[:fine]),
            self.table_index.eq(Mux(shifted > 255, 255, shifted)),
        ]  # fmt: skip
        scaled = centre
        for stage in range(INDEX_STAGE + ENTRY_LATENCY + 1 - CENTRE_STAGE):
            after = Signal(signed(9), name=f"centre_{stage + 1}")
            m.d.sync += after.eq(scaled)
            scaled = after
        factor = Signal(signed(32))
        m.d.sync += factor.eq(self.factor)
        m.d.comb += [
            multiplier.x.eq(scaled), multiplier.y.eq(factor), shift.value.eq(multiplier.product),
            shift.amount.eq(own_copy(m, self.amount)), limits.zero.eq(self.zero), limits.low.eq(-128),
            limits.high.eq(127), shift.limits.eq(limits.limits), self.result.eq(shift.result),
        ]  # fmt: skip
        return m

    def _history(self, m: Module) -> tuple[Signal, Value, Signal]:
        """Return an element and the one that leaves the window, 3 cycles after it, and the centre, CENTRE_STAGE after.

        What is read was written before, and nothing else is written to its row in that cycle.
        """
        kind = MemoryKind.DP16KD if self.target is Target.ECP5 else MemoryKind.LUTRAM
        memory = BlockMemory("lrn_history", part_bits=9, parts=1, rows=HISTORY, kind=kind)
        m.submodules.old = old = Copies(memory)
        m.submodules.middle = middle = Copies(memory)
        entering = [Signal(signed(9), name=f"entering_{stage}") for stage in (1, 2, 3)]
        numbers = [Signal(8, name=f"number_{stage}") for stage in (1, 2)]
        is_leaving = Signal(3)
        left = Signal(signed(9))
        centre = Signal(signed(9))
        m.d.sync += [
            entering[0].eq(Mux(self.real, self.element - self.zero_a, 0)), entering[1].eq(entering[0]),
            entering[2].eq(entering[1]), numbers[0].eq(self.index), numbers[1].eq(numbers[0]),
            is_leaving.eq(Cat(self.index >= self.window, is_leaving)), left.eq(old.read_data),
            centre.eq(middle.read_data),
        ]  # fmt: skip
        for copy in (old, middle):
            m.d.comb += [
                copy.write_enable.eq(1), copy.write_row.eq(numbers[0]), copy.write_data.eq(entering[0]),
            ]  # fmt: skip
        m.d.comb += [
            old.read_row.eq(numbers[0] - self.window), middle.read_row.eq(numbers[1] - (self.window >> 1)),
        ]  # fmt: skip
        return entering[2], Mux(is_leaving[-1], left, 0), centre
