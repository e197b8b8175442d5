"""Start the instructions of one engine: its queue, its tokens, and where its cycles go."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.isa import ENGINES
from gossamer.arch.timing import COMPLETION_CYCLES, START_CYCLES
from gossamer.rtl.control.queue import InstructionQueue
from gossamer.rtl.copies import Copies
from gossamer.rtl.engine import INSTRUCTION_BITS

assert (START_CYCLES, COMPLETION_CYCLES) == (2, 1)


class EngineIssue(wiring.Component):
    """Hold one engine's instructions, start each when its tokens are there, give its tokens when it is done.

    Members
    -------
    clear: forget queue and running instruction.
    go: instructions may start.
    push, instruction, room, rooms: the queue's input, see `InstructionQueue`.
    available: engines of which there is a token, or is one being given, in the order of ENGINES. take: tokens taken in
    this cycle.
    give: engines that get a token in this cycle.
    start, head: to the engine: start this instruction now. done, waiting: from the engine, see `EngineControl`.
    working: this cycle is one of an instruction. quiet: neither that nor is anything in the queue.
    missing: engines whose token the head waits for in this cycle.
    finished: the cycle before was the last of an instruction.
    busy, waiting_memory, idle, waiting_token: what the cycle before was: exactly one bit of the seven is high.

    Protocol
    --------
    What decides is worked out in the cycle before. The head starts START_CYCLES after it was pushed at the earliest,
    and COMPLETION_CYCLES after the cycle behind the `done` of the one before, and of those whose tokens it waits for.
    A cycle without instruction is idle, as are those between one and the next that could start; one with an instruction
    that cannot start is charged to the first engine, in the order of ENGINES, whose token is missing; every other one
    is busy, or waiting for memory if the engine says so. Equal to `_start` of `gossamer.sim.engine` cycle by cycle.

    Latency and throughput
    ----------------------
    `start` is a register, `give` and `take` one gate behind one. An instruction decided on in a cycle in which `go` is
    high starts in the next.
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
                "rooms": Out(1),
                "available": In(engines),
                "take": Out(engines),
                "give": Out(engines),
                "start": Out(1),
                "head": Out(INSTRUCTION_BITS),
                "done": In(1),
                "waiting": In(1),
                "working": Out(1),
                "quiet": Out(1),
                "missing": Out(engines),
                "finished": Out(1),
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
        blocked = Signal.like(self.missing)
        active, ready, worked = (Signal(name=name) for name in ("active", "ready", "worked"))
        m.d.comb += [
            queue.clear.eq(self.clear),
            queue.push.eq(self.push),
            queue.instruction.eq(self.instruction),
            queue.pop.eq(self.start),
            self.room.eq(queue.room),
            self.rooms.eq(queue.rooms),
            self.head.eq(queue.head),
            self.working.eq(self.start | (active & ~self.finished)),
            self.quiet.eq(~self.working & ~queue.valid),
            ready.eq(~self.working & queue.valid),
            blocked.eq(queue.wait & ~self.available),
            self.take.eq(Mux(self.start, queue.wait, 0)),
            self.give.eq(Mux(self.finished, given, 0)),
            self.busy.eq(worked & ~self.waiting),
            self.waiting_memory.eq(worked & self.waiting),
        ]
        with m.If(self.start):
            m.d.sync += given.eq(queue.release)
        m.d.sync += [
            self.start.eq(ready & self.go & ~blocked.any()),
            self.missing.eq(Mux(ready, blocked, 0)),
            active.eq(self.working & ~self.clear),
            self.finished.eq(self.done & ~self.clear),
            worked.eq(self.working),
            self.idle.eq(~self.working & ~self.missing.any()),
            self.waiting_token.eq(self.missing & ~(self.missing - 1)[: len(self.missing)]),
        ]
        return m
