"""The VECTOR engine: one instruction at a time, from its 512 bits to the last write."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.errors import GossamerError
from gossamer.arch.isa import VECTOR_OPCODES, Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div, parameter_read_bytes
from gossamer.dataflow.numerics import MAX_SHIFT, MIN_SHIFT
from gossamer.rtl.copies import Copies
from gossamer.rtl.engine import INSTRUCTION_BITS, EngineControl, instruction_fields
from gossamer.rtl.vector.control import LaneControl
from gossamer.rtl.vector.lane import VectorLane
from gossamer.rtl.vector.parameters import PARAMETER_ADDRESS_BITS, ParameterLoader, header_layout
from gossamer.rtl.vector.reader import CHANNEL_BITS, ENTRY_ADDRESS_BITS, BeatReader
from gossamer.rtl.vector.rows import LARGEST_ROW, RowUnit
from gossamer.rtl.vector.walk import ADDRESS_BITS
from gossamer.rtl.vector.writer import BeatWriter

WINDOWED = (Opcode.MAXIMUM, Opcode.AVERAGE)
TWO_SOURCES = (Opcode.ADD, Opcode.MULTIPLY)
PLAIN = (Opcode.TABLE, Opcode.MAXIMUM, Opcode.COPY)
SHIFTED = (Opcode.ADD, Opcode.MULTIPLY, Opcode.AVERAGE, Opcode.LAYER_NORM, Opcode.LRN)
ROWS = (Opcode.SOFTMAX, Opcode.LAYER_NORM, Opcode.LRN)
WITHOUT_BLOCK = (Opcode.MAXIMUM, Opcode.COPY)


class BadVectorParameter(GossamerError):
    """A parameter of the VECTOR engine is out of range."""


class VectorEngine(wiring.Component):
    """Execute every VECTOR instruction of `gossamer.arch.isa`, bit for bit as `gossamer.dataflow.numerics` says.

    Members
    -------
    control: start/done port, `gossamer.rtl.engine.EngineControl`.
    read_valid, read_address, read_data: reads of the activation buffer: vector_lanes bytes from any word on, 3 cycles
        later.
    d_valid, d_address, d_words, d_data: write of whole words.
    par_valid, par_address, par_data: reads of the parameter buffer, 3 cycles.
    acc_valid, acc_entry, acc_channel, acc_data, acc_conflict: reads of the accumulator, 3 cycles: vector_lanes sums of
        an entry from a channel on; acc_conflict: COMPUTE works in that half.

    Protocol
    --------
    No port stalls. The first read comes 4 cycles after start. Faults: OPCODE, FIELD (a count of zero, a window where
    the operation has none, a shift outside 1 to 62, channels that do not exist, a sum of exponentials of 0, a variance
    of more than 46 bits) and ACCUMULATOR_CONFLICT.

    Latency and throughput
    ----------------------
    `gossamer.arch.timing.vector_cycles`, exactly. Each cycle reads vector_lanes channels: a beat of ADD and MULTIPLY
    takes two, of MAXIMUM and AVERAGE one per tap, of REQUANTIZE, TABLE and COPY one.
    """

    def __init__(self, *, group_size: int, vector_lanes: int, chains: int) -> None:
        if group_size not in (4, 8, 16):
            raise BadVectorParameter(f"group_size must be 4, 8 or 16, not {group_size}")
        if vector_lanes < group_size or vector_lanes % group_size:
            raise BadVectorParameter(
                f"vector_lanes must be a multiple of group_size ({group_size}), not {vector_lanes}"
            )
        if chains < 8 or chains % 8:
            raise BadVectorParameter(f"chains must be a multiple of 8, not {chains}")
        self.group_size, self.vector_lanes, self.chains = group_size, vector_lanes, chains
        self.rows = ceil_div(chains, vector_lanes)
        byte_lanes = 8 * vector_lanes
        super().__init__(
            {
                "control": Out(EngineControl()),
                "read_valid": Out(1), "read_address": Out(ADDRESS_BITS), "read_data": In(byte_lanes),
                "d_valid": Out(1), "d_address": Out(ADDRESS_BITS),
                "d_words": Out(range(vector_lanes // group_size + 1)), "d_data": Out(byte_lanes),
                "par_valid": Out(1), "par_address": Out(PARAMETER_ADDRESS_BITS),
                "par_data": In(8 * parameter_read_bytes(vector_lanes)),
                "acc_valid": Out(1), "acc_entry": Out(ENTRY_ADDRESS_BITS), "acc_channel": Out(CHANNEL_BITS),
                "acc_data": In(32 * vector_lanes), "acc_conflict": In(1),
            }
        )  # fmt: skip

    @classmethod
    def of(cls, spec: SparseAccelerator) -> "VectorEngine":
        """Return the engine of a config."""
        array = spec.array
        return cls(group_size=array.group_size, vector_lanes=spec.vector.lanes, chains=array.chains)

    def elaborate(self, platform: object) -> Module:
        """Return the parts and what joins them."""
        m = Module()
        sizes = {"group_size": self.group_size, "vector_lanes": self.vector_lanes, "rows": self.rows}
        m.submodules.loader = loader = Copies(ParameterLoader(**sizes))
        m.submodules.reader = reader = Copies(BeatReader(**sizes))
        m.submodules.writer = writer = Copies(BeatWriter(**sizes))
        m.submodules.steps = steps = Copies(LaneControl(group_size=self.group_size, rows=self.rows))
        m.submodules.lanes = lanes = Copies(VectorLane(self.rows), self.vector_lanes, VectorLane.SHARED)
        m.submodules.rows = rows = Copies(RowUnit(**sizes))
        word = Signal(INSTRUCTION_BITS)
        fields = instruction_fields(Opcode.ADD, word)
        running = Signal()
        loading = Signal()
        beginning = Signal()
        bad_block = self._sequence(m, word, fields, running=running, loading=loading, beginning=beginning,
                                   finished=writer.finished)  # fmt: skip
        for part in (reader, writer, rows):
            m.d.comb += [getattr(part, name).eq(fields[name]) for name in part.ports if name in fields]
            m.d.comb += part.load.eq(loading)
        started = Signal()
        go = Signal()
        is_rows = self._held(m, fields, "is_rows", *ROWS)
        requantize = self._held(m, fields, "requantize", Opcode.REQUANTIZE)
        m.d.sync += started.eq(go & running)
        m.d.comb += [
            go.eq(started | loader.may_start),
            reader.go.eq(go & ~is_rows), rows.go.eq(go & is_rows),
            reader.requantize.eq(requantize),
            reader.two_sources.eq(self._held(m, fields, "two_sources", *TWO_SOURCES)),
            loader.begin.eq(beginning), loader.address.eq(fields["par"]), loader.words.eq(fields["nc"]),
            loader.with_header.eq(~self._is(fields, *WITHOUT_BLOCK)), loader.with_entries.eq(reader.requantize),
            loader.with_table.eq(reader.requantize | self._is(fields, Opcode.TABLE)),
            rows.softmax.eq(self._held(m, fields, "softmax", Opcode.SOFTMAX)),
            rows.lrn.eq(self._held(m, fields, "lrn", Opcode.LRN)),
            rows.layer_norm.eq(self._held(m, fields, "layer_norm", Opcode.LAYER_NORM)),
            rows.parameters.eq(fields["par"]),
            rows.header.eq(loader.header), loader.data.eq(self.par_data), rows.par_data.eq(self.par_data),
            rows.read_data.eq(self.read_data),
            writer.single.eq(is_rows), writer.capture.eq(running & (steps.capture | rows.capture)),
        ]  # fmt: skip
        m.d.comb += [
            self.read_valid.eq(reader.read_valid | rows.read_valid),
            self.read_address.eq(Mux(is_rows, rows.read_address, reader.read_address)),
            self.par_valid.eq(loader.valid | rows.par_valid),
            self.par_address.eq(Mux(rows.par_valid, rows.par_address, loader.read_address)),
            self.d_data.eq(Mux(is_rows, rows.word, lanes.result)),
        ]
        for name in ("acc_valid", "acc_entry", "acc_channel"):
            m.d.comb += getattr(self, name).eq(getattr(reader, name))
        for name in ("d_valid", "d_address", "d_words"):
            m.d.comb += getattr(self, name).eq(getattr(writer, name))
        self._join_lanes(m, fields, loader, reader, steps, lanes)
        # A cycle late, to keep the comparisons off the way to whoever is told; the last write comes many cycles later.
        bad_header = Signal(4)
        m.d.sync += [
            bad_header.eq(Mux(loader.header_done, Cat(self._bad_header(fields, loader)), 0)),
            bad_block.eq(running & (bad_header.any() | lanes.bad_shift.any() | rows.bad)),
        ]
        return m

    def _bad_header(self, f: dict[str, Value], loader: Copies) -> list[Value]:
        """Return flags, any of which says that the header holds what the operation cannot use."""
        header = data.View(header_layout(), loader.header)
        shift = self._is(f, *SHIFTED) & ((header.shift < MIN_SHIFT) | (header.shift > MAX_SHIFT))
        channels = self._is(f, *ROWS) & ((header.channels == 0) | (header.channels > f["nc"] * self.group_size))
        window = self._is(f, Opcode.LRN) & (header.extra[:8] == 0)
        norm = self._is(f, Opcode.LAYER_NORM) & ((header.channels > LARGEST_ROW) | (header.epsilon < 0))
        return [shift, channels, window, norm]

    def _held(self, m: Module, fields: dict[str, Value], name: str, *opcodes: Opcode) -> Signal:
        """Return a register that says so, from two cycles after the start on."""
        held = Signal(name=name)
        m.d.sync += held.eq(self._is(fields, *opcodes))
        return held

    @staticmethod
    def _is(fields: dict[str, Value], *opcodes: Opcode) -> Signal:
        """Return whether the instruction's opcode is one of some."""
        return fields["opcode"].matches(*map(int, opcodes))

    def _sequence(
        self, m: Module, word: Signal, fields: dict[str, Value], *, running: Signal, loading: Signal, beginning: Signal,
        finished: Signal,
    ) -> Signal:  # fmt: skip
        """Add the states of an instruction; return the flag that a part of its parameter block is wrong."""
        bad_block = Signal()
        bad_field = Signal()
        bad_opcode = Signal()
        conflict = Signal()
        f = fields
        no_window = ~self._is(f, *WINDOWED) & ((f["kh"] != 1) | (f["kw"] != 1))
        too_wide = self._is(f, Opcode.REQUANTIZE) & (f["nc"] > self.chains // self.group_size)
        zero = [f[name] == 0 for name in ("ny", "nx", "nc", "kh", "kw")]
        m.d.sync += conflict.eq(running & self._is(f, Opcode.REQUANTIZE) & self.acc_conflict)

        def fail(cause: Value) -> None:
            m.d.comb += [self.control.fault.eq(1), self.control.cause.eq(cause)]
            m.next = "FAULT"

        with m.FSM(name="instruction"):
            with m.State("IDLE"):
                m.d.sync += word.eq(self.control.instruction)
                with m.If(self.control.start):
                    m.next = "DECODE"
            with m.State("DECODE"):
                m.d.sync += [
                    bad_field.eq(no_window | too_wide | zero[0] | zero[1] | zero[2] | zero[3] | zero[4]),
                    bad_opcode.eq(~self._is(f, *VECTOR_OPCODES)),
                ]
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += loading.eq(1)
                m.next = "BEGIN"
                with m.If(bad_opcode | bad_field):
                    fail(Mux(bad_opcode, Const(ErrorCause.OPCODE, 4), Const(ErrorCause.FIELD, 4)))
            with m.State("BEGIN"):
                m.d.comb += beginning.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [running.eq(1), self.control.done.eq(finished & ~bad_block & ~conflict)]
                with m.If(bad_block | conflict):
                    fail(Mux(bad_block, Const(ErrorCause.FIELD, 4), Const(ErrorCause.ACCUMULATOR_CONFLICT, 4)))
                with m.Elif(finished):
                    m.next = "IDLE"
            with m.State("FAULT"):
                pass
        return bad_block

    def _join_lanes(
        self, m: Module, fields: dict[str, Value], loader: Copies, reader: Copies, steps: Copies, lanes: Copies
    ) -> None:
        """Bring operands, constants and orders to the lanes."""
        for name in ("step", "first", "second", "last", "row", "b_byte"):
            m.d.comb += getattr(steps, name).eq(getattr(reader, name))
        m.d.comb += [
            steps.requantize.eq(reader.requantize),
            steps.multiply.eq(self._held(m, fields, "multiply", Opcode.MULTIPLY)),
            steps.maximum.eq(self._held(m, fields, "maximum", Opcode.MAXIMUM)),
            steps.plain.eq(self._held(m, fields, "plain", *PLAIN)),
            steps.table.eq(self._held(m, fields, "table", Opcode.TABLE)), steps.header.eq(loader.header),
            lanes.requantize.eq(reader.requantize), lanes.maximum.eq(steps.maximum), lanes.first.eq(steps.lane_first),
            lanes.table_write.eq(loader.table_write), lanes.table_row.eq(loader.table_row),
            lanes.table_data.eq(loader.table_data), lanes.constants_write.eq(loader.entries_write),
            lanes.constants_row.eq(loader.entries_row), lanes.constants_entry.eq(loader.entries),
            lanes.accumulator.eq(self.acc_data),
        ]  # fmt: skip
        for name in VectorLane.SHARED:
            if name in steps.ports and name not in ("requantize", "maximum", "first"):
                m.d.comb += getattr(lanes, name).eq(getattr(steps, name))
        single = Signal(8)
        replicate = Signal()
        m.d.comb += [
            single.eq(self.read_data[: 8 * self.group_size].word_select(steps.operand_byte, 8)),
            replicate.eq(steps.operand_second & fields["b_c"]),
            lanes.operand.eq(Mux(replicate, single.replicate(self.vector_lanes), self.read_data)),
        ]
