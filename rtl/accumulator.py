"""Generate the accumulator: int32 sums of all chains for many positions, in one bank per lane and half."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.accumulator import CELL_CHAINS, SUM_BYTES
from gossamer.arch.isa import FIELDS, Opcode
from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.constant_arithmetic import quotient, times_constant
from gossamer.rtl.copies import Copies
from gossamer.rtl.memory.block import BlockMemory
from gossamer.rtl.own_copy import own_copy

SUM_BITS = 8 * SUM_BYTES

ENTRY_BITS = next(field.bits for field in FIELDS[Opcode.COMPUTE] if field.name == "acc")
CHANNEL_BITS = next(field.bits for field in FIELDS[Opcode.COMPUTE] if field.name == "chains_active")


class AccumulatorCell(wiring.Component):
    """Accumulate the sums of two chains in one lane; both halves.

    Members
    -------
    lower_row, upper_row: rows read from the lower and upper half.
    sums: two signed sums, added to what was read from the half `upper` named a cycle before, or to zero if `clear` did.
    write_row: where the result goes, in the halves that `write_lower` and `write_upper` named a cycle before.
    view_upper: half whose words appear in `view` a cycle later.

    Protocol
    --------
    A row in cycle t is read for `clear`, `upper`, the writes and `view_upper` of cycle t + 1, and for `sums`,
    `write_row` and `view` of t + 2. A row written in cycle t may be read from t + 1 on.

    Latency and throughput
    ----------------------
    2 cycles; one row per cycle and half.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        row_bits = shape.half_row_bits
        super().__init__(
            {
                "lower_row": In(row_bits),
                "upper_row": In(row_bits),
                "sums": In(CELL_CHAINS * shape.sum_bits),
                "clear": In(1),
                "upper": In(1),
                "write_row": In(row_bits),
                "write_lower": In(1),
                "write_upper": In(1),
                "view_upper": In(1),
                "view": Out(CELL_CHAINS * SUM_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.shape.sum_bits
        new = Signal(CELL_CHAINS * SUM_BITS)
        clear, of_upper, view_upper, write_lower, write_upper = own_copy(
            m, Cat(self.clear, self.upper, self.view_upper, self.write_lower, self.write_upper)
        )
        lower = self._half(m, "lower", self.shape.half_rows, self.lower_row, write_lower, new)
        upper = self._half(m, "upper", self.shape.upper_rows, self.upper_row, write_upper, new)
        before = Signal(len(new))
        m.d.comb += before.eq(Mux(clear, 0, Mux(of_upper, upper, lower)))
        for chain in range(CELL_CHAINS):
            added = self.sums.word_select(chain, bits).as_signed()
            m.d.comb += new.word_select(chain, SUM_BITS).eq(before[chain * SUM_BITS : (chain + 1) * SUM_BITS] + added)
        m.d.comb += self.view.eq(Mux(view_upper, upper, lower))
        return m

    def _half(self, m: Module, name: str, rows: int, read_row: Value, write: Value, new: Value) -> Signal:
        """Return the output register of one half's memory."""
        kind = self.shape.accumulator_memory
        memory = BlockMemory(f"accumulator_{name}", part_bits=len(new), parts=1, rows=rows, kind=kind)
        m.submodules[name] = held = Copies(memory)
        out = Signal(len(new), name=f"{name}_sums", reset_less=True)
        m.d.comb += [
            held.read_row.eq(read_row),
            held.write_row.eq(self.write_row),
            held.write_data.eq(new),
            held.write_enable.eq(write),
        ]
        m.d.sync += out.eq(held.read_data)
        return out


class AccumulatorLane(wiring.Component):
    """The sums of all chains in one lane.

    Members
    -------
    As `AccumulatorCell`, but `sums` and `view` are of all chains, and `write` with `upper` says which half is written.

    Protocol, Latency and throughput
    --------------------------------
    As `AccumulatorCell`.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        row_bits = shape.half_row_bits
        super().__init__(
            {
                "lower_row": In(row_bits),
                "upper_row": In(row_bits),
                "sums": In(shape.chains * shape.sum_bits),
                "clear": In(1),
                "upper": In(1),
                "write_row": In(row_bits),
                "write": In(1),
                "view_upper": In(1),
                "view": Out(shape.chains * SUM_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        same = ("lower_row", "upper_row", "clear", "upper", "write_row", "view_upper")
        m.submodules.cells = cells = Copies(
            AccumulatorCell(self.shape),
            self.shape.chains // CELL_CHAINS,
            shared=(*same, "write_lower", "write_upper"),
        )
        m.d.comb += [getattr(cells, name).eq(getattr(self, name)) for name in (*same, "sums")]
        m.d.comb += [
            cells.write_lower.eq(self.write & ~self.upper),
            cells.write_upper.eq(self.write & self.upper),
            self.view.eq(cells.view),
        ]
        return m


class Accumulator(wiring.Component):
    """Add rows of sums to entries, for COMPUTE, and show entries to VECTOR.

    Entry e is in lane e mod lanes, row e // lanes; the most significant bit of the row is the half. COMPUTE works in
    one half while VECTOR reads the other.

    Members
    -------
    first_entry: entry of position 0, a multiple of lanes; stable from the cycle before `prepare` to the last write.
    prepare: high for one cycle before the rows of an instruction. working: from the cycle after it until the last row.
    lanes: one bit per lane: it has a position in this row. first: the row is the first of a pass. clear: start from
    zero.
    sums: [lane][chain], signed, of `sum_bits`.
    acc_valid, acc_entry, acc_channel: read request of VECTOR: entry, and first channel, a multiple of group_size.
    acc_data: `vector_lanes` int32 from that channel on. acc_conflict: they are not valid, COMPUTE works in that half.

    Protocol
    --------
    A row announced by `lanes`, `first` and `clear` in cycle t is added from the `sums` of cycle t + 3 and visible to
    requests from t + 4 on. The rows of a pass follow each other in any cycles; the same row of two passes is at least
    `ACCUMULATE_CYCLES` apart. Never stalls.

    Latency and throughput
    ----------------------
    Read request to data and conflict: 3 cycles. One row and one read per cycle.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        super().__init__(
            {
                "first_entry": In(ENTRY_BITS),
                "prepare": In(1),
                "working": In(1),
                "lanes": In(shape.lanes),
                "first": In(1),
                "clear": In(1),
                "sums": In(shape.lanes * shape.chains * shape.sum_bits),
                "acc_valid": In(1),
                "acc_entry": In(ENTRY_BITS),
                "acc_channel": In(CHANNEL_BITS),
                "acc_data": Out(SUM_BITS * shape.vector_lanes),
                "acc_conflict": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.shape
        same = ("lower_row", "upper_row", "clear", "upper", "write_row", "view_upper")
        m.submodules.banks = banks = Copies(AccumulatorLane(shape), shape.lanes, shared=same)
        m.d.comb += banks.sums.eq(self.sums)

        first_row = Signal(shape.row_bits, reset_less=True)
        row = Signal(shape.row_bits, reset_less=True)
        reading = Signal(shape.lanes)
        m.d.sync += [
            first_row.eq(quotient(self.first_entry[: shape.entry_bits], shape.lanes)),
            reading.eq(self.lanes),
        ]
        with m.If(self.first | self.prepare):
            m.d.sync += row.eq(first_row)
        with m.Elif(self.lanes.any()):
            m.d.sync += row.eq(row + 1)
        self._write(m, banks, row, reading)
        prepared, busy_half = Signal(), Signal(2)
        with m.If(self.prepare):
            m.d.sync += prepared.eq(1)
        with m.Elif(~self.working):
            m.d.sync += prepared.eq(0)
        # Between passes `row` is one beyond the last: it can lie in the other half, which COMPUTE does not touch.
        own = prepared & self.working
        m.d.comb += busy_half.eq(
            Cat((own & ~first_row[-1]) | (reading.any() & ~row[-1]), (own & first_row[-1]) | (reading.any() & row[-1]))
        )
        self._view(m, banks, row, busy_half)
        return m

    def _write(self, m: Module, banks: Copies, row: Signal, reading: Signal) -> None:
        """Write back what was read two cycles before; banks know a cycle ahead that they will, and to which half."""
        shape = self.shape
        clear = Signal(2, reset_less=True)
        next_row, write_row = Signal(len(row), reset_less=True), Signal(len(row) - 1, reset_less=True)
        writing = Signal(shape.lanes)
        m.d.sync += [
            clear.eq(Cat(self.clear, clear)), next_row.eq(row), write_row.eq(next_row), writing.eq(reading),
        ]  # fmt: skip
        m.d.comb += [
            banks.clear.eq(clear[-1]), banks.write_row.eq(write_row), banks.upper.eq(next_row[-1]),
            banks.write.eq(writing),
        ]  # fmt: skip

    def _view(self, m: Module, banks: Copies, row: Signal, busy_half: Signal) -> None:
        """Read for COMPUTE in the halves it is busy in, for VECTOR in the other; choose VECTOR's lane and channels."""
        shape = self.shape
        entry = self.acc_entry[: shape.entry_bits]
        view_row = Signal(shape.row_bits)
        view_lane = Signal(range(max(2, shape.lanes)))
        m.d.comb += view_row.eq(quotient(entry, shape.lanes))
        m.d.comb += view_lane.eq(entry - times_constant(view_row, shape.lanes))
        m.d.comb += [
            banks.lower_row.eq(Mux(busy_half[0], row, view_row)),
            banks.upper_row.eq(Mux(busy_half[1], row, view_row)),
        ]
        conflict = Signal(3)
        lanes = Signal(2 * len(view_lane), reset_less=True)
        half = Signal(reset_less=True)
        group_bits = shape.group_size.bit_length() - 1
        group = self.acc_channel[group_bits:]
        groups = Signal(2 * len(group), reset_less=True)
        m.d.sync += [
            conflict.eq(Cat(self.acc_valid & Mux(view_row[-1], busy_half[1], busy_half[0]), conflict)),
            lanes.eq(Cat(view_lane, lanes)),
            half.eq(view_row[-1]),
            groups.eq(Cat(group, groups)),
        ]
        entry_bits = shape.chains * SUM_BITS
        rows = [banks.view.word_select(lane, entry_bits) for lane in range(shape.lanes)]
        entry_sums = Signal(entry_bits)
        shown = Signal(SUM_BITS * shape.vector_lanes, reset_less=True)
        m.d.comb += [
            banks.view_upper.eq(half),
            entry_sums.eq(_chosen(rows, lanes[len(view_lane) :])),
            self.acc_data.eq(shown),
            self.acc_conflict.eq(conflict[-1]),
        ]
        words = [entry_sums[at:] for at in range(0, entry_bits, shape.group_size * SUM_BITS)]
        m.d.sync += shown.eq(_chosen([word[: len(shown)] for word in words], groups[len(group) :]))


def _chosen(values: list[Value], number: Value) -> Value:
    """Return values[number], by one level of two-way choices per bit; anything beyond the list."""
    for bit in number:
        if len(values) == 1:
            break
        pairs = [Mux(bit, odd, even) for even, odd in zip(values[0::2], values[1::2], strict=False)]
        values = pairs + values[2 * len(pairs) :]
    return values[0]
