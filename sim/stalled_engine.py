"""Run a decoded Program on the engines while channels of the memory port pause.

This is the event kernel of `gossamer.sim.engine` with bursts served by `gossamer.sim.stalls`: dispatch, starts, tokens
and the cycle in which each agent asks for its next burst are the same kernels. A request counts from the cycle that
takes it, so bursts are ordered by that cycle; of two reads that the same cycle could take, the one asked for first
goes, because a port does not withdraw what it shows. Bursts are served one by one: the next of an engine may be
overtaken while it waits. It is apart from the event kernel so that this one stays as fast as it is without pauses.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.isa import INSTRUCTION_BYTES
from gossamer.arch.timing import FETCH_BURST_BYTES, LOAD_WRITE_CYCLES
from gossamer.sim.engine import (
    ADDRESS,
    AGENTS,
    BEATS,
    BURSTS,
    BYTES,
    COMPLETED,
    CURRENT,
    DEADLOCK,
    ENGINE_COUNT,
    FETCH_AGENT,
    FETCHED,
    FILLED,
    FINISHED,
    INSTRUCTIONS,
    LATEST,
    LINE,
    LINE_PITCH,
    LINES,
    LOAD_AGENT,
    NEXT,
    OFFSET,
    PIECES,
    REQUESTED,
    RUN,
    RUN_BYTES,
    RUN_PITCH,
    RUNS,
    SCATTER,
    SEGMENT_BYTES,
    SERVED,
    STORE_AGENT,
    STUCK,
    UNKNOWN,
    fetch_plan,
    give_tokens,
    memory_state,
    request_time,
    run_ahead,
)
from gossamer.sim.kernels import kernel
from gossamer.sim.offchip import (
    BURST_BYTES,
    OUTSTANDING,
    PORTS,
    REQUEST,
    ROW_BYTES,
    STREAM,
    ZERO,
    beats_between,
    burst_end,
    pieces_between,
)
from gossamer.sim.stalls import (
    AR,
    AW,
    gather_burst_stalled,
    read_burst_stalled,
    spread_burst_stalled,
    unpaused,
    write_burst_stalled,
)


@kernel(allocates=False)
def _first_request(
    control: NDArray[np.int64],
    times: NDArray[np.int64],
    work: NDArray[np.int64],
    agents: NDArray[np.int64],
    rings: NDArray[np.int64],
    memory: NDArray[np.int64],
    port_free: NDArray[np.int64],
    free: NDArray[np.int64],
    fetch_bytes: int,
    fetch_bursts: int,
) -> tuple[int, int, int]:
    """Return the agent whose request is taken first, UNKNOWN if there is none, when it is shown, and when taken."""
    chosen, chosen_shown, chosen_taken = UNKNOWN, ZERO, ZERO
    for agent in range(AGENTS):
        shown = request_time(agent, control, times, work, agents, rings, memory, port_free, fetch_bytes, fetch_bursts)
        if shown == UNKNOWN:
            continue
        taken = unpaused(free, AW if agent == STORE_AGENT else AR, shown)
        waited_longer = taken == chosen_taken and agent == LOAD_AGENT and shown < chosen_shown
        if chosen == UNKNOWN or taken < chosen_taken or waited_longer:
            chosen, chosen_shown, chosen_taken = agent, shown, taken
    return chosen, chosen_shown, chosen_taken


@kernel(allocates=False)
def _fetch_burst(
    taken: int,
    control: NDArray[np.int64],
    agents: NDArray[np.int64],
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    free: NDArray[np.int64],
    fetch_times: NDArray[np.int64],
    fetch_bytes: int,
    stream_bytes: int,
) -> None:
    """Serve the next burst of the instruction stream, through port 0."""
    burst = control[FETCHED]
    first = memory[STREAM] + burst * fetch_bytes
    last = min(memory[STREAM] + stream_bytes, first + fetch_bytes)
    fetch_times[burst] = read_burst_stalled(
        memory, channel_free, port_free, free, ZERO, taken, first, first, last, fetch_bytes, ZERO
    )
    port_free[REQUEST, 0] = taken + 1
    agents[FETCH_AGENT, REQUESTED] = taken
    control[FETCHED] = burst + 1


@kernel(allocates=False)
def _transfer_burst(
    agent: int,
    shown: int,
    taken: int,
    work: NDArray[np.int64],
    agents: NDArray[np.int64],
    rings: NDArray[np.int64],
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    free: NDArray[np.int64],
    traffic: NDArray[np.int64],
) -> bool:
    """Serve the next burst of a LOAD or STORE; return whether it was the last."""
    at, served = agents[agent, CURRENT], agents[agent, SERVED]
    ports, row_bytes = memory[PORTS], memory[ROW_BYTES]
    port, slot = served % ports, served // ports % memory[OUTSTANDING]
    line, run, run_bytes = agents[agent, LINE], agents[agent, RUN], work[at, RUN_BYTES]
    base = work[at, ADDRESS] + line * work[at, LINE_PITCH] + run * work[at, RUN_PITCH]
    first = base + agents[agent, OFFSET]
    last = burst_end(first, base + run_bytes, memory[BURST_BYTES])
    segment_bytes = 1 if work[at, SCATTER] else work[at, SEGMENT_BYTES]
    beats = beats_between(first, last, row_bytes) * ports
    pieces = pieces_between(base, first, last, segment_bytes, row_bytes)
    if agent == LOAD_AGENT:
        port_free[REQUEST, port] = taken + 1
        agents[agent, REQUESTED] = taken
        if ports == 1:
            done = read_burst_stalled(memory, channel_free, port_free, free, port, taken, base, first, last,
                                      segment_bytes, agents[agent, FILLED])  # fmt: skip
        else:
            done = gather_burst_stalled(memory, channel_free, port_free, free, port, taken, base, first, last,
                                        segment_bytes, agents[agent, FILLED])  # fmt: skip
    elif ports == 1:
        agents[agent, REQUESTED] = shown
        done = write_burst_stalled(memory, channel_free, port_free, free, port, shown, taken, base, first, last,
                                   segment_bytes)  # fmt: skip
    else:
        agents[agent, REQUESTED] = max(shown + pieces - 1, taken)
        done = spread_burst_stalled(memory, channel_free, port_free, free, port, shown, taken, pieces, first,
                                    beats)  # fmt: skip
    rings[agent, port, slot] = done
    traffic[at, BURSTS] += 1
    traffic[at, BEATS] += beats
    traffic[at, PIECES] += pieces
    traffic[at, BYTES] += last - first
    agents[agent, LATEST] = max(agents[agent, LATEST], done)
    agents[agent, SERVED] = served + 1
    agents[agent, OFFSET] = last - base
    if last == base + run_bytes:
        ends_line = run + 1 == work[at, RUNS]
        agents[agent, OFFSET] = 0
        agents[agent, RUN] = 0 if ends_line else run + 1
        agents[agent, LINE] = line + 1 if ends_line else line
    return bool(agents[agent, LINE] == work[at, LINES])


@kernel(allocates=False)
def _serve_bursts(
    work: NDArray[np.int64],
    times: NDArray[np.int64],
    control: NDArray[np.int64],
    fetch_times: NDArray[np.int64],
    agents: NDArray[np.int64],
    rings: NDArray[np.int64],
    memory: NDArray[np.int64],
    channel_free: NDArray[np.int64],
    port_free: NDArray[np.int64],
    free: NDArray[np.int64],
    traffic: NDArray[np.int64],
) -> int:
    """Serve bursts until one makes other times known; return what `gossamer.sim.engine.serve_bursts` does."""
    fetch_bytes = min(memory[BURST_BYTES], FETCH_BURST_BYTES)
    while True:
        agent, shown, taken = _first_request(control, times, work, agents, rings, memory, port_free, free, fetch_bytes,
                                             fetch_times.size)  # fmt: skip
        if agent == UNKNOWN:
            return STUCK
        if agent == FETCH_AGENT:
            _fetch_burst(taken, control, agents, memory, channel_free, port_free, free, fetch_times, fetch_bytes,
                         work.shape[0] * INSTRUCTION_BYTES)  # fmt: skip
            return INSTRUCTIONS
        if _transfer_burst(agent, shown, taken, work, agents, rings, memory, channel_free, port_free, free, traffic):
            at = agents[agent, CURRENT]
            times[at, COMPLETED] = agents[agent, LATEST] + (LOAD_WRITE_CYCLES if agent == LOAD_AGENT else 0)
            agents[agent, CURRENT] = UNKNOWN
            agents[agent, SERVED] = 0
            return int(at)


@kernel
def run_engines_stalled(
    work: NDArray[np.int64],
    memory: NDArray[np.int64],
    free: NDArray[np.int64],
    queue_depth: int,
    order: NDArray[np.int64],
    token_base: NDArray[np.int64],
    times: NDArray[np.int64],
    token_waits: NDArray[np.int64],
    traffic: NDArray[np.int64],
    control: NDArray[np.int64],
) -> int:
    """Run a Program as `gossamer.sim.engine.run_engines` does; free int64 [5, cycles] is from `unpaused_cycles`."""
    fetch_bytes, fetch_times = fetch_plan(work.shape[0], memory)
    counters = np.zeros((2, ENGINE_COUNT), dtype=np.int64)
    tokens = np.zeros(max(1, token_base[-1]), dtype=np.int64)
    token_counts = np.zeros((2, ENGINE_COUNT * ENGINE_COUNT), dtype=np.int64)
    agents, rings, channel_free, port_free = memory_state(memory)
    while True:
        run_ahead(work, times, control, fetch_times, fetch_bytes, queue_depth, order, counters, tokens, token_base,
                  token_counts, token_waits, agents)  # fmt: skip
        if control[NEXT] >= work.shape[0]:
            return FINISHED
        at = _serve_bursts(work, times, control, fetch_times, agents, rings, memory, channel_free, port_free, free,
                           traffic)  # fmt: skip
        if at == STUCK:
            return DEADLOCK
        if at != INSTRUCTIONS:
            give_tokens(at, work, times, tokens, token_base, token_counts[0])
