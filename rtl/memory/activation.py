"""Describe the activation buffer: one copy per lane for COMPUTE, one shared port for VECTOR, LOAD and STORE.

Every copy holds all activations. Port A of copy l serves lane l of COMPUTE and nobody else. Port B of all copies is
written together; VECTOR has it whenever it asks, LOAD and STORE have the banks that nobody before them wants in the
same cycle, in this order. VECTOR and COMPUTE therefore never wait, and their durations are exact.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.rtl.copies import Copies
from gossamer.rtl.memory.bank import DualBank
from gossamer.rtl.memory.window import ADDRESS_BITS, Banking, banking, rotate_left, rotate_right


def activation_banking(spec: SparseAccelerator) -> Banking:
    """Return the banks: a fold, a vector beat, or a beat of the memory at any byte each touch a bank at most once."""
    group = spec.array.group_size
    words = max(spec.array.chain_length, spec.vector.lanes // group, ceil_div(spec.axi.data_bits // 8, group) + 1)
    return banking(capacity_bytes=spec.buffers.activation.capacity_bytes, word_bytes=group, words=words)


class LaneCopy(wiring.Component):
    """One copy of all activations.

    Members
    -------
    address: first byte of a window of `fold_words` words, a multiple of group_size; data: the window, 3 cycles later.
    b_row0, b_row1: row of every bank on port B, for copy 0 and for the others. b_enable, b_data: what port B writes.
    second: use b_row1. b_read: the words of port B, one cycle after their rows.
    """

    def __init__(self, spec: SparseAccelerator) -> None:
        self.module_name = "activation_copy"
        self.cut = activation_banking(spec)
        self.kind = spec.buffers.activation.memory
        self.fold_bits = 8 * spec.array.group_size * spec.array.chain_length
        rows, width = self.cut.row_bits * self.cut.banks, self.cut.banks * self.cut.word_bytes
        super().__init__(
            {
                "address": In(ADDRESS_BITS),
                "data": Out(self.fold_bits),
                "b_row0": In(rows),
                "b_row1": In(rows),
                "second": In(1),
                "b_enable": In(width),
                "b_data": In(8 * width),
                "b_read": Out(8 * width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        cut = self.cut
        bank_of = DualBank(cut.word_bytes, cut.rows, self.kind)
        m.submodules.banks = banks = Copies(bank_of, cut.banks, shared=("a_row",))
        _, bank, row = cut.split(self.address)
        first, late = Signal(len(bank)), Signal(len(bank))
        first_row = Signal(cut.row_bits)
        m.d.sync += [first.eq(bank), first_row.eq(row), late.eq(first)]
        m.d.comb += [
            banks.a_row.eq(first_row),
            banks.a_carry.eq(cut.carry(first)),
            banks.b_row.eq(Mux(self.second, self.b_row1, self.b_row0)),
            banks.b_enable.eq(self.b_enable),
            banks.b_data.eq(self.b_data),
            self.b_read.eq(banks.b_read),
        ]
        m.d.sync += self.data.eq(rotate_right(m, "turned", banks.a_data, late, 8 * cut.word_bytes))
        return m


class BankPort(wiring.Component):
    """Port B of one bank: the registered choice between VECTOR, LOAD and STORE.

    Members
    -------
    a_row, b_row, d_row, load_row, store_row: first row of each window. The bits of the same names say whether this bank
    belongs to the window (`_use`) and whether it lies in the row after the first (`_carry`).
    d_data, load_data, load_enable: words to write, already turned to their banks.
    row0, row1, enable, data: what port B of copy 0 and of the other copies sees, one cycle later.
    """

    def __init__(self, cut: Banking) -> None:
        self.module_name = "activation_port"
        self.cut = cut
        members = {}
        for client in ("a", "b", "d", "load", "store"):
            members[f"{client}_row"] = In(cut.row_bits)
            members[f"{client}_use"] = In(1)
            members[f"{client}_carry"] = In(1)
        width = cut.word_bytes
        members |= {
            "d_data": In(8 * width),
            "load_enable": In(width),
            "load_data": In(8 * width),
            "row0": Out(cut.row_bits),
            "row1": Out(cut.row_bits),
            "enable": Out(width),
            "data": Out(8 * width),
        }
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()

        def row(client: str) -> Value:
            return getattr(self, f"{client}_row") + getattr(self, f"{client}_carry")

        m.d.sync += [
            self.row0.eq(
                Mux(
                    self.a_use, row("a"),
                    Mux(self.d_use, row("d"), Mux(self.load_use, row("load"), row("store"))),
                )
            ),
            self.row1.eq(
                Mux(
                    self.b_use, row("b"),
                    Mux(self.d_use, row("d"), Mux(self.load_use, row("load"), row("store"))),
                )
            ),
            self.enable.eq(Mux(self.d_use, ~Const(0, self.cut.word_bytes), Mux(self.load_use, self.load_enable, 0))),
            self.data.eq(Mux(self.d_use, self.d_data, self.load_data)),
        ]  # fmt: skip
        return m


class ActivationBuffer(wiring.Component):
    """int8 activations in words of group_size bytes, interleaved over banks, one copy per lane.

    Members
    -------
    act_address: one window address per lane; act_data: chain_length words per lane, 3 cycles later.
    a_valid, a_address, a_data: VECTOR's first source, `vector.lanes` bytes, 3 cycles later. b_*: its second source.
    d_valid, d_address, d_words, d_data: VECTOR's result. Sources and result never in one cycle; with one lane only one
        source in a cycle. Addresses are multiples of group_size.
    load_valid, load_address, load_length, load_data, load_ready: a piece of up to a beat at any byte address.
    store_valid, store_address, store_ready: a read of one beat at any byte address; store_data: 4 cycles later.

    Latency and throughput: everything once per cycle; what is written in cycle t is seen by addresses from t + 2 on.
    """

    def __init__(self, spec: SparseAccelerator) -> None:
        self.spec = spec
        self.cut = activation_banking(spec)
        self.lanes = spec.array.lanes
        self.beat = spec.axi.data_bits // 8
        self.vector_words = spec.vector.lanes // spec.array.group_size
        fold_bits = 8 * spec.array.group_size * spec.array.chain_length
        vector_bits = 8 * spec.vector.lanes
        super().__init__(
            {
                "act_address": In(ADDRESS_BITS * self.lanes),
                "act_data": Out(fold_bits * self.lanes),
                "a_valid": In(1),
                "a_address": In(ADDRESS_BITS),
                "a_data": Out(vector_bits),
                "b_valid": In(1),
                "b_address": In(ADDRESS_BITS),
                "b_data": Out(vector_bits),
                "d_valid": In(1),
                "d_address": In(ADDRESS_BITS),
                "d_words": In(self.vector_words.bit_length()),
                "d_data": In(vector_bits),
                "load_valid": In(1),
                "load_address": In(ADDRESS_BITS),
                "load_length": In(self.beat.bit_length()),
                "load_data": In(8 * self.beat),
                "load_ready": Out(1),
                "store_valid": In(1),
                "store_address": In(ADDRESS_BITS),
                "store_ready": Out(1),
                "store_data": Out(8 * self.beat),
            }
        )

    def _uses(self, m: Module, client: str, address: Value, valid: Value, words: Value | int) -> tuple[Value, Value]:
        """Return which banks a client's window uses and its first bank, as signals."""
        cut = self.cut
        _, bank, _ = cut.split(address)
        wanted, use = Signal(cut.banks, name=f"{client}_wanted"), Signal(cut.banks, name=f"{client}_banks")
        m.d.comb += wanted.eq(Mux(valid, (Const(1, 1) << words) - 1, 0))
        m.d.comb += use.eq(rotate_left(m, f"{client}_use", wanted, bank, 1))
        return use, bank

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        cut = self.cut
        m.submodules.copies = copies = Copies(
            LaneCopy(self.spec), self.lanes, shared=("b_row0", "b_row1", "b_enable", "b_data")
        )
        m.submodules.ports = ports = Copies(
            BankPort(cut), cut.banks, shared=tuple(f"{client}_row" for client in ("a", "b", "d", "load", "store"))
        )
        m.d.comb += [
            copies.address.eq(self.act_address),
            self.act_data.eq(copies.data),
            copies.b_row0.eq(ports.row0),
            copies.b_row1.eq(ports.row1),
            copies.b_enable.eq(ports.enable),
            copies.b_data.eq(ports.data),
            copies.second.eq((1 << self.lanes) - 2),
        ]
        self._arbitrate(m, ports)
        self._write_data(m, ports)
        self._read_data(m, copies)
        return m

    def _arbitrate(self, m: Module, ports: Copies) -> None:
        """Say which banks of port B each client has in this cycle."""
        cut, group = self.cut, self.spec.array.group_size
        byte, _, _ = cut.split(self.load_address)
        load_words = Signal(range(cut.banks + 1))
        m.d.comb += load_words.eq((byte + self.load_length + group - 1) >> (group.bit_length() - 1))
        store_words = ceil_div(self.beat, group) + 1
        a_use, _ = self._uses(m, "a", self.a_address, self.a_valid, self.vector_words)
        b_use, _ = self._uses(m, "b", self.b_address, self.b_valid, self.vector_words)
        d_use, _ = self._uses(m, "d", self.d_address, self.d_valid, self.d_words)
        load_use, _ = self._uses(m, "load", self.load_address, self.load_valid, load_words)
        store_use, _ = self._uses(m, "store", self.store_address, self.store_valid, store_words)
        vector_use = Signal(cut.banks)
        m.d.comb += [
            vector_use.eq(a_use | b_use | d_use),
            self.load_ready.eq(~(load_use & vector_use).any()),
            self.store_ready.eq(~(store_use & (vector_use | load_use)).any()),
            ports.a_use.eq(a_use | (b_use if self.lanes == 1 else 0)),
            ports.b_use.eq(b_use),
            ports.d_use.eq(d_use),
            ports.load_use.eq(Mux(self.load_ready, load_use, 0)),
            ports.store_use.eq(Mux(self.store_ready, store_use, 0)),
        ]
        one_port = self.lanes == 1
        a_address = Mux(self.a_valid, self.a_address, self.b_address) if one_port else self.a_address
        for client, address in (
            ("a", a_address), ("b", self.b_address), ("d", self.d_address), ("load", self.load_address),
            ("store", self.store_address),
        ):  # fmt: skip
            _, bank, row = cut.split(address)
            m.d.comb += [getattr(ports, f"{client}_row").eq(row), getattr(ports, f"{client}_carry").eq(cut.carry(bank))]

    def _write_data(self, m: Module, ports: Copies) -> None:
        """Turn what VECTOR and LOAD write to its banks."""
        cut = self.cut
        total = cut.banks * cut.word_bytes
        _, d_bank, _ = cut.split(self.d_address)
        byte, bank, _ = cut.split(self.load_address)
        d_data, load_data, load_mask = Signal(8 * total), Signal(8 * total), Signal(total)
        m.d.comb += [
            d_data.eq(self.d_data),
            load_data.eq(self.load_data << (byte << 3)),
            load_mask.eq(((Const(1, 1) << self.load_length) - 1) << byte),
            ports.d_data.eq(rotate_left(m, "d_turned", d_data, d_bank, 8 * cut.word_bytes)),
            ports.load_data.eq(rotate_left(m, "load_turned", load_data, bank, 8 * cut.word_bytes)),
            ports.load_enable.eq(rotate_left(m, "load_mask_turned", load_mask, bank, cut.word_bytes)),
        ]

    def _read_data(self, m: Module, copies: Copies) -> None:
        """Turn the words of port B to the sources of VECTOR (3 cycles) and to STORE (4 cycles)."""
        cut = self.cut
        width = 8 * cut.banks * cut.word_bytes
        first = copies.b_read[:width]
        second = copies.b_read[width : 2 * width] if self.lanes > 1 else first
        for client, words, data in (("a", first, self.a_data), ("b", second, self.b_data)):
            _, bank, _ = cut.split(getattr(self, f"{client}_address"))
            once, twice = Signal(len(bank), name=f"{client}_once"), Signal(len(bank), name=f"{client}_twice")
            m.d.sync += [once.eq(bank), twice.eq(once)]
            m.d.sync += data.eq(rotate_right(m, f"{client}_read", words, twice, 8 * cut.word_bytes))
        byte, bank, _ = cut.split(self.store_address)
        place = Cat(byte, bank)
        once, twice, thrice = Signal(len(place)), Signal(len(place)), Signal(len(byte))
        turned = Signal(width)
        m.d.sync += [
            once.eq(place),
            twice.eq(once),
            thrice.eq(twice[: len(byte)]),
            turned.eq(rotate_right(m, "store_read", first, twice[len(byte) :], 8 * cut.word_bytes)),
            self.store_data.eq(turned >> (thrice << 3)),
        ]
