"""Name the N:M sparsity pattern and its storage accounting."""

import re
from dataclasses import dataclass

from gossamer.arch.errors import ModelError

_GROUP_SIZES = (2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class NmPattern:
    """At most `n` nonzeros in each group of `m` consecutive elements of the reduction axis.

    The reduction axis is in the order the hardware consumes it: kernel row, kernel column, channel innermost, channels
    padded to a multiple of m (DESIGN section 5).
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if self.m not in _GROUP_SIZES or not 1 <= self.n <= self.m:
            raise ModelError(
                f"sparsity pattern must be N:M with M one of 2, 4, 8, 16 and 1 <= N <= M, not {self.n}:{self.m}"
            )

    @classmethod
    def parse(cls, text: str) -> "NmPattern":
        """Return the pattern written as `2:4`. Raises ModelError for anything else."""
        match = re.fullmatch(r"(\d{1,2}):(\d{1,2})", text.strip())
        if match is None:
            raise ModelError(f"sparsity pattern must look like 2:4, not {text!r}")
        return cls(int(match[1]), int(match[2]))

    @property
    def index_bits(self) -> int:
        """Bits of one stored index: log2(m)."""
        return self.m.bit_length() - 1

    @property
    def density(self) -> float:
        """Kept share of the weights, n / m."""
        return self.n / self.m

    def bits_per_dense_weight(self, value_bits: int = 8) -> float:
        """Return stored bits (value and index planes) per weight of the dense tensor; 2:4 int8 is 5.00."""
        return self.n * (value_bits + self.index_bits) / self.m

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"
