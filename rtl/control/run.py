"""Start, stop and reset runs, and remember why one stopped."""

from enum import Enum
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.registers import ErrorCause

CAUSE_BITS = 4
ADDRESS_BITS = 64
COUNT_BITS = 32


class RunState(Enum):
    """What the core is doing for the host."""

    IDLE = 0
    WAIT = 1
    """A command was given; the memory is not quiet yet, or has not been for long enough."""
    RESET = 2
    PREPARE = 3
    """FETCH works out its first request, two cycles."""
    CHECK = 4
    """The program's fingerprint has been compared."""
    RUN = 5
    SETTLE = 6
    """The run has stopped; counters are being added up."""
    GATHER = 7
    """A core of several waits for the others, before it starts or at a BARRIER."""


class RunControl(wiring.Component):
    """Bring a run from the host's command to its end.

    Members
    -------
    start_command, reset_command: high for one cycle when the host writes them.
    config_matches: the program's fingerprint is this core's.
    memory_quiet: no transfer on any memory port is under way; it need not be known yet in the two cycles after
        `running` has fallen that one is about to be.
    ends: END was dispatched in this cycle.
    fault: something cannot go on; it may come in the two cycles after `ends` as well. cause, address: why and where, a
    cycle later.
    dispatched: instructions dispatched; like `cause` and `address`, a cycle after `fault`. settled: all counters are
    exact.
    resets: in the next cycle, engines must forget what they do. reset: in that cycle; clear queues, tokens and
    counters. start: the next cycle is cycle 0 of the run.
    running: cycles 0 to that of END or the error.
    active, done, failed, resetting: bits of the STATUS register.
    finished: a run became done or failed in this cycle.
    error_cause, error_instruction, error_address: of the first error since the last reset.
    Of a core of several: pauses: BARRIER was dispatched in this cycle. arrived: it waits for the others. go: all of
    them wait; a cycle late. counting: cycles 0 to that of END or the error, those at barriers too, when `running` is
    low; the reset of a new run comes while it is low, that at a BARRIER while it is high.

    Protocol
    --------
    Either command waits until the memory is quiet, then resets; a start goes on to check the fingerprint and to run.
    A start is ignored unless idle; a reset is obeyed at any time. After END or an error `running` falls, and the run is
    `done` or has `failed` when the counters have settled. Errors count only while running, and in the two cycles after;
    the first one stays.

    Latency and throughput
    ----------------------
    Start command in cycle t, memory quiet: `reset` in t + 5, `start` in t + 8, cycle 0 of the run is t + 9. BARRIER of
    the last core in cycle t: the next cycle in which instructions can be requested is t + 1 + BARRIER_CYCLES.

    Parameters
    ----------
    several: the core is one of several.
    """

    def __init__(self, several: bool = False) -> None:
        self.several = several
        super().__init__(
            {
                "start_command": In(1),
                "reset_command": In(1),
                "config_matches": In(1),
                "memory_quiet": In(1),
                "ends": In(1),
                "fault": In(1),
                "cause": In(CAUSE_BITS),
                "address": In(ADDRESS_BITS),
                "dispatched": In(COUNT_BITS),
                "settled": In(1),
                "resets": Out(1),
                "reset": Out(1),
                "start": Out(1),
                "running": Out(1),
                "active": Out(1),
                "done": Out(1),
                "failed": Out(1),
                "resetting": Out(1),
                "finished": Out(1),
                "error_cause": Out(CAUSE_BITS),
                "error_instruction": Out(COUNT_BITS),
                "error_address": Out(ADDRESS_BITS),
                **({"pauses": In(1), "arrived": Out(1), "go": In(1), "counting": Out(1)} if several else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the state machine; a reset command is obeyed in every state."""
        m = Module()
        state = Signal(RunState)
        then_start = Signal()
        ended = Signal(2)
        calm = Signal(3)
        m.d.sync += calm.eq(Cat(self.memory_quiet, calm))
        failing, caught, catch, prepared = (Signal(name=name) for name in ("failing", "caught", "catch", "prepared"))
        after_wait: Any = RunState.RESET
        resets: Value = (state == RunState.WAIT) & calm.all()
        if self.several:
            after_wait = Mux(then_start, RunState.GATHER, RunState.RESET)
            resets = Mux(state == RunState.GATHER, self.go, resets & ~then_start)
        with m.Switch(state):
            with m.Case(RunState.IDLE), m.If(self.start_command):
                m.d.sync += [then_start.eq(1), calm.eq(0), state.eq(RunState.WAIT)]
            with m.Case(RunState.WAIT), m.If(calm.all()):
                m.d.sync += state.eq(after_wait)
            with m.Case(RunState.RESET):
                self._forget(m)
                m.d.sync += [
                    caught.eq(0), prepared.eq(0), state.eq(Mux(then_start, RunState.PREPARE, RunState.IDLE))
                ]  # fmt: skip
            with m.Case(RunState.PREPARE):
                m.d.sync += prepared.eq(1)
                with m.If(prepared):
                    m.d.sync += state.eq(RunState.CHECK)
            with m.Case(RunState.CHECK):
                m.d.sync += [
                    self.running.eq(self.config_matches),
                    self.error_cause.eq(Mux(self.config_matches, ErrorCause.NONE, ErrorCause.FINGERPRINT)),
                    state.eq(Mux(self.config_matches, RunState.RUN, RunState.SETTLE)),
                ]
            with m.Case(RunState.RUN), m.If(self.fault | self.ends):
                m.d.sync += [self.running.eq(0), ended.eq(0b11), state.eq(RunState.SETTLE)]
            with m.Case(RunState.SETTLE):
                m.d.comb += self.finished.eq(self.settled & ~ended[0])
                m.d.sync += ended.eq(ended >> 1)
                with m.If(self.finished):
                    m.d.sync += [self.failed.eq(self.error_cause != 0), self.done.eq(self.error_cause == 0)]
                    m.d.sync += state.eq(RunState.IDLE)
        if self.several:
            self._gather(m, state, ended)
        m.d.sync += [
            self.reset.eq(self.resets),
            self.start.eq((state == RunState.PREPARE) & prepared & self.config_matches & ~self.reset_command),
        ]
        m.d.comb += self.resets.eq(resets & ~self.reset_command)
        m.d.comb += failing.eq(self.fault & (self.running | ended[0]))
        m.d.sync += catch.eq(failing & ~caught)
        with m.If(failing):
            m.d.sync += caught.eq(1)
        with m.If(catch):
            m.d.sync += [
                self.error_cause.eq(self.cause),
                self.error_instruction.eq(self.dispatched),
                self.error_address.eq(self.address),
            ]
        with m.If(self.reset_command):
            m.d.sync += [
                self.running.eq(0),
                catch.eq(0),
                ended.eq(0),
                calm.eq(0),
                then_start.eq(self.start_command),
                state.eq(RunState.WAIT),
            ]
        m.d.comb += [
            self.resetting.eq((state == RunState.WAIT) | (state == RunState.RESET)),
            self.active.eq(state >= RunState.PREPARE.value),
        ]
        return m

    def _gather(self, m: Module, state: Signal, ended: Signal) -> None:
        """Add what a core of several does besides; a BARRIER is waited for two cycles, in which its error may come."""
        m.d.sync += self.arrived.eq((state == RunState.GATHER) & (ended == 0) & ~self.go & ~self.reset_command)
        with m.Switch(state):
            with m.Case(RunState.CHECK):
                m.d.sync += self.counting.eq(self.config_matches)
            with m.Case(RunState.RUN):
                with m.If(self.fault | self.ends):
                    m.d.sync += self.counting.eq(0)
                with m.Elif(self.pauses):
                    m.d.sync += [self.running.eq(0), ended.eq(0b11), state.eq(RunState.GATHER)]
            with m.Case(RunState.GATHER):
                m.d.sync += ended.eq(ended >> 1)
                with m.If(self.go):
                    m.d.sync += state.eq(RunState.RESET)
                with m.Elif(self.fault & ended[0]):
                    m.d.sync += [self.counting.eq(0), state.eq(RunState.SETTLE)]
        with m.If(self.reset_command):
            m.d.sync += self.counting.eq(0)

    def _forget(self, m: Module) -> None:
        """End the reset: no run has been done and nothing failed."""
        m.d.sync += [
            self.done.eq(0),
            self.failed.eq(0),
            self.error_cause.eq(ErrorCause.NONE),
            self.error_instruction.eq(0),
            self.error_address.eq(0),
        ]
