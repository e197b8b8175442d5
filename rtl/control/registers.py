"""Register file the host sees, derived from the table in `gossamer.arch.registers`."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from gossamer.arch.isa import ENGINES, ISA_VERSION
from gossamer.arch.registers import ADDRESS_BITS, CORE_ID, REGISTERS, STREAM_REGISTER
from gossamer.rtl.control.axi_lite import DATA_BITS, READ_CYCLES
from gossamer.rtl.control.run import ADDRESS_BITS as MEMORY_ADDRESS_BITS
from gossamer.rtl.control.run import CAUSE_BITS, COUNT_BITS

assert READ_CYCLES == 3
"""The number of a counter; its value, beside that of the other registers; the choice between them."""

WORD_BITS = ADDRESS_BITS - 2
FIRST_COUNTER = REGISTERS["CYCLES"].address // 4
"""All registers from CYCLES on are counters."""

COUNTERS = len(REGISTERS) - FIRST_COUNTER
STORED: dict[str, int] = {
    "INTERRUPT_ENABLE": 1,
    "PROGRAM_LOW": DATA_BITS,
    "PROGRAM_HIGH": DATA_BITS,
    "PROGRAM_COUNT": DATA_BITS,
    "PROGRAM_CONFIG_LOW": DATA_BITS,
    "PROGRAM_CONFIG_HIGH": DATA_BITS,
}
"""Registers that keep what the host wrote, and their used bits; they can be read back."""

_LOW_ADDRESS_BITS = 6
"""Programs lie at multiples of 64 bytes: lower bits are not kept."""


class RegisterFile(wiring.Component):
    """Registers of the core, as `gossamer.arch.registers.REGISTERS` lists them.

    Members
    -------
    write, write_address, write_data, write_strobe, write_error; read_address, read_data, read_error: see
        `AxiLiteSlave`.
    counter_address, counter_value: the counter looked at, CYCLES first.
    status: the STATUS register. error_cause, error_instruction, error_address: see `RunControl`.
    waiting_tokens: four bits per engine. finished: raise the interrupt. lower: lower it.
    start_command, reset_command: see `RunControl`. config_matches: the two PROGRAM_CONFIG registers are `fingerprint`.
    base: address of the program in memory. length: its instructions. interrupt: to the host. stream: of a core of
        several, the STREAM_REGISTER.

    Protocol
    --------
    Writing a register that cannot be written, or an address beyond the last register, is an error, and so is reading
    one. Bytes without strobe keep their value; bits that do not exist are ignored and read as 0. CONTROL reads as 0,
    INTERRUPT_CLEAR as whether a run has finished since it was lowered, whatever INTERRUPT_ENABLE says.

    Latency and throughput
    ----------------------
    `read_data` and `read_error` are those of a `read_address` that has stayed for READ_CYCLES. Commands are
    combinational in the write; `config_matches` is a cycle late.

    Parameters
    ----------
    fingerprint: first 8 bytes of the config's fingerprint, as a little-endian number. several: the core is one of
    several.
    """

    def __init__(self, fingerprint: int, several: bool = False) -> None:
        self.fingerprint = fingerprint
        self.several = several
        super().__init__(
            {
                "write": In(1),
                "write_address": In(WORD_BITS),
                "write_data": In(DATA_BITS),
                "write_strobe": In(DATA_BITS // 8),
                "write_error": Out(1),
                "read_address": In(WORD_BITS),
                "read_data": Out(DATA_BITS),
                "read_error": Out(1),
                "counter_address": Out(range(COUNTERS)),
                "counter_value": In(DATA_BITS),
                "status": In(4 + 2 * len(ENGINES)),
                "error_cause": In(CAUSE_BITS),
                "error_instruction": In(COUNT_BITS),
                "error_address": In(MEMORY_ADDRESS_BITS),
                "waiting_tokens": In(len(ENGINES) ** 2),
                "finished": In(1),
                "lower": In(1),
                "start_command": Out(1),
                "reset_command": Out(1),
                "config_matches": Out(1),
                "base": Out(MEMORY_ADDRESS_BITS),
                "length": Out(COUNT_BITS),
                "interrupt": Out(1),
                **({"stream": Out(DATA_BITS)} if several else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return stored registers, commands, the interrupt and the read multiplexer."""
        m = Module()
        stored = {name: Signal(bits, name=name.lower()) for name, bits in STORED.items()}
        pending = Signal()
        command = Signal(2)
        lowering = Signal()
        m.d.comb += self.write_error.eq(1)
        with m.Switch(self.write_address):
            for name, value in stored.items():
                with m.Case(REGISTERS[name].address // 4):
                    m.d.comb += self.write_error.eq(0)
                    self._write(m, value)
            with m.Case(REGISTERS["CONTROL"].address // 4):
                m.d.comb += [self.write_error.eq(0), command.eq(self._command())]
            with m.Case(REGISTERS["INTERRUPT_CLEAR"].address // 4):
                m.d.comb += [self.write_error.eq(0), lowering.eq(self._command()[0])]
            if self.several:
                with m.Case(STREAM_REGISTER.address // 4):
                    m.d.comb += self.write_error.eq(0)
                    self._write(m, self.stream)
        with m.If(self.finished):
            m.d.sync += pending.eq(1)
        with m.Elif(lowering | self.lower):
            m.d.sync += pending.eq(0)
        program = Cat(stored["PROGRAM_LOW"], stored["PROGRAM_HIGH"])
        m.d.comb += [
            Cat(self.start_command, self.reset_command).eq(command),
            self.base.eq(Cat(Value.cast(0).replicate(_LOW_ADDRESS_BITS), program[_LOW_ADDRESS_BITS:])),
            self.length.eq(stored["PROGRAM_COUNT"]),
            self.interrupt.eq(pending & stored["INTERRUPT_ENABLE"]),
        ]
        m.d.sync += self.config_matches.eq(
            Cat(stored["PROGRAM_CONFIG_LOW"], stored["PROGRAM_CONFIG_HIGH"]) == self.fingerprint
        )
        self._read(m, {**stored, **self._values(), "INTERRUPT_CLEAR": pending, "PROGRAM_LOW": self.base[:DATA_BITS]})
        return m

    def _write(self, m: Module, value: Signal) -> None:
        """Write the bytes of a register that have a strobe."""
        for byte in range(DATA_BITS // 8):
            part = slice(8 * byte, min(8 * byte + 8, len(value)))
            if part.start < len(value):
                with m.If(self.write & self.write_strobe[byte]):
                    m.d.sync += value[part].eq(self.write_data[part])

    def _command(self) -> Value:
        """Return the two lowest bits written, 0 without a write of their byte."""
        return self.write_data[:2] & (self.write & self.write_strobe[0]).replicate(2)

    def _values(self) -> dict[str, Value]:
        """Return the values of the registers that only the core changes."""
        mask = 2**DATA_BITS - 1
        return {
            "ID": Value.cast(CORE_ID),
            "ISA_VERSION": Value.cast(ISA_VERSION),
            "CONFIG_LOW": Value.cast(self.fingerprint & mask),
            "CONFIG_HIGH": Value.cast(self.fingerprint >> DATA_BITS),
            "CONTROL": Value.cast(0),
            "STATUS": self.status,
            "ERROR_CAUSE": self.error_cause,
            "ERROR_INSTRUCTION": self.error_instruction,
            "ERROR_ADDRESS_LOW": self.error_address[:DATA_BITS],
            "ERROR_ADDRESS_HIGH": self.error_address[DATA_BITS:],
            "WAITING_TOKENS": self.waiting_tokens,
        }

    def _read(self, m: Module, values: dict[str, Value]) -> None:
        """Select what is read: a register of the table, a counter, or nothing."""
        assert {name for name, register in REGISTERS.items() if register.address // 4 < FIRST_COUNTER} == set(values)
        bits = bits_for(FIRST_COUNTER - 1) - 1
        own = [Signal(DATA_BITS, name=f"own_{half}") for half in range(2)]
        counter = Signal(DATA_BITS)
        is_own, is_counter = Signal(), Signal()
        for half, shown in enumerate(own):
            with m.Switch(self.read_address[:bits]):
                for name, value in values.items():
                    number = REGISTERS[name].address // 4 - (half << bits)
                    if 0 <= number < 1 << bits:
                        with m.Case(number):
                            m.d.sync += shown.eq(value)
        m.d.sync += [
            self.counter_address.eq(self.read_address - FIRST_COUNTER),
            counter.eq(self.counter_value),
            is_own.eq(self.read_address < FIRST_COUNTER),
            is_counter.eq((self.read_address >= FIRST_COUNTER) & (self.read_address < FIRST_COUNTER + COUNTERS)),
            self.read_data.eq(Mux(is_own, Mux(self.read_address[bits], own[1], own[0]), Mux(is_counter, counter, 0))),
            self.read_error.eq(~is_own & ~is_counter),
        ]
