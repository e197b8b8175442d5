"""Cut on-chip buffers into banks: the sizes the RTL builds, the mapper places by and the resource estimate counts.

A buffer whose accesses start anywhere is interleaved over a power of two of banks, so that an access to as many
consecutive words touches none twice.
"""

from dataclasses import dataclass

from gossamer.arch.spec import MemoryKind, SparseAccelerator
from gossamer.arch.timing import ceil_div, parameter_read_bytes

PARAMETER_UNIT_BYTES = 4
"""Parameter blocks and what is in them start at multiples of this."""

SMALLEST_INDEX_WORD_BYTES = 8
"""Narrower banks of the index buffer would leave block RAMs half empty."""


def bank_count(words: int) -> int:
    """Return the power of two of banks in which a window of so many words touches none twice."""
    return 1 << (max(1, words) - 1).bit_length()


def half_rows(rows: int) -> int:
    """Return the rows of the lower half: the largest power of two below `rows`, at least 1."""
    return 1 << max(0, (rows - 1).bit_length() - 1)


def upper_rows(rows: int) -> int:
    """Return the rows of the upper half's memories, which are there even if there is nothing to hold."""
    return max(1, rows - half_rows(rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class BankSizes:
    """Equal banks of `rows` words of `word_bytes`; `word_bytes` and `banks` are powers of two."""

    word_bytes: int
    banks: int
    rows: int

    @property
    def half_rows(self) -> int:
        """Rows of the lower half."""
        return half_rows(self.rows)

    @property
    def upper_rows(self) -> int:
        """Rows of the upper half."""
        return upper_rows(self.rows)


def bank_sizes(*, capacity_bytes: int, word_bytes: int, words: int) -> BankSizes:
    """Return the banks of a buffer whose windows touch up to `words` words."""
    banks = bank_count(words)
    return BankSizes(word_bytes=word_bytes, banks=banks, rows=ceil_div(capacity_bytes, banks * word_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSizes:
    """A buffer that LOAD writes in pieces at any byte and one engine reads in windows.

    A window has `read_bytes` bytes and starts at a multiple of `read_unit_bytes`; a piece has up to `piece_bytes`.
    """

    capacity_bytes: int
    word_bytes: int
    read_bytes: int
    read_unit_bytes: int
    piece_bytes: int
    memory: MemoryKind

    @property
    def aligned(self) -> bool:
        """Whether windows start with a word."""
        return self.read_unit_bytes % self.word_bytes == 0

    @property
    def banks(self) -> BankSizes:
        """Banks for the windows read and the pieces written."""
        read_words = ceil_div(self.read_bytes, self.word_bytes) + (0 if self.aligned else 1)
        write_words = ceil_div(self.piece_bytes, self.word_bytes) + 1
        return bank_sizes(
            capacity_bytes=self.capacity_bytes, word_bytes=self.word_bytes, words=max(read_words, write_words)
        )


def weight_window(spec: SparseAccelerator) -> WindowSizes:
    """Return the sizes of the weight buffer: windows of weight_rows_per_cycle rows of `chains` bytes."""
    array, buffer = spec.array, spec.buffers.weight
    return WindowSizes(
        capacity_bytes=buffer.capacity_bytes, word_bytes=array.chains & -array.chains,
        read_bytes=array.chains * array.weight_rows_per_cycle, read_unit_bytes=array.chains,
        piece_bytes=spec.axi.row_bytes, memory=buffer.memory,
    )  # fmt: skip


def index_window(spec: SparseAccelerator) -> WindowSizes:
    """Return the sizes of the index buffer: windows of the widest rows, at multiples of the narrowest one."""
    array, buffer = spec.array, spec.buffers.index
    widest = array.weight_rows_per_cycle * array.chains * (array.group_size.bit_length() - 1) // 8
    return WindowSizes(
        capacity_bytes=buffer.capacity_bytes,
        word_bytes=max(SMALLEST_INDEX_WORD_BYTES, bank_count(ceil_div(widest, 4))),
        read_bytes=widest, read_unit_bytes=array.chains // 8, piece_bytes=spec.axi.row_bytes,
        memory=buffer.memory,
    )  # fmt: skip


def parameter_window(spec: SparseAccelerator) -> WindowSizes:
    """Return the sizes of the parameter buffer: one read of VECTOR is one word, starting anywhere."""
    width, buffer = parameter_read_bytes(spec.vector.lanes), spec.buffers.parameter
    return WindowSizes(
        capacity_bytes=buffer.capacity_bytes, word_bytes=width, read_bytes=width,
        read_unit_bytes=PARAMETER_UNIT_BYTES, piece_bytes=spec.axi.row_bytes, memory=buffer.memory,
    )  # fmt: skip
