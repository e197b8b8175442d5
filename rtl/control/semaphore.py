"""Counting semaphore of tokens that one engine gives to another."""

from amaranth.hdl import Module, Mux, Signal
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
        """Return the count, a cycle late, and registers that say at once whether there are tokens, and only one."""
        m = Module()
        tokens = Signal(SEMAPHORE_BITS)
        up, down, gives, takes = (Signal(name=name) for name in ("up", "down", "gives", "takes"))
        last, two = Signal(), Signal()
        m.d.comb += [
            up.eq(self.give & ~self.take),
            down.eq(self.take & ~self.give),
            two.eq(Mux(gives, tokens == 1, Mux(takes, tokens == 3, tokens == 2))),
            self.overflow.eq(gives & tokens.all()),
        ]
        m.d.sync += [
            self.available.eq(~self.clear & (up | (self.available & ~(down & last)))),
            last.eq(Mux(up, ~self.available, Mux(down, two, last))),
            gives.eq(up & ~self.clear), takes.eq(down & ~self.clear),
        ]  # fmt: skip
        with m.If(self.clear):
            m.d.sync += tokens.eq(0)
        with m.Elif(gives & ~tokens.all()):
            m.d.sync += tokens.eq(tokens + 1)
        with m.Elif(takes):
            m.d.sync += tokens.eq(tokens - 1)
        return m
