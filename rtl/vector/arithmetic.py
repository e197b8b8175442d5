"""Multiply 32 bits by 32, and shift the product back to int8 with rounding: the expensive parts of a VECTOR lane."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.target import Target
from gossamer.rtl.part_product import FACTOR_BITS, PART_LATENCY, part_product

PART_BITS = 17
"""Low part of a factor: unsigned, so that one signed 18-bit multiplier input holds it."""

MULTIPLY_LATENCY = PART_LATENCY + 3
"""Cycles from factors to product."""

SHIFT_LATENCY = 5
"""Cycles from a value to its shifted, clamped byte."""

COARSE_BITS = 3
"""High bits of a shift amount: multiples of eight, shifted first."""

NARROW_BITS = 18
"""What lies outside this signed range after the coarse shift is clamped whatever the rest of the shift does."""


class Multiplier(wiring.Component):
    """Multiply two signed 32-bit numbers, or one of up to 18 bits by one of 32.

    Members
    -------
    x, y: factors. product: x * y, exact.

    Latency and throughput
    ----------------------
    One product per cycle, `MULTIPLY_LATENCY` cycles after its factors: four partial products of at most 18 x 18 bits,
    a register behind them, their cross sum, and the sum of all. A narrow x takes two partial products.

    Parameters
    ----------
    target: whose primitives multiply. x_bits: of the factor x.
    """

    def __init__(self, target: Target, x_bits: int = 32) -> None:
        self.target = target
        self.narrow = x_bits <= FACTOR_BITS
        self.module_name = f"multiplier_{x_bits}" if self.narrow else "multiplier"
        super().__init__({"x": In(signed(x_bits)), "y": In(signed(32)), "product": Out(signed(64))})

    def elaborate(self, platform: object) -> Module:
        """Return partial products, their cross sum, and the sum of all."""
        m = Module()
        y_low, y_high = self.y[:PART_BITS], self.y[PART_BITS:].as_signed()
        outer, cross = Signal(signed(64)), Signal(signed(33))

        def registered(name: str, x: Value, y: Value) -> Signal:
            part = Signal(signed(2 * FACTOR_BITS), name=name)
            m.d.sync += part.eq(part_product(m, f"{name}_product", x, y, self.target))
            return part

        if self.narrow:
            m.d.sync += [outer.eq(registered("low", self.x, y_low)), cross.eq(registered("high", self.x, y_high))]
        else:
            x_low, x_high = self.x[:PART_BITS], self.x[PART_BITS:].as_signed()
            low, high = registered("low", x_low, y_low), registered("high", x_high, y_high)
            m.d.sync += [
                outer.eq(Cat(low[: 2 * PART_BITS], high)),
                cross.eq(registered("cross_x", x_high, y_low) + registered("cross_y", x_low, y_high)),
            ]
        m.d.sync += self.product.eq(outer + (cross << PART_BITS))
        return m


LIMITS = data.StructLayout({
    "zero": signed(8), "low": signed(8), "high": signed(8), "lowest": signed(11), "highest": signed(11), "inverted": 1,
})  # fmt: skip
LIMITS_BITS = LIMITS.size
"""Zero point and limits of a result, and what follows from them for the shifted value: see `ShiftLimits`."""


class ShiftLimits(wiring.Component):
    """Work out what any number of `RoundingShift` compare their values with.

    Members
    -------
    zero, low, high: zero point, least and greatest result. limits: `LIMITS`, settled a cycle later.

    The rounded value r, half of shifted + 1, is less than a limit l before the zero point is added if shifted is less
    than 2 * l - 1, and more than one if shifted is more than 2 * l. If low is above high, every result is low.
    """

    def __init__(self) -> None:
        super().__init__({**{name: In(signed(8)) for name in ("zero", "low", "high")}, "limits": Out(LIMITS_BITS)})

    def elaborate(self, platform: object) -> Module:
        """Return the registers of what is compared with."""
        m = Module()
        limits = data.View(LIMITS, self.limits)
        m.d.comb += [getattr(limits, name).eq(getattr(self, name)) for name in ("zero", "low", "high")]
        m.d.sync += [
            limits.lowest.eq(Cat(Const(1, 1), (self.low - self.zero - 1)).as_signed()),
            limits.highest.eq(Cat(Const(0, 1), self.high - self.zero).as_signed()),
            limits.inverted.eq(self.low > self.high),
        ]
        return m


class RoundingShift(wiring.Component):
    """Return max(low, min(high, zero + round_shift(value, shift))) of `gossamer.dataflow.numerics`.

    Members
    -------
    value: signed, with value + 2**(shift - 1) below 2**63. amount: shift - 1, 0 to 61, given with the value.
    limits: as `ShiftLimits` gives them, held from the cycle of the value for `SHIFT_LATENCY` cycles.
    result: signed byte.

    Latency and throughput
    ----------------------
    One value per cycle, `SHIFT_LATENCY` cycles from value to result: coarse shift, what lies outside `NARROW_BITS`,
    fine shift, rounding and comparison with the limits, choice.

    Parameters
    ----------
    value_bits: of the value, more than `NARROW_BITS`.
    """

    def __init__(self, value_bits: int = 64) -> None:
        self.value_bits = value_bits
        self.module_name = f"rounding_shift_{value_bits}"
        super().__init__(
            {
                "value": In(signed(value_bits)), "amount": In(6), "limits": In(LIMITS_BITS), "result": Out(signed(8)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the five stages."""
        m = Module()
        limits = data.View(LIMITS, self.limits)
        fine_bits = 6 - COARSE_BITS
        coarse = Signal(signed(self.value_bits))
        fine_a = Signal(fine_bits)
        fine_b = Signal(fine_bits)
        inner, shifted = (Signal(signed(NARROW_BITS), name=name) for name in ("inner", "shifted"))
        too_small, too_large, smaller, larger, below, above = (
            Signal(name=name) for name in ("too_small", "too_large", "smaller", "larger", "below", "above")
        )
        outside = coarse[NARROW_BITS - 1 : -1]
        twice = Signal(10)
        m.d.sync += [
            coarse.eq(self.value >> (self.amount[fine_bits:] << fine_bits)), fine_a.eq(self.amount),
            inner.eq(coarse), fine_b.eq(fine_a),
            too_large.eq(~coarse[-1] & outside.any()), too_small.eq(coarse[-1] & ~outside.all()),
            shifted.eq(inner >> fine_b), larger.eq(too_large), smaller.eq(too_small),
            below.eq(((shifted - limits.lowest)[-1] & ~larger) | smaller | limits.inverted),
            above.eq((limits.highest - shifted)[-1] | larger),
            twice.eq(shifted + Cat(Const(1, 1), limits.zero).as_signed()),
            self.result.eq(Mux(below, limits.low, Mux(above, limits.high, twice[1:9]))),
        ]  # fmt: skip
        return m
