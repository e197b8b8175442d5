"""Run VECTOR instructions: one kernel per operation, arithmetic of `gossamer.dataflow.numerics` in int64.

All take the block's rows, columns and channels (words times bytes per word), int8 activations with (start, bytes
between rows, bytes between columns) per operand, and the uint8 parameter buffer with the block's address. Slow twins of
all of them are in tests/unit/test_executor_instructions.py. A parameter block that cannot be used sets fault to
(status, offending value), statuses below, and the program ends there.
"""

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.numerics import (
    HEADER_DTYPE,
    LAYER_NORM_DTYPE,
    LAYER_NORM_FRACTION_BITS,
    LAYER_NORM_ROOT_BITS,
    MAX_SHIFT,
    MIN_SHIFT,
    REQUANTIZE_DTYPE,
    TABLE_BYTES,
)
from gossamer.sim.kernels import kernel

FAULT_SHIFT = 1
FAULT_CHANNELS = 2
FAULT_TABLE_END = 3
FAULT_SOFTMAX_SUM = 4
FAULT_VARIANCE = 5

FAULTS = {
    FAULT_SHIFT: f"shift must be in [{MIN_SHIFT}, {MAX_SHIFT}], not {{value}}",
    FAULT_CHANNELS: "channels must be at least 1 and at most the channels of the instruction's words, not {value}",
    FAULT_TABLE_END: "the table of the block must end within the parameter buffer, not at {value}",
    FAULT_SOFTMAX_SUM: "the exponentials of a row must have a positive sum, not {value}",
    FAULT_VARIANCE: "the variance of a row must be in [0, 2**46), not {value}",
}
"""What a fault's message says about its parameter block."""

VARIANCE_LIMIT = 2**46
"""Above it the shifted variance of LAYER_NORM, or the square of its root, would leave int64."""


def _offset(dtype: "np.dtype[np.void]", name: str) -> int:
    fields = dtype.fields
    assert fields is not None
    return int(fields[name][1])


_ZERO_A, _ZERO_B = _offset(HEADER_DTYPE, "zero_a"), _offset(HEADER_DTYPE, "zero_b")
_ZERO_OUT, _LOW, _HIGH = (_offset(HEADER_DTYPE, name) for name in ("zero_out", "low", "high"))
_SHIFT, _HAS_TABLE = _offset(HEADER_DTYPE, "shift"), _offset(HEADER_DTYPE, "has_table")
_MULT_A, _MULT_B = _offset(HEADER_DTYPE, "mult_a"), _offset(HEADER_DTYPE, "mult_b")
_CHANNELS, _EXTRA, _EPSILON = (_offset(HEADER_DTYPE, name) for name in ("channels", "extra", "epsilon"))
_HEADER_BYTES = HEADER_DTYPE.itemsize
_ENTRY_BYTES = REQUANTIZE_DTYPE.itemsize
_ENTRY_BIAS, _ENTRY_MULTIPLIER, _ENTRY_SHIFT = (
    _offset(REQUANTIZE_DTYPE, name) for name in ("bias", "multiplier", "shift")
)  # fmt: skip
_NORM_BYTES = LAYER_NORM_DTYPE.itemsize
_GAMMA, _BETA = _offset(LAYER_NORM_DTYPE, "gamma"), _offset(LAYER_NORM_DTYPE, "beta")

Acts = NDArray[np.int8]
Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Int = int | np.int64


@kernel
def _unsigned(par: Bytes, at: Int, count: Int) -> Int:
    """Return the little-endian unsigned number of `count` (at most 7) bytes at `at`."""
    value = np.int64(0)
    for byte in range(count):
        value |= np.int64(par[at + byte]) << (8 * byte)
    return value


@kernel
def _signed(par: Bytes, at: Int, count: Int) -> Int:
    """Return the little-endian two's-complement number of `count` (at most 8) bytes at `at`."""
    value = np.int64(par[at + count - 1])
    if value >= 128:
        value -= 256
    for byte in range(count - 2, -1, -1):
        value = value * 256 + np.int64(par[at + byte])
    return value


@kernel
def _limited(value: Int, low: Int, high: Int) -> Int:
    """Return value clamped to [low, high]; the lower limit wins, as in numerics.clamp."""
    if value > high:
        value = high
    return low if value < low else value


@kernel
def _shift_of(par: Bytes, block: Int, fault: Ints) -> Int:
    """Return the header's shift, or set a fault and return 0."""
    shift = np.int64(par[block + _SHIFT])
    if shift < MIN_SHIFT or shift > MAX_SHIFT:
        fault[0], fault[1] = FAULT_SHIFT, shift
        return 0
    return shift


@kernel
def _channels_of(par: Bytes, block: Int, limit: Int, fault: Ints) -> Int:
    """Return the header's count of real channels, or set a fault and return 0."""
    channels = _unsigned(par, block + _CHANNELS, 4)
    if channels < 1 or channels > limit:
        fault[0], fault[1] = FAULT_CHANNELS, channels
        return 0
    return channels


