"""Counting semaphore of tokens that one engine gives to another."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.isa import SEMAPHORE_BITS


class Semaphore(wiring.Component):
    """Count the tokens one engine has given to another and that one has not taken.

    Members
    -------
    clear: take all tokens away.
    give: add a token. take: remove one; only while `available` is high.
    available: there is a token.
    overflow: `give` found the count at its largest value, and nothing was taken: the token is lost.

    Protocol
    --------
    A token given in cycle t is available from t + 1 on; giving and taking in one cycle leaves the count as it was.

    Latency and throughput
    ----------------------
    One cycle; one token in and one out per cycle. `overflow` is combinational.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "clear": In(1),
                "give": In(1),
                "take": In(1),
                "available": Out(1),
                "overflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return one counter, and a register that says whether it is above zero."""
        m = Module()
        tokens = Signal(SEMAPHORE_BITS)
        last = Signal()
        m.d.comb += [self.overflow.eq(self.give & ~self.take & tokens.all()), last.eq(tokens == 1)]
        m.d.sync += self.available.eq(~self.clear & (self.give | (self.available & ~(self.take & last))))
        with m.If(self.clear):
            m.d.sync += tokens.eq(0)
        with m.Elif(self.give & ~self.take & ~tokens.all()):
            m.d.sync += tokens.eq(tokens + 1)
        with m.Elif(self.take & ~self.give):
            m.d.sync += tokens.eq(tokens - 1)
        return m
