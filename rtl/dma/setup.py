"""Find out, before a transfer starts, which of its runs follow each other: off chip, and on chip too."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.dma.parameters import CHIP_BITS, COUNT_BITS, LENGTH_BITS

STEPS = 5
"""Cycles of setup after that of the start."""

PRODUCT_BITS = LENGTH_BITS + COUNT_BITS


class TransferSetup(wiring.Component):
    """Join the runs of a LOAD or STORE, and lend its multiplier to the engine, in the cycles after its start.

    Members
    -------
    start: cycle S, with first_run_bytes and first_nx: the same fields, directly from the instruction.
    ny, nx, run_bytes, memory_y, memory_x, chip_y, chip_x, scatter: the instruction, held from S + 1 on.
    bad: the instruction has a field that cannot be executed; looked at in cycle S + 4.
    factor_2, count_2, ... _4, _5: operands of products that the engine needs, looked at in cycles S + 1, S + 3, S + 4.
    product: of the operands of two cycles before, so in S + 3, S + 5 and S + 6.
    step: bit k is high in cycle S + 1 + k.
    go, fail: one is high in cycle S + 4: the transfer can start, or it has a bad field or is too long.
    From cycle S + 5 on, until the next start:
    runs_less_one, lines_less_one, length: runs per line, lines, and bytes per run after joining what follows off chip.
    one_run, one_line: the first two of them are 0.
    segments_less_one, segment_lines_less_one, segment: the same after joining only what follows on chip as well.

    Protocol
    --------
    Runs of a line are joined if there are several and their pitch equals their length; lines if there are several of
    one run each and their pitch equals its length. Equal to `_merge_runs` of `gossamer.sim.timing`.

    Latency and throughput
    ----------------------
    Five cycles, S to S + 4. One multiplier with registers before and behind does all products: nx * run_bytes in S + 2,
    times ny in S + 4.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "first_run_bytes": In(20),
                "first_nx": In(COUNT_BITS),
                "ny": In(COUNT_BITS),
                "nx": In(COUNT_BITS),
                "run_bytes": In(20),
                "memory_y": In(32),
                "memory_x": In(32),
                "chip_y": In(CHIP_BITS),
                "chip_x": In(24),
                "scatter": In(1),
                "bad": In(1),
                "factor_2": In(LENGTH_BITS),
                "count_2": In(COUNT_BITS),
                "factor_4": In(LENGTH_BITS),
                "count_4": In(COUNT_BITS),
                "factor_5": In(LENGTH_BITS),
                "count_5": In(COUNT_BITS),
                "product": Out(PRODUCT_BITS),
                "step": Out(STEPS),
                "go": Out(1),
                "fail": Out(1),
                "runs_less_one": Out(COUNT_BITS),
                "lines_less_one": Out(COUNT_BITS),
                "one_run": Out(1),
                "one_line": Out(1),
                "length": Out(LENGTH_BITS),
                "segments_less_one": Out(COUNT_BITS),
                "segment_lines_less_one": Out(COUNT_BITS),
                "segment": Out(LENGTH_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return multiplier and comparisons."""
        m = Module()
        m.d.sync += self.step.eq(Cat(self.start, self.step))
        self._multiply(m)
        self._join(m)
        return m

    def _multiply(self, m: Module) -> None:
        """Add the multiplier and the choice of its operands."""
        factor = Signal(LENGTH_BITS)
        count = Signal(COUNT_BITS)
        m.d.sync += [self.product.eq(factor * count), factor.eq(self.factor_5), count.eq(self.count_5)]
        with m.If(self.start):
            m.d.sync += [factor.eq(self.first_run_bytes), count.eq(self.first_nx)]
        with m.Elif(self.step[0]):
            m.d.sync += [factor.eq(self.factor_2), count.eq(self.count_2)]
        with m.Elif(self.step[1]):
            m.d.sync += [factor.eq(self.product), count.eq(self.ny)]
        with m.Elif(self.step[2]):
            m.d.sync += [factor.eq(self.factor_4), count.eq(self.count_4)]

    def _join(self, m: Module) -> None:
        """Add the comparisons of pitches and lengths, runs of a line first, then lines."""
        join_x, chip_join_x, join_y, chip_join_y = (Signal(name=name) for name in ("join_x", "chip_join_x", "join_y",
                                                                                   "chip_join_y"))  # fmt: skip
        overflow = Signal()
        line_overflow = Signal()
        both_x = join_x & chip_join_x
        m.d.comb += [
            overflow.eq(self.product[LENGTH_BITS:].any()),
            self.go.eq(self.step[3] & ~(self.bad | line_overflow | overflow)),
            self.fail.eq(self.step[3] & (self.bad | line_overflow | overflow)),
        ]
        m.d.sync += [
            join_x.eq((self.nx != 1) & (self.memory_x == self.run_bytes)),
            chip_join_x.eq((self.chip_x == self.run_bytes) & ~self.scatter),
        ]
        with m.If(self.step[1]):
            m.d.sync += [
                line_overflow.eq(overflow),
                self.length.eq(Mux(join_x, self.product, self.run_bytes)),
                self.segment.eq(Mux(both_x, self.product, self.run_bytes)),
                self.runs_less_one.eq(Mux(join_x, 0, self.nx - 1)),
                self.one_run.eq(join_x | (self.nx == 1)),
                self.segments_less_one.eq(Mux(both_x, 0, self.nx - 1)),
            ]
        m.d.sync += [
            join_y.eq((self.ny != 1) & self.one_run & (self.memory_y == self.length)),
            chip_join_y.eq((self.segments_less_one == 0) & (self.chip_y == self.length) & ~self.scatter),
        ]
        with m.If(self.step[3]):
            m.d.sync += [
                self.lines_less_one.eq(self.ny - 1), self.segment_lines_less_one.eq(self.ny - 1),
                self.one_line.eq(join_y | (self.ny == 1)),
            ]  # fmt: skip
            with m.If(join_y):
                m.d.sync += [self.length.eq(self.product), self.lines_less_one.eq(0)]
                with m.If(chip_join_y):
                    m.d.sync += [self.segment.eq(self.product), self.segment_lines_less_one.eq(0)]
