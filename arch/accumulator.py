"""Place accumulator entries: which lane holds an entry, in which row, and in which of the two halves.

COMPUTE adds in one half while VECTOR reads the other: each half of a lane has one read port. Entry e is held by lane
e mod lanes in row e // lanes; the half is the most significant bit of the row.
"""

from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div

SUM_BYTES = 4
"""Bytes of one int32 partial sum; an entry is one per chain."""


def accumulator_rows(entries: int, lanes: int) -> int:
    """Return the rows of each lane of an accumulator of so many entries."""
    return ceil_div(entries, lanes)


def half_rows(rows: int) -> int:
    """Return the rows of the lower half: the largest power of two below `rows`, at least 1."""
    return 1 << max(0, (rows - 1).bit_length() - 1)


def accumulator_entries(spec: SparseAccelerator) -> int:
    """Return how many positions of `chains` int32 sums the accumulator holds."""
    return spec.buffers.accumulator.capacity_bytes // (SUM_BYTES * spec.array.chains)


def half_entries(spec: SparseAccelerator) -> int:
    """Return the first entry of the upper half; the lower half has as many entries."""
    return half_rows(accumulator_rows(accumulator_entries(spec), spec.array.lanes)) * spec.array.lanes


def tile_entries(spec: SparseAccelerator) -> int:
    """Return the most entries that fit either half: those of the upper one, which is never the larger."""
    return accumulator_entries(spec) - half_entries(spec)
