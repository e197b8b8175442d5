"""Generate the walk over passes (runs, folds and steps) and, within a pass, over its rows of weights."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.compute.fields import ADDRESS_BITS, FIELD_BITS
from gossamer.rtl.constant_arithmetic import times_constant, times_small

INPUTS = ("a", "n_ry", "n_rx", "r_y", "r_x", "run_words", "w", "i", "steps", "slots", "index_bits", "clear")
"""Fields that the walk over passes needs."""


class PassWalk(wiring.Component):
    """Walk over the passes of an instruction: for every run, for every fold of it, for every step.

    Members
    -------
    The fields in `INPUTS`. prepare: go to the first pass. advance: go to the next.
    base: activation address of position 0 and the fold's first word. words: words of the fold.
    select_base: selection of a dense step, or the sub-group's first activation. clear: the first pass starts from zero.
    last: no pass follows. weight_row, index_row: addresses of the pass's first row.

    Protocol
    --------
    Fields are stable from `prepare` to the last pass. A pass appears in the cycle after `prepare` or `advance`; these
    are at least three cycles apart, in which the next pass is worked out.

    Latency and throughput
    ----------------------
    One pass every three cycles.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        members = {name: In(FIELD_BITS[name]) for name in INPUTS}
        super().__init__(
            {
                **members, "prepare": In(1), "advance": In(1), "base": Out(ADDRESS_BITS),
                "words": Out(shape.chain_length.bit_length()), "select_base": Out(shape.select_bits),
                "clear_sums": Out(1), "last": Out(1), "weight_row": Out(ADDRESS_BITS), "index_row": Out(ADDRESS_BITS),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        base = Signal(ADDRESS_BITS, reset_less=True)
        next_base = Signal(ADDRESS_BITS, reset_less=True)
        left = Signal(FIELD_BITS["run_words"], reset_less=True)
        next_left = Signal(FIELD_BITS["run_words"], reset_less=True)
        run_row, run = (Signal(ADDRESS_BITS, reset_less=True, name=name) for name in ("run_row", "run"))
        next_run_row, next_run = (
            Signal(ADDRESS_BITS, reset_less=True, name=name) for name in ("next_run_row", "next_run")
        )
        length = self.shape.chain_length
        step_last = self._steps(m)
        fold_last, run_last, row_last = Signal(name="fold_last"), Signal(name="run_last"), Signal(name="row_last")
        next_fold_last = Signal()
        words = Signal(len(self.words), reset_less=True)
        rx_last = self._counter(m, "rx", self.n_rx, run_last)
        ry_last = self._counter(m, "ry", self.n_ry, row_last)
        m.d.comb += [
            run_last.eq(step_last & fold_last),
            row_last.eq(run_last & rx_last),
        ]
        run_row_after = Signal(ADDRESS_BITS)
        m.d.comb += run_row_after.eq(run_row + self.r_y)
        m.d.sync += [
            next_run_row.eq(run_row_after),
            next_run.eq(Mux(rx_last, run_row_after, run + self.r_x)),
            next_fold_last.eq(next_left <= length),
        ]
        with m.If(~step_last):
            m.d.sync += [next_base.eq(base), next_left.eq(left)]
        with m.Elif(~fold_last):
            m.d.sync += [next_base.eq(base + length * self.shape.group_size), next_left.eq(left - length)]
        with m.Else():
            m.d.sync += [next_base.eq(next_run), next_left.eq(self.run_words)]
        with m.If(self.prepare):
            short = self.run_words <= length
            m.d.sync += [
                base.eq(self.a), run.eq(self.a), run_row.eq(self.a), left.eq(self.run_words), fold_last.eq(short),
                words.eq(Mux(short, self.run_words, length)),
            ]  # fmt: skip
        with m.Elif(self.advance):
            m.d.sync += [
                base.eq(next_base), left.eq(next_left), fold_last.eq(next_fold_last),
                words.eq(Mux(next_fold_last, next_left, length)),
            ]  # fmt: skip
            with m.If(run_last):
                m.d.sync += run.eq(next_run)
            with m.If(row_last):
                m.d.sync += run_row.eq(next_run_row)
        self._first(m)
        m.d.comb += [
            self.base.eq(base),
            self.words.eq(words),
            self.last.eq(row_last & ry_last),
        ]
        self._rows(m)
        return m

    def _counter(self, m: Module, name: str, count: Signal, counts: Signal) -> Signal:
        """Return whether a loop counter is in its last round; it counts in passes in which `counts` is high.

        A register, like all that decides about the pass after this one: there are three cycles to find it out.
        """
        left = Signal(len(count), name=f"{name}_left", reset_less=True)
        is_last, next_last = Signal(name=f"{name}_last"), Signal(name=f"{name}_next_last", reset_less=True)
        next_left = Signal(len(count), name=f"{name}_next_left", reset_less=True)
        m.d.sync += [
            next_left.eq(Mux(is_last, count, left - 1)),
            next_last.eq(Mux(is_last, count == 1, left == 2)),
        ]
        with m.If(self.prepare):
            m.d.sync += [left.eq(count), is_last.eq(count == 1)]
        with m.Elif(self.advance & counts):
            m.d.sync += [left.eq(next_left), is_last.eq(next_last)]
        return is_last

    def _steps(self, m: Module) -> Signal:
        """Count steps and the slots of a sub-group; return whether this is the fold's last step."""
        step_last = self._counter(m, "step", self.steps, 1)
        dense = self.index_bits == 0
        slot_last = Signal(reset_less=True)
        slot = Signal(len(self.slots), reset_less=True)
        base = Signal(self.shape.select_bits, reset_less=True)
        m.d.sync += slot_last.eq(dense | (slot == self.slots - 1))
        m.d.comb += self.select_base.eq(base)
        with m.If(self.prepare | (self.advance & step_last)):
            m.d.sync += [slot.eq(0), base.eq(0)]
        with m.Elif(self.advance):
            m.d.sync += slot.eq(Mux(slot_last, 0, slot + 1))
            with m.If(slot_last):
                m.d.sync += base.eq(base + (1 << self.index_bits))
        return step_last

    def _first(self, m: Module) -> None:
        """Mark the first pass if the instruction starts from zero."""
        first = Signal(reset_less=True)
        with m.If(self.prepare):
            m.d.sync += first.eq(self.clear)
        with m.Elif(self.advance):
            m.d.sync += first.eq(0)
        m.d.comb += self.clear_sums.eq(first)

    def _rows(self, m: Module) -> None:
        """Step from the first row of this pass to that of the next, in two cycles."""
        eighth = Signal(range(self.shape.chains // 8 * self.shape.chain_length + 1), reset_less=True)
        rows = [Signal(ADDRESS_BITS, reset_less=True, name=name) for name in ("weight_row", "index_row")]
        following = [Signal(ADDRESS_BITS, reset_less=True, name=f"next_{row.name}") for row in rows]
        m.d.sync += [
            eighth.eq(times_constant(self.words, self.shape.chains // 8)),
            following[0].eq(rows[0] + (eighth << 3)),
            following[1].eq(rows[1] + times_small(eighth, self.index_bits)),
        ]
        with m.If(self.prepare):
            m.d.sync += [rows[0].eq(self.w), rows[1].eq(self.i)]
        with m.Elif(self.advance):
            m.d.sync += [row.eq(after) for row, after in zip(rows, following, strict=True)]
        m.d.comb += [self.weight_row.eq(rows[0]), self.index_row.eq(rows[1])]


class RowWalk(wiring.Component):
    """Request the rows of a pass, weight_rows_per_cycle at a time.

    Members
    -------
    running: a pass is on; pass_first: in its first cycle. words: rows of the pass. weight_row, index_row: address of
    the first. index_bits: of the instruction.
    valid: rows are requested now; weight_address, index_address: their addresses, one cycle later. last: no rows
    follow.

    Protocol
    --------
    `words`, `weight_row` and `index_row` are read in the pass's first cycle.

    Latency and throughput
    ----------------------
    weight_rows_per_cycle rows per cycle, from the pass's first cycle on.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        super().__init__(
            {
                "running": In(1), "pass_first": In(1), "words": In(shape.chain_length.bit_length()),
                "weight_row": In(ADDRESS_BITS), "index_row": In(ADDRESS_BITS),
                "index_bits": In(FIELD_BITS["index_bits"]), "valid": Out(1), "last": Out(1),
                "weight_address": Out(ADDRESS_BITS), "index_address": Out(ADDRESS_BITS),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count, chains = self.shape.weight_rows_per_cycle, self.shape.chains
        left = Signal(len(self.words), reset_less=True)
        now = Signal(len(self.words))
        weight, index = (Signal(ADDRESS_BITS, reset_less=True, name=name) for name in ("weight", "index"))
        index_step = Signal(ADDRESS_BITS, reset_less=True)
        m.d.comb += [
            now.eq(Mux(self.pass_first, self.words, left)),
            self.last.eq(now <= count),
            self.valid.eq(self.running & (now != 0)),
            self.weight_address.eq(weight),
            self.index_address.eq(index),
        ]
        m.d.sync += [
            left.eq(Mux(self.last, 0, now - count)),
            weight.eq(Mux(self.pass_first, self.weight_row, weight + count * chains)),
            index.eq(Mux(self.pass_first, self.index_row, index + index_step)),
            index_step.eq(times_constant(self.index_bits, count * chains // 8)),
        ]
        return m
