"""Queue of instructions in front of an engine."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.errors import GossamerError
from gossamer.arch.isa import ENGINES, Opcode
from gossamer.rtl.engine import INSTRUCTION_BITS, instruction_fields


class QueueDepth(GossamerError):
    """A queue was given no room."""


class InstructionQueue(wiring.Component):
    """First-in first-out queue of instruction words, in distributed RAM; the head is visible without a request.

    Members
    -------
    clear: empty the queue.
    push, instruction: append a word; only while `room` is high.
    room, rooms: fewer than `depth` words are held, and fewer than `depth` - 1.
    pop: remove the head; only while `valid` is high.
    valid, head: there is a head, and its word. wait, release: fields of the head, from registers.

    Protocol
    --------
    A word pushed in cycle t is visible from t + 1 on. The room of a word popped in cycle t is there from t + 1 on:
    `room` never depends on `pop` of the same cycle.

    Latency and throughput
    ----------------------
    One cycle; one word in and one out per cycle.

    Parameters
    ----------
    depth: words held, at least 1.

    Raises
    ------
    QueueDepth
    """

    def __init__(self, depth: int) -> None:
        if depth < 1:
            raise QueueDepth(f"`depth` of an instruction queue must be at least 1, not {depth}")
        self.depth = depth
        super().__init__(
            {
                "clear": In(1),
                "push": In(1),
                "instruction": In(INSTRUCTION_BITS),
                "room": Out(1, init=1),
                "rooms": Out(1),
                "pop": In(1),
                "valid": Out(1),
                "head": Out(INSTRUCTION_BITS),
                "wait": Out(len(ENGINES)),
                "release": Out(len(ENGINES)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return pointers around one memory; a queue of one word still gets two, of which it uses the first.

        What decides whether the head starts is kept beside the memory, in registers that move up with every pop.
        """
        m = Module()
        words = max(2, self.depth)
        m.submodules.words = words_memory = memory.Memory(shape=INSTRUCTION_BITS, depth=words, init=())
        write = words_memory.write_port()
        read = words_memory.read_port(domain="comb")
        first = Signal(range(words))
        last = Signal(range(words))
        held = Signal(self.depth)
        m.d.comb += [
            self.rooms.eq(~held[-2] if self.depth > 1 else 0),
            self.valid.eq(held[0]),
            write.en.eq(self.room),  # what is not pushed is written over
            write.addr.eq(last),
            write.data.eq(self.instruction),
            read.addr.eq(first),
            self.head.eq(read.data),
        ]
        for pointer, moves in ((first, self.pop), (last, self.push)):
            with m.If(moves & (pointer == self.depth - 1)):
                m.d.sync += pointer.eq(0)
            with m.Elif(moves):
                m.d.sync += pointer.eq(pointer + 1)
        with m.If(self.push & ~self.pop):
            m.d.sync += [held.eq(Cat(1, held)), self.room.eq(~Cat(1, held)[self.depth - 1])]
        with m.Elif(self.pop & ~self.push):
            m.d.sync += [held.eq(held[1:]), self.room.eq(1)]
        with m.If(self.clear):
            m.d.sync += [first.eq(0), last.eq(0), held.eq(0), self.room.eq(1)]
        self._tokens(m, held)
        return m

    def _tokens(self, m: Module, held: Signal) -> None:
        """Add the token fields of all words, the head's first; places that hold nothing show what is pushed."""
        header = instruction_fields(Opcode.END, self.instruction)
        pushed = Cat(header["wait"], header["release"])
        places = [Signal(len(pushed), name=f"tokens_{place}") for place in range(self.depth)]
        stay = [Mux(held[place], tokens, pushed) for place, tokens in enumerate(places)]
        with m.If(self.pop):
            m.d.sync += [tokens.eq(after) for tokens, after in zip(places, [*stay[1:], pushed], strict=True)]
        with m.Else():
            m.d.sync += [tokens.eq(after) for tokens, after in zip(places, stay, strict=True)]
        m.d.comb += Cat(self.wait, self.release).eq(places[0])
