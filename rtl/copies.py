"""Instantiate a component once or many times by name, so that it becomes one Verilog module however often it is used.

Amaranth writes one module per submodule instance. A component wrapped in `Copies` is written once, by
`gossamer.rtl.verilog`, and an array of instances is one line of Verilog: lines do not grow with the array.
"""

import re
from collections.abc import Iterable, Mapping

from amaranth.hdl import ClockSignal, Instance, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.errors import GossamerError

CLOCK, RESET = "clk", "rst"
"""Names Amaranth gives the ports of the `sync` domain."""


class UnsharedOutput(GossamerError):
    """An output of a component was declared shared between its copies: they would drive one wire together."""


def module_name(component: wiring.Component) -> str:
    """Return the Verilog module name of a component: its `module_name` if it has one, else its class in snake case."""
    given = getattr(component, "module_name", None)
    if given is not None:
        return str(given)
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(component).__name__).lower()


def has_clock(component: wiring.Component) -> bool:
    """Return whether a component's module has the port `clk`: all but some leaves do."""
    return bool(getattr(component, "has_clock", True))


def has_reset(component: wiring.Component) -> bool:
    """Return whether a component's module has the port `rst`: all but most leaves do."""
    return bool(getattr(component, "has_reset", True))


def flat_ports(component: wiring.Component) -> dict[str, tuple[Value, bool]]:
    """Return every port of a component by its Verilog name: the value, and whether it is an input."""
    ports = {}
    for path, member, value in component.signature.flatten(component):
        ports["__".join(map(str, path))] = (Value.cast(value), member.flow == In)
    return ports


class Copies(wiring.Component):
    """`count` instances of one component side by side; a drop-in replacement for the component if count is 1.

    Members
    -------
    The component's own ports, flattened to single signals. Inputs named in `shared` keep their width and reach every
    copy; every other port is `count` times as wide, copy 0 in the least significant bits.

    Parameters
    ----------
    component: what is instantiated; two components of one module name must be the same hardware.
    count: number of instances, at least 1.
    shared: names of inputs that all copies see.
    reset: resets the copies; absent: the reset of the domain.

    Raises
    ------
    UnsharedOutput: a name in `shared` is an output or no port at all.
    """

    def __init__(
        self, component: wiring.Component, count: int = 1, shared: Iterable[str] = (), reset: Value | None = None
    ) -> None:
        self.component = component
        self._has_clock, self._has_reset = has_clock(component), has_reset(component)
        self._reset = ResetSignal() if reset is None else reset
        self.count = count
        self.shared = frozenset(shared)
        self.ports = flat_ports(component)
        wrong = sorted(name for name in self.shared if name not in self.ports or not self.ports[name][1])
        if wrong:
            raise UnsharedOutput(f"{module_name(component)}: `shared` must name inputs, not {', '.join(wrong)}")
        members = {}
        for name, (value, is_input) in self.ports.items():
            width = len(value) * (1 if name in self.shared else count)
            members[name] = In(width) if is_input else Out(width)
        super().__init__(wiring.Signature(members))

    @property
    def wrapper_name(self) -> str:
        """Name of the module that holds the array; the component's own if there is only one copy."""
        name = module_name(self.component)
        return name if self.count == 1 else f"{name}_x{self.count}"

    def elaborate(self, platform: object) -> Instance:
        """Return the instance, which remembers what it stands for."""
        connections: Mapping[str, object] = {
            ("i_" if is_input else "o_") + name: getattr(self, name) for name, (_, is_input) in self.ports.items()
        }
        domain: dict[str, Value] = {f"i_{CLOCK}": ClockSignal()} if self._has_clock else {}
        if self._has_reset:
            domain[f"i_{RESET}"] = self._reset
        instance = Instance(self.wrapper_name, **domain, **connections)
        instance.copies = self
        return instance

    def array_text(self) -> str:
        """Return the Verilog module that holds the array of instances; only for more than one copy."""
        domain = [*[CLOCK] * self._has_clock, *[RESET] * self._has_reset]
        ports = [f"  input {name}" for name in domain]
        for name, (value, is_input) in self.ports.items():
            width = len(value) * (1 if name in self.shared else self.count)
            ports.append(f"  {'input' if is_input else 'output'} [{width - 1}:0] {name}")
        pins = ", ".join(f".{name}({name})" for name in (*domain, *self.ports))
        lines = [f"module {self.wrapper_name}(", ",\n".join(ports), ");"]
        lines += [f"  {module_name(self.component)} copy [{self.count - 1}:0] ({pins});", "endmodule", ""]
        return "\n".join(lines)
