"""Find out, before a transfer starts, which of its runs follow each other: off chip, and on chip too."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.target import Target
from gossamer.rtl.dma.parameters import CHIP_BITS, COUNT_BITS, LENGTH_BITS
from gossamer.rtl.part_product import FACTOR_BITS, part_product

STEPS = 6
"""Cycles of setup after that of the start."""

PIECE_SHAPE = ("one_run", "one_line", "segments_less_one", "segment_lines_less_one", "one_segment", "one_segment_line",
               "segment_less_one")  # fmt: skip
"""Of a transfer's shape what its pieces depend on."""

PRODUCT_BITS = LENGTH_BITS + COUNT_BITS

_PART_BITS = 8
"""Of two values that are compared in a cycle: the next one looks at what of them differs."""


def _parts_that_differ(left: Value, right: Value) -> Value:
    """Return which parts of two unsigned values differ, lowest first."""
    different = left ^ right
    return Cat(different[at : at + _PART_BITS].any() for at in range(0, len(different), _PART_BITS))


class TransferSetup(wiring.Component):
    """Join the runs of a LOAD or STORE, and lend its multiplier to the engine, in the cycles after its start.

    Members
    -------
    start: cycle S, with first_run_bytes and first_nx: the same fields, directly from the instruction.
    ny, nx, run_bytes, memory_y, memory_x, chip_y, chip_x, scatter: the instruction, held from S + 1 on.
    bad: the instruction has a field that cannot be executed; looked at in cycle S + 6.
    factor_1, count_1, ... _2, _4: operands of products that the engine needs, looked at in cycles S + 1, S + 2, S + 4.
    product: of the operands of three cycles before, so in S + 4, S + 5 and S + 7.
    step: bit k is high in cycle S + 1 + k.
    ends: high in cycle S + 7, with go or fail: the transfer can start, or it has a bad field or is too long.
    From cycle S + 6 on, until the next start:
    runs_less_one, lines_less_one, one_run, one_line: runs per line and lines after joining what follows off chip.
    segments_less_one, segment_lines_less_one, one_segment, one_segment_line: the same after joining only what follows
        on chip as well.
    From cycle S + 7 on:
    length_less_one, segment_less_one: bytes per run, and of a segment.

    Protocol
    --------
    Runs of a line are joined if there are several and their pitch equals their length; lines if there are several of
    one run each and their pitch equals its length. Equal to `_merge_runs` of `gossamer.sim.timing`.

    Latency and throughput
    ----------------------
    Seven cycles, S to S + 6. One multiplier with registers before it, behind its slices and behind the sum of these
    does all products: nx * run_bytes in S + 3, times ny in S + 6.

    Parameters
    ----------
    target: whose multipliers. Of the ECP5's two are needed, with the registers at their inputs and outputs.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
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
                "factor_1": In(LENGTH_BITS),
                "count_1": In(COUNT_BITS),
                "factor_2": In(LENGTH_BITS),
                "count_2": In(COUNT_BITS),
                "factor_4": In(LENGTH_BITS),
                "count_4": In(COUNT_BITS),
                "product": Out(PRODUCT_BITS),
                "step": Out(STEPS),
                "ends": Out(1),
                "go": Out(1),
                "fail": Out(1),
                "runs_less_one": Out(COUNT_BITS),
                "lines_less_one": Out(COUNT_BITS),
                "one_run": Out(1),
                "one_line": Out(1),
                "length_less_one": Out(LENGTH_BITS),
                "segments_less_one": Out(COUNT_BITS),
                "segment_lines_less_one": Out(COUNT_BITS),
                "one_segment": Out(1),
                "one_segment_line": Out(1),
                "segment_less_one": Out(LENGTH_BITS),
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
        m.d.sync += self.product.eq(self._product(m, factor, count))
        m.d.comb += [factor.eq(self.factor_4), count.eq(self.count_4)]
        with m.If(self.start):
            m.d.comb += [factor.eq(self.first_run_bytes), count.eq(self.first_nx)]
        with m.Elif(self.step[0]):
            m.d.comb += [factor.eq(self.factor_1), count.eq(self.count_1)]
        with m.Elif(self.step[1]):
            m.d.comb += [factor.eq(self.factor_2), count.eq(self.count_2)]
        with m.Elif(self.step[2]):
            m.d.comb += [factor.eq(self.product), count.eq(self.ny)]

    def _product(self, m: Module, factor: Value, count: Value) -> Value:
        """Return the product, PART_LATENCY cycles later."""
        if self.target is Target.ECP5:
            bits = FACTOR_BITS - 1  # unsigned
            parts = [factor[at : at + bits] for at in range(0, LENGTH_BITS, bits)]
            products = [part_product(m, f"part_{n}", part, count, self.target) for n, part in enumerate(parts)]
            return sum((product[: bits + COUNT_BITS] << bits * n for n, product in enumerate(products)), Const(0))
        held_factor, held_count = Signal.like(factor), Signal.like(count)
        product = Signal(PRODUCT_BITS)
        m.d.sync += [held_factor.eq(factor), held_count.eq(count), product.eq(held_factor * held_count)]
        return product

    def _join(self, m: Module) -> None:
        """Add the comparisons of pitches and lengths, runs of a line first, then lines, each in two cycles."""
        join_x, chip_join_x, many_x, many_y, scatters = (Signal(name=name) for name in (
            "join_x", "chip_join_x", "many_x", "many_y", "scatters"))  # fmt: skip
        line_overflow, fails, wrong = (Signal(name=name) for name in ("line_overflow", "fails", "wrong"))
        line, segment = Signal(LENGTH_BITS), Signal(LENGTH_BITS)
        nx_less_one, ny_less_one = Signal(COUNT_BITS), Signal(COUNT_BITS)
        differs = {}
        for name, (pitch, length) in {
            "x": (self.memory_x, self.run_bytes), "chip_x": (self.chip_x, self.run_bytes),
            "y": (self.memory_y, line), "chip_y": (self.chip_y, line), "overflow": (self.product[LENGTH_BITS:], 0),
        }.items():  # fmt: skip
            value = _parts_that_differ(pitch, Value.cast(length))
            differs[name] = Signal(len(value), name=f"{name}_differs")
            m.d.sync += differs[name].eq(value)
        both_x = join_x & chip_join_x
        join_y = many_y & self.one_run & ~differs["y"].any()
        chip_join_y = join_y & self.one_segment & ~scatters & ~differs["chip_y"].any()
        m.d.comb += wrong.eq(fails | differs["overflow"].any())
        m.d.sync += [
            many_x.eq(self.nx != 1), many_y.eq(self.ny != 1), scatters.eq(self.scatter),
            nx_less_one.eq(self.nx - 1), ny_less_one.eq(self.ny - 1),
            join_x.eq(many_x & ~differs["x"].any()), chip_join_x.eq(~differs["chip_x"].any() & ~self.scatter),
            fails.eq(self.bad | line_overflow), self.ends.eq(self.step[5]),
        ]  # fmt: skip
        m.d.comb += [self.go.eq(self.ends & ~wrong), self.fail.eq(self.ends & wrong)]
        with m.If(self.step[3]):
            m.d.sync += line_overflow.eq(differs["overflow"].any())
        with m.If(self.step[2]):
            m.d.sync += [
                line.eq(Mux(join_x, self.product, self.run_bytes)),
                segment.eq(Mux(both_x, self.product, self.run_bytes)),
                self.runs_less_one.eq(Mux(join_x, 0, nx_less_one)), self.one_run.eq(join_x | ~many_x),
                self.segments_less_one.eq(Mux(both_x, 0, nx_less_one)), self.one_segment.eq(both_x | ~many_x),
            ]  # fmt: skip
        with m.If(self.step[4]):
            m.d.sync += [
                self.lines_less_one.eq(Mux(join_y, 0, ny_less_one)), self.one_line.eq(join_y | ~many_y),
                self.segment_lines_less_one.eq(Mux(chip_join_y, 0, ny_less_one)),
                self.one_segment_line.eq(chip_join_y | ~many_y),
            ]  # fmt: skip
        joined, chip_joined = Signal(), Signal()
        m.d.sync += [joined.eq(join_y), chip_joined.eq(chip_join_y)]
        with m.If(self.step[5]):
            m.d.sync += [
                self.length_less_one.eq(Mux(joined, self.product, line) - 1),
                self.segment_less_one.eq(Mux(chip_joined, self.product, segment) - 1),
            ]
