"""Count events in many counters at the cost of few: short counters in front of one shared adder and memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from gossamer.arch.errors import GossamerError
from gossamer.rtl.copies import Copies

COUNTER_BITS = 32


class Tally(wiring.Component):
    """Count an event until the count is collected.

    Members
    -------
    clear: start again from zero. happens: count this cycle. collect: `amount` is being taken away.
    amount: events counted since then, without this cycle's.

    Protocol
    --------
    Must be collected often enough: it has `bits` bits and wraps.

    Latency and throughput
    ----------------------
    An event is in `amount` in the next cycle.
    """

    def __init__(self, bits: int) -> None:
        super().__init__({"clear": In(1), "happens": In(1), "collect": In(1), "amount": Out(bits)})

    def elaborate(self, platform: object) -> Module:
        """Return one short counter."""
        m = Module()
        m.d.sync += self.amount.eq(Mux(self.clear, 0, Mux(self.collect, 0, self.amount) + self.happens))
        return m


class Counters(wiring.Component):
    """Count `count` events in 32-bit counters that wrap; sums of counters hold modulo 2**32 even then.

    Members
    -------
    clear: set all counters to zero. events: one bit per counter.
    settled: every event of earlier cycles is in the memory, if there were none in the last `count` + 1 cycles.
    address, value: read a counter, combinational.

    Protocol
    --------
    One short counter per event; a pointer visits them in turn, and a cycle later what it found is added to the counter
    in memory. While events come, `value` is up to `count` + 1 cycles old. After `clear` the first visit writes instead
    of adding, and a counter not yet visited reads as 0. `settled` is low for `count` + 2 cycles after a cycle with
    `hold` high.
    hold: events may come in this cycle.

    Latency and throughput
    ----------------------
    Any events in every cycle; exact `count` + 2 cycles after the last.

    Parameters
    ----------
    count: number of counters, at least 2.
    """

    def __init__(self, count: int) -> None:
        if count < 2:
            raise GossamerError(f"`count` of counters must be at least 2, not {count}")
        self.count = count
        super().__init__(
            {
                "clear": In(1),
                "events": In(count),
                "hold": In(1),
                "settled": Out(1),
                "address": In(range(count)),
                "value": Out(COUNTER_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return short counters, pointer, adder and memory."""
        m = Module()
        bits = bits_for(self.count)
        m.submodules.tallies = tallies = Copies(Tally(bits), self.count, shared=("clear",))
        m.submodules.totals = totals = memory.Memory(shape=COUNTER_BITS, depth=self.count, init=())
        write = totals.write_port()
        old = totals.read_port(domain="comb")
        shown = totals.read_port(domain="comb")
        at = Signal(range(self.count))
        visited = Signal(range(self.count))
        waiting = Signal(range(self.count + 2))
        first = Signal(init=1)
        fresh = Signal(init=1)
        amount = Signal(bits)
        m.d.comb += [
            tallies.clear.eq(self.clear),
            tallies.happens.eq(self.events),
            tallies.collect.eq(1 << at),
            old.addr.eq(visited),
            write.addr.eq(visited),
            write.en.eq(1),
            write.data.eq(Mux(fresh, 0, old.data) + amount),
            shown.addr.eq(self.address),
            self.value.eq(Mux(fresh & (self.address >= visited), 0, shown.data)),
            self.settled.eq(waiting == 0),
        ]
        m.d.sync += [
            at.eq(at + 1), visited.eq(at), fresh.eq(first), amount.eq(tallies.amount.word_select(at, bits))
        ]  # fmt: skip
        with m.If(at == self.count - 1):
            m.d.sync += [at.eq(0), first.eq(0)]
        with m.If(self.hold):
            m.d.sync += waiting.eq(self.count + 1)
        with m.Elif(~self.settled):
            m.d.sync += waiting.eq(waiting - 1)
        with m.If(self.clear):
            m.d.sync += [
                at.eq(0), first.eq(1), visited.eq(0), fresh.eq(1), amount.eq(0), waiting.eq(self.count + 1)
            ]  # fmt: skip
        return m
