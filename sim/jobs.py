"""Run a list of jobs on the engines: the event engine without a Program.

A job is one instruction as `gossamer.sim.engine` sees it, a row of its `work`; what it waits for is given as numbers of
earlier jobs instead of tokens. Dispatch and every burst of FETCH, LOAD and STORE are the event engine's own kernels, so
nothing here is an approximation.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.timing import COMPLETION_CYCLES, START_CYCLES
from gossamer.sim.engine import (
    COMPLETED,
    CONTROL_COLUMNS,
    DISPATCHED,
    ENGINE,
    ENGINE_COUNT,
    NEXT,
    STARTED,
    STUCK,
    TOTAL,
    TRAFFIC_COLUMNS,
    UNKNOWN,
    WORK_COLUMNS,
    dispatch_next,
    fetch_plan,
    memory_state,
    perform,
    serve_bursts,
)
from gossamer.sim.kernels import kernel

NONE: int = np.int64(-1)  # type: ignore[assignment]
"""No job. Not a Python int, see `gossamer.sim.engine.UNKNOWN`."""

# Columns of `jobs` int64 [n, JOB_COLUMNS]: those of `work` (WAIT and RELEASE unused), then the jobs waited for.
DEPENDS = WORK_COLUMNS
DEPENDENCIES = 3
JOB_COLUMNS = DEPENDS + DEPENDENCIES


@kernel(allocates=False)
def _start(
    engine: int,
    jobs: NDArray[np.int64],
    times: NDArray[np.int64],
    order: NDArray[np.int64],
    dispatched: NDArray[np.int64],
    heads: NDArray[np.int64],
) -> int:
    """Start the head of an engine's queue if its time is known; return its job, or UNKNOWN."""
    head = heads[engine]
    if head >= dispatched[engine]:
        return UNKNOWN
    at = order[engine, head]
    start = times[at, DISPATCHED] + START_CYCLES
    if head > 0:
        before = times[order[engine, head - 1], COMPLETED]
        if before == UNKNOWN:
            return UNKNOWN
        start = max(start, before + COMPLETION_CYCLES)
    for number in range(DEPENDENCIES):
        other = jobs[at, DEPENDS + number]
        if other != NONE:
            if times[other, COMPLETED] == UNKNOWN:
                return UNKNOWN
            start = max(start, times[other, COMPLETED] + COMPLETION_CYCLES)
    times[at, STARTED] = start
    heads[engine] = head + 1
    return int(at)


@kernel(allocates=False)
def _run_ahead(
    jobs: NDArray[np.int64],
    times: NDArray[np.int64],
    control: NDArray[np.int64],
    fetch_times: NDArray[np.int64],
    fetch_bytes: int,
    queue_depth: int,
    order: NDArray[np.int64],
    counters: NDArray[np.int64],
    agents: NDArray[np.int64],
) -> None:
    """Dispatch, start and complete everything whose time is known."""
    dispatched, heads = counters[0], counters[1]
    progress = True
    while progress:
        progress = False
        while dispatch_next(jobs, times, control, fetch_times, fetch_bytes, order, dispatched, queue_depth):
            progress = True
        for engine in range(ENGINE_COUNT):
            at = _start(engine, jobs, times, order, dispatched, heads)
            while at != UNKNOWN:
                progress = True
                perform(at, jobs, times, agents)
                at = _start(engine, jobs, times, order, dispatched, heads)


@kernel
def run_traffic(
    jobs: NDArray[np.int64], memory: NDArray[np.int64], queue_depth: int, times: NDArray[np.int64],
    traffic: NDArray[np.int64],
) -> int:  # fmt: skip
    """Return the cycles of jobs int64 [n, JOB_COLUMNS] in program order that end in END, or STUCK.

    Fills times int64 [n, TIME_COLUMNS] except READY and traffic int64 [n, TRAFFIC_COLUMNS], zeros before. STUCK: jobs
    that wait for later ones.
    """
    count = jobs.shape[0]
    times[:] = UNKNOWN
    order = np.zeros((ENGINE_COUNT, count), dtype=np.int64)
    counters = np.zeros((2, ENGINE_COUNT), dtype=np.int64)
    for job in range(count - 1):
        engine = jobs[job, ENGINE]
        order[engine, counters[0, engine]] = job
        counters[0, engine] += 1
    counters[0] = 0
    control = np.zeros(CONTROL_COLUMNS, dtype=np.int64)
    fetch_bytes, fetch_times = fetch_plan(count, memory)
    agents, rings, channel_free, port_free = memory_state(memory)
    while True:
        _run_ahead(jobs, times, control, fetch_times, fetch_bytes, queue_depth, order, counters, agents)
        if control[NEXT] >= count:
            return int(control[TOTAL])
        at = serve_bursts(jobs, times, control, fetch_times, agents, rings, memory, channel_free, port_free, traffic)
        if at == STUCK:
            return STUCK


@kernel
def run_jobs(jobs: NDArray[np.int64], memory: NDArray[np.int64], queue_depth: int, times: NDArray[np.int64]) -> int:
    """Return what `run_traffic` does, without the traffic."""
    return int(
        run_traffic(jobs, memory, queue_depth, times, np.zeros((jobs.shape[0], TRAFFIC_COLUMNS), dtype=np.int64))
    )
