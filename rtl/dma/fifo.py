"""First-in first-out queue of the memory port, whose handshakes come from registers."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out


class Fifo(wiring.Component):
    """Queue in distributed RAM; as `amaranth.lib.fifo.SyncFIFO`, but `w_rdy` and `r_rdy` are registers.

    Members
    -------
    w_data, w_en, w_rdy: a word is put in in a cycle in which both are high.
    r_data, r_en, r_rdy: the first word; it is taken out in a cycle in which both are high.

    Latency and throughput
    ----------------------
    A word put in in cycle t is seen from t + 1 on; one word in and one out per cycle.

    Parameters
    ----------
    width: bits of a word. depth: words held, at least 1.
    """

    def __init__(self, *, width: int, depth: int) -> None:
        self.width, self.depth = width, depth
        super().__init__(
            {
                "w_data": In(width), "w_en": In(1), "w_rdy": Out(1, init=1), "r_data": Out(width), "r_en": In(1),
                "r_rdy": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return pointers around one memory; a queue of one word still gets two, of which it uses the first."""
        m = Module()
        words = max(2, self.depth)
        m.submodules.words = words_memory = memory.Memory(shape=self.width, depth=words, init=())
        write, read = words_memory.write_port(), words_memory.read_port(domain="comb")
        held = Signal(range(self.depth + 1))
        last = Signal()
        enters, leaves, more, fewer = (Signal(name=name) for name in ("enters", "leaves", "more", "fewer"))
        first, free = Signal(range(words)), Signal(range(words))
        m.d.comb += [
            enters.eq(self.w_en & self.w_rdy), leaves.eq(self.r_en & self.r_rdy),
            more.eq(enters & ~leaves), fewer.eq(leaves & ~enters),
            write.en.eq(enters), write.addr.eq(free), write.data.eq(self.w_data),
            read.addr.eq(first), self.r_data.eq(read.data),
        ]  # fmt: skip
        for pointer, moves in ((first, leaves), (free, enters)):
            with m.If(moves):
                m.d.sync += pointer.eq(Mux(pointer == self.depth - 1, 0, pointer + 1))
        with m.If(more):
            m.d.sync += [
                held.eq(held + 1), self.r_rdy.eq(1), last.eq(~self.r_rdy), self.w_rdy.eq(held != self.depth - 1)
            ]  # fmt: skip
        with m.Elif(fewer):
            m.d.sync += [held.eq(held - 1), self.r_rdy.eq(~last), last.eq(held == 2), self.w_rdy.eq(1)]
        return m
