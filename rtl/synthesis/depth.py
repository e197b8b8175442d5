"""Count logic levels between registers in a mapped netlist, across the units it was synthesized in.

A LUT, a distributed memory's read and a whole carry chain are one level each; wide multiplexers, carries from cell to
cell and wires are none. Registers, DSPs and memories start and end paths. Ours, checked by
tests/unit/test_synthesis_depth.py on netlists whose levels are known, and against a slow twin.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from gossamer.arch.errors import ToolError
from gossamer.rtl.synthesis.cells import BLOCK_MEMORIES, CARRIES, MULTIPLIERS, REGISTERS, WIDE_MUXES

Netlist = Mapping[str, Any]
"""One module of Yosys's JSON: `ports` and `cells`; a bit is an integer, or text if it is constant."""

_CLOCKS = ("C", "CLK", "WCLK", "WCK", "CLKA", "CLKB", "CLKARDCLK", "CLKBWRCLK", "CLK0", "CLK1")
_READ_ADDRESSES = ("A", "DPRA", "ADDR", "RAD")
_IN_REGISTER = -1
"""Arrival of a net that no register reaches: it is constant or comes from ports alone."""


Place = tuple[str, int]
"""A bit of a port: its name and number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A path from a register to a cell; `unit`: module of the unit below that it ends in, empty for a primitive."""

    levels: int
    cell: str
    unit: str
    multiplier: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Levels of a unit.

    `longest`: the longest path that ends in the unit itself, in each kind of unit below, and of either of those in a
    multiplier. `to_register`, `to_multiplier`: levels from an input to what it reaches. `from_register`: levels from
    registers to an output. `through`: levels from inputs to an output without a register between.
    """

    longest: tuple[Path, ...]
    to_register: Mapping[Place, int]
    to_multiplier: Mapping[Place, int]
    from_register: Mapping[Place, int]
    through: Mapping[Place, Mapping[Place, int]]


@dataclass(frozen=True, slots=True)
class _Edge:
    """A way through a cell: from net to net, with its levels."""

    source: int
    levels: int


class _Graph:
    """Nets of one unit: how each is driven, and where paths end."""

    def __init__(self, netlist: Netlist, below: Mapping[str, Levels]) -> None:
        self.below = below
        self.edges: dict[int, list[_Edge]] = {}
        self.launch: dict[int, int] = {}
        # Net, cell, levels after the net, whether in a DSP, module of the unit below or empty.
        self.ends: list[tuple[int, str, int, bool, str]] = []
        for name, cell in netlist["cells"].items():
            self._add(name, cell)

    def _add(self, name: str, cell: Mapping[str, Any]) -> None:
        kind, pins, ways = cell["type"], cell["connections"], cell["port_directions"]
        outputs = [(pin, bits) for pin, bits in pins.items() if ways[pin] == "output"]
        inputs = [(pin, bits) for pin, bits in pins.items() if ways[pin] == "input"]
        if kind in self.below:
            self._add_unit(name, kind, inputs, outputs)
        elif kind in REGISTERS | MULTIPLIERS | BLOCK_MEMORIES:
            self._launch(outputs)
            self._end(name, inputs, kind in MULTIPLIERS)
        elif kind in CARRIES:
            self._add_carry(inputs, outputs)
        elif kind in WIDE_MUXES:
            self._connect(inputs, outputs, 0)
        elif kind.startswith(("RAM", "SRL", "TRELLIS_DPR")):
            self._launch(outputs)
            addresses = [(pin, bits) for pin, bits in inputs if pin.startswith(_READ_ADDRESSES)]
            self._connect(addresses, outputs, 1)
            self._end(name, inputs, False)
        else:
            self._connect(inputs, outputs, 1)

    def _launch(self, outputs: Iterable[tuple[str, list[Any]]]) -> None:
        for _, bits in outputs:
            self.launch.update((bit, 0) for bit in bits if isinstance(bit, int))

    def _end(self, name: str, inputs: Iterable[tuple[str, list[Any]]], multiplier: bool) -> None:
        for pin, bits in inputs:
            if pin not in _CLOCKS:
                self.ends += [(bit, name, 0, multiplier, "") for bit in bits if isinstance(bit, int)]

    def _connect(
        self, inputs: Iterable[tuple[str, list[Any]]], outputs: Iterable[tuple[str, list[Any]]], levels: int
    ) -> None:
        sources = [_Edge(bit, levels) for _, bits in inputs for bit in bits if isinstance(bit, int)]
        for _, bits in outputs:
            for bit in bits:
                if isinstance(bit, int):
                    self.edges.setdefault(bit, []).extend(sources)

    def _add_carry(self, inputs: list[tuple[str, list[Any]]], outputs: list[tuple[str, list[Any]]]) -> None:
        """Connect a carry cell: bit n of the outputs depends on bits 0 to n of the operands, and on the carry in."""
        carries = [(pin, bits) for pin, bits in inputs if pin in ("CI", "CIN")]
        operands = [(pin, bits) for pin, bits in inputs if pin not in ("CI", "CIN")]
        self._connect(carries, outputs, 0)
        for pin, bits in outputs:
            for number, bit in enumerate(bits):
                place = int(pin[1]) if pin in ("S0", "S1") else number
                reach = [(name, *_up_to(name, wires, place, pin)) for name, wires in operands]
                self._connect([(name, wires) for name, wires in reach], [(pin, [bit])], 1)

    def _add_unit(
        self, name: str, kind: str, inputs: list[tuple[str, list[Any]]], outputs: list[tuple[str, list[Any]]]
    ) -> None:
        levels = self.below[kind]
        nets = {(pin, number): bit for pin, bits in inputs for number, bit in enumerate(bits) if isinstance(bit, int)}
        for pin, bits in outputs:
            for number, bit in enumerate(bits):
                if (pin, number) in levels.from_register:
                    self.launch[bit] = levels.from_register[pin, number]
                for place, count in levels.through.get((pin, number), {}).items():
                    if place in nets:
                        self.edges.setdefault(bit, []).append(_Edge(nets[place], count))
        for place, net in nets.items():
            if place in levels.to_register:
                self.ends.append((net, name, levels.to_register[place], False, kind))
            if place in levels.to_multiplier:
                self.ends.append((net, name, levels.to_multiplier[place], True, kind))

    def order(self) -> Iterator[int]:
        """Yield every net after those it depends on. Raises ToolError for a combinational loop."""
        sorter = TopologicalSorter({bit: [edge.source for edge in edges] for bit, edges in self.edges.items()})
        try:
            yield from sorter.static_order()
        except CycleError as error:
            raise ToolError(f"the netlist has a combinational loop of {len(error.args[1]) - 1} nets") from error


def _up_to(pin: str, bits: list[Any], place: int, output: str) -> tuple[list[Any]]:
    """Return the bits of a carry cell's operand that reach its output at `place`."""
    if pin[-1] in "01" and len(pin) == 2:  # CCU2C: A0 to D0 and A1 to D1
        return (bits if output == "COUT" or int(pin[1]) <= place else [],)
    return (bits[: place + 1],)


