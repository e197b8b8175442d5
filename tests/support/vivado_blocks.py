"""A block design as Vivado's IP integrator would hold it, and the checks of `validate_bd_design` that matter here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from vivado_ip import CATALOG, Interface, Ip, Properties


class BlockDesignError(AssertionError):
    """Something Vivado would refuse."""


@dataclass(slots=True)
class Cell:
    """A cell; its pins follow from its properties."""

    vlnv: str
    core: Ip | None
    properties: dict[str, str] = field(default_factory=dict)
    known: Ip | None = None

    def ip(self) -> Ip:
        if self.known is None:
            self.known = self.core if self.core is not None else CATALOG[self.vlnv][0](self.properties)
        return self.known


@dataclass(slots=True)
class BlockDesign:
    """Cells, ports, nets and addresses. A net is a list of pins; ports are pins without a slash."""

    name: str
    cells: dict[str, Cell] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)
    interface_ports: dict[str, Interface] = field(default_factory=dict)
    nets: list[set[str]] = field(default_factory=list)
    buses: list[tuple[str, str]] = field(default_factory=list)
    addresses: dict[str, dict[str, tuple[int, int] | None]] = field(default_factory=dict)
    is_valid: bool = False

    def set_properties(self, name: str, properties: Properties) -> None:
        cell = self.cells[name]
        cell.known = None
        for key, value in properties.items():
            if not key.startswith("CONFIG.") or key.removeprefix("CONFIG.") not in CATALOG[cell.vlnv][1]:
                raise BlockDesignError(f"{name}: {cell.vlnv} has no property {key}")
            cell.properties[key.removeprefix("CONFIG.")] = value

    def split(self, path: str) -> tuple[Ip, str]:
        name, _, pin = path.lstrip("/").partition("/")
        if name not in self.cells:
            raise BlockDesignError(f"no cell {name} for {path}")
        return self.cells[name].ip(), pin

    def pin(self, path: str) -> str:
        ip, pin = self.split(path)
        if pin not in (*ip.inputs, *ip.outputs):
            raise BlockDesignError(f"no pin {path}; there are {', '.join((*ip.inputs, *ip.outputs))}")
        return path.lstrip("/")

    def interface(self, path: str) -> Interface:
        if path in self.interface_ports:
            return self.interface_ports[path]
        ip, name = self.split(path)
        if name not in ip.interfaces:
            raise BlockDesignError(f"no interface {path}; there are {', '.join(ip.interfaces)}")
        return ip.interfaces[name]

    def drives(self, path: str) -> bool:
        if "/" not in path:
            return self.ports[path] == "I"
        ip, pin = self.split(path)
        return pin in ip.outputs

    def connect(self, pins: Sequence[str]) -> None:
        joined = set(pins)
        for net in [net for net in self.nets if net & joined]:
            self.nets.remove(net)
            joined |= net
        drivers = sorted(pin for pin in joined if self.drives(pin))
        if len(drivers) != 1:
            raise BlockDesignError(f"a net of {', '.join(sorted(joined))} has the drivers {drivers}")
        self.nets.append(joined)

    def connect_bus(self, one: str, other: str) -> None:
        ends = {self.interface(path).is_master != (path in self.interface_ports): path for path in (one, other)}
        if len(ends) != 2 or self.interface(one).kind != self.interface(other).kind:
            raise BlockDesignError(f"{one} and {other} cannot be connected")
        for path in (one, other):
            if any(path in bus for bus in self.buses):
                raise BlockDesignError(f"{path} is connected twice")
        self.buses.append((ends[True], ends[False]))

    def net_of(self, path: str) -> set[str]:
        return next((net for net in self.nets if path in net), set())

    def driver(self, path: str) -> str:
        return next((pin for pin in self.net_of(path) if self.drives(pin)), "")

    def peer(self, path: str) -> str:
        return next((a if path == b else b for a, b in self.buses if path in (a, b)), "")

    def reached(self, space: str) -> tuple[str, ...]:
        """Return the address segments behind a master, through interconnects."""
        slave = self.peer(space)
        name, _, interface = slave.partition("/")
        ip = self.cells[name].ip()
        if interface in ip.segments:
            return tuple(f"{name}/{segment}" for segment in ip.segments[interface])
        return tuple(
            segment
            for other, way in ip.interfaces.items()
            if way.is_master
            for segment in self.reached(f"{name}/{other}")
        )

    def spaces(self) -> Mapping[str, str]:
        """Return the master interface of every address space."""
        found = {}
        for name, cell in self.cells.items():
            ip = cell.ip()
            masters = [interface for interface, way in ip.interfaces.items() if way.is_master and way.kind == "axi"]
            for space in ip.spaces:
                found[f"{name}/{space}"] = f"{name}/{space if space in masters else masters[0]}"
        return found

    def clocks_of(self, path: str) -> set[str]:
        name = path.partition("/")[0]
        return {self.driver(f"{name}/{clock}") for clock in self.interface(path).clocks}

    def validate(self) -> None:
        """Raise BlockDesignError for open pins and interfaces, crossed clocks, addresses that are open or overlap."""
        for name, cell in self.cells.items():
            ip = cell.ip()
            for pin in ip.inputs:
                if pin not in ip.optional and not self.driver(f"{name}/{pin}"):
                    raise BlockDesignError(f"{name}/{pin} is not connected")
            for interface in ip.interfaces:
                if not self.peer(f"{name}/{interface}"):
                    raise BlockDesignError(f"{name}/{interface} is not connected")
        for port in (*self.ports, *self.interface_ports):
            if not self.net_of(port) and not self.peer(port):
                raise BlockDesignError(f"port {port} is not connected")
        for master, slave in self.buses:
            if self.interface(master).kind == "axi" and not self.clocks_of(master) & self.clocks_of(slave):
                raise BlockDesignError(f"{master} and {slave} are on different clocks")
        for space, master in self.spaces().items():
            self._check_addresses(space, self.reached(master))
        self.is_valid = True

    def _check_addresses(self, space: str, reached: Sequence[str]) -> None:
        assigned = self.addresses.get(space, {})
        if missing := sorted(set(reached) - set(assigned)):
            raise BlockDesignError(f"{space} reaches {missing[0]}, which has no address there")
        if beyond := sorted(set(assigned) - set(reached)):
            raise BlockDesignError(f"{space} has an address for {beyond[0]}, which it does not reach")
        ranges = sorted(place for place in assigned.values() if place is not None)
        for (low, size), (high, _) in pairwise(ranges):
            if low + size > high:
                raise BlockDesignError(f"{space}: segments overlap at {high:#x}")
