"""Place activations: over how many banks they are interleaved, and where the upper half of the buffer begins.

LOAD and VECTOR can write in the same cycle whatever they write if one of them writes the lower half and the other the
upper: each half of a bank has a write port of its own.
"""

from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div

READERS_BESIDE_LANES = 2
"""Copies of all activations beside one per lane of COMPUTE: one for VECTOR, one for STORE."""


def window_words(spec: SparseAccelerator) -> int:
    """Return the most words a window touches: a fold, a vector beat, or a memory beat at any byte."""
    group = spec.array.group_size
    return max(spec.array.chain_length, spec.vector.lanes // group, ceil_div(spec.axi.data_bits // 8, group) + 1)


def bank_count(words: int) -> int:
    """Return the power of two of banks in which a window of so many words touches none twice."""
    return 1 << (max(1, words) - 1).bit_length()


def half_rows(rows: int) -> int:
    """Return the rows of the lower half: the largest power of two below `rows`, at least 1."""
    return 1 << max(0, (rows - 1).bit_length() - 1)


def half_bytes(spec: SparseAccelerator) -> int:
    """Return the first byte of the upper half of the activation buffer."""
    row_bytes = bank_count(window_words(spec)) * spec.array.group_size
    return half_rows(ceil_div(spec.buffers.activation.capacity_bytes, row_bytes)) * row_bytes
