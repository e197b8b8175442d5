"""Read the instruction stream ahead of dispatch."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from gossamer.arch.isa import INSTRUCTION_BYTES
from gossamer.arch.registers import ErrorCause
from gossamer.arch.timing import FETCH_BUFFER_BYTES, FETCH_BURST_BYTES, FETCH_REQUEST_CYCLES, FETCH_ROOM_CYCLES
from gossamer.rtl.dma.parameters import ADDRESS_BITS, BURST_LENGTH_BITS, OFFSET_BITS, MemoryPort
from gossamer.rtl.engine import INSTRUCTION_BITS, INSTRUCTION_PARTS, instruction_part
from gossamer.rtl.own_copy import UNSHARED

ENTRIES = FETCH_BUFFER_BYTES // INSTRUCTION_BYTES
"""Instructions the buffer holds."""

assert (FETCH_REQUEST_CYCLES, FETCH_ROOM_CYCLES) == (2, 3)
assert FETCH_BUFFER_BYTES >= 2 * FETCH_BURST_BYTES  # the first instruction has left when the buffer is full


class Fetch(wiring.Component):
    """Read `instructions` instructions from `base` on, in bursts, and present them one by one.

    Members
    -------
    start: high for one cycle, in the cycle before cycle 0 of a run; once between two resets.
    base, instructions: where the instructions are, a multiple of 64 and of a beat, and how many; held during the run.
    stop: send no new request.
    request_valid, address, length, request_ready: a read request; length in beats less one.
    beat, data, last, error, offset: what comes back, see `ReadPort`; it is taken at once.
    valid, instruction, ready: the next instruction, for the decoder; `ready` has a bit, always the same, for each part.
    dispatched: an instruction was dispatched in this cycle: the room it had is free.
    fault, cause, fault_address: high for one cycle when the memory answered with an error; nothing is presented then.

    Protocol
    --------
    Bursts end at multiples of min(burst_bytes, FETCH_BURST_BYTES) and at the end of the stream. One is requested when
    the buffer has room for it, besides what it holds, what is on its way and what is not dispatched yet. An instruction
    is presented when the whole burst with its last byte has arrived. Equal to FETCH of `gossamer.sim.engine` if `base`
    is a multiple of burst_bytes.

    Latency and throughput
    ----------------------
    `base` and `instructions` must be there, and the reset be over, two cycles before `start`. `start` in cycle -1:
    first request in cycle 0, another FETCH_REQUEST_CYCLES after each that is taken. The last beat of a burst in cycle
    t: its instructions from t + 2 on, one per cycle; room of one dispatched in cycle t can be requested for in
    t + FETCH_ROOM_CYCLES.

    Parameters
    ----------
    port: sizes of the memory port.
    """

    def __init__(self, port: MemoryPort) -> None:
        self.port = port
        self.unit_bytes = min(INSTRUCTION_BYTES, port.fetch_bytes)
        super().__init__(
            {
                "start": In(1),
                "base": In(ADDRESS_BITS),
                "instructions": In(32),
                "stop": In(1),
                "request_valid": Out(1),
                "address": Out(ADDRESS_BITS),
                "length": Out(BURST_LENGTH_BITS),
                "request_ready": In(1),
                "beat": In(1),
                "data": In(8 * port.beat_bytes),
                "last": In(1),
                "error": In(1),
                "offset": In(OFFSET_BITS),
                "valid": Out(1),
                "instruction": Out(INSTRUCTION_BITS),
                "ready": In(INSTRUCTION_PARTS),
                "dispatched": In(1),
                "fault": Out(1),
                "cause": Out(4),
                "fault_address": Out(OFFSET_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Return requests, buffer and faults."""
        m = Module()
        failed = Signal()
        m.d.comb += [
            self.fault.eq(self.beat & self.error & ~failed),
            self.cause.eq(ErrorCause.READ_RESPONSE),
            self.fault_address.eq(self.offset),
        ]
        with m.If(self.fault):
            m.d.sync += failed.eq(1)
        self._request(m, failed)
        self._buffer(m, failed)
        return m

    def _request(self, m: Module, failed: Signal) -> None:
        """Add the requests; everything is counted in units of an instruction, or of a burst if that is shorter.

        What a request is, and whether it is the last, is worked out in the cycle before it is shown; until the start
        that goes on all the time, for the first.
        """
        unit, burst = self.unit_bytes, self.port.fetch_bytes
        burst_units, room_units = burst // unit, FETCH_BUFFER_BYTES // unit
        left = Signal(32 + ceil_log2(INSTRUCTION_BYTES // unit))
        started, more, only, any_left = (Signal(name=name) for name in ("started", "more", "only", "any_left"))
        spare = Signal(signed(room_units.bit_length() + 1), init=room_units - burst_units)
        gain = Signal(signed(max(burst_units, INSTRUCTION_BYTES // unit).bit_length() + 1))
        sent, shows = Signal(), Signal()
        to_end = Signal(range(burst_units + 1))
        rest = Signal(signed(len(left) + 1))
        narrow = unit >= self.port.beat_bytes

        def beats_less_one(count: Value) -> Value:
            beats = count * (unit // self.port.beat_bytes) if narrow else (count + 1) >> 1
            return (beats - 1)[:BURST_LENGTH_BITS]

        m.d.comb += [rest.eq(left - to_end), sent.eq(self.request_valid & self.request_ready)]
        m.d.sync += [
            self.length.eq(Mux(rest[-1], beats_less_one(left[: len(to_end)]), beats_less_one(to_end))),
            only.eq(left <= to_end),
            any_left.eq(left != 0),
            gain.eq(Mux(self.dispatched, INSTRUCTION_BYTES // unit, 0) - Mux(shows, to_end, 0)),
            spare.eq(spare + gain),  # what a request takes is taken a cycle before the next can be shown
        ]
        with m.If(self.start):
            m.d.comb += shows.eq(any_left)
            m.d.sync += [started.eq(1), more.eq(any_left), self.request_valid.eq(any_left)]
        with m.Elif(self.request_valid):
            m.d.sync += self.request_valid.eq(~self.request_ready)
        with m.Else():
            m.d.comb += shows.eq(more & (spare >= 0) & ~failed & ~self.stop)
            m.d.sync += self.request_valid.eq(shows)
        with m.If(~started):
            m.d.sync += [
                self.address.eq(self.base),
                to_end.eq(burst_units - self.base[ceil_log2(unit) : ceil_log2(burst)]),
                left.eq(self.instructions * (INSTRUCTION_BYTES // unit)),
            ]
        with m.Elif(sent):
            m.d.sync += [
                self.address[: ceil_log2(burst)].eq(0),
                self.address[ceil_log2(burst) :].eq(self.address[ceil_log2(burst) :] + 1),
                to_end.eq(burst_units),
                left.eq(rest),
                more.eq(~only),
            ]

    def _buffer(self, m: Module, failed: Signal) -> None:
        """Add the buffer, rows of one instruction or of one beat if that is wider, and the register behind it.

        Each part of a row has a memory, with pointers of its own.
        """
        beat = self.port.beat_bytes
        row_bytes = max(beat, INSTRUCTION_BYTES)
        beats, words = row_bytes // beat, row_bytes // INSTRUCTION_BYTES
        # Where the next beat goes is free before it comes, unless the row holds another instruction that has not left.
        writes = self.beat if words > 1 else Const(1)
        rows = FETCH_BUFFER_BYTES // row_bytes
        lane, word = ceil_log2(beats), ceil_log2(words)
        places, leaving = (
            [Signal(range(2 * count), name=f"{name}_{part}", attrs=UNSHARED) for part in range(INSTRUCTION_PARTS)]
            for name, count in (("arrived", rows * beats), ("following", ENTRIES))
        )
        arrived, following = places[0], leaving[0]
        complete = Signal(range(2 * ENTRIES))
        present = Signal()
        after = Signal.like(arrived)
        comes = Signal()
        moves = Signal()
        m.d.comb += [
            after.eq(arrived + 1),
            comes.eq((complete != following) & (self._more(m, moves & comes) if words > 1 else 1)),
            moves.eq(~present | self.ready[0]),
            self.valid.eq(present & ~failed),
        ]
        with m.If(self.beat):
            m.d.sync += [each.eq(after) for each in places]
        with m.If(self.beat & self.last):
            m.d.sync += complete.eq(after[lane:] << word)
        with m.If(moves):
            m.d.sync += present.eq(comes)
        size = row_bytes // INSTRUCTION_PARTS
        unit = min(beat, size)
        data, shown = self.data.replicate(beats), []
        for part, (place, first) in enumerate(zip(places, leaving, strict=True)):
            m.submodules[f"buffer_{part}"] = buffer = memory.Memory(shape=8 * size, depth=rows, init=())
            write, read = buffer.write_port(granularity=8 * unit), buffer.read_port(domain="comb")
            m.d.comb += [
                write.addr.eq(place[lane:]), write.data.eq(data.word_select(part, 8 * size)),
                write.en.eq(
                    Cat(writes & (place[:lane] == at // beat) for at in range(part * size, (part + 1) * size, unit))
                ),
                read.addr.eq(first[word:]),
            ]  # fmt: skip
            shown.append(read.data)
        coming = Cat(*shown).word_select(following[:word], INSTRUCTION_BITS)
        for part in range(INSTRUCTION_PARTS):
            with m.If(~present | self.ready[part]):
                m.d.sync += instruction_part(self.instruction, part).eq(instruction_part(coming, part))
        with m.If(moves & comes):
            m.d.sync += [each.eq(following + 1) for each in leaving]

    def _more(self, m: Module, leaves: Value) -> Signal:
        """Return whether the stream goes on: its last row may hold more than its last instructions."""
        left = Signal(32)
        more = Signal()
        with m.If(self.start):
            m.d.sync += [left.eq(self.instructions), more.eq(self.instructions != 0)]
        with m.Elif(leaves):
            m.d.sync += [left.eq(left - 1), more.eq(left != 1)]
        return more
