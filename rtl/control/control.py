"""Control of the core: everything between the host's registers, the instruction stream and the four engines."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.config import fingerprint
from gossamer.arch.isa import ENGINES, Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.arch.spec import SparseAccelerator
from gossamer.rtl.control.axi_lite import SLAVE_PORTS, AxiLiteSlave
from gossamer.rtl.control.counters import Counters
from gossamer.rtl.control.dispatch import COUNT_BITS, Dispatcher
from gossamer.rtl.control.issue import EngineIssue
from gossamer.rtl.control.registers import COUNTERS, RegisterFile
from gossamer.rtl.control.run import ADDRESS_BITS, RunControl
from gossamer.rtl.control.semaphore import Semaphore
from gossamer.rtl.copies import Copies
from gossamer.rtl.engine import INSTRUCTION_BITS, INSTRUCTION_PARTS, EngineControl, instruction_fields


def config_number(spec: SparseAccelerator) -> int:
    """Return the first 8 bytes of a config's fingerprint as a little-endian number: CONFIG_LOW and CONFIG_HIGH."""
    return int.from_bytes(bytes.fromhex(fingerprint(spec))[:8], "little")


BARRIER_PORTS = {"arrived": Out(1), "go": In(1), "failed": Out(1), "stream": Out(ADDRESS_BITS)}
"""Ports of a core among several."""


