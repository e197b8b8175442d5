"""Define the integer arithmetic of the hardware, and the parameter blocks that carry its constants.

The functions here are the slow, obvious specification in Python integers; numba kernels, executor and RTL equal them.
Shifts of negative numbers are arithmetic (floor). Division `//` is floor division.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError

INT8_MIN, INT8_MAX = -128, 127
MAX_MULTIPLIER = 2**31 - 1
MIN_SHIFT, MAX_SHIFT = 1, 62


@dataclass(frozen=True, slots=True)
class QuantParams:
    """Per-tensor affine quantization: real = scale * (q - zero_point), q int8."""

    scale: float
    zero_point: int


HEADER_DTYPE = np.dtype(
    [
        ("zero_a", "i1"), ("zero_b", "i1"), ("zero_out", "i1"), ("low", "i1"), ("high", "i1"),
        ("shift", "u1"), ("has_table", "u1"), ("reserved", "u1"),
        ("mult_a", "<i4"), ("mult_b", "<i4"), ("channels", "<u4"), ("extra", "<u4"), ("epsilon", "<i8"),
    ]
)  # fmt: skip
"""Header of every parameter block, 32 bytes. `channels`: real channels of SOFTMAX, LAYER_NORM and LRN; `extra`: window
and index shift of LRN (window | shift << 8), what `pack_limits` gives of a REQUANTIZE_ADD; `epsilon`: added variance of
LAYER_NORM."""

REQUANTIZE_DTYPE = np.dtype([("bias", "<i4"), ("multiplier", "<i4"), ("shift", "u1"), ("reserved", "u1", 3)])
"""REQUANTIZE and REQUANTIZE_ADD: one 12-byte entry per channel (nc * group_size) after the header; then the table if
has_table. Of the header zero_out, low and high are those of the requantization; a REQUANTIZE_ADD has the factors, the
zero points and the shift of its addition as ADD has, and zero point and limits of the sum in `extra`."""

ADDEND_FACTOR_BITS = 18
"""Signed bits of mult_a and mult_b of a REQUANTIZE_ADD: one multiplier each. If the larger one needs all of them, half
a unit of both times 255 is less than 0.4 % of what the larger one makes of a step of its operand."""

LAYER_NORM_DTYPE = np.dtype([("gamma", "<i4"), ("reserved", "<i4"), ("beta", "<i8")])
"""LAYER_NORM: one entry per channel (nc * group_size of them) after the header, 16 bytes."""

TABLE_BYTES = 256
"""TABLE, and the table after a requantization: int8 entries, entry q + 128 is the result for q."""

WIDE_TABLE_BYTES = 1024
"""SOFTMAX: 256 uint32, entry d = max - q. LRN: 256 int32, entry min(255, sum of squares >> index shift)."""

LAYER_NORM_FRACTION_BITS = 23
LAYER_NORM_ROOT_BITS = 16


def clamp(value: int, low: int = INT8_MIN, high: int = INT8_MAX) -> int:
    """Return value limited to [low, high]."""
    return max(low, min(high, value))


def round_shift(value: int, shift: int) -> int:
    """Return (value + 2**(shift - 1)) >> shift: rounds half up."""
    return (value + (1 << (shift - 1))) >> shift


def requantize(
    acc: int, multiplier: int, shift: int, zero_point: int, low: int = INT8_MIN, high: int = INT8_MAX
) -> int:
    """Return clamp(zero_point + round_shift(acc * multiplier, shift)) (DESIGN section 5)."""
    return clamp(zero_point + round_shift(acc * multiplier, shift), low, high)


def add(a: int, b: int, *, zero_a: int, zero_b: int, mult_a: int, mult_b: int, shift: int, zero_out: int,
        low: int = INT8_MIN, high: int = INT8_MAX) -> int:  # fmt: skip
    """Return ADD: both operands rescaled with one common shift; a negative mult_b subtracts."""
    return clamp(zero_out + round_shift(mult_a * (a - zero_a) + mult_b * (b - zero_b), shift), low, high)


def requantize_add(q: int, b: int, *, zero_a: int, zero_b: int, mult_a: int, mult_b: int, shift: int,
                   extra: int) -> int:  # fmt: skip
    """Return REQUANTIZE_ADD: ADD of the byte q that REQUANTIZE would have written, table included, and b."""
    zero_out, low, high = unpack_limits(extra)
    return add(q, b, zero_a=zero_a, zero_b=zero_b, mult_a=mult_a, mult_b=mult_b, shift=shift, zero_out=zero_out,
               low=low, high=high)  # fmt: skip


def fits_addend_factor(*factors: int) -> bool:
    """Return whether factors of an addition are small enough for a REQUANTIZE_ADD."""
    limit = 1 << (ADDEND_FACTOR_BITS - 1)
    return all(-limit <= factor < limit for factor in factors)


def pack_limits(zero_out: int, low: int, high: int) -> int:
    """Return the `extra` of a REQUANTIZE_ADD: zero point, least and greatest value of the sum, a byte each."""
    return int.from_bytes(bytes(value & 0xFF for value in (zero_out, low, high)), "little")


def unpack_limits(extra: int) -> tuple[int, int, int]:
    """Return zero point, least and greatest value of the sum of a REQUANTIZE_ADD."""
    zero_out, low, high = ((extra >> 8 * place & 0xFF ^ 0x80) - 0x80 for place in range(3))
    return zero_out, low, high


def multiply(a: int, b: int, *, zero_a: int, zero_b: int, mult_a: int, shift: int, zero_out: int,
             low: int = INT8_MIN, high: int = INT8_MAX) -> int:  # fmt: skip
    """Return MULTIPLY."""
    return clamp(zero_out + round_shift((a - zero_a) * (b - zero_b) * mult_a, shift), low, high)


def average(window: list[int], *, zero_a: int, mult_a: int, shift: int, zero_out: int,
            low: int = INT8_MIN, high: int = INT8_MAX) -> int:  # fmt: skip
    """Return AVERAGE over one window; mult_a / 2**shift holds 1 / count and the rescaling."""
    return clamp(zero_out + round_shift(sum(value - zero_a for value in window) * mult_a, shift), low, high)


def softmax(row: list[int], exponentials: list[int], zero_out: int = INT8_MIN) -> list[int]:
    """Return SOFTMAX of one row of real channels; output scale is 1/256, zero point -128 as a rule."""
    top = max(row)
    terms = [exponentials[top - q] for q in row]
    total = sum(terms)
    return [clamp(zero_out + (term * 256 + total // 2) // total) for term in terms]


def layer_norm(row: list[int], gamma: list[int], beta: list[int], *, epsilon: int, shift: int, zero_out: int,
               low: int = INT8_MIN, high: int = INT8_MAX) -> list[int]:  # fmt: skip
    """Return LAYER_NORM of one row of real channels; `epsilon` is eps * channels**2 / scale**2, zero_a cancels."""
    channels, total = len(row), sum(row)
    variance = channels * sum(q * q for q in row) - total * total + epsilon
    root = max(1, math.isqrt(variance << LAYER_NORM_ROOT_BITS))
    normal = [((channels * q - total) << LAYER_NORM_FRACTION_BITS) // root for q in row]
    return [
        clamp(zero_out + round_shift(t * g + b, shift), low, high) for t, g, b in zip(normal, gamma, beta, strict=True)
    ]


def lrn(row: list[int], factors: list[int], *, window: int, index_shift: int, zero_a: int, shift: int, zero_out: int
        ) -> list[int]:  # fmt: skip
    """Return LRN of one row of real channels; the window is ONNX's: (window - 1) // 2 below, window // 2 above."""
    centred = [q - zero_a for q in row]
    result = []
    for c, x in enumerate(centred):
        squares = sum(v * v for v in centred[max(0, c - (window - 1) // 2) : c + window // 2 + 1])
        result.append(clamp(zero_out + round_shift(x * factors[min(255, squares >> index_shift)], shift)))
    return result


def quantize_multiplier(real: float) -> tuple[int, int]:
    """Return (multiplier, shift) with multiplier / 2**shift closest to `real`, multiplier in [0, 2**31).

    As precise as 31 bits allow: multiplier >= 2**30 unless the shift is at a limit. Raises ModelError if `real` is
    negative, not finite or at least 2**30.
    """
    if not math.isfinite(real) or real < 0 or real >= 2**30:
        raise ModelError(f"requantization ratio must be in [0, 2**30), not {real!r}: check this layer's scales")
    if real == 0:
        return 0, MIN_SHIFT
    fraction, exponent = math.frexp(real)
    shift = 31 - exponent
    multiplier = round(fraction * 2**31)
    if multiplier > MAX_MULTIPLIER:
        multiplier, shift = 2**30, shift - 1
    if shift > MAX_SHIFT:
        multiplier, shift = multiplier >> (shift - MAX_SHIFT), MAX_SHIFT
    return multiplier, shift


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantization:
    """int32 accumulators to int8, per output channel; what a REQUANTIZE block holds.

    bias int32 [channels] with the input's zero-point term folded in, multiplier int32 [channels] in [0, 2**31),
    shift uint8 [channels]; then clamp to [low, high]; then, if present, table int8 [256] indexed by q + 128.
    """

    bias: NDArray[np.int32]
    multiplier: NDArray[np.int32]
    shift: NDArray[np.uint8]
    zero_out: int
    low: int = INT8_MIN
    high: int = INT8_MAX
    table: NDArray[np.int8] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorParams:
    """Constants of every other VECTOR operation; field meanings as in HEADER_DTYPE and the functions above."""

    zero_a: int = 0
    zero_b: int = 0
    zero_out: int = 0
    mult_a: int = 0
    mult_b: int = 0
    shift: int = 1
    low: int = INT8_MIN
    high: int = INT8_MAX
    table: NDArray[np.int8] | None = None
    """TABLE: int8 [256]."""
    wide_table: NDArray[np.int64] | None = None
    """SOFTMAX, LRN: [256]."""
    gamma: NDArray[np.int64] | None = None
    beta: NDArray[np.int64] | None = None
    epsilon: int = 0
    window: int = 1
    index_shift: int = 0
