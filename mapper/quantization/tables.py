"""Turn real functions and scales into the constants of `gossamer.dataflow.numerics`: tables, multipliers, ranges."""

import math

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.functions import apply_steps
from gossamer.dataflow.network import Function, LayerNorm, Lrn, Step
from gossamer.dataflow.numerics import (
    ADDEND_FACTOR_BITS,
    INT8_MAX,
    INT8_MIN,
    LAYER_NORM_FRACTION_BITS,
    LAYER_NORM_ROOT_BITS,
    MAX_MULTIPLIER,
    MAX_SHIFT,
    MIN_SHIFT,
    QuantParams,
    VectorParams,
    quantize_multiplier,
)

SATURATING_RATIO = 2.0**29
"""Ratios are limited to this: any ratio above 256 already saturates every nonzero product, so no result changes."""

SOFTMAX_FRACTION_BITS = 23
"""Entry 0 of a softmax table, exp(0), is 2**23: rows of up to 2**32 channels cannot overflow 64 bits after * 256."""

_EPSILON_LIMIT = 2**45
"""Keeps the variance of LAYER_NORM, shifted left by LAYER_NORM_ROOT_BITS, below 2**62; only a constant tensor, with its
vanishing scale, comes near it."""

_BETA_LIMIT_BITS = 60


def quantized(values: NDArray[np.float64], quant: QuantParams) -> NDArray[np.int8]:
    """Return real values as int8; NaN becomes zero, infinity saturates."""
    with np.errstate(over="ignore"):
        scaled = np.rint(
            np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=1e300, neginf=-1e300) / quant.scale
        )
    codes: NDArray[np.int8] = np.clip(scaled + quant.zero_point, INT8_MIN, INT8_MAX).astype(np.int8)
    return codes


def dequantized(values: NDArray[np.int8], quant: QuantParams) -> NDArray[np.float64]:
    """Return scale * (q - zero_point)."""
    return quant.scale * (values.astype(np.float64) - quant.zero_point)


def clamp_limits(steps: tuple[Step, ...]) -> tuple[float, float] | None:
    """Return the interval that a chain of relu and clip limits its argument to, or None if other steps occur."""
    low, high = -math.inf, math.inf
    for step in steps:
        match step.function:
            case Function.RELU:
                floor, ceiling = 0.0, math.inf
            case Function.CLIP:
                floor, ceiling = step.arguments
            case _:
                return None
        low, high = min(max(low, floor), ceiling), min(max(high, floor), ceiling)
    return low, high


def clamp_codes(steps: tuple[Step, ...], quant: QuantParams) -> tuple[int, int]:
    """Return the int8 limits of a chain of relu and clip.

    Exact: quantization is monotone, so clamping the codes and quantizing the clamped value give the same int8.
    """
    limits = clamp_limits(steps)
    if limits is None:
        raise ValueError("clamp_codes takes relu and clip only")
    low, high = quantized(np.array(limits), quant)
    return int(low), int(high)


def unary_table(steps: tuple[Step, ...], source: QuantParams, target: QuantParams) -> NDArray[np.int8]:
    """Return int8 [256], entry q + 128 the quantized function of code q; no steps only change the format."""
    return quantized(_evaluate(steps, dequantized(np.arange(INT8_MIN, INT8_MAX + 1).astype(np.int8), source)), target)


def trim_flat_ends(steps: tuple[Step, ...], low: float, high: float, tolerance: float) -> tuple[float, float]:
    """Return [low, high] without the ends where the function stays within `tolerance` of its value at that end.

    A sigmoid's table then spends its 256 entries where the function moves. 0 stays inside.
    """
    points = np.linspace(low, high, 2049)
    values = _evaluate(steps, points)
    moved_low = np.flatnonzero(np.abs(values - values[0]) > tolerance)
    moved_high = np.flatnonzero(np.abs(values - values[-1]) > tolerance)
    if not moved_low.size or not moved_high.size:
        return low, high
    first, last = max(int(moved_low[0]) - 1, 0), min(int(moved_high[-1]) + 1, points.size - 1)
    return min(float(points[first]), 0.0), max(float(points[last]), 0.0)


def ratio_multiplier(ratio: float) -> tuple[int, int]:
    """Return (multiplier, shift) of a non-negative ratio of scales, saturating ones limited."""
    return quantize_multiplier(min(ratio, SATURATING_RATIO))


