"""A register for each of many readers, instead of one that is far from most of them."""

from amaranth.hdl import Module, Signal, Value


def own_copy(m: Module, value: Value) -> Signal:
    """Return a register with what `value` was a cycle ago, which synthesis does not share with equal ones."""
    held = Signal(len(value), name="own", reset_less=True, attrs={"keep": "true"})
    m.d.sync += held.eq(value)
    return held
