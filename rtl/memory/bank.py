"""Describe memory banks: one synthesizable memory each, instantiated side by side."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.spec import MemoryKind
from gossamer.rtl.memory.banking import Banking

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


class HalvedBank(wiring.Component):
    """One bank of a copy of the activations: one read port for all rows, and a write port for each half of them.

    Members
    -------
    window_row, window_carry: row read is window_row + window_carry; read_data: its word, one cycle later.
    row, enable, data: what is written in each half, [half].

    Protocol: a read in the cycle of a write to the same row returns the old word.
    """

    def __init__(self, name: str, cut: Banking, kind: MemoryKind) -> None:
        self.module_name = name
        self.cut = cut
        rows = (cut.half_rows, cut.upper_rows)
        self.memories = tuple(new_memory(cut.word_bytes, count, kind) for count in rows)
        width = cut.word_bytes
        super().__init__(
            {
                "window_row": In(cut.row_bits),
                "window_carry": In(1),
                "read_data": Out(8 * width),
                "row": In(2 * cut.half_bits),
                "enable": In(2 * width),
                "data": In(2 * 8 * width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        width = self.cut.word_bytes
        row, upper = Signal(self.cut.row_bits), Signal()
        m.d.comb += row.eq(self.window_row + self.window_carry)
        m.d.sync += upper.eq(self.cut.half(row))
        words = []
        for half, (name, held) in enumerate(zip(("lower", "upper"), self.memories, strict=True)):
            m.submodules[name] = held
            read, write = held.read_port(), held.write_port(granularity=8)
            m.d.comb += [
                read.addr.eq(row),
                write.addr.eq(self.row.word_select(half, self.cut.half_bits)),
                write.en.eq(self.enable.word_select(half, width)),
                write.data.eq(self.data.word_select(half, 8 * width)),
            ]
            words.append(read.data)
        m.d.comb += self.read_data.eq(Mux(upper, words[1], words[0]))
        return m
