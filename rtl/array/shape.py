"""State the sizes of the sparse chain array and of its accumulator, and every width that follows from them."""

from dataclasses import dataclass

from gossamer.arch.accumulator import accumulator_entries, accumulator_rows, half_depths
from gossamer.arch.errors import GossamerError
from gossamer.arch.spec import MemoryKind, SparseAccelerator
from gossamer.arch.target import Target, dot_segments, segment_limit
from gossamer.arch.timing import adder_levels, ceil_div

PRODUCT_LIMIT_BITS = 14
"""The largest product of two int8 is 2**14, of -128 and -128."""


class ArrayShapeError(GossamerError):
    """An array of these sizes cannot be generated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayShape:
    """Sizes of the COMPUTE engine, named as in `gossamer.arch.spec`; `accumulator_entries` counts positions.

    `target`: whose primitives multiply; sizes, values and cycles do not depend on it.

    Raises ArrayShapeError naming the size that cannot be generated.
    """

    group_size: int
    chains: int
    chain_length: int
    lanes: int
    weight_rows_per_cycle: int
    vector_lanes: int
    accumulator_entries: int
    accumulator_memory: MemoryKind = MemoryKind.BRAM36
    target: Target = Target.GENERIC

    def __post_init__(self) -> None:
        for name in ("group_size", "chains", "chain_length", "lanes", "weight_rows_per_cycle", "vector_lanes"):
            if getattr(self, name) < 1:
                raise ArrayShapeError(f"`{name}` must be at least 1, not {getattr(self, name)}")
        if self.group_size not in (4, 8, 16):
            raise ArrayShapeError(f"`group_size` must be 4, 8 or 16, not {self.group_size}")
        if self.chains % 8:
            raise ArrayShapeError(f"`chains` must be a multiple of 8, not {self.chains}")
        if self.lanes > 16:
            raise ArrayShapeError(f"`lanes` must be at most 16, not {self.lanes}")
        if self.chain_length % self.weight_rows_per_cycle:
            raise ArrayShapeError(
                f"`chain_length` must be a multiple of `weight_rows_per_cycle` ({self.weight_rows_per_cycle}), "
                f"not {self.chain_length}"
            )
        limit = segment_limit(self.target, self.lanes, self.weight_rows_per_cycle)
        if limit is not None and self.segment_stages > limit:
            raise ArrayShapeError(
                f"`chain_length` must be at most {limit} x `weight_rows_per_cycle` "
                f"({limit * self.weight_rows_per_cycle}) on target {self.target}, not {self.chain_length}"
            )
        if self.vector_lanes % self.group_size:
            raise ArrayShapeError(
                f"`vector_lanes` must be a multiple of `group_size` ({self.group_size}), not {self.vector_lanes}"
            )
        if self.accumulator_entries < 2 * self.lanes:
            raise ArrayShapeError(
                f"`accumulator_entries` must be at least 2 x `lanes` ({2 * self.lanes}), not {self.accumulator_entries}"
            )

    @classmethod
    def of(cls, spec: SparseAccelerator, target: Target = Target.GENERIC) -> "ArrayShape":
        """Return the shape of an accelerator's array."""
        array = spec.array
        return cls(
            group_size=array.group_size, chains=array.chains, chain_length=array.chain_length, lanes=array.lanes,
            weight_rows_per_cycle=array.weight_rows_per_cycle, vector_lanes=spec.vector.lanes,
            accumulator_entries=accumulator_entries(spec), accumulator_memory=spec.buffers.accumulator.memory,
            target=target,
        )  # fmt: skip

    @property
    def word_bits(self) -> int:
        """Bits of one activation word."""
        return 8 * self.group_size

    @property
    def select_bits(self) -> int:
        """Bits that choose one activation of a word."""
        return self.group_size.bit_length() - 1

    @property
    def segment_stages(self) -> int:
        """Stages of one segment: a chain is cut into as many segments as weight rows arrive in a cycle."""
        return self.chain_length // self.weight_rows_per_cycle

    @property
    def dot_segments(self) -> int:
        """Segments that share DSP slices, each a term of their dot products; 1 where none do."""
        return dot_segments(self.target, self.weight_rows_per_cycle)

    @property
    def segment_groups(self) -> int:
        """Groups of `dot_segments` segments; the last may lack some."""
        return ceil_div(self.weight_rows_per_cycle, self.dot_segments)

    @property
    def segment_sum_bits(self) -> int:
        """Bits of a signed sum of one product per stage of a group of segments."""
        return sum_bits(self.segment_stages * self.dot_segments)

    @property
    def sum_bits(self) -> int:
        """Bits of a signed sum of one product per stage of a chain."""
        return sum_bits(self.chain_length)

    @property
    def adder_levels(self) -> int:
        """Cycles to add the segments of a chain: registered levels of a tree, whatever adds."""
        return adder_levels(self.weight_rows_per_cycle)

    @property
    def delay_levels(self) -> int:
        """Cycles among these for which there is nothing left to add: DSP slices have added segments by themselves."""
        return self.adder_levels - adder_levels(self.segment_groups)

    @property
    def half_rows(self) -> int:
        """Rows (entries of each lane) in the lower half of the accumulator, a power of two."""
        return half_depths(self.accumulator_entries, self.lanes)[0]

    @property
    def upper_rows(self) -> int:
        """Rows in the upper half."""
        return half_depths(self.accumulator_entries, self.lanes)[1]

    @property
    def row_bits(self) -> int:
        """Bits of a row's address; the most significant one is the half."""
        return self.half_rows.bit_length()

    @property
    def half_row_bits(self) -> int:
        """Bits of a row's address within a half, as a port."""
        return max(1, self.row_bits - 1)

    @property
    def entry_bits(self) -> int:
        """Bits of an accumulator entry's number."""
        return (self.accumulator_entries - 1).bit_length()

    @property
    def accumulator_rows(self) -> int:
        """Entries of each lane."""
        return accumulator_rows(self.accumulator_entries, self.lanes)


def sum_bits(products: int) -> int:
    """Return the bits of a signed sum of this many products of two int8."""
    return (products << PRODUCT_LIMIT_BITS).bit_length() + 1
