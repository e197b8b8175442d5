"""Add a second operand to what a VECTOR lane has requantized."""

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.target import Target
from gossamer.rtl.copies import Copies
from gossamer.rtl.vector.arithmetic import LIMITS_BITS, PART_BITS, SHIFT_LATENCY, RoundingShift
from gossamer.rtl.vector.part_product import PART_LATENCY, part_product

OPERANDS = ("a", "b")

LOW_BITS = 9 + 1 + PART_BITS
HIGH_BITS = 9 + 32 - PART_BITS
SUM_BITS = HIGH_BITS + PART_BITS
"""Signed sums of two products of a centred operand, within +-255, and the low, the high part or all of a factor."""

SUM_LATENCY = 1 + PART_LATENCY + 3 + SHIFT_LATENCY
"""Cycles from the operands to the sum: centre, multiply, two sums, shift."""


class LaneSum(wiring.Component):
    """Return ADD of two bytes, as `gossamer.dataflow.numerics` says.

    Members
    -------
    a, b: signed bytes. offset_a, offset_b: added to them (minus their zero points). factor_a, factor_b: their
        multipliers. amount, limits: as in `RoundingShift`. All but the bytes are held.
    sum: signed byte, `SUM_LATENCY` cycles after the operands.

    Latency and throughput
    ----------------------
    One sum per cycle.

    Parameters
    ----------
    target: whose primitives multiply.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        super().__init__(
            {
                **{name: In(signed(8)) for name in OPERANDS}, **{f"offset_{name}": In(signed(9)) for name in OPERANDS},
                **{f"factor_{name}": In(signed(32)) for name in OPERANDS}, "amount": In(6), "limits": In(LIMITS_BITS),
                "sum": Out(signed(8)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the parts of both products, their sums, and the shift."""
        m = Module()
        m.submodules.shift = shift = Copies(RoundingShift(SUM_BITS))
        low, high, total = (Signal(signed(bits), name=f"sum_{bits}") for bits in (LOW_BITS, HIGH_BITS, SUM_BITS))
        (low_a, high_a), (low_b, high_b) = (self._parts(m, name) for name in OPERANDS)
        m.d.sync += [low.eq(low_a + low_b), high.eq(high_a + high_b), total.eq(low + (high << PART_BITS))]
        m.d.comb += [
            shift.value.eq(total), shift.amount.eq(self.amount), shift.limits.eq(self.limits),
            self.sum.eq(shift.result),
        ]  # fmt: skip
        return m

    def _parts(self, m: Module, name: str) -> list[Value]:
        """Return the products of a centred operand with the low and the high part of its factor, in registers."""
        centred = Signal(signed(9), name=f"centred_{name}")
        m.d.sync += centred.eq(getattr(self, name) + getattr(self, f"offset_{name}"))
        factor = getattr(self, f"factor_{name}")
        parts: list[Value] = []
        for part, value in (("low", factor[:PART_BITS]), ("high", factor[PART_BITS:].as_signed())):
            product = Signal(signed(9 + len(value)), name=f"{part}_{name}")
            m.d.sync += product.eq(part_product(m, f"{part}_product_{name}", centred, value, self.target))
            parts.append(product)
        return parts
