"""Layer normalisation: sums of a row, then a serial square root and reciprocal, then a product per element.

The specification divides every element by the root of the row's variance, rounding down. Here each is multiplied by
the root's reciprocal to 48 significant bits, which gives the same quotients. With d the root, L its bits,
m = floor(2**(47 + L) / d) and |X| < 2**47: for X < 0, X * m / 2**(47 + L) lies above X / d by less than 2**-L < 1 / d,
and for X >= 0, X * (m + 1) / 2**(47 + L) lies above X / d by no more; fractions of X / d are multiples of 1 / d, so the
floor is the same (ours, checked by tests/rtl/test_vector.py).
"""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.target import Target
from gossamer.dataflow.numerics import LAYER_NORM_FRACTION_BITS, LAYER_NORM_ROOT_BITS
from gossamer.rtl.copies import Copies
from gossamer.rtl.own_copy import UNSHARED, own_copy
from gossamer.rtl.part_product import PART_LATENCY, part_product
from gossamer.rtl.vector.arithmetic import (
    MULTIPLY_LATENCY,
    PART_BITS,
    SHIFT_LATENCY,
    Multiplier,
    RoundingShift,
    ShiftLimits,
)
from gossamer.rtl.vector.parameters import READ_LATENCY

VARIANCE_BITS = 46
ROOT_BITS = (VARIANCE_BITS + LAYER_NORM_ROOT_BITS) // 2
NUMERATOR_BITS = 24
"""Of the size of channels * element - sum: channels are below 2**16."""

RECIPROCAL_BITS = NUMERATOR_BITS + LAYER_NORM_FRACTION_BITS + 2
"""Of m above: it may be 2**48 itself."""

SUMS_STAGE = PART_LATENCY + 2
"""Cycles from a row's last element to the sum of its squares; that of its elements is there before."""

VARIANCE_STAGE = SUMS_STAGE + MULTIPLY_LATENCY + 1
"""Cycles from a row's last element to its variance."""

STATISTICS_CYCLES = VARIANCE_STAGE + 1 + ROOT_BITS + 1 + RECIPROCAL_BITS
"""Cycles from a row's last element to its reciprocal."""

NUMERATOR_STAGE = PART_LATENCY + 2
"""Cycles from an element to the numerator, and to the first use of the reciprocal."""

NORMAL_STAGE = NUMERATOR_STAGE + PART_LATENCY + 6
"""Cycles from an element to its normalised value."""

LOOK_UP_STAGE = NORMAL_STAGE - 1 - READ_LATENCY
"""Cycles from an element to the read of its entry."""

LAYER_NORM_LATENCY = NORMAL_STAGE + MULTIPLY_LATENCY + 1 + SHIFT_LATENCY
"""Cycles from an element to its result."""


