"""Read the parameter block of a VECTOR instruction: header, REQUANTIZE entries, byte table."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.timing import VECTOR_TABLE_LEAD_CYCLES, parameter_read_bytes, requantize_entries
from gossamer.dataflow.numerics import HEADER_DTYPE, REQUANTIZE_DTYPE, TABLE_BYTES
from gossamer.rtl.constant_arithmetic import times_constant
from gossamer.rtl.vector.lane import ENTRY_BITS, TABLE_ROW_BYTES, TABLE_ROWS
from gossamer.rtl.vector.walk import row_bits

READ_LATENCY = 4
"""Cycles from an address to the data of any buffer: one register, and three in the buffer."""

ENTRY_LATENCY = 1 + READ_LATENCY
"""Cycles from the number of a table's entry to the entry: address, and read."""

PARAMETER_ADDRESS_BITS = 22
HEADER_BYTES = HEADER_DTYPE.itemsize
HEADER_BITS = 8 * HEADER_BYTES
ENTRY_READS = 3
"""Reads of `entry_count` words of 4 bytes that hold `entry_count` entries of 12."""


def header_layout() -> data.StructLayout:
    """Return the header of a parameter block as an Amaranth layout."""
    members = {}
    for name in HEADER_DTYPE.names or ():
        kind = HEADER_DTYPE.fields[name][0] if HEADER_DTYPE.fields else None
        assert kind is not None
        members[name] = (signed if kind.kind == "i" else unsigned)(8 * kind.itemsize)
    return data.StructLayout(members)


