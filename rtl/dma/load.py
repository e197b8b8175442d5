"""Run LOADs: copy strided rows from memory into a buffer, with padding."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from gossamer.arch.isa import FIELDS, Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.arch.target import Target
from gossamer.arch.timing import LOAD_MOVE_CYCLES, LOAD_SETUP_CYCLES, LOAD_WRITE_CYCLES
from gossamer.rtl.copies import Copies
from gossamer.rtl.dma.bursts import CUT_CYCLES, BurstCutter
from gossamer.rtl.dma.fill import FILL_CYCLES, FillWalker
from gossamer.rtl.dma.parameters import (
    ADDRESS_BITS,
    BURST_LENGTH_BITS,
    CHIP_BITS,
    OFFSET_BITS,
    MemoryPort,
)
from gossamer.rtl.dma.pieces import PIECE_CYCLES, PieceWalker
from gossamer.rtl.dma.setup import PIECE_SHAPE, STEPS, TransferSetup
from gossamer.rtl.engine import EngineControl, instruction_fields
from gossamer.rtl.hand_over import hand_over

assert LOAD_SETUP_CYCLES == STEPS + CUT_CYCLES + 1
assert LOAD_SETUP_CYCLES + LOAD_MOVE_CYCLES == STEPS + 1 + PIECE_CYCLES == STEPS + 2 + FILL_CYCLES
assert LOAD_WRITE_CYCLES == 4

Fields = dict[str, Value]


class Load(wiring.Component):
    """Run one LOAD at a time, as `gossamer.arch.isa` defines it.

    Members
    -------
    base: the program's base address. stop: send no new request from the next cycle on.
    control: see `EngineControl`.
    request_valid, address, length, request_ready: a read request; length in beats less one.
    beat, data, last, error, offset: what comes back, see `ReadPort`. take: the beat is taken.
    write_valid, write_space, write_address, write_length, write_data, write_ready: one piece to a buffer, its first
        byte in the least significant bits. write_last: address of its last byte. write_held: a piece that was taken
        has not been written yet.

    Protocol
    --------
    Padding is written first, while the requests go out; then the data in the order it comes. A request leaves when
    fewer than max_outstanding bursts are on their way: those requested whose last piece has not been made. An error
    response ends the writing: what was requested before is taken and forgotten.

    Latency and throughput
    ----------------------
    Start in cycle S: first request in S + LOAD_SETUP_CYCLES, first beat of padding or of data LOAD_MOVE_CYCLES later;
    then a request per cycle, and one beat of padding or one piece of data per cycle. A piece is made in the cycle its
    beat arrives, if it is the beat's first, and given to a buffer two cycles later. `done` comes LOAD_WRITE_CYCLES
    after the last one is made, when the buffer has written it: `load_cycles` of `gossamer.arch.timing`.

    Parameters
    ----------
    port: sizes of the memory port. target: see `TransferSetup`.
    """

    def __init__(self, port: MemoryPort, target: Target) -> None:
        self.port = port
        self.target = target
        super().__init__(
            {
                "base": In(ADDRESS_BITS),
                "stop": In(1),
                "control": Out(EngineControl()),
                "request_valid": Out(1),
                "address": Out(ADDRESS_BITS),
                "length": Out(BURST_LENGTH_BITS),
                "request_ready": In(1),
                "beat": In(1),
                "data": In(8 * port.beat_bytes),
                "last": In(1),
                "error": In(1),
                "offset": In(OFFSET_BITS),
                "take": Out(1),
                "write_valid": Out(1),
                "write_space": Out(2),
                "write_address": Out(CHIP_BITS),
                "write_last": Out(CHIP_BITS),
                "write_length": Out(bits_for(port.beat_bytes)),
                "write_data": Out(8 * port.beat_bytes),
                "write_ready": In(1),
                "write_held": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the parts and what starts and ends an instruction."""
        m = Module()
        used = sum(field.bits for field in FIELDS[Opcode.LOAD])
        word = Signal(used)
        busy = Signal()
        failed = Signal()
        setting_up = Signal()
        with m.If(~busy):  # until it is started there is none: its start would have to reach every bit
            m.d.sync += word.eq(self.control.instruction)
        fields = instruction_fields(Opcode.LOAD, word)
        m.submodules.setup = setup = Copies(TransferSetup(self.target))
        self._set_up(m, setup, fields)
        has_data = Signal()
        m.d.sync += has_data.eq(fields["ny"] != 0)
        written = self._requests(m, setup, fields, has_data, failed)
        making, gave = self._writes(m, setup, fields, has_data, failed, written)
        given, wrote = Signal(), Signal()
        ending, waited = Signal(), Signal()  # whether it waited, unless it gave its last piece
        m.d.sync += [
            given.eq(gave), ending.eq(given | (ending & self.write_held)),
            waited.eq(busy & ~setting_up & ~making & ~given & ~ending),
        ]  # fmt: skip
        m.d.comb += wrote.eq(ending & ~self.write_held)
        field_fault, read_fault = setup.fail, self.beat & self.error & ~failed
        m.d.comb += [
            self.control.done.eq(wrote),
            self.control.waiting.eq(waited & ~given),
            self.control.fault.eq(field_fault | read_fault),
            self.control.cause.eq(Mux(field_fault, ErrorCause.FIELD, ErrorCause.READ_RESPONSE)),
            self.control.address.eq(Mux(field_fault, 0, self.offset)),
        ]
        delay = Signal(LOAD_SETUP_CYCLES + LOAD_MOVE_CYCLES - 1)
        m.d.sync += [
            busy.eq((busy | self.control.start) & ~self.control.done), delay.eq(Cat(self.control.start, delay)),
            setting_up.eq(self.control.start | (setting_up & ~delay[-1])),
        ]  # fmt: skip
        with m.If(self.control.fault):
            m.d.sync += failed.eq(1)
        return m

    def _set_up(self, m: Module, setup: Copies, fields: Fields) -> None:
        """Connect the setup: a scatter cannot pad, and counts are at least 1."""
        first = instruction_fields(Opcode.LOAD, self.control.instruction)
        scatter = fields["dst_e"] != 1
        pad_lines = (fields["pad_top"] != 0) | (fields["pad_bottom"] != 0)
        pads = pad_lines | (fields["pad_left"] != 0) | (fields["pad_right"] != 0)
        bad, no_lines, no_pad_lines, scatters, has_pads = (
            Signal(name=name) for name in ("bad", "no_lines", "no_pad_lines", "scatters", "has_pads")
        )
        zero = Signal(3)
        m.d.sync += [
            zero.eq(Cat(fields[name] == 0 for name in ("nx", "run_bytes", "dst_e"))),
            no_lines.eq(fields["ny"] == 0), no_pad_lines.eq(~pad_lines), scatters.eq(scatter), has_pads.eq(pads),
            bad.eq(zero.any() | (no_lines & no_pad_lines) | (scatters & has_pads)),
        ]  # fmt: skip
        m.d.comb += [
            setup.start.eq(self.control.start),
            setup.first_run_bytes.eq(first["run_bytes"]),
            setup.first_nx.eq(first["nx"]),
            *(getattr(setup, name).eq(fields[name]) for name in ("ny", "nx", "run_bytes")),
            setup.memory_y.eq(fields["dram_y"]),
            setup.memory_x.eq(fields["dram_x"]),
            setup.chip_y.eq(fields["dst_y"]),
            setup.chip_x.eq(fields["dst_x"]),
            setup.scatter.eq(scatters),
            setup.bad.eq(bad),
            setup.factor_1.eq(fields["dst_x"]),
            setup.count_1.eq(fields["nx"] - 1),
            setup.factor_2.eq(fields["dst_y"]),
            setup.count_2.eq(fields["pad_top"]),
            setup.factor_4.eq(fields["dst_y"]),
            setup.count_4.eq(fields["ny"]),
        ]

    def _requests(self, m: Module, setup: Copies, fields: Fields, has_data: Signal, failed: Signal) -> Signal:
        """Add the requests and their window; return a signal to raise when a burst has been written."""
        m.submodules.cutter = cutter = Copies(BurstCutter(self.port))
        shown = Signal()
        written = Signal()
        may_send, goes, sent = Signal(), Signal(), Signal()
        most = self.port.max_outstanding
        flying = Signal(range(most + 1))
        full = Signal()
        halted = Signal()
        m.d.sync += [
            shown.eq(self.request_valid & ~self.request_ready),
            halted.eq(self.stop | failed | self.control.fault),
        ]
        m.d.comb += [
            cutter.load.eq(setup.step[-1] & has_data),
            cutter.drop.eq(setup.fail),
            cutter.base.eq(self.base),
            cutter.first.eq(fields["dram"]),
            *(
                getattr(cutter, name).eq(getattr(setup, name))
                for name in ("runs_less_one", "lines_less_one", "one_run", "one_line", "length_less_one")
            ),
            cutter.run_pitch.eq(fields["dram_x"]),
            cutter.line_pitch.eq(fields["dram_y"]),
        ]
        burst = Cat(cutter.beats_less_one, cutter.address)
        room, valid, first = hand_over(m, "burst", valid=cutter.valid, payload=burst, ready=goes)
        m.d.comb += [
            cutter.ready.eq(room),
            Cat(self.length, self.address).eq(first),
            may_send.eq(~full & (shown | ~halted)),
            self.request_valid.eq(valid & may_send),
            goes.eq(may_send & self.request_ready),
            sent.eq(valid & goes),
        ]
        with m.If(sent ^ written):
            m.d.sync += [flying.eq(flying + Mux(written, -1, 1)), full.eq(~written & (flying == most - 1))]
        return written

    def _writes(self, m: Module, setup: Copies, fields: Fields, has_data: Signal, failed: Signal,
                written: Signal) -> tuple[Value, Value]:  # fmt: skip
        """Add padding and pieces; return whether one is made or the last is on its way, and whether that is taken.

        A piece is turned to its first byte in two steps: a register between them moves while there is room behind it.
        """
        m.submodules.fill = fill = Copies(FillWalker(self.port))
        m.submodules.pieces = pieces = Copies(PieceWalker(self.port))
        self._connect_fill(m, setup, fields, fill)
        self._connect_pieces(m, setup, fields, has_data, pieces)
        takes_piece, takes_last = Signal(), Signal()
        stopped = Signal()
        no_data = Signal()
        room = Signal()
        made = Signal()
        address, size = Signal(CHIP_BITS), Signal(self.port.beat_shift)
        m.d.sync += no_data.eq(fields["ny"] == 0)
        m.d.comb += [
            stopped.eq(failed | self.error),
            takes_piece.eq(pieces.valid & ~fill.valid & room),
            fill.ready.eq(room & ~failed),
            pieces.ready.eq(self.beat & takes_piece & ~stopped),
            made.eq((fill.valid & fill.ready) | pieces.ready),
            takes_last.eq(pieces.beat_ends & ~fill.valid & room),
            self.take.eq(takes_last | stopped),
            written.eq(self.beat & self.last & takes_last),
            address.eq(Mux(fill.valid, fill.address, pieces.address)),
            size.eq(Mux(fill.valid, fill.size_less_one, pieces.size_less_one)),
        ]
        near = self.port.beat_shift // 2
        staged, ends, fills, far = Signal(), Signal(), Signal(), Signal(self.port.beat_shift - near)
        place = Signal(len(self.write_address) + len(self.write_last) + len(self.write_length))
        moved = Signal(8 * self.port.beat_bytes)
        with m.If(room):
            m.d.sync += [
                staged.eq(made), fills.eq(fill.valid), far.eq(pieces.offset[near:]),
                ends.eq((pieces.ready & pieces.last) | (fill.valid & fill.last & no_data)),
                place.eq(Cat(address, (address + size)[:CHIP_BITS], (size + 1)[: len(self.write_length)])),
                moved.eq(self.data >> (pieces.offset[:near] << 3)),
            ]  # fmt: skip
        padding = fields["fill"].replicate(self.port.beat_bytes)
        data = Mux(fills, padding, moved >> (far << (3 + near)))[: 8 * self.port.beat_bytes]
        free, shown, first = hand_over(m, "write", valid=staged, payload=Cat(ends, place, data), ready=self.write_ready)
        last = Signal()
        m.d.comb += [
            room.eq(free), self.write_valid.eq(shown), self.write_space.eq(fields["space"]),
            Cat(last, self.write_address, self.write_last, self.write_length, self.write_data).eq(first),
        ]  # fmt: skip
        return made | (staged & ends & room), shown & self.write_ready & last

    def _connect_fill(self, m: Module, setup: Copies, fields: Fields, fill: Copies) -> None:
        """Connect the padding, which begins when it is known that the fields are good."""
        ends = Signal(CHIP_BITS)
        line_bytes = Signal(CHIP_BITS)
        right_offset = Signal(CHIP_BITS)
        going = Signal()
        m.d.sync += [ends.eq(fields["pad_left"] + fields["run_bytes"]), going.eq(setup.go)]
        with m.If(setup.step[3]):
            m.d.sync += right_offset.eq(setup.product + ends)
        m.d.sync += line_bytes.eq(right_offset + fields["pad_right"])
        m.d.comb += [
            fill.load.eq(going),
            fill.data_bytes.eq(setup.product),
            fill.first.eq(fields["dst"]),
            fill.pitch.eq(fields["dst_y"]),
            fill.line_bytes.eq(line_bytes),
            fill.right_offset.eq(right_offset),
            fill.ny.eq(fields["ny"]),
            *(getattr(fill, side).eq(fields[f"pad_{side}"]) for side in ("top", "bottom", "left", "right")),
        ]

    def _connect_pieces(self, m: Module, setup: Copies, fields: Fields, has_data: Signal, pieces: Copies) -> None:
        """Connect the pieces of data, which begin with the last step of the setup."""
        shift = self.port.beat_shift
        corner, chip = Signal(CHIP_BITS), Signal(CHIP_BITS)
        place = Signal(shift)
        scatter = Signal()
        failed = Signal()
        m.d.sync += [
            failed.eq(setup.fail),
            scatter.eq(fields["dst_e"] != 1),
            corner.eq(fields["dst"] + fields["pad_left"]),
            place.eq(self.base[:shift] + fields["dram"][:shift]),
        ]
        with m.If(setup.step[4]):
            m.d.sync += chip.eq(corner + setup.product)
        m.d.comb += [
            pieces.load.eq(setup.ends & has_data),
            pieces.drop.eq(failed),
            pieces.chip.eq(chip),
            pieces.place.eq(place),
            *(getattr(pieces, name).eq(getattr(setup, name)) for name in PIECE_SHAPE),
            pieces.memory_y.eq(fields["dram_y"]),
            pieces.memory_x.eq(fields["dram_x"]),
            pieces.chip_y.eq(fields["dst_y"]),
            pieces.chip_x.eq(fields["dst_x"]),
            pieces.chip_e.eq(fields["dst_e"]),
            pieces.scatter.eq(scatter),
        ]
