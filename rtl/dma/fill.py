"""Write the padding of a LOAD."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.dma.parameters import CHIP_BITS, COUNT_BITS, MemoryPort

FILL_CYCLES = 3
"""From `load` to the first beat."""

_FEW_BITS = 4
"""Bits of a count of lines that are compared when it is used; the others before."""


class FillWalker(wiring.Component):
    """Give the addresses of a LOAD's padding: lines above, both ends of every data line, lines below.

    Members
    -------
    load: begin; the instruction's counts, `first` and `pitch` hold from three cycles before on until the end,
        `right_offset` and `line_bytes` from the cycle before on.
    first, pitch: address of the first padded line, and bytes from line to line. line_bytes: a whole line.
    right_offset: where the right end of a line begins. data_bytes: ny * pitch, in the cycle of `load`.
    ny, top, bottom, left, right: the instruction's counts; any may be 0.
    valid, ready: handshake of one beat of padding; `valid` is not withdrawn, and nothing moves while `ready` is low.
    address, size_less_one: where, and its bytes.
    last: there is no more behind this one.

    Protocol
    --------
    A line or an end of a line starts with a beat of its own, however short; parts without bytes take no time.

    Latency and throughput
    ----------------------
    `load` in cycle t, first beat in t + FILL_CYCLES; one beat per cycle:
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
                "size_less_one": Out(self.port.beat_shift),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return three stages: which part is next, its line and its beats, and one beat after the other."""
        m = Module()
        width, shift = self.port.beat_bytes, self.port.beat_shift
        part = _Part(shift)
        takes = Signal()
        begins = Signal(init=1)  # a beat of another part is next
        self._locate(m, part, takes)
        left = Signal.like(part.more)
        one_more, is_last = Signal(), Signal()
        end = Signal(shift)
        start = Mux(begins, part.line, self.address) + Mux(begins, Mux(part.is_right, self.right_offset, 0), width)
        size = Mux(Mux(begins, part.no_more, one_more), Mux(begins, part.end, end), width - 1)
        m.d.comb += takes.eq(begins & self.ready)
        with m.If(self.ready):
            m.d.sync += [
                self.valid.eq(~begins | part.valid), self.address.eq(start), self.size_less_one.eq(size),
                left.eq(Mux(begins, part.more, left - 1)), begins.eq(Mux(begins, ~part.valid | part.no_more, one_more)),
                one_more.eq(Mux(begins, part.one_more, left == 2)),
                self.last.eq(Mux(begins, part.no_more & part.last, one_more & is_last)),
            ]  # fmt: skip
            with m.If(begins):
                m.d.sync += [is_last.eq(part.last), end.eq(part.end)]
        return m

    def _locate(self, m: Module, part: "_Part", moves: Signal) -> None:
        """Add the stage that knows the line of the next part, and its beats."""
        shift = self.port.beat_shift
        choice = self._choose(m, moves)
        data, jump = Signal(CHIP_BITS), Signal(CHIP_BITS)
        m.d.sync += jump.eq(data + self.pitch)
        with m.If(self.load):
            m.d.sync += data.eq(self.data_bytes)
        spans = []
        for name in ("line_bytes", "left", "right"):
            less_one, none, one = Signal(CHIP_BITS, name=f"{name}_less_one"), Signal(name=f"{name}_short"), Signal()
            m.d.sync += [less_one.eq(getattr(self, name) - 1), none.eq(less_one[shift:] == 0),
                         one.eq(less_one[shift:] == 1)]  # fmt: skip
            spans.append(Cat(less_one, none, one))
        span = Mux(choice.left, spans[1], Mux(choice.right, spans[2], spans[0]))
        # The first part is in the first line, or behind the data if that is the first line below it.
        step = Mux(choice.begins, Mux(choice.jumps, data, 0),
                   Mux(choice.jumps, jump, Mux(choice.stays, 0, self.pitch)))  # fmt: skip
        with m.If(moves):
            m.d.sync += [
                part.valid.eq(choice.valid), part.last.eq(choice.last), part.is_right.eq(choice.right),
                part.line.eq(Mux(choice.begins, self.first, part.line) + step),
                Cat(part.end, part.more, part.no_more, part.one_more).eq(span),
            ]  # fmt: skip

    def _choose(self, m: Module, moves: Signal) -> "_Choice":
        """Add the stage that goes from part to part that is not empty, and counts the lines of its kind."""
        choice, first = _Choice("choice"), _Choice("first")
        has = {side: Signal(name=f"has_{side}") for side in ("top", "bottom", "left", "right", "ny")}
        one = {side: Signal(name=f"one_{side}") for side in ("top", "bottom", "ny")}
        counts = {side: Signal(COUNT_BITS, name=f"{side}_less_one") for side in ("top", "bottom", "ny")}
        few = {side: Signal(name=f"few_{side}") for side in counts}
        sides, both = Signal(name="sides"), Signal(name="both")
        m.d.sync += [flag.eq(getattr(self, side) != 0) for side, flag in has.items()]
        m.d.sync += [flag.eq(getattr(self, side) == 1) for side, flag in one.items()]
        m.d.sync += [left.eq(getattr(self, side) - 1) for side, left in counts.items()]
        m.d.sync += [flag.eq(counts[side][_FEW_BITS:] == 0) for side, flag in few.items()]
        m.d.sync += [sides.eq(has["ny"] & (has["left"] | has["right"])), both.eq(has["left"] & has["right"])]
        to_side = sides & ~has["top"]
        m.d.sync += [
            first.valid.eq(has["top"] | sides | has["bottom"]), first.begins.eq(1), first.stays.eq(0),
            first.top.eq(has["top"]), first.left.eq(to_side & has["left"]), first.right.eq(to_side & ~has["left"]),
            first.bottom.eq(~has["top"] & ~sides), first.jumps.eq(~has["top"] & ~sides),
            first.to_right.eq(to_side & both),
            first.count.eq(Mux(has["top"], counts["top"], Mux(sides, counts["ny"], counts["bottom"]))),
            first.no_count.eq(Mux(has["top"], one["top"], Mux(sides, one["ny"], one["bottom"]))),
            first.few.eq(Mux(has["top"], few["top"], Mux(sides, few["ny"], few["bottom"]))),
        ]  # fmt: skip
        to_sides, to_bottom, to_side_line = (Signal(name=f"to_{to}") for to in ("sides", "bottom", "side_line"))
        ends = choice.no_count
        m.d.comb += [
            to_sides.eq(choice.top & sides & ends),
            to_bottom.eq(ends & ~choice.to_right & ~(choice.top & sides)),
            to_side_line.eq(to_sides | ((choice.left | choice.right) & ~ends & ~choice.to_right)),
            choice.last.eq(to_bottom & (choice.bottom | ~has["bottom"])),
        ]
        with m.If(self.load):
            m.d.sync += choice.registers.eq(first.registers)
        with m.Elif(moves):
            m.d.sync += [
                choice.valid.eq(choice.valid & ~choice.last), choice.begins.eq(0), choice.stays.eq(choice.to_right),
                choice.jumps.eq(to_bottom & choice.top),
                choice.top.eq(choice.top & ~ends), choice.bottom.eq(choice.bottom | to_bottom),
                choice.left.eq(to_side_line & has["left"]), choice.to_right.eq(to_side_line & both),
                choice.right.eq(choice.to_right | (to_side_line & ~has["left"])),
            ]  # fmt: skip
            with m.If(ends & ~choice.to_right):
                m.d.sync += [
                    choice.count.eq(Mux(to_sides, counts["ny"], counts["bottom"])),
                    choice.no_count.eq(Mux(to_sides, one["ny"], one["bottom"])),
                    choice.few.eq(Mux(to_sides, few["ny"], few["bottom"])),
                ]
            with m.Elif(~choice.to_right):
                m.d.sync += [
                    choice.count.eq(choice.count - 1), choice.few.eq(choice.count[_FEW_BITS:] == 0),
                    ends.eq(choice.few & (choice.count[:_FEW_BITS] == 1)),
                ]  # fmt: skip
        return choice


class _Choice:
    """Registers of the part behind the next one; `last` is worked out: there is none behind it.

    top, left, right, bottom: what it is. to_right: the right end of its line follows. begins, stays, jumps: it is the
    first, in the line of the one before, behind the data. count, no_count: lines of its kind behind it; there is none.
    few: the count's bits from _FEW_BITS on are zero, known a line late, long before the count reaches 1.
    """

    def __init__(self, name: str) -> None:
        self.top, self.left, self.right, self.bottom, self.to_right = flags = [
            Signal(name=f"{name}_{part}") for part in ("top", "left", "right", "bottom", "to_right")
        ]
        self.valid, self.begins, self.stays, self.jumps = how = [
            Signal(name=f"{name}_{flag}") for flag in ("valid", "begins", "stays", "jumps")
        ]
        self.count, self.no_count = Signal(COUNT_BITS, name=f"{name}_count"), Signal(name=f"{name}_no_count")
        self.few = Signal(name=f"{name}_few")
        self.registers = Cat(*flags, *how, self.count, self.no_count, self.few)
        self.last = Signal(name=f"{name}_last")


class _Part:
    """Registers of the next part: its line, its last beat's size less one, and how many more beats it has."""

    def __init__(self, shift: int) -> None:
        self.line = Signal(CHIP_BITS, name="next_line")
        self.more = Signal(CHIP_BITS - shift, name="next_more")
        self.end = Signal(shift, name="next_end")
        self.valid, self.no_more, self.one_more, self.is_right, self.last = (
            Signal(name=f"next_{name}") for name in ("valid", "no_more", "one_more", "is_right", "last")
        )
