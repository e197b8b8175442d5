"""Multiply 32 bits by 32, and shift the product back to int8 with rounding: the expensive parts of a VECTOR lane."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

PART_BITS = 17
"""Low part of a factor: unsigned, so that one signed 18-bit multiplier input holds it."""

MULTIPLY_LATENCY = 3
"""Cycles from factors to product."""

SHIFT_LATENCY = 4
"""Cycles from a value to its shifted, clamped byte."""

COARSE_BITS = 3
"""High bits of a shift amount: multiples of eight, shifted first."""

NARROW_BITS = 18
"""What lies outside this signed range after the coarse shift is clamped whatever the rest of the shift does."""


class Multiplier(wiring.Component):
    """Multiply two signed 32-bit numbers.

    Members
    -------
    x, y: factors. product: x * y, exact.

    Latency and throughput
    ----------------------
    One product per cycle, `MULTIPLY_LATENCY` cycles after its factors. Four partial products of at most 18 x 18 bits.
    """

    def __init__(self) -> None:
        super().__init__({"x": In(signed(32)), "y": In(signed(32)), "product": Out(signed(64))})

    def elaborate(self, platform: object) -> Module:
        """Return partial products, their cross sum, and the sum of all."""
        m = Module()
        x_low, y_low = self.x[:PART_BITS], self.y[:PART_BITS]
        x_high, y_high = self.x[PART_BITS:].as_signed(), self.y[PART_BITS:].as_signed()
        low = Signal(2 * PART_BITS)
        high = Signal(signed(64 - 2 * PART_BITS))
        cross_x = Signal(signed(32))
        cross_y = Signal(signed(32))
        outer = Signal(signed(64))
        cross = Signal(signed(33))
        m.d.sync += [
            low.eq(x_low * y_low), high.eq(x_high * y_high), cross_x.eq(x_high * y_low), cross_y.eq(x_low * y_high),
            outer.eq(Cat(low, high)), cross.eq(cross_x + cross_y),
            self.product.eq(outer + (cross << PART_BITS)),
        ]  # fmt: skip
        return m


class RoundingShift(wiring.Component):
    """Return max(low, min(high, zero + round_shift(value, shift))) of `gossamer.dataflow.numerics`.

    Members
    -------
    value: signed, with value + 2**(shift - 1) below 2**63. amount: shift - 1, 0 to 61, given with the value.
    zero, low, high: signed bytes, held from the cycle of the value for `SHIFT_LATENCY` cycles.
    result: signed byte.

    Latency and throughput
    ----------------------
    One value per cycle, `SHIFT_LATENCY` cycles from value to result: coarse shift, limit to `NARROW_BITS`, fine shift
    and rounding, zero point and clamp.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "value": In(signed(64)), "amount": In(6), "zero": In(signed(8)), "low": In(signed(8)),
                "high": In(signed(8)), "result": Out(signed(8)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the four stages."""
        m = Module()
        fine_bits = 6 - COARSE_BITS
        coarse = Signal(signed(64))
        fine_a = Signal(fine_bits)
        fine_b = Signal(fine_bits)
        narrow, shifted, rounded = (Signal(signed(NARROW_BITS), name=n) for n in ("narrow", "shifted", "rounded"))
        # Limits of the value before the zero point is added: so it is compared and added in the same cycle.
        lowest, highest = (Signal(signed(9), name=name) for name in ("lowest", "highest"))
        inverted = Signal()
        fits = Signal()
        top = 2 ** (NARROW_BITS - 1) - 1
        m.d.comb += [
            fits.eq((coarse >> (NARROW_BITS - 1) == 0) | (coarse >> (NARROW_BITS - 1) == -1)),
            shifted.eq(narrow >> fine_b),
        ]
        m.d.sync += [
            coarse.eq(self.value >> (self.amount[fine_bits:] << fine_bits)),
            fine_a.eq(self.amount),
            narrow.eq(Mux(fits, coarse, Mux(coarse < 0, -top - 1, top))),
            fine_b.eq(fine_a),
            rounded.eq((shifted + 1) >> 1),
            lowest.eq(self.low - self.zero),
            highest.eq(self.high - self.zero),
            inverted.eq(self.low > self.high),
            self.result.eq(
                Mux((rounded < lowest) | inverted, self.low, Mux(rounded > highest, self.high, rounded + self.zero))
            ),
        ]
        return m
