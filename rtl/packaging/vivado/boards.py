"""Say how the core meets each board that has a block design: which AXI ports of its memory the masters take."""

from collections.abc import Sequence
from dataclasses import dataclass

HOST = "pcie/M_AXI"
"""Interface of the DMA engine in the design with HBM; it reaches memory like a master of the core."""

_HIGH_PERFORMANCE_PORTS = 4
"""S_AXI_HP0_FPD to S_AXI_HP3_FPD (UG1085)."""

_HIGH_PERFORMANCE_BITS = (32, 64, 128)
"""Widths they can be given (UG1085); SmartConnect converts others."""

_HBM_PORTS = 32
"""SAXI_00 to SAXI_31 of two stacks (PG276)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardDesign:
    """A board with a block design.

    `memory`: zynq or hbm, which names its templates; `carrier`: value of `board_connections` for a module on a
    carrier card; `delivers`: files the build leaves, by their endings.
    """

    title: str
    memory: str
    carrier: str
    delivers: tuple[str, ...]


BOARD_DESIGNS = {
    "xilinx.com:kv260_som:part0": BoardDesign(
        title="Kria KV260",
        memory="zynq",
        carrier="som240_1_connector xilinx.com:kv260_carrier:som240_1_connector:1.3",
        delivers=("bit", "xsa"),
    ),
    "xilinx.com:au280:part0": BoardDesign(title="Alveo U280", memory="hbm", carrier="", delivers=("bit",)),
}
"""By `device.board`. Names and carrier: board files in github.com/Xilinx/XilinxBoardStore, boards/Xilinx (kv260_som
1.4, kv260_carrier 1.3, au280 1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPorts:
    """Masters by the memory port they share, and the properties that switch those ports on."""

    masters: dict[str, tuple[str, ...]]
    properties: dict[str, str]


def zynq_ports(masters: Sequence[str], data_bits: int) -> MemoryPorts:
    """Return the S_AXI_HP ports of the masters: one each, shared in turn when there are more masters than ports."""
    count = min(len(masters), _HIGH_PERFORMANCE_PORTS)
    bits = min(max(data_bits, _HIGH_PERFORMANCE_BITS[0]), _HIGH_PERFORMANCE_BITS[-1])
    properties = {}
    for port in range(_HIGH_PERFORMANCE_PORTS):
        properties[f"CONFIG.PSU__USE__S_AXI_GP{port + 2}"] = str(int(port < count))
        if port < count:
            properties[f"CONFIG.PSU__SAXIGP{port + 2}__DATA_WIDTH"] = str(bits)
    return MemoryPorts(masters={str(port): tuple(masters[port::count]) for port in range(count)}, properties=properties)


def hbm_ports(masters: Sequence[str]) -> MemoryPorts:
    """Return the AXI ports of the HBM for the masters, spread evenly, and the last one for the host.

    With as many masters as ports the last one shares its port with the host.
    """
    taken: dict[int, tuple[str, ...]] = {
        index * _HBM_PORTS // len(masters): (f"core/{master}",) for index, master in enumerate(masters)
    }
    last = _HBM_PORTS - 1
    taken[last] = (*taken.get(last, ()), HOST)
    return MemoryPorts(
        masters={f"{port:02d}": names for port, names in sorted(taken.items())},
        properties={f"USER_SAXI_{port:02d}": str(port in taken).lower() for port in range(_HBM_PORTS)},
    )