class RowStatistics(wiring.Component):
    """Find the reciprocal of the root of a row's variance, bit by bit.

    Members
    -------
    slot, element, real, first, last: the row, one element per cycle.
    channels: real ones, below 2**16. epsilon: added variance, not negative.
    total: sum of the row, from VARIANCE_STAGE + 1 cycles after its last element until as late after the next row's.
    reciprocal, root_bits: m and L of the module's text, `STATISTICS_CYCLES` after the last element.
    too_large: high for a cycle if the variance has more than `VARIANCE_BITS` bits.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        super().__init__(
            {
                "slot": In(1), "element": In(signed(8)), "real": In(1), "first": In(1), "last": In(1),
                "channels": In(16), "epsilon": In(signed(64)), "total": Out(signed(NUMERATOR_BITS)),
                "reciprocal": Out(RECIPROCAL_BITS), "root_bits": Out(range(ROOT_BITS + 1)), "too_large": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the sums, the variance, and the order of what is done with it."""
        m = Module()
        total = Signal(signed(NUMERATOR_BITS))
        squares = Signal(31)
        value = Signal(signed(8))
        square = Signal(15)
        slots, firsts = (Signal(SUMS_STAGE - 1, name=name, attrs=UNSHARED) for name in ("slots", "firsts"))
        m.d.comb += value.eq(Mux(self.real, self.element, 0))
        m.d.sync += [
            square.eq(part_product(m, "square_product", value, value, self.target)),
            slots.eq(Cat(self.slot, slots)), firsts.eq(Cat(self.first, firsts)),
        ]  # fmt: skip
        with m.If(self.slot):
            m.d.sync += total.eq(Mux(self.first, 0, total) + value)
        with m.If(slots[-1]):
            m.d.sync += squares.eq(Mux(firsts[-1], 0, squares) + square)
        variance, known = self._variance(m, total, squares)
        m.d.sync += self.too_large.eq(known & (variance >> VARIANCE_BITS).any())
        with m.If(known):
            m.d.sync += self.total.eq(total)
        top, root, found = self._root(m, variance, known)
        self._reciprocal(m, top, root, found)
        return m

    def _variance(self, m: Module, total: Signal, squares: Signal) -> tuple[Signal, Signal]:
        """Return channels * squares - total**2 + epsilon, and the flag of the cycle in which it comes."""
        m.submodules.multiplier = multiplier = Copies(Multiplier(self.target))
        negative, variance = Signal(signed(66)), Signal(signed(66))
        ended = Signal(VARIANCE_STAGE)
        of_squares = Signal()
        product = multiplier.product.as_signed()
        m.d.comb += [
            multiplier.x.eq(Mux(of_squares, self.channels, total)), multiplier.y.eq(Mux(of_squares, squares, total)),
        ]  # fmt: skip
        m.d.sync += ended.eq(Cat(self.slot & self.last, ended))
        # The multiplier takes the sum of a row from the cycle after its last element on, that of the squares later.
        with m.If(ended[0]):
            m.d.sync += of_squares.eq(0)
        with m.If(ended[SUMS_STAGE - 2]):
            m.d.sync += of_squares.eq(1)
        with m.If(ended[MULTIPLY_LATENCY + 1]):
            m.d.sync += negative.eq(product - self.epsilon)
        with m.If(ended[VARIANCE_STAGE - 2]):
            m.d.sync += variance.eq(product - negative)
        return variance, ended[-1]

    def _root(self, m: Module, variance: Signal, known: Signal) -> tuple[Signal, Signal, Signal]:
        """Find a root of ROOT_BITS bits, one a cycle; return 2**(L - 1), the root, and the flag of when it is there.

        root_bits counts the cycles after that of the highest set bit, and is L with the one in which the root is there.
        A root of 0 becomes 1.
        """
        radicand = Signal(2 * ROOT_BITS)
        root, top = Signal(ROOT_BITS), Signal(ROOT_BITS)
        rest = Signal(ROOT_BITS + 2)
        brought = Signal(ROOT_BITS + 2)
        difference = Signal(signed(ROOT_BITS + 4))
        bit, begun = Signal(), Signal()
        working, found = Signal(), Signal()
        count = Signal(range(ROOT_BITS))
        m.d.comb += [
            brought.eq(Cat(radicand[-2:], rest)),
            difference.eq(brought - Cat(1, 0, root)),
            bit.eq(difference >= 0),
        ]
        m.d.sync += found.eq(0)
        with m.If(known):
            m.d.sync += [
                radicand.eq(variance << LAYER_NORM_ROOT_BITS), root.eq(0), rest.eq(0), top.eq(0), begun.eq(0),
                self.root_bits.eq(0), count.eq(ROOT_BITS - 1), working.eq(1),
            ]  # fmt: skip
        with m.If(working):
            m.d.sync += [
                radicand.eq(radicand << 2), root.eq(Cat(bit, root)), rest.eq(Mux(bit, difference, brought)),
                top.eq(Cat(bit & ~begun, top)), begun.eq(begun | bit), count.eq(count - 1),
            ]  # fmt: skip
            with m.If(count == 0):
                m.d.sync += [working.eq(0), found.eq(1)]
        with m.If((working & begun) | found):
            m.d.sync += self.root_bits.eq(self.root_bits + 1)
        return Cat(top[0] | ~begun, top[1:]), Cat(root[0] | ~begun, root[1:]), found

    def _reciprocal(self, m: Module, top: Value, root: Value, found: Signal) -> None:
        """Divide by the root, from the cycle after `found` on."""
        rest = Signal(ROOT_BITS + 1)
        divisor = Signal(ROOT_BITS)
        difference = Signal(signed(ROOT_BITS + 2))
        working = Signal()
        count = Signal(range(RECIPROCAL_BITS))
        m.d.comb += difference.eq(rest - divisor)
        with m.If(found):
            m.d.sync += [rest.eq(top), divisor.eq(root), count.eq(RECIPROCAL_BITS - 1), working.eq(1)]
        with m.If(working):
            m.d.sync += [
                self.reciprocal.eq(Cat(difference >= 0, self.reciprocal)), count.eq(count - 1),
                rest.eq(Mux(difference >= 0, difference, rest) << 1),
            ]  # fmt: skip
            with m.If(count == 0):
                m.d.sync += working.eq(0)


