"""Define the AXI4-Lite register map and the causes of errors: one table for RTL, host code and documentation.

All registers are 32 bits wide, at multiples of 4; 64-bit values take two, the low half first.
"""

from dataclasses import dataclass
from enum import IntEnum

from gossamer.arch.isa import ENGINES, Engine

CORE_ID = 0x47534D52
"""Value of the ID register: `GSMR`."""


class ErrorCause(IntEnum):
    """Why a run stopped; 0 while there is no error."""

    NONE = 0
    FINGERPRINT = 1
    """The program was compiled for another config."""
    OPCODE = 2
    """An instruction has an unknown opcode, or one this core was generated without."""
    RESERVED_BITS = 3
    """Unused bits of an instruction are not zero."""
    FIELD = 4
    """A field of an instruction has a value that cannot be executed, such as a count of zero."""
    READ_RESPONSE = 5
    """The memory answered a read with an error."""
    WRITE_RESPONSE = 6
    """The memory answered a write with an error."""
    ACCUMULATOR_CONFLICT = 7
    """REQUANTIZE read the half of the accumulator that COMPUTE was adding in."""
    NO_END = 8
    """The instruction stream ended without END."""
    TOKEN_OVERFLOW = 9
    """An engine gave a token to a semaphore that held 2**SEMAPHORE_BITS - 1 already."""


class Access(IntEnum):
    """What the host can do with a register."""

    READ = 0
    WRITE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """One 32-bit register."""

    name: str
    address: int
    access: Access
    meaning: str


TOKEN_COUNTERS: tuple[tuple[Engine, Engine], ...] = tuple((taker, giver) for taker in ENGINES for giver in ENGINES)
"""Counters of cycles `taker` waited for a token of `giver`."""

_CONTROL = (
    ("ID", Access.READ, "0x47534D52, `GSMR`"),
    ("ISA_VERSION", Access.READ, "version of the instruction set"),
    ("CONFIG_LOW", Access.READ, "fingerprint of the config this core was generated from, first 4 bytes, little-endian"),
    ("CONFIG_HIGH", Access.READ, "fingerprint, bytes 4 to 7"),
    ("CONTROL", Access.WRITE, "bit 0: start a run; bit 1: reset engines, queues, tokens, counters and error"),
    ("STATUS", Access.READ, "bit 0: running; bit 1: done; bit 2: error; bit 3: resetting; bits 4 to 7: engines "
     "busy (LOAD first); bits 8 to 11: engines waiting for a token"),
    ("INTERRUPT_ENABLE", Access.WRITE, "bit 0: raise the interrupt when a run is done or stops with an error"),
    ("INTERRUPT_CLEAR", Access.WRITE, "bit 0: lower the interrupt"),
    ("PROGRAM_LOW", Access.WRITE, "address of the program in memory, a multiple of 64, low half"),
    ("PROGRAM_HIGH", Access.WRITE, "the same, high half"),
    ("PROGRAM_COUNT", Access.WRITE, "instructions of the program, END included"),
    ("PROGRAM_CONFIG_LOW", Access.WRITE, "fingerprint in the program's header, first 4 bytes, little-endian"),
    ("PROGRAM_CONFIG_HIGH", Access.WRITE, "the same, bytes 4 to 7; a run starts only if both match"),
    ("ERROR_CAUSE", Access.READ, "why the run stopped: see the table of causes"),
    ("ERROR_INSTRUCTION", Access.READ, "number of instructions dispatched when it stopped"),
    ("ERROR_ADDRESS_LOW", Access.READ, "memory address of the error, low half; 0 if there is none"),
    ("ERROR_ADDRESS_HIGH", Access.READ, "the same, high half"),
    ("WAITING_TOKENS", Access.READ, "bits 4*E to 4*E+3: engines whose token engine E waits for, E in the order LOAD, "
     "COMPUTE, VECTOR, STORE"),
    ("CYCLES", Access.READ, "cycles of the run, from the start to the cycle after END"),
)  # fmt: skip


def _registers() -> tuple[Register, ...]:
    """Return all registers in order of address."""
    rows = list(_CONTROL)
    for engine in ENGINES:
        name = engine.value.upper()
        rows.append((f"{name}_INSTRUCTIONS", Access.READ, f"instructions {name} completed"))
        rows.append((f"{name}_BUSY", Access.READ, f"cycles {name} was busy"))
        rows.append((f"{name}_WAITING_MEMORY", Access.READ, f"cycles {name} had an instruction but waited for memory"))
        rows.append((f"{name}_IDLE", Access.READ, f"cycles {name} had no instruction"))
    for taker, giver in TOKEN_COUNTERS:
        name = f"{taker.value}_WAITING_{giver.value}".upper()
        rows.append((name, Access.READ, f"cycles {taker.value} waited for a token of {giver.value}"))
    return tuple(
        Register(name=name, address=4 * number, access=access, meaning=meaning)
        for number, (name, access, meaning) in enumerate(rows)
    )


REGISTERS: dict[str, Register] = {register.name: register for register in _registers()}
"""Every register by name."""

STREAM_REGISTER = Register(
    name="PROGRAM_STREAM", address=4 * len(REGISTERS), access=Access.WRITE,
    meaning="of a core of several: bytes from the program's address to this core's first instruction",
)  # fmt: skip
"""A register that a single core has not; PROGRAM_COUNT is then of the core's first segment, BARRIER included."""

ADDRESS_BITS = 9
"""Bits of the AXI4-Lite address."""

assert 4 * len(REGISTERS) < 2**ADDRESS_BITS
