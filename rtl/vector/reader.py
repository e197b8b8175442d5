"""Issue the reads of a VECTOR instruction, beat by beat, and say what each of them is for."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gossamer.rtl.copies import Copies
from gossamer.rtl.vector.lane import LANE_LATENCY
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
    load: take the instruction's fields, which are held until the last read. go: the first read may be issued in the
        next cycle; not before the second cycle after load. requantize, adds, two_sources: held from the second cycle
        after load on.
    requantize: read the accumulator; two_sources: read A, then B. Otherwise read A, over its window. adds: read the
        accumulator, and B `LANE_LATENCY` cycles later; `read_valid` does not tell of that.
    read_valid, read_address: reads of the activation buffer, whole words. b_byte: byte of B's word that a
        single-channel B starts at.
    acc_valid, acc_entry, acc_channel: reads of the accumulator.
    step, first, second, last: in this cycle an operand is read; it begins a window; it is of the second source; a
        result follows.
    row: number of the beat within its column: row of the lanes' constants.

    Latency and throughput
    ----------------------
    One read per cycle, beats without a pause: a beat takes a cycle, two with two sources, or one per tap of its window.
    """

    def __init__(self, *, group_size: int, vector_lanes: int, rows: int) -> None:
        self.group_size, self.lanes = group_size, vector_lanes
        self.row_bits = row_bits(rows)
        super().__init__(
            {
                "load": In(1), "go": In(1), "requantize": In(1), "adds": In(1), "two_sources": In(1),
                **BLOCK_PORTS, **SOURCE_PORTS, "read_valid": Out(1), "read_address": Out(ADDRESS_BITS),
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
        # Loops and pointers are a beat ahead: a beat is taken from them when it begins, the first after they began.
        loading = Signal(2)
        take = Signal()
        m.d.sync += loading.eq(Cat(self.load, loading))
        m.d.comb += [
            loops.load.eq(self.load), loops.advance.eq(take), loops.single.eq(0), loops.again.eq(0),
            loops.ny.eq(self.ny), loops.nx.eq(self.nx), loops.nc.eq(self.nc),
        ]  # fmt: skip
        for pointer, base, column_stride, row_stride, step in (
            (a, self.a, self.a_x, self.a_y, self.lanes),
            (b, self.b, self.b_x, self.b_y, Mux(self.b_c, 0, self.lanes)),
        ):
            m.d.comb += [
                pointer.load.eq(self.load), pointer.base.eq(base), pointer.advance.eq(take), pointer.again.eq(0),
                pointer.last_beat.eq(loops.last_beat), pointer.last_column.eq(loops.last_column),
                pointer.step.eq(step), pointer.column_stride.eq(column_stride), pointer.row_stride.eq(row_stride),
            ]  # fmt: skip
        m.d.comb += [
            window.load.eq(take), window.base.eq(a.address), window.advance.eq(self.step), window.kh.eq(self.kh),
            window.kw.eq(self.kw), window.two.eq(self.two_sources), window.row_stride.eq(self.a_ky),
            window.column_stride.eq(self.a_kx),
        ]  # fmt: skip
        at = (self.group_size - 1).bit_length()
        second = Signal(ADDRESS_BITS)
        with m.If(take):
            m.d.sync += [second.eq(b.address), self.row.eq(loops.beat)]
        late = self._late(m, second)
        m.d.comb += [
            self.read_address[at:].eq(Mux(self.adds, late, Mux(self.second, second, window.address))[at:]),
            self.b_byte.eq(Mux(self.adds, late, second)[:at]),
            self.first.eq(window.first | self.two_sources),
        ]  # fmt: skip
        self._turns(m, loops, window, loading, take)
        return m

    def _late(self, m: Module, value: Value) -> Value:
        """Return a value LANE_LATENCY cycles later: from a memory that is written where it is read."""
        m.submodules.late = late = Memory(shape=len(value), depth=LANE_LATENCY - 1, init=[])
        write, read = late.write_port(), late.read_port(transparent_for=())
        place = Signal(range(LANE_LATENCY - 1))
        m.d.sync += place.eq(Mux(place == LANE_LATENCY - 2, 0, place + 1))
        m.d.comb += [
            write.en.eq(1), write.addr.eq(place), write.data.eq(value), read.en.eq(1), read.addr.eq(place),
        ]  # fmt: skip
        return read.data

    def _turns(self, m: Module, loops: Copies, window: Copies, loading: Signal, take: Signal) -> None:
        """Decide whether the next cycle reads, which source, and whether that completes a beat, which takes the next.

        Two sources are a window of two taps, of which B has the second. Accumulator entries follow each other as
        positions do.
        """
        waiting = Signal()
        last_beat = Signal()
        column_done = Signal()
        reads_next = Signal()
        m.d.comb += [
            reads_next.eq((waiting & self.go) | (self.step & ~(take & last_beat))), self.last.eq(take),
            self.acc_valid.eq(self.step & self.requantize), self.read_valid.eq(self.step & ~self.requantize),
        ]  # fmt: skip
        m.d.sync += [self.step.eq(reads_next), take.eq(self.load | loading[0] | (reads_next & window.next_last))]
        with m.If(self.load):
            m.d.sync += waiting.eq(1)
        with m.Elif(self.go):
            m.d.sync += waiting.eq(0)
        with m.If(self.step):
            m.d.sync += self.second.eq(self.two_sources)
        with m.If(take):
            m.d.sync += [
                self.second.eq(0), last_beat.eq(loops.last), column_done.eq(loops.last_beat),
                self.acc_channel.eq(self.acc_channel + self.lanes),
            ]  # fmt: skip
            with m.If(column_done):
                m.d.sync += [self.acc_channel.eq(0), self.acc_entry.eq(self.acc_entry + 1)]
            with m.If(loading[1]):
                m.d.sync += [self.acc_channel.eq(0), self.acc_entry.eq(self.a)]