def ratio_multipliers(ratios: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return multipliers int32 and shifts uint8 of many ratios: `ratio_multiplier` of each."""
    fraction, exponent = np.frexp(np.minimum(ratios, SATURATING_RATIO))
    multiplier = np.rint(fraction * 2.0**31).astype(np.int64)
    shift = 31 - exponent.astype(np.int64)
    full = multiplier > MAX_MULTIPLIER
    multiplier = np.where(full, 2**30, multiplier)
    shift = np.where(full, shift - 1, shift)
    excess = np.clip(shift - MAX_SHIFT, 0, 62)
    multiplier, shift = multiplier >> excess, np.minimum(shift, MAX_SHIFT)
    shift = np.where(ratios == 0, MIN_SHIFT, shift)
    return multiplier.astype(np.int32), shift.astype(np.uint8)


def common_multipliers(first: float, second: float) -> tuple[int, int, int]:
    """Return (mult_a, mult_b, shift) of two ratios with one shift; they fit a REQUANTIZE_ADD, the larger tightly.

    Ratios of 2**16 and more, where every difference saturates, have up to 31 bits.
    """
    first, second = min(first, SATURATING_RATIO), min(second, SATURATING_RATIO)
    _, shift = quantize_multiplier(max(first, second))
    shift, limit = shift - (32 - ADDEND_FACTOR_BITS), (1 << (ADDEND_FACTOR_BITS - 1)) - 1
    if shift < MIN_SHIFT:
        shift, limit = MIN_SHIFT, MAX_MULTIPLIER
    return min(round(math.ldexp(first, shift)), limit), min(round(math.ldexp(second, shift)), limit), shift


def softmax_params(source: QuantParams, target: QuantParams) -> VectorParams:
    """Return SOFTMAX constants: entry d of the table is exp(-d * scale)."""
    table = np.rint(np.exp(-np.arange(256) * source.scale) * 2.0**SOFTMAX_FRACTION_BITS).astype(np.int64)
    return VectorParams(zero_a=source.zero_point, zero_out=target.zero_point, wide_table=table)


def layer_norm_params(layer: LayerNorm, source: QuantParams, target: QuantParams) -> VectorParams:
    """Return LAYER_NORM constants; the normalised value has FRACTION_BITS - ROOT_BITS / 2 = 15 fraction bits."""
    channels = layer.gamma.size
    gamma = layer.gamma.astype(np.float64) / target.scale
    beta = layer.beta.astype(np.float64) / target.scale
    point = LAYER_NORM_FRACTION_BITS - LAYER_NORM_ROOT_BITS // 2
    _, shift = ratio_multiplier(float(np.abs(gamma).max()) * 2.0**-point)
    largest_beta = float(np.abs(beta).max())
    if largest_beta > 0:
        shift = min(shift, _BETA_LIMIT_BITS - math.frexp(largest_beta)[1])
    shift = max(MIN_SHIFT, min(MAX_SHIFT, shift))
    epsilon = layer.epsilon * channels**2 / source.scale**2 if source.scale > 1e-100 else math.inf
    limit = 2.0**_BETA_LIMIT_BITS
    return VectorParams(
        zero_a=source.zero_point,
        zero_out=target.zero_point,
        gamma=np.clip(np.rint(np.ldexp(gamma, shift - point)), -MAX_MULTIPLIER, MAX_MULTIPLIER).astype(np.int64),
        beta=np.clip(np.rint(np.ldexp(beta, shift)), -limit, limit).astype(np.int64),
        epsilon=min(round(min(epsilon, float(_EPSILON_LIMIT))), _EPSILON_LIMIT),
        shift=shift,
    )


def lrn_params(layer: Lrn, channels: int, source: QuantParams, target: QuantParams) -> VectorParams:
    """Return LRN constants; a table entry holds the factor at the middle of its interval of sums of squares.

    The intervals cover the largest sum that codes can give, so the last entry never stands for more than its own.
    """
    widest = max(INT8_MAX - source.zero_point, source.zero_point - INT8_MIN)
    largest = min(layer.window, channels) * widest**2
    index_shift = max(0, (largest >> 8).bit_length())
    width = 1 << index_shift
    squares = (np.arange(256) * width + (width - 1) / 2) * source.scale**2
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        factors = (layer.bias + layer.alpha / layer.window * squares) ** -layer.beta * (source.scale / target.scale)
    factors = np.clip(np.nan_to_num(factors, nan=0.0, posinf=SATURATING_RATIO), 0.0, SATURATING_RATIO)
    _, shift = quantize_multiplier(float(factors.max()))
    return VectorParams(
        zero_a=source.zero_point,
        zero_out=target.zero_point,
        shift=shift,
        window=layer.window,
        index_shift=index_shift,
        wide_table=np.minimum(np.rint(np.ldexp(factors, shift)), MAX_MULTIPLIER).astype(np.int64),
    )


def _evaluate(steps: tuple[Step, ...], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the chain's values; what overflows or has no real value is left to `quantized`."""
    if not steps:
        return values
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.asarray(apply_steps(steps, values), np.float64), nan=0.0)
