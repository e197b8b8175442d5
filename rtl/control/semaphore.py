"""Counting semaphore of tokens that one engine gives to another."""

from amaranth.hdl import Cat, Module, Mux, Signal
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
    overflow: in the cycle before, `give` found the count at its largest value and nothing was taken: the token is lost.

    Protocol
    --------
    A token given in cycle t is available from t + 1 on; giving and taking in one cycle leaves the count as it was.

    Latency and throughput
    ----------------------
    One cycle; one token in and one out per cycle.
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
        """Return the count, and registers that say at once whether there are tokens, and at most one."""
        m = Module()
        tokens = Signal(SEMAPHORE_BITS)
        up, down, last = (Signal(name=name) for name in ("up", "down", "last"))
        m.d.comb += [up.eq(self.give & ~self.take), down.eq(self.take & ~self.give)]
        m.d.sync += [
            self.available.eq(~self.clear & (up | (self.available & ~(down & last)))),
            self.overflow.eq(up & tokens.all() & ~self.clear),
        ]
        with m.If(self.clear):
            m.d.sync += tokens.eq(0)
        with m.Elif(down | (up & ~tokens.all())):
            m.d.sync += [
                tokens.eq(tokens + Cat(1, down.replicate(SEMAPHORE_BITS - 1))),  # 1 more, or 1 less
                last.eq(Mux(down, tokens == 2, ~self.available)),
            ]
        return m
