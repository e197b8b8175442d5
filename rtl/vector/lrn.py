"""Local response normalisation: a sliding sum of squares over the channels of a streamed row."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gossamer.rtl.copies import Copies
from gossamer.rtl.vector.arithmetic import MULTIPLY_LATENCY, SHIFT_LATENCY, Multiplier, RoundingShift
from gossamer.rtl.vector.parameters import READ_LATENCY

HISTORY = 256
"""Elements kept: more than the longest window."""

SQUARES_BITS = 25
"""Of a sum of 255 squares of 9 bits."""

INDEX_STAGE = 5
"""Cycles from an element to the table index of the window it completes."""

LRN_LATENCY = INDEX_STAGE + READ_LATENCY + 1 + MULTIPLY_LATENCY + SHIFT_LATENCY
"""Cycles from an element to the result of the channel whose window it completes."""


class Lrn(wiring.Component):
    """Compute `gossamer.dataflow.numerics.lrn` of a stream of rows; the result lags by half a window.

    Members
    -------
    element, real, first, index: the stream, from `RowReader`; a row goes on, unreal, for window // 2 elements.
    zero_a, window, index_shift, amount, zero: constants; window is at least 1, amount is the shift minus one.
    table_index: of the table of factors, INDEX_STAGE cycles after the element. factor: entry, READ_LATENCY later.
    result: signed byte, `LRN_LATENCY` cycles after the element; it is of channel index - window // 2.

    Latency and throughput
    ----------------------
    One element per cycle.
    """

    def __init__(self, index_bits: int) -> None:
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
        m.submodules.multiplier = multiplier = Copies(Multiplier())
        m.submodules.shift = shift = Copies(RoundingShift())
        entering, leaving, centre, first = self._history(m)
        entered = Signal(17)
        left = Signal(17)
        squares = Signal(SQUARES_BITS)
        start = Signal()
        m.d.sync += [
            entered.eq(entering * entering), left.eq(leaving * leaving), start.eq(first),
            squares.eq(Mux(start, 0, squares) + entered - left),
        ]  # fmt: skip
        distance = Signal(5)
        shifted = Signal(SQUARES_BITS)
        m.d.sync += distance.eq(Mux(self.index_shift >= 2 ** len(distance), -1, self.index_shift))
        m.d.comb += shifted.eq(squares >> distance)
        m.d.sync += self.table_index.eq(Mux(shifted > 255, 255, shifted))
        scaled = centre
        for stage in range(INDEX_STAGE - 2 + READ_LATENCY + 1):
            after = Signal(signed(9), name=f"centre_{stage + 1}")
            m.d.sync += after.eq(scaled)
            scaled = after
        factor = Signal(signed(32))
        m.d.sync += factor.eq(self.factor)
        m.d.comb += [
            multiplier.x.eq(scaled), multiplier.y.eq(factor), shift.value.eq(multiplier.product),
            shift.amount.eq(self.amount), shift.zero.eq(self.zero), shift.low.eq(-128), shift.high.eq(127),
            self.result.eq(shift.result),
        ]  # fmt: skip
        return m

    def _history(self, m: Module) -> tuple[Signal, Signal, Signal, Signal]:
        """Return, 2 cycles after an element, it, the one that leaves the window, the window's centre, and first."""
        m.submodules.history = history = Memory(shape=signed(9), depth=HISTORY, init=[])
        write = history.write_port()
        old, middle = history.read_port(transparent_for=()), history.read_port(transparent_for=(write,))
        just_written = Signal()
        written = Signal(signed(9))
        number = Signal(8)
        is_leaving = Signal()
        centred = Signal(signed(9))
        entering = Signal(signed(9))
        leaving = Signal(signed(9))
        first = Signal(2)
        m.d.sync += [
            centred.eq(Mux(self.real, self.element - self.zero_a, 0)), number.eq(self.index),
            is_leaving.eq(self.index >= self.window), entering.eq(centred),
            first.eq(Cat(self.first, first[0])), just_written.eq(number == old.addr), written.eq(centred),
            leaving.eq(Mux(is_leaving, Mux(just_written, written, old.data), 0)),
        ]  # fmt: skip
        # The element that leaves is read a cycle before the one that enters is written; it may be the one before that.
        m.d.comb += [
            write.en.eq(1), write.addr.eq(number), write.data.eq(centred), old.en.eq(1), middle.en.eq(1),
            old.addr.eq(self.index[: len(number)] - self.window), middle.addr.eq(number - (self.window >> 1)),
        ]  # fmt: skip
        return entering, leaving, middle.data, first[1]
