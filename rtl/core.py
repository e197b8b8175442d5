"""The core: control, memory port, COMPUTE, VECTOR and the buffers between them."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.banking import index_window, parameter_window, weight_window
from gossamer.arch.config import require_hardware
from gossamer.arch.isa import Space
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.target import Target, default_target
from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.compute.engine import ComputeEngine
from gossamer.rtl.control.axi_lite import SLAVE_PORTS
from gossamer.rtl.control.control import BARRIER_PORTS, Control
from gossamer.rtl.copies import Copies
from gossamer.rtl.dma.dma import Dma
from gossamer.rtl.dma.parameters import memory_port, port_prefixes, read_members, write_members
from gossamer.rtl.engine import EngineControl
from gossamer.rtl.global_net import GlobalNet
from gossamer.rtl.memory.activation import ActivationBuffer
from gossamer.rtl.memory.window import WindowBuffer
from gossamer.rtl.vector.engine import VectorEngine

MASTER = "m_axi"

BETWEEN_CORES = ("arrived", "go", "failed")
"""What a core of several says to the others and hears of them, see `Control`."""


def master_names(ports: int) -> list[str]:
    """Return the prefixes of the AXI4 masters' ports."""
    return [f"{MASTER}_"] if ports == 1 else [f"{MASTER}{port}_" for port in range(ports)]


