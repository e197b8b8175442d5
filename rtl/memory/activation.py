"""Describe the activation buffer: one copy of all activations per reader, written together.

COMPUTE reads lane l from copy l; VECTOR has the next copy, STORE the last one. So nobody who reads ever waits, and the
durations of COMPUTE and VECTOR are exact. VECTOR and LOAD share the write ports, of which each bank has two, one for
each half of its rows: LOAD waits only if VECTOR writes the same half of the same bank in the same cycle.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.activation import activation_banks, copies
from gossamer.arch.spec import SparseAccelerator
from gossamer.rtl.constant_arithmetic import low_ones
from gossamer.rtl.copies import Copies
from gossamer.rtl.memory.bank import HalvedBank
from gossamer.rtl.memory.banking import ADDRESS_BITS, Banking, at_its_place, rotate_left, rotate_right

WRITES = ("row", "enable", "data")
"""Ports through which all copies are written together: row, enabled bytes and data of every half of every bank."""


class ActivationCopy(wiring.Component):
    """One copy of all activations, for one reader.

    Members
    -------
    address: first byte of a window of as many words as there are banks, a multiple of group_size; window: its words, 3
        cycles later.
    row, enable, data: what is written, [bank][half].
    """

    def __init__(self, spec: SparseAccelerator) -> None:
        self.cut = Banking.of(activation_banks(spec))
        self.bank = HalvedBank("activation_bank", self.cut, spec.buffers.activation.memory)
        halves = 2 * self.cut.banks
        super().__init__(
            {
                "address": In(ADDRESS_BITS),
                "window": Out(8 * self.cut.banks * self.cut.word_bytes),
                "row": In(halves * self.cut.half_bits),
                "enable": In(halves * self.cut.word_bytes),
                "data": In(halves * 8 * self.cut.word_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        cut = self.cut
        m.submodules.banks = banks = Copies(self.bank, cut.banks, shared=("window_row",))
        _, bank, row = cut.split(self.address)
        first, late = Signal(len(bank)), Signal(len(bank))
        words = Signal(len(self.window))
        m.d.comb += [banks.window_row.eq(row), banks.window_carry.eq(cut.carry(bank))]
        m.d.comb += [getattr(banks, name).eq(getattr(self, name)) for name in WRITES]
        m.d.sync += [
            first.eq(bank), late.eq(first),
            words.eq(banks.read_data),  # as they come: block RAM is slow
            self.window.eq(rotate_right(m, "turned", words, late, 8 * cut.word_bytes)),
        ]  # fmt: skip
        return m


class WritePort(wiring.Component):
    """The write port of one bank, in all copies: the registered choice between VECTOR and LOAD, half by half.

    Members
    -------
    d_row, load_row: first row of VECTOR's result and of LOAD's piece. The bits of the same names say whether this bank
    belongs to the window (`_use`), lies in the row after the first (`_carry`), and in the upper half (`_half`).
    d_data, load_data, load_enable: words to write, already turned to their banks.
    row, enable, data: what the bank sees in each half, one cycle later, [half].
    """

    def __init__(self, cut: Banking) -> None:
        self.module_name = "activation_write_port"
        self.cut = cut
        members = {}
        for client in ("d", "load"):
            members[f"{client}_row"] = In(cut.row_bits)
            members |= {f"{client}_{bit}": In(1) for bit in ("use", "carry", "half")}
        width = cut.word_bytes
        written = {"d_data": In(8 * width), "load_enable": In(width), "load_data": In(8 * width)}
        seen = {"row": Out(2 * cut.half_bits), "enable": Out(2 * width), "data": Out(2 * 8 * width)}
        super().__init__({**members, **written, **seen})

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        width = self.cut.word_bytes
        rows = {name: getattr(self, f"{name}_row") + getattr(self, f"{name}_carry") for name in ("d", "load")}
        for half in range(2):
            d, load = (getattr(self, f"{n}_use") & (getattr(self, f"{n}_half") == half) for n in ("d", "load"))
            m.d.sync += [
                self.row.word_select(half, self.cut.half_bits).eq(Mux(d, rows["d"], rows["load"])),
                self.enable.word_select(half, width).eq(Mux(d, ~Const(0, width), Mux(load, self.load_enable, 0))),
                self.data.word_select(half, 8 * width).eq(Mux(d, self.d_data, self.load_data)),
            ]
        return m


class ActivationBuffer(wiring.Component):
    """int8 activations in words of group_size bytes, interleaved over banks; a copy per reader.

    Members
    -------
    act_address: one window address per lane; act_data: chain_length words per lane, 3 cycles later.
    vector_address: VECTOR's source, a multiple of group_size; vector_data: `vector.lanes` bytes, 3 cycles later.
    d_valid, d_address, d_words, d_data: VECTOR's result. The address is a multiple of group_size.
    load_valid, load_address, load_length, load_data, load_ready: a piece of up to a row at any byte address; load_last:
        the address of its last byte.
    store_address: any byte; store_data: a row from there on, 4 cycles later. Of both, what lies in as many words as
    there are banks: see `gossamer.arch.activation.shifted_bytes`.

    Latency and throughput: everything once per cycle; what is written in cycle t is seen by addresses from t + 2 on.
    """

    def __init__(self, spec: SparseAccelerator) -> None:
        self.spec = spec
        self.cut = Banking.of(activation_banks(spec))
        self.lanes = spec.array.lanes
        self.beat = spec.axi.row_bytes
        self.vector_words = spec.vector.lanes // spec.array.group_size
        self.fold_bits = 8 * spec.array.group_size * spec.array.chain_length
        vector_bits = 8 * spec.vector.lanes
        super().__init__(
            {
                "act_address": In(ADDRESS_BITS * self.lanes),
                "act_data": Out(self.fold_bits * self.lanes),
                "vector_address": In(ADDRESS_BITS),
                "vector_data": Out(vector_bits),
                "d_valid": In(1),
                "d_address": In(ADDRESS_BITS),
                "d_words": In(self.vector_words.bit_length()),
                "d_data": In(vector_bits),
                "load_valid": In(1),
                "load_address": In(ADDRESS_BITS),
                "load_last": In(ADDRESS_BITS),
                "load_length": In(self.beat.bit_length()),
                "load_data": In(8 * self.beat),
                "load_ready": Out(1),
                "store_address": In(ADDRESS_BITS),
                "store_data": Out(8 * self.beat),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        cut = self.cut
        m.submodules.copies = readers = Copies(ActivationCopy(self.spec), copies(self.spec), shared=WRITES)
        m.submodules.ports = ports = Copies(WritePort(cut), cut.banks, shared=("d_row", "load_row"))
        windows = [readers.window.word_select(n, 8 * cut.banks * cut.word_bytes) for n in range(readers.count)]
        m.d.comb += [getattr(readers, name).eq(getattr(ports, name)) for name in WRITES]
        m.d.comb += [
            readers.address.eq(Cat(self.act_address, self.vector_address, self.store_address)),
            self.act_data.eq(Cat(*(window[: self.fold_bits] for window in windows[: self.lanes]))),
            self.vector_data.eq(windows[self.lanes]),
        ]
        byte, _, _ = cut.split(self.store_address)
        delays = Signal(3 * len(byte))
        m.d.sync += [
            delays.eq(Cat(byte, delays)),
            self.store_data.eq(windows[self.lanes + 1] >> (delays[-len(byte) :] << 3)),
        ]
        self._arbitrate(m, ports)
        self._write_data(m, ports)
        return m

    def _window(self, m: Module, client: str, wanted: Value) -> tuple[Value, Value, Value, Value]:
        """Return a client's first row, and by bank: whether its window uses it, its carry, its half.

        `wanted`: a bit per word of the window, the first one's lowest.
        """
        cut, address = self.cut, getattr(self, f"{client}_address")
        _, bank, row = cut.split(address)
        words = Signal(cut.banks, name=f"{client}_wanted")
        use, carry, half = (Signal(cut.banks, name=f"{client}_{what}") for what in ("banks", "carry", "half"))
        m.d.comb += [
            words.eq(wanted),
            use.eq(rotate_left(m, f"{client}_use", words, bank, 1)),
            carry.eq(cut.carry(bank)),
            half.eq(cut.halves(row, carry)),
        ]
        return row, use, carry, half

    def _arbitrate(self, m: Module, ports: Copies) -> None:
        """Say which banks VECTOR and LOAD write in this cycle."""
        cut = self.cut
        _, first, _ = cut.split(self.load_address)
        _, last, _ = cut.split(self.load_last)
        more_words = (last - first)[: len(first)]
        load_words = Cat(Const(1, 1), *(more_words >= word for word in range(1, cut.banks)))
        d_words = low_ones(self.d_words, cut.banks)
        d_row, d_use, d_carry, d_half = self._window(m, "d", Mux(self.d_valid, d_words, 0))
        row, use, carry, half = self._window(m, "load", Mux(self.load_valid, load_words, 0))
        m.d.comb += [
            self.load_ready.eq(~(use & d_use & ~(half ^ d_half)).any()),
            ports.d_row.eq(d_row),
            ports.d_use.eq(d_use),
            ports.d_carry.eq(d_carry),
            ports.d_half.eq(d_half),
            ports.load_row.eq(row),
            ports.load_use.eq(Mux(self.load_ready, use, 0)),
            ports.load_carry.eq(carry),
            ports.load_half.eq(half),
        ]

    def _write_data(self, m: Module, ports: Copies) -> None:
        """Turn what VECTOR and LOAD write to its banks."""
        cut = self.cut
        total = cut.banks * cut.word_bytes
        _, d_bank, _ = cut.split(self.d_address)
        byte, bank, _ = cut.split(self.load_address)
        d_data, load_mask = Signal(8 * total), Signal(total)
        word_bits = 8 * cut.word_bytes
        if self.vector_words & (self.vector_words - 1):
            m.d.comb += [d_data.eq(self.d_data), ports.d_data.eq(rotate_left(m, "d_turned", d_data, d_bank, word_bits))]
        else:
            m.d.comb += ports.d_data.eq(at_its_place(m, "d_turned", self.d_data, d_bank, word_bits, 8 * total))
        m.d.comb += [
            load_mask.eq(low_ones(self.load_length, self.beat) << byte),
            ports.load_data.eq(at_its_place(m, "load_turned", self.load_data, self.load_address, 8, 8 * total)),
            ports.load_enable.eq(rotate_left(m, "load_mask_turned", load_mask, bank, cut.word_bytes)),
        ]
