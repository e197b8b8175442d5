"""Cut the runs of a transfer into bursts."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.dma.parameters import ADDRESS_BITS, BURST_LENGTH_BITS, COUNT_BITS, LENGTH_BITS, MemoryPort


class BurstCutter(wiring.Component):
    """Give the bursts of a LOAD or STORE in order: every run is cut at each multiple of `burst_bytes`.

    Members
    -------
    load, first: begin a transfer whose first run is at this address.
    runs_less_one, lines_less_one, length, run_pitch, line_pitch: its shape, from the cycle after `load` on. one_run,
        one_line: there is nothing but one run in a line, one line.
    valid, ready: handshake of one burst; `valid` is not withdrawn.
    address, beats_less_one: of the burst. last: it is the transfer's last.
    run_address: first byte of the burst's run or, behind the first burst, of the rest of the run.

    Protocol
    --------
    Addresses are absolute: the cuts are where AXI forbids a burst to go on. Equal to `burst_end` of
    `gossamer.sim.offchip` if the program's base address is a multiple of `burst_bytes`.

    Latency and throughput
    ----------------------
    `load` in cycle t, first burst in t + 2; one burst per cycle, whatever the length of the runs.

    Parameters
    ----------
    port: sizes of the memory port.
    """

    def __init__(self, port: MemoryPort) -> None:
        self.port = port
        super().__init__(
            {
                "load": In(1),
                "first": In(ADDRESS_BITS),
                "runs_less_one": In(COUNT_BITS),
                "lines_less_one": In(COUNT_BITS),
                "one_run": In(1),
                "one_line": In(1),
                "length": In(LENGTH_BITS),
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
        """Return two stages: the addresses of the runs, and the bursts of one run."""
        m = Module()
        beat, burst = self.port.beat_shift, self.port.burst_shift
        next_run = Signal()
        run_valid = Signal()
        run_last = Signal()
        run_address = self._runs(m, next_run, run_valid, run_last)
        bursts_left = Signal(max(1, LENGTH_BITS + 1 - burst))
        last_of_run = Signal()
        run_is_last = Signal()
        span = Signal(LENGTH_BITS + 1)
        m.d.comb += [
            span.eq(run_address[:burst] + self.length - 1),
            self.last.eq(last_of_run & run_is_last),
            next_run.eq(run_valid & (~self.valid | (self.ready & last_of_run))),
        ]
        if burst == beat:
            m.d.comb += self.beats_less_one.eq(Const(0))
        else:
            end_beat = Signal(burst - beat)
            most = Const(2 ** (burst - beat) - 1, burst - beat)
            first_beat = run_address[beat:burst]
            to_end, to_most = ((end - first_beat)[: len(most)] for end in (span[beat:burst], most))
            with m.If(next_run):
                m.d.sync += [
                    end_beat.eq(span[beat:burst]),
                    self.beats_less_one.eq(Mux(span[burst:] == 0, to_end, to_most)),
                ]
            with m.Elif(self.ready):
                m.d.sync += self.beats_less_one.eq(Mux(bursts_left == 1, end_beat, most))
        with m.If(next_run):
            m.d.sync += [
                self.valid.eq(1),
                self.address.eq(run_address),
                bursts_left.eq(span[burst:]),
                last_of_run.eq(span[burst:] == 0),
                run_is_last.eq(run_last),
            ]
        with m.Elif(self.ready):
            m.d.sync += [
                self.valid.eq(self.valid & ~last_of_run),
                self.address[:burst].eq(0),
                self.address[burst:].eq(self.address[burst:] + 1),
                bursts_left.eq(bursts_left - 1),
                last_of_run.eq(bursts_left == 1),
            ]
        return m

    def _runs(self, m: Module, next_run: Signal, run_valid: Signal, run_last: Signal) -> Signal:
        """Add the stage that walks over the runs; return the address of the one it is at."""
        run = Signal(ADDRESS_BITS, name="run_address")
        line = Signal(ADDRESS_BITS, name="line_address")
        runs_left = Signal(COUNT_BITS)
        lines_left = Signal(COUNT_BITS)
        begun = Signal()
        no_run, no_line = Signal(), Signal()  # no run is left in this line, no line behind it
        last_of_line, last_line = Signal(), Signal()
        beyond = Signal(ADDRESS_BITS)
        runs, lines = (Mux(begun, getattr(self, f"{name}_less_one"), left) for name, left in (
            ("runs", runs_left), ("lines", lines_left)))  # fmt: skip
        m.d.comb += [
            last_of_line.eq(Mux(begun, self.one_run, no_run)),
            last_line.eq(Mux(begun, self.one_line, no_line)),
            run_last.eq(last_of_line & last_line),
            beyond.eq(Mux(last_of_line, line, run) + Mux(last_of_line, self.line_pitch, self.run_pitch)),
        ]
        with m.If(self.load):
            m.d.sync += [run.eq(self.first), line.eq(self.first), run_valid.eq(1), begun.eq(1)]
        with m.Elif(next_run):
            m.d.sync += [
                begun.eq(0), run.eq(beyond), run_valid.eq(~run_last), runs_left.eq(runs - 1), no_run.eq(runs == 1),
                lines_left.eq(lines), no_line.eq(last_line),
            ]  # fmt: skip
            with m.If(last_of_line):
                m.d.sync += [
                    line.eq(beyond), runs_left.eq(self.runs_less_one), no_run.eq(self.one_run),
                    lines_left.eq(lines - 1), no_line.eq(lines == 1),
                ]  # fmt: skip
        return run
