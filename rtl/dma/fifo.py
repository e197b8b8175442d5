"""First-in first-out queue of the memory port, whose handshakes come from registers."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out


class Fifo(wiring.Component):
    """Queue in distributed RAM; as `amaranth.lib.fifo.SyncFIFO`, but `w_rdy` and `r_rdy` are registers.

    Members
    -------
    w_data, w_en, w_rdy: a word is put in in a cycle in which both are high.
    r_data, r_en, r_rdy: the first word; it is taken out in a cycle in which both are high. r_last: there is one word.

    Latency and throughput
    ----------------------
    A word put in in cycle t is seen from t + 1 on; one word in and one out per cycle.

    Parameters
    ----------
    width: bits of a word. depth: words held, at least 1. registered: the first word is in a register of its own.
    late_in: `w_en` is known later in a cycle than `r_en`; the later one only lets the flags change.
    """

    def __init__(self, *, width: int, depth: int, registered: bool, late_in: bool = False) -> None:
        self.width, self.depth, self.registered, self.late_in = width, depth, registered, late_in
        super().__init__(
            {
                "w_data": In(width), "w_en": In(1), "w_rdy": Out(1, init=1), "r_data": Out(width), "r_en": In(1),
                "r_rdy": Out(1), "r_last": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return what is known of the words, and where they are."""
        m = Module()
        # `before`: words a cycle ago, so that no sum waits for what enters and leaves in this one.
        before = Signal(range(self.depth + 1))
        entered, left = Signal(), Signal()

        def holds(words: int) -> Value:
            changed = Mux(entered, before == words - 1, before == words + 1)
            return Mux(entered ^ left, changed, before == words)

        enters, leaves, grows = (Signal(name=name) for name in ("enters", "leaves", "grows"))
        m.d.comb += [
            enters.eq(self.w_en & self.w_rdy), leaves.eq(self.r_en & self.r_rdy),
            grows.eq(~leaves if self.late_in else enters),  # if anything changes
        ]  # fmt: skip
        m.d.sync += [entered.eq(enters), left.eq(leaves)]
        with m.If(entered ^ left):
            m.d.sync += before.eq(Mux(entered, before + 1, before - 1))
        with m.If(enters ^ leaves):
            m.d.sync += [
                self.r_rdy.eq(grows | ~self.r_last), self.r_last.eq(Mux(grows, ~self.r_rdy, holds(2))),
                self.w_rdy.eq(~grows | ~holds(self.depth - 1)),
            ]  # fmt: skip
        if not self.registered:
            m.d.comb += self.r_data.eq(self._words(m, 0, enters, leaves))
            return m
        # The first word comes to its register from the memory, or straight if there was nothing behind the one before.
        following = self._words(m, 1, enters, leaves) if self.depth > 1 else self.w_data
        with m.If(leaves | ~self.r_rdy):
            m.d.sync += self.r_data.eq(Mux(self.r_rdy & ~self.r_last, following, self.w_data))
        return m

    def _words(self, m: Module, ahead: int, enters: Value, leaves: Value) -> Value:
        """Add pointers around a memory; return the word that is first, or that is `ahead` words behind the first.

        A queue of one word gets a memory of two, of which it uses the first.
        """
        words = max(2, self.depth)
        m.submodules.words = words_memory = memory.Memory(shape=self.width, depth=words, init=())
        write, read = words_memory.write_port(), words_memory.read_port(domain="comb")
        shown, free = Signal(range(words), init=ahead), Signal(range(words))
        m.d.comb += [write.en.eq(enters), write.addr.eq(free), write.data.eq(self.w_data), read.addr.eq(shown)]
        for pointer, moves in ((shown, leaves), (free, enters)):
            with m.If(moves):
                m.d.sync += pointer.eq(Mux(pointer == self.depth - 1, 0, pointer + 1))
        return read.data
