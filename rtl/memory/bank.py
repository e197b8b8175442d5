"""Describe memory banks: one synthesizable memory each, instantiated side by side."""

from amaranth.hdl import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.spec import MemoryKind

RAM_STYLE = {
    MemoryKind.BRAM36: "block",
    MemoryKind.DP16KD: "block",
    MemoryKind.URAM288: "ultra",
    MemoryKind.LUTRAM: "distributed",
}
"""Value of the `ram_style` attribute that asks synthesis for a primitive."""


def new_memory(word_bytes: int, rows: int, kind: MemoryKind) -> memory.Memory:
    """Return a memory of `rows` words of `word_bytes` bytes in the primitive asked for."""
    return memory.Memory(shape=8 * word_bytes, depth=rows, init=[], attrs={"ram_style": RAM_STYLE[kind]})


class Bank(wiring.Component):
    """One bank with a write port and a read port.

    Members
    -------
    write_row, write_carry: row written is write_row + write_carry. write_enable: one bit per byte. write_data.
    read_row, read_carry: row read is read_row + read_carry.
    read_data: the word, one cycle after its row.

    Protocol: a read in the cycle of a write to the same row returns the old word.
    """

    def __init__(self, name: str, word_bytes: int, rows: int, kind: MemoryKind) -> None:
        self.module_name = name
        self.memory = new_memory(word_bytes, rows, kind)
        row_bits = max(1, (rows - 1).bit_length())
        super().__init__(
            {
                "write_row": In(row_bits),
                "write_carry": In(1),
                "write_enable": In(word_bytes),
                "write_data": In(8 * word_bytes),
                "read_row": In(row_bits),
                "read_carry": In(1),
                "read_data": Out(8 * word_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        m.submodules.memory = self.memory
        write = self.memory.write_port(granularity=8)
        read = self.memory.read_port()
        m.d.comb += [
            write.addr.eq(self.write_row + self.write_carry),
            write.en.eq(self.write_enable),
            write.data.eq(self.write_data),
            read.addr.eq(self.read_row + self.read_carry),
            self.read_data.eq(read.data),
        ]
        return m


class DualBank(wiring.Component):
    """One bank of the activation buffer: port A reads, port B reads or writes.

    Members
    -------
    a_row, a_carry: row read on port A is a_row + a_carry; a_data: its word, one cycle later.
    b_row: row of port B; b_enable: bytes written; b_data: bytes to write; b_read: the word, one cycle later.

    Protocol: port A returns the old word if port B writes its row in the same cycle; b_read after a write is unused.
    """

    def __init__(self, word_bytes: int, rows: int, kind: MemoryKind) -> None:
        self.module_name = "activation_bank"
        self.memory = new_memory(word_bytes, rows, kind)
        row_bits = max(1, (rows - 1).bit_length())
        super().__init__(
            {
                "a_row": In(row_bits),
                "a_carry": In(1),
                "a_data": Out(8 * word_bytes),
                "b_row": In(row_bits),
                "b_enable": In(word_bytes),
                "b_data": In(8 * word_bytes),
                "b_read": Out(8 * word_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        m.submodules.memory = self.memory
        read_a = self.memory.read_port()
        read_b = self.memory.read_port()
        write = self.memory.write_port(granularity=8)
        row = Signal.like(self.b_row, name="row")
        m.d.comb += [
            row.eq(self.b_row),
            read_a.addr.eq(self.a_row + self.a_carry),
            self.a_data.eq(read_a.data),
            read_b.addr.eq(row),
            self.b_read.eq(read_b.data),
            write.addr.eq(row),
            write.en.eq(self.b_enable),
            write.data.eq(self.b_data),
        ]
        return m
