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
    load: begin; the instruction's counts, `first` and `pitch` hold from three cycles before on until the end, the
        others from this cycle on.
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
        """Return the walk over the bytes of a part; `_choose` says what the next part is.

        Where a part ends is known a beat ahead, and the line after this one is kept beside it.
        """
        m = Module()
        width = self.port.beat_bytes
        remaining = Signal(CHIP_BITS)
        part_ends = Signal()
        next_part = Signal()
        then, more = self._choose(m, next_part)
        m.d.comb += [
            self.last.eq(part_ends & ~more),
            next_part.eq(self.load | (self.valid & self.ready & part_ends)),
        ]
        with m.If(next_part):
            m.d.sync += self.valid.eq(more)
            with m.Switch(then):
                for part, count in ((Part.LEFT, self.left), (Part.RIGHT, self.right), (None, self.line_bytes)):
                    with m.Default() if part is None else m.Case(part):
                        short = count <= width
                        m.d.sync += [
                            remaining.eq(count), part_ends.eq(short), self.size.eq(Mux(short, count, width))
                        ]  # fmt: skip
        with m.Elif(self.valid & self.ready):
            short = remaining <= 2 * width
            m.d.sync += [
                self.address.eq(self.address + width), remaining.eq(remaining - width), part_ends.eq(short),
                self.size.eq(Mux(short, remaining - width, width)),
            ]  # fmt: skip
        return m

    def _choose(self, m: Module, next_part: Signal) -> tuple[Signal, Signal]:
        """Add the choice of the next part that is not empty, its line, and the lines of its kind after that."""
        then, more = Signal(2), Signal()
        part = Signal(2)
        count = Signal(COUNT_BITS)
        no_count = Signal()
        then_count, then_none = Signal(COUNT_BITS), Signal()
        to_data, to_bottom, same_line, over_data = (Signal(name=n) for n in ("to_data", "to_bottom", "same_line",
                                                                             "over_data"))  # fmt: skip
        has = {side: Signal(name=f"has_{side}") for side in ("top", "bottom", "left", "right", "ny")}
        one = {side: Signal(name=f"one_{side}") for side in ("top", "bottom", "ny")}
        sides = Signal()
        m.d.sync += [flag.eq(getattr(self, side) != 0) for side, flag in has.items()]
        m.d.sync += [flag.eq(getattr(self, side) == 1) for side, flag in one.items()]
        m.d.comb += [
            sides.eq(has["ny"] & (has["left"] | has["right"])),
            then.eq(part),
            then_count.eq(count - 1),
            then_none.eq(count == 1),
            more.eq(1),
        ]
        first_side = Mux(has["left"], Part.LEFT, Part.RIGHT)
        side_first = Mux(sides, first_side, Part.BOTTOM)
        load_then = Signal(2)
        load_count = Signal(COUNT_BITS)
        load_none, load_more = Signal(), Signal()
        m.d.sync += [
            load_then.eq(Mux(has["top"], Part.TOP, side_first)),
            load_count.eq(Mux(has["top"], self.top, Mux(sides, self.ny, self.bottom)) - 1),
            load_none.eq(Mux(has["top"], one["top"], Mux(sides, one["ny"], one["bottom"]))),
            load_more.eq(has["top"] | sides | has["bottom"]),
        ]
        with m.If((part == Part.LEFT) & has["right"]):
            m.d.comb += [then.eq(Part.RIGHT), then_count.eq(count), then_none.eq(no_count), same_line.eq(1)]
        with m.Elif(part == Part.TOP):
            m.d.comb += to_data.eq(no_count)
        with m.Elif(part == Part.BOTTOM):
            m.d.comb += more.eq(~no_count)
        with m.Else():
            m.d.comb += [then.eq(first_side), to_bottom.eq(no_count)]
        with m.If(self.load):
            m.d.comb += [
                then.eq(load_then), then_count.eq(load_count), then_none.eq(load_none), more.eq(load_more),
                over_data.eq(load_then == Part.BOTTOM), same_line.eq(0),
            ]  # fmt: skip
        with m.Elif(to_data & sides):
            m.d.comb += [then.eq(first_side), then_count.eq(self.ny - 1), then_none.eq(one["ny"])]
        with m.Elif(to_data | to_bottom):
            m.d.comb += [
                then.eq(Part.BOTTOM), then_count.eq(self.bottom - 1), then_none.eq(one["bottom"]),
                more.eq(has["bottom"]), over_data.eq(to_data),
            ]  # fmt: skip
        with m.If(next_part):
            m.d.sync += [part.eq(then), count.eq(then_count), no_count.eq(then_none)]
        self._lines(m, next_part, then, same_line, over_data)
        return then, more

    def _lines(self, m: Module, next_part: Signal, then: Signal, same_line: Signal, over_data: Signal) -> None:
        """Add the addresses: of the part, of its line, of the line after that, each by one addition."""
        line, following, second = (Signal(CHIP_BITS, name=name) for name in ("line", "following", "second"))
        jump = Signal(CHIP_BITS)
        start = Mux(self.load, self.first, Mux(same_line, line, following))
        distance = Mux(over_data, self.data_bytes, 0)
        m.d.sync += [second.eq(self.first + self.pitch), jump.eq(self.data_bytes + self.pitch)]
        with m.If(next_part):
            m.d.sync += self.address.eq(start + Mux(then == Part.RIGHT, self.right_offset, distance))
            with m.If(~same_line):
                m.d.sync += line.eq(start + distance)
            with m.If(self.load):
                m.d.sync += following.eq(second + distance)
            with m.Elif(~same_line):
                m.d.sync += following.eq(following + Mux(over_data, jump, self.pitch))
