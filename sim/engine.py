"""Run a decoded Program on the engines: the event kernel of the timing simulator.

FETCH reads the instruction stream in bursts and dispatches one instruction per cycle, in order, into the queue of its
engine; a full queue blocks those behind. Each engine starts the head of its queue when the one before has completed,
the instruction has been in the queue for a cycle, and a token of every engine in `wait` is there. COMPUTE and VECTOR
then take their closed form; LOAD and STORE issue bursts (`gossamer.sim.offchip`).

Only bursts compete (for channels and ports), so only they are ordered in time. Everything else is a maximum of times
already known, and the kernel runs ahead with it; then it serves the earliest possible burst of FETCH, LOAD and STORE
(in this order in the same cycle; a port carries one read request per cycle). No unknown time can be earlier: whatever
is still blocked waits for a completion, which lies after the earliest request. Ours; checked against a cycle-stepped
twin by tests/unit/test_timing_twin.py.

All times are int64 cycles from the start command; UNKNOWN is -1.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.isa import INSTRUCTION_BYTES
from gossamer.arch.timing import FETCH_BUFFER_BYTES, FETCH_BURST_BYTES, LOAD_SETUP_CYCLES, STORE_SETUP_CYCLES
from gossamer.sim.kernels import kernel
from gossamer.sim.offchip import (
    BEAT_BYTES,
    BURST_BYTES,
    CHANNELS,
    OUTSTANDING,
    PORT_ROWS,
    PORTS,
    REQUEST,
    WRITE,
    beats_between,
    burst_end,
    pieces_between,
    read_burst,
    write_burst,
)

UNKNOWN: int = np.int64(-1)  # type: ignore[assignment]
"""Not a Python int: numba would compile a function once more for every literal it is called with."""
ZERO: int = np.int64(0)  # type: ignore[assignment]
LOAD, COMPUTE, VECTOR, STORE, END = range(5)
ENGINE_COUNT = 4
FETCH_AGENT, LOAD_AGENT, STORE_AGENT, AGENTS = 0, 1, 2, 3
FINISHED, DEADLOCK = 0, 1

# Columns of `work` [n, WORK_COLUMNS]: what the kernel needs of one instruction.
(ENGINE, WAIT, RELEASE, DURATION, ADDRESS, LINES, LINE_PITCH, RUNS, RUN_PITCH, RUN_BYTES, SEGMENT_BYTES, FILL_BEATS,
 SCATTER, WORK_COLUMNS) = range(14)  # fmt: skip
# Columns of `times` [n, TIME_COLUMNS]: dispatched, ready (head of its queue), started, completed.
DISPATCHED, READY, STARTED, COMPLETED, TIME_COLUMNS = range(5)
# Columns of `traffic` [n, TRAFFIC_COLUMNS]: what LOAD and STORE moved.
BURSTS, BEATS, PIECES, BYTES, TRAFFIC_COLUMNS = range(5)
# Columns of `agents` [AGENTS, AGENT_COLUMNS]: instruction being served, position in it, last request, end of the fill,
# latest completion, bursts served.
CURRENT, LINE, RUN, OFFSET, REQUESTED, FILLED, LATEST, SERVED, AGENT_COLUMNS = range(9)
# Entries of `control`: next instruction to dispatch, bursts fetched, cycle after END.
NEXT, FETCHED, TOTAL, CONTROL_COLUMNS = range(4)


@kernel
def _slot_time(times: NDArray[np.int64], members: NDArray[np.int64], count: int, queue_depth: int) -> int:
    """Return the first cycle the queue has room for its next instruction, or UNKNOWN."""
    if count < queue_depth:
        return 0
    started = times[members[count - queue_depth], STARTED]
    return UNKNOWN if started == UNKNOWN else started + 1


@kernel
def _dispatch(
    work: NDArray[np.int64],
    times: NDArray[np.int64],
    control: NDArray[np.int64],
    fetch_times: NDArray[np.int64],
    fetch_bytes: int,
    order: NDArray[np.int64],
    dispatched: NDArray[np.int64],
    queue_depth: int,
) -> bool:
    """Dispatch the next instruction if its time is known; return whether it was."""
    at = control[NEXT]
    if at >= work.shape[0]:
        return False
    burst = ((at + 1) * INSTRUCTION_BYTES - 1) // fetch_bytes
    if burst >= control[FETCHED]:
        return False
    earliest = fetch_times[burst]
    if at > 0:
        earliest = max(earliest, times[at - 1, DISPATCHED] + 1)
    engine = work[at, ENGINE]
    if engine == END:
        for other in range(ENGINE_COUNT):
            if dispatched[other] > 0:
                completed = times[order[other, dispatched[other] - 1], COMPLETED]
                if completed == UNKNOWN:
                    return False
                earliest = max(earliest, completed)
        times[at] = earliest
        times[at, COMPLETED] = earliest + 1
        control[TOTAL] = earliest + 1
        control[NEXT] = at + 1
        return True
    slot = _slot_time(times, order[engine], dispatched[engine], queue_depth)
    if slot == UNKNOWN:
        return False
    times[at, DISPATCHED] = max(earliest, slot)
    dispatched[engine] += 1
    control[NEXT] = at + 1
    return True


@kernel
def _start(
    engine: int,
    work: NDArray[np.int64],
    times: NDArray[np.int64],
    order: NDArray[np.int64],
    dispatched: NDArray[np.int64],
    heads: NDArray[np.int64],
    tokens: NDArray[np.int64],
    token_base: NDArray[np.int64],
    given: NDArray[np.int64],
    taken: NDArray[np.int64],
    token_waits: NDArray[np.int64],
) -> int:
    """Start the head of an engine's queue if its time is known; return its instruction, or UNKNOWN.

    Cycles a ready instruction waits are charged to the first engine, in the order of ENGINES, whose token is missing.
    """
    head = heads[engine]
    if head >= dispatched[engine]:
        return UNKNOWN
    at = order[engine, head]
    ready = times[at, DISPATCHED] + 1
    if head > 0:
        before = times[order[engine, head - 1], COMPLETED]
        if before == UNKNOWN:
            return UNKNOWN
        ready = max(ready, before)
    for giver in range(ENGINE_COUNT):
        pair = giver * ENGINE_COUNT + engine
        if (work[at, WAIT] >> giver) & 1 and taken[pair] >= given[pair]:
            return UNKNOWN
    start = ready
    for giver in range(ENGINE_COUNT):
        if (work[at, WAIT] >> giver) & 1:
            pair = giver * ENGINE_COUNT + engine
            arrival = tokens[token_base[pair] + taken[pair]]
            taken[pair] += 1
            if arrival > start:
                token_waits[at, giver] = arrival - start
                start = arrival
    times[at, READY] = ready
    times[at, STARTED] = start
    heads[engine] = head + 1
    return int(at)


@kernel
def _complete(
    at: int,
    when: int,
    work: NDArray[np.int64],
    times: NDArray[np.int64],
    tokens: NDArray[np.int64],
    token_base: NDArray[np.int64],
    given: NDArray[np.int64],
) -> None:
    """Complete an instruction and give its tokens."""
    times[at, COMPLETED] = when
    for taker in range(ENGINE_COUNT):
        if (work[at, RELEASE] >> taker) & 1:
            pair = work[at, ENGINE] * ENGINE_COUNT + taker
            tokens[token_base[pair] + given[pair]] = when
            given[pair] += 1


@kernel
def _begin_transfer(
    at: int,
    agent: int,
    work: NDArray[np.int64],
    times: NDArray[np.int64],
    agents: NDArray[np.int64],
) -> int:
    """Set up the first burst of a LOAD or STORE; return its completion if it has none, else UNKNOWN."""
    setup = LOAD_SETUP_CYCLES if agent == LOAD_AGENT else STORE_SETUP_CYCLES
    begin = times[at, STARTED] + setup
    filled = begin + work[at, FILL_BEATS]
    if work[at, LINES] * work[at, RUNS] * work[at, RUN_BYTES] == 0:
        return int(filled)
    agents[agent, CURRENT] = at
    agents[agent, LINE] = agents[agent, RUN] = agents[agent, OFFSET] = 0
    agents[agent, REQUESTED] = begin - 1
    agents[agent, FILLED] = agents[agent, LATEST] = filled
    return UNKNOWN


@kernel
def _request_time(
    agent: int,
    control: NDArray[np.int64],
    times: NDArray[np.int64],
    work: NDArray[np.int64],
    agents: NDArray[np.int64],
    rings: NDArray[np.int64],
    memory: NDArray[np.int64],
    port_free: NDArray[np.int64],
    fetch_bytes: int,
    fetch_bursts: int,
) -> int:
    """Return the cycle of an agent's next request, or UNKNOWN if it has none or waits for dispatch."""
    earliest = agents[agent, REQUESTED] + 1
    if agent == FETCH_AGENT:
        if control[FETCHED] >= fetch_bursts:
            return UNKNOWN
        over = (control[FETCHED] + 1) * fetch_bytes - FETCH_BUFFER_BYTES
        if over > 0:
            needed = min((over + INSTRUCTION_BYTES - 1) // INSTRUCTION_BYTES, work.shape[0])
            if needed > control[NEXT]:
                return UNKNOWN
            earliest = max(earliest, times[needed - 1, DISPATCHED] + 1)
        return int(max(earliest, port_free[REQUEST, 0]))
    at = agents[agent, CURRENT]
    if at == UNKNOWN:
        return UNKNOWN
    served = agents[agent, SERVED]
    port = 0 if work[at, SCATTER] else served % memory[PORTS]
    slot = (served // memory[PORTS]) % memory[OUTSTANDING]
    if work[at, SCATTER]:
        slot = served % memory[OUTSTANDING]
    earliest = max(earliest, rings[agent, port, slot])
    return int(max(earliest, port_free[WRITE if agent == STORE_AGENT else REQUEST, port]))


@kernel
def _fetch_burst(
    when: int,
    control: NDArray[np.int64],
    agents: NDArray[np.int64],
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    fetch_times: NDArray[np.int64],
    fetch_bytes: int,
    stream_bytes: int,
) -> None:
    """Serve the next burst of the instruction stream, through port 0."""
    burst = control[FETCHED]
    first = burst * fetch_bytes
    last = min(stream_bytes, first + fetch_bytes)
    beats = beats_between(first, last, memory[BEAT_BYTES])
    fetch_times[burst] = read_burst(memory, channel_free, port_free, ZERO, when, first, beats, beats, ZERO)
    port_free[REQUEST, 0] = when + 1
    agents[FETCH_AGENT, REQUESTED] = when
    control[FETCHED] = burst + 1


@kernel
def _transfer_burst(
    agent: int,
    when: int,
    work: NDArray[np.int64],
    agents: NDArray[np.int64],
    rings: NDArray[np.int64],
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    traffic: NDArray[np.int64],
) -> int:
    """Serve one burst of a LOAD or STORE; return the completion of the instruction if it was the last, else UNKNOWN."""
    state = agents[agent]
    at = state[CURRENT]
    base = work[at, ADDRESS] + state[LINE] * work[at, LINE_PITCH] + state[RUN] * work[at, RUN_PITCH]
    first = base + state[OFFSET]
    last = burst_end(first, base + work[at, RUN_BYTES], memory[BURST_BYTES])
    beats = beats_between(first, last, memory[BEAT_BYTES])
    served, port = state[SERVED], ZERO
    slot = served % memory[OUTSTANDING]
    pieces = last - first
    if not work[at, SCATTER]:
        port, slot = served % memory[PORTS], (served // memory[PORTS]) % memory[OUTSTANDING]
        pieces = pieces_between(base, first, last, work[at, SEGMENT_BYTES], memory[BEAT_BYTES])
    if agent == LOAD_AGENT:
        port_free[REQUEST, port] = when + 1
        done = read_burst(memory, channel_free, port_free, port, when, first, beats, pieces, state[FILLED])
    else:
        done = write_burst(memory, channel_free, port_free, port, when, first, beats, pieces)
    rings[agent, port, slot] = done
    traffic[at, BURSTS] += 1
    traffic[at, BEATS] += beats
    traffic[at, PIECES] += pieces
    traffic[at, BYTES] += last - first
    state[SERVED] = served + 1
    state[REQUESTED] = when
    state[LATEST] = max(state[LATEST], done)
    state[OFFSET] = last - base
    if last < base + work[at, RUN_BYTES]:
        return UNKNOWN
    state[OFFSET] = 0
    state[RUN] += 1
    if state[RUN] < work[at, RUNS]:
        return UNKNOWN
    state[RUN] = 0
    state[LINE] += 1
    if state[LINE] < work[at, LINES]:
        return UNKNOWN
    state[CURRENT] = UNKNOWN
    state[SERVED] = 0
    return int(state[LATEST])


@kernel
def _run_ahead(
    work: NDArray[np.int64],
    times: NDArray[np.int64],
    control: NDArray[np.int64],
    fetch_times: NDArray[np.int64],
    fetch_bytes: int,
    queue_depth: int,
    order: NDArray[np.int64],
    counters: NDArray[np.int64],
    tokens: NDArray[np.int64],
    token_base: NDArray[np.int64],
    token_counts: NDArray[np.int64],
    token_waits: NDArray[np.int64],
    agents: NDArray[np.int64],
) -> None:
    """Dispatch, start and complete everything whose time is known."""
    dispatched, heads = counters[0], counters[1]
    given, taken = token_counts[0], token_counts[1]
    progress = True
    while progress:
        progress = False
        while _dispatch(work, times, control, fetch_times, fetch_bytes, order, dispatched, queue_depth):
            progress = True
        for engine in range(ENGINE_COUNT):
            at = 0
            while at != UNKNOWN:
                at = _start(
                    engine, work, times, order, dispatched, heads, tokens, token_base, given, taken, token_waits
                )
                if at == UNKNOWN:
                    break
                progress = True
                when = times[at, STARTED] + work[at, DURATION]
                if engine == LOAD:
                    when = _begin_transfer(at, LOAD_AGENT, work, times, agents)
                elif engine == STORE:
                    when = _begin_transfer(at, STORE_AGENT, work, times, agents)
                if when != UNKNOWN:
                    _complete(at, when, work, times, tokens, token_base, given)


@kernel
def run_engines(
    work: NDArray[np.int64],
    memory: NDArray[np.int64],
    queue_depth: int,
    order: NDArray[np.int64],
    token_base: NDArray[np.int64],
    times: NDArray[np.int64],
    token_waits: NDArray[np.int64],
    traffic: NDArray[np.int64],
    control: NDArray[np.int64],
) -> int:
    """Run a Program that ends in END; return FINISHED or DEADLOCK.

    work int64 [n, WORK_COLUMNS]; memory int64 [PARAMETERS] of `OffChipTiming`; order int64 [4, n]: the instructions of
    each engine; token_base int64 [17]: where each (giver, taker) pair's tokens start. Filled: times int64
    [n, TIME_COLUMNS] (given as UNKNOWN), token_waits int64 [n, 4], traffic int64 [n, TRAFFIC_COLUMNS], control int64
    [CONTROL_COLUMNS]: instructions dispatched, bursts fetched, total cycles (all given as 0).
    """
    count = work.shape[0]
    fetch_bytes = min(memory[BURST_BYTES], FETCH_BURST_BYTES)
    stream_bytes = count * INSTRUCTION_BYTES
    fetch_bursts = (stream_bytes + fetch_bytes - 1) // fetch_bytes
    fetch_times = np.full(fetch_bursts, UNKNOWN, dtype=np.int64)
    counters = np.zeros((2, ENGINE_COUNT), dtype=np.int64)
    tokens = np.zeros(max(1, token_base[-1]), dtype=np.int64)
    token_counts = np.zeros((2, ENGINE_COUNT * ENGINE_COUNT), dtype=np.int64)
    agents = np.zeros((AGENTS, AGENT_COLUMNS), dtype=np.int64)
    agents[:, CURRENT] = UNKNOWN
    agents[:, REQUESTED] = UNKNOWN
    rings = np.zeros((AGENTS, memory[PORTS], memory[OUTSTANDING]), dtype=np.int64)
    channel_free = np.zeros(memory[CHANNELS], dtype=np.int64)
    port_free = np.zeros((PORT_ROWS, memory[PORTS]), dtype=np.int64)
    while True:
        _run_ahead(work, times, control, fetch_times, fetch_bytes, queue_depth, order, counters, tokens, token_base,
                   token_counts, token_waits, agents)  # fmt: skip
        if control[NEXT] >= count:
            return FINISHED
        chosen, earliest = UNKNOWN, ZERO
        for agent in range(AGENTS):
            when = _request_time(agent, control, times, work, agents, rings, memory, port_free, fetch_bytes,
                                 fetch_bursts)  # fmt: skip
            if when != UNKNOWN and (chosen == UNKNOWN or when < earliest):
                chosen, earliest = agent, when
        if chosen == UNKNOWN:
            return DEADLOCK
        if chosen == FETCH_AGENT:
            _fetch_burst(earliest, control, agents, memory, channel_free, port_free, fetch_times, fetch_bytes,
                         stream_bytes)  # fmt: skip
            continue
        at = agents[chosen, CURRENT]
        when = _transfer_burst(chosen, earliest, work, agents, rings, memory, channel_free, port_free, traffic)
        if when != UNKNOWN:
            _complete(at, when, work, times, tokens, token_base, token_counts[0])
