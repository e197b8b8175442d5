"""Operations on whole rows of channels: SOFTMAX, LRN and LAYER_NORM, one element per cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.target import Target
from gossamer.arch.timing import LAYER_NORM_GAP_CYCLES
from gossamer.dataflow.numerics import HEADER_DTYPE, LAYER_NORM_DTYPE
from gossamer.rtl.copies import Copies
from gossamer.rtl.vector.layer_norm import (
    LAYER_NORM_LATENCY,
    LOOK_UP_STAGE,
    NUMERATOR_STAGE,
    STATISTICS_CYCLES,
    LayerNorm,
)
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

assert STATISTICS_CYCLES <= LAYER_NORM_GAP_CYCLES + 1 + NUMERATOR_STAGE
assert LRN_LATENCY == ROW_LATENCY


class RowUnit(wiring.Component):
    """Execute SOFTMAX, LRN and LAYER_NORM.

    Members
    -------
    load: take the instruction's fields, which are held. go: the operation is one of these: read from the next cycle on.
    softmax, lrn, layer_norm: which. parameters: address of the parameter block. header: its first 32 bytes.
    read_valid, read_address, read_data: reads of the activation buffer, one word each, READ_LATENCY cycles later.
    par_valid, par_address, par_data: reads of tables and entries, likewise.
    word, captures_next: a result word, from two cycles after captures_next on for group_size cycles.
    bad: high for a cycle if the exponentials of a row add up to 0 or its variance is too large.

    Latency and throughput
    ----------------------
    Cycles per row of n elements, those that are not real included: SOFTMAX 3 * n, LRN n + window // 2, LAYER_NORM
    2 * n + LAYER_NORM_GAP_CYCLES. Tables stay in the parameter buffer: each element reads its entry there.
    """

    def __init__(self, *, group_size: int, vector_lanes: int, rows: int, target: Target) -> None:
        self.group_size, self.vector_lanes, self.rows, self.target = group_size, vector_lanes, rows, target
        super().__init__(
            {
                "load": In(1), "go": In(1), "softmax": In(1), "lrn": In(1), "layer_norm": In(1), **BLOCK_PORTS,
                "a": In(ADDRESS_BITS), "a_y": In(ADDRESS_BITS), "a_x": In(STRIDE_BITS),
                "parameters": In(PARAMETER_ADDRESS_BITS), "header": In(HEADER_BITS), "read_valid": Out(1),
                "read_address": Out(ADDRESS_BITS), "read_data": In(8 * group_size), "par_valid": Out(1),
                "par_address": Out(PARAMETER_ADDRESS_BITS), "par_data": In(128), "word": Out(8 * group_size),
                "captures_next": Out(1), "bad": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the stream, the three operations, and what joins their results to words."""
        m = Module()
        m.submodules.reader = reader = Copies(
            RowReader(group_size=self.group_size, vector_lanes=self.vector_lanes, rows=self.rows)
        )
        m.submodules.softmax = softmax = Copies(Softmax())
        m.submodules.lrn = lrn = Copies(Lrn(len(reader.index), self.target))
        m.submodules.layer_norm = norm = Copies(LayerNorm(self.target))
        header = data.View(header_layout(), self.header)
        window = header.extra[:8]
        amount = Signal(6)
        for name in ("load", "go", *BLOCK_PORTS, "a", "a_y", "a_x", "read_data"):
            m.d.comb += getattr(reader, name).eq(getattr(self, name))
        m.d.sync += [
            reader.passes.eq(Mux(self.softmax, 3, Mux(self.layer_norm, 2, 1))),
            reader.between_gap.eq(Mux(self.layer_norm, LAYER_NORM_GAP_CYCLES, 0)),
            reader.last_gap.eq(Mux(self.lrn, window >> 1, 0)), amount.eq(header.shift - 1),
            self.bad.eq((self.softmax & softmax.no_sum) | (self.layer_norm & norm.too_large)),
        ]  # fmt: skip
        m.d.comb += [
            reader.channels.eq(header.channels),
            self.read_valid.eq(reader.read_valid), self.read_address.eq(reader.read_address),
            lrn.zero_a.eq(header.zero_a), lrn.window.eq(window), lrn.index_shift.eq(header.extra[8:]),
            norm.epsilon.eq(header.epsilon), norm.low.eq(header.low), norm.high.eq(header.high),
            norm.channels.eq(header.channels),
        ]  # fmt: skip
        # Its statistics outlast a row: other operations' rows must not begin them.
        m.d.comb += [softmax.slot.eq(reader.slot), norm.slot.eq(reader.slot & self.layer_norm)]
        for operation in (softmax, lrn, norm):
            for name in ("element", "real", "first", "last", "row_pass", "index"):
                if name in operation.ports and operation.ports[name][1]:
                    m.d.comb += getattr(operation, name).eq(getattr(reader, name))
            m.d.comb += operation.zero.eq(header.zero_out)
            if "amount" in operation.ports:
                m.d.comb += operation.amount.eq(amount)
        produced = self._produced(m, reader, header, window >> 1)
        self._look_up(m, reader, softmax, lrn, norm, produced[INDEX_STAGE])
        self._collect(m, header, softmax, lrn, norm, produced)
        return m

    def _produced(self, m: Module, reader: Copies, header: data.View, half: Value) -> list[Value]:
        """Return, for every stage after an element, whether it gives a result (bit 0), and a real channel's (bit 1).

        From the second on: the channel is found in the first, and compared.
        """
        lag = Signal(7)
        channel = Signal(len(reader.index))
        follows = Signal()
        given = Signal()
        last_pass = Signal(2)
        m.d.sync += [
            lag.eq(Mux(self.lrn, half, 0)), channel.eq(reader.index - lag), follows.eq(reader.index >= lag),
            given.eq((reader.slot | (reader.gap & self.lrn)) & (reader.row_pass == last_pass)),
            last_pass.eq(Mux(self.softmax, 2, self.layer_norm)),
        ]  # fmt: skip
        at_once = Const(0, 2)
        stages = [at_once, at_once, Signal(2, name="produced_2")]
        m.d.sync += stages[2].eq(Cat(given & follows, channel < header.channels[: len(channel)]))
        for stage in range(3, ROW_LATENCY + 1):
            stages.append(Signal(2, name=f"produced_{stage}"))
            m.d.sync += stages[-1].eq(stages[-2])
        return stages

    def _look_up(
        self, m: Module, reader: Copies, softmax: Copies, lrn: Copies, norm: Copies, window_done: Value
    ) -> None:
        """Read the table entry, or the channel's entry, of each element."""
        base = Signal(PARAMETER_ADDRESS_BITS)
        entry_at = Signal(PARAMETER_ADDRESS_BITS)
        table_at = Signal(PARAMETER_ADDRESS_BITS)
        table_valid = Signal()
        firsts = Signal(LOOK_UP_STAGE - 1)
        m.d.sync += [
            base.eq(self.parameters + HEADER_DTYPE.itemsize), firsts.eq(Cat(reader.first, firsts)),
            table_at.eq(base + (Mux(self.softmax, softmax.index, lrn.table_index) << 2)),
            table_valid.eq((self.softmax & softmax.look_up) | (self.lrn & window_done[0])),
        ]  # fmt: skip
        with m.If(firsts[-1]):
            m.d.sync += entry_at.eq(base)
        with m.Elif(norm.look_up):
            m.d.sync += entry_at.eq(entry_at + LAYER_NORM_DTYPE.itemsize)
        m.d.comb += [
            self.par_valid.eq(table_valid | (self.layer_norm & norm.look_up)),
            self.par_address.eq(Mux(self.layer_norm, entry_at, table_at)),
            softmax.term.eq(self.par_data), lrn.factor.eq(self.par_data), norm.entry.eq(self.par_data),
        ]  # fmt: skip

    def _collect(
        self, m: Module, header: data.View, softmax: Copies, lrn: Copies, norm: Copies, produced: list[Value]
    ) -> None:
        """Shift results into a word; those that come early wait."""
        results = {}
        for name, result, latency in (
            ("softmax", softmax.result, SOFTMAX_LATENCY), ("norm", norm.result, LAYER_NORM_LATENCY)
        ):  # fmt: skip
            for stage in range(latency, ROW_LATENCY):
                after = Signal(8, name=f"{name}_{stage + 1}")
                m.d.sync += after.eq(result)
                result = after
            results[name] = result
        byte = Signal(8)
        gathered = Signal(8 * self.group_size)
        count = Signal(range(self.group_size))
        full = Signal()
        result = Mux(self.softmax, results["softmax"], Mux(self.lrn, lrn.result, results["norm"]))
        comes, given = produced[-2][0], produced[-1]
        m.d.comb += byte.eq(Mux(given[1], result, header.zero_out))
        capture = Signal()
        m.d.comb += self.captures_next.eq(comes & full)
        m.d.sync += capture.eq(self.captures_next)
        with m.If(comes):
            m.d.sync += [count.eq(count + 1), full.eq(count == self.group_size - 2)]
        with m.If(given[0]):
            m.d.sync += gathered.eq(Cat(gathered[8:], byte))
        with m.If(capture):
            m.d.sync += self.word.eq(Cat(gathered[8:], byte))
