"""Run the kernels that need a whole row of channels: softmax, layer normalisation, local response normalisation.

The specification of each is the function of the same name in `gossamer.dataflow.numerics`. Shapes: P positions (batch,
rows and columns flattened), C channels. All arithmetic is in 64-bit integers.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.numerics import LAYER_NORM_FRACTION_BITS, LAYER_NORM_ROOT_BITS
from gossamer.sim.kernels import kernel


@kernel
def softmax(values: NDArray[np.int8], exponentials: NDArray[np.int64], zero_out: int, out: NDArray[np.int8]) -> None:
    """Return softmax over the channels of values int8 [P, C]; exponentials [256], entry d for the maximum minus d."""
    positions, channels = values.shape
    for p in range(positions):
        top = np.int64(-128)
        for c in range(channels):
            top = max(top, np.int64(values[p, c]))
        total = np.int64(0)
        for c in range(channels):
            total += exponentials[top - values[p, c]]
        for c in range(channels):
            share = (exponentials[top - values[p, c]] * 256 + total // 2) // total
            out[p, c] = min(max(zero_out + share, -128), 127)


@kernel
def integer_root(value: np.int64) -> np.int64:
    """Return the integer part of the square root of a value in [0, 2**62)."""
    # The float root is off by at most one after rounding; both corrections are exact in integers.
    root = np.int64(np.sqrt(np.float64(value)))
    while root * root > value:
        root -= 1
    while (root + 1) * (root + 1) <= value:
        root += 1
    return root


@kernel
def layer_norm(
    values: NDArray[np.int8],
    gamma: NDArray[np.int64],
    beta: NDArray[np.int64],
    epsilon: int,
    shift: int,
    zero_out: int,
    low: int,
    high: int,
    out: NDArray[np.int8],
) -> None:
    """Normalise the channels of values int8 [P, C]; gamma and beta int64 [C] are in the units of 2**-shift."""
    positions, channels = values.shape
    half = np.int64(1) << (shift - 1)
    for p in range(positions):
        total = np.int64(0)
        squares = np.int64(0)
        for c in range(channels):
            q = np.int64(values[p, c])
            total += q
            squares += q * q
        variance = channels * squares - total * total + epsilon
        root = max(np.int64(1), integer_root(variance << LAYER_NORM_ROOT_BITS))
        for c in range(channels):
            normal = ((channels * np.int64(values[p, c]) - total) << LAYER_NORM_FRACTION_BITS) // root
            scaled = (normal * gamma[c] + beta[c] + half) >> shift
            out[p, c] = min(max(zero_out + scaled, low), high)


@kernel
def lrn(
    values: NDArray[np.int8],
    factors: NDArray[np.int64],
    window: int,
    index_shift: int,
    zero_a: int,
    shift: int,
    zero_out: int,
    out: NDArray[np.int8],
) -> None:
    """Scale each of values int8 [P, C] by factors [256], indexed by the sum of squares of the channels around it."""
    positions, channels = values.shape
    half = np.int64(1) << (shift - 1)
    for p in range(positions):
        for c in range(channels):
            squares = np.int64(0)
            for k in range(max(0, c - (window - 1) // 2), min(channels, c + window // 2 + 1)):
                centred = np.int64(values[p, k]) - zero_a
                squares += centred * centred
            factor = factors[min(np.int64(255), squares >> index_shift)]
            scaled = ((np.int64(values[p, c]) - zero_a) * factor + half) >> shift
            out[p, c] = min(max(zero_out + scaled, -128), 127)
