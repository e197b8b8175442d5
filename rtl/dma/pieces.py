"""Cut a transfer into pieces: what one cycle moves between one beat and the buffer."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.dma.parameters import CHIP_BITS, COUNT_BITS, LENGTH_BITS, MemoryPort
from gossamer.rtl.dma.runs import RunAddress, RunShape, walk_runs
from gossamer.rtl.hand_over import hand_over

PIECE_CYCLES = 4
"""From `load` to the first piece: segment, its ends, its pieces, hand-over."""

STEP_BITS = 20
"""Of the distance between bytes that do not follow each other."""


class PieceWalker(wiring.Component):
    """Give the pieces of a LOAD or STORE in order: bytes of one beat that are contiguous in the buffer too.

    Members
    -------
    load: begin a transfer: all that follows holds from this cycle on until its end. drop: forget it, in the cycle after
        `load`.
    chip, place: on-chip address of the first byte, and its place in its beat.
    one_run, one_line: there is one off-chip run in a line, one line, after joining. memory_y, memory_x: pitches of the
        off-chip runs, modulo a beat.
    segments_less_one, segment_lines_less_one, one_segment, one_segment_line, segment_less_one: on-chip segments after
        joining, and their bytes.
    chip_y, chip_x, chip_e: on-chip pitches of lines, segments and bytes. scatter: bytes do not follow each other.
    valid, ready: handshake of one piece; `valid` is not withdrawn.
    address: on-chip address of the piece. offset, size_less_one: its place in the beat, and its bytes.
    beat_ends: there is a piece, and nothing else of its beat is needed. last: the transfer's last piece.

    Protocol
    --------
    Equal to `pieces_between` of `gossamer.sim.offchip`; a scatter has a piece for every byte. A run that begins in the
    beat in which the one before has ended needs that beat once more.

    Latency and throughput
    ----------------------
    `load` in cycle t, first piece in t + PIECE_CYCLES; one piece per cycle.

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
                "drop": In(1),
                "chip": In(CHIP_BITS),
                "place": In(shift),
                "one_run": In(1),
                "one_line": In(1),
                "memory_y": In(shift),
                "memory_x": In(shift),
                "segments_less_one": In(COUNT_BITS),
                "segment_lines_less_one": In(COUNT_BITS),
                "one_segment": In(1),
                "one_segment_line": In(1),
                "segment_less_one": In(LENGTH_BITS),
                "chip_y": In(CHIP_BITS),
                "chip_x": In(24),
                "chip_e": In(STEP_BITS),
                "scatter": In(1),
                "valid": Out(1),
                "ready": In(1),
                "address": Out(CHIP_BITS),
                "offset": Out(shift),
                "size_less_one": Out(shift),
                "beat_ends": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return the stages: segments, what is known of the next segment, its pieces, and the hand-over."""
        m = Module()
        shift = self.port.beat_shift
        segment = _Segment(shift)
        takes, room, valid = Signal(), Signal(), Signal()
        begins = Signal(init=1)  # a piece of another segment is next
        self._segments(m, segment, takes)
        address, step = Signal(CHIP_BITS, name="piece_address"), Signal(STEP_BITS)
        offset, size = Signal(shift, name="piece_offset"), Signal(shift, name="piece_size")
        left = Signal.like(segment.more)
        no_more, one_more, is_last, closes, full, whole_end = (Signal(name=name) for name in (
            "no_more", "one_more", "is_last", "closes", "full", "whole_end"))  # fmt: skip
        end = Signal(shift)
        most = 2**shift - 1
        m.d.comb += takes.eq(begins & room)
        with m.If(room):
            m.d.sync += [
                valid.eq(~begins | segment.valid),
                address.eq(Mux(begins, segment.chip, address + step)),
                step.eq(Mux(self.scatter, self.chip_e, Mux(begins, segment.room, most + 1))),
                offset.eq(Mux(begins, segment.place, Mux(self.scatter, offset + 1, 0))),
                size.eq(Mux(self.scatter, 0, Mux(begins, segment.first_size, Mux(one_more, end, most)))),
                left.eq(Mux(begins, segment.more, left - 1)),
                no_more.eq(Mux(begins, segment.no_more, one_more)),
                begins.eq(Mux(begins, ~segment.valid | segment.no_more, one_more)),
                one_more.eq(Mux(begins, segment.one_more, left == 2)),
                full.eq(Mux(begins, segment.first_full, Mux(self.scatter, offset == most - 1, ~one_more | whole_end))),
            ]
        with m.If(takes):
            m.d.sync += [
                is_last.eq(segment.last), closes.eq(segment.closes), end.eq(segment.end),
                whole_end.eq(segment.whole_end),
            ]  # fmt: skip
        piece = Cat(valid & (full | (no_more & closes)), no_more & is_last, offset, size, address)
        free, shown, first = hand_over(m, "piece", valid=valid, payload=piece, ready=self.ready)
        m.d.comb += [
            room.eq(free), self.valid.eq(shown),
            Cat(self.beat_ends, self.last, self.offset, self.size_less_one, self.address).eq(first),
        ]  # fmt: skip
        return m

    def _segments(self, m: Module, segment: "_Segment", takes: Signal) -> None:
        """Add the walk over segments, and what is known of the pieces of the one behind it."""
        shift = self.port.beat_shift
        walk = walk_runs(
            m,
            RunShape(runs_less_one=self.segments_less_one, lines_less_one=self.segment_lines_less_one,
                     one_run=self.one_segment, one_line=self.one_segment_line),
            {"chip": RunAddress(first=self.chip, line_pitch=self.chip_y, run_pitch=self.chip_x),
             "place": RunAddress(first=self.place, line_pitch=self.memory_y, run_pitch=self.memory_x)},
            load=self.load, drop=self.drop, moves=takes,
        )  # fmt: skip
        place = walk.addresses["place"]
        low, high = self.segment_less_one[:shift], self.segment_less_one[shift:]
        end = Signal(shift + 1)
        within, whole_end = Signal(), Signal()
        # What is known of the bytes of a segment in the cycle after `load`, in which the first one is looked at.
        short, twice, no_low, one_low = (Signal(name=name) for name in ("short", "twice", "no_low", "one_low"))
        high_beyond = Signal(len(high))
        m.d.sync += [short.eq(high == 0), twice.eq(high == 1), no_low.eq(low == 0), one_low.eq(low == 1)]
        m.d.sync += high_beyond.eq(high + 1)
        most = 2**shift - 1
        m.d.comb += [
            end.eq(place + low), within.eq(~end[shift] & short), whole_end.eq(end[:shift] == most),
        ]  # fmt: skip
        with m.If(takes):
            m.d.sync += [
                segment.valid.eq(walk.valid & ~self.drop),
                segment.chip.eq(walk.addresses["chip"]),
                segment.place.eq(place),
                segment.room.eq(most + 1 - place),
                segment.first_size.eq(Mux(within, low, ~place)),
                segment.first_full.eq(Mux(self.scatter, place == most, ~within | whole_end)),
                segment.end.eq(end[:shift]),
                segment.whole_end.eq(whole_end),
                segment.more.eq(Mux(self.scatter, self.segment_less_one, Mux(end[shift], high_beyond, high))),
                segment.no_more.eq(short & Mux(self.scatter, no_low, ~end[shift])),
                segment.one_more.eq(
                    (short & Mux(self.scatter, one_low, end[shift])) | (twice & ~(self.scatter | end[shift]))
                ),
                segment.last.eq(walk.last_of_line & walk.last_line),
                segment.closes.eq(
                    ~self.one_run | (walk.last_of_line & ~self.one_line) | (walk.last_of_line & walk.last_line)
                ),
            ]


class _Segment:
    """Registers of the next segment: address, place, first and last piece, and how many pieces follow the first.

    `closes`: the beat with its last byte holds nothing else of its run. `end`: place of that byte.
    """

    def __init__(self, shift: int) -> None:
        self.valid = Signal(name="next_valid")
        self.chip = Signal(CHIP_BITS, name="next_chip")
        self.place, self.end, self.first_size = (
            Signal(shift, name=f"next_{name}") for name in ("place", "end", "first_size")
        )
        self.room = Signal(shift + 1, name="next_room")
        self.more = Signal(LENGTH_BITS, name="next_more")
        self.no_more, self.one_more, self.first_full, self.whole_end, self.last, self.closes = (
            Signal(name=f"next_{name}") for name in ("no_more", "one_more", "first_full", "whole_end", "last", "closes")
        )
