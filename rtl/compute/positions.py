"""Generate the walk over output positions: every lane steps through its own, `lanes` positions at a time."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.compute.fields import ADDRESS_BITS, FIELD_BITS
from gossamer.rtl.constant_arithmetic import times_small
from gossamer.rtl.copies import Copies

COUNT_BITS = FIELD_BITS["nx"]

SETUP_CYCLES = 3
"""From stable fields to the first `restart`: table; products; sums."""


class LaneWalk(wiring.Component):
    """Walk over the positions of one lane: column, row and address offset, without a division.

    Members
    -------
    x0, y0: column and row of the lane's first position. a_x, a_y, ny: fields of the instruction.
    dx, dy: columns and rows from one position of the lane to its next, dx < nx. dy_wrap: dy + 1.
    back: dx - nx, ahead: dx + back, both signed.
    step: a_x * dx + a_y * dy. step_wrap: the same after a wrap into the next row.
    limit, limit_wrap: ny - dy, signed, and one less: rows from there on have no position of the lane behind them.
    restart: go to the first position. advance: go on.
    base: address of position 0.
    first_offset: that of the first position, a_x * x0 + a_y * y0.
    address: base + offset, one cycle later. present: the position exists.

    Protocol
    --------
    x0 and y0 are stable from two cycles before the first `restart` on, what the walk goes on with from it on. Whether
    a position is the last of its row is known with it: that of the next is worked out while it is used.

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
                "ny": In(COUNT_BITS), "dx": In(small), "dy": In(small), "dy_wrap": In(small + 1),
                "back": In(COUNT_BITS + 1), "ahead": In(COUNT_BITS + 2), "step": In(ADDRESS_BITS),
                "step_wrap": In(ADDRESS_BITS), "limit": In(COUNT_BITS + 1), "limit_wrap": In(COUNT_BITS + 1),
                "restart": In(1), "advance": In(1), "base": In(ADDRESS_BITS), "first_offset": Out(ADDRESS_BITS),
                "address": Out(ADDRESS_BITS), "present": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        x = Signal(COUNT_BITS, reset_less=True)
        y = Signal(COUNT_BITS + 1, reset_less=True)
        across, down, offset, address, first_offset = (
            Signal(ADDRESS_BITS, reset_less=True, name=name)
            for name in ("across", "down", "offset", "walked", "start_offset")
        )
        wraps, first_wraps, present, first_present = (
            Signal(reset_less=True, name=name) for name in ("wraps", "first_wraps", "exists", "first_exists")
        )
        first_end, next_end = Signal(COUNT_BITS + 2), Signal(COUNT_BITS + 3)
        next_wraps, bound = Signal(), Signal(COUNT_BITS + 1, reset_less=True)  # `bound`: `limit` or `limit_wrap`
        back, ahead = self.back.as_signed(), self.ahead.as_signed()
        m.d.comb += [
            first_end.eq(self.x0 + back),
            next_end.eq(x + Mux(wraps, back << 1, ahead)),
            next_wraps.eq(Mux(self.restart, first_wraps, Mux(self.advance, ~next_end[-1], wraps))),
            self.first_offset.eq(first_offset),
            self.present.eq(present),
            self.address.eq(address),
        ]
        m.d.sync += [
            across.eq(times_small(self.a_x, self.x0)), down.eq(times_small(self.a_y, self.y0)),
            first_offset.eq(across + down), first_wraps.eq(~first_end[-1]), first_present.eq(self.y0 < self.ny),
            address.eq(self.base + offset), wraps.eq(next_wraps),
            bound.eq(Mux(next_wraps, self.limit_wrap, self.limit)),
        ]  # fmt: skip
        with m.If(self.restart):
            m.d.sync += [
                x.eq(self.x0), y.eq(self.y0), offset.eq(first_offset), present.eq(first_present),
            ]  # fmt: skip
        with m.Elif(self.advance):
            m.d.sync += [
                x.eq(x + Mux(wraps, back, self.dx)),
                y.eq(y + Mux(wraps, self.dy_wrap, self.dy)),
                offset.eq(offset + Mux(wraps, self.step_wrap, self.step)),
                present.eq(present & (y < bound.as_signed())),
            ]
        return m


