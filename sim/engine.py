"""Run a decoded Program on the engines: the event kernel of the timing simulator.

FETCH reads the instruction stream in bursts and dispatches one instruction per cycle, in order, into the queue of its
engine; a full queue blocks those behind. Each engine starts the head of its queue COMPLETION_CYCLES after the one
before has completed, if the instruction was dispatched START_CYCLES ago and a token of every engine in `wait` is there,
which it is COMPLETION_CYCLES after the completion that gives it. COMPUTE and VECTOR then take their closed form; LOAD
and STORE issue bursts (`gossamer.sim.offchip`).

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
from gossamer.arch.timing import (
    COMPLETION_CYCLES,
    DISPATCH_CYCLES,
    END_CYCLES,
    FETCH_BUFFER_BYTES,
    FETCH_BURST_BYTES,
    FETCH_REQUEST_CYCLES,
    FETCH_ROOM_CYCLES,
    LOAD_MOVE_CYCLES,
    LOAD_SETUP_CYCLES,
    LOAD_WRITE_CYCLES,
    START_CYCLES,
    STORE_SETUP_CYCLES,
)
from gossamer.sim.kernels import kernel
from gossamer.sim.offchip import (
    BEAT_BYTES,
    BEAT_TICKS,
    BURST_BYTES,
    CHANNELS,
    OUTSTANDING,
    PORT_ROWS,
    PORTS,
    REQUEST,
    ROW_BYTES,
    STREAM,
    TICKS_PER_CYCLE,
    WRITE,
    ZERO,
    beats_between,
    burst_end,
    gather_burst,
    pieces_between,
    read_beats,
    read_burst,
    spread_burst,
    write_burst,
)

UNKNOWN: int = np.int64(-1)  # type: ignore[assignment]
"""Not a Python int, for the reason of `ZERO`."""
LOAD, COMPUTE, VECTOR, STORE, END = range(5)
ENGINE_COUNT = 4
FETCH_AGENT, LOAD_AGENT, STORE_AGENT, AGENTS = 0, 1, 2, 3
FINISHED, DEADLOCK = 0, 1
STUCK: int = np.int64(-1)  # type: ignore[assignment]
INSTRUCTIONS: int = np.int64(-2)  # type: ignore[assignment]
"""What `serve_bursts` returns besides instructions."""
NEVER: int = np.int64(2**62)  # type: ignore[assignment]

# Columns of `work` [n, WORK_COLUMNS]: what the kernel needs of one instruction.
(ENGINE, WAIT, RELEASE, DURATION, ADDRESS, LINES, LINE_PITCH, RUNS, RUN_PITCH, RUN_BYTES, SEGMENT_BYTES, FILL_BEATS,
 SCATTER, WORK_COLUMNS) = range(14)  # fmt: skip
# Columns of `times` [n, TIME_COLUMNS]: dispatched, ready (head of its queue), started, completed.
DISPATCHED, READY, STARTED, COMPLETED, TIME_COLUMNS = range(5)
# Columns of `traffic` [n, TRAFFIC_COLUMNS]: what LOAD and STORE moved.
BURSTS, BEATS, PIECES, BYTES, TRAFFIC_COLUMNS = range(5)
# Columns of `agents` [AGENTS, AGENT_COLUMNS]: instruction being served, position in it, last request (of a STORE
# through several ports: its last piece), end of the fill, latest completion, bursts served.
CURRENT, LINE, RUN, OFFSET, REQUESTED, FILLED, LATEST, SERVED, AGENT_COLUMNS = range(9)
# Entries of `control`: next instruction to dispatch, bursts fetched, cycle after END.
NEXT, FETCHED, TOTAL, CONTROL_COLUMNS = range(4)


@kernel(allocates=False)
def _slot_time(times: NDArray[np.int64], members: NDArray[np.int64], count: int, queue_depth: int) -> int:
    """Return the first cycle the queue has room for its next instruction, or UNKNOWN."""
    if count < queue_depth:
        return 0
    started = times[members[count - queue_depth], STARTED]
    return UNKNOWN if started == UNKNOWN else started + 1


@kernel(allocates=False)
def dispatch_next(
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
    earliest = fetch_times[burst] + DISPATCH_CYCLES
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
        earliest += END_CYCLES
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


@kernel(allocates=False)
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
    ready = times[at, DISPATCHED] + START_CYCLES
    if head > 0:
        before = times[order[engine, head - 1], COMPLETED]
        if before == UNKNOWN:
            return UNKNOWN
        ready = max(ready, before + COMPLETION_CYCLES)
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


@kernel(allocates=False)
def give_tokens(
    at: int,
    work: NDArray[np.int64],
    times: NDArray[np.int64],
    tokens: NDArray[np.int64],
    token_base: NDArray[np.int64],
    given: NDArray[np.int64],
) -> None:
    """Give the tokens of an instruction whose completion is known."""
    for taker in range(ENGINE_COUNT):
        if (work[at, RELEASE] >> taker) & 1:
            pair = work[at, ENGINE] * ENGINE_COUNT + taker
            tokens[token_base[pair] + given[pair]] = times[at, COMPLETED] + COMPLETION_CYCLES
            given[pair] += 1


@kernel(allocates=False)
def perform(at: int, work: NDArray[np.int64], times: NDArray[np.int64], agents: NDArray[np.int64]) -> bool:
    """Complete a started instruction, or set up the bursts of a LOAD or STORE; return whether it completed."""
    engine = work[at, ENGINE]
    if engine not in (LOAD, STORE):
        times[at, COMPLETED] = times[at, STARTED] + work[at, DURATION]
        return True
    agent = LOAD_AGENT if engine == LOAD else STORE_AGENT
    begin = times[at, STARTED] + (LOAD_SETUP_CYCLES if engine == LOAD else STORE_SETUP_CYCLES)
    filled = begin + work[at, FILL_BEATS] + (LOAD_MOVE_CYCLES if engine == LOAD else 0)
    if work[at, LINES] * work[at, RUNS] * work[at, RUN_BYTES] == 0:
        times[at, COMPLETED] = filled + (LOAD_WRITE_CYCLES if engine == LOAD else 0)
        return True
    agents[agent, CURRENT] = at
    agents[agent, LINE] = agents[agent, RUN] = agents[agent, OFFSET] = 0
    agents[agent, REQUESTED] = begin - 1
    agents[agent, FILLED] = agents[agent, LATEST] = filled
    return False


@kernel(allocates=False)
def request_time(
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
    if agent == FETCH_AGENT:
        earliest = agents[agent, REQUESTED] + FETCH_REQUEST_CYCLES
        if control[FETCHED] >= fetch_bursts:
            return UNKNOWN
        over = (control[FETCHED] + 1) * fetch_bytes - FETCH_BUFFER_BYTES
        if over > 0:
            needed = min((over + INSTRUCTION_BYTES - 1) // INSTRUCTION_BYTES, work.shape[0])
            if needed > control[NEXT]:
                return UNKNOWN
            earliest = max(earliest, times[needed - 1, DISPATCHED] + FETCH_ROOM_CYCLES)
        return int(max(earliest, port_free[REQUEST, 0]))
    at = agents[agent, CURRENT]
    if at == UNKNOWN:
        return UNKNOWN
    served = agents[agent, SERVED]
    port, slot = served % memory[PORTS], served // memory[PORTS] % memory[OUTSTANDING]
    earliest = max(agents[agent, REQUESTED] + 1, rings[agent, port, slot])
    return int(max(earliest, port_free[WRITE if agent == STORE_AGENT else REQUEST, port]))


@kernel(allocates=False)
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
    first = memory[STREAM] + burst * fetch_bytes
    last = min(memory[STREAM] + stream_bytes, first + fetch_bytes)
    beats = beats_between(first, last, memory[BEAT_BYTES])
    fetch_times[burst] = read_burst(memory, channel_free, port_free, ZERO, when, first, beats, beats, ZERO)
    port_free[REQUEST, 0] = when + 1
    agents[FETCH_AGENT, REQUESTED] = when
    control[FETCHED] = burst + 1


@kernel(allocates=False)
def _transfer_bursts(
    agent: int,
    when: int,
    before: int,
    work: NDArray[np.int64],
    agents: NDArray[np.int64],
    rings: NDArray[np.int64],
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    traffic: NDArray[np.int64],
) -> bool:
    """Serve the bursts of a LOAD or STORE that are requested before cycle `before`, at least the one of cycle `when`.

    Return whether its last burst was among them.
    """
    at = agents[agent, CURRENT]
    scatter, ports, row_bytes = work[at, SCATTER] != 0, memory[PORTS], memory[ROW_BYTES]
    run_bytes, segment_bytes = work[at, RUN_BYTES], work[at, SEGMENT_BYTES]
    line, run, served = agents[agent, LINE], agents[agent, RUN], agents[agent, SERVED]
    filled, latest = agents[agent, FILLED], agents[agent, LATEST]
    base = work[at, ADDRESS] + line * work[at, LINE_PITCH] + run * work[at, RUN_PITCH]
    first = base + agents[agent, OFFSET]
    port, slot = served % ports, served // ports % memory[OUTSTANDING]
    full_rows = memory[BURST_BYTES] // row_bytes
    bursts, beats_moved, pieces_moved, bytes_moved = 0, 0, 0, 0
    finished = False
    while True:
        last = burst_end(first, base + run_bytes, memory[BURST_BYTES])
        rows = full_rows
        if last - first < memory[BURST_BYTES]:
            rows = beats_between(first, last, row_bytes)
        beats = rows * ports
        pieces = last - first if scatter else rows
        if segment_bytes < run_bytes and not scatter:
            pieces = pieces_between(base, first, last, segment_bytes, row_bytes)
        shown = when
        if agent == LOAD_AGENT:
            port_free[REQUEST, port] = when + 1
            if ports == 1 and pieces > beats and memory[BEAT_TICKS] > TICKS_PER_CYCLE:
                contiguous = 1 if scatter else segment_bytes
                done = read_beats(
                    memory, channel_free, port_free, port, when, base, first, last, contiguous, filled
                )  # fmt: skip
            elif ports == 1:
                done = read_burst(memory, channel_free, port_free, port, when, first, beats, pieces, filled)
            else:
                done = gather_burst(memory, channel_free, port_free, port, when, first, beats, pieces, filled)
        elif ports == 1:
            done = write_burst(memory, channel_free, port_free, port, when, first, beats, pieces)
        else:
            done = spread_burst(memory, channel_free, port_free, port, when, first, beats, pieces)
            shown += pieces - 1
        rings[agent, port, slot] = done
        latest = max(latest, done)
        bursts, beats_moved = bursts + 1, beats_moved + beats
        pieces_moved, bytes_moved = pieces_moved + pieces, bytes_moved + last - first
        port += 1
        if port == ports:
            port, slot = 0, slot + 1
            if slot == memory[OUTSTANDING]:
                slot = 0
        first = last
        if first == base + run_bytes:
            run += 1
            if run == work[at, RUNS]:
                run, line = 0, line + 1
                finished = line == work[at, LINES]
            base = work[at, ADDRESS] + line * work[at, LINE_PITCH] + run * work[at, RUN_PITCH]
            first = base
        if finished:
            break
        earliest = max(shown + 1, rings[agent, port, slot], port_free[WRITE if agent == STORE_AGENT else REQUEST, port])
        if earliest >= before:
            break
        when = earliest
    agents[agent, LINE], agents[agent, RUN], agents[agent, OFFSET] = line, run, first - base
    agents[agent, REQUESTED], agents[agent, LATEST], agents[agent, SERVED] = shown, latest, served + bursts
    traffic[at, BURSTS] += bursts
    traffic[at, BEATS] += beats_moved
    traffic[at, PIECES] += pieces_moved
    traffic[at, BYTES] += bytes_moved
    return finished


@kernel(allocates=False)
def serve_bursts(
    work: NDArray[np.int64],
    times: NDArray[np.int64],
    control: NDArray[np.int64],
    fetch_times: NDArray[np.int64],
    agents: NDArray[np.int64],
    rings: NDArray[np.int64],
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    traffic: NDArray[np.int64],
) -> int:
    """Serve bursts in order of time until one makes other times known.

    Return the LOAD or STORE whose last burst was served, its completion filled in `times`; INSTRUCTIONS if instructions
    arrived; STUCK if no engine has a burst to request.
    """
    fetch_bytes = min(memory[BURST_BYTES], FETCH_BURST_BYTES)
    while True:
        chosen, earliest, before = UNKNOWN, ZERO, NEVER
        for agent in range(AGENTS):
            when = request_time(agent, control, times, work, agents, rings, memory, port_free, fetch_bytes,
                                 fetch_times.size)  # fmt: skip
            if when != UNKNOWN and (chosen == UNKNOWN or when < earliest):
                if chosen != UNKNOWN:
                    before = min(before, earliest)
                chosen, earliest = agent, when
            elif when != UNKNOWN:
                before = min(before, when + 1)  # the chosen agent comes first in the same cycle
        if chosen == UNKNOWN:
            return STUCK
        if chosen == FETCH_AGENT:
            _fetch_burst(earliest, control, agents, memory, channel_free, port_free, fetch_times, fetch_bytes,
                         work.shape[0] * INSTRUCTION_BYTES)  # fmt: skip
            return INSTRUCTIONS
        if _transfer_bursts(chosen, earliest, before, work, agents, rings, memory, channel_free, port_free, traffic):
            at = agents[chosen, CURRENT]
            times[at, COMPLETED] = agents[chosen, LATEST] + (LOAD_WRITE_CYCLES if chosen == LOAD_AGENT else 0)
            agents[chosen, CURRENT] = UNKNOWN
            agents[chosen, SERVED] = 0
            return int(at)


@kernel(allocates=False)
def run_ahead(
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
        while dispatch_next(work, times, control, fetch_times, fetch_bytes, order, dispatched, queue_depth):
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
                if perform(at, work, times, agents):
                    give_tokens(at, work, times, tokens, token_base, given)


@kernel
def fetch_plan(count: int, memory: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """Return the bytes of a burst of FETCH, and when each burst of `count` instructions arrives, all UNKNOWN."""
    fetch_bytes = min(memory[BURST_BYTES], FETCH_BURST_BYTES)
    bursts = (count * INSTRUCTION_BYTES + fetch_bytes - 1) // fetch_bytes
    return fetch_bytes, np.full(bursts, UNKNOWN, dtype=np.int64)


@kernel
def memory_state(
    memory: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return agents, rings, channel_free and port_free before the first burst.

    rings int64 [AGENTS, ports, outstanding]: when the burst that took this place of a port's window is done.
    """
    agents = np.zeros((AGENTS, AGENT_COLUMNS), dtype=np.int64)
    agents[:, CURRENT] = UNKNOWN
    agents[FETCH_AGENT, REQUESTED] = -FETCH_REQUEST_CYCLES
    rings = np.zeros((AGENTS, memory[PORTS], memory[OUTSTANDING]), dtype=np.int64)
    return (
        agents,
        rings,
        np.zeros(memory[CHANNELS], dtype=np.int64),
        np.zeros((PORT_ROWS, memory[PORTS]), dtype=np.int64),
    )


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
    fetch_bytes, fetch_times = fetch_plan(count, memory)
    counters = np.zeros((2, ENGINE_COUNT), dtype=np.int64)
    tokens = np.zeros(max(1, token_base[-1]), dtype=np.int64)
    token_counts = np.zeros((2, ENGINE_COUNT * ENGINE_COUNT), dtype=np.int64)
    agents, rings, channel_free, port_free = memory_state(memory)
    while True:
        run_ahead(work, times, control, fetch_times, fetch_bytes, queue_depth, order, counters, tokens, token_base,
                   token_counts, token_waits, agents)  # fmt: skip
        if control[NEXT] >= count:
            return FINISHED
        at = serve_bursts(work, times, control, fetch_times, agents, rings, memory, channel_free, port_free, traffic)
        if at == STUCK:
            return DEADLOCK
        if at != INSTRUCTIONS:
            give_tokens(at, work, times, tokens, token_base, token_counts[0])
