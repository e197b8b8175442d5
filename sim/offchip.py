"""Model off-chip memory: how transfers are cut into bursts, and when ports and channels serve them.

A transfer reads or writes runs of contiguous bytes. Runs that follow each other off chip are merged. A run is cut into
bursts at every multiple of `burst_bytes` (`gossamer.arch.timing.burst_bytes`). A burst moves whole *rows*, aligned to
their size: a beat if there is one port, as many consecutive beats as there are ports otherwise. On chip LOAD and STORE
each move one *piece* per cycle: the bytes of one row that are contiguous in the buffer too; of a byte scatter, a byte.

One port hands every beat on as it comes. The bursts of an engine take several ports in turn: the beats of a read burst
are gathered to rows at their port, and when the last one has come LOAD takes the burst, in the order of the requests; a
write burst is sent when its last piece has come to its port, which has room for two. Acknowledgements are taken in the
order of the bursts, one per cycle, as those of one port come.

A channel is a first-in first-out server; the burst's first byte decides the channel (addresses are interleaved). Its
service time is a fixed-point number of cycles with `TICK_BITS` fraction bits. The read bursts of a port, and its write
bursts, take its read and its write side in order. Requests of one engine leave one per cycle at most. Equations ours;
checked by tests/unit/test_offchip_bursts.py and tests/unit/test_timing_twin.py.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import GATHER_CYCLES, burst_bytes
from gossamer.sim.kernels import kernel

TICK_BITS = 16
"""Fraction bits of channel time."""

TICKS_PER_CYCLE = 1 << TICK_BITS

ZERO: int = np.int64(0)  # type: ignore[assignment]
"""Not a Python int: numba would compile a function once more for every literal it is called with."""

READ, WRITE, ANSWER, REQUEST, TAKEN, SENT, PORT_ROWS = range(7)
"""Rows of `port_free`: first cycle a port's read side can move another beat or piece, its write side begin another
burst; cycle after its latest acknowledgement; first cycle it can carry another read request; and, of several ports,
cycle after the last piece LOAD took of its latest burst, cycle after the last beat of its latest write burst."""

# Rows of the parameter array that kernels take.
(BEAT_BYTES, BURST_BYTES, PORTS, ROW_BYTES, OUTSTANDING, CHANNELS, INTERLEAVE, BEAT_TICKS, LATENCY,
 STREAM, PARAMETERS) = range(11)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OffChipTiming:
    """Off-chip memory in cycles of the accelerator's clock.

    `beat_ticks`: channel time of one beat in 1 / TICKS_PER_CYCLE cycles; `latency_cycles`: request to first beat.
    `stream_address`: of the instructions FETCH reads, a multiple of its bursts.
    """

    beat_bytes: int
    burst_bytes: int
    ports: int
    max_outstanding: int
    channels: int
    interleave_bytes: int
    beat_ticks: int
    latency_cycles: int
    stream_address: int = 0

    def as_array(self) -> NDArray[np.int64]:
        """Return the int64 array [PARAMETERS] that the kernels take."""
        return np.array(
            [
                self.beat_bytes, self.burst_bytes, self.ports, self.row_bytes, self.max_outstanding,
                self.channels, self.interleave_bytes, self.beat_ticks, self.latency_cycles, self.stream_address,
            ],
            dtype=np.int64,
        )  # fmt: skip

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, which all ports together move per cycle and direction."""
        return self.ports * self.beat_bytes

    @property
    def channel_bytes_per_cycle(self) -> float:
        """What all channels together move per cycle."""
        return self.channels * self.beat_bytes * TICKS_PER_CYCLE / self.beat_ticks