@kernel
def requantize(
    ny: Int, nx: Int, channels: Int, acc: NDArray[np.int32], entry: Int,
    act: Acts, d: Int, d_y: Int, d_x: Int, par: Bytes, block: Int, fault: Ints,
) -> None:  # fmt: skip
    """Run REQUANTIZE from accumulator entry `entry`; the bias is added in 32 bits and wraps, as in hardware."""
    constants = np.empty((3, channels), np.int64)
    for c in range(channels):
        at = block + _HEADER_BYTES + c * _ENTRY_BYTES
        constants[0, c] = _signed(par, at + _ENTRY_BIAS, 4)
        constants[1, c] = _signed(par, at + _ENTRY_MULTIPLIER, 4)
        shift = np.int64(par[at + _ENTRY_SHIFT])
        if shift < MIN_SHIFT or shift > MAX_SHIFT:
            fault[0], fault[1] = FAULT_SHIFT, shift
            return
        constants[2, c] = shift
    zero_out = _signed(par, block + _ZERO_OUT, 1)
    low, high = _signed(par, block + _LOW, 1), _signed(par, block + _HIGH, 1)
    has_table = par[block + _HAS_TABLE] != 0
    table_at = block + _HEADER_BYTES + channels * _ENTRY_BYTES
    if has_table and table_at + TABLE_BYTES > par.size:
        fault[0], fault[1] = FAULT_TABLE_END, table_at + TABLE_BYTES
        return
    entries = par.view(np.int8)
    for y in range(ny):
        for x in range(nx):
            target = d + y * d_y + x * d_x
            for c in range(channels):
                biased = np.int64(acc[entry + y * nx + x, c]) + constants[0, c]
                biased = ((biased + 2**31) & (2**32 - 1)) - 2**31
                shift = constants[2, c]
                scaled = (biased * constants[1, c] + (np.int64(1) << (shift - 1))) >> shift
                act[target + c] = _limited(zero_out + scaled, low, high)
            if has_table:
                for c in range(channels):
                    act[target + c] = entries[table_at + np.int64(act[target + c]) + 128]


@kernel
def binary(
    product: bool, ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int,
    b: Int, b_y: Int, b_x: Int, b_c: Int, d: Int, d_y: Int, d_x: Int, par: Bytes, block: Int, fault: Ints,
) -> None:  # fmt: skip
    """Run ADD, or MULTIPLY if `product`; with b_c = 1 one byte of B meets all channels."""
    shift = _shift_of(par, block, fault)
    if shift == 0:
        return
    zero_a, zero_b = _signed(par, block + _ZERO_A, 1), _signed(par, block + _ZERO_B, 1)
    zero_out = _signed(par, block + _ZERO_OUT, 1)
    low, high = _signed(par, block + _LOW, 1), _signed(par, block + _HIGH, 1)
    mult_a, mult_b = _signed(par, block + _MULT_A, 4), _signed(par, block + _MULT_B, 4)
    half = np.int64(1) << (shift - 1)
    step = 1 - b_c
    for y in range(ny):
        for x in range(nx):
            left, right, target = a + y * a_y + x * a_x, b + y * b_y + x * b_x, d + y * d_y + x * d_x
            for c in range(channels):
                p, q = np.int64(act[left + c]) - zero_a, np.int64(act[right + c * step]) - zero_b
                value = p * q * mult_a if product else mult_a * p + mult_b * q
                act[target + c] = _limited(zero_out + ((value + half) >> shift), low, high)


@kernel
def table(
    ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int,
    d: Int, d_y: Int, d_x: Int, par: Bytes, block: Int,
) -> None:  # fmt: skip
    """Run TABLE."""
    entries = par.view(np.int8)
    first = block + _HEADER_BYTES + 128
    for y in range(ny):
        for x in range(nx):
            source, target = a + y * a_y + x * a_x, d + y * d_y + x * d_x
            for c in range(channels):
                act[target + c] = entries[first + np.int64(act[source + c])]


@kernel
def copy(ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int, d: Int, d_y: Int, d_x: Int) -> None:
    """Run COPY."""
    for y in range(ny):
        for x in range(nx):
            source, target = a + y * a_y + x * a_x, d + y * d_y + x * d_x
            for c in range(channels):
                act[target + c] = act[source + c]


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
    d: Int, d_y: Int, d_x: Int, par: Bytes, block: Int, fault: Ints,
) -> None:  # fmt: skip
    """Run AVERAGE over kh * kw windows."""
    shift = _shift_of(par, block, fault)
    if shift == 0:
        return
    zero_a, zero_out = _signed(par, block + _ZERO_A, 1), _signed(par, block + _ZERO_OUT, 1)
    low, high = _signed(par, block + _LOW, 1), _signed(par, block + _HIGH, 1)
    mult_a = _signed(par, block + _MULT_A, 4)
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
                act[target + c] = _limited(zero_out + ((sums[c] * mult_a + half) >> shift), low, high)


