"""Run the element-by-element kernels: requantization, addition, multiplication, tables.

The specification of each is the function of the same name in `gossamer.dataflow.numerics`. Shapes: P positions (batch,
rows and columns flattened), C channels. All arithmetic is in 64-bit integers, which no legal constants can overflow.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.kernels import kernel

INT8_OFFSET = 128
"""Entry of a 256-entry table for q is q + INT8_OFFSET."""


@kernel
def requantize(
    acc: NDArray[np.int32],
    bias: NDArray[np.int32],
    multiplier: NDArray[np.int32],
    shift: NDArray[np.uint8],
    zero_out: int,
    low: int,
    high: int,
    table: NDArray[np.int8],
    out: NDArray[np.int8],
    begin: int,
    end: int,
) -> None:
    """Rescale accumulators acc int32 [P, C] to out int8 [P, C] for positions begin .. end - 1.

    bias int32, multiplier int32 and shift uint8 [C]; table int8 [256], or empty for none.
    """
    channels = acc.shape[1]
    has_table = table.size > 0
    for p in range(begin, end):
        for c in range(channels):
            s = np.int64(shift[c])
            total = (np.int64(acc[p, c]) + bias[c]) * np.int64(multiplier[c])
            value = np.int64(zero_out) + ((total + (np.int64(1) << (s - 1))) >> s)
            value = min(max(value, low), high)
            out[p, c] = table[value + INT8_OFFSET] if has_table else value


@kernel
def add(
    a: NDArray[np.int8],
    b: NDArray[np.int8],
    zero_a: int,
    zero_b: int,
    mult_a: int,
    mult_b: int,
    shift: int,
    zero_out: int,
    low: int,
    high: int,
    out: NDArray[np.int8],
) -> None:
    """Add int8 a and b (N, H, W, C), an axis of b may be 1, each with its own scale; a negative mult_b subtracts."""
    step_n, step_h, step_w, step_c = b.shape[0] > 1, b.shape[1] > 1, b.shape[2] > 1, b.shape[3] > 1
    half = np.int64(1) << (shift - 1)
    for n in range(a.shape[0]):
        for h in range(a.shape[1]):
            for w in range(a.shape[2]):
                for c in range(a.shape[3]):
                    other = np.int64(b[n * step_n, h * step_h, w * step_w, c * step_c]) - zero_b
                    total = mult_a * (np.int64(a[n, h, w, c]) - zero_a) + mult_b * other
                    value = np.int64(zero_out) + ((total + half) >> shift)
                    out[n, h, w, c] = min(max(value, np.int64(low)), np.int64(high))


@kernel
def multiply(
    a: NDArray[np.int8],
    b: NDArray[np.int8],
    zero_a: int,
    zero_b: int,
    mult_a: int,
    shift: int,
    zero_out: int,
    low: int,
    high: int,
    out: NDArray[np.int8],
) -> None:
    """Multiply int8 a and b (N, H, W, C); an axis of b may be 1."""
    step_n, step_h, step_w, step_c = b.shape[0] > 1, b.shape[1] > 1, b.shape[2] > 1, b.shape[3] > 1
    half = np.int64(1) << (shift - 1)
    for n in range(a.shape[0]):
        for h in range(a.shape[1]):
            for w in range(a.shape[2]):
                for c in range(a.shape[3]):
                    other = np.int64(b[n * step_n, h * step_h, w * step_w, c * step_c]) - zero_b
                    total = (np.int64(a[n, h, w, c]) - zero_a) * other * mult_a
                    value = np.int64(zero_out) + ((total + half) >> shift)
                    out[n, h, w, c] = min(max(value, np.int64(low)), np.int64(high))


@kernel
def look_up(values: NDArray[np.int8], table: NDArray[np.int8], out: NDArray[np.int8]) -> None:
    """Replace every int8 value [P] by its entry of table int8 [256]."""
    for i in range(values.size):
        out[i] = table[np.int64(values[i]) + INT8_OFFSET]