class Core(wiring.Component):
    """Complete sparse chain accelerator: runs Programs out of memory, on its own, once started.

    Members
    -------
    s_axi_*: AXI4-Lite slave, see `gossamer.arch.registers`. interrupt: a run is done or has failed, if enabled.
    m_axi_*: AXI4 master for instructions, weights and activations; m_axi0_*, m_axi1_*, ... if there are several.
    arrived, go, failed: of a core among several (`gossamer.rtl.cores`), see `Control`.

    Protocol
    --------
    The host writes address, length and config fingerprint of a Program, then starts it; see the register map. All ports
    are synchronous to clk; rst is synchronous, active high.

    Latency and throughput
    ----------------------
    Those of the timing simulator, on the memory it is given: `gossamer verify` prints the difference.

    Parameters
    ----------
    spec: the config. target: whose primitives the array multiplies with; absent: those of the config's device.
    Raises ConfigError if it cannot be generated: a packed DSP cascade has its limits.
    """

    def __init__(self, spec: SparseAccelerator, target: Target | None = None) -> None:
        self.target = default_target(spec.device.family) if target is None else target
        require_hardware(spec, spec.name, self.target)
        self.module_name = "gossamer_core"
        self.spec = spec
        self.several = spec.cores > 1
        beat_bytes = spec.axi.data_bits // 8
        self.master = read_members(beat_bytes) | write_members(beat_bytes)
        members = dict(SLAVE_PORTS)
        for prefix in master_names(spec.axi.ports):
            members |= {prefix + name: member for name, member in self.master.items()}
        between = {name: BARRIER_PORTS[name] for name in BETWEEN_CORES} if self.several else {}
        super().__init__({**members, **between, "interrupt": Out(1)})

    def elaborate(self, platform: object) -> Module:
        """Return the parts and the wires between them."""
        m = Module()
        spec = self.spec
        m.submodules.control = control = Copies(Control(spec))
        reset = self._engine_reset(m, control)
        dma = Copies(Dma(memory_port(spec), spec.axi.ports, self.target, self.several), reset=reset)
        m.submodules.dma = dma
        m.submodules.compute = compute = Copies(ComputeEngine(ArrayShape.of(spec, self.target)), reset=reset)
        m.submodules.vector = vector = Copies(VectorEngine.of(spec, self.target), reset=reset)
        m.submodules.activations = activations = Copies(ActivationBuffer(spec))
        m.submodules.weights = weights = Copies(WindowBuffer("weight_buffer", weight_window(spec)))
        m.submodules.indices = indices = Copies(WindowBuffer("index_buffer", index_window(spec)))
        m.submodules.parameters = parameters = Copies(WindowBuffer("parameter_buffer", parameter_window(spec)))
        self._boundary(m, control, dma)
        self._program(m, control, dma)
        for part, engine, prefix in (
            (dma, "load", "load__"), (compute, "compute", "control__"), (vector, "vector", "control__"),
            (dma, "store", "store__"),
        ):  # fmt: skip
            for name, member in EngineControl().members.items():
                inner, outer = getattr(part, prefix + name), getattr(control, f"{engine}__{name}")
                m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        self._load_pieces(
            m, dma, activations, {Space.WEIGHT: weights, Space.INDEX: indices, Space.PARAMETER: parameters}
        )
        self._compute_reads(m, compute, activations, weights, indices)
        self._vector_reads(m, vector, compute, activations, parameters)
        m.d.comb += [
            activations.store_address.eq(dma.read_address),
            dma.read_ready.eq(1),
            dma.read_data.eq(activations.store_data),
        ]
        return m

    def _engine_reset(self, m: Module, control: Any) -> Value:
        """Return the reset of DMA, COMPUTE and VECTOR: a register for all of them, after rst and before every run."""
        held = Signal(init=1, name="engine_reset")
        m.d.sync += held.eq(control.resets)
        m.submodules.engine_reset = net = Copies(GlobalNet(self.target))
        m.d.comb += net.value.eq(held)
        return net.everywhere

    def _boundary(self, m: Module, control: Any, dma: Any) -> None:
        """Connect the ports of the core."""
        for name, member in SLAVE_PORTS.items():
            inner, outer = getattr(control, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        ports = self.spec.axi.ports
        for mine, its in zip(master_names(ports), port_prefixes(ports), strict=True):
            for name, member in self.master.items():
                inner, outer = getattr(dma, its + name), getattr(self, mine + name)
                m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        m.d.comb += self.interrupt.eq(control.interrupt)
        if self.several:
            m.d.comb += [
                self.arrived.eq(control.arrived), control.go.eq(self.go), self.failed.eq(control.failed),
                dma.stream.eq(control.stream),
            ]  # fmt: skip

    def _program(self, m: Module, control: Any, dma: Any) -> None:
        """Connect control and FETCH."""
        m.d.comb += [
            dma.base.eq(control.base),
            dma.instructions.eq(control.length),
            dma.start.eq(control.start),
            dma.stop.eq(~control.running),
            control.memory_quiet.eq(dma.quiet),
            control.fetch_valid.eq(dma.fetch_valid),
            control.fetch_instruction.eq(dma.fetch_instruction),
            control.fetch_fault.eq(dma.fetch_fault),
            control.fetch_address.eq(dma.fetch_address),
            dma.fetch_ready.eq(control.fetch_ready),
            dma.fetch_dispatched.eq(control.fetch_dispatched),
        ]

    def _load_pieces(self, m: Module, dma: Any, activations: Any, others: dict[Space, Any]) -> None:
        """Send the pieces of LOAD to the buffer they are for; only the activation buffer can refuse one."""
        here = dma.write_space == Space.ACTIVATION
        m.d.comb += [
            activations.load_valid.eq(dma.write_valid & here),
            activations.load_address.eq(dma.write_address),
            activations.load_last.eq(dma.write_last),
            activations.load_data.eq(dma.write_data),
            dma.write_ready.eq(Mux(here, activations.load_ready, 1)),
            dma.write_held.eq(activations.load_held),
        ]
        for space, buffer in others.items():
            m.d.comb += [
                buffer.write_valid.eq(dma.write_valid & (dma.write_space == space)),
                buffer.write_address.eq(dma.write_address),
                buffer.write_length.eq(dma.write_length),
                buffer.write_data.eq(dma.write_data),
            ]

    def _compute_reads(self, m: Module, compute: Any, activations: Any, weights: Any, indices: Any) -> None:
        """Connect COMPUTE and what it reads."""
        m.d.comb += [
            activations.act_address.eq(compute.act_address),
            compute.act_data.eq(activations.act_data),
            weights.read_address.eq(compute.weight_address),
            compute.weight_data.eq(weights.read_data),
            indices.read_address.eq(compute.index_address),
            compute.index_data.eq(indices.read_data),
        ]

    def _vector_reads(self, m: Module, vector: Any, compute: Any, activations: Any, parameters: Any) -> None:
        """Connect VECTOR with activations, parameters and sums."""
        m.d.comb += [
            activations.vector_address.eq(vector.read_address),
            vector.read_data.eq(activations.vector_data),
            parameters.read_address.eq(vector.par_address),
            vector.par_data.eq(parameters.read_data),
        ]
        results = ("d_valid", "d_address", "d_words", "d_data")
        m.d.comb += [getattr(activations, name).eq(getattr(vector, name)) for name in results]
        requests, answers = ("acc_valid", "acc_entry", "acc_channel"), ("acc_data", "acc_conflict")
        m.d.comb += [getattr(compute, name).eq(getattr(vector, name)) for name in requests]
        m.d.comb += [getattr(vector, name).eq(getattr(compute, name)) for name in answers]
