"""Place activations: over how many banks they are interleaved, and where the upper half of the buffer begins.

LOAD and VECTOR can write in the same cycle whatever they write if one of them writes the lower half and the other the
upper: each half of a bank has a write port of its own.
"""

from gossamer.arch.banking import BankSizes, bank_sizes
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div

READERS_BESIDE_LANES = 2
"""Copies of all activations beside one per lane of COMPUTE: one for VECTOR, one for STORE."""


def window_words(spec: SparseAccelerator) -> int:
    """Return the most words a window touches: a fold, a vector beat, or a row of the memory ports.

    A row that begins in the middle of a word, but at the same byte of it as in memory, touches no more.
    """
    group = spec.array.group_size
    return max(spec.array.chain_length, spec.vector.lanes // group, ceil_div(spec.axi.row_bytes, group))


def shifted_bytes(spec: SparseAccelerator) -> int:
    """Return the most contiguous bytes LOAD or STORE may move to or from another byte of a word than in memory.

    More would touch a bank twice in a cycle. Rows shorter than this may lie anywhere, whatever follows them.
    """
    cut = activation_banks(spec)
    return (cut.banks - 1) * cut.word_bytes + 1


def may_shift(spec: SparseAccelerator) -> bool:
    """Return whether LOAD and STORE may move anything to or from any byte."""
    return spec.axi.row_bytes <= shifted_bytes(spec)


def copies(spec: SparseAccelerator) -> int:
    """Return how many copies of all activations there are: one per reader."""
    return spec.array.lanes + READERS_BESIDE_LANES


def activation_banks(spec: SparseAccelerator) -> BankSizes:
    """Return the banks of each copy."""
    return bank_sizes(
        capacity_bytes=spec.buffers.activation.capacity_bytes, word_bytes=spec.array.group_size,
        words=window_words(spec),
    )  # fmt: skip


def half_bytes(spec: SparseAccelerator) -> int:
    """Return the first byte of the upper half of the activation buffer."""
    cut = activation_banks(spec)
    return cut.half_rows * cut.banks * cut.word_bytes
