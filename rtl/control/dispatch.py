"""Dispatch the instruction stream: decode, check, and hand each instruction to the queue of its engine."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.isa import ENGINE_OF, ENGINES, FIELDS, Opcode
from gossamer.rtl.engine import INSTRUCTION_BITS, instruction_fields

COUNT_BITS = 32


class Dispatcher(wiring.Component):
    """Take instructions from FETCH in order, one per cycle, and push each into the queue of its engine.

    Members
    -------
    clear: forget the count. running: instructions may be taken. length: instructions of the program.
    fetch_valid, fetch_instruction, fetch_ready: the stream from FETCH.
    room: queues that take an instruction in this cycle, in the order of ENGINES. quiet: no engine has any instruction.
    push: queue that takes the instruction in this cycle.
    ends: END was taken in this cycle.
    bad_opcode, bad_bits: the instruction taken in the cycle before has an unknown opcode, or unused bits that are set.
    no_end: all `length` instructions were taken and none was END.
    dispatched: instructions taken, without one that is bad.

    Protocol
    --------
    An instruction waits for room in its own queue, and those behind it wait too. END waits until every engine is idle
    and every queue empty. Checks are registered: the cycle after a bad instruction was taken, in which nothing may
    start, tells of it. Equal to `_dispatch` of `gossamer.sim.engine` cycle by cycle.

    Latency and throughput
    ----------------------
    `push` and `fetch_ready` are combinational in `fetch_valid`, the opcode and `room`; one instruction per cycle.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "clear": In(1),
                "running": In(1),
                "length": In(COUNT_BITS),
                "fetch_valid": In(1),
                "fetch_instruction": In(INSTRUCTION_BITS),
                "fetch_ready": Out(1),
                "room": In(len(ENGINES)),
                "quiet": In(1),
                "push": Out(len(ENGINES)),
                "ends": Out(1),
                "bad_opcode": Out(1),
                "bad_bits": Out(1),
                "no_end": Out(1),
                "dispatched": Out(COUNT_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return decoder, handshake, checks and count."""
        m = Module()
        opcode = instruction_fields(Opcode.END, self.fetch_instruction)["opcode"]
        target = Signal(len(ENGINES))
        is_end = Signal()
        known = Signal()
        set_bits = Signal()
        with m.Switch(opcode):
            for number, engine in enumerate(ENGINES):
                with m.Case(*(op.value for op, owner in ENGINE_OF.items() if owner is engine)):
                    m.d.comb += target.eq(1 << number)
            with m.Case(Opcode.END.value):
                m.d.comb += is_end.eq(1)
        m.d.comb += known.eq(target.any() | is_end)
        by_width: dict[int, list[int]] = {}
        for op, fields in FIELDS.items():
            by_width.setdefault(sum(field.bits for field in fields), []).append(op.value)
        with m.Switch(opcode):
            for width, values in by_width.items():
                with m.Case(*values):
                    m.d.comb += set_bits.eq(self.fetch_instruction[width:].any())
        taken = Signal()
        taken_before = Signal()
        bad = Signal()
        m.d.comb += [
            self.fetch_ready.eq(self.running & ((target & self.room).any() | ~known | (is_end & self.quiet))),
            taken.eq(self.fetch_valid & self.fetch_ready),
            self.push.eq(target & taken.replicate(len(ENGINES))),
            self.ends.eq(taken & is_end),
            bad.eq(Cat(self.bad_opcode, self.bad_bits).any()),
            self.no_end.eq(self.running & (self.dispatched == self.length)),
        ]
        m.d.sync += [
            taken_before.eq(taken & ~self.clear),
            self.bad_opcode.eq(taken & ~known),
            self.bad_bits.eq(taken & known & set_bits),
        ]
        with m.If(self.clear):
            m.d.sync += self.dispatched.eq(0)
        with m.Elif(taken_before & ~bad):
            m.d.sync += self.dispatched.eq(self.dispatched + 1)
        return m