class PositionWalk(wiring.Component):
    """Walk over the positions of a pass in all lanes at once.

    Lane l starts at position l; a further walker starts at position `lanes`, so that it is present as long as there is
    another step to come, and its first offset is the step from one position of a lane to the next. Rows shorter than
    `lanes` need no division: their first positions come from a table.

    Members
    -------
    ny, nx, a_y, a_x: fields of the instruction. wide: nx is 2**lanes.bit_length() or more. base: address of position 0
        in this pass.
    restart, advance: see `LaneWalk`.
    present: one bit per lane. more: there are positions after this step. addresses: [lane], one cycle later.

    Protocol
    --------
    Fields are stable from `SETUP_CYCLES` before the first `restart` until the last step.

    Latency and throughput
    ----------------------
    One step per cycle, the first in the cycle after `restart`.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(
            {
                "ny": In(COUNT_BITS), "nx": In(COUNT_BITS), "wide": In(1), "a_y": In(ADDRESS_BITS),
                "a_x": In(FIELD_BITS["a_x"]), "base": In(ADDRESS_BITS), "restart": In(1), "advance": In(1),
                "present": Out(lanes), "more": Out(1), "addresses": Out(lanes * ADDRESS_BITS),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        same = ("a_x", "a_y", "ny", "restart", "advance", "base")
        follow = ("dx", "dy", "dy_wrap", "back", "ahead", "step", "step_wrap", "limit", "limit_wrap")
        walks = Copies(LaneWalk(self.lanes), self.lanes + 1, shared=(*same, *follow))
        m.submodules.walks = walks
        m.d.comb += [getattr(walks, name).eq(getattr(self, name)) for name in same]
        m.d.comb += [
            Cat(self.present, self.more).eq(walks.present),
            self.addresses.eq(walks.address),
        ]
        dx, dy = self._starts(m, walks)
        step = walks.first_offset[-ADDRESS_BITS:]
        row_bytes, turn, step_wrap = (
            Signal(ADDRESS_BITS, reset_less=True, name=name) for name in ("row_bytes", "turn", "step_wrap")
        )
        back, ahead = (Signal(len(getattr(walks, name)), reset_less=True, name=name) for name in ("back", "ahead"))
        dy_wrap = Signal(len(walks.dy_wrap), reset_less=True)
        limit, limit_wrap = (Signal(COUNT_BITS + 1, reset_less=True, name=name) for name in ("limit", "limit_wrap"))
        m.d.sync += [
            row_bytes.eq(self.nx * self.a_x),
            turn.eq(self.a_y - row_bytes),
            step_wrap.eq(step + turn),
            back.eq(dx - self.nx),
            ahead.eq((dx << 1) - self.nx),
            dy_wrap.eq(dy + 1),
            limit.eq(self.ny - dy),
            limit_wrap.eq(self.ny - dy_wrap),
        ]
        m.d.comb += [
            walks.dx.eq(dx), walks.dy.eq(dy), walks.dy_wrap.eq(dy_wrap), walks.back.eq(back), walks.ahead.eq(ahead),
            walks.step.eq(step), walks.step_wrap.eq(step_wrap), walks.limit.eq(limit), walks.limit_wrap.eq(limit_wrap),
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

        with m.Switch(Cat(self.nx[:bits], self.wide)):
            for width in range(1, self.lanes + 1):
                with m.Case(width):
                    m.d.sync += table(width)
            with m.Default():
                m.d.sync += table(count)
        m.d.comb += [walks.x0.eq(columns), walks.y0.eq(rows)]
        return columns[-bits:], rows[-bits:]
