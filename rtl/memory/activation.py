"""Describe the activation buffer: a copy per lane for COMPUTE, and one more that VECTOR and STORE read.

All copies hold all activations and are written together. COMPUTE reads lane l from copy l. VECTOR reads its first
source from the service copy, where STORE reads too, and its second through the write port of copy 0. VECTOR has its banks
whenever it asks; LOAD and STORE have the banks that nobody before them wants in the same cycle. VECTOR and COMPUTE
therefore never wait, and their durations are exact. LOAD and VECTOR can write in the same cycle if they write different
halves of the buffer, or different banks.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.rtl.copies import Copies
from gossamer.rtl.memory.bank import LaneBank, ServiceBank
from gossamer.rtl.memory.banking import ADDRESS_BITS, Banking, banking, rotate_left, rotate_right

WRITES = ("row", "enable", "data")
"""Ports of a copy that all copies share: what is written to every bank."""


def activation_banking(spec: SparseAccelerator) -> Banking:
    """Return the banks: a fold, a vector beat, or a beat of the memory at any byte each touch a bank at most once."""
    group = spec.array.group_size
    words = max(spec.array.chain_length, spec.vector.lanes // group, ceil_div(spec.axi.data_bits // 8, group) + 1)
    return banking(capacity_bytes=spec.buffers.activation.capacity_bytes, word_bytes=group, words=words)


def write_members(cut: Banking) -> dict[str, In]:
    """Return the ports through which a copy is written: row, enabled bytes and data of every half of every bank."""
    halves = 2 * cut.banks
    return {
        "row": In(halves * cut.half_bits),
        "enable": In(halves * cut.word_bytes),
        "data": In(halves * 8 * cut.word_bytes),
    }


class LaneCopy(wiring.Component):
    """One copy of all activations, for one lane of COMPUTE.

    Members
    -------
    address: first byte of a window of chain_length words, a multiple of group_size; window: its words, 3 cycles later.
    row, enable, data: what is written, see `write_members`.
    other: words of the rows given for writing, one cycle later, [bank][half]; only in the copy that is a source.
    """

    def __init__(self, spec: SparseAccelerator, *, second_reads: bool) -> None:
        self.module_name = "activation_source_copy" if second_reads else "activation_lane_copy"
        self.cut = activation_banking(spec)
        self.bank = LaneBank(self.cut, spec.buffers.activation.memory, second_reads=second_reads)
        self.second_reads = second_reads
        fold_bits = 8 * spec.array.group_size * spec.array.chain_length
        other = {"other": Out(2 * 8 * self.cut.banks * self.cut.word_bytes)} if second_reads else {}
        super().__init__({"address": In(ADDRESS_BITS), "window": Out(fold_bits), **write_members(self.cut), **other})

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        cut = self.cut
        m.submodules.banks = banks = Copies(self.bank, cut.banks, shared=("window_row",))
        _, bank, row = cut.split(self.address)
        first, late = Signal(len(bank)), Signal(len(bank))
        first_row = Signal(cut.row_bits)
        m.d.sync += [first.eq(bank), first_row.eq(row), late.eq(first)]
        m.d.comb += [banks.window_row.eq(first_row), banks.window_carry.eq(cut.carry(first))]
        m.d.comb += [getattr(banks, name).eq(getattr(self, name)) for name in WRITES]
        if self.second_reads:
            m.d.comb += self.other.eq(banks.other)
        m.d.sync += self.window.eq(rotate_right(m, "turned", banks.read_data, late, 8 * cut.word_bytes))
        return m


class WritePort(wiring.Component):
    """The write port of one bank, in all copies: the registered choice between VECTOR and LOAD, half by half.

    Members
    -------
    b_row, d_row, load_row: first row of VECTOR's second source, of its result and of LOAD's piece. The bits of the same
    names say whether this bank belongs to the window (`_use`), lies in the row after the first (`_carry`), and in the
    upper half (`_half`).
    d_data, load_data, load_enable: words to write, already turned to their banks.
    row, enable, data: what the bank sees in each half, one cycle later, [half].
    """

    def __init__(self, cut: Banking) -> None:
        self.module_name = "activation_write_port"
        self.cut = cut
        members = {}
        for client in ("b", "d", "load"):
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
        rows = {name: getattr(self, f"{name}_row") + getattr(self, f"{name}_carry") for name in ("b", "d", "load")}
        for half in range(2):
            b, d, load = (getattr(self, f"{n}_use") & (getattr(self, f"{n}_half") == half) for n in ("b", "d", "load"))
            m.d.sync += [
                self.row.word_select(half, self.cut.half_bits).eq(Mux(b, rows["b"], Mux(d, rows["d"], rows["load"]))),
                self.enable.word_select(half, width).eq(Mux(d, ~Const(0, width), Mux(load, self.load_enable, 0))),
                self.data.word_select(half, 8 * width).eq(Mux(d, self.d_data, self.load_data)),
            ]
        return m


class ActivationBuffer(wiring.Component):
    """int8 activations in words of group_size bytes, interleaved over banks; a copy per lane and one for the others.

    Members
    -------
    act_address: one window address per lane; act_data: chain_length words per lane, 3 cycles later.
    a_valid, a_address, a_data: VECTOR's first source, `vector.lanes` bytes, 3 cycles later. b_*: its second source.
    d_valid, d_address, d_words, d_data: VECTOR's result, never in the cycle of a source. Addresses are multiples of
        group_size.
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

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        cut, kind = self.cut, self.spec.buffers.activation.memory
        m.submodules.source = source = Copies(LaneCopy(self.spec, second_reads=True))
        copies = [source]
        if self.lanes > 1:
            m.submodules.lanes = others = Copies(LaneCopy(self.spec, second_reads=False), self.lanes - 1, shared=WRITES)
            copies.append(others)
        m.submodules.service = service = Copies(ServiceBank(cut, kind), cut.banks, shared=("a_row", "store_row"))
        m.submodules.ports = ports = Copies(
            WritePort(cut), cut.banks, shared=tuple(f"{client}_row" for client in ("b", "d", "load"))
        )
        m.d.comb += [getattr(part, name).eq(getattr(ports, name)) for part in (*copies, service) for name in WRITES]
        m.d.comb += [
            Cat(*(part.address for part in copies)).eq(self.act_address),
            self.act_data.eq(Cat(*(part.window for part in copies))),
        ]
        self._arbitrate(m, ports, service)
        self._write_data(m, ports)
        self._second_source(m, source)
        self._service_data(m, service)
        return m

    def _window(self, m: Module, client: str, valid: Value, words: Value | int) -> tuple[Value, Value, Value, Value]:
        """Return a client's first row, and by bank: whether its window uses it, its carry, its half."""
        cut, address = self.cut, getattr(self, f"{client}_address")
        _, bank, row = cut.split(address)
        wanted = Signal(cut.banks, name=f"{client}_wanted")
        use, carry, half = (Signal(cut.banks, name=f"{client}_{what}") for what in ("banks", "carry", "half"))
        m.d.comb += [
            wanted.eq(Mux(valid, (Const(1, 1) << words) - 1, 0)),
            use.eq(rotate_left(m, f"{client}_use", wanted, bank, 1)),
            carry.eq(cut.carry(bank)),
            half.eq(cut.halves(row, carry)),
        ]
        return row, use, carry, half

    def _arbitrate(self, m: Module, ports: Copies, service: Copies) -> None:
        """Say which banks each client has in this cycle."""
        cut, group = self.cut, self.spec.array.group_size
        byte, _, _ = cut.split(self.load_address)
        load_words = Signal(range(cut.banks + 1))
        m.d.comb += load_words.eq((byte + self.load_length + group - 1) >> (group.bit_length() - 1))
        store_words = ceil_div(self.beat, group) + 1
        windows = {
            "a": self._window(m, "a", self.a_valid, self.vector_words),
            "b": self._window(m, "b", self.b_valid, self.vector_words),
            "d": self._window(m, "d", self.d_valid, self.d_words),
            "load": self._window(m, "load", self.load_valid, load_words),
            "store": self._window(m, "store", self.store_valid, store_words),
        }
        _, load_use, _, load_half = windows["load"]
        clash = Const(0, cut.banks)
        for client in ("b", "d"):
            _, use, _, half = windows[client]
            clash |= use & ~(half ^ load_half)
        m.d.comb += [
            self.load_ready.eq(~(load_use & clash).any()),
            self.store_ready.eq(~(windows["store"][1] & windows["a"][1]).any()),
        ]
        for client in ("b", "d", "load"):
            row, use, carry, half = windows[client]
            has = Mux(self.load_ready, use, 0) if client == "load" else use
            m.d.comb += [
                getattr(ports, f"{client}_row").eq(row),
                getattr(ports, f"{client}_use").eq(has),
                getattr(ports, f"{client}_carry").eq(carry),
                getattr(ports, f"{client}_half").eq(half),
            ]
        (a_row, a_use, a_carry, _), (store_row, _, store_carry, _) = windows["a"], windows["store"]
        m.d.comb += [
            service.a_row.eq(a_row),
            service.a_use.eq(a_use),
            service.a_carry.eq(a_carry),
            service.store_row.eq(store_row),
            service.store_carry.eq(store_carry),
        ]

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

    def _second_source(self, m: Module, source: Copies) -> None:
        """Turn VECTOR's second source: the halves chosen bank by bank, then the banks."""
        cut = self.cut
        width = 8 * cut.word_bytes
        _, bank, row = cut.split(self.b_address)
        half, once, twice = Signal(cut.banks), Signal(len(bank) + cut.banks), Signal(len(bank) + cut.banks)
        m.d.comb += half.eq(cut.halves(row, cut.carry(bank)))
        m.d.sync += [once.eq(Cat(half, bank)), twice.eq(once)]
        upper = Cat(bit.replicate(width) for bit in twice[: cut.banks])
        low = Cat(source.other.word_select(2 * number, width) for number in range(cut.banks))
        high = Cat(source.other.word_select(2 * number + 1, width) for number in range(cut.banks))
        words = Signal(width * cut.banks)
        m.d.comb += words.eq((high & upper) | (low & ~upper))
        m.d.sync += self.b_data.eq(rotate_right(m, "b_read", words, twice[cut.banks :], width))

    def _service_data(self, m: Module, service: Copies) -> None:
        """Turn the words of the service copy to VECTOR's first source (3 cycles) and to STORE (4 cycles)."""
        cut = self.cut
        width = 8 * cut.banks * cut.word_bytes
        _, bank, _ = cut.split(self.a_address)
        once, twice = Signal(len(bank), name="a_once"), Signal(len(bank), name="a_twice")
        m.d.sync += [once.eq(bank), twice.eq(once)]
        m.d.sync += self.a_data.eq(rotate_right(m, "a_read", service.read_data, twice, 8 * cut.word_bytes))
        byte, bank, _ = cut.split(self.store_address)
        place = Cat(byte, bank)
        once, twice, thrice = Signal(len(place)), Signal(len(place)), Signal(len(byte))
        turned = Signal(width)
        m.d.sync += [
            once.eq(place),
            twice.eq(once),
            thrice.eq(twice[: len(byte)]),
            turned.eq(rotate_right(m, "store_read", service.read_data, twice[len(byte) :], 8 * cut.word_bytes)),
            self.store_data.eq(turned >> (thrice << 3)),
        ]