def offchip_timing(spec: SparseAccelerator) -> OffChipTiming:
    """Return a config's off-chip memory in cycles; a beat takes at least one tick, the latency is rounded up."""
    beat_bytes = spec.axi.data_bits // 8
    bytes_per_ns = spec.off_chip.channel_bandwidth_gb_s * spec.off_chip.efficiency
    cycles_per_beat = beat_bytes / bytes_per_ns * spec.clock_mhz / 1000.0
    return OffChipTiming(
        beat_bytes=beat_bytes,
        burst_bytes=burst_bytes(
            data_bits=spec.axi.data_bits,
            burst_beats=spec.axi.burst_beats,
            interleave_bytes=spec.off_chip.interleave_bytes,
        ),
        ports=spec.axi.ports,
        max_outstanding=spec.axi.max_outstanding,
        channels=spec.off_chip.channels,
        interleave_bytes=spec.off_chip.interleave_bytes,
        beat_ticks=max(1, round(cycles_per_beat * TICKS_PER_CYCLE)),
        latency_cycles=ceil(spec.off_chip.latency_ns * spec.clock_mhz / 1000.0),
    )


@kernel(allocates=False)
def burst_end(address: int, last: int, burst_bytes: int) -> int:
    """Return the end (exclusive) of the burst that starts at `address` within bytes up to `last` (exclusive).

    `burst_bytes` is a power of two; masks take the place of divisions, which would be most of the time of a burst.
    """
    return min(last, (address | (burst_bytes - 1)) + 1)


@kernel(allocates=False)
def beats_between(first: int, last: int, beat_bytes: int) -> int:
    """Return the beats that bytes [first, last) touch."""
    return (last - 1) // beat_bytes - first // beat_bytes + 1


@kernel(allocates=False)
def pieces_between(base: int, first: int, last: int, segment_bytes: int, beat_bytes: int) -> int:
    """Return the (beat, segment) pairs that bytes [first, last) of a run touch.

    The run starts at `base`; every `segment_bytes` of it are contiguous on chip. Pairs = beats + segment boundaries
    strictly inside - those of them that are beat boundaries as well.
    """
    beats = beats_between(first, last, beat_bytes)
    low = (first - base) // segment_bytes + 1
    high = (last - base - 1) // segment_bytes
    if high < low:
        return beats
    period = 1
    while (period * segment_bytes) & (beat_bytes - 1):
        period *= 2  # beat_bytes is a power of two
    aligned = 0
    for boundary in range(low, min(high, low + period - 1) + 1):
        if (base + boundary * segment_bytes) & (beat_bytes - 1) == 0:
            aligned = (high - boundary) // period + 1
            break
    return beats + high - low + 1 - aligned


