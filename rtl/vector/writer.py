"""Write the results of a VECTOR instruction."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.copies import Copies
from gossamer.rtl.vector.reader import BLOCK_PORTS
from gossamer.rtl.vector.walk import ADDRESS_BITS, STRIDE_BITS, BlockLoops, BlockPointer, row_bits


class BeatWriter(wiring.Component):
    """Write one beat after the other of a block.

    Members
    -------
    load: take the instruction's fields, which are held until the last write. single: beats are of one word; held too.
    capture: the next beat's data is there in the next cycle.
    d_valid, d_address, d_words: the write. finished: it is the block's last one.

    Latency and throughput
    ----------------------
    A beat is written one cycle after its capture.
    """

    def __init__(self, *, group_size: int, vector_lanes: int, rows: int) -> None:
        self.group_size, self.lanes, self.rows = group_size, vector_lanes, rows
        super().__init__(
            {
                "load": In(1), "single": In(1), **BLOCK_PORTS, "d": In(ADDRESS_BITS), "d_y": In(ADDRESS_BITS),
                "d_x": In(STRIDE_BITS), "capture": In(1), "d_valid": Out(1),
                "d_address": Out(ADDRESS_BITS), "d_words": Out(range(vector_lanes // group_size + 1)),
                "finished": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the walk, and the registers of the write."""
        m = Module()
        m.submodules.loops = loops = Copies(BlockLoops(self.lanes // self.group_size, row_bits(self.rows)))
        m.submodules.pointer = pointer = Copies(BlockPointer())
        begins = Signal()
        advance = Signal()
        m.d.sync += begins.eq(self.load)
        m.d.comb += [
            advance.eq(begins | self.capture), loops.load.eq(self.load), loops.advance.eq(advance),
            loops.single.eq(self.single), loops.again.eq(0),
            loops.ny.eq(self.ny), loops.nx.eq(self.nx), loops.nc.eq(self.nc),
            pointer.load.eq(self.load), pointer.base.eq(self.d), pointer.advance.eq(advance), pointer.again.eq(0),
            pointer.last_beat.eq(loops.last_beat), pointer.last_column.eq(loops.last_column),
            pointer.step.eq(Mux(self.single, self.group_size, self.lanes)), pointer.column_stride.eq(self.d_x),
            pointer.row_stride.eq(self.d_y),
        ]  # fmt: skip
        m.d.sync += [
            self.d_valid.eq(self.capture), self.d_address.eq(pointer.address), self.d_words.eq(loops.words),
            self.finished.eq(self.capture & loops.last),
        ]  # fmt: skip
        return m
