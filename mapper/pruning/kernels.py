"""Select and count N:M groups at memory speed. Twins in tests/unit/test_prune.py."""

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.kernels import kernel

Weights = NDArray[np.float32] | NDArray[np.int8]


@kernel
def _select_of_four(values: Weights, n: int, mask: NDArray[np.bool_]) -> None:
    """Set mask (weights,) as `select_largest` does, for whole groups of four: straight code, which LLVM vectorizes."""
    for group in range(values.size // 4):
        at = 4 * group
        a, b = abs(np.float32(values[at])), abs(np.float32(values[at + 1]))
        c, d = abs(np.float32(values[at + 2])), abs(np.float32(values[at + 3]))
        ba, ca, da, cb, db, dc = int(b > a), int(c > a), int(d > a), int(c > b), int(d > b), int(d > c)
        mask[at] = ba + ca + da < n
        mask[at + 1] = 1 - ba + cb + db < n
        mask[at + 2] = 2 - ca - cb + dc < n
        mask[at + 3] = 3 - da - db - dc < n


@kernel
def select_largest(rows: Weights, n: int, m: int, mask: NDArray[np.bool_]) -> None:
    """Set mask (rows, channels) where a magnitude is among the n largest of its m consecutive channels.

    rows (rows, channels); the last group of a row may be short; of equal magnitudes the first is kept.
    """
    count, channels = rows.shape
    if m == 4 and channels % 4 == 0:
        _select_of_four(rows.reshape(-1), n, mask.reshape(-1))
        return
    magnitude = np.empty(16, np.float32)
    rank = np.empty(16, np.int64)
    for row in range(count):
        for start in range(0, channels, m):
            size = min(m, channels - start)
            for i in range(size):
                magnitude[i] = abs(float(rows[row, start + i]))
                rank[i] = 0
            # Counting ranks has no data-dependent branch: about twice as fast as selecting the maximum n times.
            for i in range(size - 1):
                mine = magnitude[i]
                ahead = 0
                for j in range(i + 1, size):
                    larger = int(magnitude[j] > mine)
                    ahead += larger
                    rank[j] += 1 - larger
                rank[i] += ahead
            for i in range(size):
                mask[row, start + i] = rank[i] < n


@kernel
def count_nonzeros(rows: Weights, largest: NDArray[np.int64]) -> None:
    """Raise largest[k] to the most nonzeros found in any group of 2 << k consecutive channels, k = 0 .. 3.

    rows (rows, channels); groups start anew in every row.
    """
    count, channels = rows.shape
    for row in range(count):
        in_4 = in_8 = in_16 = 0
        for start in range(0, channels, 2):
            in_2 = int(rows[row, start] != 0)
            if start + 1 < channels:
                in_2 += int(rows[row, start + 1] != 0)
            if start % 4 == 0:
                in_4 = 0
            if start % 8 == 0:
                in_8 = 0
            if start % 16 == 0:
                in_16 = 0
            in_4 += in_2
            in_8 += in_2
            in_16 += in_2
            largest[0] = max(largest[0], in_2)
            largest[1] = max(largest[1], in_4)
            largest[2] = max(largest[2], in_8)
            largest[3] = max(largest[3], in_16)
