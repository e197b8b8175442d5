"""Describe memory banks: one synthesizable memory each, instantiated side by side."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.spec import MemoryKind
from gossamer.rtl.copies import Copies
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


class HalvedMemory(wiring.Component):
    """One bank in two halves of rows: every row can be read, and each half can be written or read beside that.

    Members
    -------
    read_row: row read by the main port; read_data: its word, one cycle later.
    row, enable, data: what the second port does in each half, [half]: the bytes enabled are written; otherwise `other`
        holds the word of that row one cycle later.

    Protocol: the main port returns the old word of a row that is written in the same cycle.
    """

    def __init__(self, name: str, cut: Banking, kind: MemoryKind, *, second_reads: bool) -> None:
        """`second_reads`: the second port can read; without it `other` is not there."""
        self.module_name = name
        self.cut = cut
        self.second_reads = second_reads
        rows = (cut.half_rows, max(1, cut.rows - cut.half_rows))
        self.memories = tuple(new_memory(cut.word_bytes, count, kind) for count in rows)
        width = cut.word_bytes
        super().__init__(
            {
                "read_row": In(cut.row_bits),
                "read_data": Out(8 * width),
                "row": In(2 * cut.half_bits),
                "enable": In(2 * width),
                "data": In(2 * 8 * width),
                **({"other": Out(2 * 8 * width)} if second_reads else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        width = self.cut.word_bytes
        upper = Signal()
        m.d.sync += upper.eq(self.cut.half(self.read_row))
        words = []
        for half, (name, held) in enumerate(zip(("lower", "upper"), self.memories, strict=True)):
            m.submodules[name] = held
            main, write = held.read_port(), held.write_port(granularity=8)
            row = Signal(self.cut.half_bits, name=f"{name}_row")
            m.d.comb += [
                row.eq(self.row.word_select(half, self.cut.half_bits)),
                main.addr.eq(self.read_row),
                write.addr.eq(row),
                write.en.eq(self.enable.word_select(half, width)),
                write.data.eq(self.data.word_select(half, 8 * width)),
            ]
            if self.second_reads:
                second = held.read_port()
                m.d.comb += [second.addr.eq(row), self.other.word_select(half, 8 * width).eq(second.data)]
            words.append(main.data)
        m.d.comb += self.read_data.eq(Mux(upper, words[1], words[0]))
        return m


class LaneBank(wiring.Component):
    """One bank of a lane's copy: `HalvedMemory` whose main port reads the row of a window.

    Members
    -------
    window_row, window_carry: row read is window_row + window_carry. The rest as in `HalvedMemory`.
    """

    def __init__(self, cut: Banking, kind: MemoryKind, *, second_reads: bool) -> None:
        self.module_name = "activation_source_bank" if second_reads else "activation_lane_bank"
        self.held = HalvedMemory(f"{self.module_name}_memory", cut, kind, second_reads=second_reads)
        members = {name: member for name, member in self.held.signature.members.items() if name != "read_row"}
        super().__init__({"window_row": In(cut.row_bits), "window_carry": In(1), **members})

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        m.submodules.held = held = Copies(self.held)
        m.d.comb += held.read_row.eq(self.window_row + self.window_carry)
        pass_through(m, self, held)
        return m


class ServiceBank(wiring.Component):
    """One bank of the copy that VECTOR and STORE read: a registered choice in front of `HalvedMemory`.

    Members
    -------
    a_row, a_carry, a_use: row of VECTOR's window, and whether this bank belongs to it: then VECTOR has the port.
    store_row, store_carry: row of STORE's window.
    read_data: the word, two cycles later. The rest as in `HalvedMemory`.
    """

    def __init__(self, cut: Banking, kind: MemoryKind) -> None:
        self.module_name = "activation_service_bank"
        self.cut = cut
        self.held = HalvedMemory(f"{self.module_name}_memory", cut, kind, second_reads=False)
        members = {name: member for name, member in self.held.signature.members.items() if name != "read_row"}
        rows = {f"{name}_row": In(cut.row_bits) for name in ("a", "store")}
        super().__init__({**rows, "a_carry": In(1), "a_use": In(1), "store_carry": In(1), **members})

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        m.submodules.held = held = Copies(self.held)
        row = Signal(self.cut.row_bits)
        m.d.sync += row.eq(Mux(self.a_use, self.a_row + self.a_carry, self.store_row + self.store_carry))
        m.d.comb += held.read_row.eq(row)
        pass_through(m, self, held)
        return m


def pass_through(m: Module, outer: wiring.Component, inner: Copies) -> None:
    """Connect the ports that a component and a part of it have under the same name."""
    for name, member in outer.signature.members.items():
        if name in inner.ports:
            here, there = getattr(outer, name), getattr(inner, name)
            m.d.comb += there.eq(here) if member.flow is In else here.eq(there)
