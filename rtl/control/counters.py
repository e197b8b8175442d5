"""Count events in many counters at the cost of few: short counters in front of one shared adder and memory."""

from collections.abc import Iterable
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from gossamer.arch.errors import GossamerError
from gossamer.rtl.copies import Copies

COUNTER_BITS = 32
_PART = 6
"""Short counters among which one is found in a cycle; as many such parts are looked at in the next."""


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
    hold: events may come in this cycle.
    settled: every event of earlier cycles is in the memory, if `hold` was high whenever there was one.
    address, value: read a counter, combinational.

    Protocol
    --------
    One short counter per event; a turn goes round, and what it finds is added to the counter in memory two cycles
    later. While events come, `value` is up to `count` + 2 cycles old. After `clear` the first visit writes instead of
    adding, and a counter not yet visited reads as 0. `settled` is low for `count` + 4 cycles after one with `hold`.

    Latency and throughput
    ----------------------
    Any events in every cycle; exact `count` + 3 cycles after the last.

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
        """Return short counters, turn, adder and memory."""
        m = Module()
        bits = bits_for(self.count)
        m.submodules.tallies = tallies = Copies(Tally(bits), self.count, shared=("clear",))
        m.submodules.totals = totals = memory.Memory(shape=COUNTER_BITS, depth=self.count, init=())
        write = totals.write_port()
        old = totals.read_port(domain="comb")
        shown = totals.read_port(domain="comb")
        turn = Signal(self.count, init=1)
        at, read_at, visited = (Signal(range(self.count), name=name) for name in ("at", "read_at", "visited"))
        first, read_first, fresh = (Signal(init=1, name=name) for name in ("first", "read_first", "fresh"))
        waiting = Signal(range(self.count + 3))
        parts = [Signal(bits, name=f"part_{begin}") for begin in range(0, self.count, _PART)]
        amount = Signal(bits)
        total = Signal(COUNTER_BITS)
        m.d.comb += [
            tallies.clear.eq(self.clear),
            tallies.happens.eq(self.events),
            tallies.collect.eq(turn),
            old.addr.eq(read_at),
            write.addr.eq(visited),
            write.en.eq(1),
            write.data.eq(total + amount),
            shown.addr.eq(self.address),
            self.value.eq(Mux(fresh & (self.address >= visited), 0, shown.data)),
        ]
        found = [Mux(turn[number], tallies.amount.word_select(number, bits), 0) for number in range(self.count)]
        m.d.sync += [
            *(part.eq(_either(found[_PART * number : _PART * (number + 1)])) for number, part in enumerate(parts)),
            amount.eq(_either(parts)),
            total.eq(Mux(read_first, 0, old.data)),
            turn.eq(Cat(turn[-1], turn)),
            at.eq(Mux(turn[-1], 0, at + 1)), read_at.eq(at), visited.eq(read_at),
            first.eq(first & ~turn[-1]), read_first.eq(first), fresh.eq(read_first),
            waiting.eq(Mux(self.hold, self.count + 2, Mux(waiting == 0, 0, waiting - 1))),
            self.settled.eq((waiting == 0) & ~self.hold),
        ]  # fmt: skip
        with m.If(self.clear):
            m.d.sync += [
                turn.eq(1), at.eq(0), read_at.eq(0), visited.eq(0), first.eq(1), read_first.eq(1), fresh.eq(1),
                *(part.eq(0) for part in parts), amount.eq(0), waiting.eq(self.count + 2), self.settled.eq(0),
            ]  # fmt: skip
        return m


def _either(values: Iterable[Value]) -> Value:
    """Return the only value that is not zero."""
    return reduce(or_, values, Const(0))
