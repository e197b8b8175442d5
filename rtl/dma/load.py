"""Run LOADs: copy strided rows from memory into a buffer, with padding."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from gossamer.arch.isa import FIELDS, Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.arch.timing import LOAD_SETUP_CYCLES, LOAD_WRITE_CYCLES
from gossamer.rtl.copies import Copies
from gossamer.rtl.dma.bursts import BurstCutter
from gossamer.rtl.dma.fill import FillWalker
from gossamer.rtl.dma.parameters import (
    ADDRESS_BITS,
    BURST_LENGTH_BITS,
    CHIP_BITS,
    OFFSET_BITS,
    MemoryPort,
)
from gossamer.rtl.dma.pieces import PieceWalker
from gossamer.rtl.dma.setup import STEPS, TransferSetup
from gossamer.rtl.engine import EngineControl, instruction_fields

assert LOAD_SETUP_CYCLES == STEPS + 1
assert LOAD_WRITE_CYCLES == 3

Fields = dict[str, Value]


class Load(wiring.Component):
    """Run one LOAD at a time, as `gossamer.arch.isa` defines it.

    Members
    -------
    base: the program's base address. stop: send no new request.
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
    Start in cycle S: first request and first beat of padding in S + LOAD_SETUP_CYCLES; then a request per cycle, and
    one beat of padding or one piece of data per cycle. A piece is made in the cycle its beat arrives, if it is the
    beat's first, and given to a buffer one cycle later. `done` comes LOAD_WRITE_CYCLES after the last one is made, when
    the buffer has written it: `load_cycles` of `gossamer.arch.timing`.

    Parameters
    ----------
    port: sizes of the memory port.
    """

    def __init__(self, port: MemoryPort) -> None:
        self.port = port
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
        with m.If(self.control.start):
            m.d.sync += word.eq(self.control.instruction)
        fields = instruction_fields(Opcode.LOAD, word)
        m.submodules.setup = setup = Copies(TransferSetup())
        self._set_up(m, setup, fields)
        move = Signal()
        m.d.comb += move.eq(setup.go & (fields["ny"] != 0))
        written = self._requests(m, setup, fields, move, failed)
        made, gave = self._writes(m, setup, fields, move, failed, written)
        given, wrote = Signal(), Signal()
        ending = Signal()
        m.d.sync += [given.eq(gave), ending.eq(given | (ending & self.write_held))]
        m.d.comb += wrote.eq(ending & ~self.write_held)
        field_fault, read_fault = setup.fail, self.beat & self.error & ~failed
        m.d.comb += [
            self.control.done.eq(wrote),
            self.control.waiting.eq(busy & ~setup.step.any() & ~made & ~gave & ~given & ~ending),
            self.control.fault.eq(field_fault | read_fault),
            self.control.cause.eq(Mux(field_fault, ErrorCause.FIELD, ErrorCause.READ_RESPONSE)),
            self.control.address.eq(Mux(field_fault, 0, self.offset)),
        ]
        m.d.sync += busy.eq((busy | self.control.start) & ~self.control.done)
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
            setup.scatter.eq(scatter),
            setup.bad.eq(bad),
            setup.factor_2.eq(fields["dst_x"]),
            setup.count_2.eq(fields["nx"] - 1),
            setup.factor_4.eq(fields["dst_y"]),
            setup.count_4.eq(fields["ny"]),
            setup.factor_5.eq(fields["dst_y"]),
            setup.count_5.eq(fields["pad_top"]),
        ]

    def _requests(self, m: Module, setup: Copies, fields: Fields, move: Signal, failed: Signal) -> Signal:
        """Add the requests and their window; return a signal to raise when a burst has been written."""
        m.submodules.cutter = cutter = Copies(BurstCutter(self.port))
        first = Signal(ADDRESS_BITS)
        shown = Signal()
        written = Signal()
        flying = Signal(range(self.port.max_outstanding + 1))
        m.d.sync += [first.eq(self.base + fields["dram"]), shown.eq(self.request_valid & ~self.request_ready)]
        m.d.comb += [
            cutter.load.eq(move),
            cutter.first.eq(first),
            *(
                getattr(cutter, name).eq(getattr(setup, name))
                for name in ("runs_less_one", "lines_less_one", "one_run", "one_line", "length")
            ),
            cutter.run_pitch.eq(fields["dram_x"]),
            cutter.line_pitch.eq(fields["dram_y"]),
            self.address.eq(cutter.address),
            self.length.eq(cutter.beats_less_one),
            self.request_valid.eq(
                cutter.valid & (flying != self.port.max_outstanding) & (shown | ~(failed | self.stop))
            ),
            cutter.ready.eq(self.request_valid & self.request_ready),
        ]
        with m.If(cutter.ready & ~written):
            m.d.sync += flying.eq(flying + 1)
        with m.Elif(~cutter.ready & written):
            m.d.sync += flying.eq(flying - 1)
        return written

    def _writes(self, m: Module, setup: Copies, fields: Fields, move: Signal, failed: Signal,
                written: Signal) -> tuple[Value, Value]:  # fmt: skip
        """Add padding and pieces; return whether one is made in this cycle, and whether the last is being taken."""
        m.submodules.fill = fill = Copies(FillWalker(self.port))
        m.submodules.pieces = pieces = Copies(PieceWalker(self.port))
        self._connect_fill(m, setup, fields, fill)
        self._connect_pieces(m, setup, fields, move, pieces)
        piece = Signal()
        stopped = Signal()
        no_data = Signal()
        room = Signal()
        made = Signal()
        address, size = Signal(CHIP_BITS), Signal(len(fill.size))
        m.d.sync += no_data.eq(fields["ny"] == 0)
        m.d.comb += [
            stopped.eq(failed | self.error),
            piece.eq(self.beat & pieces.valid & ~fill.valid & ~stopped),
            fill.ready.eq(room & ~failed),
            pieces.ready.eq(piece & room),
            made.eq((fill.valid & fill.ready) | pieces.ready),
            self.take.eq((pieces.ready & pieces.beat_ends) | (self.beat & stopped)),
            written.eq(self.take & self.last),
            address.eq(Mux(fill.valid, fill.address, pieces.address)),
            size.eq(Mux(fill.valid, fill.size, pieces.size)),
        ]
        padding = fields["fill"].replicate(self.port.beat_bytes)
        data = Mux(fill.valid, padding, self.data >> (pieces.offset << 3))[: 8 * self.port.beat_bytes]
        ends = (pieces.ready & pieces.last) | (fill.valid & fill.last & no_data)
        wrote = self._hand_over(m, made, room, Cat(ends, address, (address + size - 1)[:CHIP_BITS], size, data))
        m.d.comb += self.write_space.eq(fields["space"])
        return made, wrote

    def _hand_over(self, m: Module, made: Signal, room: Signal, piece: Value) -> Value:
        """Add two registers for pieces that are made; return whether the last of all is being taken.

        There is room for another one if the second is empty, so that no piece waits for the answer of a buffer.
        """
        first, second = Signal(len(piece)), Signal(len(piece))
        waits = Signal()
        moves = Signal()
        ends = Signal()
        m.d.comb += [
            room.eq(~waits),
            moves.eq(~self.write_valid | self.write_ready),
            Cat(ends, self.write_address, self.write_last, self.write_length, self.write_data).eq(first),
        ]
        with m.If(~waits):
            m.d.sync += second.eq(piece)
        with m.If(moves):
            m.d.sync += [first.eq(Mux(waits, second, piece)), self.write_valid.eq(waits | made), waits.eq(0)]
        with m.Elif(made):
            m.d.sync += waits.eq(1)
        return self.write_valid & self.write_ready & ends

    def _connect_fill(self, m: Module, setup: Copies, fields: Fields, fill: Copies) -> None:
        """Connect the padding, which begins one cycle after the last step of the setup."""
        ends = Signal(CHIP_BITS)
        line_bytes = Signal(CHIP_BITS)
        right_offset = Signal(CHIP_BITS)
        going = Signal()
        m.d.sync += [
            ends.eq(fields["pad_left"] + fields["run_bytes"]),
            going.eq(setup.go),
        ]
        with m.If(setup.step[2]):
            m.d.sync += right_offset.eq(setup.product + ends)
        m.d.sync += line_bytes.eq(right_offset + fields["pad_right"])
        m.d.comb += [
            fill.load.eq(going),
            fill.first.eq(fields["dst"]),
            fill.pitch.eq(fields["dst_y"]),
            fill.line_bytes.eq(line_bytes),
            fill.right_offset.eq(right_offset),
            fill.ny.eq(fields["ny"]),
            *(getattr(fill, side).eq(fields[f"pad_{side}"]) for side in ("top", "bottom", "left", "right")),
        ]
        data_bytes = Signal(CHIP_BITS)
        with m.If(going):
            m.d.sync += data_bytes.eq(setup.product)
        m.d.comb += fill.data_bytes.eq(Mux(going, setup.product, data_bytes))

    def _connect_pieces(self, m: Module, setup: Copies, fields: Fields, move: Signal, pieces: Copies) -> None:
        """Connect the pieces of data, which can begin two cycles after the last step of the setup."""
        shift = self.port.beat_shift
        starts = Signal(2)
        corner = Signal(CHIP_BITS)
        place = Signal(shift)
        scatter = Signal()
        m.d.sync += [
            scatter.eq(fields["dst_e"] != 1),
            starts.eq((starts << 1) | move),
            corner.eq(fields["dst"] + fields["pad_left"]),
            place.eq(self.base[:shift] + fields["dram"][:shift]),
        ]
        shape = ("runs_less_one", "lines_less_one", "segments_less_one", "segment_lines_less_one", "segment")
        m.d.comb += [
            pieces.load.eq(starts[1]),
            pieces.chip.eq(corner + setup.product),
            pieces.place.eq(place),
            *(getattr(pieces, name).eq(getattr(setup, name)) for name in shape),
            pieces.memory_y.eq(fields["dram_y"]),
            pieces.memory_x.eq(fields["dram_x"]),
            pieces.chip_y.eq(fields["dst_y"]),
            pieces.chip_x.eq(fields["dst_x"]),
            pieces.chip_e.eq(fields["dst_e"]),
            pieces.scatter.eq(scatter),
        ]
