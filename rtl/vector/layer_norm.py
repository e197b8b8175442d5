"""Layer normalisation: sums of a row, then a serial square root and reciprocal, then a product per element.

The specification divides every element by the root of the row's variance, rounding down. Here each is multiplied by
the root's reciprocal to 48 significant bits, which gives the same quotients. With d the root, L its bits,
m = floor(2**(47 + L) / d) and |X| < 2**47: for X < 0, X * m / 2**(47 + L) lies above X / d by less than 2**-L < 1 / d,
and for X >= 0, X * (m + 1) / 2**(47 + L) lies above X / d by no more; fractions of X / d are multiples of 1 / d, so the
floor is the same (ours, checked by tests/rtl/test_vector.py).
"""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.dataflow.numerics import LAYER_NORM_FRACTION_BITS, LAYER_NORM_ROOT_BITS
from gossamer.rtl.copies import Copies
from gossamer.rtl.vector.arithmetic import MULTIPLY_LATENCY, PART_BITS, SHIFT_LATENCY, Multiplier, RoundingShift
from gossamer.rtl.vector.parameters import READ_LATENCY

VARIANCE_BITS = 46
ROOT_BITS = (VARIANCE_BITS + LAYER_NORM_ROOT_BITS) // 2
NUMERATOR_BITS = 24
"""Of the size of channels * element - sum: channels are below 2**16."""

RECIPROCAL_BITS = NUMERATOR_BITS + LAYER_NORM_FRACTION_BITS + 2
"""Of m above: it may be 2**48 itself."""

STATISTICS_CYCLES = 3 + MULTIPLY_LATENCY + ROOT_BITS + RECIPROCAL_BITS
"""Cycles from a row's last element to its reciprocal."""

NORMAL_STAGE = 8
"""Cycles from an element to its normalised value."""

LOOK_UP_STAGE = NORMAL_STAGE - 1 - READ_LATENCY
"""Cycles from an element to the read of its entry, which is registered."""

LAYER_NORM_LATENCY = NORMAL_STAGE + MULTIPLY_LATENCY + 1 + SHIFT_LATENCY
"""Cycles from an element to its result."""