class Control(wiring.Component):
    """Run programs: registers for the host, dispatch, instruction queues, tokens and counters.

    Members
    -------
    s_axi_*: AXI4-Lite slave with the registers of `gossamer.arch.registers`. interrupt: a run is done or has failed.
    fetch_valid, fetch_instruction, fetch_ready: instructions of the program in order, from FETCH. fetch_dispatched: one
    is dispatched in this cycle.
    fetch_fault, fetch_address: FETCH was answered with an error, and the address asked.
    load, compute, vector, store: the engines, see `EngineControl`.
    memory_quiet: no transfer on any memory port is under way, or about to be.
    resets: for one cycle: in the next one, FETCH and all engines must forget what they do.
    start: FETCH must begin with `base` and `length` in the next cycle, which is cycle 0 of the run.
    running: cycles 0 to the one in which END was dispatched or an error came. base: address of
    the program; length: its instructions.
    Of a core of several: stream: address of the segment of `length` instructions that FETCH reads next. arrived: the
    core waits for the others; go: all of them do, a cycle late. failed: the run stopped with an error.

    Protocol
    --------
    Every run begins with a reset, which waits until the memory is quiet. When an error stops a run, no instruction
    starts from the second cycle after `running` on, those already started go on until they end by themselves; the next
    start resets them. Counters count while `running` is high: CYCLES is the simulator's total.

    Latency and throughput
    ----------------------
    One instruction per cycle. One offered in cycle t is dispatched in t + 1 and starts in t + 3 if its engine is idle
    and its tokens are there; what waits for one whose `done` is in cycle E starts in E + 2. Dispatch, starts, the end
    and all counters are those of `gossamer.sim.engine`, cycle by cycle.
    """

    def __init__(self, spec: SparseAccelerator) -> None:
        self.fingerprint = config_number(spec)
        self.queue_depth = spec.dispatch.queue_depth
        self.several = spec.cores > 1
        super().__init__(
            {
                **(BARRIER_PORTS if self.several else {}),
                **SLAVE_PORTS,
                "interrupt": Out(1),
                "fetch_valid": In(1),
                "fetch_instruction": In(INSTRUCTION_BITS),
                "fetch_ready": Out(INSTRUCTION_PARTS),
                "fetch_dispatched": Out(1),
                "fetch_fault": In(1),
                "fetch_address": In(ADDRESS_BITS),
                **{engine.value: In(EngineControl()) for engine in ENGINES},
                "memory_quiet": In(1),
                "resets": Out(1),
                "start": Out(1),
                "running": Out(1),
                "base": Out(ADDRESS_BITS),
                "length": Out(COUNT_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the parts and the wires between them."""
        m = Module()
        m.submodules.axi_lite = axi = Copies(AxiLiteSlave())
        m.submodules.registers = registers = Copies(RegisterFile(self.fingerprint, self.several))
        m.submodules.run = run = Copies(RunControl(self.several))
        m.submodules.dispatcher = dispatcher = Copies(Dispatcher(self.several))
        m.submodules.counters = counters = Copies(Counters(COUNTERS))
        m.submodules.issue = issue = Copies(
            EngineIssue(self.queue_depth), len(ENGINES), shared=("clear", "go", "instruction")
        )
        m.submodules.semaphores = semaphores = Copies(Semaphore(), len(ENGINES) ** 2, shared=("clear",))
        m.d.comb += [getattr(axi, name).eq(getattr(self, name)) for name, way in SLAVE_PORTS.items() if way.flow == In]
        m.d.comb += [getattr(self, name).eq(getattr(axi, name)) for name, way in SLAVE_PORTS.items() if way.flow == Out]
        self._connect_host(m, axi, registers, run, counters)
        self._connect_stream(m, dispatcher, issue, run)
        self._choose_segment(m, dispatcher, registers, run)
        self._choose_segment(m, dispatcher, registers, run)
        self._connect_engines(m, issue, semaphores, run)
        self._connect_faults(m, dispatcher, semaphores, run)
        self._connect_counters(m, issue, run, counters)
        m.d.sync += [
            registers.status.eq(
                Cat(run.active, run.done, run.failed, run.resetting, issue.working, self._stuck(issue))
            ),
            registers.waiting_tokens.eq(issue.missing),
        ]
        return m

    def _stuck(self, issue: Copies) -> Cat:
        """Return which engines wait for a token."""
        return Cat(issue.missing.word_select(number, len(ENGINES)).any() for number in range(len(ENGINES)))

    def _connect_host(self, m: Module, axi: Copies, registers: Copies, run: Copies, counters: Copies) -> None:
        """Connect slave, registers and run control."""
        for name in ("write", "write_address", "write_data", "write_strobe", "read_address"):
            m.d.comb += getattr(registers, name).eq(getattr(axi, name))
        for name in ("write_error", "read_data", "read_error"):
            m.d.comb += getattr(axi, name).eq(getattr(registers, name))
        for name in ("start_command", "reset_command", "config_matches"):
            m.d.comb += getattr(run, name).eq(getattr(registers, name))
        for name in ("error_cause", "error_instruction", "error_address", "finished"):
            m.d.comb += getattr(registers, name).eq(getattr(run, name))
        m.d.comb += [
            registers.lower.eq(run.reset),
            counters.address.eq(registers.counter_address),
            registers.counter_value.eq(counters.value),
            run.memory_quiet.eq(self.memory_quiet),
            self.interrupt.eq(registers.interrupt),
            self.base.eq(registers.base),
            self.resets.eq(run.resets),
            self.start.eq(run.start),
            self.running.eq(run.running),
        ]

    def _connect_stream(self, m: Module, dispatcher: Copies, issue: Copies, run: Copies) -> None:
        """Connect FETCH, dispatcher and queues; a bad instruction starts nowhere until it has stopped the run."""
        bad_before = Signal()
        m.d.comb += [
            dispatcher.clear.eq(run.reset),
            dispatcher.running.eq(run.running),
            dispatcher.length.eq(self.length),
            dispatcher.fetch_valid.eq(self.fetch_valid),
            dispatcher.fetch_instruction.eq(self.fetch_instruction),
            self.fetch_ready.eq(dispatcher.fetch_ready),
            dispatcher.room.eq(issue.room),
            dispatcher.rooms.eq(issue.rooms),
            dispatcher.pop.eq(issue.start),
            self.fetch_dispatched.eq(dispatcher.dispatches),
            dispatcher.quiet.eq(issue.quiet.all()),
            issue.push.eq(dispatcher.push),
            issue.instruction.eq(dispatcher.instruction),
            issue.clear.eq(run.reset),
            issue.go.eq(run.running & ~dispatcher.bad_opcode & ~dispatcher.bad_bits & ~bad_before),
            run.ends.eq(dispatcher.ends),
            run.dispatched.eq(dispatcher.dispatched),
        ]
        m.d.sync += bad_before.eq(dispatcher.bad_opcode | dispatcher.bad_bits)

    def _choose_segment(self, m: Module, dispatcher: Copies, registers: Copies, run: Copies) -> None:
        """Choose what FETCH reads: the whole program, or in a core of several the next segment of its stream."""
        if not self.several:
            m.d.comb += self.length.eq(registers.length)
            return
        fields = instruction_fields(Opcode.BARRIER, dispatcher.instruction)
        offset = Signal(len(fields["next"]))
        with m.If(dispatcher.pauses):
            m.d.sync += [offset.eq(fields["next"]), self.length.eq(fields["count"])]
        with m.Elif(~run.counting):
            m.d.sync += [offset.eq(registers.stream), self.length.eq(registers.length)]
        m.d.sync += self.stream.eq(self.base + offset)
        m.d.comb += [
            run.pauses.eq(dispatcher.pauses),
            run.go.eq(self.go),
            self.arrived.eq(run.arrived),
            self.failed.eq(run.failed),
        ]

    def _connect_engines(self, m: Module, issue: Copies, semaphores: Copies, run: Copies) -> None:
        """Connect queues, engines and semaphores; semaphore `engines * taker + giver` is what giver gave to taker."""
        engines = len(ENGINES)
        order = [(taker, giver) for taker in range(engines) for giver in range(engines)]
        m.d.comb += [
            semaphores.clear.eq(run.reset),
            semaphores.take.eq(issue.take),
            semaphores.give.eq(Cat(issue.give[engines * giver + taker] for taker, giver in order)),
            issue.available.eq(semaphores.available | semaphores.give),
        ]
        for number, engine in enumerate(ENGINES):
            port = getattr(self, engine.value)
            m.d.comb += [
                port.start.eq(issue.start[number]),
                port.instruction.eq(issue.head.word_select(number, INSTRUCTION_BITS)),
                issue.done[number].eq(port.done),
                issue.waiting[number].eq(port.waiting),
            ]

    def _connect_faults(self, m: Module, dispatcher: Copies, semaphores: Copies, run: Copies) -> None:
        """Choose one of the errors of a cycle: the dispatcher's first, then FETCH's, the engines' and tokens'.

        Those that do not come from registers are kept in one first; cause and address are chosen a cycle after that.
        That FETCH or any engine has one is a register of its own: the state of the run waits for it.
        """
        ports = [getattr(self, engine.value) for engine in ENGINES]
        late = [
            (self.fetch_fault, Value.cast(ErrorCause.READ_RESPONSE), self.fetch_address),
            *((port.fault, port.cause, port.address) for port in ports),
            (semaphores.overflow.any(), Value.cast(ErrorCause.TOKEN_OVERFLOW), Value.cast(0)),
            (dispatcher.no_end, Value.cast(ErrorCause.NO_END), Value.cast(0)),
        ]
        errors = [
            (dispatcher.bad_opcode, Value.cast(ErrorCause.OPCODE), Value.cast(0)),
            (dispatcher.bad_bits, Value.cast(ErrorCause.RESERVED_BITS), Value.cast(0)),
        ]
        for number, (happens, cause, address) in enumerate(late):
            happened = Signal(name=f"happened_{number}")
            kept = [
                Signal.like(value, name=f"{name}_{number}") for name, value in (("cause", cause), ("address", address))
            ]
            m.d.sync += happened.eq(happens & ~run.reset)
            with m.If(happens):
                m.d.sync += Cat(kept).eq(Cat(cause, address))
            errors.append((happened, *kept))
        happens = Cat(error[0] for error in errors)
        chosen, some = Signal(len(errors)), Signal()
        outside = Cat(error[0] for error in late[: 1 + len(ports)])
        m.d.comb += run.fault.eq(happens[:2].any() | some | happens[2 + len(outside) :].any())
        m.d.sync += some.eq(outside.any() & ~run.reset)
        m.d.sync += chosen.eq(Cat(one & ~happens[:at].any() for at, one in enumerate(happens)))
        for number, output in ((1, run.cause), (2, run.address)):
            m.d.comb += output.eq(reduce(or_, (Mux(chosen[at], error[number], 0) for at, error in enumerate(errors))))

    def _connect_counters(self, m: Module, issue: Copies, run: Copies, counters: Copies) -> None:
        """Bring the events of a cycle into the order of the registers: CYCLES, four per engine, then waits."""
        running = Signal()
        events = [running]
        for number in range(len(ENGINES)):
            events += [issue.finished[number], issue.busy[number], issue.waiting_memory[number], issue.idle[number]]
        counted = Cat(*events, issue.waiting_token)
        counting = run.counting if self.several else run.running
        clear = run.reset & ~counting if self.several else run.reset
        m.d.sync += [running.eq(counting), counters.events.eq(Mux(running, counted, 0)), counters.hold.eq(running)]
        m.d.comb += [counters.clear.eq(clear), run.settled.eq(counters.settled)]
