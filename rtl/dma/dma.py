"""Put FETCH, LOAD and STORE on the AXI4 ports."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Member, Out
from amaranth.utils import bits_for, ceil_log2

from gossamer.arch.target import Target
from gossamer.rtl.copies import Copies
from gossamer.rtl.dma.fetch import Fetch
from gossamer.rtl.dma.gather import Gather
from gossamer.rtl.dma.load import Load
from gossamer.rtl.dma.parameters import (
    ADDRESS_BITS,
    CHIP_BITS,
    OFFSET_BITS,
    MemoryPort,
    port_prefixes,
    read_members,
    row_burst,
    row_port,
    write_members,
)
from gossamer.rtl.dma.read_port import ReadPort
from gossamer.rtl.dma.spread import Spread
from gossamer.rtl.dma.store import Store
from gossamer.rtl.engine import INSTRUCTION_BITS, INSTRUCTION_PARTS, EngineControl

REQUEST, BEAT = ("valid", "address", "length"), ("data", "last", "error", "offset")


class Dma(wiring.Component):
    """Move everything between memory and the chip, through one or several AXI4 masters.

    Members
    -------
    base, instructions, start: the program, see `Fetch`. stop: send no new request, begin no new burst; LOAD and
        STORE obey a cycle later. stream: of a core of several, what FETCH reads instead of `base`.
    quiet: nothing is requested or on its way; only then may the core be reset.
    fetch_valid, fetch_instruction, fetch_ready: the instructions, one by one. fetch_dispatched: see `Fetch`.
    fetch_fault, fetch_cause, fetch_address: the memory answered a read of instructions with an error.
    load, store: `EngineControl` of the engines.
    write_...: pieces to the buffers, see `Load`. read_...: reads of the activation buffer, see `Store`.
    ar..., r..., aw..., w..., b...: AXI4 with one ID, see `read_members` and `write_members`; of several ports m0_ar...,
    m1_ar... and so on.

    Protocol
    --------
    See `Fetch`, `Load`, `Store`, `ReadPort`. FETCH reads through port 0. The bursts of LOAD and STORE take several
    ports in turn, see `Gather` and `Spread`.

    Latency and throughput
    ----------------------
    That of its parts; in a cycle in which FETCH and LOAD have a request for a port, FETCH goes and LOAD follows.

    Parameters
    ----------
    port: sizes of each memory port. ports: how many, a power of two. target: see `TransferSetup`.
    several: the core is one of several.
    """

    def __init__(self, port: MemoryPort, ports: int, target: Target, several: bool = False) -> None:
        self.several = several
        self.target = target
        self.port = port
        self.ports = ports
        self.rows = row_port(port, ports)
        width = self.rows.beat_bytes
        super().__init__(
            {
                "base": In(ADDRESS_BITS),
                **({"stream": In(ADDRESS_BITS)} if several else {}),
                "instructions": In(32),
                "start": In(1),
                "stop": In(1),
                "quiet": Out(1),
                "fetch_valid": Out(1),
                "fetch_instruction": Out(INSTRUCTION_BITS),
                "fetch_ready": In(INSTRUCTION_PARTS),
                "fetch_dispatched": In(1),
                "fetch_fault": Out(1),
                "fetch_cause": Out(4),
                "fetch_address": Out(OFFSET_BITS),
                "load": Out(EngineControl()),
                "store": Out(EngineControl()),
                "write_valid": Out(1),
                "write_space": Out(2),
                "write_address": Out(CHIP_BITS),
                "write_last": Out(CHIP_BITS),
                "write_length": Out(bits_for(width)),
                "write_data": Out(8 * width),
                "write_ready": In(1),
                "write_held": In(1),
                "read_valid": Out(1),
                "read_address": Out(CHIP_BITS),
                "read_ready": In(1),
                "read_data": In(8 * width),
                **{
                    prefix + name: member
                    for prefix in port_prefixes(ports)
                    for name, member in (read_members(port.beat_bytes) | write_members(port.beat_bytes)).items()
                },
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the parts and their connections."""
        m = Module()
        m.submodules.fetch = fetch = Copies(Fetch(self.port))
        m.submodules.load_engine = load = Copies(Load(self.rows, self.target))
        m.submodules.store_engine = store = Copies(Store(self.rows, self.target))
        m.submodules.read_port = port = Copies(ReadPort(self.port), self.ports, shared=("base",))
        m.d.comb += fetch.base.eq(self.stream if self.several else self.base)
        for name in ("instructions", "start", "stop"):
            m.d.comb += getattr(fetch, name).eq(getattr(self, name))
        for part in (load, store):
            m.d.comb += [part.base.eq(self.base), part.stop.eq(self.stop)]
        m.d.comb += [
            port.base.eq(self.base),
            self.quiet.eq(port.quiet.all() & store.quiet),
            self.fetch_valid.eq(fetch.valid),
            self.fetch_instruction.eq(fetch.instruction),
            fetch.ready.eq(self.fetch_ready),
            fetch.dispatched.eq(self.fetch_dispatched),
            self.fetch_fault.eq(fetch.fault),
            self.fetch_cause.eq(fetch.cause),
            self.fetch_address.eq(fetch.fault_address),
            port.fetch_valid.eq(fetch.request_valid),
            port.fetch_address.eq(fetch.address),
            port.fetch_length.eq(fetch.length),
            fetch.request_ready.eq(port.fetch_ready[0]),
            fetch.beat.eq(port.fetch_beat[0]),
            *(getattr(fetch, name).eq(getattr(port, name)) for name in BEAT),
        ]
        self._controls(m, load, store)
        members = self.signature.members
        for part, prefix in ((load, "write_"), (store, "read_")):
            for name in members:
                if name.startswith(prefix):
                    outer, inner = getattr(self, name), getattr(part, name)
                    m.d.comb += outer.eq(inner) if members[name].flow is Out else inner.eq(outer)
        self._join(m, port, read_members(self.port.beat_bytes))
        if self.ports == 1:
            self._one_port(m, port, load, store)
        else:
            self._read_several(m, port, load)
            self._write_several(m, store)
        return m

    def _one_port(self, m: Module, port: Copies, load: Copies, store: Copies) -> None:
        """Connect LOAD and STORE with the port there is."""
        m.d.comb += [
            port.load_valid.eq(load.request_valid),
            port.load_address.eq(load.address),
            port.load_length.eq(load.length),
            load.request_ready.eq(port.load_ready),
            load.beat.eq(port.load_beat),
            port.load_take.eq(load.take),
            *(getattr(load, name).eq(getattr(port, name)) for name in BEAT),
            store.room.eq(1),
        ]
        self._join(m, store, write_members(self.port.beat_bytes))

    def _read_several(self, m: Module, port: Copies, load: Copies) -> None:
        """Send the requests of LOAD to the ports in turn, and gather what they bring."""
        m.submodules.gather = gather = Copies(Gather(self.port, self.rows, self.ports))
        turn = Signal(ceil_log2(self.ports))
        address, length = row_burst(load.address, load.length, self.rows, self.ports)
        m.d.comb += [
            port.load_valid.eq(Mux(load.request_valid, 1 << turn, 0)),
            port.load_address.eq(address.replicate(self.ports)),
            port.load_length.eq(length.replicate(self.ports)),
            load.request_ready.eq(port.load_ready.bit_select(turn, 1)),
            port.load_take.eq((1 << self.ports) - 1),
            gather.start.eq(self.load.start),
            gather.beat.eq(port.load_beat),
            *(getattr(gather, name).eq(getattr(port, name)) for name in BEAT),
            load.beat.eq(gather.row_beat),
            *(getattr(load, name).eq(getattr(gather, f"row_{name}")) for name in BEAT),
            gather.row_take.eq(load.take),
        ]
        m.d.sync += turn.eq(Mux(self.load.start, 0, turn + (load.request_valid & load.request_ready)))

    def _write_several(self, m: Module, store: Copies) -> None:
        """Spread the bursts of STORE over the ports."""
        m.submodules.spread = spread = Copies(Spread(self.port, self.rows, self.ports))
        m.d.comb += [spread.start.eq(self.store.start), store.room.eq(spread.room)]
        for name, member in write_members(self.rows.beat_bytes).items():
            inner, outer = getattr(store, name), getattr(spread, f"row_{name}")
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        self._join(m, spread, write_members(self.port.beat_bytes))

    def _controls(self, m: Module, load: Copies, store: Copies) -> None:
        """Connect the engines' controls."""
        for mine, part in ((self.load, load), (self.store, store)):
            for name, member in EngineControl().members.items():
                outer, inner = getattr(mine, name), getattr(part, f"control__{name}")
                m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)

    def _join(self, m: Module, part: Copies, members: Mapping[str, Member]) -> None:
        """Connect AXI signals of all ports with those of a part, [port]."""
        for name, member in members.items():
            outer = Cat(getattr(self, prefix + name) for prefix in port_prefixes(self.ports))
            inner = getattr(part, name)
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
