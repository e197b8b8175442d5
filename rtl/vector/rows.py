"""Operations on whole rows of channels: SOFTMAX, LRN and LAYER_NORM, one element per cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.timing import LAYER_NORM_GAP_CYCLES
from gossamer.dataflow.numerics import HEADER_DTYPE, LAYER_NORM_DTYPE
from gossamer.rtl.copies import Copies
from gossamer.rtl.vector.layer_norm import LAYER_NORM_LATENCY, LOOK_UP_STAGE, STATISTICS_CYCLES, LayerNorm
from gossamer.rtl.vector.lrn import INDEX_STAGE, LRN_LATENCY, Lrn
from gossamer.rtl.vector.parameters import HEADER_BITS, PARAMETER_ADDRESS_BITS, header_layout
from gossamer.rtl.vector.reader import BLOCK_PORTS
from gossamer.rtl.vector.row_reader import RowReader
from gossamer.rtl.vector.softmax import SOFTMAX_LATENCY, Softmax
from gossamer.rtl.vector.walk import ADDRESS_BITS, STRIDE_BITS

ROW_LATENCY = max(SOFTMAX_LATENCY, LRN_LATENCY, LAYER_NORM_LATENCY)
"""Cycles from an element to its result; faster operations wait."""

LARGEST_ROW = 2**16 - 1
"""Real channels of a LAYER_NORM."""

assert STATISTICS_CYCLES <= LAYER_NORM_GAP_CYCLES
assert SOFTMAX_LATENCY == LRN_LATENCY == ROW_LATENCY


class RowUnit(wiring.Component):
    """Execute SOFTMAX, LRN and LAYER_NORM.

    Members
    -------
    load: take the instruction's fields, which are held. go: the operation is one of these: read from now on.
    softmax, lrn, layer_norm: which. parameters: address of the parameter block. header: its first 32 bytes.
    read_valid, read_address, read_data: reads of the activation buffer, one word each.
    par_valid, par_address, par_data: reads of tables and entries.
    word, capture: a result word, from the cycle after capture on for group_size cycles.
    bad: high for a cycle if the exponentials of a row add up to 0 or its variance is too large.

    Latency and throughput
    ----------------------
    Cycles per row of n elements, those that are not real included: SOFTMAX 3 * n, LRN n + window // 2, LAYER_NORM
    2 * n + LAYER_NORM_GAP_CYCLES. Tables stay in the parameter buffer: each element reads its entry there.
    """

    def __init__(self, *, group_size: int, vector_lanes: int, rows: int) -> None:
        self.group_size, self.vector_lanes, self.rows = group_size, vector_lanes, rows
        super().__init__(
            {
                "load": In(1), "go": In(1), "softmax": In(1), "lrn": In(1), "layer_norm": In(1), **BLOCK_PORTS,
                "a": In(ADDRESS_BITS), "a_y": In(ADDRESS_BITS), "a_x": In(STRIDE_BITS),
                "parameters": In(PARAMETER_ADDRESS_BITS), "header": In(HEADER_BITS), "read_valid": Out(1),
                "read_address": Out(ADDRESS_BITS), "read_data": In(8 * group_size), "par_valid": Out(1),
                "par_address": Out(PARAMETER_ADDRESS_BITS), "par_data": In(128), "word": Out(8 * group_size),
                "capture": Out(1), "bad": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the stream, the three operations, and what joins their results to words."""
        m = Module()
        m.submodules.reader = reader = Copies(
            RowReader(group_size=self.group_size, vector_lanes=self.vector_lanes, rows=self.rows)
        )
        m.submodules.softmax = softmax = Copies(Softmax())
        m.submodules.lrn = lrn = Copies(Lrn(len(reader.index)))
        m.submodules.layer_norm = norm = Copies(LayerNorm())
        header = data.View(header_layout(), self.header)
        window = header.extra[:8]
        for name in ("load", "go", *BLOCK_PORTS, "a", "a_y", "a_x", "read_data"):
            m.d.comb += getattr(reader, name).eq(getattr(self, name))
        m.d.comb += [
            reader.passes.eq(Mux(self.softmax, 3, Mux(self.layer_norm, 2, 1))),
            reader.between_gap.eq(Mux(self.layer_norm, LAYER_NORM_GAP_CYCLES, 0)),
            reader.last_gap.eq(Mux(self.lrn, window >> 1, 0)), reader.channels.eq(header.channels),
            self.read_valid.eq(reader.read_valid), self.read_address.eq(reader.read_address),
            lrn.zero_a.eq(header.zero_a), lrn.window.eq(window), lrn.index_shift.eq(header.extra[8:]),
            norm.epsilon.eq(header.epsilon), norm.low.eq(header.low), norm.high.eq(header.high),
            norm.channels.eq(header.channels),
            self.bad.eq((self.softmax & softmax.no_sum) | (self.layer_norm & norm.too_large)),
        ]  # fmt: skip
        # Its statistics outlast a row: other operations' rows must not begin them.
        m.d.comb += [softmax.slot.eq(reader.slot), norm.slot.eq(reader.slot & self.layer_norm)]
        for operation in (softmax, lrn, norm):
            for name in ("element", "real", "first", "last", "row_pass", "index"):
                if name in operation.ports and operation.ports[name][1]:
                    m.d.comb += getattr(operation, name).eq(getattr(reader, name))
            m.d.comb += operation.zero.eq(header.zero_out)
            if "amount" in operation.ports:
                m.d.comb += operation.amount.eq(header.shift - 1)
        produced = self._produced(m, reader, header, window >> 1)
        self._look_up(m, reader, softmax, lrn, norm, produced[INDEX_STAGE])
        self._collect(m, header, softmax, lrn, norm, produced[ROW_LATENCY])
        return m

    def _produced(self, m: Module, reader: Copies, header: data.View, half: Signal) -> list[Signal]:
        """Return, for every stage after an element, whether it gives a result (bit 0), and a real channel's (bit 1)."""
        channel = Signal(len(reader.index))
        given = (
            (self.softmax & reader.slot & (reader.row_pass == 2))
            | (self.layer_norm & reader.slot & (reader.row_pass == 1))
            | (self.lrn & (reader.slot | reader.gap) & (reader.index >= half))
        )
        m.d.comb += channel.eq(reader.index - Mux(self.lrn, half, 0))
        stages = [Cat(given, channel < header.channels)]
        for stage in range(ROW_LATENCY):
            stages.append(Signal(2, name=f"produced_{stage + 1}"))
            m.d.sync += stages[-1].eq(stages[-2])
        return stages

    def _look_up(
        self, m: Module, reader: Copies, softmax: Copies, lrn: Copies, norm: Copies, window_done: Signal
    ) -> None:
        """Read the table entry, or the channel's entry, of each element."""
        base = Signal(PARAMETER_ADDRESS_BITS)
        entry_at = Signal(PARAMETER_ADDRESS_BITS)
        m.d.sync += base.eq(self.parameters + HEADER_DTYPE.itemsize)
        firsts = Signal(LOOK_UP_STAGE - 1)
        m.d.sync += firsts.eq(Cat(reader.first, firsts))
        with m.If(firsts[-1]):
            m.d.sync += entry_at.eq(base)
        with m.Elif(norm.look_up):
            m.d.sync += entry_at.eq(entry_at + LAYER_NORM_DTYPE.itemsize)
        table_at = base + (Mux(self.softmax, softmax.index, lrn.table_index) << 2)
        m.d.comb += [
            self.par_valid.eq(
                (self.softmax & softmax.look_up) | (self.lrn & window_done[0]) | (self.layer_norm & norm.look_up)
            ),
            self.par_address.eq(Mux(self.layer_norm, entry_at, table_at)),
            softmax.term.eq(self.par_data), lrn.factor.eq(self.par_data), norm.entry.eq(self.par_data),
        ]  # fmt: skip

    def _collect(
        self, m: Module, header: data.View, softmax: Copies, lrn: Copies, norm: Copies, produced: Signal
    ) -> None:
        """Shift results into a word."""
        late = norm.result
        for stage in range(ROW_LATENCY - LAYER_NORM_LATENCY):
            after = Signal(8, name=f"late_{stage + 1}")
            m.d.sync += after.eq(late)
            late = after
        byte = Signal(8)
        gathered = Signal(8 * self.group_size)
        count = Signal(range(self.group_size))
        result = Mux(self.softmax, softmax.result, Mux(self.lrn, lrn.result, late))
        m.d.comb += [
            byte.eq(Mux(produced[1], result, header.zero_out)),
            self.capture.eq(produced[0] & (count == self.group_size - 1)),
        ]
        with m.If(produced[0]):
            m.d.sync += [gathered.eq(Cat(gathered[8:], byte)), count.eq(count + 1)]
        with m.If(self.capture):
            m.d.sync += self.word.eq(Cat(gathered[8:], byte))
