"""Accumulate convolutions and matrix products of int8 in int32, exactly as the array does (wrapping in 32 bits).

Feature maps are (batch, rows, columns, channels) int8, already padded with the input's zero point; weights are
(out_channels, kernel rows, kernel columns, channels of a group) int8. Results are raw sums of products: zero points are
the business of the folded bias.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.kernels import kernel


@kernel
def convolve_direct(
    padded: NDArray[np.int8],
    weight: NDArray[np.int8],
    stride_y: int,
    stride_x: int,
    dilation_y: int,
    dilation_x: int,
    groups: int,
    acc: NDArray[np.int32],
) -> None:
    """Accumulate any convolution: padded (N, H, W, C), weight (O, KH, KW, C / groups), acc (N, h, w, O)."""
    outputs, kernel_rows, kernel_columns, channels = weight.shape
    per_group = outputs // groups
    for line in range(padded.shape[0] * acc.shape[1]):
        n, y = line // acc.shape[1], line % acc.shape[1]
        for x in range(acc.shape[2]):
            for o in range(outputs):
                first = (o // per_group) * channels
                total = np.int32(0)
                for ky in range(kernel_rows):
                    for kx in range(kernel_columns):
                        iy, ix = y * stride_y + ky * dilation_y, x * stride_x + kx * dilation_x
                        for c in range(channels):
                            product = np.int32(padded[n, iy, ix, first + c]) * np.int32(weight[o, ky, kx, c])
                            total = np.int32(total + product)
                acc[n, y, x, o] = total


@kernel
def convolve_depthwise(
    padded: NDArray[np.int8],
    weight: NDArray[np.int8],
    stride_y: int,
    stride_x: int,
    dilation_y: int,
    dilation_x: int,
    acc: NDArray[np.int32],
) -> None:
    """Accumulate one output channel per input channel: padded (N, H, W, C), weight (KH, KW, C), acc (N, h, w, C)."""
    kernel_rows, kernel_columns, channels = weight.shape
    for line in range(padded.shape[0] * acc.shape[1]):
        n, y = line // acc.shape[1], line % acc.shape[1]
        for x in range(acc.shape[2]):
            for c in range(channels):
                acc[n, y, x, c] = 0
            for ky in range(kernel_rows):
                for kx in range(kernel_columns):
                    iy, ix = y * stride_y + ky * dilation_y, x * stride_x + kx * dilation_x
                    for c in range(channels):
                        acc[n, y, x, c] += np.int32(padded[n, iy, ix, c]) * np.int32(weight[ky, kx, c])


@kernel
def convolve_compressed(
    padded: NDArray[np.int8],
    values: NDArray[np.int8],
    indices: NDArray[np.uint8],
    group_elements: int,
    channels: int,
    stride_y: int,
    stride_x: int,
    dilation_y: int,
    dilation_x: int,
    groups: int,
    acc: NDArray[np.int32],
) -> None:
    """Accumulate from the N:M form: padded (N, H, W, C), values and indices (O, KH, KW, C / groups / M, slots).

    group_elements is M, channels is C / groups; acc (N, h, w, O).
    """
    outputs, kernel_rows, kernel_columns, blocks, slots = values.shape
    per_group = outputs // groups
    for line in range(padded.shape[0] * acc.shape[1]):
        n, y = line // acc.shape[1], line % acc.shape[1]
        for x in range(acc.shape[2]):
            for o in range(outputs):
                first = (o // per_group) * channels
                total = np.int32(0)
                for ky in range(kernel_rows):
                    for kx in range(kernel_columns):
                        iy, ix = y * stride_y + ky * dilation_y, x * stride_x + kx * dilation_x
                        for block in range(blocks):
                            for slot in range(slots):
                                c = first + block * group_elements + np.int64(indices[o, ky, kx, block, slot])
                                product = np.int32(padded[n, iy, ix, c]) * np.int32(values[o, ky, kx, block, slot])
                                total = np.int32(total + product)
                acc[n, y, x, o] = total


@kernel
def convolve_transposed(
    values: NDArray[np.int8],
    weight: NDArray[np.int8],
    zero: int,
    stride_y: int,
    stride_x: int,
    top: int,
    left: int,
    acc: NDArray[np.int32],
) -> None:
    """Accumulate a transposed convolution as a convolution over the map spread out with its zero point in between.

    values int8 (N, H, W, C) unpadded, weight (O, KH, KW, C), acc (N, h, w, O). A tap that falls between or outside the
    elements meets the zero point, so that one folded bias per channel serves every output position.
    """
    batch, rows, columns, channels = values.shape
    outputs, kernel_rows, kernel_columns, _ = weight.shape
    for line in range(batch * acc.shape[1]):
        n, y = line // acc.shape[1], line % acc.shape[1]
        for x in range(acc.shape[2]):
            for o in range(outputs):
                total = np.int32(0)
                for ky in range(kernel_rows):
                    for kx in range(kernel_columns):
                        ty, tx = y + top - ky, x + left - kx
                        iy, ix = ty // stride_y, tx // stride_x
                        real = ty % stride_y == 0 and tx % stride_x == 0 and 0 <= iy < rows and 0 <= ix < columns
                        for c in range(channels):
                            q = np.int32(values[n, iy, ix, c]) if real else np.int32(zero)
                            total = np.int32(total + q * np.int32(weight[o, ky, kx, c]))
                acc[n, y, x, o] = total


@kernel
def multiply_batches(a: NDArray[np.int8], b: NDArray[np.int8], zero_a: int, acc: NDArray[np.int32]) -> None:
    """Accumulate (a - zero_a) b for each of B pairs: a (B, T, K), b transposed (B, C, K), acc (B, T, C)."""
    batch, positions, reduction = a.shape
    channels = b.shape[1]
    for line in range(batch * positions):
        n, t = line // positions, line % positions
        for c in range(channels):
            total = np.int32(0)
            for k in range(reduction):
                total = np.int32(total + (np.int32(a[n, t, k]) - np.int32(zero_a)) * np.int32(b[n, c, k]))
            acc[n, t, c] = total
