"""SOFTMAX of rows that are streamed three times: largest element, sum of exponentials, quotients."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.copies import Copies
from gossamer.rtl.own_copy import UNSHARED
from gossamer.rtl.vector.parameters import ENTRY_LATENCY

SUM_BITS = 50
"""Of a sum of 2**18 numbers of 32 bits."""

QUOTIENT_BITS = 9
"""Of 256 times a term by the sum of all, rounded: at most 256."""

SOFTMAX_LATENCY = ENTRY_LATENCY + 3 + QUOTIENT_BITS + 2
"""Cycles from an element of the last pass to its result."""


class DivideStage(wiring.Component):
    """Find one quotient bit and bring the next bit of the dividend down.

    Members
    -------
    partial: what is left of the dividend, below twice the divisor. next_bit: following bit of the dividend.
    quotient: bits found before. divisor. partial_out, quotient_out, divisor_out: the same after this bit, one cycle
        later.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "partial": In(SUM_BITS + 1), "next_bit": In(1), "quotient": In(QUOTIENT_BITS), "divisor": In(SUM_BITS),
                "partial_out": Out(SUM_BITS + 1), "quotient_out": Out(QUOTIENT_BITS), "divisor_out": Out(SUM_BITS),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the subtraction and its registers."""
        m = Module()
        rest = Signal(signed(SUM_BITS + 2))
        fits = Signal()
        m.d.comb += [rest.eq(self.partial - self.divisor), fits.eq(rest >= 0)]
        m.d.sync += [
            self.partial_out.eq(Cat(self.next_bit, Mux(fits, rest, self.partial)[:SUM_BITS])),
            self.quotient_out.eq(Cat(fits, self.quotient)),
            self.divisor_out.eq(self.divisor),
        ]
        return m


class Softmax(wiring.Component):
    """Compute `gossamer.dataflow.numerics.softmax` of a stream of rows.

    Members
    -------
    slot, element, real, first, row_pass: the stream, three passes per row, from `RowReader`.
    look_up, index: read this entry of the table of exponentials; one cycle after an element of passes 1 and 2. term:
        the entry, ENTRY_LATENCY cycles later.
    zero: zero point of the output. result: signed byte, `SOFTMAX_LATENCY` cycles after the element of pass 2.
    no_sum: high for a cycle if a row's exponentials add up to nothing, a cycle after its first quotient is begun.

    Latency and throughput
    ----------------------
    One element per cycle.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "slot": In(1), "element": In(signed(8)), "real": In(1), "first": In(1), "row_pass": In(2),
                "look_up": Out(1), "index": Out(8), "term": In(32), "zero": In(signed(8)),
                "result": Out(signed(8)), "no_sum": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return maximum, sum and the chain of divider stages."""
        m = Module()
        top = Signal(signed(8))
        below = Signal(signed(9))
        m.d.comb += below.eq(top - self.element)
        with m.If(self.slot & (self.row_pass == 0) & (self.first | (self.real & below[-1]))):
            m.d.sync += top.eq(self.element)
        m.d.sync += [self.index.eq(below), self.look_up.eq(self.slot & (self.row_pass != 0))]
        stages = ENTRY_LATENCY + 2
        tags = [Cat(self.slot & (self.row_pass == 1), self.slot & (self.row_pass == 2), self.first, self.real)]
        for stage in range(stages):
            tags.append(Signal(4, name=f"tag_{stage + 1}", attrs=UNSHARED))
            m.d.sync += tags[-1].eq(tags[-2])
        summing, dividing, first = tags[stages][0], tags[stages][1], tags[stages][2]
        term = Signal(32)
        total = Signal(SUM_BITS)
        divisor = Signal(SUM_BITS)
        dividend = Signal(SUM_BITS + 1)
        m.d.sync += [term.eq(Mux(tags[stages - 1][3], self.term, 0)), dividend.eq(term + (total >> QUOTIENT_BITS))]
        with m.If(summing):
            m.d.sync += total.eq(Mux(first, 0, total) + term)
        with m.If(dividing & first):
            m.d.sync += divisor.eq(total)
        m.d.sync += self.no_sum.eq(dividing & first & (total == 0))
        m.submodules.divider = divider = Copies(DivideStage(), QUOTIENT_BITS)
        # The dividend is 256 * term + total / 2: its low eight bits are the total's, and are brought down one by one.
        divisors = Cat(divisor, divider.divisor_out)
        low_bits = [divisors.word_select(at, SUM_BITS)[QUOTIENT_BITS - 1 - at] for at in range(QUOTIENT_BITS - 1)]
        m.d.comb += [
            divider.divisor.eq(divisors), divider.partial.eq(Cat(dividend, divider.partial_out)),
            divider.quotient.eq(Cat(Const(0, QUOTIENT_BITS), divider.quotient_out)),
            divider.next_bit.eq(Cat(*low_bits, Const(0, 1))),
        ]  # fmt: skip
        shifted = Signal(signed(11))
        m.d.sync += shifted.eq(self.zero + divider.quotient_out[-QUOTIENT_BITS:])
        m.d.sync += self.result.eq(Mux(shifted > 127, 127, shifted))
        return m
