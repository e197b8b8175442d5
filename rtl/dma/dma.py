"""Put FETCH, LOAD and STORE on one AXI4 port."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from gossamer.rtl.copies import Copies
from gossamer.rtl.dma.fetch import Fetch
from gossamer.rtl.dma.load import Load
from gossamer.rtl.dma.parameters import (
    ADDRESS_BITS,
    CHIP_BITS,
    OFFSET_BITS,
    MemoryPort,
    read_members,
    write_members,
)
from gossamer.rtl.dma.read_port import ReadPort
from gossamer.rtl.dma.store import Store
from gossamer.rtl.engine import INSTRUCTION_BITS, EngineControl


class Dma(wiring.Component):
    """Move everything between memory and the chip, through one AXI4 master.

    Members
    -------
    base, instructions, start: the program, see `Fetch`. stop: send no new request, begin no new burst.
    quiet: nothing is requested or on its way; only then may the core be reset.
    fetch_valid, fetch_instruction, fetch_ready: the instructions, one by one.
    fetch_fault, fetch_cause, fetch_address: the memory answered a read of instructions with an error.
    load, store: `EngineControl` of the engines.
    write_...: pieces to the buffers, see `Load`. read_...: reads of the activation buffer, see `Store`.
    ar..., r..., aw..., w..., b...: AXI4 with one ID, see `read_members` and `write_members`.

    Protocol
    --------
    See `Fetch`, `Load`, `Store`, `ReadPort`.

    Latency and throughput
    ----------------------
    That of its parts; in a cycle in which FETCH and LOAD have a request, FETCH goes and LOAD follows.

    Parameters
    ----------
    port: sizes of the memory port.
    """

    def __init__(self, port: MemoryPort) -> None:
        self.port = port
        width = port.beat_bytes
        super().__init__(
            {
                "base": In(ADDRESS_BITS),
                "instructions": In(32),
                "start": In(1),
                "stop": In(1),
                "quiet": Out(1),
                "fetch_valid": Out(1),
                "fetch_instruction": Out(INSTRUCTION_BITS),
                "fetch_ready": In(1),
                "fetch_fault": Out(1),
                "fetch_cause": Out(4),
                "fetch_address": Out(OFFSET_BITS),
                "load": Out(EngineControl()),
                "store": Out(EngineControl()),
                "write_valid": Out(1),
                "write_space": Out(2),
                "write_address": Out(CHIP_BITS),
                "write_length": Out(bits_for(width)),
                "write_data": Out(8 * width),
                "write_ready": In(1),
                "read_valid": Out(1),
                "read_address": Out(CHIP_BITS),
                "read_ready": In(1),
                "read_data": In(8 * width),
                **read_members(width),
                **write_members(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the four parts and their connections."""
        m = Module()
        m.submodules.fetch = fetch = Copies(Fetch(self.port))
        m.submodules.load_engine = load = Copies(Load(self.port))
        m.submodules.store_engine = store = Copies(Store(self.port))
        m.submodules.read_port = port = Copies(ReadPort(self.port))
        for name in ("base", "instructions", "start", "stop"):
            m.d.comb += getattr(fetch, name).eq(getattr(self, name))
        for part in (load, store):
            m.d.comb += [part.base.eq(self.base), part.stop.eq(self.stop)]
        m.d.comb += [
            port.base.eq(self.base),
            self.quiet.eq(port.quiet & store.quiet),
            self.fetch_valid.eq(fetch.valid),
            self.fetch_instruction.eq(fetch.instruction),
            fetch.ready.eq(self.fetch_ready),
            self.fetch_fault.eq(fetch.fault),
            self.fetch_cause.eq(fetch.cause),
            self.fetch_address.eq(fetch.fault_address),
            port.load_take.eq(load.take),
        ]
        for name, part in (("fetch", fetch), ("load", load)):
            m.d.comb += [
                getattr(port, f"{name}_valid").eq(part.request_valid),
                getattr(port, f"{name}_address").eq(part.address),
                getattr(port, f"{name}_length").eq(part.length),
                part.request_ready.eq(getattr(port, f"{name}_ready")),
                part.beat.eq(getattr(port, f"{name}_beat")),
                *(getattr(part, same).eq(getattr(port, same)) for same in ("data", "last", "error", "offset")),
            ]
        self._controls(m, load, store)
        self._boundary(m, port, load, store)
        return m

    def _controls(self, m: Module, load: Copies, store: Copies) -> None:
        """Connect the engines' controls."""
        for mine, part in ((self.load, load), (self.store, store)):
            for name, member in EngineControl().members.items():
                outer, inner = getattr(mine, name), getattr(part, f"control__{name}")
                m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)

    def _boundary(self, m: Module, port: Copies, load: Copies, store: Copies) -> None:
        """Connect the ports that are those of a part."""
        buffers = {name: member for name, member in self.signature.members.items() if name.startswith("write_")}
        reads = {name: member for name, member in self.signature.members.items() if name.startswith("read_")}
        width = self.port.beat_bytes
        for part, members in (
            (load, buffers), (store, reads), (port, read_members(width)), (store, write_members(width)),
        ):  # fmt: skip
            for name, member in members.items():
                outer, inner = getattr(self, name), getattr(part, name)
                m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
