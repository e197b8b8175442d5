"""Issue the reads of a VECTOR instruction, beat by beat, and say what each of them is for."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.copies import Copies
from gossamer.rtl.vector.walk import (
    ADDRESS_BITS,
    ROW_COUNT_BITS,
    STRIDE_BITS,
    TAP_COUNT_BITS,
    WORD_COUNT_BITS,
    BlockLoops,
    BlockPointer,
    WindowWalk,
    row_bits,
)

ENTRY_ADDRESS_BITS = 20
"""Of an accumulator entry."""

CHANNEL_BITS = 10
"""Of an accumulator channel."""

BLOCK_PORTS = {"ny": In(ROW_COUNT_BITS), "nx": In(ROW_COUNT_BITS), "nc": In(WORD_COUNT_BITS)}
"""Counts of a block, as ports."""

SOURCE_PORTS = {
    "a": In(ADDRESS_BITS), "a_y": In(ADDRESS_BITS), "a_x": In(STRIDE_BITS), "a_ky": In(ADDRESS_BITS),
    "a_kx": In(STRIDE_BITS), "kh": In(TAP_COUNT_BITS), "kw": In(TAP_COUNT_BITS), "b": In(ADDRESS_BITS),
    "b_y": In(ADDRESS_BITS), "b_x": In(STRIDE_BITS), "b_c": In(1),
}  # fmt: skip
"""Instruction fields of the sources, as ports."""


class BeatReader(wiring.Component):
    """Read the operands of every beat of a block, in order.

    Members
    -------
    load: take the instruction's fields, which are held until the last read. go: reads may be issued; it stays high.
    requantize: read the accumulator; two_sources: read B as well. Otherwise read A, over its window.
    a_valid, a_address, b_valid, b_address: reads of the activation buffer, whole words. b_byte: byte of B's word that
        a single-channel B starts at.
    acc_valid, acc_entry, acc_channel: reads of the accumulator.
    step, first, second, last: in this cycle an operand is read; it begins a window; it is of the second source; a
        result follows.
    row: number of the beat within its column: row of the lanes' constants.

    Latency and throughput
    ----------------------
    REQUANTIZE: one beat per cycle. Others: one tap per cycle, and one cycle after each beat, in which the window moves
    on and the second source is read.
    """

    def __init__(self, *, group_size: int, vector_lanes: int, rows: int) -> None:
        self.group_size, self.lanes = group_size, vector_lanes
        self.row_bits = row_bits(rows)
        super().__init__(
            {
                "load": In(1), "go": In(1), "requantize": In(1), "two_sources": In(1), **BLOCK_PORTS, **SOURCE_PORTS,
                "a_valid": Out(1), "a_address": Out(ADDRESS_BITS), "b_valid": Out(1), "b_address": Out(ADDRESS_BITS),
                "b_byte": Out(range(group_size)), "acc_valid": Out(1), "acc_entry": Out(ENTRY_ADDRESS_BITS),
                "acc_channel": Out(CHANNEL_BITS), "step": Out(1), "first": Out(1), "second": Out(1), "last": Out(1),
                "row": Out(self.row_bits),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the walk, the pointers, and which cycle is for what."""
        m = Module()
        m.submodules.loops = loops = Copies(BlockLoops(self.lanes // self.group_size, self.row_bits))
        m.submodules.pointer_a = a = Copies(BlockPointer())
        m.submodules.pointer_b = b = Copies(BlockPointer())
        m.submodules.window = window = Copies(WindowWalk())
        active = Signal()
        gap = Signal()
        tap = Signal()
        beat_done = Signal()
        m.d.comb += [
            loops.load.eq(self.load), loops.advance.eq(beat_done), loops.single.eq(0), loops.again.eq(0),
            loops.ny.eq(self.ny), loops.nx.eq(self.nx), loops.nc.eq(self.nc), self.row.eq(loops.beat),
        ]  # fmt: skip
        for pointer, base, column_stride, row_stride, step in (
            (a, self.a, self.a_x, self.a_y, self.lanes),
            (b, self.b, self.b_x, self.b_y, Mux(self.b_c, 0, self.lanes)),
        ):
            m.d.comb += [
                pointer.load.eq(self.load), pointer.base.eq(base), pointer.advance.eq(beat_done),
                pointer.restart.eq(0), pointer.next_column.eq(loops.next_column), pointer.next_row.eq(loops.next_row),
                pointer.step.eq(step), pointer.column_stride.eq(column_stride), pointer.row_stride.eq(row_stride),
            ]  # fmt: skip
        m.d.comb += [
            window.load.eq(gap | ~self.go), window.base.eq(a.address), window.advance.eq(tap),
            window.kh.eq(self.kh), window.kw.eq(self.kw), window.row_stride.eq(self.a_ky),
            window.column_stride.eq(self.a_kx),
        ]  # fmt: skip
        with m.If(self.load):
            m.d.sync += active.eq(1)
        with m.Elif(beat_done & loops.last):
            m.d.sync += active.eq(0)
        self._turns(m, active, window.last, gap=gap, tap=tap, beat_done=beat_done)
        at = (self.group_size - 1).bit_length()
        second_address = Signal(ADDRESS_BITS)
        with m.If(tap):  # the pointer moves on before the second source is read
            m.d.sync += second_address.eq(b.address)
        m.d.comb += [
            self.a_valid.eq(tap), self.a_address.eq(window.address), self.b_address[at:].eq(second_address[at:]),
            self.b_byte.eq(second_address[:at]), self.first.eq(window.first | self.two_sources | self.requantize),
        ]  # fmt: skip
        self._accumulator(m, beat_done & self.requantize, loops)
        return m

    def _turns(
        self, m: Module, active: Signal, last_tap: Signal, *, gap: Signal, tap: Signal, beat_done: Signal
    ) -> None:
        """Decide what this cycle is for: a read of the accumulator, a tap, the second source, or nothing."""
        reading = Signal()
        m.d.comb += [
            reading.eq(active & self.go),
            self.acc_valid.eq(reading & self.requantize),
            tap.eq(reading & ~self.requantize & ~gap),
            beat_done.eq(self.acc_valid | (tap & last_tap)),
            self.second.eq(gap & self.two_sources),
            self.b_valid.eq(self.second),
            self.step.eq(self.acc_valid | tap | self.second),
            self.last.eq(self.acc_valid | Mux(self.two_sources, self.second, tap & last_tap)),
        ]
        m.d.sync += gap.eq(beat_done & ~self.requantize)

    def _accumulator(self, m: Module, advance: Signal, loops: Copies) -> None:
        """Count entries, since positions follow each other there, and channels."""
        with m.If(self.load):
            m.d.sync += [self.acc_entry.eq(self.a), self.acc_channel.eq(0)]
        with m.Elif(advance):
            m.d.sync += self.acc_channel.eq(self.acc_channel + self.lanes)
            with m.If(loops.next_column | loops.next_row):
                m.d.sync += [self.acc_channel.eq(0), self.acc_entry.eq(self.acc_entry + 1)]
