"""Count the primitives that a memory or a product takes on a family: what is exact whatever the logic around it.

Shapes are the vendors'; which of them synthesis uses was measured with Yosys 0.70 (tests/unit/test_resources.py).
"""

from gossamer.arch.spec import Family, MemoryKind
from gossamer.arch.timing import ceil_div

MULTIPLIER_BITS = {
    Family.ULTRASCALE_PLUS: (27, 18), Family.VERSAL: (27, 24), Family.SERIES7: (25, 18), Family.ECP5: (18, 18),
}  # fmt: skip
"""Signed factors of one DSP slice (AMD UG579, AM004, UG479; Lattice FPGA-TN-02205)."""


def memory_primitives(
    kind: MemoryKind, family: Family, width_bits: int, depth: int, *, byte_writes: bool, read_ports: int = 1
) -> int:
    """Return how many primitives a memory of `depth` words of `width_bits` takes, in its best aspect ratio.

    `byte_writes`: single bytes are written, so that the ninth bits go unused. `read_ports` 2: both ports read, at the
    narrower width of a true dual-port memory. For LUTRAM the count is LUTs, for BRAM36 halves of 18 Kib.
    """
    if kind is MemoryKind.LUTRAM and byte_writes:
        return min(ceil_div(width_bits, 8) * ceil_div(depth, words) * luts * read_ports
                   for words, luts in LUTRAM_BYTE.get(family, LUTRAM_BYTE[Family.ULTRASCALE_PLUS]))  # fmt: skip
    if kind is MemoryKind.URAM288 and family is Family.ULTRASCALE_PLUS and byte_writes and read_ports == 1:
        # Nine byte lanes each, the ninth in the parity bits; lanes that are left over share one for several depths.
        lanes, deep = ceil_div(width_bits, 8), ceil_div(depth, URAM_WORDS)
        return lanes // URAM_BYTE_LANES * deep + ceil_div(lanes % URAM_BYTE_LANES * deep, URAM_BYTE_LANES)
    shapes = _shapes(kind, family, read_ports)
    return min(ceil_div(width_bits, _usable(bits, byte_writes)) * ceil_div(depth, words) * each
               for words, bits, each in shapes)  # fmt: skip


URAM_WORDS = 4096
URAM_BYTE_LANES = 9
"""Words of an UltraRAM, and bytes of a word that can be written apart (BWE_MODE PARITY_INDEPENDENT, AMD UG573), as
Yosys 0.70 uses them: 29 for 128 bytes x 8,192, 15 for 64 bytes x 6,144 (u280-sparse)."""

LUTRAM_BYTE = {
    Family.ULTRASCALE_PLUS: ((32, 8), (64, 16)), Family.SERIES7: ((64, 12),), Family.ECP5: ((16, 12),)
}  # fmt: skip
"""Words and LUTs of a LUTRAM one byte wide, which has a write enable of its own: a 32 x 14, or two 64 x 7 since Yosys
0.70 leaves no single bit to a smaller primitive; two 64 x 3 and two 64 x 1 in 4 + 4 + 2 + 2; two 16 x 4 in 6 + 6 LUT4.
"""


def multiplier_dsps(family: Family, bits: tuple[int, int]) -> int:
    """Return the DSP slices of a product of two signed factors; each further slice adds one bit less to a factor."""
    wide, narrow = MULTIPLIER_BITS[family]
    return min(ceil_div(a - 1, wide - 1) * ceil_div(b - 1, narrow - 1) for a, b in (bits, bits[::-1]))


ADDER_SEGMENTS = 4
"""Segments of a chain that a pair of DSP slices adds: two arrive at each, one takes what the other hands up."""


def adder_groups(segments: int) -> list[tuple[int, int]]:
    """Return the levels of the tree that adds the segments of a chain in DSP slices: groups, and segments of a group.

    A level of four segments takes two cycles, one of two takes one: those of `gossamer.arch.timing.adder_levels`.
    """
    levels = []
    while segments > 1:
        size = 2 if segments == 2 else ADDER_SEGMENTS
        segments = ceil_div(segments, size)
        levels.append((segments, size))
    return levels


def adder_dsps(sums: int, segments: int) -> int:
    """Return the DSP slices that add the segments of so many sums: two sums share a slice of two 24-bit adders."""
    return ceil_div(sums, 2) * sum(groups * size // 2 for groups, size in adder_groups(segments))


def _usable(bits: int, byte_writes: bool) -> int:
    """Return the bits of a primitive's word that data fills: 8 of 9 where bytes are written one by one."""
    return bits // 9 * 8 if byte_writes and bits >= 9 else bits


def _shapes(kind: MemoryKind, family: Family, read_ports: int) -> list[tuple[int, int, int]]:
    """Return (words, bits, primitives or LUTs) for each aspect ratio of a memory primitive.

    AMD UG573 and UG473 (block RAM: 72 bits wide with one port each way, 36 with two; half of one is half as wide),
    UG573 and AM007 (UltraRAM), Lattice FPGA-TN-02204 (DP16KD); LUTRAM: 64 x 7 or 32 x 14 in the 8 LUT6 of an
    UltraScale+ slice, 64 x 3 in the 4 of series 7, 16 x 4 in 6 LUT4 of an ECP5; its second read port doubles the LUTs.
    """
    ratios = [(1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)]
    match kind:
        case MemoryKind.BRAM36:
            whole = [(2 * words, bits, 2) for words, bits in ratios]
            wide = [(512, 72, 2), (512, 36, 1)] if read_ports == 1 else []
            return [*wide, (1024, 36, 2), *whole, *((words, bits, 1) for words, bits in ratios)]
        case MemoryKind.URAM288:
            wider = [(8192, 36, 1), (16384, 18, 1), (32768, 9, 1)]
            return [(4096, 72, 1), *(wider if family is Family.VERSAL else [])]
        case MemoryKind.DP16KD:
            return ([(512, 36, 1)] if read_ports == 1 else []) + [(words, bits, 1) for words, bits in ratios]
        case MemoryKind.LUTRAM:
            small = {Family.SERIES7: [(64, 3, 4)], Family.ECP5: [(16, 4, 6)]}.get(family, [(64, 7, 8), (32, 14, 8)])
            return [(words, bits, luts * read_ports) for words, bits, luts in small]
