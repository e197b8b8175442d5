"""Cut the runs of a transfer into bursts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.dma.parameters import (
    ADDRESS_BITS,
    BURST_LENGTH_BITS,
    COUNT_BITS,
    LENGTH_BITS,
    OFFSET_BITS,
    MemoryPort,
)
from gossamer.rtl.dma.runs import RunAddress, RunShape, walk_runs

CUT_CYCLES = 3
"""From `load` to the first burst."""


class BurstCutter(wiring.Component):
    """Give the bursts of a LOAD or STORE in order: every run is cut at each multiple of `burst_bytes`.

    Members
    -------
    load: begin a transfer, whose first run is at off-chip address `first`. drop: forget it, in the cycle after `load`.
    base: the program's base address.
    runs_less_one, lines_less_one, run_pitch, line_pitch: its shape, from `load` on. one_run, one_line: there is nothing
        but one run in a line, one line. length_less_one: of a run, from the cycle after `load` on.
    valid, ready: handshake of one burst; `valid` is not withdrawn.
    address, beats_less_one: of the burst. last: it is the transfer's last.

    Protocol
    --------
    Addresses are absolute: the cuts are where AXI forbids a burst to go on. Equal to `burst_end` of
    `gossamer.sim.offchip` if the program's base address is a multiple of `burst_bytes`.

    Latency and throughput
    ----------------------
    `load` in cycle t, first burst in t + CUT_CYCLES; one burst per cycle, whatever the length of the runs.

    Parameters
    ----------
    port: sizes of the memory port.
    """

    def __init__(self, port: MemoryPort) -> None:
        self.port = port
        super().__init__(
            {
                "load": In(1),
                "drop": In(1),
                "base": In(ADDRESS_BITS),
                "first": In(OFFSET_BITS),
                "runs_less_one": In(COUNT_BITS),
                "lines_less_one": In(COUNT_BITS),
                "one_run": In(1),
                "one_line": In(1),
                "length_less_one": In(LENGTH_BITS),
                "run_pitch": In(32),
                "line_pitch": In(32),
                "valid": Out(1),
                "ready": In(1),
                "address": Out(ADDRESS_BITS),
                "beats_less_one": Out(BURST_LENGTH_BITS),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return three stages: the addresses of the runs, where the bursts of the next run are, and its bursts."""
        m = Module()
        burst = self.port.burst_shift
        beat_bits = burst - self.port.beat_shift
        run = _Run(beat_bits, LENGTH_BITS + 1 - burst)
        takes, begins = Signal(), Signal(init=1)  # a burst of another run is next
        self._cut(m, run, takes)
        bursts_left = Signal.like(run.more)
        one_more = Signal()
        end_beat = Signal(beat_bits)
        run_is_last = Signal()
        m.d.comb += takes.eq(begins & (~self.valid | self.ready))
        with m.If(~self.valid | self.ready):
            m.d.sync += [
                self.valid.eq(~begins | run.valid),
                self.address[:burst].eq(Mux(begins, run.address[:burst], 0)),
                self.address[burst:].eq(Mux(begins, run.address[burst:], self.address[burst:] + 1)),
                bursts_left.eq(Mux(begins, run.more, bursts_left - 1)),
                begins.eq(Mux(begins, ~run.valid | run.no_more, one_more)),
                one_more.eq(Mux(begins, run.one_more, bursts_left == 2)),
                self.last.eq(Mux(begins, run.no_more & run.last, one_more & run_is_last)),
            ]
            if beat_bits:
                first = Mux(run.no_more, run.to_end, ~run.first_beat)
                inner = Mux(one_more, end_beat, 2**beat_bits - 1)
                m.d.sync += self.beats_less_one.eq(Mux(begins, first, inner))
        with m.If(takes):
            m.d.sync += [run_is_last.eq(run.last), end_beat.eq(run.end_beat)]
        return m

    def _cut(self, m: Module, run: "_Run", takes: Signal) -> None:
        """Add the walk over the runs, and what is known of the bursts of the one behind it."""
        beat, burst = self.port.beat_shift, self.port.burst_shift
        place = (self.base[:burst] + self.first[:burst])[:burst]
        walk = walk_runs(
            m,
            RunShape(runs_less_one=self.runs_less_one, lines_less_one=self.lines_less_one, one_run=self.one_run,
                     one_line=self.one_line),
            {"offset": RunAddress(first=self.first, line_pitch=self.line_pitch, run_pitch=self.run_pitch),
             "place": RunAddress(first=place, line_pitch=self.line_pitch[:burst], run_pitch=self.run_pitch[:burst])},
            load=self.load, drop=self.drop, moves=takes,
        )  # fmt: skip
        first = walk.addresses["place"]
        low, high = self.length_less_one[:burst], self.length_less_one[burst:]
        end = Signal(burst + 1)
        within = Signal()
        m.d.comb += [end.eq(first + low), within.eq(~end[burst] & (high == 0))]
        with m.If(takes):
            m.d.sync += [
                run.valid.eq(walk.valid & ~self.drop),
                run.address.eq(self.base + walk.addresses["offset"]),
                run.more.eq(high + end[burst]),
                run.no_more.eq(within),
                run.one_more.eq(Mux(end[burst], high == 0, high == 1)),
                run.last.eq(walk.last_of_line & walk.last_line),
            ]
            if burst != beat:
                to_end = (first[:beat] + low)[beat:burst]
                m.d.sync += [
                    run.first_beat.eq(first[beat:burst]), run.to_end.eq(to_end), run.end_beat.eq(end[beat:burst])
                ]  # fmt: skip


class _Run:
    """Registers of the next run: its address, and how many bursts follow its first one.

    first_beat, end_beat: where its first and last beat are in their bursts. to_end: beats less one, if it is one burst.
    """

    def __init__(self, beat_bits: int, more_bits: int) -> None:
        self.valid = Signal(name="next_valid")
        self.address = Signal(ADDRESS_BITS, name="next_address")
        self.first_beat = Signal(beat_bits, name="next_first_beat")
        self.to_end = Signal(beat_bits, name="next_to_end")
        self.end_beat = Signal(beat_bits, name="next_end_beat")
        self.more = Signal(more_bits, name="next_more")
        self.no_more = Signal(name="next_no_more")
        self.one_more = Signal(name="next_one_more")
        self.last = Signal(name="next_last")
