"""Several cores side by side: equal ones that start together and wait for each other at BARRIERs."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.target import Target
from gossamer.rtl.control.axi_lite import SLAVE_PORTS
from gossamer.rtl.copies import Copies
from gossamer.rtl.core import Core, master_names

SLAVE = "s_axi"


def slave_names(cores: int) -> list[str]:
    """Return the prefixes of the AXI4-Lite slaves' ports, one for each core."""
    return [f"{SLAVE}_"] if cores == 1 else [f"{SLAVE}{core}_" for core in range(cores)]


class Cores(wiring.Component):
    """Complete accelerator of several cores, each of which runs its own stream of one Program.

    Members
    -------
    s_axi0_*, s_axi1_*, ...: AXI4-Lite slave of each core, see `gossamer.arch.registers`.
    m_axi0_*, m_axi1_*, ...: AXI4 masters, those of core 0 first, see `Core`.
    interrupt: all cores are done, or one has failed, and it is enabled.

    Protocol
    --------
    The host writes to every core the address of the Program, where in it the core's stream begins (STREAM_REGISTER),
    and the length of its first segment, and starts it; cycle 0 is the same in all of them, when the last one is
    started. When one fails the others wait at their next BARRIER until the host resets them.

    Latency and throughput
    ----------------------
    `go` is a register: all cores go on two cycles after the last one has arrived.

    Parameters
    ----------
    spec: the config, of at least two cores. target: as for `Core`, whose errors it raises.
    """

    def __init__(self, spec: SparseAccelerator, target: Target | None = None) -> None:
        self.module_name = "gossamer_cores"
        self.cores, self.ports = spec.cores, spec.axi.ports
        self.core = Core(spec, target)
        members = {
            prefix + name.removeprefix(f"{SLAVE}_"): member
            for prefix in slave_names(self.cores)
            for name, member in SLAVE_PORTS.items()
        }
        for prefix in master_names(self.cores * self.ports):
            members |= {prefix + name: member for name, member in self.core.master.items()}
        super().__init__({**members, "interrupt": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Return the cores and the wires between them."""
        m = Module()
        m.submodules.cores = cores = Copies(self.core, self.cores, shared=("go",))
        go = Signal()
        m.d.sync += go.eq(cores.arrived.all())
        m.d.comb += [
            cores.go.eq(go),
            self.interrupt.eq(cores.interrupt.all() | (cores.interrupt & cores.failed).any()),
        ]
        outer = master_names(self.cores * self.ports)
        for number, prefix in enumerate(slave_names(self.cores)):
            for name, member in SLAVE_PORTS.items():
                self._connect(m, cores, number, name, prefix + name.removeprefix(f"{SLAVE}_"), member.flow is In)
            for port, inner in enumerate(master_names(self.ports)):
                for name, member in self.core.master.items():
                    mine = outer[number * self.ports + port] + name
                    self._connect(m, cores, number, inner + name, mine, member.flow is In)
        return m

    def _connect(self, m: Module, cores: Copies, number: int, inner: str, outer: str, is_input: bool) -> None:
        """Connect a port of one core with one of this component."""
        mine, all_of_them = getattr(self, outer), getattr(cores, inner)
        its = all_of_them[number * len(mine) : (number + 1) * len(mine)]
        m.d.comb += its.eq(mine) if is_input else mine.eq(its)


def accelerator(spec: SparseAccelerator, target: Target | None = None) -> Core | Cores:
    """Return the top of a config: its core, or all of several. Raises ConfigError as `Core` does."""
    return Core(spec, target) if spec.cores == 1 else Cores(spec, target)
