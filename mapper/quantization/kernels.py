"""Quantize weights in one pass over memory. Twin in tests/unit/test_quantize.py."""

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.kernels import kernel


@kernel
def quantize_rows(
    rows: NDArray[np.float32],
    least: NDArray[np.float64],
    fallback: NDArray[np.float64],
    quantized: NDArray[np.int8],
    scale: NDArray[np.float64],
    total: NDArray[np.int64],
    reach: NDArray[np.int64],
) -> None:
    """Quantize each row symmetrically to [-127, 127] with its own scale.

    rows (channels, weights). The scale is the largest magnitude / 127 in float32, in which ONNX states scales, at least
    least[channel]; of a row of zeros it is fallback[channel] in float32. Filled: quantized (channels, weights), scale,
    total (sum of the row), reach (largest possible magnitude of its sum of products with int8 activations).
    """
    channels, count = rows.shape
    patterns = rows.view(np.int32)  # without the sign they are in the order of the magnitudes, and compare as vectors
    largest_pattern = np.zeros(1, np.int32)
    for c in range(channels):
        pattern = np.int32(0)
        for k in range(count):
            pattern = max(pattern, patterns[c, k] & np.int32(0x7FFFFFFF))
        largest_pattern[0] = pattern
        largest = largest_pattern.view(np.float32)[0]
        if largest > 0:
            scale[c] = max(np.float64(np.float32(float(largest) / 127.0)), least[c])
        else:
            scale[c] = np.float64(np.float32(fallback[c]))
        inverse = 1.0 / scale[c]
        sum_all = 0
        sum_magnitude = 0
        for k in range(count):
            q = int(max(-127.0, min(127.0, np.rint(float(rows[c, k]) * inverse))))
            quantized[c, k] = q
            sum_all += q
            sum_magnitude += abs(q)
        total[c] = sum_all
        # The extremes are -128 where the weight has one sign and 127 where it has the other.
        positive = (sum_magnitude + sum_all) // 2
        negative = sum_magnitude - positive
        reach[c] = max(128 * positive + 127 * negative, 127 * positive + 128 * negative)
