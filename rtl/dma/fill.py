"""Write the padding of a LOAD."""

from enum import IntEnum

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from gossamer.rtl.dma.parameters import CHIP_BITS, COUNT_BITS, MemoryPort


class Part(IntEnum):
    """What of the padding is being written."""

    TOP = 0
    LEFT = 1
    RIGHT = 2
    BOTTOM = 3


class FillWalker(wiring.Component):
    """Give the addresses of a LOAD's padding: lines above, both ends of every data line, lines below.

    Members
    -------
    load: begin; all that follows holds from this cycle on until the end.
    first, pitch: address of the first padded line, and bytes from line to line. line_bytes: a whole line.
    right_offset: where the right end of a line begins. data_bytes: ny * pitch.
    ny, top, bottom, left, right: the instruction's counts; any may be 0.
    valid, ready: handshake of one beat of padding; `valid` is not withdrawn. address, size: where, and its bytes.
    last: there is no more behind this one.

    Protocol
    --------
    A line or an end of a line starts with a beat of its own, however short; parts without bytes take no time.

    Latency and throughput
    ----------------------
    `load` in cycle t, first beat in t + 1; one beat per cycle:
    (top + bottom) * ceil(line_bytes / B) + ny * (ceil(left / B) + ceil(right / B)), B bytes per beat.

    Parameters
    ----------
    port: sizes of the memory port.
    """

    def __init__(self, port: MemoryPort) -> None:
        self.port = port
        super().__init__(
            {
                "load": In(1),
                "first": In(CHIP_BITS),
                "pitch": In(CHIP_BITS),
                "line_bytes": In(CHIP_BITS),
                "right_offset": In(CHIP_BITS),
                "data_bytes": In(CHIP_BITS),
                "ny": In(COUNT_BITS),
                "top": In(8),
                "bottom": In(8),
                "left": In(16),
                "right": In(16),
                "valid": Out(1),
                "ready": In(1),
                "address": Out(CHIP_BITS),
                "size": Out(bits_for(port.beat_bytes)),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the walk over the bytes of a part; `_choose` says what the next part is."""
        m = Module()
        width = self.port.beat_bytes
        remaining = Signal(CHIP_BITS)
        part = Signal(2)
        then = Signal(2)
        more = Signal()
        line = Signal(CHIP_BITS)
        count = Signal(COUNT_BITS)
        start = Signal(CHIP_BITS)
        skip = Signal(CHIP_BITS)
        then_count = Signal(COUNT_BITS)
        next_part = Signal()
        part_ends = Signal()
        self._choose(m, part, line, count, then, start, skip, then_count, more)
        m.d.comb += [
            part_ends.eq(remaining <= width),
            self.size.eq(Mux(part_ends, remaining, width)),
            self.last.eq(part_ends & ~more),
            next_part.eq(self.load | (self.valid & self.ready & part_ends)),
        ]
        with m.If(next_part):
            m.d.sync += [
                self.valid.eq(more),
                part.eq(then),
                line.eq(start + skip),
                count.eq(then_count),
                self.address.eq(start + Mux(then == Part.RIGHT, self.right_offset, skip)),
            ]
            with m.Switch(then):
                with m.Case(Part.LEFT):
                    m.d.sync += remaining.eq(self.left)
                with m.Case(Part.RIGHT):
                    m.d.sync += remaining.eq(self.right)
                with m.Default():
                    m.d.sync += remaining.eq(self.line_bytes)
        with m.Elif(self.valid & self.ready):
            m.d.sync += [self.address.eq(self.address + width), remaining.eq(remaining - width)]
        return m

    def _choose(self, m: Module, part: Signal, line: Signal, count: Signal, then: Signal, start: Signal,
                skip: Signal, then_count: Signal, more: Signal) -> None:  # fmt: skip
        """Add the choice of the next part that is not empty, its line, and the lines of its kind after that."""
        to_data = Signal()
        to_bottom = Signal()
        same_line = Signal()
        sides = Signal()
        first_side = Mux(self.left != 0, Part.LEFT, Part.RIGHT)
        m.d.comb += [
            sides.eq((self.ny != 0) & ((self.left != 0) | (self.right != 0))),
            start.eq(Mux(self.load, self.first, Mux(same_line, line, line + self.pitch))),
            then.eq(part),
            then_count.eq(count - 1),
            more.eq(1),
        ]
        with m.If(self.load):
            m.d.comb += [then.eq(Part.TOP), then_count.eq(self.top - 1), to_data.eq(self.top == 0)]
        with m.Elif((part == Part.LEFT) & (self.right != 0)):
            m.d.comb += [then.eq(Part.RIGHT), then_count.eq(count), same_line.eq(1)]
        with m.Elif(part == Part.TOP):
            m.d.comb += to_data.eq(count == 0)
        with m.Elif(part == Part.BOTTOM):
            m.d.comb += more.eq(count != 0)
        with m.Else():
            m.d.comb += [then.eq(first_side), to_bottom.eq(count == 0)]
        with m.If(to_data & sides):
            m.d.comb += [then.eq(first_side), then_count.eq(self.ny - 1)]
        with m.Elif(to_data | to_bottom):
            m.d.comb += [
                then.eq(Part.BOTTOM),
                then_count.eq(self.bottom - 1),
                more.eq(self.bottom != 0),
                skip.eq(Mux(to_data, self.data_bytes, 0)),
            ]