class RowStatistics(wiring.Component):
    """Find the reciprocal of the root of a row's variance, bit by bit.

    Members
    -------
    slot, element, real, first, last: the row, one element per cycle.
    channels: real ones, below 2**16. epsilon: added variance, not negative.
    total: sum of the row, one cycle after its last element until the next row's first.
    reciprocal, root_bits: m and L of the module's text, `STATISTICS_CYCLES` after the last element.
    too_large: high for a cycle if the variance has more than `VARIANCE_BITS` bits.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "slot": In(1), "element": In(signed(8)), "real": In(1), "first": In(1), "last": In(1),
                "channels": In(16), "epsilon": In(signed(64)), "total": Out(signed(NUMERATOR_BITS)),
                "reciprocal": Out(RECIPROCAL_BITS), "root_bits": Out(range(ROOT_BITS + 1)), "too_large": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the sums and the states after them."""
        m = Module()
        squares = Signal(31)
        value = Signal(signed(8))
        square = Signal(15)
        squared, square_first = Signal(), Signal()
        m.d.comb += value.eq(Mux(self.real, self.element, 0))
        m.d.sync += [square.eq(value * value), squared.eq(self.slot), square_first.eq(self.first)]
        with m.If(self.slot):
            m.d.sync += self.total.eq(Mux(self.first, 0, self.total) + value)
        with m.If(squared):
            m.d.sync += squares.eq(Mux(square_first, 0, squares) + square)
        m.submodules.multiplier = multiplier = Copies(Multiplier())
        step = Signal(range(MULTIPLY_LATENCY + 2))
        variance = Signal(signed(66))
        count = Signal(range(RECIPROCAL_BITS))
        radicand = Signal(2 * ROOT_BITS)
        root = Signal(ROOT_BITS)
        rest = Signal(RECIPROCAL_BITS + 1)
        top = Signal(ROOT_BITS)
        begun = Signal()
        # The sum comes first: that of the squares is a cycle later.
        m.d.comb += [
            multiplier.x.eq(Mux(step == 0, self.total, self.channels)),
            multiplier.y.eq(Mux(step == 0, self.total, squares)),
        ]
        with m.FSM(name="statistics"):
            with m.State("SUM"):
                m.d.sync += step.eq(0)
                with m.If(self.slot & self.last):
                    m.next = "VARIANCE"
            with m.State("VARIANCE"):
                m.d.sync += step.eq(step + 1)
                with m.If(step == MULTIPLY_LATENCY):
                    m.d.sync += variance.eq(self.epsilon - multiplier.product.as_signed())
                with m.If(step == MULTIPLY_LATENCY + 1):
                    m.d.sync += variance.eq(variance + multiplier.product.as_signed())
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += self.too_large.eq((variance >> VARIANCE_BITS).any())
                m.d.sync += [
                    radicand.eq(variance << LAYER_NORM_ROOT_BITS), root.eq(0), rest.eq(0), count.eq(0), top.eq(0),
                    self.root_bits.eq(0), begun.eq(0),
                ]  # fmt: skip
                m.next = "ROOT"
            with m.State("ROOT"):
                self._root_bit(m, radicand, root, rest, top, count, begun)
            with m.State("RECIPROCAL"):
                difference = Signal(signed(ROOT_BITS + 3))
                m.d.comb += difference.eq(rest - root)
                m.d.sync += [
                    self.reciprocal.eq(Cat(difference >= 0, self.reciprocal)), count.eq(count + 1),
                    rest.eq(Mux(difference >= 0, difference, rest) << 1),
                ]  # fmt: skip
                with m.If(count == RECIPROCAL_BITS - 1):
                    m.next = "SUM"
        return m

    def _root_bit(
        self, m: Module, radicand: Signal, root: Signal, rest: Signal, top: Signal, count: Signal, before: Signal
    ) -> None:
        """Add one bit to the root; after the last one, begin the division of its highest bit by it.

        before: the root is not 0 any more.
        """
        difference = Signal(signed(ROOT_BITS + 4))
        following = Signal(ROOT_BITS)
        next_top = Signal(ROOT_BITS)
        brought = Signal(ROOT_BITS + 2)
        bit = Signal()
        begun = Signal()
        m.d.comb += [
            brought.eq(Cat(radicand[-2:], rest)),
            difference.eq(brought - Cat(1, 0, root)),
            bit.eq(difference >= 0),
            following.eq(Cat(bit, root)),
            begun.eq(bit | before),
            next_top.eq(Mux(before, top << 1, bit)),
        ]
        m.d.sync += [
            radicand.eq(radicand << 2), root.eq(following), top.eq(next_top), count.eq(count + 1), before.eq(begun),
            rest.eq(Mux(bit, difference, brought)), self.root_bits.eq(self.root_bits + begun),
        ]  # fmt: skip
        with m.If(count == ROOT_BITS - 1):
            m.d.sync += [count.eq(0), rest.eq(next_top)]
            with m.If(~begun):
                m.d.sync += [root.eq(1), rest.eq(1), self.root_bits.eq(1)]
            m.next = "RECIPROCAL"


