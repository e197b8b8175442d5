"""Cost a sequence of jobs on the four engines in closed form per job: the core of the analytic model.

A job is one instruction: its engine, the cycles it takes alone, and the earlier jobs it waits for. Dispatch is in
order, one job per cycle, into queues of limited depth. Start and end are then maxima over earlier jobs (a max-plus
recurrence), which one walk over the jobs solves. LOAD and STORE slow each other where the channels cannot serve both:
for every pair that overlaps the lost cycles are added to both, and the walk is repeated with the longer jobs. FETCH and
LOAD share a port: what one takes delays the other's next transfer.

Ours; compared with the event engine by tests/cross/test_analytic_agreement.py. No constant is fitted.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.isa import INSTRUCTION_BYTES
from gossamer.arch.timing import FETCH_BUFFER_BYTES, FETCH_BURST_BYTES, LOAD_SETUP_CYCLES, STORE_SETUP_CYCLES
from gossamer.sim.engine import COMPUTE, ENGINE_COUNT, LOAD, STORE, VECTOR
from gossamer.sim.kernels import kernel
from gossamer.sim.offchip import (
    BEAT_BYTES,
    BEAT_TICKS,
    BURST_BYTES,
    CHANNELS,
    LATENCY,
    OUTSTANDING,
    PORT_ROWS,
    PORTS,
    TICK_BITS,
    WRITE,
    beats_between,
    burst_end,
    ceil_cycles,
    pieces_between,
    read_burst,
    write_burst,
)

NONE: int = np.int64(-1)  # type: ignore[assignment]
"""No job. Not a Python int, see `gossamer.sim.engine.UNKNOWN`."""
PASSES = 4
"""Walks over the jobs; contention settles in two or three."""

WALKED_BURSTS = 256
"""Bursts of a transfer that are followed one by one; longer ones go on at the rate of the second half of these."""

# Columns of `jobs` int64 [n, JOB_COLUMNS]. CHANNEL: ticks of channel time; DEPENDS: first of DEPENDENCIES job numbers.
# PORT: pieces on port 0.
JOB_ENGINE, ALONE, CHANNEL, PORT, DEPENDS = range(5)
DEPENDENCIES = 4
# Entries of `move`: the off-chip runs of a transfer after joining, and what they are on chip.
IS_STORE, ADDRESS, LINES, LINE_PITCH, RUNS, RUN_PITCH, RUN_BYTES, SEGMENT, FILLS, MOVE_COLUMNS = range(10)
JOB_COLUMNS = DEPENDS + DEPENDENCIES


@kernel
def transfer_alone(memory: NDArray[np.int64], move: NDArray[np.int64]) -> tuple[int, int, int]:
    """Return (cycles, channel ticks, pieces on port 0) of a LOAD or STORE, int64 [MOVE_COLUMNS], alone."""
    store, fill_beats, segment_bytes = move[IS_STORE] != 0, move[FILLS], move[SEGMENT]
    lines, runs, run_bytes = move[LINES], move[RUNS], move[RUN_BYTES]
    setup = STORE_SETUP_CYCLES if store else LOAD_SETUP_CYCLES
    if lines * runs * run_bytes == 0:
        return setup + fill_beats, 0, 0
    ports, outstanding = memory[PORTS], memory[OUTSTANDING]
    channel_free = np.zeros(memory[CHANNELS], dtype=np.int64)
    port_free = np.zeros((PORT_ROWS, ports), dtype=np.int64)
    ring = np.zeros((ports, outstanding), dtype=np.int64)
    filled, latest, at = setup + fill_beats, setup + fill_beats, setup - 1
    served, moved, beats_moved, half, half_moved, port_pieces = 0, 0, 0, 0, 0, 0
    total = lines * runs * run_bytes
    for line in range(lines):
        for run in range(runs):
            base = move[ADDRESS] + line * move[LINE_PITCH] + run * move[RUN_PITCH]
            first = base
            while first < base + run_bytes:
                last = burst_end(first, base + run_bytes, memory[BURST_BYTES])
                beats = beats_between(first, last, memory[BEAT_BYTES])
                port, slot = served % ports, (served // ports) % outstanding
                pieces = pieces_between(base, first, last, segment_bytes, memory[BEAT_BYTES])
                at = max(at + 1, ring[port, slot])
                if store:
                    at = max(at, port_free[WRITE, port])
                    done = write_burst(memory, channel_free, port_free, port, at, first, beats, pieces)
                else:
                    done = read_burst(memory, channel_free, port_free, port, at, first, beats, pieces, filled)
                ring[port, slot] = done
                port_pieces += pieces if port == 0 else 0
                latest = max(latest, done)
                served += 1
                moved += last - first
                beats_moved += beats
                first = last
                if served == WALKED_BURSTS // 2:
                    half, half_moved = latest, moved
                if served == WALKED_BURSTS:
                    rest = (latest - half) * (total - moved) / (moved - half_moved)
                    ticks = beats_moved * memory[BEAT_TICKS] * (total / moved)
                    return latest + int(rest), int(ticks), int(port_pieces * (total / moved))
    return latest, beats_moved * memory[BEAT_TICKS], port_pieces


@kernel
def _fetch_arrival(burst: int, when: int, stream_bytes: int, memory: NDArray[np.int64], port: NDArray[np.int64]) -> int:
    """Return when instruction burst `burst`, requested at `when`, is there; `port` is updated.

    port int64 [3]: cycle port 0 is free, last arrival of instructions, first request of the latest LOAD. A burst behind
    a LOAD waits for what that has requested, at most its window; what it takes delays the LOAD's successor.
    """
    fetch = min(memory[BURST_BYTES], FETCH_BURST_BYTES)
    size = min(fetch, stream_bytes - burst * fetch)
    beats = beats_between(0, size, memory[BEAT_BYTES])
    served = max(beats, ceil_cycles(beats * memory[BEAT_TICKS]))
    first = when + memory[LATENCY]
    if when < port[2]:
        done = max(first, port[1]) + served
    else:
        window = memory[OUTSTANDING] * (memory[BURST_BYTES] // memory[BEAT_BYTES])
        done = max(max(first, port[1]), min(port[0], when + window)) + served
        port[0] = max(port[0], first) + beats
    port[1] = done
    return int(done)


@kernel
def _walk(
    jobs: NDArray[np.int64],
    cycles: NDArray[np.int64],
    memory: NDArray[np.int64],
    queue_depth: int,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> int:
    """Fill start and end of every job; return the cycle the last one ends."""
    fetch = min(memory[BURST_BYTES], FETCH_BURST_BYTES)
    stream_bytes = (jobs.shape[0] + 1) * INSTRUCTION_BYTES
    recent = np.full((ENGINE_COUNT, queue_depth), NONE, dtype=np.int64)
    counts, free = np.zeros(ENGINE_COUNT, dtype=np.int64), np.zeros(ENGINE_COUNT, dtype=np.int64)
    dispatches, port = np.zeros(jobs.shape[0], dtype=np.int64), np.zeros(3, dtype=np.int64)
    arrivals = np.zeros((stream_bytes + fetch - 1) // fetch, dtype=np.int64)
    dispatched, total, fetched, requested = -1, 0, 0, -1
    for job in range(jobs.shape[0]):
        engine = jobs[job, JOB_ENGINE]
        while fetched < arrivals.size:
            over = max(0, (fetched + 1) * fetch - FETCH_BUFFER_BYTES)
            needed = (over + INSTRUCTION_BYTES - 1) // INSTRUCTION_BYTES
            if needed > job:
                break
            requested += 1
            if needed > 0:
                requested = max(requested, dispatches[needed - 1] + 1)
            arrivals[fetched] = _fetch_arrival(fetched, requested, stream_bytes, memory, port)
            fetched += 1
        dispatched = max(dispatched + 1, arrivals[((job + 1) * INSTRUCTION_BYTES - 1) // fetch])
        before = recent[engine, counts[engine] % queue_depth]
        if before != NONE:
            dispatched = max(dispatched, starts[before] + 1)
        dispatches[job] = dispatched
        start = max(dispatched + 1, free[engine])
        for number in range(DEPENDENCIES):
            other = jobs[job, DEPENDS + number]
            if other != NONE:
                start = max(start, ends[other])
        starts[job], ends[job] = start, start + cycles[job]
        if engine == LOAD and jobs[job, CHANNEL] > 0:
            port[2] = start + LOAD_SETUP_CYCLES
            ends[job] += max(0, port[0] - port[2] - memory[LATENCY])
            idle = max(0, cycles[job] - LOAD_SETUP_CYCLES - memory[LATENCY] - jobs[job, PORT])
            port[0] = max(port[0], ends[job] - idle)
        free[engine] = ends[job]
        recent[engine, counts[engine] % queue_depth] = job
        counts[engine] += 1
        total = max(total, ends[job])
    return total


@kernel
def _contend(
    jobs: NDArray[np.int64],
    memory: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    loads: NDArray[np.int64],
    stores: NDArray[np.int64],
    cycles: NDArray[np.int64],
) -> None:
    """Set `cycles` of every LOAD and STORE: alone, plus what overlapping transfers of the other engine cost it."""
    capacity = memory[CHANNELS] << TICK_BITS
    for job in loads:
        cycles[job] = jobs[job, ALONE]
    for job in stores:
        cycles[job] = jobs[job, ALONE]
    first = 0
    for load in loads:
        load_from, load_to = starts[load] + LOAD_SETUP_CYCLES, ends[load] - memory[LATENCY]
        load_share = _share(jobs, load, memory, LOAD_SETUP_CYCLES, capacity)
        while first < stores.size and ends[stores[first]] <= load_from:
            first += 1
        for number in range(first, stores.size):
            store = stores[number]
            if starts[store] >= load_to:
                break
            store_from, store_to = starts[store] + STORE_SETUP_CYCLES, ends[store] - memory[LATENCY]
            overlap = min(load_to, store_to) - max(load_from, store_from)
            demand = load_share + _share(jobs, store, memory, STORE_SETUP_CYCLES, capacity)
            if overlap > 0 and demand > 1.0:
                lost = int(overlap * (1.0 - 1.0 / demand))
                cycles[load] += min(lost, jobs[store, CHANNEL] // capacity)
                cycles[store] += min(lost, jobs[load, CHANNEL] // capacity)


@kernel
def _share(jobs: NDArray[np.int64], job: int, memory: NDArray[np.int64], setup: int, capacity: int) -> float:
    """Return the share of all channels' time a transfer takes while it requests."""
    active = max(1, jobs[job, ALONE] - setup - memory[LATENCY])
    return float(jobs[job, CHANNEL] / (capacity * active))


@kernel
def pipeline_cycles(
    jobs: NDArray[np.int64], memory: NDArray[np.int64], queue_depth: int, busy: NDArray[np.int64]
) -> int:
    """Return the cycles of jobs int64 [n, JOB_COLUMNS] in program order, END included; add to busy int64 [4]."""
    count = jobs.shape[0]
    starts, ends = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    cycles = jobs[:, ALONE].copy()
    loads = np.flatnonzero((jobs[:, JOB_ENGINE] == LOAD) & (jobs[:, CHANNEL] > 0))
    stores = np.flatnonzero((jobs[:, JOB_ENGINE] == STORE) & (jobs[:, CHANNEL] > 0))
    total = _walk(jobs, cycles, memory, queue_depth, starts, ends)
    for _ in range(PASSES - 1):
        _contend(jobs, memory, starts, ends, loads, stores, cycles)
        total = _walk(jobs, cycles, memory, queue_depth, starts, ends)
    for job in range(count):
        busy[jobs[job, JOB_ENGINE]] += ends[job] - starts[job]
    return int(total) + 1


ENGINE_NUMBERS = (LOAD, COMPUTE, VECTOR, STORE)
"""Order of the engines in `busy`."""
