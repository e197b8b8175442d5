"""Place accumulator entries: which lane holds an entry, in which row, and in which of the two halves.

COMPUTE adds in one half while VECTOR reads the other: each half of a lane has one read port. Entry e is held by lane
e mod lanes in row e // lanes; the half is the most significant bit of the row.
"""

from gossamer.arch.banking import half_rows, upper_rows
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div

SUM_BYTES = 4
"""Bytes of one int32 partial sum; an entry is one per chain."""

CELL_CHAINS = 2
"""Chains that share a memory word: 64 bits fill the 72 of a block RAM or UltraRAM."""


def accumulator_cells(spec: SparseAccelerator) -> int:
    """Return the cells of all lanes; each has a memory of `CELL_CHAINS` sums wide per half."""
    return spec.array.lanes * spec.array.chains // CELL_CHAINS


def half_depths(entries: int, lanes: int) -> tuple[int, int]:
    """Return the rows of a cell's lower and of its upper half."""
    rows = accumulator_rows(entries, lanes)
    return half_rows(rows), upper_rows(rows)


def accumulator_rows(entries: int, lanes: int) -> int:
    """Return the rows of each lane of an accumulator of so many entries."""
    return ceil_div(entries, lanes)


def accumulator_entries(spec: SparseAccelerator) -> int:
    """Return how many positions of `chains` int32 sums the accumulator holds, in whole rows.

    An incomplete last row could be all there is of the upper half, and smaller than a tile of one position per lane.
    """
    array = spec.array
    return spec.buffers.accumulator.capacity_bytes // (SUM_BYTES * array.chains * array.lanes) * array.lanes


def half_entries(spec: SparseAccelerator) -> int:
    """Return the first entry of the upper half; the lower half has as many entries."""
    return half_rows(accumulator_rows(accumulator_entries(spec), spec.array.lanes)) * spec.array.lanes


def tile_entries(spec: SparseAccelerator) -> int:
    """Return the most entries that fit either half: those of the upper one, which is never the larger."""
    return accumulator_entries(spec) - half_entries(spec)
