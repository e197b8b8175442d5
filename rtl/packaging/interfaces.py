"""Find the buses among the ports of a top component, by their names."""

from dataclasses import dataclass

from amaranth.lib import wiring

from gossamer.rtl.copies import flat_ports

INTERRUPT = "interrupt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One port of the top."""

    name: str
    bits: int
    is_input: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """An AXI interface: the ports named `prefix_...`. `is_lite`: AXI4-Lite."""

    name: str
    ports: tuple[Port, ...]
    is_master: bool
    is_lite: bool

    def bits(self, signal: str) -> int:
        """Return the width of one of its signals."""
        return next(port.bits for port in self.ports if port.name == f"{self.name}_{signal}")


def top_ports(top: wiring.Component) -> tuple[Port, ...]:
    """Return the ports of a component in order, without clock and reset."""
    return tuple(
        Port(name=name, bits=len(value), is_input=is_input) for name, (value, is_input) in flat_ports(top).items()
    )


def axi_buses(ports: tuple[Port, ...]) -> tuple[Bus, ...]:
    """Return the AXI interfaces: every prefix that has an `araddr`."""
    buses = []
    for address in ports:
        if not address.name.endswith("_araddr"):
            continue
        name = address.name.removesuffix("_araddr")
        members = tuple(port for port in ports if port.name.startswith(f"{name}_"))
        is_lite = f"{name}_awlen" not in {port.name for port in members}
        buses.append(Bus(name=name, ports=members, is_master=not address.is_input, is_lite=is_lite))
    return tuple(buses)
