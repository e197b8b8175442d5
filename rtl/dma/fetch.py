"""Read the instruction stream ahead of dispatch."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from gossamer.arch.isa import INSTRUCTION_BYTES
from gossamer.arch.registers import ErrorCause
from gossamer.arch.timing import FETCH_BUFFER_BYTES
from gossamer.rtl.dma.parameters import ADDRESS_BITS, BURST_LENGTH_BITS, OFFSET_BITS, MemoryPort
from gossamer.rtl.engine import INSTRUCTION_BITS

ENTRIES = FETCH_BUFFER_BYTES // INSTRUCTION_BYTES
"""Instructions the buffer holds."""


class Fetch(wiring.Component):
    """Read `instructions` instructions from `base` on, in bursts, and present them one by one.

    Members
    -------
    start: high for one cycle, in the cycle before cycle 0 of a run; once between two resets.
    base, instructions: where the instructions are, a multiple of 64 and of a beat, and how many; held during the run.
    stop: send no new request.
    request_valid, address, length, request_ready: a read request; length in beats less one.
    beat, data, last, error, offset: what comes back, see `ReadPort`; it is taken at once.
    valid, instruction, ready: the next instruction.
    fault, cause, fault_address: high for one cycle when the memory answered with an error; nothing is presented then.

    Protocol
    --------
    Bursts end at multiples of min(burst_bytes, FETCH_BURST_BYTES) and at the end of the stream. One is requested when
    the buffer has room for it, besides what it holds and what is on its way. An instruction is presented when the
    whole burst with its last byte has arrived. Equal to FETCH of `gossamer.sim.engine` if `base` is a multiple of
    burst_bytes.

    Latency and throughput
    ----------------------
    `start` in cycle -1: first request in cycle 0, then one per cycle. The last beat of a burst in cycle t: its
    instructions from t + 1 on, one per cycle; room of one taken in cycle t can be requested for in t + 1.

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
                "ready": In(1),
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
        """Add the requests; everything is counted in units of an instruction, or of a burst if that is shorter."""
        unit, burst = self.unit_bytes, self.port.fetch_bytes
        burst_units, room_units = burst // unit, FETCH_BUFFER_BYTES // unit
        left = Signal(32 + ceil_log2(INSTRUCTION_BYTES // unit))
        more = Signal()
        ahead = Signal(range(room_units + 1))
        shown = Signal()
        sent = Signal()
        units = Signal(range(burst_units + 1))
        to_end = Signal(range(burst_units + 1))
        rest = Signal(signed(len(left) + 1))
        ends = rest[-1]  # of a burst: there are fewer units than it could have
        narrow = unit >= self.port.beat_bytes

        def beats_less_one(count: Value) -> Value:
            beats = count * (unit // self.port.beat_bytes) if narrow else (count + 1) >> 1
            return (beats - 1)[:BURST_LENGTH_BITS]

        m.d.comb += [
            rest.eq(left - to_end),
            units.eq(Mux(ends, left, to_end)),
            self.length.eq(Mux(ends, beats_less_one(left[: len(units)]), beats_less_one(to_end))),
            self.request_valid.eq(more & (ahead <= room_units - burst_units) & (shown | ~(failed | self.stop))),
            sent.eq(self.request_valid & self.request_ready),
        ]  # fmt: skip
        m.d.sync += shown.eq(self.request_valid & ~self.request_ready)
        taken = Mux(self.valid & self.ready, INSTRUCTION_BYTES // unit, 0)
        with m.If(self.start):
            m.d.sync += [
                self.address.eq(self.base),
                to_end.eq(burst_units - self.base[ceil_log2(unit) : ceil_log2(burst)]),
                left.eq(self.instructions * (INSTRUCTION_BYTES // unit)),
                more.eq(self.instructions != 0),
                ahead.eq(0),
            ]
        with m.Elif(sent):
            m.d.sync += [
                self.address[: ceil_log2(burst)].eq(0),
                self.address[ceil_log2(burst) :].eq(self.address[ceil_log2(burst) :] + 1),
                to_end.eq(burst_units),
                left.eq(rest),
                more.eq(left > to_end),
                ahead.eq(ahead + to_end - taken),  # behind the last request it does not matter
            ]
        with m.Else():
            m.d.sync += ahead.eq(ahead - taken)

    def _buffer(self, m: Module, failed: Signal) -> None:
        """Add the buffer, rows of one instruction or of one beat if that is wider, and the register behind it."""
        beat = self.port.beat_bytes
        row_bytes = max(beat, INSTRUCTION_BYTES)
        beats, words = row_bytes // beat, row_bytes // INSTRUCTION_BYTES
        rows = FETCH_BUFFER_BYTES // row_bytes
        lane, word = ceil_log2(beats), ceil_log2(words)
        m.submodules.buffer = buffer = memory.Memory(shape=8 * row_bytes, depth=rows, init=())
        write, read = buffer.write_port(granularity=8 * beat), buffer.read_port(domain="comb")
        arrived = Signal(range(2 * rows * beats))
        complete = Signal(range(2 * ENTRIES))
        taken = Signal(range(2 * ENTRIES))
        following = Signal(range(2 * ENTRIES), init=1)
        left = Signal(32)
        more = Signal()
        after = Signal.like(arrived)
        here = Signal()
        present = Signal()
        complete_after = Signal.like(complete)
        m.d.comb += [
            after.eq(arrived + 1),
            write.addr.eq(arrived[lane:]),
            write.data.eq(self.data.replicate(beats)),
            write.en.eq(Mux(self.beat, 1 << arrived[:lane], 0)),
            read.addr.eq(following[word:]),
            here.eq(write.addr == taken[word : word + len(write.addr)]),
            self.valid.eq(present & more & ~failed),
            complete_after.eq(Mux(self.beat & self.last, after[lane:] << word, complete)),
        ]
        # The register has what has come of the instruction to be presented; `read` has the one behind it.
        bits = INSTRUCTION_BITS // beats
        place = Mux(here, taken[:word], following[:word])
        for number in range(beats):
            comes = write.en[number] & (here | (write.addr == read.addr))
            part = slice(bits * number, bits * (number + 1))
            with m.If((self.valid & self.ready) | (write.en[number] & here)):
                m.d.sync += self.instruction[part].eq(
                    Mux(
                        comes,
                        self.data.word_select(place, bits),
                        read.data.word_select(following[:word], INSTRUCTION_BITS)[part],
                    )
                )
        with m.If(self.start):
            m.d.sync += [
                arrived.eq(0), complete.eq(0), taken.eq(0), following.eq(1), left.eq(self.instructions),
                more.eq(self.instructions != 0), present.eq(0),
            ]  # fmt: skip
        with m.Else():
            m.d.sync += [
                complete.eq(complete_after),
                present.eq(Mux(self.valid & self.ready, complete_after != following, complete_after != taken)),
            ]
            with m.If(self.beat):
                m.d.sync += arrived.eq(after)
            with m.If(self.valid & self.ready):
                m.d.sync += [
                    taken.eq(following), following.eq(following + 1), left.eq(left - 1), more.eq(left != 1)
                ]  # fmt: skip
