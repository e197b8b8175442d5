"""Sample who holds how much of a buffer that will still be read, from when instructions read and write its ranges."""

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.kernels import kernel

_NEVER = -1


@kernel
def _first_sample(cycle: int, samples: int, total: int) -> int:
    """Return the first sample at `cycle` or after it; sample s is at (2 s + 1) * total / (2 samples)."""
    return max(0, -(-(2 * samples * cycle - total) // (2 * total)))


@kernel
def _count(
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    owner: NDArray[np.int64],
    total: int,
    written: NDArray[np.int64],
    read: NDArray[np.int64],
    changes: NDArray[np.int64],
) -> None:
    """Add to `changes` int64 [owners, samples + 1] the cells that begin and cease to be live before each sample.

    The accesses, int64 [n] each, are in order of time, owner -1 for a read; written, read int64 [cells] are scratch,
    all `_NEVER`.
    """
    samples = changes.shape[1] - 1
    holder = np.zeros(written.size, dtype=np.int64)
    for access in range(low.size):
        for cell in range(low[access], high[access]):
            if owner[access] < 0:
                if written[cell] != _NEVER:
                    read[cell] = max(read[cell], end[access])
            elif read[cell] != _NEVER:
                changes[holder[cell], _first_sample(written[cell], samples, total)] += 1
                changes[holder[cell], _first_sample(read[cell], samples, total)] -= 1
                written[cell], read[cell], holder[cell] = begin[access], _NEVER, owner[access]
            else:
                holder[cell] = owner[access]
                if written[cell] == _NEVER:
                    written[cell] = begin[access]
    for cell in range(written.size):
        if read[cell] != _NEVER:
            changes[holder[cell], _first_sample(written[cell], samples, total)] += 1
            changes[holder[cell], _first_sample(read[cell], samples, total)] -= 1


def live_cells(
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    owner: NDArray[np.int64],
    *,
    owners: int,
    cells: int,
    samples: int,
    total_cycles: int,
) -> NDArray[np.int64]:
    """Return how many cells of a buffer each owner has at moments in the middles of equal parts of a run.

    Result: int64 [owners, samples]. Accesses, int64 [n] each: cells [low, high), cycles [begin, end), the owner of what
    is written, -1 for a read. A cell is live from when it is written (first, if several times before it is read) until
    the end of its last read before it is written again, and belongs to who wrote it last before it is read. Ours;
    tests/unit/test_run_report.py looks at every cell by itself.
    """
    order = np.lexsort((owner >= 0, begin))
    changes = np.zeros((owners, samples + 1), dtype=np.int64)
    written, read = np.full(cells, _NEVER, dtype=np.int64), np.full(cells, _NEVER, dtype=np.int64)
    _count(low[order], high[order], begin[order], end[order], owner[order], total_cycles, written, read, changes)
    live: NDArray[np.int64] = changes[:, :-1].cumsum(axis=1)
    return live
