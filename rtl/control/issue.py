"""Start the instructions of one engine: its queue, its tokens, and where its cycles go."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.isa import ENGINES
from gossamer.rtl.control.queue import InstructionQueue
from gossamer.rtl.copies import Copies
from gossamer.rtl.engine import INSTRUCTION_BITS


class EngineIssue(wiring.Component):
    """Hold one engine's instructions, start each when its tokens are there, give its tokens when it is done.

    Members
    -------
    clear: forget queue and running instruction.
    go: instructions may start.
    push, instruction, room: the queue's input, see `InstructionQueue`.
    available: engines of which there is a token, in the order of ENGINES. take: tokens taken in this cycle.
    give: engines that get a token in this cycle.
    start, head: to the engine: start this instruction now. done, waiting: from the engine, see `EngineControl`.
    active: the engine has an instruction it was given in an earlier cycle. empty: the queue holds nothing.
    missing: engines whose token the head waits for; 0 while the engine is active.
    busy, waiting_memory, idle, waiting_token: what this cycle is: exactly one bit of the seven is high while `go` is.

    Protocol
    --------
    The head starts in the first cycle in which the engine is not active and a token of every engine in its `wait` is
    available: one cycle after it was pushed at the earliest, and one after `done` of the one before. A cycle without
    instruction is idle; one with an instruction that cannot start is charged to the first engine, in the order of
    ENGINES, whose token is missing; every other one is busy, or waiting for memory if the engine says so. Equal to
    `_start` of `gossamer.sim.engine` cycle by cycle.

    Latency and throughput
    ----------------------
    One cycle from push to start; `start` and `take` are combinational in `available`, `give` in `done`.
    """

    def __init__(self, queue_depth: int) -> None:
        self.queue_depth = queue_depth
        engines = len(ENGINES)
        super().__init__(
            {
                "clear": In(1),
                "go": In(1),
                "push": In(1),
                "instruction": In(INSTRUCTION_BITS),
                "room": Out(1),
                "available": In(engines),
                "take": Out(engines),
                "give": Out(engines),
                "start": Out(1),
                "head": Out(INSTRUCTION_BITS),
                "done": In(1),
                "waiting": In(1),
                "active": Out(1),
                "empty": Out(1),
                "missing": Out(engines),
                "busy": Out(1),
                "waiting_memory": Out(1),
                "idle": Out(1),
                "waiting_token": Out(engines),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the queue and the rule by which its head starts."""
        m = Module()
        m.submodules.queue = queue = Copies(InstructionQueue(self.queue_depth))
        given = Signal.like(self.give)
        ready = Signal()
        blocked = Signal.like(self.missing)
        working = Signal()
        m.d.comb += [
            queue.clear.eq(self.clear),
            queue.push.eq(self.push),
            queue.instruction.eq(self.instruction),
            queue.pop.eq(self.start),
            self.room.eq(queue.room),
            self.empty.eq(~queue.valid),
            self.head.eq(queue.head),
            ready.eq(queue.valid & ~self.active),
            blocked.eq(queue.wait & ~self.available),
            self.missing.eq(Mux(ready, blocked, 0)),
            self.start.eq(ready & self.go & ~blocked.any()),
            self.take.eq(Mux(self.start, queue.wait, 0)),
            self.give.eq(Mux(self.done, Mux(self.start, queue.release, given), 0)),
            working.eq(self.start | self.active),
            self.busy.eq(working & ~self.waiting),
            self.waiting_memory.eq(working & self.waiting),
            self.idle.eq(~self.active & ~queue.valid),
            self.waiting_token.eq(self.missing & ~(self.missing - 1)[: len(self.missing)]),
        ]
        with m.If(self.start):
            m.d.sync += given.eq(queue.release)
        m.d.sync += self.active.eq(working & ~self.done & ~self.clear)
        return m
