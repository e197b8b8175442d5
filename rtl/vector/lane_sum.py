"""Add a second operand to what a VECTOR lane has requantized."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.target import Target
from gossamer.dataflow.numerics import ADDEND_FACTOR_BITS
from gossamer.rtl.copies import Copies
from gossamer.rtl.own_copy import own_copy
from gossamer.rtl.part_product import PART_LATENCY, part_product
from gossamer.rtl.vector.arithmetic import LIMITS_BITS, SHIFT_LATENCY, RoundingShift

OPERANDS = ("a", "b")

SUM_BITS = 9 + ADDEND_FACTOR_BITS
"""Of the signed sum of two products of a factor and a centred operand, which is within +-255."""

SUM_LATENCY = 1 + PART_LATENCY + 2 + SHIFT_LATENCY
"""Cycles from the operands to the sum: centre, multiply, product, sum, shift."""


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
                **{f"factor_{name}": In(signed(ADDEND_FACTOR_BITS)) for name in OPERANDS},
                "amount": In(6), "limits": In(LIMITS_BITS), "sum": Out(signed(8)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return both products, their sum, and the shift."""
        m = Module()
        m.submodules.shift = shift = Copies(RoundingShift(SUM_BITS))
        total = Signal(signed(SUM_BITS))
        a, b = (self._product(m, name) for name in OPERANDS)
        m.d.sync += total.eq(a + b)
        m.d.comb += [
            shift.value.eq(total), shift.amount.eq(own_copy(m, self.amount)), shift.limits.eq(self.limits),
            self.sum.eq(shift.result),
        ]  # fmt: skip
        return m

    def _product(self, m: Module, name: str) -> Signal:
        """Return the product of a centred operand and its factor."""
        centred, product = Signal(signed(9), name=f"centred_{name}"), Signal(signed(SUM_BITS), name=f"product_{name}")
        m.d.sync += centred.eq(getattr(self, name) + getattr(self, f"offset_{name}"))
        multiplied = part_product(m, f"multiplier_{name}", centred, getattr(self, f"factor_{name}"), self.target)
        m.d.sync += product.eq(multiplied)
        return product
