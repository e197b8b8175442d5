"""Run VECTOR instructions: one kernel per operation, arithmetic of `gossamer.dataflow.numerics` in int64.

All take the block's rows, columns and channels (words times bytes per word), int8 activations, (start, bytes between
rows, bytes between columns) per operand, and constants that `executor_blocks` took out of the parameter block. Slow
twins of all of them are in tests/support/replay_twin.py. Callers have checked addresses and constants.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.numerics import LAYER_NORM_FRACTION_BITS, LAYER_NORM_ROOT_BITS
from gossamer.sim.kernels import kernel

VARIANCE_LIMIT = 2**46
"""From here on the shifted variance of LAYER_NORM, or the square of its root, would leave int64."""

Acts = NDArray[np.int8]
Ints = NDArray[np.int64]
Int = int | np.int64


@kernel
def requantize(
    ny: Int, nx: Int, channels: Int, acc: NDArray[np.int32], entry: Int, act: Acts, d: Int, d_y: Int, d_x: Int,
    bias: Ints, multiplier: Ints, shift: Ints, zero_out: Int, low: Int, high: Int, table: Acts,
) -> None:  # fmt: skip
    """Run REQUANTIZE from accumulator entry `entry`; bias, multiplier, shift int64 [channels], table int8 [256]."""
    for y in range(ny):
        for x in range(nx):
            target = d + y * d_y + x * d_x
            for c in range(channels):
                biased = np.int64(np.int32(acc[entry + y * nx + x, c] + bias[c]))  # 32 bits, wrapping
                scaled = (biased * multiplier[c] + (np.int64(1) << (shift[c] - 1))) >> shift[c]
                act[target + c] = table[max(low, min(high, zero_out + scaled)) + 128]


@kernel
def requantize_add(
    ny: Int, nx: Int, channels: Int, acc: NDArray[np.int32], entry: Int, act: Acts, b: Int, b_y: Int, b_x: Int,
    b_e: Int, d: Int, d_y: Int, d_x: Int, bias: Ints, multiplier: Ints, shift: Ints, zero_out: Int, low: Int, high: Int,
    table: Acts, zero_a: Int, zero_b: Int, mult_a: Int, mult_b: Int, sum_shift: Int, sum_zero: Int, sum_low: Int,
    sum_high: Int,
) -> None:  # fmt: skip
    """Run REQUANTIZE_ADD: what `requantize` gives as source A of `add`, whose constants follow the table."""
    half = np.int64(1) << (sum_shift - 1)
    for y in range(ny):
        for x in range(nx):
            right, target = b + y * b_y + x * b_x, d + y * d_y + x * d_x
            for c in range(channels):
                biased = np.int64(np.int32(acc[entry + y * nx + x, c] + bias[c]))  # 32 bits, wrapping
                scaled = (biased * multiplier[c] + (np.int64(1) << (shift[c] - 1))) >> shift[c]
                one = np.int64(table[max(low, min(high, zero_out + scaled)) + 128]) - zero_a
                value = mult_a * one + mult_b * (np.int64(act[right + c * b_e]) - zero_b)
                act[target + c] = max(sum_low, min(sum_high, sum_zero + ((value + half) >> sum_shift)))


@kernel
def add(
    ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int, b: Int, b_y: Int, b_x: Int, b_e: Int,
    d: Int, d_y: Int, d_x: Int, zero_a: Int, zero_b: Int, mult_a: Int, mult_b: Int, shift: Int, zero_out: Int,
    low: Int, high: Int,
) -> None:  # fmt: skip
    """Run ADD; b_e is 0 if one byte of B meets all channels, else 1."""
    half = np.int64(1) << (shift - 1)
    for y in range(ny):
        for x in range(nx):
            left, right, target = a + y * a_y + x * a_x, b + y * b_y + x * b_x, d + y * d_y + x * d_x
            for c in range(channels):
                one, other = np.int64(act[left + c]) - zero_a, np.int64(act[right + c * b_e]) - zero_b
                value = mult_a * one + mult_b * other
                act[target + c] = max(low, min(high, zero_out + ((value + half) >> shift)))


@kernel
def multiply(
    ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int, b: Int, b_y: Int, b_x: Int, b_e: Int,
    d: Int, d_y: Int, d_x: Int, zero_a: Int, zero_b: Int, mult_a: Int, shift: Int, zero_out: Int, low: Int, high: Int,
) -> None:  # fmt: skip
    """Run MULTIPLY; b_e is 0 if one byte of B meets all channels, else 1."""
    half = np.int64(1) << (shift - 1)
    for y in range(ny):
        for x in range(nx):
            left, right, target = a + y * a_y + x * a_x, b + y * b_y + x * b_x, d + y * d_y + x * d_x
            for c in range(channels):
                one, other = np.int64(act[left + c]) - zero_a, np.int64(act[right + c * b_e]) - zero_b
                value = one * other * mult_a
                act[target + c] = max(low, min(high, zero_out + ((value + half) >> shift)))


@kernel
def look_up(
    ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int, d: Int, d_y: Int, d_x: Int, table: Acts
) -> None:
    """Run TABLE, and COPY with the identity; table int8 [256]."""
    for y in range(ny):
        for x in range(nx):
            source, target = a + y * a_y + x * a_x, d + y * d_y + x * d_x
            for c in range(channels):
                act[target + c] = table[np.int64(act[source + c]) + 128]


@kernel
def maximum(
    ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int, a_ky: Int, a_kx: Int, kh: Int, kw: Int,
    d: Int, d_y: Int, d_x: Int,
) -> None:  # fmt: skip
    """Run MAXIMUM over kh * kw windows; it has no parameters."""
    best = np.empty(channels, np.int8)
    for y in range(ny):
        for x in range(nx):
            best[:] = -128
            for ky in range(kh):
                for kx in range(kw):
                    source = a + y * a_y + x * a_x + ky * a_ky + kx * a_kx
                    for c in range(channels):
                        best[c] = max(best[c], act[source + c])
            target = d + y * d_y + x * d_x
            for c in range(channels):
                act[target + c] = best[c]


@kernel
def average(
    ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int, a_ky: Int, a_kx: Int, kh: Int, kw: Int,
    d: Int, d_y: Int, d_x: Int, zero_a: Int, mult_a: Int, shift: Int, zero_out: Int, low: Int, high: Int,
) -> None:  # fmt: skip
    """Run AVERAGE over kh * kw windows."""
    half = np.int64(1) << (shift - 1)
    sums = np.empty(channels, np.int64)
    for y in range(ny):
        for x in range(nx):
            sums[:] = -zero_a * kh * kw
            for ky in range(kh):
                for kx in range(kw):
                    source = a + y * a_y + x * a_x + ky * a_ky + kx * a_kx
                    for c in range(channels):
                        sums[c] += act[source + c]
            target = d + y * d_y + x * d_x
            for c in range(channels):
                act[target + c] = max(low, min(high, zero_out + ((sums[c] * mult_a + half) >> shift)))


@kernel
def softmax(
    ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int, d: Int, d_y: Int, d_x: Int,
    real: Int, exponentials: Ints, zero_out: Int,
) -> Int:  # fmt: skip
    """Run SOFTMAX over `real` channels, zero_out in the others; exponentials int64 [256].

    Returns 0, or 1 as soon as a row's exponentials add up to nothing.
    """
    for y in range(ny):
        for x in range(nx):
            source, target = a + y * a_y + x * a_x, d + y * d_y + x * d_x
            top = np.int64(-128)
            for c in range(real):
                top = max(top, np.int64(act[source + c]))
            total = np.int64(0)
            for c in range(real):
                total += exponentials[top - act[source + c]]
            if total == 0:
                return 1
            for c in range(real):
                term = exponentials[top - act[source + c]]
                act[target + c] = max(-128, min(127, zero_out + (term * 256 + total // 2) // total))
            for c in range(real, channels):
                act[target + c] = zero_out
    return 0


@kernel
def layer_norm(
    ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int, d: Int, d_y: Int, d_x: Int,
    real: Int, gamma: Ints, beta: Ints, epsilon: Int, shift: Int, zero_out: Int, low: Int, high: Int,
) -> Int:  # fmt: skip
    """Run LAYER_NORM over `real` channels, zero_out in the others; gamma, beta int64 [real].

    Returns 0, or 1 as soon as a row's variance is not in [0, VARIANCE_LIMIT).
    """
    half = np.int64(1) << (shift - 1)
    for y in range(ny):
        for x in range(nx):
            source, target = a + y * a_y + x * a_x, d + y * d_y + x * d_x
            total, squares = np.int64(0), np.int64(0)
            for c in range(real):
                q = np.int64(act[source + c])
                total += q
                squares += q * q
            variance = real * squares - total * total + epsilon
            if variance < 0 or variance >= VARIANCE_LIMIT:
                return 1
            shifted = variance << LAYER_NORM_ROOT_BITS
            root = np.int64(math.sqrt(shifted))
            while root * root > shifted:  # the float root may be off by one
                root -= 1
            while (root + 1) * (root + 1) <= shifted:
                root += 1
            root = max(np.int64(1), root)
            for c in range(real):
                normal = ((real * np.int64(act[source + c]) - total) << LAYER_NORM_FRACTION_BITS) // root
                act[target + c] = max(low, min(high, zero_out + ((normal * gamma[c] + beta[c] + half) >> shift)))
            for c in range(real, channels):
                act[target + c] = zero_out
    return 0


@kernel
def lrn(
    ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int, d: Int, d_y: Int, d_x: Int,
    real: Int, factors: Ints, window: Int, index_shift: Int, zero_a: Int, shift: Int, zero_out: Int,
) -> None:  # fmt: skip
    """Run LRN over `real` channels, zero_out in the others; factors int64 [256]."""
    half = np.int64(1) << (shift - 1)
    centred = np.empty(real, np.int64)
    for y in range(ny):
        for x in range(nx):
            source, target = a + y * a_y + x * a_x, d + y * d_y + x * d_x
            for c in range(real):
                centred[c] = np.int64(act[source + c]) - zero_a
            for c in range(real):
                squares = np.int64(0)
                for other in range(max(0, c - (window - 1) // 2), min(real, c + window // 2 + 1)):
                    squares += centred[other] * centred[other]
                factor = factors[min(np.int64(255), squares >> index_shift)]
                act[target + c] = max(-128, min(127, zero_out + ((centred[c] * factor + half) >> shift)))
            for c in range(real, channels):
                act[target + c] = zero_out
