"""Write bursts through an AXI4 write master."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.dma.fifo import Fifo
from gossamer.rtl.dma.parameters import (
    ADDRESS_BITS,
    BURST_LENGTH_BITS,
    OFFSET_BITS,
    MemoryPort,
    constants,
    write_members,
)


class WritePort(wiring.Component):
    """Send the bursts of STORE, put its pieces together to beats, and count the answers.

    Members
    -------
    base: the program's base address. stop: begin no new burst.
    room: a burst may begin.
    burst_valid, burst_address, burst_length, burst_one_beat, burst_ready: the next burst; length in beats less one, and
        whether that is 0. It is taken when its address and its last beat have been.
    piece_valid, piece_data, piece_strobe, piece_ends_beat, piece_ready: the next piece, in its place in the beat;
        bytes whose strobe is low are of no account. `piece_ends_beat` is low if there is no piece.
    answered: the memory acknowledged a burst. error: it did so with an error. offset: off-chip address of that burst.
    flying: there are bursts begun and not acknowledged. last_flying: there is one. open: a burst has been begun and is
        not all sent.
    aw..., w..., b...: AXI4, see `write_members`.

    Protocol
    --------
    A burst begins when there is room, fewer than max_outstanding are on their way and its first piece is there: its
    address is shown in the same cycle, and its data needs not wait until the address is taken; the next burst does. A
    begun burst is always finished.

    Latency and throughput
    ----------------------
    Combinational from piece to beat; one piece per cycle, and bursts without a gap. An acknowledgement in cycle t lets
    a burst begin in t + 1.

    Parameters
    ----------
    port: sizes of the memory port.
    """

    def __init__(self, port: MemoryPort) -> None:
        self.port = port
        super().__init__(
            {
                "base": In(ADDRESS_BITS),
                "stop": In(1),
                "room": In(1),
                "burst_valid": In(1),
                "burst_address": In(ADDRESS_BITS),
                "burst_length": In(BURST_LENGTH_BITS),
                "burst_one_beat": In(1),
                "burst_ready": Out(1),
                "piece_valid": In(1),
                "piece_data": In(8 * port.beat_bytes),
                "piece_strobe": In(port.beat_bytes),
                "piece_ends_beat": In(1),
                "piece_ready": Out(1),
                "answered": Out(1),
                "error": Out(1),
                "offset": Out(OFFSET_BITS),
                "flying": Out(1),
                "last_flying": Out(1),
                "open": Out(1),
                **write_members(port.beat_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the sequence of bursts, the beat being put together, and the FIFO of addresses on their way."""
        m = Module()
        opens = Signal()
        active = Signal()
        address_sent = Signal()
        data_sent = Signal()
        address_done = Signal()
        data_done = Signal()
        m.submodules.begun = begun = Fifo(
            width=OFFSET_BITS, depth=self.port.max_outstanding, registered=True, late_in=True
        )
        may_open, may_move = Signal(), Signal()  # if there is a piece, which moves and what ends a burst look at last
        m.d.comb += [
            *constants(self, "aw", self.port.beat_shift),
            may_open.eq(self.burst_valid & begun.w_rdy & self.room & ~self.stop),
            may_move.eq(may_open | self.open),
            opens.eq(may_open & self.piece_valid & ~self.open),
            active.eq((may_open & self.piece_valid) | self.open),
            self.awvalid.eq(active & ~address_sent),
            self.awaddr.eq(self.burst_address),
            self.awlen.eq(self.burst_length),
            address_done.eq(address_sent | self.awready),
            data_done.eq(data_sent | (self.wready & self.piece_ends_beat & self.wlast)),
            self.burst_ready.eq(may_move & address_done & data_done),
        ]
        m.d.sync += [
            self.open.eq(active & ~self.burst_ready),
            address_sent.eq(active & address_done & ~data_done),
            data_sent.eq(active & data_done & ~address_done),
        ]
        # Beats after the next one, whether it is not the burst's first, and whether it is the last of several.
        left, inner, ends = Signal(BURST_LENGTH_BITS), Signal(), Signal()
        m.d.comb += self.wlast.eq(self.burst_one_beat | ends)
        with m.If(self.wvalid & self.wready):
            m.d.sync += [
                inner.eq(~self.wlast), left.eq(Mux(inner, left, self.burst_length) - 1),
                ends.eq(Mux(inner, left, self.burst_length) == 1),
            ]  # fmt: skip
        self._assemble(m, may_move & ~data_sent)
        self._answers(m, begun, opens)
        return m

    def _assemble(self, m: Module, sending: Signal) -> None:
        """Add the beat that is put together: earlier pieces are kept, the one that ends it goes straight through."""
        data = Signal(8 * self.port.beat_bytes)
        strobe = Signal(self.port.beat_bytes)
        m.d.comb += [
            self.wvalid.eq(sending & self.piece_ends_beat),
            *(
                self.wdata.word_select(byte, 8).eq(
                    Mux(self.piece_strobe[byte], self.piece_data.word_select(byte, 8), data.word_select(byte, 8))
                )
                for byte in range(self.port.beat_bytes)
            ),
            self.wstrb.eq(strobe | self.piece_strobe),
            self.piece_ready.eq(sending & (self.wready | ~self.piece_ends_beat)),
        ]
        with m.If(self.piece_valid & self.piece_ready):
            keep = ~self.piece_ends_beat
            m.d.sync += [data.eq(self.wdata), strobe.eq(Mux(keep, self.wstrb, 0))]

    def _answers(self, m: Module, begun: Fifo, opens: Signal) -> None:
        """Connect the addresses of the bursts on their way."""
        m.d.comb += [
            self.bready.eq(1),
            self.answered.eq(self.bvalid),
            self.error.eq(self.bvalid & self.bresp[1]),
            begun.w_en.eq(opens),
            begun.w_data.eq((self.burst_address - self.base)[:OFFSET_BITS]),
            begun.r_en.eq(self.bvalid),
            self.offset.eq(begun.r_data),
            self.flying.eq(begun.r_rdy),
            self.last_flying.eq(begun.r_last),
        ]
