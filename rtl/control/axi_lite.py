"""AXI4-Lite slave: the host's reads and writes, one at a time, as requests to a register file."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.registers import ADDRESS_BITS

DATA_BITS = 32
READ_CYCLES = 3
"""From the address of a register read to its value, see `RegisterFile`."""

SLAVE_PORTS: dict[str, wiring.Member] = {
    "s_axi_awaddr": In(ADDRESS_BITS),
    "s_axi_awprot": In(3),
    "s_axi_awvalid": In(1),
    "s_axi_awready": Out(1),
    "s_axi_wdata": In(DATA_BITS),
    "s_axi_wstrb": In(DATA_BITS // 8),
    "s_axi_wvalid": In(1),
    "s_axi_wready": Out(1),
    "s_axi_bresp": Out(2),
    "s_axi_bvalid": Out(1),
    "s_axi_bready": In(1),
    "s_axi_araddr": In(ADDRESS_BITS),
    "s_axi_arprot": In(3),
    "s_axi_arvalid": In(1),
    "s_axi_arready": Out(1),
    "s_axi_rdata": Out(DATA_BITS),
    "s_axi_rresp": Out(2),
    "s_axi_rvalid": Out(1),
    "s_axi_rready": In(1),
}
"""Ports of the slave by their AXI names; protection bits are ignored."""


class AxiLiteSlave(wiring.Component):
    """Turn AXI4-Lite transfers into register reads and writes.

    Members
    -------
    s_axi_*: AXI4-Lite slave (AMBA AXI4, B1), 32 bits.
    write, write_address, write_data, write_strobe: write a register in this cycle; addresses count registers.
    write_error: the register cannot be written; combinational.
    read_address: register looked at. read_data, read_error: its value, or that there is none, READ_CYCLES later.

    Protocol
    --------
    Write address and data come in any order; reads and writes are independent. The low two address bits are ignored.
    An error is answered with SLVERR and changes nothing; a failed read returns 0.

    Latency and throughput
    ----------------------
    A write takes effect two cycles after the later of address and data; its response follows one cycle later. A read's
    data comes READ_CYCLES + 2 after its address. One read and one write at a time.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                **SLAVE_PORTS,
                "write": Out(1),
                "write_address": Out(ADDRESS_BITS - 2),
                "write_data": Out(DATA_BITS),
                "write_strobe": Out(DATA_BITS // 8),
                "write_error": In(1),
                "read_address": Out(ADDRESS_BITS - 2),
                "read_data": In(DATA_BITS),
                "read_error": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return one register per channel."""
        m = Module()
        address_held = Signal()
        data_held = Signal()
        read_held = Signal()
        looking = Signal(READ_CYCLES + 1)
        m.d.comb += [
            self.s_axi_awready.eq(~address_held),
            self.s_axi_wready.eq(~data_held),
            self.s_axi_arready.eq(~read_held),
        ]
        m.d.sync += [
            self.write.eq(address_held & data_held & ~self.write & ~self.s_axi_bvalid),
            looking.eq(Cat(self.s_axi_arvalid & self.s_axi_arready, looking)),
        ]
        with m.If(self.s_axi_awvalid & self.s_axi_awready):
            m.d.sync += [address_held.eq(1), self.write_address.eq(self.s_axi_awaddr[2:])]
        with m.If(self.s_axi_wvalid & self.s_axi_wready):
            m.d.sync += [
                data_held.eq(1),
                self.write_data.eq(self.s_axi_wdata),
                self.write_strobe.eq(self.s_axi_wstrb),
            ]
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += [read_held.eq(1), self.read_address.eq(self.s_axi_araddr[2:])]
        with m.If(self.write):
            m.d.sync += [address_held.eq(0), data_held.eq(0), self.s_axi_bvalid.eq(1)]
            m.d.sync += self.s_axi_bresp.eq(self.write_error << 1)
        with m.Elif(self.s_axi_bready):
            m.d.sync += self.s_axi_bvalid.eq(0)
        with m.If(looking[-1]):
            m.d.sync += [self.s_axi_rvalid.eq(1), self.s_axi_rdata.eq(self.read_data)]
            m.d.sync += self.s_axi_rresp.eq(self.read_error << 1)
        with m.Elif(self.s_axi_rvalid & self.s_axi_rready):
            m.d.sync += [self.s_axi_rvalid.eq(0), read_held.eq(0)]
        return m