@kernel(allocates=False)
def channel_of(memory: NDArray[np.int64], address: int) -> int:
    """Return the channel that serves the burst at an address."""
    if memory[CHANNELS] == 1:
        return 0
    return int((address // memory[INTERLEAVE]) % memory[CHANNELS])


@kernel(allocates=False)
def channel_service(channel_free: NDArray[np.int64], channel: int, at: int, beats: int, beat_ticks: int) -> int:
    """Serve `beats` on a channel from cycle `at` on; return the tick at which that starts; update the channel."""
    start = max(at << TICK_BITS, int(channel_free[channel]))
    channel_free[channel] = start + beats * beat_ticks
    return start


@kernel(allocates=False)
def ceil_cycles(ticks: int) -> int:
    """Return ticks as whole cycles, rounded up."""
    return (ticks + TICKS_PER_CYCLE - 1) >> TICK_BITS


@kernel(allocates=False)
def read_burst(
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    port: int,
    at: int,
    address: int,
    beats: int,
    pieces: int,
    accepted: int,
) -> int:
    """Serve one read burst requested at cycle `at`; return the cycle after its last piece is written on chip.

    The first beat comes `latency` after the channel takes the request, the last one `latency` after it is served; the
    port delivers a piece per cycle, after those of the burst before and not before cycle `accepted` (LOAD fills first).
    port_free int64 [PORT_ROWS, ports].
    """
    start = channel_service(channel_free, channel_of(memory, address), at, beats, memory[BEAT_TICKS])
    first = ceil_cycles(start) + memory[LATENCY]
    last = ceil_cycles(start + beats * memory[BEAT_TICKS]) + memory[LATENCY]
    done = int(max(max(port_free[READ, port], first, accepted) + pieces, last))
    port_free[READ, port] = done
    return done


@kernel(allocates=False)
def read_beats(
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    port: int,
    at: int,
    base: int,
    first: int,
    last: int,
    segment_bytes: int,
    accepted: int,
) -> int:
    """Serve one read burst as `read_burst`, beat by beat, since a beat of several pieces may come after idle cycles.

    Needed only if a channel takes more than a cycle for a beat. Bytes [first, last) are of a run that starts at `base`,
    of which every `segment_bytes` are contiguous on chip.
    """
    width = memory[BEAT_BYTES]
    beats = beats_between(first, last, width)
    start = channel_service(channel_free, channel_of(memory, first), at, beats, memory[BEAT_TICKS])
    earliest = ceil_cycles(start) + memory[LATENCY]
    cycle, low = int(port_free[READ, port]), first
    for beat in range(1, beats + 1):
        high = min(last, (low | (width - 1)) + 1)
        comes = max(earliest, ceil_cycles(start + beat * memory[BEAT_TICKS]) + memory[LATENCY] - 1)
        cycle = int(max(cycle, comes, accepted) + pieces_between(base, low, high, segment_bytes, width))
        low = high
    port_free[READ, port] = cycle
    return cycle


@kernel(allocates=False)
def port_before(memory: NDArray[np.int64], port: int) -> int:
    """Return the port of the burst before one of this port; for the first of an instruction, one that is through."""
    return port - 1 if port else int(memory[PORTS]) - 1


@kernel(allocates=False)
def acknowledge(memory: NDArray[np.int64], port_free: NDArray[np.int64], port: int, sent: int, served: int) -> int:
    """Return the cycle after a write burst's acknowledgement, `latency` after it is sent and served, in order."""
    done = max(sent, served) + int(memory[LATENCY])
    done = max(done, int(port_free[ANSWER, port_before(memory, port)]) + 1)
    port_free[ANSWER, port] = done
    return done


@kernel(allocates=False)
def write_burst(
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    port: int,
    at: int,
    address: int,
    beats: int,
    pieces: int,
) -> int:
    """Serve one write burst whose first piece leaves at cycle `at`; return the cycle after its acknowledgement.

    Acknowledgements of a port come in the order of its bursts, one per cycle.
    """
    start = channel_service(channel_free, channel_of(memory, address), at, beats, memory[BEAT_TICKS])
    port_free[WRITE, port] = at + pieces
    return acknowledge(memory, port_free, port, at + pieces, ceil_cycles(start + beats * memory[BEAT_TICKS]))


@kernel(allocates=False)
def gather_burst(
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    port: int,
    at: int,
    address: int,
    beats: int,
    pieces: int,
    accepted: int,
) -> int:
    """Serve one read burst of LOAD as `read_burst` does, through one of several ports: whole before its first piece."""
    arrived = read_burst(memory, channel_free, port_free, port, at, address, beats, beats, ZERO)
    ready = max(arrived + GATHER_CYCLES, accepted, int(port_free[TAKEN, port_before(memory, port)]))
    port_free[TAKEN, port] = ready + pieces
    return ready + pieces


@kernel(allocates=False)
def spread_burst(
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    port: int,
    at: int,
    address: int,
    beats: int,
    pieces: int,
) -> int:
    """Serve one write burst as `write_burst` does, through one of several ports: whole before its first beat.

    Its address leaves at cycle `at`; the port begins another when it has sent the burst before this one.
    """
    start = channel_service(channel_free, channel_of(memory, address), at, beats, memory[BEAT_TICKS])
    sent_before = int(port_free[SENT, port])
    sent = max(at + pieces, sent_before) + beats
    port_free[WRITE, port], port_free[SENT, port] = max(at + 1, sent_before), sent
    return acknowledge(memory, port_free, port, sent, ceil_cycles(start + beats * memory[BEAT_TICKS]))
