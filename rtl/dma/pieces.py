"""Cut a transfer into pieces: what one cycle moves between one beat and the buffer."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from gossamer.rtl.dma.parameters import CHIP_BITS, COUNT_BITS, LENGTH_BITS, MemoryPort


class PieceWalker(wiring.Component):
    """Give the pieces of a LOAD or STORE in order: bytes of one beat that are contiguous in the buffer too.

    Members
    -------
    load: begin a transfer: all that follows holds from this cycle on until its end.
    chip, place: on-chip address of the first byte, and its place in its beat.
    runs_less_one, lines_less_one: off-chip runs after joining. memory_y, memory_x: pitches of the off-chip runs,
        modulo a beat.
    segments_less_one, segment_lines_less_one, segment: on-chip segments and their bytes after joining.
    chip_y, chip_x, chip_e: on-chip pitches of lines, segments and bytes. scatter: bytes do not follow each other.
    valid, ready: handshake of one piece; `valid` is not withdrawn.
    address: on-chip address of the piece. offset, size: its place in the beat, and its bytes.
    beat_ends: nothing else of this beat is needed. last: the transfer's last piece.

    Protocol
    --------
    Equal to `pieces_between` of `gossamer.sim.offchip`; a scatter has a piece for every byte. A run that begins in the
    beat in which the one before has ended needs that beat once more.

    Latency and throughput
    ----------------------
    `load` in cycle t, first piece in t + 1; one piece per cycle.

    Parameters
    ----------
    port: sizes of the memory port.
    """

    def __init__(self, port: MemoryPort) -> None:
        self.port = port
        shift = port.beat_shift
        super().__init__(
            {
                "load": In(1),
                "chip": In(CHIP_BITS),
                "place": In(shift),
                "runs_less_one": In(COUNT_BITS),
                "lines_less_one": In(COUNT_BITS),
                "memory_y": In(shift),
                "memory_x": In(shift),
                "segments_less_one": In(COUNT_BITS),
                "segment_lines_less_one": In(COUNT_BITS),
                "segment": In(LENGTH_BITS),
                "chip_y": In(CHIP_BITS),
                "chip_x": In(24),
                "chip_e": In(20),
                "scatter": In(1),
                "valid": Out(1),
                "ready": In(1),
                "address": Out(CHIP_BITS),
                "offset": Out(shift),
                "size": Out(bits_for(port.beat_bytes)),
                "beat_ends": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the walk over bytes of a segment; `_segments` adds that over segments.

        What is known of a piece is worked out with the piece before it and registered: sizes and ends are on the way of
        every handshake.
        """
        m = Module()
        width = self.port.beat_bytes
        room = Signal(bits_for(width))
        left = Signal(LENGTH_BITS)
        after = Signal(LENGTH_BITS)
        segment_ends = Signal()
        beat_full = Signal()
        run_ends = Signal()
        m.d.comb += [after.eq(left - room), self.beat_ends.eq(beat_full | run_ends)]
        next_chip, next_place = self._segments(m, segment_ends, run_ends)

        def begin(chip: Value, place: Value) -> None:
            """Go to the first piece of a segment."""
            free = width - place
            low = len(room)
            short = self.segment[low:] == 0
            ends = short & (self.segment[:low] <= free)
            m.d.sync += [
                self.address.eq(chip), self.offset.eq(place), left.eq(self.segment),
                room.eq(Mux(self.scatter, 1, free)), segment_ends.eq(Mux(self.scatter, self.segment == 1, ends)),
                self.size.eq(Mux(self.scatter, 1, Mux(ends, self.segment, free))),
                beat_full.eq(Mux(self.scatter, place == width - 1, ~short | (self.segment[:low] >= free))),
            ]  # fmt: skip

        with m.If(self.load):
            m.d.sync += self.valid.eq(1)
            begin(self.chip, self.place)
        with m.Elif(self.valid & self.ready & segment_ends):
            m.d.sync += self.valid.eq(~self.last)
            begin(next_chip, next_place)
        with m.Elif(self.valid & self.ready):
            # The rest of a segment begins with a beat, unless bytes are scattered.
            beyond = room + width
            ends = left <= beyond
            m.d.sync += [
                self.address.eq(self.address + Mux(self.scatter, self.chip_e, room)), left.eq(after),
                self.offset.eq(Mux(self.scatter, self.offset + 1, 0)), room.eq(Mux(self.scatter, 1, width)),
                segment_ends.eq(Mux(self.scatter, left == 2, ends)),
                self.size.eq(Mux(self.scatter, 1, Mux(ends, after, width))),
                beat_full.eq(Mux(self.scatter, self.offset == width - 2, left >= beyond)),
            ]  # fmt: skip
        return m

    def _segments(self, m: Module, segment_ends: Signal, run_ends: Signal) -> tuple[Signal, Signal]:
        """Add the walk over segments; return the address and the place of the one after this."""
        shift = self.port.beat_shift
        segments_left = Signal(COUNT_BITS)
        lines_left = Signal(COUNT_BITS)
        line_chip = Signal(CHIP_BITS)
        line_place = Signal(shift)
        segment_chip = Signal(CHIP_BITS)
        segment_place = Signal(shift)
        last_of_line = Signal()
        last_line = Signal()
        last_segment = Signal()
        several_runs = Signal()
        several_lines = Signal()
        next_chip = Signal(CHIP_BITS)
        next_place = Signal(shift)
        m.d.comb += [
            last_segment.eq(last_of_line & last_line),
            self.last.eq(segment_ends & last_segment),
            next_chip.eq(Mux(last_of_line, line_chip, segment_chip) + Mux(last_of_line, self.chip_y, self.chip_x)),
            next_place.eq(
                Mux(last_of_line, line_place, segment_place) + Mux(last_of_line, self.memory_y, self.memory_x)
            ),
            run_ends.eq(
                segment_ends
                & (
                    several_runs
                    | (last_of_line & several_lines)
                    | last_segment
                )
            ),
        ]  # fmt: skip
        with m.If(self.load):
            m.d.sync += [
                line_chip.eq(self.chip), segment_chip.eq(self.chip), line_place.eq(self.place),
                segment_place.eq(self.place), segments_left.eq(self.segments_less_one),
                last_of_line.eq(self.segments_less_one == 0), lines_left.eq(self.segment_lines_less_one),
                last_line.eq(self.segment_lines_less_one == 0), several_runs.eq(self.runs_less_one != 0),
                several_lines.eq(self.lines_less_one != 0),
            ]  # fmt: skip
        with m.Elif(self.valid & self.ready & segment_ends):
            m.d.sync += [
                segments_left.eq(segments_left - 1), last_of_line.eq(segments_left == 1),
                segment_chip.eq(next_chip), segment_place.eq(next_place),
            ]  # fmt: skip
            with m.If(last_of_line):
                m.d.sync += [
                    segments_left.eq(self.segments_less_one), last_of_line.eq(self.segments_less_one == 0),
                    lines_left.eq(lines_left - 1), last_line.eq(lines_left == 1),
                    line_chip.eq(next_chip), line_place.eq(next_place),
                ]  # fmt: skip
        return next_chip, next_place
