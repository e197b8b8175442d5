"""Gather the read bursts of several ports to one stream of rows, in the order LOAD requested them."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from gossamer.rtl.copies import Copies
from gossamer.rtl.dma.fifo import Fifo
from gossamer.rtl.dma.parameters import OFFSET_BITS, MemoryPort
from gossamer.rtl.hand_over import hand_over


class ReadQueue(wiring.Component):
    """Put the beats of one port's read bursts together to rows, and hold them until their burst has come.

    Members
    -------
    beat, data, last, error, offset: a beat of LOAD from the port, see `ReadPort`; it is always taken.
    row_valid, row_data, row_last, row_error, row_offset, row_ready: the next row of a burst that has come as a whole;
        of its burst: whether this row ends it, whether any of its beats had an error, its off-chip address.

    Protocol
    --------
    A burst is whole rows. LOAD requests no more bursts than the queue holds.

    Latency and throughput
    ----------------------
    The last beat of a burst in cycle t: its rows from t + 1 on, one per cycle.

    Parameters
    ----------
    port: sizes of one port. rows: sizes of the stream of rows, with the bursts that can be on their way in all ports.
    """

    def __init__(self, port: MemoryPort, rows: MemoryPort) -> None:
        self.port = port
        self.rows = rows
        super().__init__(
            {
                "beat": In(1),
                "data": In(8 * port.beat_bytes),
                "last": In(1),
                "error": In(1),
                "offset": In(OFFSET_BITS),
                "row_valid": Out(1),
                "row_data": Out(8 * rows.beat_bytes),
                "row_last": Out(1),
                "row_error": Out(1),
                "row_offset": Out(OFFSET_BITS),
                "row_ready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the shift register of a row, the queues of rows and of which are last, and that of whole bursts."""
        m = Module()
        beats = self.rows.beat_bytes // self.port.beat_bytes
        depth = self.port.max_outstanding * self.rows.burst_bytes // self.rows.beat_bytes
        m.submodules.rows = held = Fifo(width=8 * self.rows.beat_bytes, depth=depth, registered=False)
        m.submodules.lasts = lasts = Fifo(width=1, depth=depth, registered=True)  # many wait for it
        m.submodules.bursts = bursts = Fifo(width=1 + OFFSET_BITS, depth=self.port.max_outstanding, registered=True)
        before = Signal(8 * (self.rows.beat_bytes - self.port.beat_bytes), reset_less=True)
        place = Signal(range(beats))
        failed = Signal()
        wrong = Signal()
        m.d.comb += [
            wrong.eq(failed | self.error),
            held.w_en.eq(self.beat & (place == beats - 1)),
            held.w_data.eq(Cat(before, self.data)),
            lasts.w_en.eq(held.w_en),
            lasts.w_data.eq(self.last),
            bursts.w_en.eq(self.beat & self.last),
            bursts.w_data.eq(Cat(wrong, self.offset)),
            self.row_valid.eq(bursts.r_rdy),
            self.row_data.eq(held.r_data),
            self.row_last.eq(lasts.r_data),
            self.row_error.eq(bursts.r_data[0]),
            self.row_offset.eq(bursts.r_data[1:]),
            held.r_en.eq(self.row_valid & self.row_ready),
            lasts.r_en.eq(held.r_en),
            bursts.r_en.eq(held.r_en & self.row_last),
        ]
        with m.If(self.beat):
            m.d.sync += [
                before.eq(Cat(before, self.data)[self.port.beat_bytes * 8 :]),
                place.eq(place + 1),
                failed.eq(wrong & ~self.last),
            ]
        return m


class Gather(wiring.Component):
    """Take whole bursts from the queues of all ports in turn, row by row.

    Members
    -------
    start: high for one cycle before the first burst of a LOAD is requested: that is the first port's.
    beat, data, last, error: beats of the ports, [port]. offset: of their bursts, [port].
    row_beat, row_data, row_last, row_error, row_offset, row_take: the stream, as `ReadPort` gives LOAD its beats.

    Protocol
    --------
    The bursts of a LOAD come through port 0, 1, ... and again; each is given as a whole.

    Latency and throughput
    ----------------------
    The last beat of a burst in cycle t: its first row in t + 1 + GATHER_CYCLES, then a row per cycle, also from one
    burst to the next.

    Parameters
    ----------
    port, rows: see `ReadQueue`. ports: how many, a power of two.
    """

    def __init__(self, port: MemoryPort, rows: MemoryPort, ports: int) -> None:
        self.port = port
        self.rows = rows
        self.ports = ports
        super().__init__(
            {
                "start": In(1),
                "beat": In(ports),
                "data": In(8 * rows.beat_bytes),
                "last": In(ports),
                "error": In(ports),
                "offset": In(ports * OFFSET_BITS),
                "row_beat": Out(1),
                "row_data": Out(8 * rows.beat_bytes),
                "row_last": Out(1),
                "row_error": Out(1),
                "row_offset": Out(OFFSET_BITS),
                "row_take": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the queues, whose turn it is, and the registers of rows that are given."""
        m = Module()
        m.submodules.queues = queues = Copies(ReadQueue(self.port, self.rows), self.ports)
        turn = Signal(ceil_log2(self.ports))
        valid, moves, ends, room = (Signal(name=name) for name in ("valid", "moves", "ends", "room"))
        m.d.comb += [
            *(getattr(queues, name).eq(getattr(self, name)) for name in ("beat", "data", "last", "error", "offset")),
            valid.eq(queues.row_valid.bit_select(turn, 1)),
            moves.eq(valid & room),
            queues.row_ready.eq(Mux(moves, 1 << turn, 0)),
            ends.eq(moves & queues.row_last.bit_select(turn, 1)),
        ]
        row = Cat(
            queues.row_data.word_select(turn, 8 * self.rows.beat_bytes),
            queues.row_last.bit_select(turn, 1),
            queues.row_error.bit_select(turn, 1),
            queues.row_offset.word_select(turn, OFFSET_BITS),
        )
        free, shown, first = hand_over(m, "row", valid=valid, payload=row, ready=self.row_take)
        m.d.comb += [
            room.eq(free), self.row_beat.eq(shown),
            Cat(self.row_data, self.row_last, self.row_error, self.row_offset).eq(first),
        ]  # fmt: skip
        m.d.sync += turn.eq(Mux(self.start, 0, turn + ends))
        return m
