"""Multiply and divide unsigned values by constants, and multiply by small values, without multipliers.

Synthesis puts a `*` into a DSP slice, of which the array needs every one; sums of shifted values stay in fabric.
"""

from amaranth.hdl import Const, Mux, Value


def times_constant(value: Value, factor: int) -> Value:
    """Return value * factor as a sum of shifted values; a shift alone if factor is a power of two."""
    terms = [value << bit for bit in range(factor.bit_length()) if factor >> bit & 1]
    return total(terms) if terms else Const(0)


def times_small(value: Value, factor: Value) -> Value:
    """Return value * factor of unsigned values: one addition per bit of factor."""
    return total([Mux(factor[bit], value << bit, 0) for bit in range(len(factor))])


def total(terms: list[Value]) -> Value:
    """Return the sum of at least one term, as a balanced tree."""
    while len(terms) > 1:
        pairs = [a + b for a, b in zip(terms[0::2], terms[1::2], strict=False)]
        terms = pairs + terms[2 * len(pairs) :]
    return terms[0]


def low_ones(count: Value, width: int) -> Value:
    """Return `width` bits of which the lowest `count` are set, of an unsigned value.

    Ones are shifted out: of a constant, synthesis leaves ANDs and ORs of count for each bit, where a comparison would
    be a carry chain. One line of Verilog at any width.
    """
    return ~(Const((1 << width) - 1, width) << count)[:width]


def quotient(value: Value, divisor: int) -> Value:
    """Return value // divisor of an unsigned value: a shift if divisor is a power of two, else shifted sums.

    Multiplies by the reciprocal rounded up, of so many bits that it is exact for every value of this width (Granlund
    and Montgomery, PLDI 1994, theorem 4.2).
    """
    bits = len(value)
    shift = bits + (divisor - 1).bit_length()
    if divisor & (divisor - 1) == 0:
        shift = divisor.bit_length() - 1
        return value[shift:]
    return times_constant(value, -(-(1 << shift) // divisor))[shift : shift + bits]
