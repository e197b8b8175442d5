"""Spread the write bursts of STORE over several ports, and take their acknowledgements in order."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from gossamer.rtl.copies import Copies
from gossamer.rtl.dma.fifo import Fifo
from gossamer.rtl.dma.parameters import MemoryPort, constants, row_burst, write_members

BURSTS_HELD = 2
"""Write bursts a port has room for: one that is sent while another comes."""


class WriteQueue(wiring.Component):
    """Hold the rows of write bursts until all of a burst are there, then send it beat by beat.

    Members
    -------
    room: another burst may begin to come. went: the last beat of one goes: in the next cycle it may.
    row_valid, row_data, row_strobe, row_last: the next row of a burst that began when there was room; always taken.
    wdata, wstrb, wlast, wvalid, wready: AXI4, see `write_members`.

    Protocol
    --------
    There is room while fewer than BURSTS_HELD whole bursts have not been sent. Beats without a byte to write are sent
    as well, with no strobe set.

    Latency and throughput
    ----------------------
    The last row of a burst in cycle t: its first beat in t + 1, then a beat per cycle, also from one burst to the next.

    Parameters
    ----------
    port: sizes of one port. rows: sizes of the stream of rows.
    """

    def __init__(self, port: MemoryPort, rows: MemoryPort) -> None:
        self.port = port
        self.rows = rows
        super().__init__(
            {
                "room": Out(1, init=1),
                "went": Out(1),
                "row_valid": In(1),
                "row_data": In(8 * rows.beat_bytes),
                "row_strobe": In(rows.beat_bytes),
                "row_last": In(1),
                "wdata": Out(8 * port.beat_bytes),
                "wstrb": Out(port.beat_bytes),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the queue of rows, the count of whole bursts and the place in the row."""
        m = Module()
        width, beats = self.port.beat_bytes, self.rows.beat_bytes // self.port.beat_bytes
        depth = BURSTS_HELD * self.rows.burst_bytes // self.rows.beat_bytes
        m.submodules.rows = held = Fifo(width=9 * self.rows.beat_bytes + 1, depth=depth, registered=False, late_in=True)
        whole = Signal(range(BURSTS_HELD + 1))
        place = Signal(range(beats))
        goes = Signal()
        came = Signal()
        row = held.r_data
        m.d.comb += [
            held.w_en.eq(self.row_valid),
            held.w_data.eq(Cat(self.row_data, self.row_strobe, self.row_last)),
            self.wdata.eq(row[: 8 * self.rows.beat_bytes].word_select(place, 8 * width)),
            self.wstrb.eq(row[8 * self.rows.beat_bytes : -1].word_select(place, width)),
            self.wlast.eq(row[-1] & (place == beats - 1)),
            goes.eq(self.wvalid & self.wready),
            held.r_en.eq(goes & (place == beats - 1)),
            came.eq(self.row_valid & self.row_last),
            self.went.eq(goes & self.wlast),
        ]
        m.d.sync += place.eq(place + goes)
        with m.If(came ^ self.went):  # came is known last
            m.d.sync += [
                whole.eq(whole + Mux(self.went, -1, 1)), self.wvalid.eq(~self.went | (whole != 1)),
                self.room.eq(self.went | (whole != BURSTS_HELD - 1)),
            ]  # fmt: skip
        return m


class Spread(wiring.Component):
    """Give the write bursts of STORE to all ports in turn.

    Members
    -------
    start: high for one cycle before the first burst of a STORE begins: that goes through the first port.
    room: the port whose turn it is has room for another burst; only then may it begin.
    row_aw..., row_w..., row_b...: STORE's side, AXI4 with beats that are rows.
    aw..., w..., b...: the ports' side, [port], see `write_members`.

    Protocol
    --------
    STORE begins a burst when the address of the one before has been taken and its rows have come. Acknowledgements are
    taken in the order of the bursts.

    Latency and throughput
    ----------------------
    Combinational for addresses and acknowledgements; see `WriteQueue` for data.

    Parameters
    ----------
    port, rows: see `WriteQueue`. ports: how many, a power of two.
    """

    def __init__(self, port: MemoryPort, rows: MemoryPort, ports: int) -> None:
        self.port = port
        self.rows = rows
        self.ports = ports
        super().__init__(
            {
                "start": In(1),
                "room": Out(1, init=1),
                **{f"row_{name}": member.flip() for name, member in write_members(rows.beat_bytes).items()},
                **write_members(port.beat_bytes, ports),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the queues, and whose turn it is for addresses, rows and acknowledgements."""
        m = Module()
        m.submodules.queues = queues = Copies(
            WriteQueue(self.port, self.rows), self.ports, shared=("row_data", "row_strobe", "row_last")
        )
        address_turn, answer_turn = (
            Signal(ceil_log2(self.ports), name=f"{name}_turn") for name in ("address", "answer")
        )
        here = Signal(self.ports, init=1)  # whose turn it is for rows; a bit each: rows are known late
        address, length = row_burst(self.row_awaddr, self.row_awlen, self.rows, self.ports)
        m.d.comb += [
            *constants(self, "aw", self.port.beat_shift, self.ports),
            self.awaddr.eq(address.replicate(self.ports)),
            self.awlen.eq(length.replicate(self.ports)),
            self.awvalid.eq(Mux(self.row_awvalid, 1 << address_turn, 0)),
            self.row_awready.eq(self.awready.bit_select(address_turn, 1)),
            self.row_wready.eq(1),
            queues.row_valid.eq(Mux(self.row_wvalid, here, 0)),
            queues.row_data.eq(self.row_wdata),
            queues.row_strobe.eq(self.row_wstrb),
            queues.row_last.eq(self.row_wlast),
            *(getattr(self, name).eq(getattr(queues, name)) for name in ("wdata", "wstrb", "wlast", "wvalid")),
            queues.wready.eq(self.wready),
            self.bready.eq(Mux(self.row_bready, 1 << answer_turn, 0)),
            self.row_bvalid.eq(self.bvalid.bit_select(answer_turn, 1)),
            self.row_bresp.eq(self.bresp.word_select(answer_turn, 2)),
        ]
        # A port whose turn it is not gets no row: it has room in the next cycle if it has now, or loses a burst.
        room, ends = queues.room | queues.went, self.row_wvalid & self.row_wlast
        room_here, room_beyond = (room & here).any(), (Cat(room[1:], room[0]) & here).any()
        m.d.sync += self.room.eq(Mux(self.start, room[0], Mux(ends, room_beyond, room_here)))
        with m.If(self.start | ends):
            m.d.sync += here.eq(Mux(self.start, 1, here.rotate_left(1)))
        for turn, moves in (
            (address_turn, self.row_awvalid & self.row_awready),
            (answer_turn, self.row_bvalid & self.row_bready),
        ):  # fmt: skip
            m.d.sync += turn.eq(Mux(self.start, 0, turn + moves))
        return m
