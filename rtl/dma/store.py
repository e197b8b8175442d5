"""Run STOREs: copy strided rows from the activation buffer to memory."""

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.isa import FIELDS, Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.arch.target import Target
from gossamer.arch.timing import STORE_SETUP_CYCLES
from gossamer.rtl.constant_arithmetic import low_ones
from gossamer.rtl.copies import Copies
from gossamer.rtl.dma.bursts import BurstCutter
from gossamer.rtl.dma.fifo import Fifo
from gossamer.rtl.dma.parameters import ADDRESS_BITS, CHIP_BITS, MemoryPort, write_members
from gossamer.rtl.dma.pieces import PIECE_CYCLES, PieceWalker
from gossamer.rtl.dma.setup import PIECE_SHAPE, STEPS, TransferSetup
from gossamer.rtl.dma.write_port import WritePort
from gossamer.rtl.engine import EngineControl, instruction_fields
from gossamer.rtl.hand_over import hand_over

READ_CYCLES = 4
"""From a read of the activation buffer to its data."""

TURN_CYCLES = 1
"""From a piece's data to its place in the beat: a register within the turn."""

PIECES_AHEAD = 8
"""Pieces read or being read ahead of the memory: at least READ_CYCLES + TURN_CYCLES + 2, so that one can go in every
cycle."""

assert STORE_SETUP_CYCLES == STEPS + 1 + PIECE_CYCLES + READ_CYCLES + TURN_CYCLES + 1

Fields = dict[str, Value]