class LayerNorm(wiring.Component):
    """Compute `gossamer.dataflow.numerics.layer_norm` of a stream of rows.

    Members
    -------
    slot, element, real, first, last, row_pass: the stream, two passes per row, with a gap of at least
        `STATISTICS_CYCLES` between them.
    channels, epsilon: as in `RowStatistics`. amount, zero, low, high: as in `RoundingShift`.
    look_up: read the next channel's entry; LOOK_UP_STAGE cycles after an element of pass 1. entry: it, 3 cycles later.
    result: signed byte, `LAYER_NORM_LATENCY` cycles after the element of pass 1.
    too_large: a row's variance has more than `VARIANCE_BITS` bits.

    Latency and throughput
    ----------------------
    One element per cycle.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "slot": In(1), "element": In(signed(8)), "real": In(1), "first": In(1), "last": In(1),
                "row_pass": In(2), "channels": In(16), "epsilon": In(signed(64)), "amount": In(6),
                "zero": In(signed(8)), "low": In(signed(8)), "high": In(signed(8)), "look_up": Out(1),
                "entry": In(128), "result": Out(signed(8)), "too_large": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the statistics and the stages of pass 1."""
        m = Module()
        m.submodules.statistics = statistics = Copies(RowStatistics())
        m.submodules.multiplier = multiplier = Copies(Multiplier())
        m.submodules.shift = shift = Copies(RoundingShift())
        for name in ("element", "real", "first", "last", "channels", "epsilon"):
            m.d.comb += getattr(statistics, name).eq(getattr(self, name))
        m.d.comb += [statistics.slot.eq(self.slot & (self.row_pass == 0)), self.too_large.eq(statistics.too_large)]
        asks = Signal(LOOK_UP_STAGE)
        m.d.sync += asks.eq(Cat(self.slot & (self.row_pass == 1), asks))
        m.d.comb += self.look_up.eq(asks[-1])
        scaled = Signal(signed(NUMERATOR_BITS + 1))
        numerator = Signal(signed(NUMERATOR_BITS + 1))
        m.d.sync += [scaled.eq(self.channels * self.element), numerator.eq(scaled - statistics.total.as_signed())]
        normal = self._divide(m, numerator, statistics)
        gamma, betas = Signal(signed(32)), [Signal(signed(64), name=f"beta_{n}") for n in range(MULTIPLY_LATENCY + 1)]
        m.d.sync += [gamma.eq(self.entry[:32]), betas[0].eq(self.entry[64:])]
        m.d.sync += [after.eq(before) for before, after in pairwise(betas)]
        total = Signal(signed(64))
        m.d.comb += [multiplier.x.eq(normal), multiplier.y.eq(gamma)]
        m.d.sync += total.eq(multiplier.product.as_signed() + betas[-1])
        m.d.comb += [
            shift.value.eq(total), shift.amount.eq(self.amount), shift.zero.eq(self.zero), shift.low.eq(self.low),
            shift.high.eq(self.high), self.result.eq(shift.result),
        ]  # fmt: skip
        return m

    def _divide(self, m: Module, numerator: Signal, statistics: Copies) -> Signal:
        """Return the numerator, shifted left, divided by the root; 6 cycles after the numerator.

        Products of what one multiplier input holds, each times one part of the reciprocal, then together, in registers.
        """
        bits = PART_BITS
        parts = [statistics.reciprocal[at : at + bits] for at in range(0, RECIPROCAL_BITS, bits)]
        sums = []
        for number, part in enumerate(parts):
            low = Signal(2 * bits, name=f"low_{number}")
            high = Signal(signed(NUMERATOR_BITS + 2), name=f"high_{number}")
            both = Signal(signed(NUMERATOR_BITS + 2 + bits), name=f"sum_{number}")
            m.d.sync += [
                low.eq(numerator[:bits] * part), high.eq(numerator[bits:].as_signed() * part),
                both.eq(low + (high << bits)),
            ]  # fmt: skip
            sums.append(both)
        kept, kept_late = (Signal(NUMERATOR_BITS + 1, name=name) for name in ("kept", "kept_late"))
        first = Signal(signed(len(sums[0]) + 1))
        rest = Signal(signed(NUMERATOR_BITS + 2 + RECIPROCAL_BITS - bits))
        product = Signal(signed(NUMERATOR_BITS + 1 + RECIPROCAL_BITS))
        coarse = Signal(signed(len(product) - NUMERATOR_BITS))
        normal = Signal(signed(32))
        fine = 3
        m.d.sync += [
            kept.eq(Mux(numerator > 0, numerator, 0)), kept_late.eq(kept), first.eq(sums[0] + kept_late),
            rest.eq(sum((part << bits * number for number, part in enumerate(sums[2:], 1)), sums[1])),
            product.eq(first + (rest << bits)),
            coarse.eq(product >> NUMERATOR_BITS >> (statistics.root_bits[fine:] << fine)),
            normal.eq(coarse >> statistics.root_bits[:fine]),
        ]  # fmt: skip
        return normal