class ParameterLoader(wiring.Component):
    """Read a parameter block once, at the start of an instruction.

    Members
    -------
    begin: start with the block at `address`; with_header, with_entries, with_table say what it has. words: words of
        channels, each `group_size` entries; all held until the next begin.
    may_start: the first operand may be read in the next cycle: what it needs will have come when it needs it.
    valid, read_address, data: port of the parameter buffer.
    header: the 32 bytes, from READ_LATENCY + 1 cycles after their last read on; header_done: high in the first of them.
    entries_write: one bit per lane; entries_row, entries: write these 12-byte entries, one field per lane.
    table_write, table_row, table_data: write 16 entries of the byte table.

    Latency and throughput
    ----------------------
    The first read follows `begin` by one cycle. 16 bytes of header or table per cycle, so 2 and 16 cycles; entries of
    `requantize_entries(vector_lanes)` channels in three cycles. may_start is high in the cycle of the last read, or of
    `begin` if there is none; with a table already in that of its read number `VECTOR_TABLE_LEAD_CYCLES`, since operands
    take longer to get there.
    """

    def __init__(self, *, group_size: int, vector_lanes: int, rows: int) -> None:
        self.group_size, self.lanes, self.rows = group_size, vector_lanes, rows
        self.entry_count = requantize_entries(vector_lanes)
        self.data_bytes = parameter_read_bytes(vector_lanes)
        super().__init__(
            {
                "begin": In(1), "address": In(PARAMETER_ADDRESS_BITS), "words": In(14), "with_header": In(1),
                "with_entries": In(1), "with_table": In(1), "may_start": Out(1), "valid": Out(1),
                "read_address": Out(PARAMETER_ADDRESS_BITS), "data": In(8 * self.data_bytes),
                "header": Out(HEADER_BITS), "header_done": Out(1), "entries_write": Out(vector_lanes),
                "entries_row": Out(row_bits(rows)), "entries": Out(ENTRY_BITS * vector_lanes),
                "table_write": Out(1), "table_row": Out(range(TABLE_ROWS)), "table_data": Out(8 * TABLE_ROW_BYTES),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the reads, and what is done with their data."""
        m = Module()
        kinds = [Signal(3, name=f"kind_{stage}") for stage in range(READ_LATENCY + 1)]
        m.d.sync += [after.eq(before) for before, after in pairwise(kinds)]
        is_header, is_entries, is_table = kinds[READ_LATENCY]
        self._reads(m, kinds[0])
        row_data = self.data[: 8 * TABLE_ROW_BYTES]
        with m.If(is_header):
            m.d.sync += self.header.eq(Cat(self.header[HEADER_BITS // 2 :], row_data))
        m.d.sync += [
            self.header_done.eq(is_header & ~kinds[READ_LATENCY - 1][0]),
            self.table_write.eq(is_table), self.table_data.eq(row_data),
        ]  # fmt: skip
        with m.If(self.begin):
            m.d.sync += self.table_row.eq(TABLE_ROWS - 1)
        with m.Elif(is_table):
            m.d.sync += self.table_row.eq(self.table_row + 1)
        self._collect_entries(m, is_entries)
        return m

    def _reads(self, m: Module, kind: Signal) -> None:
        """Issue the reads; `kind` tells header, entries and table apart, and is zero without a read."""
        table_at = Signal(PARAMETER_ADDRESS_BITS)
        entries_at = Signal(PARAMETER_ADDRESS_BITS)
        entries_bytes = Signal(PARAMETER_ADDRESS_BITS)
        channels_left = Signal(14 + self.group_size.bit_length())
        last_entries = Signal()
        count = Signal(range(TABLE_BYTES // TABLE_ROW_BYTES))
        lead, ends = Signal(), Signal()  # `ends`: this is the last read of its kind, or of a round of entries
        m.d.comb += [
            self.valid.eq(kind.any()), self.may_start.eq(lead | (self.begin & ~self.with_header)),
        ]  # fmt: skip
        m.d.sync += [
            lead.eq(0), ends.eq(0), entries_at.eq(self.address + HEADER_BYTES), table_at.eq(entries_at + entries_bytes),
            entries_bytes.eq(times_constant(self.words, REQUANTIZE_DTYPE.itemsize * self.group_size)),
            last_entries.eq(channels_left <= self.entry_count),
        ]  # fmt: skip

        def go(step: int, reads: int) -> None:
            m.d.sync += [
                self.read_address.eq(self.read_address + step), count.eq(Mux(ends, 0, count + 1)),
                ends.eq(count == reads - 2),
            ]  # fmt: skip

        with m.FSM(name="reading"):
            with m.State("IDLE"):
                m.d.sync += [
                    self.read_address.eq(self.address), count.eq(0), channels_left.eq(self.words * self.group_size)
                ]  # fmt: skip
                with m.If(self.begin & self.with_header):
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += kind.eq(0b001)
                go(TABLE_ROW_BYTES, HEADER_BYTES // TABLE_ROW_BYTES)
                m.d.sync += lead.eq(~ends & ~(self.with_entries | self.with_table))
                with m.If(ends):
                    m.next = "DONE"
                    with m.If(self.with_entries):
                        m.next = "ENTRIES"
                    with m.Elif(self.with_table):
                        m.next = "TABLE"
            with m.State("ENTRIES"):
                m.d.comb += kind.eq(0b010)
                go(4 * self.entry_count, ENTRY_READS)
                with m.If(ends):
                    m.d.sync += channels_left.eq(channels_left - self.entry_count)
                    with m.If(last_entries):
                        m.d.sync += self.read_address.eq(table_at)
                        m.next = "TABLE"
            with m.State("TABLE"):
                m.d.comb += kind.eq(0b100)
                m.d.sync += lead.eq(count == VECTOR_TABLE_LEAD_CYCLES - 2)
                go(TABLE_ROW_BYTES, TABLE_ROWS)
                with m.If(ends):
                    m.next = "DONE"
            with m.State("DONE"):
                m.next = "IDLE"

    def _collect_entries(self, m: Module, is_entries: Signal) -> None:
        """Gather three reads and write the entries in them to the lanes they belong to."""
        width = 32 * self.entry_count
        blocks = self.lanes // self.entry_count
        older = Signal(width)
        old = Signal(width)
        taken = Signal(range(ENTRY_READS))
        block = Signal(blocks, init=1)
        next_block = Signal(blocks, init=1)
        row = Signal(len(self.entries_row))
        written = Signal(blocks)  # blocks of lanes whose entries are complete
        gathered = Signal(ENTRY_READS * width)
        m.d.comb += [
            self.entries.eq(gathered.replicate(blocks)),
            self.entries_write.eq(Cat(bit.replicate(self.entry_count) for bit in written)),
            next_block.eq(block.rotate_left(1)),
        ]
        m.d.sync += [written.eq(0), gathered.eq(Cat(older, old, self.data[:width]))]
        with m.If(self.begin):
            m.d.sync += [taken.eq(0), block.eq(1 << (blocks - 1)), row.eq(-1)]
        with m.Elif(is_entries):
            m.d.sync += [old.eq(self.data[:width]), older.eq(old), taken.eq(taken + 1)]
            with m.If(taken == ENTRY_READS - 1):
                m.d.sync += [taken.eq(0), written.eq(next_block), block.eq(next_block)]
                with m.If(next_block[0]):
                    m.d.sync += row.eq(row + 1)
        m.d.comb += self.entries_row.eq(row)
