"""A buffer whose pieces and windows start anywhere: one write port for LOAD, one read port for an engine."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.banking import WindowSizes
from gossamer.rtl.constant_arithmetic import low_ones
from gossamer.rtl.copies import Copies
from gossamer.rtl.memory.bank import Bank
from gossamer.rtl.memory.banking import ADDRESS_BITS, Banking, rotate_left, rotate_right


class WriteWindow(wiring.Component):
    """Turn a piece of up to B bytes at any byte address into a write of whole banks: three registers.

    Members
    -------
    valid, address, length, data: a piece; its first byte in the least significant bits; length 1 .. B.
    rows, late, enable, bank_data: what the banks see three cycles later: the first row and the one after, which of them
        is a bank's; enable is 0 when there was no piece.
    """

    def __init__(self, name: str, cut: Banking, piece_bytes: int) -> None:
        self.module_name = name
        self.cut = cut
        self.piece_bytes = piece_bytes
        super().__init__(
            {
                "valid": In(1),
                "address": In(ADDRESS_BITS),
                "length": In(piece_bytes.bit_length()),
                "data": In(8 * piece_bytes),
                "rows": Out(2 * cut.row_bits),
                "late": Out(cut.banks),
                "enable": Out(cut.banks * cut.word_bytes),
                "bank_data": Out(8 * cut.banks * cut.word_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        cut = self.cut
        total = cut.banks * cut.word_bytes
        byte, bank, row = cut.split(self.address)
        place = self.address[: self.piece_bytes.bit_length() - 1]
        near, far = place[: len(place) // 2], place[len(place) // 2 :]
        end = Signal(range(2 * total))
        moved, turned, placed = (Signal(8 * self.piece_bytes, name=name) for name in ("moved", "turned", "placed"))
        mask = Signal(total)
        first_byte, first_far = Signal(len(byte)), Signal(len(far))
        first_bank, late_bank = Signal(len(bank)), Signal(len(bank))
        first_row, late_row = Signal(cut.row_bits), Signal(cut.row_bits)
        unit = cut.word_bytes
        m.d.sync += [
            end.eq(Mux(self.valid, byte + self.length, 0)),
            moved.eq(rotate_left(m, "near_data", self.data, near, 8)),
            first_far.eq(far), first_byte.eq(byte), first_bank.eq(bank), first_row.eq(row),
            mask.eq(low_ones(end, total) & ~low_ones(first_byte, total)),
            turned.eq(rotate_left(m, "far_data", moved, first_far, 8 << len(near))),
            late_bank.eq(first_bank), late_row.eq(first_row),
            placed.eq(turned),
            self.enable.eq(rotate_left(m, "turned_mask", mask, late_bank, unit)),
            self.late.eq(cut.carry(late_bank)), self.rows.eq(Cat(late_row, (late_row + 1)[: cut.row_bits])),
        ]  # fmt: skip
        m.d.comb += self.bank_data.eq(placed.replicate(total // self.piece_bytes))
        return m


class WindowBuffer(wiring.Component):
    """Buffer with one write port for pieces of a beat and one read port for windows.

    Members
    -------
    write_valid, write_address, write_length, write_data: one piece per cycle, never refused.
    read_address: first byte of a window, a multiple of read_unit_bytes. read_data: its read_bytes bytes, 3 cycles
        later.

    Latency and throughput: one piece and one window per cycle; a piece given in cycle t is seen by addresses from
    cycle t + 4 on.
    """

    def __init__(self, name: str, sizes: WindowSizes) -> None:
        self.module_name = name
        self.read_bytes = sizes.read_bytes
        self.piece_bytes = piece_bytes = sizes.piece_bytes
        self.aligned = sizes.aligned
        self.unit_bits = (sizes.read_unit_bytes & -sizes.read_unit_bytes).bit_length() - 1
        self.cut = Banking.of(sizes.banks)
        self.kind = sizes.memory
        super().__init__(
            {
                "write_valid": In(1),
                "write_address": In(ADDRESS_BITS),
                "write_length": In(piece_bytes.bit_length()),
                "write_data": In(8 * piece_bytes),
                "read_address": In(ADDRESS_BITS),
                "read_data": Out(8 * sizes.read_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        cut, name = self.cut, self.module_name
        bank_of = Bank(f"{name}_bank", cut.word_bytes, cut.rows, self.kind)
        m.submodules.banks = banks = Copies(bank_of, cut.banks, shared=("write_rows", "read_row"))
        m.submodules.window = window = Copies(WriteWindow(f"{name}_write", cut, self.piece_bytes))
        m.d.comb += [
            window.valid.eq(self.write_valid),
            window.address.eq(self.write_address),
            window.length.eq(self.write_length),
            window.data.eq(self.write_data),
            banks.write_rows.eq(window.rows),
            banks.write_late.eq(window.late),
            banks.write_enable.eq(window.enable),
            banks.write_data.eq(window.bank_data),
        ]
        byte, bank, row = cut.split(self.read_address)
        m.d.comb += [banks.read_row.eq(row), banks.read_carry.eq(cut.carry(bank))]
        unit = byte[self.unit_bits :]
        first_unit, late_unit = Signal(len(unit)), Signal(len(unit))
        first_bank, late_bank = Signal(len(bank)), Signal(len(bank))
        words = Signal(8 * cut.banks * cut.word_bytes)
        m.d.sync += [
            first_bank.eq(bank),
            late_bank.eq(first_bank),
            first_unit.eq(unit),
            late_unit.eq(first_unit),
            words.eq(banks.read_data),  # as they come: block RAM is slow, and leaves no time for more
        ]
        turned = rotate_right(m, "turned", words, late_bank, 8 * cut.word_bytes)
        m.d.sync += self.read_data.eq(turned if self.aligned else turned >> (late_unit << (3 + self.unit_bits)))
        return m
