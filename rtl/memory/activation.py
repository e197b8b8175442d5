"""Describe the activation buffer: one copy of all activations per reader, written together.

COMPUTE reads lane l from copy l; VECTOR has the next copy, STORE the last one. So nobody who reads ever waits, and the
durations of COMPUTE and VECTOR are exact. VECTOR and LOAD share the write ports, of which each bank has two, one for
each half of its rows: a piece waits only if VECTOR writes the same half of the same bank.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.activation import activation_banks, copies
from gossamer.arch.spec import SparseAccelerator
from gossamer.rtl.constant_arithmetic import low_ones
from gossamer.rtl.copies import Copies
from gossamer.rtl.hand_over import hand_over
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
        m.d.comb += [banks.window_row.eq(row), banks.window_carry.eq(cut.carry(bank))]
        m.d.comb += [getattr(banks, name).eq(getattr(self, name)) for name in WRITES]
        m.d.sync += [
            first.eq(bank), late.eq(first),
            self.window.eq(rotate_right(m, "turned", banks.read_data, late, 8 * cut.word_bytes)),
        ]  # fmt: skip
        return m


class WritePort(wiring.Component):
    """The write port of one bank, in all copies: the registered choice between VECTOR and LOAD, half by half.

    Members
    -------
    d_rows, load_rows: first and last row of VECTOR's result and of LOAD's piece. `_late`: this bank lies in the last.
    d_use, load_use: whether this bank belongs to the window, [half]; of LOAD only if VECTOR lets it.
    d_data, load_data, load_enable: words to write, already turned to their banks.
    row, enable, data: what the bank sees in each half, one cycle later, [half].
    """

    def __init__(self, cut: Banking) -> None:
        self.module_name = "activation_write_port"
        self.cut = cut
        members: dict[str, Any] = {}
        for client in ("d", "load"):
            members |= {f"{client}_rows": In(2 * cut.row_bits), f"{client}_late": In(1), f"{client}_use": In(2)}
        width = cut.word_bytes
        written = {"d_data": In(8 * width), "load_enable": In(width), "load_data": In(8 * width)}
        seen = {"row": Out(2 * cut.half_bits), "enable": Out(2 * width), "data": Out(2 * 8 * width)}
        super().__init__({**members, **written, **seen})

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        width = self.cut.word_bytes
        rows = [
            getattr(self, f"{name}_rows").word_select(getattr(self, f"{name}_late"), self.cut.row_bits)
            for name in ("d", "load")
        ]
        for half, (d, load) in enumerate(zip(self.d_use, self.load_use, strict=True)):
            m.d.sync += [
                self.row.word_select(half, self.cut.half_bits).eq(Mux(d, *rows)),
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
    load_valid, load_address, load_data, load_ready: a piece of up to a row at any byte address; load_last:
        the address of its last byte. load_held: a piece that was taken has not been written yet.
    store_address: any byte; store_data: a row from there on, 4 cycles later. Of both, what lies in as many words as
    there are banks: see `gossamer.arch.activation.shifted_bytes`.

    Latency and throughput: everything once per cycle; what VECTOR gives in cycle t is seen by addresses from t + 3 on.
    A piece that is taken in cycle t is written, if no result stands in its way, in t + 1, when it is held, and seen by
    addresses from t + 3 on. `load_ready` is a register: a piece waits only if two others do.
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
                "load_data": In(8 * self.beat),
                "load_ready": Out(1),
                "load_held": Out(1),
                "store_address": In(ADDRESS_BITS),
                "store_data": Out(8 * self.beat),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the hardware."""
        m = Module()
        cut = self.cut
        m.submodules.copies = readers = Copies(ActivationCopy(self.spec), copies(self.spec), shared=WRITES)
        m.submodules.ports = ports = Copies(WritePort(cut), cut.banks, shared=("d_rows", "load_rows"))
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
        self._results(m, ports)
        self._pieces(m, ports)
        return m

    def _use(self, words: Value, upper: Value) -> Value:
        """Return whether a window with these words is in a bank, [bank][half], by the half each bank's word lies in."""
        return Cat(Cat(word & ~half, word & half) for word, half in zip(words, upper, strict=True))

    def _results(self, m: Module, ports: Copies) -> None:
        """Register VECTOR's result, turned to its banks, and which of them it is written to."""
        cut = self.cut
        _, bank, row = cut.split(self.d_address)
        word_bits, total_bits = 8 * cut.word_bytes, 8 * cut.banks * cut.word_bytes
        if self.vector_words & (self.vector_words - 1):
            turned = rotate_left(m, "d_turned", _extended(m, "d_words_given", self.d_data, total_bits), bank, word_bits)
        else:
            turned = at_its_place(m, "d_turned", self.d_data, bank, word_bits, total_bits)
        end = Signal(range(2 * cut.banks + 1))
        following = Signal(cut.row_bits)
        late = cut.carry(bank)
        m.d.comb += [end.eq(bank + self.d_words), following.eq(row + 1)]
        before_end = low_ones(end, 2 * cut.banks)
        words = (~late & before_end[: cut.banks]) | before_end[cut.banks :]
        upper = Cat(Mux(each, cut.half(following), cut.half(row)) for each in late)
        for port, value in (
            (ports.d_data, turned), (ports.d_rows, Cat(row, following)), (ports.d_late, late),
            (ports.d_use, Mux(self.d_valid, self._use(words, upper), 0)),
        ):  # fmt: skip
            register = Signal(len(port))
            m.d.sync += register.eq(value)
            m.d.comb += port.eq(register)

    def _pieces(self, m: Module, ports: Copies) -> None:
        """Hold LOAD's piece, with its banks known, until VECTOR writes none of them in the same half; write it then.

        Bytes are turned to their place in a word before they are held, words to their banks when they are written.
        """
        cut, total = self.cut, self.cut.banks * self.cut.word_bytes
        byte, bank, row = cut.split(self.load_address)
        _, last_bank, last_row = cut.split(self.load_last)
        late = cut.carry(bank)
        within = Cat(Const(1, 1), low_ones(last_bank, cut.banks - 1))
        words = Mux(row[0] ^ last_row[0], ~late | within, ~late & within)
        upper = Cat(Mux(each, cut.half(last_row), cut.half(row)) for each in late)
        place_bits = self.beat.bit_length() - 1
        near = self.load_address[: min(len(byte), place_bits)]
        last_byte, _, _ = cut.split(self.load_last)
        before, until = low_ones(byte, cut.word_bytes), Cat(Const(1, 1), low_ones(last_byte, cut.word_bytes - 1))
        # Bytes of a bank that are not the piece's, if it is used: a bank has one word of a piece.
        outside = Cat(Mux(bank == each, before, 0) | Mux(last_bank == each, ~until, 0) for each in range(cut.banks))
        shown = {
            "use": self._use(words, upper), "rows": Cat(row, last_row), "bank": bank, "mask": ~outside,
            "data": rotate_left(m, "load_bytes", self.load_data, near, 8),
        }  # fmt: skip
        ready = Signal()
        room, held, piece = hand_over(m, "piece", valid=self.load_valid, payload=Cat(shown.values()), ready=ready)
        use, rows, first_bank, held_mask, data = _cut(piece, [len(value) for value in shown.values()])
        far = first_bank[: place_bits - len(near)]
        turned = rotate_left(m, "load_words", data, far, 8 * cut.word_bytes)
        m.d.comb += [
            ready.eq(~(use & ports.d_use).any()),
            self.load_ready.eq(room),
            self.load_held.eq(held),
            ports.load_rows.eq(rows),
            ports.load_late.eq(cut.carry(first_bank)),
            ports.load_use.eq(Mux(held & ready, use, 0)),
            ports.load_data.eq(turned.replicate(8 * total // len(turned)) if 8 * total > len(turned) else turned),
            ports.load_enable.eq(held_mask),
        ]


def _extended(m: Module, name: str, value: Value, width: int) -> Signal:
    """Return a value with zeros up to a width."""
    signal = Signal(width, name=name)
    m.d.comb += signal.eq(value)
    return signal


def _cut(value: Value, widths: Sequence[int]) -> Iterator[Value]:
    """Yield the parts of a value that are so wide, lowest first."""
    start = 0
    for width in widths:
        yield value[start : start + width]
        start += width
