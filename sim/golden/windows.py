"""Run the pooling kernels: maximum and average over windows of a feature map (batch, rows, columns, channels) int8.

Output row y, column x reads the input from row y * stride_y - top, column x * stride_x - left on; elements outside the
input do not take part.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.kernels import kernel


@kernel
def maximum(
    values: NDArray[np.int8],
    kernel_rows: int,
    kernel_columns: int,
    stride_y: int,
    stride_x: int,
    top: int,
    left: int,
    out: NDArray[np.int8],
) -> None:
    """Write the maximum of every window of values int8 (N, H, W, C) to out int8 (N, h, w, C)."""
    batch, rows, columns, channels = values.shape
    for line in range(batch * out.shape[1]):
        n, y = line // out.shape[1], line % out.shape[1]
        first_row, last_row = y * stride_y - top, y * stride_y - top + kernel_rows
        for x in range(out.shape[2]):
            first_column = x * stride_x - left
            for c in range(channels):
                out[n, y, x, c] = -128
            for iy in range(max(0, first_row), min(rows, last_row)):
                for ix in range(max(0, first_column), min(columns, first_column + kernel_columns)):
                    for c in range(channels):
                        out[n, y, x, c] = max(out[n, y, x, c], values[n, iy, ix, c])


@kernel
def average(
    values: NDArray[np.int8],
    kernel_rows: int,
    kernel_columns: int,
    stride_y: int,
    stride_x: int,
    top: int,
    left: int,
    bottom: int,
    right: int,
    zero_a: int,
    multipliers: NDArray[np.int64],
    shifts: NDArray[np.int64],
    zero_out: int,
    low: int,
    high: int,
    out: NDArray[np.int8],
) -> None:
    """Write the rescaled sum of every window of values int8 (N, H, W, C) to out int8 (N, h, w, C).

    multipliers and shifts int64 [kernel_rows * kernel_columns + 1] are indexed by the count of elements divided by. A
    caller that counts padding gives the pads counted as (top, left, bottom, right); else top and left are the window's
    offset only and bottom = -1 says that padding is not counted.
    """
    batch, rows, columns, channels = values.shape
    counts_pads = bottom >= 0
    for line in range(batch * out.shape[1]):
        n, y = line // out.shape[1], line % out.shape[1]
        first_row, last_row = y * stride_y - top, y * stride_y - top + kernel_rows
        sums = np.zeros(channels, np.int64)
        for x in range(out.shape[2]):
            first_column, last_column = x * stride_x - left, x * stride_x - left + kernel_columns
            sums[:] = 0
            for iy in range(max(0, first_row), min(rows, last_row)):
                for ix in range(max(0, first_column), min(columns, last_column)):
                    for c in range(channels):
                        sums[c] += np.int64(values[n, iy, ix, c]) - zero_a
            if counts_pads:
                count = (min(rows + bottom, last_row) - first_row) * (min(columns + right, last_column) - first_column)
            else:
                count = max(0, min(rows, last_row) - max(0, first_row))
                count *= max(0, min(columns, last_column) - max(0, first_column))
            shift = shifts[count]
            half = np.int64(1) << (shift - 1)
            for c in range(channels):
                scaled = (sums[c] * multipliers[count] + half) >> shift
                out[n, y, x, c] = min(max(zero_out + scaled, low), high)
