"""Serve bursts while channels of the memory port pause: the same bursts as `gossamer.sim.offchip`, beat by beat.

Nothing can be requested, shown or taken on a channel in a cycle in which it pauses:

- a read request (AR) or write address (AW) that is shown stays until a cycle without a pause takes it; then the memory
  begins to serve the burst. Of two that the same cycle takes, the one shown first is served first;
- a read beat (R) or an answer (B) appears in a cycle without a pause, no earlier than without pauses; a beat stays
  until LOAD has written its last piece;
- a write beat (W) goes in a cycle without a pause; pieces that do not end a beat go in any. A burst ends, and the next
  can begin, when its address and its last beat are taken.

`read_burst` and `write_burst` are closed forms over a burst, which a pause within it breaks. So these kernels walk over
beats; a run with pauses is one of a bench, and short. Without a single pause they give the same cycles wherever the
closed forms are exact: a channel is as fast as the port or faster, or every beat is one piece. Ours; checked by
tests/unit/test_timing_twin.py, and against RTL by tests/rtl/.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import GossamerError
from gossamer.arch.timing import GATHER_CYCLES
from gossamer.sim.kernels import kernel
from gossamer.sim.offchip import (
    ANSWER,
    BEAT_BYTES,
    BEAT_TICKS,
    LATENCY,
    READ,
    ROW_BYTES,
    SENT,
    TAKEN,
    WRITE,
    ZERO,
    beats_between,
    ceil_cycles,
    channel_of,
    channel_service,
    pieces_between,
    port_before,
)

STALL_CHANNELS = ("ar", "r", "aw", "w", "b")
AR, R, AW, W, B = range(5)
"""Rows of recorded stalls: the channels of an AXI4 port. All ports pause in the same cycles."""


class StallShape(GossamerError):
    """Stalls do not have a row for each channel."""


def unpaused_cycles(stalls: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the first cycle from each cycle on in which a channel does not pause, int64 [5, cycles].

    stalls bool [5, cycles]: whether a channel pauses in a cycle; cycles beyond the end do not. Raises StallShape.
    """
    if stalls.ndim != 2 or stalls.shape[0] != len(STALL_CHANNELS):
        raise StallShape(
            f"`stalls` must have a row for each of {', '.join(STALL_CHANNELS)} and a column for each cycle, not shape "
            f"{list(stalls.shape)}"
        )
    cycles = np.arange(stalls.shape[1], dtype=np.int64)
    own = np.where(stalls, stalls.shape[1], cycles)
    return np.ascontiguousarray(np.minimum.accumulate(own[:, ::-1], axis=1)[:, ::-1])


def random_stalls(seed: int | Sequence[int], probability: float, cycles: int) -> NDArray[np.bool_]:
    """Return stalls bool [5, cycles] in which every channel pauses in a cycle with this probability."""
    return np.random.default_rng(seed).random((len(STALL_CHANNELS), cycles)) < probability


@kernel(allocates=False)
def unpaused(free: NDArray[np.int64], channel: int, at: int) -> int:
    """Return the first cycle from `at` on in which a channel does not pause; `free` is from `unpaused_cycles`."""
    if at >= free.shape[1]:
        return at
    return int(free[channel, at])


@kernel(allocates=False)
def read_burst_stalled(
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    free: NDArray[np.int64],
    port: int,
    taken: int,
    base: int,
    first: int,
    last: int,
    segment_bytes: int,
    accepted: int,
) -> int:
    """Serve the read burst of bytes [first, last), whose request is taken at cycle `taken`; as `read_burst`.

    The bytes belong to a run from `base` on, of which `segment_bytes` at a time are contiguous on chip.
    """
    width = memory[BEAT_BYTES]
    beats = beats_between(first, last, width)
    start = channel_service(channel_free, channel_of(memory, first), taken, beats, memory[BEAT_TICKS])
    earliest = ceil_cycles(start) + memory[LATENCY]
    cycle = port_free[READ, port]
    low = first
    for beat in range(1, beats + 1):
        high = min(last, (low | (width - 1)) + 1)
        served = ceil_cycles(start + beat * memory[BEAT_TICKS]) + memory[LATENCY] - 1
        shown = unpaused(free, R, max(cycle, earliest, served))
        cycle = max(shown, accepted) + pieces_between(base, low, high, segment_bytes, width)
        low = high
    port_free[READ, port] = cycle
    return int(cycle)


@kernel(allocates=False)
def write_burst_stalled(
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    free: NDArray[np.int64],
    port: int,
    shown: int,
    taken: int,
    base: int,
    first: int,
    last: int,
    segment_bytes: int,
) -> int:
    """Serve the write burst of bytes [first, last); as `write_burst`, bytes as in `read_burst_stalled`.

    Its address is shown, and its first piece can leave, at cycle `shown`; the address is taken at cycle `taken`.
    """
    width = memory[BEAT_BYTES]
    beats = beats_between(first, last, width)
    start = channel_service(channel_free, channel_of(memory, first), taken, beats, memory[BEAT_TICKS])
    cycle, low = shown, first
    for _ in range(beats):
        high = min(last, (low | (width - 1)) + 1)
        pieces = pieces_between(base, low, high, segment_bytes, width)
        cycle = unpaused(free, W, cycle + pieces - 1) + 1
        low = high
    port_free[WRITE, port] = max(cycle, taken + 1)
    served = ceil_cycles(start + beats * memory[BEAT_TICKS])
    answered = unpaused(free, B, max(max(cycle, served) + memory[LATENCY] - 1, port_free[ANSWER, port]))
    port_free[ANSWER, port] = answered + 1
    return answered + 1


@kernel(allocates=False)
def gather_burst_stalled(
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    free: NDArray[np.int64],
    port: int,
    taken: int,
    base: int,
    first: int,
    last: int,
    segment_bytes: int,
    accepted: int,
) -> int:
    """Serve a read burst of LOAD through one of several ports, as `gather_burst`; bytes as in `read_burst_stalled`."""
    row_bytes = memory[ROW_BYTES]
    low = first // row_bytes * row_bytes
    high = low + beats_between(first, last, row_bytes) * row_bytes
    arrived = read_burst_stalled(
        memory, channel_free, port_free, free, port, taken, low, low, high, high - low, ZERO
    )  # fmt: skip
    ready = max(arrived + GATHER_CYCLES, accepted, int(port_free[TAKEN, port_before(memory, port)]))
    port_free[TAKEN, port] = ready + pieces_between(base, first, last, segment_bytes, row_bytes)
    return int(port_free[TAKEN, port])


@kernel(allocates=False)
def spread_burst_stalled(
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    free: NDArray[np.int64],
    port: int,
    shown: int,
    taken: int,
    pieces: int,
    address: int,
    beats: int,
) -> int:
    """Serve one write burst through one of several ports, as `spread_burst`; cycles as in `write_burst_stalled`."""
    start = channel_service(channel_free, channel_of(memory, address), taken, beats, memory[BEAT_TICKS])
    sent_before = int(port_free[SENT, port])
    cycle = max(shown + pieces, sent_before)
    for _ in range(beats):
        cycle = unpaused(free, W, cycle) + 1
    port_free[WRITE, port], port_free[SENT, port] = max(taken + 1, sent_before), cycle
    served = ceil_cycles(start + beats * memory[BEAT_TICKS])
    answered = unpaused(free, B, max(max(cycle, served) + memory[LATENCY] - 1, int(port_free[ANSWER, port])))
    answered = max(answered, int(port_free[ANSWER, port_before(memory, port)]))
    port_free[ANSWER, port] = answered + 1
    return answered + 1
