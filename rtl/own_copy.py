"""A register for each of many readers, instead of one that is far from most of them."""

from amaranth.hdl import Module, Signal, Value

UNSHARED = {"keep": "true"}
"""Attributes of a register that synthesis does not share with equal ones, which may be far from its readers."""


def own_copy(m: Module, value: Value) -> Signal:
    """Return a register, UNSHARED, with what `value` was a cycle ago."""
    held = Signal(len(value), name="own", reset_less=True, attrs=UNSHARED)
    m.d.sync += held.eq(value)
    return held
