"""Define what the dispatcher and the four engines say to each other, and how instruction fields are taken apart."""

from amaranth.hdl import Cat, Value
from amaranth.lib.wiring import In, Out, Signature

from gossamer.arch.encoding import LAYOUT, LIMB_BITS
from gossamer.arch.isa import INSTRUCTION_BYTES, Opcode

INSTRUCTION_BITS = 8 * INSTRUCTION_BYTES

INSTRUCTION_PARTS = 4
"""Parts of an instruction between FETCH and dispatch, each with an enable of its own: one would have too far to go."""


class EngineControl(Signature):
    """Port through which an engine is given one instruction at a time; seen from the engine.

    Members
    -------
    start: high for one cycle S, only while the engine is idle; S is the first busy cycle.
    instruction: the instruction's 512 bits, valid in cycle S only.
    done: high in the last busy cycle. An instruction of D cycles has `done` in cycle S + D - 1; the next may start in
        cycle S + D. What it has written on chip is visible to reads that other engines issue from cycle S + D + 3 on.
    waiting: was busy, but waiting for memory in the cycle before (LOAD and STORE; others tie it low).
    fault: high for one cycle when the instruction cannot be executed; the engine then stays busy until reset.
    cause: `gossamer.arch.registers.ErrorCause` of the fault. address: off-chip byte address it happened at, else 0.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "instruction": In(INSTRUCTION_BITS),
                "done": Out(1),
                "waiting": Out(1),
                "fault": Out(1),
                "cause": Out(4),
                "address": Out(40),
            }
        )


def instruction_part(instruction: Value, part: int) -> Value:
    """Return one of INSTRUCTION_PARTS equal parts of an instruction's bits."""
    return instruction.word_select(part, INSTRUCTION_BITS // INSTRUCTION_PARTS)


def instruction_fields(opcode: Opcode, word: Value) -> dict[str, Value]:
    """Return every field of an instruction word of 512 bits by name, from the table in `gossamer.arch.isa`."""
    fields = {}
    for field, pieces in LAYOUT[opcode]:
        parts = []
        for piece in pieces:
            start = piece.limb * LIMB_BITS + piece.shift
            parts.append(word[start : start + piece.bits])
        fields[field.name] = Cat(*parts)
    return fields
