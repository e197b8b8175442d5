"""Sizes of the memory ports, and the signals of AXI4 that never change."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Shape, Value
from amaranth.lib.wiring import In, Member, Out

from gossamer.arch.errors import GossamerError
from gossamer.arch.isa import TRANSFER_BYTES_LIMIT
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import AXI_BOUNDARY_BYTES, FETCH_BURST_BYTES, ROW_BYTES_LIMIT, burst_bytes

ADDRESS_BITS = 64
"""Of an AXI address: the program's base address plus an off-chip offset."""

OFFSET_BITS = 40
"""Of an off-chip address in an instruction."""

CHIP_BITS = 26
"""Of a byte address in an on-chip buffer."""

LENGTH_BITS = (TRANSFER_BYTES_LIMIT - 1).bit_length()
"""Of the bytes a LOAD or STORE moves; so a factor of a product fits the wide operand of one DSP slice."""

COUNT_BITS = 16
"""Of counts of lines and runs."""

BURST_LENGTH_BITS = 8
"""Of arlen and awlen."""


class PortSize(GossamerError):
    """A size of the memory port is one the hardware cannot have."""


def _require_power(name: str, value: int) -> None:
    """Raise PortSize unless a value is a power of two."""
    if value < 1 or value & (value - 1):
        raise PortSize(f"`{name}` of the memory port must be a power of two, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPort:
    """Sizes of an AXI4 port: bytes per beat, bytes no burst crosses a multiple of, bursts on their way.

    LOAD and STORE know one port, whose beats are rows: `row_port`.
    """

    beat_bytes: int
    burst_bytes: int
    max_outstanding: int

    def __post_init__(self) -> None:
        _require_power("beat_bytes", self.beat_bytes)
        _require_power("burst_bytes", self.burst_bytes)
        if not 4 <= self.beat_bytes <= ROW_BYTES_LIMIT:
            raise PortSize(f"`beat_bytes` of the memory port must be 4 to {ROW_BYTES_LIMIT}, not {self.beat_bytes}")
        limit = min(AXI_BOUNDARY_BYTES, self.beat_bytes << BURST_LENGTH_BITS)
        if not self.beat_bytes <= self.burst_bytes <= limit:
            raise PortSize(
                f"`burst_bytes` of the memory port must be {self.beat_bytes} (a beat) to {limit}, not "
                f"{self.burst_bytes}"
            )
        if self.max_outstanding < 1:
            raise PortSize(f"`max_outstanding` of the memory port must be at least 1, not {self.max_outstanding}")

    @property
    def beat_shift(self) -> int:
        """Bits of a byte's place in its beat."""
        return self.beat_bytes.bit_length() - 1

    @property
    def burst_shift(self) -> int:
        """Bits of a byte's place in the longest burst."""
        return self.burst_bytes.bit_length() - 1

    @property
    def fetch_bytes(self) -> int:
        """Bytes of a burst of the instruction stream."""
        return min(self.burst_bytes, FETCH_BURST_BYTES)


def memory_port(spec: SparseAccelerator) -> MemoryPort:
    """Return the sizes of each memory port of a config. Raises PortSize if they cannot be built."""
    return MemoryPort(
        beat_bytes=spec.axi.data_bits // 8,
        burst_bytes=burst_bytes(
            data_bits=spec.axi.data_bits,
            burst_beats=spec.axi.burst_beats,
            interleave_bytes=spec.off_chip.interleave_bytes,
        ),
        max_outstanding=spec.axi.max_outstanding,
    )


def port_prefixes(ports: int) -> list[str]:
    """Return what the AXI signals of each port begin with; nothing if there is one."""
    return [""] if ports == 1 else [f"m{port}_" for port in range(ports)]


def row_port(port: MemoryPort, ports: int) -> MemoryPort:
    """Return the port that `ports` ports together are to LOAD and STORE: a beat is a row, a beat of every port."""
    return MemoryPort(
        beat_bytes=ports * port.beat_bytes, burst_bytes=port.burst_bytes, max_outstanding=ports * port.max_outstanding
    )


def row_burst(address: Value, length: Value, rows: MemoryPort, ports: int) -> tuple[Value, Value]:
    """Return address and length of the burst of a port, in beats less one, that brings a burst of whole rows."""
    first = Cat(Const(0, rows.beat_shift), address[rows.beat_shift :])
    return first, Cat(Const(ports - 1, ports.bit_length() - 1), length)[:BURST_LENGTH_BITS]


_ADDRESS_CHANNEL = {
    "id": 1, "addr": ADDRESS_BITS, "len": BURST_LENGTH_BITS, "size": 3, "burst": 2, "lock": 1, "cache": 4, "prot": 3,
    "qos": 4, "region": 4, "valid": 1,
}  # fmt: skip


def read_members(beat_bytes: int, ports: int = 1) -> dict[str, Member]:
    """Return the members of an AXI4 read master, with the names of the standard in lower case; of several, [port]."""
    members = {f"ar{name}": Out(width) for name, width in _ADDRESS_CHANNEL.items()}
    answer = {"rid": 1, "rdata": 8 * beat_bytes, "rresp": 2, "rlast": 1, "rvalid": 1}
    members |= {"arready": In(1)} | {name: In(width) for name, width in answer.items()} | {"rready": Out(1)}
    return _times(members, ports)


def write_members(beat_bytes: int, ports: int = 1) -> dict[str, Member]:
    """Return the members of an AXI4 write master, as `read_members`."""
    members = {f"aw{name}": Out(width) for name, width in _ADDRESS_CHANNEL.items()} | {"awready": In(1)}
    data = {"wdata": 8 * beat_bytes, "wstrb": beat_bytes, "wlast": 1, "wvalid": 1}
    members |= {name: Out(width) for name, width in data.items()} | {"wready": In(1)}
    return _times(members | {"bid": In(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1)}, ports)


def _times(members: dict[str, Member], ports: int) -> dict[str, Member]:
    """Return members as wide as those of several ports together."""
    return {name: Member(member.flow, ports * Shape.cast(member.shape).width) for name, member in members.items()}


INCREMENT = 1
"""Value of arburst and awburst: addresses grow."""

BUFFERABLE_MODIFIABLE = 3
"""Value of arcache and awcache: normal memory, not cached (AMBA AXI4, A4.4)."""


def constants(channel: object, prefix: str, beat_shift: int, ports: int = 1) -> list[object]:
    """Return the assignments of an address channel's signals that never change: whole beats, one ID, plain memory."""
    values = {"id": 0, "size": beat_shift, "burst": INCREMENT, "lock": 0, "cache": BUFFERABLE_MODIFIABLE, "prot": 0,
              "qos": 0, "region": 0}  # fmt: skip
    return [
        Value.cast(getattr(channel, prefix + name)).eq(Const(value, _ADDRESS_CHANNEL[name]).replicate(ports))
        for name, value in values.items()
    ]
