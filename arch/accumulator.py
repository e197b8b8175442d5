"""Place accumulator entries: which lane holds an entry, in which row, and in which of the two halves.

COMPUTE adds in one half while VECTOR reads the other: each half of a lane has one read port. Entry e is held by lane
e mod lanes in row e // lanes; the half is the most significant bit of the row.
"""

from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div


def accumulator_rows(entries: int, lanes: int) -> int:
    """Return the rows of each lane of an accumulator of so many entries."""
    return ceil_div(entries, lanes)


def half_rows(rows: int) -> int:
    """Return the rows of the lower half: the largest power of two below `rows`, at least 2."""
    return 1 << max(1, (rows - 1).bit_length() - 1)


def half_entries(spec: SparseAccelerator) -> int:
    """Return the first entry of the upper half; the lower half has as many entries."""
    entries = spec.buffers.accumulator.capacity_bytes // (4 * spec.array.chains)
    return half_rows(accumulator_rows(entries, spec.array.lanes)) * spec.array.lanes
