"""Attribute every cycle of a run to one layer and one class.

A cycle belongs to the layer whose instruction decides its class: that of COMPUTE if it is busy, else of VECTOR, else
of LOAD or STORE. A cycle in which nothing is busy belongs to the layer of the one before. Within a COMPUTE the first
cycles are its fill; useful cycles are spread evenly over the others. Ours; tests/unit/test_timing_simulate.py.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.kernels import kernel

# Columns of the class counts, in the order of results.CycleClass.
COMPUTE, EDGES, FILL, MEMORY, VECTOR, CONTROL, CLASSES = range(7)
# Rows of `spans`: engines whose activity decides the class.
_COMPUTE_SPAN, _VECTOR_SPAN, _LOAD_SPAN, _STORE_SPAN, SPANS = range(5)
UNSET = -1


def useful_cycles(
    slots: NDArray[np.int64], room: NDArray[np.int64], layer_of: NDArray[np.int32], macs: NDArray[np.int64], peak: int
) -> NDArray[np.int64]:
    """Return cycles of full-array effective work per COMPUTE, int64 [n]: a layer's macs / peak, shared by MAC slots.

    slots, layer_of [n] are of the COMPUTE instructions; room [n] their cycles without fill, an upper limit; macs
    [layers]. Rounded so that a layer's instructions sum to floor(macs / peak), if there is room.
    """
    useful = np.zeros(slots.size, dtype=np.int64)
    if not slots.size:
        return useful
    order = np.argsort(layer_of, kind="stable")
    layer, first = np.unique(layer_of[order], return_index=True)
    for index, members in zip(layer, np.split(order, first[1:]), strict=True):
        running = np.cumsum(slots[members])
        share = running / running[-1] if running[-1] else np.zeros(members.size)
        whole = int(macs[index]) // peak if index >= 0 else 0
        useful[members] = np.diff(np.floor(whole * share).astype(np.int64), prepend=0)
    return np.minimum(useful, room)


@kernel
def _useful_until(offset: int, busy: int, fill: int, useful: int) -> int:
    """Return the useful cycles among the first `offset` of a COMPUTE."""
    if offset <= fill:
        return 0
    return (offset - fill) * useful // (busy - fill)


@kernel
def classify(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    counts: NDArray[np.int64],
    fill: NDArray[np.int64],
    useful: NDArray[np.int64],
    owners: NDArray[np.int64],
    total: int,
    classes: NDArray[np.int64],
) -> None:
    """Add every cycle of [0, total) to one entry of `classes`, int64 [layers or 1, CLASSES].

    starts, ends, owners int64 [SPANS, n]: activity of COMPUTE, VECTOR, LOAD, STORE in time order and its layers (-1:
    none), `counts` [SPANS] of them; fill, useful int64 [n] of the COMPUTEs.
    """
    head = np.zeros(SPANS, dtype=np.int64)
    layer, now = 0, 0
    while now < total:
        until = total
        active = UNSET
        for span in range(SPANS):
            while head[span] < counts[span] and ends[span, head[span]] <= now:
                head[span] += 1
            if head[span] == counts[span]:
                continue
            start = starts[span, head[span]]
            if start > now:
                until = min(until, start)
            else:
                until = min(until, ends[span, head[span]])
                if active == UNSET:
                    active = span
        if active != UNSET and owners[active, head[active]] >= 0:
            layer = owners[active, head[active]]
        if active == _COMPUTE_SPAN:
            at = head[_COMPUTE_SPAN]
            begin = starts[_COMPUTE_SPAN, at]
            busy = ends[_COMPUTE_SPAN, at] - begin
            filled = min(until - begin, fill[at]) - min(now - begin, fill[at])
            worked = _useful_until(until - begin, busy, fill[at], useful[at])
            worked -= _useful_until(now - begin, busy, fill[at], useful[at])
            classes[layer, FILL] += filled
            classes[layer, COMPUTE] += worked
            classes[layer, EDGES] += until - now - filled - worked
        elif active == _VECTOR_SPAN:
            classes[layer, VECTOR] += until - now
        elif active == UNSET:
            classes[layer, CONTROL] += until - now
        else:
            classes[layer, MEMORY] += until - now
        now = until