class LayerNorm(wiring.Component):
    """Compute `gossamer.dataflow.numerics.layer_norm` of a stream of rows.

    Members
    -------
    slot, element, real, first, last, row_pass: the stream, two passes per row, with a gap between them, of which the
        first numerator comes when the reciprocal is there.
    channels, epsilon: as in `RowStatistics`. amount: as in `RoundingShift`. zero, low, high: as in `ShiftLimits`.
    look_up: read the next channel's entry; LOOK_UP_STAGE cycles after an element of pass 1. entry: it, 3 cycles later.
    result: signed byte, `LAYER_NORM_LATENCY` cycles after the element of pass 1.
    too_large: a row's variance has more than `VARIANCE_BITS` bits.

    Latency and throughput
    ----------------------
    One element per cycle.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
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
        m.submodules.statistics = statistics = Copies(RowStatistics(self.target))
        m.submodules.multiplier = multiplier = Copies(Multiplier(self.target))
        m.submodules.shift = shift = Copies(RoundingShift())
        m.submodules.limits = limits = Copies(ShiftLimits())
        for name in ("element", "real", "first", "last", "channels", "epsilon"):
            m.d.comb += getattr(statistics, name).eq(getattr(self, name))
        m.d.comb += [statistics.slot.eq(self.slot & (self.row_pass == 0)), self.too_large.eq(statistics.too_large)]
        asks = Signal(LOOK_UP_STAGE)
        m.d.sync += asks.eq(Cat(self.slot & (self.row_pass == 1), asks))
        m.d.comb += self.look_up.eq(asks[-1])
        scaled = Signal(signed(NUMERATOR_BITS + 1))
        numerator = Signal(signed(NUMERATOR_BITS + 1))
        m.d.sync += [
            scaled.eq(part_product(m, "scaled_product", self.channels, self.element, self.target)),
            numerator.eq(scaled - statistics.total.as_signed()),
        ]
        normal = self._divide(m, numerator, statistics)
        gamma, betas = Signal(signed(32)), [Signal(signed(64), name=f"beta_{n}") for n in range(MULTIPLY_LATENCY + 1)]
        m.d.sync += [gamma.eq(self.entry[:32]), betas[0].eq(self.entry[64:])]
        m.d.sync += [after.eq(before) for before, after in pairwise(betas)]
        total = Signal(signed(64))
        m.d.comb += [multiplier.x.eq(normal), multiplier.y.eq(gamma)]
        m.d.sync += total.eq(multiplier.product.as_signed() + betas[-1])
        m.d.comb += [
            shift.value.eq(total), shift.amount.eq(own_copy(m, self.amount)), limits.zero.eq(self.zero),
            limits.low.eq(self.low), limits.high.eq(self.high), shift.limits.eq(limits.limits),
            self.result.eq(shift.result),
        ]  # fmt: skip
        return m

    def _divide(self, m: Module, numerator: Signal, statistics: Copies) -> Signal:
        """Return the numerator, shifted left, divided by the root; at NORMAL_STAGE.

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
                low.eq(part_product(m, f"low_product_{number}", numerator[:bits], part, self.target)),
                high.eq(part_product(m, f"high_product_{number}", numerator[bits:].as_signed(), part, self.target)),
                both.eq(low + (high << bits)),
            ]  # fmt: skip
            sums.append(both)
        kept = [Signal(NUMERATOR_BITS + 1, name=f"kept_{stage}") for stage in range(PART_LATENCY + 2)]
        first = Signal(signed(len(sums[0]) + 1))
        rest = Signal(signed(NUMERATOR_BITS + 2 + RECIPROCAL_BITS - bits))
        product = Signal(signed(NUMERATOR_BITS + 1 + RECIPROCAL_BITS))
        coarse = Signal(signed(len(product) - NUMERATOR_BITS))
        normal = Signal(signed(32))
        fine = 3
        m.d.sync += [
            kept[0].eq(Mux(numerator < 0, 0, numerator)), first.eq(sums[0] + kept[-1]),
            *(after.eq(before) for before, after in pairwise(kept)),
            rest.eq(sum((part << bits * number for number, part in enumerate(sums[2:], 1)), sums[1])),
            product.eq(first + (rest << bits)),
            coarse.eq(product >> NUMERATOR_BITS >> (statistics.root_bits[fine:] << fine)),
            normal.eq(coarse >> statistics.root_bits[:fine]),
        ]  # fmt: skip
        return normal