class Store(wiring.Component):
    """Run one STORE at a time, as `gossamer.arch.isa` defines it.

    Members
    -------
    base: the program's base address. stop: begin no new burst from the next cycle on.
    control: see `EngineControl`.
    read_valid, read_address, read_ready: read a beat's bytes of the activation buffer, from any byte address on.
    read_data: what was read, READ_CYCLES after the cycle with `read_valid` and `read_ready`.
    room: another burst may begin; high if there is one port. quiet: no burst is on its way.
    aw..., w..., b...: AXI4, see `write_members`.

    Protocol
    --------
    Pieces are read ahead of the memory into a FIFO of PIECES_AHEAD; see `WritePort` for what becomes of them. An error
    response stops new bursts; those begun are finished.

    Latency and throughput
    ----------------------
    Start in cycle S: the first burst begins in S + STORE_SETUP_CYCLES, if no read is refused; then a piece per cycle.
    `done` comes with the last acknowledgement: `store_cycles` of `gossamer.arch.timing`.

    Parameters
    ----------
    port: sizes of the memory port; of several, see `row_port`. target: see `TransferSetup`.
    """

    def __init__(self, port: MemoryPort, target: Target) -> None:
        self.port = port
        self.target = target
        super().__init__(
            {
                "base": In(ADDRESS_BITS),
                "stop": In(1),
                "control": Out(EngineControl()),
                "read_valid": Out(1),
                "read_address": Out(CHIP_BITS),
                "read_ready": In(1),
                "read_data": In(8 * port.beat_bytes),
                "room": In(1),
                "quiet": Out(1),
                **write_members(port.beat_bytes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the parts and what starts and ends an instruction."""
        m = Module()
        used = sum(field.bits for field in FIELDS[Opcode.STORE])
        word = Signal(used)
        busy = Signal()
        failed = Signal()
        all_sent = Signal()
        with m.If(~busy):  # until it is started there is none: its start would have to reach every bit
            m.d.sync += word.eq(self.control.instruction)
        fields = instruction_fields(Opcode.STORE, word)
        m.submodules.setup = setup = Copies(TransferSetup(self.target))
        m.submodules.cutter = cutter = Copies(BurstCutter(self.port))
        m.submodules.pieces = pieces = Copies(PieceWalker(self.port))
        m.submodules.writer = writer = Copies(WritePort(self.port))
        m.submodules.ahead = ahead = Fifo(width=9 * self.port.beat_bytes + 1, depth=PIECES_AHEAD, registered=True)
        self._set_up(m, setup, fields)
        self._walk(m, setup, fields, cutter, pieces)
        self._read(m, pieces, ahead)
        last_burst = self._write(m, cutter, ahead, writer, failed)
        sent, sent_before = Signal(), Signal()
        setting_up, waited = Signal(), Signal()  # whether it waited, unless it sent a piece
        delay = Signal(STORE_SETUP_CYCLES - 1)
        m.d.comb += [
            sent.eq(ahead.r_rdy & ahead.r_en),
            self.quiet.eq(~writer.flying & ~writer.open),
            self.control.done.eq(writer.answered & all_sent & writer.last_flying & ~failed & ~writer.error),
            self.control.waiting.eq(waited & ~sent_before),
            self.control.fault.eq(setup.fail | (writer.error & ~failed)),
            self.control.cause.eq(Mux(setup.fail, ErrorCause.FIELD, ErrorCause.WRITE_RESPONSE)),
            self.control.address.eq(Mux(setup.fail, 0, writer.offset)),
        ]
        m.d.sync += [
            busy.eq((busy | self.control.start) & ~self.control.done),
            delay.eq(Cat(self.control.start, delay)),
            setting_up.eq(self.control.start | (setting_up & ~delay[-1])),
            waited.eq(busy & ~setting_up),
            sent_before.eq(sent),
            all_sent.eq((all_sent | (writer.burst_ready & last_burst)) & ~self.control.done),
        ]
        with m.If(self.control.fault):
            m.d.sync += failed.eq(1)
        return m

    def _set_up(self, m: Module, setup: Copies, fields: Fields) -> None:
        """Connect the setup; STORE needs no other product."""
        first = instruction_fields(Opcode.STORE, self.control.instruction)
        bad = Signal()
        m.d.sync += bad.eq((fields["nx"] == 0) | (fields["run_bytes"] == 0) | (fields["ny"] == 0))
        m.d.comb += [
            setup.start.eq(self.control.start),
            setup.first_run_bytes.eq(first["run_bytes"]),
            setup.first_nx.eq(first["nx"]),
            *(getattr(setup, name).eq(fields[name]) for name in ("ny", "nx", "run_bytes")),
            setup.memory_y.eq(fields["dram_y"]),
            setup.memory_x.eq(fields["dram_x"]),
            setup.chip_y.eq(fields["src_y"]),
            setup.chip_x.eq(fields["src_x"]),
            setup.bad.eq(bad),
        ]

    def _walk(self, m: Module, setup: Copies, fields: Fields, cutter: Copies, pieces: Copies) -> None:
        """Connect bursts and pieces."""
        shift = self.port.beat_shift
        place = Signal(shift)
        failed = Signal()
        m.d.sync += [place.eq(self.base[:shift] + fields["dram"][:shift]), failed.eq(setup.fail)]
        runs = ("runs_less_one", "lines_less_one", "one_run", "one_line", "length_less_one")
        m.d.comb += [
            cutter.load.eq(setup.step[-1]),
            cutter.drop.eq(setup.fail),
            pieces.load.eq(setup.ends),
            pieces.drop.eq(failed),
            cutter.base.eq(self.base),
            cutter.first.eq(fields["dram"]),
            *(getattr(cutter, name).eq(getattr(setup, name)) for name in runs),
            cutter.run_pitch.eq(fields["dram_x"]),
            cutter.line_pitch.eq(fields["dram_y"]),
            pieces.chip.eq(fields["src"]),
            pieces.place.eq(place),
            *(getattr(pieces, name).eq(getattr(setup, name)) for name in PIECE_SHAPE),
            pieces.memory_y.eq(fields["dram_y"]),
            pieces.memory_x.eq(fields["dram_x"]),
            pieces.chip_y.eq(fields["src_y"]),
            pieces.chip_x.eq(fields["src_x"]),
            pieces.chip_e.eq(Const(1)),
            pieces.scatter.eq(0),
        ]

    def _read(self, m: Module, pieces: Copies, ahead: Fifo) -> None:
        """Add the reads, and what waits for their data: place, bytes, end of the beat."""
        width, shift = self.port.beat_bytes, self.port.beat_shift
        granted = Signal()
        free = Signal(range(PIECES_AHEAD + 1), init=PIECES_AHEAD)
        some_free = Signal(init=1)
        coming = Signal(READ_CYCLES + TURN_CYCLES)
        notes = [Signal(2 * shift + 1, name=f"note_{delay}") for delay in range(READ_CYCLES)]
        m.d.comb += [
            self.read_valid.eq(pieces.valid & some_free),
            self.read_address.eq(pieces.address),
            granted.eq(self.read_valid & self.read_ready),
            pieces.ready.eq(granted),
        ]
        m.d.sync += [
            coming.eq(Cat(granted, coming)),
            notes[0].eq(Cat(pieces.offset, (pieces.offset + pieces.size_less_one)[:shift], pieces.beat_ends)),
        ]
        m.d.sync += [after.eq(before) for before, after in pairwise(notes)]
        taken = ahead.r_rdy & ahead.r_en
        with m.If(granted ^ taken):
            m.d.sync += [free.eq(free + Mux(granted, -1, 1)), some_free.eq(~granted | (free != 1))]
        near = shift // 2
        far, ends, strobe = Signal(shift - near), Signal(), Signal(width)
        moved, data = Signal(8 * width), Signal(8 * width)
        begin, end = notes[-1][:shift], notes[-1][shift:-1]
        m.d.sync += [
            moved.eq(self.read_data << (begin[:near] << 3)), far.eq(begin[near:]), ends.eq(notes[-1][-1]),
            strobe.eq(~low_ones(begin, width) & Cat(Const(1, 1), low_ones(end, width - 1))),
        ]  # fmt: skip
        m.d.comb += [
            data.eq(moved << (far << (3 + near))),
            ahead.w_en.eq(coming[-1]),
            ahead.w_data.eq(Cat(data, strobe, ends & coming[-1])),  # so that an empty queue shows no end
        ]

    def _write(self, m: Module, cutter: Copies, ahead: Fifo, writer: Copies, failed: Signal) -> Value:
        """Connect the memory's side; return whether the burst it is at is the last."""
        width = self.port.beat_bytes
        halted = Signal()
        m.d.sync += halted.eq(self.stop | failed | self.control.fault)
        burst = Cat(cutter.last, cutter.beats_less_one == 0, cutter.beats_less_one, cutter.address)
        room, shown, first = hand_over(m, "burst", valid=cutter.valid, payload=burst, ready=writer.burst_ready)
        m.d.comb += [
            writer.base.eq(self.base),
            writer.stop.eq(halted),
            writer.room.eq(self.room),
            writer.burst_valid.eq(shown),
            Cat(writer.burst_one_beat, writer.burst_length, writer.burst_address).eq(first[1:]),
            cutter.ready.eq(room),
            writer.piece_valid.eq(ahead.r_rdy),
            writer.piece_data.eq(ahead.r_data[: 8 * width]),
            writer.piece_strobe.eq(ahead.r_data[8 * width : 9 * width]),
            writer.piece_ends_beat.eq(ahead.r_data[-1]),
            ahead.r_en.eq(writer.piece_ready),
        ]
        for name, member in write_members(width).items():
            mine, theirs = getattr(self, name), getattr(writer, name)
            m.d.comb += mine.eq(theirs) if member.flow is Out else theirs.eq(mine)
        return first[0]
