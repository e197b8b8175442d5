"""Share one AXI4 read master between the instruction stream and LOAD."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.timing import FETCH_BUFFER_BYTES
from gossamer.rtl.dma.fifo import Fifo
from gossamer.rtl.dma.parameters import (
    ADDRESS_BITS,
    BURST_LENGTH_BITS,
    OFFSET_BITS,
    MemoryPort,
    constants,
    read_members,
)


class ReadPort(wiring.Component):
    """Send the read requests of FETCH and LOAD, and hand each its beats.

    Members
    -------
    base: the program's base address.
    fetch_valid, fetch_address, fetch_length, fetch_ready: request of FETCH; length in beats less one.
    load_valid, load_address, load_length, load_ready: request of LOAD.
    fetch_beat, load_beat: this cycle's beat is of that engine. load_take: LOAD takes it; FETCH always does.
    data, last, error: of the beat: its bytes, whether its burst ends, whether the memory answered with an error.
    offset: off-chip address of the burst the beat belongs to.
    quiet: no burst is requested or on its way.
    ar..., r...: AXI4, see `read_members`.

    Protocol
    --------
    In a cycle in which both could send their first bid, FETCH goes; a request that has been shown to the memory is
    not withdrawn, also not for FETCH. Requests must not be withdrawn either. Beats come in the order of the requests
    (one ID): a FIFO remembers whose they are. It has room for all bursts LOAD and FETCH can have on their way.

    Latency and throughput
    ----------------------
    Combinational in both directions; one request and one beat per cycle.

    Parameters
    ----------
    port: sizes of the memory port.
    """

    def __init__(self, port: MemoryPort) -> None:
        self.port = port
        request = {"valid": In(1), "address": In(ADDRESS_BITS), "length": In(BURST_LENGTH_BITS), "ready": Out(1)}
        super().__init__(
            {
                "base": In(ADDRESS_BITS),
                **{f"fetch_{name}": member for name, member in request.items()},
                **{f"load_{name}": member for name, member in request.items()},
                "fetch_beat": Out(1),
                "load_beat": Out(1),
                "load_take": In(1),
                "data": Out(8 * port.beat_bytes),
                "last": Out(1),
                "error": Out(1),
                "offset": Out(OFFSET_BITS),
                "quiet": Out(1),
                **read_members(port.beat_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return arbiter and FIFO of owners."""
        m = Module()
        depth = self.port.max_outstanding + FETCH_BUFFER_BYTES // self.port.fetch_bytes
        m.submodules.owners = owners = Fifo(width=1 + OFFSET_BITS, depth=depth, registered=True)
        # An owner is remembered a cycle after its request; a beat comes no earlier than in the one after that.
        requested, request = Signal(), Signal(1 + OFFSET_BITS)
        shown = Signal()
        shown_load = Signal()
        load_goes = Signal()
        owner_is_load = Signal()
        m.d.comb += [
            *constants(self, "ar", self.port.beat_shift),
            load_goes.eq(Mux(shown, shown_load, ~self.fetch_valid)),
            self.arvalid.eq(self.fetch_valid | self.load_valid),
            self.araddr.eq(Mux(load_goes, self.load_address, self.fetch_address)),
            self.arlen.eq(Mux(load_goes, self.load_length, self.fetch_length)),
            self.fetch_ready.eq(self.arready & ~load_goes),
            self.load_ready.eq(self.arready & load_goes),
            owners.w_en.eq(requested),
            owners.w_data.eq(Cat(request[0], (request[1:] - self.base)[:OFFSET_BITS])),
            owner_is_load.eq(owners.r_data[0]),
            self.offset.eq(owners.r_data[1:]),
            self.fetch_beat.eq(self.rvalid & owners.r_rdy & ~owner_is_load),
            self.load_beat.eq(self.rvalid & owners.r_rdy & owner_is_load),
            self.rready.eq(owners.r_rdy & (self.load_take | ~owner_is_load)),
            owners.r_en.eq(self.rvalid & self.rready & self.rlast),
            self.data.eq(self.rdata),
            self.last.eq(self.rlast),
            self.error.eq(self.rresp[1]),
            self.quiet.eq(~owners.r_rdy & ~requested & ~self.arvalid),
        ]
        m.d.sync += [
            shown.eq(self.arvalid & ~self.arready), shown_load.eq(load_goes),
            requested.eq(self.arvalid & self.arready), request.eq(Cat(load_goes, self.araddr[:OFFSET_BITS])),
        ]  # fmt: skip
        return m
