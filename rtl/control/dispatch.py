"""Dispatch the instruction stream: decode, check, and hand each instruction to the queue of its engine."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.isa import ENGINE_OF, ENGINES, FIELDS, Engine, Opcode
from gossamer.arch.timing import DISPATCH_CYCLES, END_CYCLES
from gossamer.rtl.engine import INSTRUCTION_BITS, INSTRUCTION_PARTS, instruction_fields, instruction_part
from gossamer.rtl.own_copy import UNSHARED

COUNT_BITS = 32
_PIECE_BITS = 64
"""Of an instruction whose unused bits are looked at in a cycle: as many as three gates in a row can."""

assert (DISPATCH_CYCLES, END_CYCLES) == (2, 1)


def _opcodes(engine: Engine) -> list[Opcode]:
    """Return the opcodes an engine executes."""
    return [op for op, owner in ENGINE_OF.items() if owner is engine]


class Dispatcher(wiring.Component):
    """Take instructions from FETCH in order, one per cycle, and push each into the queue of its engine.

    Members
    -------
    clear: forget instruction and count. running: instructions may be dispatched. length: instructions of the program.
    fetch_valid, fetch_instruction, fetch_ready: the stream from FETCH; `fetch_ready` has a bit, always the same, for
    each part of an instruction.
    room, rooms, pop: queues that have room for one instruction, in the order of ENGINES, that have it for two, and that
    lose one in this cycle. quiet: no engine has any instruction.
    push, instruction: queue that takes the instruction in this cycle.
    dispatches: an instruction is dispatched in this cycle. ends: it is END. pauses: it is BARRIER (of several cores).
    bad_opcode, bad_bits: the one dispatched in the cycle before has an unknown opcode, or unused bits that are set.
    no_end: all `length` instructions were dispatched and none was END.
    dispatched: instructions dispatched, without one that is bad.

    Protocol
    --------
    An instruction is decoded while it goes from FETCH to the register from which it is dispatched. It waits there for
    room in its own queue, and those behind it wait too. END waits until every engine is idle and every queue empty, and
    END_CYCLES more. The unused bits are looked at in two steps: the cycle after a bad instruction was dispatched, in
    which no start may be decided on, tells of it. Equal to `dispatch_next` of `gossamer.sim.engine` cycle by cycle.

    Latency and throughput
    ----------------------
    One cycle from FETCH to dispatch; one instruction per cycle. That the instruction in the register will find room is
    known a cycle ahead: `dispatches` and `push` are one gate behind registers, `fetch_ready` is a register.

    Parameters
    ----------
    several: the core is one of several; BARRIER is as END is. It is an unknown opcode otherwise.
    """

    def __init__(self, several: bool = False) -> None:
        self.several = several
        self.fields = {op: fields for op, fields in FIELDS.items() if several or op is not Opcode.BARRIER}
        super().__init__(
            {
                "clear": In(1),
                "running": In(1),
                "length": In(COUNT_BITS),
                "fetch_valid": In(1),
                "fetch_instruction": In(INSTRUCTION_BITS),
                "fetch_ready": Out(INSTRUCTION_PARTS),
                "room": In(len(ENGINES)),
                "rooms": In(len(ENGINES)),
                "pop": In(len(ENGINES)),
                "quiet": In(1),
                "push": Out(len(ENGINES)),
                "instruction": Out(INSTRUCTION_BITS),
                "dispatches": Out(1),
                "ends": Out(1),
                **({"pauses": Out(1)} if several else {}),
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
        ready = Signal(INSTRUCTION_PARTS, init=-1, attrs=UNSHARED)  # there is none in the register, or it leaves
        leaves, is_end, unknown = (Signal(name=name) for name in ("leaves", "is_end", "unknown"))
        target, coming, free = (Signal(len(ENGINES), name=name) for name in ("target", "coming", "free"))
        set_bits = self._set_bits(m, opcode)
        counts, counted_all = Signal(), Signal()
        stops = opcode.matches(Opcode.END, Opcode.BARRIER) if self.several else opcode == Opcode.END
        goes = Signal()  # what the register holds in the next cycle, if anything, leaves it then
        for part in range(INSTRUCTION_PARTS):
            with m.If(ready[part]):
                m.d.sync += instruction_part(self.instruction, part).eq(instruction_part(self.fetch_instruction, part))
        with m.If(ready[0]):
            m.d.comb += goes.eq((coming & free).any() | ~opcode.matches(*self.fields))
            m.d.sync += [
                target.eq(coming),
                is_end.eq(stops),
                unknown.eq(~opcode.matches(*self.fields)),
                leaves.eq(self.fetch_valid & goes),
                ready.eq((~self.fetch_valid | goes).replicate(INSTRUCTION_PARTS)),
            ]
        with m.Else():
            m.d.comb += goes.eq((target & free).any() | (is_end & self.quiet))
            m.d.sync += [leaves.eq(goes), ready.eq(goes.replicate(INSTRUCTION_PARTS))]
        ends: Value = self.running & leaves & is_end
        if self.several:
            is_barrier = Signal()
            with m.If(ready[0]):
                m.d.sync += is_barrier.eq(opcode == Opcode.BARRIER)
            m.d.comb += self.pauses.eq(ends & is_barrier)
            ends = ends & ~is_barrier
        with m.If(self.clear):
            m.d.sync += [leaves.eq(0), ready.eq(-1)]
        m.d.comb += [
            coming.eq(Cat(opcode.matches(*_opcodes(engine)) for engine in ENGINES)),
            free.eq(self.rooms | self.pop | (self.room & ~Mux(leaves, target, 0))),  # in the next cycle
            self.fetch_ready.eq(ready),  # when the run has ended the rest may go where it likes
            self.dispatches.eq(self.running & leaves),
            self.push.eq(Mux(self.running & leaves, target, 0)),
            self.ends.eq(ends),
            self.no_end.eq(self.running & counted_all),
        ]
        m.d.sync += [
            self.bad_opcode.eq(self.dispatches & unknown),
            self.bad_bits.eq(self.dispatches & set_bits),
            counts.eq(self.dispatches),
            counted_all.eq(self.dispatched == self.length),
        ]
        with m.If(self.clear):
            m.d.sync += self.dispatched.eq(0)
        with m.Elif(counts & ~self.bad_opcode & ~self.bad_bits):
            m.d.sync += self.dispatched.eq(self.dispatched + 1)
        return m

    def _set_bits(self, m: Module, opcode: Value) -> Value:
        """Return whether the held instruction has bits set that its opcode does not use.

        Bits that the same opcodes leave unused are looked at together, first in pieces.
        """
        widths = {op: sum(field.bits for field in fields) for op, fields in self.fields.items()}
        begins = sorted(set(widths.values()))
        wrong = []
        for begin, end in zip(begins, [*begins[1:], INSTRUCTION_BITS], strict=True):
            unused = Signal(name=f"unused_{begin}")
            pieces = Signal(len(range(begin, end, _PIECE_BITS)), name=f"pieces_{begin}")
            with m.If(self.fetch_ready[0]):
                m.d.sync += [
                    unused.eq(opcode.matches(*(op for op, width in widths.items() if width <= begin))),
                    pieces.eq(
                        Cat(
                            self.fetch_instruction[at : min(at + _PIECE_BITS, end)].any()
                            for at in range(begin, end, _PIECE_BITS)
                        )
                    ),
                ]
            wrong.append(unused & pieces.any())
        return Cat(wrong).any()
