"""Generate the walk over output positions: every lane steps through its own, `lanes` positions at a time."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.compute.fields import ADDRESS_BITS, FIELD_BITS
from gossamer.rtl.constant_arithmetic import times_small
from gossamer.rtl.copies import Copies

COUNT_BITS = FIELD_BITS["nx"]


class LaneWalk(wiring.Component):
    """Walk over the positions of one lane: column, row and address offset, without a division.

    Members
    -------
    x0, y0: column and row of the lane's first position. a_x, a_y, ny: fields of the instruction.
    dx, dy: columns and rows from one position of the lane to its next, dx < nx. back: dx - nx, signed.
    step: a_x * dx + a_y * dy. step_wrap: the same after a wrap into the next row.
    limit, limit_wrap: ny - dy, signed, and one less: rows from there on have no position of the lane behind them.
    prepare: go to the first position, x0 and y0 have changed. restart: go to the first position. advance: go on.
    base: address of position 0.
    address: base + offset, one cycle later. present: the position exists.

    Protocol
    --------
    x0, y0 and fields are stable from the cycle of `prepare` on, what follows from them from the cycle after.

    Latency and throughput
    ----------------------
    One position per cycle; the address comes one cycle after `present`.
    """

    def __init__(self, lanes: int) -> None:
        self.small = lanes.bit_length()
        small = self.small
        super().__init__(
            {
                "x0": In(small), "y0": In(small), "a_x": In(FIELD_BITS["a_x"]), "a_y": In(ADDRESS_BITS),
                "ny": In(COUNT_BITS), "dx": In(small), "dy": In(small), "back": In(COUNT_BITS + 1),
                "step": In(ADDRESS_BITS), "step_wrap": In(ADDRESS_BITS), "limit": In(COUNT_BITS + 1),
                "limit_wrap": In(COUNT_BITS + 1), "prepare": In(1), "restart": In(1),
                "advance": In(1), "base": In(ADDRESS_BITS), "address": Out(ADDRESS_BITS), "present": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x = Signal(COUNT_BITS, reset_less=True)
        y = Signal(COUNT_BITS + 1, reset_less=True)
        offset = Signal(ADDRESS_BITS, reset_less=True)
        first_offset = Signal(ADDRESS_BITS, reset_less=True)
        start = Signal(ADDRESS_BITS)
        address = Signal(ADDRESS_BITS, reset_less=True)
        wrapped = Signal(COUNT_BITS + 2)
        present = Signal(reset_less=True)
        first_present = Signal(reset_less=True)
        begins = Signal()
        m.d.comb += [
            start.eq(times_small(self.a_x, self.x0) + times_small(self.a_y, self.y0)),
            wrapped.eq(x + self.back.as_signed()),
            begins.eq(self.y0 < self.ny),
            self.present.eq(present),
            self.address.eq(address),
        ]
        m.d.sync += [first_offset.eq(start), first_present.eq(begins), address.eq(self.base + offset)]
        wraps = ~wrapped[-1]
        with m.If(self.prepare | self.restart):
            m.d.sync += [
                x.eq(self.x0), y.eq(self.y0), offset.eq(Mux(self.prepare, start, first_offset)),
                present.eq(Mux(self.prepare, begins, first_present)),
            ]  # fmt: skip
        with m.Elif(self.advance):
            m.d.sync += [
                x.eq(Mux(wraps, wrapped, x + self.dx)),
                y.eq(y + self.dy + wraps),
                offset.eq(offset + Mux(wraps, self.step_wrap, self.step)),
                present.eq(present & Mux(wraps, y < self.limit_wrap.as_signed(), y < self.limit.as_signed())),
            ]
        return m


class PositionWalk(wiring.Component):
    """Walk over the positions of a pass in all lanes at once.

    Lane l starts at position l; a further walker starts at position `lanes`, so that it is present as long as there is
    another step to come. Rows shorter than `lanes` need no division: their first positions come from a table.

    Members
    -------
    ny, nx, a_y, a_x: fields of the instruction. base: address of position 0 in this pass.
    prepare, restart, advance: see `LaneWalk`.
    present: one bit per lane. more: there are positions after this step. addresses: [lane], one cycle later.

    Protocol
    --------
    Fields are stable from the cycle before `prepare` until the last step.

    Latency and throughput
    ----------------------
    One step per cycle, the first in the cycle after `prepare`.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(
            {
                "ny": In(COUNT_BITS), "nx": In(COUNT_BITS), "a_y": In(ADDRESS_BITS), "a_x": In(FIELD_BITS["a_x"]),
                "base": In(ADDRESS_BITS), "prepare": In(1), "restart": In(1), "advance": In(1),
                "present": Out(lanes), "more": Out(1), "addresses": Out(lanes * ADDRESS_BITS),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        same = ("a_x", "a_y", "ny", "prepare", "restart", "advance", "base")
        follow = ("dx", "dy", "back", "step", "step_wrap", "limit", "limit_wrap")
        walks = Copies(LaneWalk(self.lanes), self.lanes + 1, shared=(*same, *follow))
        m.submodules.walks = walks
        m.d.comb += [getattr(walks, name).eq(getattr(self, name)) for name in same]
        m.d.comb += [
            Cat(self.present, self.more).eq(walks.present),
            self.addresses.eq(walks.address),
        ]
        dx, dy = self._starts(m, walks)
        row_bytes = Signal(ADDRESS_BITS, reset_less=True)
        step, step_wrap = (Signal(ADDRESS_BITS, reset_less=True, name=name) for name in ("step", "step_wrap"))
        back = Signal(COUNT_BITS + 1, reset_less=True)
        limit, limit_wrap = (Signal(COUNT_BITS + 1, reset_less=True, name=name) for name in ("limit", "limit_wrap"))
        moved = times_small(self.a_x, dx)
        m.d.sync += [
            row_bytes.eq(self.nx * self.a_x),
            step.eq(moved + times_small(self.a_y, dy)),
            step_wrap.eq(moved + times_small(self.a_y, dy + 1) - row_bytes),
            back.eq(dx - self.nx),
            limit.eq(self.ny - dy),
            limit_wrap.eq(self.ny - dy - 1),
        ]
        m.d.comb += [
            walks.dx.eq(dx), walks.dy.eq(dy), walks.back.eq(back), walks.step.eq(step), walks.step_wrap.eq(step_wrap),
            walks.limit.eq(limit), walks.limit_wrap.eq(limit_wrap),
        ]  # fmt: skip
        return m

    def _starts(self, m: Module, walks: Copies) -> tuple[Signal, Signal]:
        """Look up the first column and row of every lane, and return those of position `lanes`."""
        count, bits = self.lanes + 1, self.lanes.bit_length()
        columns, rows = (Signal(count * bits, reset_less=True, name=name) for name in ("columns", "rows"))

        def table(width: int) -> list[object]:
            x0 = sum(lane % width << lane * bits for lane in range(count))
            y0 = sum(lane // width << lane * bits for lane in range(count))
            return [columns.eq(Const(x0, count * bits)), rows.eq(Const(y0, count * bits))]

        with m.Switch(self.nx):
            for width in range(1, self.lanes + 1):
                with m.Case(width):
                    m.d.sync += table(width)
            with m.Default():
                m.d.sync += table(count)
        m.d.comb += [walks.x0.eq(columns), walks.y0.eq(rows)]
        return columns[-bits:], rows[-bits:]
