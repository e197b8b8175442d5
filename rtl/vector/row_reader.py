"""Stream whole rows of channels, one element per cycle and as often as an operation needs them."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.copies import Copies
from gossamer.rtl.vector.parameters import READ_LATENCY
from gossamer.rtl.vector.reader import BLOCK_PORTS
from gossamer.rtl.vector.walk import ADDRESS_BITS, STRIDE_BITS, WORD_COUNT_BITS, BlockLoops, BlockPointer, row_bits

GAP_BITS = 8
PASS_BITS = 2

ELEMENT_STAGE = READ_LATENCY + 1
"""Cycles from the slot of an element to the element."""


class RowReader(wiring.Component):
    """Give the elements of each position's row, pass after pass, then the next position's.

    Members
    -------
    load: take the instruction's fields, which are held. go: the first element is in the next cycle; not before the
        second cycle after load.
    passes: times a row is streamed. between_gap, last_gap: cycles without elements after a pass, after the last one.
        All held from the cycle before go on.
    channels: elements of a row that are real.
    read_valid, read_address, read_data: reads of the activation buffer, one word each.
    slot, gap, first, row_pass, last, index: in this cycle there is an element; or a cycle of a gap; it is the first of
        its pass; number of the pass; last element of its pass; number of the element, which goes on in the gap. All as
        they are ELEMENT_STAGE cycles after the slot, with `element`, and `real`: it is one of the row's real channels.

    Latency and throughput
    ----------------------
    One element per cycle, one word read every group_size cycles; passes and rows follow each other without a pause but
    the gaps.
    """

    def __init__(self, *, group_size: int, vector_lanes: int, rows: int) -> None:
        self.group_size, self.beat_words, self.rows = group_size, vector_lanes // group_size, rows
        self.index_bits = WORD_COUNT_BITS + (group_size - 1).bit_length()
        super().__init__(
            {
                "load": In(1), "go": In(1), **BLOCK_PORTS, "a": In(ADDRESS_BITS), "a_y": In(ADDRESS_BITS),
                "a_x": In(STRIDE_BITS), "passes": In(PASS_BITS), "between_gap": In(GAP_BITS), "last_gap": In(GAP_BITS),
                "channels": In(32), "read_valid": Out(1), "read_address": Out(ADDRESS_BITS),
                "read_data": In(8 * group_size), "slot": Out(1), "gap": Out(1), "first": Out(1),
                "row_pass": Out(PASS_BITS), "last": Out(1), "index": Out(self.index_bits), "element": Out(signed(8)),
                "real": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the walk, the order of passes and gaps, and the register elements are shifted out of."""
        m = Module()
        m.submodules.loops = loops = Copies(BlockLoops(self.beat_words, row_bits(self.rows)))
        m.submodules.pointer = pointer = Copies(BlockPointer())
        slot = Signal()
        gap = Signal()
        word_done = Signal()
        again = Signal()
        begins = Signal()
        advance = Signal()
        m.d.sync += begins.eq(self.load)
        m.d.comb += [
            advance.eq(begins | word_done), loops.load.eq(self.load), loops.advance.eq(advance),
            loops.single.eq(1), loops.again.eq(again),
            loops.ny.eq(self.ny), loops.nx.eq(self.nx), loops.nc.eq(self.nc),
            pointer.load.eq(self.load), pointer.base.eq(self.a), pointer.advance.eq(advance),
            pointer.again.eq(again), pointer.last_beat.eq(loops.last_beat), pointer.last_column.eq(loops.last_column),
            pointer.step.eq(self.group_size), pointer.column_stride.eq(self.a_x), pointer.row_stride.eq(self.a_y),
            self.read_address.eq(pointer.address),
        ]  # fmt: skip
        byte = Signal(range(self.group_size))
        word_start, word_end = Signal(init=1), Signal()
        number = Signal(self.index_bits)
        row_pass = Signal(PASS_BITS)
        pass_done = Signal()
        m.d.comb += [
            word_done.eq(slot & word_end), pass_done.eq(word_done & loops.last_beat),
            self.read_valid.eq(slot & word_start),
        ]  # fmt: skip
        with m.If(slot):
            m.d.sync += [
                byte.eq(byte + 1), word_start.eq(word_end), word_end.eq(byte == self.group_size - 2),
            ]  # fmt: skip
        self._order(m, loops.last, pass_done, slot=slot, gap=gap, number=number, row_pass=row_pass, again=again)
        self._elements(m, slot, gap, number, row_pass, pass_done)
        return m

    def _order(
        self, m: Module, last: Signal, pass_done: Signal, *, slot: Signal, gap: Signal, number: Signal,
        row_pass: Signal, again: Signal,
    ) -> None:  # fmt: skip
        """Count passes, elements and gaps.

        What follows a pass is known two cycles after it began: passes have at least the elements of a word.
        """
        waiting = Signal()
        more = Signal()
        gap_left = Signal(GAP_BITS)
        gap_cycles = Signal(GAP_BITS)
        gap_follows, gap_of_one, gap_done = (Signal(name=name) for name in ("gap_follows", "gap_of_one", "gap_done"))
        following = Signal(GAP_BITS)
        m.d.comb += following.eq(Mux(again, self.between_gap, self.last_gap))
        m.d.sync += [
            again.eq(~self.load & (row_pass != self.passes - 1)), gap_cycles.eq(following),
            gap_follows.eq(following != 0), gap_of_one.eq(following == 1),
        ]  # fmt: skip
        with m.If(slot | gap):
            m.d.sync += number.eq(number + 1)
        with m.If(gap):
            m.d.sync += [gap_left.eq(gap_left - 1), gap_done.eq(gap_left == 2)]
            with m.If(gap_done):
                m.d.sync += [gap.eq(0), slot.eq(more), number.eq(0)]
        with m.If(pass_done):
            m.d.sync += [
                gap_left.eq(gap_cycles), gap_done.eq(gap_of_one), gap.eq(gap_follows), slot.eq(~gap_follows & ~last),
                more.eq(~last), row_pass.eq(Mux(again, row_pass + 1, 0)),
            ]  # fmt: skip
            with m.If(~gap_follows):
                m.d.sync += number.eq(0)
        with m.If(self.load):
            m.d.sync += [waiting.eq(1), number.eq(0), row_pass.eq(0)]
        with m.Elif(self.go):
            m.d.sync += waiting.eq(0)
        with m.If(waiting & self.go):
            m.d.sync += slot.eq(1)

    def _elements(
        self, m: Module, slot: Signal, gap: Signal, number: Signal, row_pass: Signal, pass_done: Signal
    ) -> None:
        """Delay what is known of a slot until its element comes."""
        for name, value in (
            ("slot", slot), ("gap", gap), ("row_pass", row_pass), ("last", pass_done), ("index", number),
            ("word_start", self.read_valid),
        ):  # fmt: skip
            for stage in range(1, ELEMENT_STAGE):
                after = Signal(len(value), name=f"{name}_{stage}")
                m.d.sync += after.eq(value)
                value = after
            if name == "word_start":
                word = Signal(8 * self.group_size)
                m.d.sync += word.eq(Mux(value, self.read_data, word >> 8))
                m.d.comb += self.element.eq(word[:8].as_signed())
                continue
            m.d.sync += getattr(self, name).eq(value)
            if name == "index":
                m.d.sync += [
                    self.real.eq(value < self.channels[: self.index_bits]), self.first.eq(value == 0)
                ]  # fmt: skip
