"""The VECTOR engine: one instruction at a time, from its 512 bits to the last write."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.errors import GossamerError
from gossamer.arch.isa import REQUANTIZING, VECTOR_OPCODES, Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.target import Target
from gossamer.arch.timing import ceil_div, parameter_read_bytes
from gossamer.dataflow.numerics import ADDEND_FACTOR_BITS
from gossamer.rtl.array.byte_select import ByteSelect
from gossamer.rtl.copies import Copies
from gossamer.rtl.engine import INSTRUCTION_BITS, EngineControl, instruction_fields
from gossamer.rtl.vector.control import LaneControl
from gossamer.rtl.vector.lane import VectorLane, is_bad_shift
from gossamer.rtl.vector.parameters import PARAMETER_ADDRESS_BITS, ParameterLoader, header_layout
from gossamer.rtl.vector.reader import CHANNEL_BITS, ENTRY_ADDRESS_BITS, BeatReader
from gossamer.rtl.vector.rows import LARGEST_ROW, RowUnit
from gossamer.rtl.vector.walk import ADDRESS_BITS
from gossamer.rtl.vector.writer import BeatWriter

WINDOWED = (Opcode.MAXIMUM, Opcode.AVERAGE)
ONE_AFTER_THE_OTHER = (Opcode.ADD, Opcode.MULTIPLY)
PLAIN = (Opcode.TABLE, Opcode.MAXIMUM, Opcode.COPY)
SHIFTED = (Opcode.ADD, Opcode.MULTIPLY, Opcode.REQUANTIZE_ADD, Opcode.AVERAGE, Opcode.LAYER_NORM, Opcode.LRN)
ROWS = (Opcode.SOFTMAX, Opcode.LAYER_NORM, Opcode.LRN)
WITHOUT_BLOCK = (Opcode.MAXIMUM, Opcode.COPY)

ROW_START_CYCLES = 3
"""How much later than others an operation on rows starts: the gap after its first pass may have to be known at once."""


class BadVectorParameter(GossamerError):
    """A parameter of the VECTOR engine is out of range."""


class VectorEngine(wiring.Component):
    """Execute every VECTOR instruction of `gossamer.arch.isa`, bit for bit as `gossamer.dataflow.numerics` says.

    Members
    -------
    control: start/done port, `gossamer.rtl.engine.EngineControl`.
    read_valid, read_address, read_data: reads of the activation buffer: vector_lanes bytes from any word on, 3 cycles
        later. All requests and writes come from registers.
    d_valid, d_address, d_words, d_data: write of whole words.
    par_valid, par_address, par_data: reads of the parameter buffer, 3 cycles.
    acc_valid, acc_entry, acc_channel, acc_data, acc_conflict: reads of the accumulator, 3 cycles: vector_lanes sums of
        an entry from a channel on; acc_conflict: COMPUTE works in that half.

    Protocol
    --------
    No port stalls. The first operand's read is asked for 4 cycles after start, and at the port in the cycle after.
    Faults: OPCODE, FIELD (a count of zero, a window where the operation has none, a shift outside 1 to 62, channels
    that do not exist, a sum of exponentials of 0, a variance of more than 46 bits) and ACCUMULATOR_CONFLICT.

    Latency and throughput
    ----------------------
    `gossamer.arch.timing.vector_cycles`, exactly. Each cycle reads vector_lanes channels: a beat of ADD and MULTIPLY
    takes two, of MAXIMUM and AVERAGE one per tap, of the others one.
    """

    def __init__(
        self, *, group_size: int, vector_lanes: int, chains: int, target: Target = Target.GENERIC
    ) -> None:  # fmt: skip
        if group_size not in (4, 8, 16):
            raise BadVectorParameter(f"group_size must be 4, 8 or 16, not {group_size}")
        if vector_lanes < group_size or vector_lanes % group_size:
            raise BadVectorParameter(
                f"vector_lanes must be a multiple of group_size ({group_size}), not {vector_lanes}"
            )
        if chains < 8 or chains % 8:
            raise BadVectorParameter(f"chains must be a multiple of 8, not {chains}")
        self.group_size, self.vector_lanes, self.chains, self.target = group_size, vector_lanes, chains, target
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
    def of(cls, spec: SparseAccelerator, target: Target = Target.GENERIC) -> "VectorEngine":
        """Return the engine of a config; `target`: whose primitives multiply."""
        array = spec.array
        return cls(
            group_size=array.group_size, vector_lanes=spec.vector.lanes, chains=array.chains, target=target
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the parts and what joins them."""
        m = Module()
        sizes = {"group_size": self.group_size, "vector_lanes": self.vector_lanes, "rows": self.rows}
        m.submodules.loader = loader = Copies(ParameterLoader(**sizes))
        m.submodules.reader = reader = Copies(BeatReader(**sizes))
        m.submodules.writer = writer = Copies(BeatWriter(**sizes))
        m.submodules.steps = steps = Copies(LaneControl(group_size=self.group_size, rows=self.rows))
        m.submodules.lanes = lanes = Copies(VectorLane(self.rows, self.target), self.vector_lanes, VectorLane.SHARED)
        m.submodules.rows = rows = Copies(RowUnit(**sizes, target=self.target))
        word = Signal(INSTRUCTION_BITS)
        fields = instruction_fields(Opcode.ADD, word)
        running = Signal()
        # High one, two and three cycles after the start.
        decoding, loading, beginning = (Signal(name=name) for name in ("decoding", "loading", "beginning"))
        m.d.sync += [decoding.eq(self.control.start), loading.eq(decoding), beginning.eq(loading)]
        requantize = self._held(m, fields, "requantize", *REQUANTIZING)
        adds = self._held(m, fields, "adds", Opcode.REQUANTIZE_ADD)
        self._sequence(
            m, word, fields, beginning, running=running, requantize=requantize, finished=writer.finished,
            bad_block=self._bad_block(m, fields, loader, lanes, rows),
        )  # fmt: skip
        for part, load in ((reader, decoding), (writer, loading), (rows, beginning)):
            m.d.comb += [getattr(part, name).eq(fields[name]) for name in part.ports if name in fields]
            m.d.comb += part.load.eq(load)
        is_rows = self._held(m, fields, "is_rows", *ROWS)
        row_start = Signal(ROW_START_CYCLES)
        capture = Signal()
        m.d.sync += [
            row_start.eq(Cat(loader.may_start, row_start)),
            capture.eq(running & (steps.result_next | rows.captures_next)),
        ]
        m.d.comb += [
            reader.go.eq(loader.may_start & ~is_rows), rows.go.eq(row_start[-1] & is_rows),
            reader.requantize.eq(requantize),
            reader.two_sources.eq(self._held(m, fields, "two_sources", *ONE_AFTER_THE_OTHER)),
            *(part.adds.eq(adds) for part in (reader, steps, lanes)),
            loader.begin.eq(beginning), loader.address.eq(fields["par"]), loader.words.eq(fields["nc"]),
            loader.with_header.eq(~self._held(m, fields, "without_block", *WITHOUT_BLOCK)),
            loader.with_entries.eq(requantize),
            loader.with_table.eq(self._held(m, fields, "with_table", *REQUANTIZING, Opcode.TABLE)),
            rows.softmax.eq(self._held(m, fields, "softmax", Opcode.SOFTMAX)),
            rows.lrn.eq(self._held(m, fields, "lrn", Opcode.LRN)),
            rows.layer_norm.eq(self._held(m, fields, "layer_norm", Opcode.LAYER_NORM)),
            rows.parameters.eq(fields["par"]),
            rows.header.eq(loader.header), loader.data.eq(self.par_data), rows.par_data.eq(self.par_data),
            rows.read_data.eq(self.read_data),
            writer.single.eq(is_rows), writer.capture.eq(capture),
        ]  # fmt: skip
        self._ports(m, loader, reader, steps, writer, lanes, rows, is_rows)
        self._join_lanes(m, fields, loader, reader, steps, lanes)
        return m

    def _ports(
        self, m: Module, loader: Copies, reader: Copies, steps: Copies, writer: Copies, lanes: Copies, rows: Copies,
        is_rows: Signal,
    ) -> None:  # fmt: skip
        """Bring requests into registers, and results out."""
        m.d.sync += [
            self.read_valid.eq(reader.read_valid | steps.reads_b | rows.read_valid),
            self.read_address.eq(Mux(is_rows, rows.read_address, reader.read_address)),
            self.par_valid.eq(loader.valid | rows.par_valid),
            self.par_address.eq(Mux(loader.valid, loader.read_address, rows.par_address)),
            *(getattr(self, name).eq(getattr(reader, name)) for name in ("acc_valid", "acc_entry", "acc_channel")),
        ]
        m.d.comb += [
            self.d_data.eq(Mux(is_rows, rows.word, lanes.result)),
            *(getattr(self, name).eq(getattr(writer, name)) for name in ("d_valid", "d_address", "d_words")),
        ]

    def _bad_block(self, m: Module, f: dict[str, Value], loader: Copies, lanes: Copies, rows: Copies) -> Signal:
        """Return the flag that a part of the parameter block is wrong, some cycles late: a last write comes later."""
        bad_block, bad_shift, header_done = Signal(), Signal(), Signal()
        bad_header = Signal(5)
        m.d.sync += [
            bad_header.eq(Cat(self._bad_header(m, f, loader))), header_done.eq(loader.header_done),
            bad_shift.eq(lanes.bad_shift.any()),
        ]  # fmt: skip
        late = Signal()
        m.d.sync += [late.eq(header_done), bad_block.eq((late & bad_header.any()) | bad_shift | rows.bad)]
        return bad_block

    def _bad_header(self, m: Module, f: dict[str, Value], loader: Copies) -> list[Value]:
        """Return flags, one cycle late, any of which says that the header holds what the operation cannot use."""
        header = data.View(header_layout(), loader.header)
        channels = Signal(len(f["nc"]) + self.group_size.bit_length())
        bad_shift, no_channels, many_channels, no_window, bad_norm = (
            Signal(name=name) for name in ("wrong_shift", "no_channels", "many_channels", "no_window", "bad_norm")
        )
        tops = [factor[ADDEND_FACTOR_BITS - 1 :] for factor in (header.mult_a, header.mult_b)]
        some_ones, all_ones = Signal(len(tops)), Signal(len(tops))
        m.d.sync += [
            channels.eq(f["nc"] * self.group_size),
            bad_shift.eq(is_bad_shift(header.shift)), no_channels.eq(header.channels == 0),
            many_channels.eq(header.channels > channels), no_window.eq(header.extra[:8] == 0),
            some_ones.eq(Cat(top.any() for top in tops)), all_ones.eq(Cat(top.all() for top in tops)),
            bad_norm.eq((header.channels > LARGEST_ROW) | (header.epsilon < 0)),
        ]  # fmt: skip
        return [
            self._held(m, f, "shifted", *SHIFTED) & bad_shift,
            self._held(m, f, "summed", Opcode.REQUANTIZE_ADD) & (some_ones & ~all_ones).any(),
            self._held(m, f, "of_rows", *ROWS) & (no_channels | many_channels),
            self._held(m, f, "windowed_rows", Opcode.LRN) & no_window,
            self._held(m, f, "normed", Opcode.LAYER_NORM) & bad_norm,
        ]

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
        self, m: Module, word: Signal, fields: dict[str, Value], beginning: Signal, *, running: Signal,
        requantize: Signal, finished: Signal, bad_block: Signal,
    ) -> None:  # fmt: skip
        """Add the states of an instruction."""
        bad_field, bad_opcode, conflict, failed, conflict_only = (
            Signal(name=name) for name in ("bad_field", "bad_opcode", "conflict", "failed", "conflict_only")
        )
        f = fields
        no_window, too_wide, zero = Signal(), Signal(), Signal(5)
        m.d.sync += [
            no_window.eq((f["kh"] != 1) | (f["kw"] != 1)), too_wide.eq(f["nc"] > self.chains // self.group_size),
            zero.eq(Cat(f[name] == 0 for name in ("ny", "nx", "nc", "kh", "kw"))),
            bad_field.eq(
                (no_window & ~self._held(m, f, "windowed", *WINDOWED)) | (too_wide & requantize) | zero.any()
            ),
            bad_opcode.eq(~self._is(f, *VECTOR_OPCODES)),
        ]  # fmt: skip
        m.d.sync += [
            conflict.eq(running & requantize & self.acc_conflict),
            failed.eq(running & (bad_block | conflict)), conflict_only.eq(~bad_block),
        ]  # fmt: skip

        def fail(cause: Value) -> None:
            m.d.comb += [self.control.fault.eq(1), self.control.cause.eq(cause)]
            m.next = "FAULT"

        with m.FSM(name="instruction"):
            with m.State("IDLE"):
                m.d.sync += word.eq(self.control.instruction)
                with m.If(self.control.start):
                    m.next = "START"
            with m.State("START"), m.If(beginning):
                m.next = "RUN"
                with m.If(bad_opcode | bad_field):
                    fail(Mux(bad_opcode, Const(ErrorCause.OPCODE, 4), Const(ErrorCause.FIELD, 4)))
            with m.State("RUN"):
                m.d.comb += [running.eq(1), self.control.done.eq(finished)]
                with m.If(failed):
                    fail(Mux(conflict_only, Const(ErrorCause.ACCUMULATOR_CONFLICT, 4), Const(ErrorCause.FIELD, 4)))
                with m.Elif(finished):
                    m.next = "IDLE"
            with m.State("FAULT"):
                pass

    def _join_lanes(
        self, m: Module, fields: dict[str, Value], loader: Copies, reader: Copies, steps: Copies, lanes: Copies
    ) -> None:
        """Bring operands, constants and orders to the lanes."""
        for name in ("step", "first", "second", "last", "row", "b_byte"):
            m.d.comb += getattr(steps, name).eq(getattr(reader, name))
        multiply = self._held(m, fields, "multiply", Opcode.MULTIPLY)
        m.d.comb += [
            steps.requantize.eq(reader.requantize), steps.multiply.eq(multiply), steps.b_c.eq(fields["b_c"]),
            lanes.multiply.eq(multiply), lanes.maximum.eq(self._held(m, fields, "maximum", Opcode.MAXIMUM)),
            lanes.add.eq(self._held(m, fields, "add", Opcode.ADD)),
            steps.plain.eq(self._held(m, fields, "plain", *PLAIN)),
            steps.table.eq(self._held(m, fields, "table", Opcode.TABLE)), steps.header.eq(loader.header),
            lanes.requantize.eq(reader.requantize), lanes.first.eq(steps.lane_first),
            lanes.table_write.eq(loader.table_write), lanes.table_row.eq(loader.table_row),
            lanes.table_data.eq(loader.table_data), lanes.constants_write.eq(loader.entries_write),
            lanes.constants_row.eq(loader.entries_row), lanes.constants_entry.eq(loader.entries),
            lanes.accumulator.eq(self.acc_data),
        ]  # fmt: skip
        for name in VectorLane.SHARED:
            if name in steps.ports and name not in ("requantize", "adds", "multiply", "first"):
                m.d.comb += getattr(lanes, name).eq(getattr(steps, name))
        m.submodules.single = single = Copies(ByteSelect(self.group_size, self.target))
        m.d.comb += [
            single.word.eq(self.read_data[: 8 * self.group_size]),
            single.select.eq(steps.operand_byte),
            lanes.operand.eq(Mux(steps.replicate, single.chosen.replicate(self.vector_lanes), self.read_data)),
        ]