@kernel
def softmax(
    ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int,
    d: Int, d_y: Int, d_x: Int, par: Bytes, block: Int, fault: Ints,
) -> None:  # fmt: skip
    """Run SOFTMAX over the header's real channels; the others become zero_out."""
    real = _channels_of(par, block, channels, fault)
    if real == 0:
        return
    zero_out = _signed(par, block + _ZERO_OUT, 1)
    exponentials = np.empty(256, np.int64)
    for q in range(256):
        exponentials[q] = _unsigned(par, block + _HEADER_BYTES + 4 * q, 4)
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
                fault[0], fault[1] = FAULT_SOFTMAX_SUM, total
                return
            for c in range(channels):
                value = zero_out
                if c < real:
                    value += (exponentials[top - act[source + c]] * 256 + total // 2) // total
                act[target + c] = _limited(value, -128, 127)


@kernel
def _square_root(value: Int) -> Int:
    """Return floor(sqrt(value)) of 0 <= value < 2**62."""
    root = np.int64(math.sqrt(value))
    while root * root > value:
        root -= 1
    while (root + 1) * (root + 1) <= value:
        root += 1
    return root


@kernel
def layer_norm(
    ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int,
    d: Int, d_y: Int, d_x: Int, par: Bytes, block: Int, fault: Ints,
) -> None:  # fmt: skip
    """Run LAYER_NORM over the header's real channels; the others become zero_out."""
    shift = _shift_of(par, block, fault)
    real = _channels_of(par, block, channels, fault)
    if shift == 0 or real == 0:
        return
    zero_out = _signed(par, block + _ZERO_OUT, 1)
    low, high = _signed(par, block + _LOW, 1), _signed(par, block + _HIGH, 1)
    epsilon = _signed(par, block + _EPSILON, 8)
    half = np.int64(1) << (shift - 1)
    gamma, beta = np.empty(real, np.int64), np.empty(real, np.int64)
    for c in range(real):
        gamma[c] = _signed(par, block + _HEADER_BYTES + c * _NORM_BYTES + _GAMMA, 4)
        beta[c] = _signed(par, block + _HEADER_BYTES + c * _NORM_BYTES + _BETA, 8)
    for y in range(ny):
        for x in range(nx):
            source, target = a + y * a_y + x * a_x, d + y * d_y + x * d_x
            total, squares = np.int64(0), np.int64(0)
            for c in range(real):
                q = np.int64(act[source + c])
                total += q
                squares += q * q
            spread = real * squares - total * total
            variance = spread + epsilon
            if epsilon >= VARIANCE_LIMIT or spread >= VARIANCE_LIMIT or variance < 0 or variance >= VARIANCE_LIMIT:
                fault[0], fault[1] = FAULT_VARIANCE, variance
                return
            root = _square_root(np.int64(1) if variance == 0 else variance << LAYER_NORM_ROOT_BITS)
            for c in range(channels):
                value = zero_out
                if c < real:
                    normal = ((real * np.int64(act[source + c]) - total) << LAYER_NORM_FRACTION_BITS) // root
                    value = _limited(zero_out + ((normal * gamma[c] + beta[c] + half) >> shift), low, high)
                act[target + c] = value


@kernel
def lrn(
    ny: Int, nx: Int, channels: Int, act: Acts, a: Int, a_y: Int, a_x: Int,
    d: Int, d_y: Int, d_x: Int, par: Bytes, block: Int, fault: Ints,
) -> None:  # fmt: skip
    """Run LRN over the header's real channels; the others become zero_out."""
    shift = _shift_of(par, block, fault)
    real = _channels_of(par, block, channels, fault)
    if shift == 0 or real == 0:
        return
    zero_a, zero_out = _signed(par, block + _ZERO_A, 1), _signed(par, block + _ZERO_OUT, 1)
    extra = _unsigned(par, block + _EXTRA, 4)
    window, index_shift = extra & 255, min(extra >> 8, MAX_SHIFT)
    half = np.int64(1) << (shift - 1)
    factors = np.empty(256, np.int64)
    for q in range(256):
        factors[q] = _signed(par, block + _HEADER_BYTES + 4 * q, 4)
    centred = np.empty(real, np.int64)
    for y in range(ny):
        for x in range(nx):
            source, target = a + y * a_y + x * a_x, d + y * d_y + x * d_x
            for c in range(real):
                centred[c] = np.int64(act[source + c]) - zero_a
            for c in range(channels):
                value = zero_out
                if c < real:
                    squares = np.int64(0)
                    for other in range(max(0, c - (window - 1) // 2), min(real, c + window // 2 + 1)):
                        squares += centred[other] * centred[other]
                    factor = factors[min(np.int64(255), squares >> index_shift)]
                    value = _limited(zero_out + ((centred[c] * factor + half) >> shift), -128, 127)
                act[target + c] = value
