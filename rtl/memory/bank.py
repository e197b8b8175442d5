"""Describe memory banks: one synthesizable memory each, instantiated side by side."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.spec import MemoryKind
from gossamer.rtl.copies import Copies
from gossamer.rtl.memory.banking import Banking
from gossamer.rtl.memory.block import BlockMemory


class Bank(wiring.Component):
    """One bank with a write port and a read port.

    Members
    -------
    write_rows, write_late: two rows; the second is written if write_late is high, else the first.
    write_enable: one bit per byte. write_data.
    read_row, read_carry: row read is read_row + read_carry.
    read_data: the word, one cycle after its row.

    Protocol: a word that is read in the cycle of a write to the same row must not be used.
    """

    def __init__(self, name: str, word_bytes: int, rows: int, kind: MemoryKind) -> None:
        self.module_name = name
        self.memory = BlockMemory(f"{name}_memory", part_bits=8, parts=word_bytes, rows=rows, kind=kind)
        row_bits = self.memory.row_bits
        super().__init__(
            {
                "write_rows": In(2 * row_bits),
                "write_late": In(1),
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
        m.submodules.memory = memory = Copies(self.memory)
        m.d.comb += [
            memory.write_row.eq(self.write_rows.word_select(self.write_late, self.memory.row_bits)),
            memory.write_enable.eq(self.write_enable),
            memory.write_data.eq(self.write_data),
            memory.read_row.eq(self.read_row + self.read_carry),
            self.read_data.eq(memory.read_data),
        ]
        return m


class HalvedBank(wiring.Component):
    """One bank of a copy of the activations: one read port for all rows, and a write port for each half of them.

    Members
    -------
    window_row, window_carry: row read is window_row + window_carry; read_data: its word, two cycles later.
    row, enable, data: what is written in each half, [half].

    Protocol: a word that is read in the cycle of a write to the same row must not be used.
    """

    def __init__(self, name: str, cut: Banking, kind: MemoryKind) -> None:
        self.module_name = name
        self.cut = cut
        rows = {"lower": cut.half_rows, "upper": cut.upper_rows}
        self.memories = {
            half: BlockMemory(f"{name}_{half}", part_bits=8, parts=cut.word_bytes, rows=count, kind=kind)
            for half, count in rows.items()
        }
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
        row, upper, late_upper = Signal(self.cut.row_bits), Signal(), Signal()
        m.d.comb += row.eq(self.window_row + self.window_carry)
        m.d.sync += [upper.eq(self.cut.half(row)), late_upper.eq(upper)]
        words = []
        for half, (name, memory) in enumerate(self.memories.items()):
            m.submodules[name] = held = Copies(memory)
            m.d.comb += [
                held.read_row.eq(row),
                held.write_row.eq(self.row.word_select(half, self.cut.half_bits)),
                held.write_enable.eq(self.enable.word_select(half, width)),
                held.write_data.eq(self.data.word_select(half, 8 * width)),
            ]
            word = Signal(8 * width, name=f"{name}_word")
            m.d.sync += word.eq(held.read_data)  # as it comes: block RAM is slow
            words.append(word)
        m.d.comb += self.read_data.eq(Mux(late_upper, words[1], words[0]))
        return m
