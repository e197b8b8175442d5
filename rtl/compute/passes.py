"""Generate the walk over passes (runs, folds and steps) and, within a pass, over its rows of weights."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.compute.fields import ADDRESS_BITS, FIELD_BITS
from gossamer.rtl.constant_arithmetic import times_constant, times_small
from gossamer.rtl.copies import Copies

INPUTS = ("a", "n_ry", "n_rx", "r_y", "r_x", "run_words", "w", "i", "steps", "slots", "index_bits", "clear")
"""Fields that the walk over passes needs."""

LOOPS = ("steps", "n_rx", "n_ry")
"""Fields that count rounds, from the innermost loop outwards; folds are between the first two."""

ROUND_BITS = max(FIELD_BITS[name] for name in LOOPS)


class RoundCounter(wiring.Component):
    """Count the rounds of a loop.

    Members
    -------
    rounds: how many, at least 1. prepare: go to the first. advance: go to the next, or from the last to the first.
    last: this round is the last.

    Protocol
    --------
    As `PassWalk`. `last` is a register, like all that decides about the pass after this one.
    """

    def __init__(self) -> None:
        super().__init__({"rounds": In(ROUND_BITS), "prepare": In(1), "advance": In(1), "last": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left, next_left = (Signal(ROUND_BITS, reset_less=True, name=name) for name in ("left", "next_left"))
        next_last = Signal(reset_less=True)
        only = self.rounds == 1
        m.d.sync += [
            next_left.eq(Mux(self.last, self.rounds, left - 1)),
            next_last.eq(Mux(self.last, only, left == 2)),
        ]
        with m.If(self.prepare):
            m.d.sync += [left.eq(self.rounds), self.last.eq(only)]
        with m.Elif(self.advance):
            m.d.sync += [left.eq(next_left), self.last.eq(next_last)]
        return m


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
        fold_last = Signal()
        run_last, row_last = Signal(), Signal()  # a cycle late: they say what an advance does, which comes later still
        next_fold_last = Signal()
        words = Signal(len(self.words), reset_less=True)
        m.submodules.loops = loops = Copies(RoundCounter(), len(LOOPS), shared=("prepare",))
        step_last, rx_last, ry_last = loops.last
        m.d.comb += [
            *(loops.rounds.word_select(at, ROUND_BITS).eq(getattr(self, name)) for at, name in enumerate(LOOPS)),
            loops.prepare.eq(self.prepare),
            loops.advance.eq(Cat(self.advance, self.advance & run_last, self.advance & row_last)),
        ]
        m.d.sync += [run_last.eq(step_last & fold_last), row_last.eq(step_last & fold_last & rx_last)]
        self._slots(m, step_last)
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
            self.last.eq(step_last & fold_last & rx_last & ry_last),
        ]
        self._rows(m)
        return m

    def _slots(self, m: Module, step_last: Value) -> None:
        """Count the slots of a sub-group: its selections begin at `select_base`."""
        slot_last = Signal(reset_less=True)
        slot, last_slot = (Signal(len(self.slots), reset_less=True, name=name) for name in ("slot", "last_slot"))
        base, span = (Signal(self.shape.select_bits, reset_less=True, name=name) for name in ("sub_group", "span"))
        m.d.sync += [
            last_slot.eq(self.slots - 1), span.eq(1 << self.index_bits),
            slot_last.eq((self.index_bits == 0) | (slot == last_slot)),
        ]  # fmt: skip
        m.d.comb += self.select_base.eq(base)
        with m.If(self.prepare | (self.advance & step_last)):
            m.d.sync += [slot.eq(0), base.eq(0)]
        with m.Elif(self.advance):
            m.d.sync += slot.eq(Mux(slot_last, 0, slot + 1))
            with m.If(slot_last):
                m.d.sync += base.eq(base + span)

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
        eighths = self.shape.chains // 8
        weights = times_constant(self.words, 8 * eighths)
        indices = times_small(times_constant(self.words, eighths), self.index_bits)
        for name, start, step in (("weight_row", self.w, weights), ("index_row", self.i, indices)):
            row, following, stepped = (
                Signal(ADDRESS_BITS, reset_less=True, name=f"{prefix}{name}") for prefix in ("pass_", "next_", "step_")
            )
            m.d.sync += [stepped.eq(step), following.eq(row + stepped)]
            with m.If(self.prepare):
                m.d.sync += row.eq(start)
            with m.Elif(self.advance):
                m.d.sync += row.eq(following)
            m.d.comb += getattr(self, name).eq(row)


class RowWalk(wiring.Component):
    """Request the rows of a pass, weight_rows_per_cycle at a time.

    Members
    -------
    running: a pass is on; pass_first: in its first cycle. words: rows of the pass. weight_row, index_row: address of
    the first. index_bits: of the instruction.
    valid: rows are requested now; weight_address, index_address: their addresses, one cycle later. last: no rows
    follow; not to be asked in the pass's first cycle.

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
        last, over = Signal(reset_less=True), Signal(reset_less=True)
        weight, index = (Signal(ADDRESS_BITS, reset_less=True, name=name) for name in ("weight", "index"))
        index_step = Signal(ADDRESS_BITS, reset_less=True)
        m.d.comb += [
            now.eq(Mux(self.pass_first, self.words, left)),
            self.last.eq(last),
            self.valid.eq(self.running & (self.pass_first | ~over)),
            self.weight_address.eq(weight),
            self.index_address.eq(index),
        ]
        m.d.sync += [
            left.eq(now - count),
            over.eq((over & ~self.pass_first) | (now <= count)),
            last.eq((over & ~self.pass_first) | (now <= 2 * count)),
            weight.eq(Mux(self.pass_first, self.weight_row, weight + count * chains)),
            index.eq(Mux(self.pass_first, self.index_row, index + index_step)),
            index_step.eq(times_constant(self.index_bits, count * chains // 8)),
        ]
        return m