def unit_levels(netlist: Netlist, below: Mapping[str, Levels]) -> Levels:
    """Return the levels of a unit; `below` has those of the units it contains, by module."""
    graph = _Graph(netlist, below)
    ports = netlist["ports"]
    place_of = {
        bit: (name, number)
        for name, port in ports.items() if port["direction"] == "input"
        for number, bit in enumerate(port["bits"]) if isinstance(bit, int)
    }  # fmt: skip
    arrival: dict[int, int] = dict(graph.launch)
    from_ports: dict[int, dict[tuple[str, int], int]] = {bit: {place: 0} for bit, place in place_of.items()}
    for bit in graph.order():
        for edge in graph.edges.get(bit, ()):
            before = arrival.get(edge.source, _IN_REGISTER)
            if before >= 0:
                arrival[bit] = max(arrival.get(bit, _IN_REGISTER), before + edge.levels)
            for place, levels in from_ports.get(edge.source, {}).items():
                known_places = from_ports.setdefault(bit, {})
                known_places[place] = max(known_places.get(place, 0), levels + edge.levels)
    longest: dict[tuple[str, bool], Path] = {}
    reached: dict[bool, dict[Place, int]] = {False: {}, True: {}}
    for bit, cell, after, multiplier, unit in graph.ends:
        if bit in arrival:
            path = Path(levels=arrival[bit] + after, cell=cell, unit=unit, multiplier=multiplier)
            known = longest.setdefault((unit, multiplier), path)
            longest[unit, multiplier] = max(known, path, key=lambda each: each.levels)
        for place, levels in from_ports.get(bit, {}).items():
            for kind in {False, multiplier}:
                reached[kind][place] = max(reached[kind].get(place, 0), levels + after)
    outputs = {
        (name, number): bit
        for name, port in ports.items() if port["direction"] == "output"
        for number, bit in enumerate(port["bits"])
    }  # fmt: skip
    return Levels(
        longest=tuple(longest.values()), to_register=reached[False], to_multiplier=reached[True],
        from_register={place: arrival[bit] for place, bit in outputs.items() if bit in arrival},
        through={place: from_ports[bit] for place, bit in outputs.items() if bit in from_ports},
    )  # fmt: skip
