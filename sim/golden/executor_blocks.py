"""Take the constants of a VECTOR instruction out of the parameter buffer and run its kernel.

Layouts are the dtypes of `gossamer.dataflow.numerics`. A block that no hardware could use is a ProgramError.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import REQUANTIZING, Opcode
from gossamer.dataflow.numerics import (
    ADDEND_FACTOR_BITS,
    HEADER_DTYPE,
    LAYER_NORM_DTYPE,
    MAX_SHIFT,
    MIN_SHIFT,
    REQUANTIZE_DTYPE,
    TABLE_BYTES,
    WIDE_TABLE_BYTES,
    fits_addend_factor,
    unpack_limits,
)
from gossamer.sim.golden import executor_vector as kernels

IDENTITY = np.arange(-128, 128, dtype=np.int8)
"""Table that changes nothing."""

_SHIFTED = (Opcode.ADD, Opcode.MULTIPLY, Opcode.REQUANTIZE_ADD, Opcode.AVERAGE, Opcode.LAYER_NORM, Opcode.LRN)
_ROWS = (Opcode.SOFTMAX, Opcode.LAYER_NORM, Opcode.LRN)


def _check_shifts(shifts: NDArray[np.int64]) -> None:
    """Raise ProgramError unless all shifts are legal."""
    bad = shifts[(shifts < MIN_SHIFT) | (shifts > MAX_SHIFT)]
    if bad.size:
        raise ProgramError(f"shift must be in [{MIN_SHIFT}, {MAX_SHIFT}], not {bad[0]}")


def _requantize(
    opcode: Opcode, f: Mapping[str, int], block: NDArray[np.uint8], h: Mapping[str, int], channels: int,
    act: NDArray[np.int8], acc: NDArray[np.int32],
) -> None:  # fmt: skip
    """Run REQUANTIZE or REQUANTIZE_ADD; `block` is the parameter buffer after the header."""
    size = channels * REQUANTIZE_DTYPE.itemsize
    entries = block[:size].view(REQUANTIZE_DTYPE)
    shift = entries["shift"].astype(np.int64)
    _check_shifts(shift)
    table = IDENTITY
    if h["has_table"]:
        table = block[size : size + TABLE_BYTES].view(np.int8)
        if table.size < TABLE_BYTES:
            raise ProgramError(f"the table must end within the parameter buffer, not {TABLE_BYTES - table.size} beyond")
    bias, multiplier = entries["bias"].astype(np.int64), entries["multiplier"].astype(np.int64)
    count, d, limits = (f["ny"], f["nx"], channels), (f["d"], f["d_y"], f["d_x"]), (h["zero_out"], h["low"], h["high"])
    if opcode is Opcode.REQUANTIZE:
        kernels.requantize(*count, acc, f["a"], act, *d, bias, multiplier, shift, *limits, table)
        return
    if not fits_addend_factor(h["mult_a"], h["mult_b"]):
        raise ProgramError(
            f"factors must have at most {ADDEND_FACTOR_BITS} signed bits, not be {h['mult_a']} and {h['mult_b']}"
        )
    b = (f["b"], f["b_y"], f["b_x"], 1 - f["b_c"])
    sums = (h["zero_a"], h["zero_b"], h["mult_a"], h["mult_b"], h["shift"], *unpack_limits(h["extra"]))
    kernels.requantize_add(*count, acc, f["a"], act, *b, *d, bias, multiplier, shift, *limits, table, *sums)


def _normalise(
    opcode: Opcode, rows: tuple[int, ...], real: int, body: NDArray[np.uint8], h: Mapping[str, int],
    act: NDArray[np.int8],
) -> None:  # fmt: skip
    """Run SOFTMAX, LAYER_NORM or LRN on `real` channels; `rows` are counts, channels and the addresses of a and d."""
    ny, nx, channels, a, a_y, a_x, d, d_y, d_x = rows
    wide = body[:WIDE_TABLE_BYTES]
    if opcode is Opcode.SOFTMAX:
        exponentials = wide.view("<u4").astype(np.int64)
        if kernels.softmax(ny, nx, channels, act, a, a_y, a_x, d, d_y, d_x, real, exponentials, h["zero_out"]):
            raise ProgramError("the exponentials of every row must have a positive sum, not 0")
    elif opcode is Opcode.LRN:
        window, index_shift = h["extra"] & 255, min(h["extra"] >> 8, MAX_SHIFT)
        factors = wide.view("<i4").astype(np.int64)
        kernels.lrn(
            ny, nx, channels, act, a, a_y, a_x, d, d_y, d_x, real, factors, window, index_shift,
            h["zero_a"], h["shift"], h["zero_out"],
        )  # fmt: skip
    else:
        entries = body[: channels * LAYER_NORM_DTYPE.itemsize].view(LAYER_NORM_DTYPE)[:real]
        # A larger epsilon, or more channels, could leave int64 before the kernel sees it.
        if abs(h["epsilon"]) >= kernels.VARIANCE_LIMIT or real >= 2**16:
            raise ProgramError(f"epsilon must be below 2**46 and channels below 2**16, not {h['epsilon']} and {real}")
        if kernels.layer_norm(
            ny, nx, channels, act, a, a_y, a_x, d, d_y, d_x, real, entries["gamma"].astype(np.int64),
            entries["beta"].astype(np.int64), h["epsilon"], h["shift"], h["zero_out"], h["low"], h["high"],
        ):  # fmt: skip
            raise ProgramError(f"the variance of every row must be in [0, {kernels.VARIANCE_LIMIT})")


def run_vector(
    opcode: Opcode, f: Mapping[str, int], group: int, act: NDArray[np.int8], par: NDArray[np.uint8],
    acc: NDArray[np.int32],
) -> None:  # fmt: skip
    """Run one VECTOR instruction of fields f on int8 activations, int32 sums [entries, chains], parameter bytes.

    Raises ProgramError for a parameter block that cannot be used.
    """
    channels = f["nc"] * group
    count = (f["ny"], f["nx"], channels)
    a, b, d = (f["a"], f["a_y"], f["a_x"]), (f["b"], f["b_y"], f["b_x"], 1 - f["b_c"]), (f["d"], f["d_y"], f["d_x"])
    window = (f["a_ky"], f["a_kx"], f["kh"], f["kw"])
    if opcode is Opcode.COPY:
        kernels.look_up(*count, act, *a, *d, IDENTITY)
        return
    if opcode is Opcode.MAXIMUM:
        kernels.maximum(*count, act, *a, *window, *d)
        return
    at, size = f["par"], HEADER_DTYPE.itemsize
    header = par[at : at + size].view(HEADER_DTYPE)[0]
    h = dict(zip(HEADER_DTYPE.names or (), header.item(), strict=True))
    body = par[at + size :]
    if opcode in _SHIFTED:
        _check_shifts(np.array([h["shift"]]))
    if opcode in REQUANTIZING:
        _requantize(opcode, f, body, h, channels, act, acc)
    elif opcode is Opcode.TABLE:
        kernels.look_up(*count, act, *a, *d, body[:TABLE_BYTES].view(np.int8))
    elif opcode is Opcode.ADD:
        scales = (h["zero_a"], h["zero_b"], h["mult_a"], h["mult_b"])
        kernels.add(*count, act, *a, *b, *d, *scales, h["shift"], h["zero_out"], h["low"], h["high"])
    elif opcode is Opcode.MULTIPLY:
        zeros = (h["zero_a"], h["zero_b"])
        kernels.multiply(*count, act, *a, *b, *d, *zeros, h["mult_a"], h["shift"], h["zero_out"], h["low"], h["high"])
    elif opcode is Opcode.AVERAGE:
        constants = (h["zero_a"], h["mult_a"], h["shift"], h["zero_out"], h["low"], h["high"])
        kernels.average(*count, act, *a, *window, *d, *constants)
    elif opcode in _ROWS:
        real = h["channels"]
        if not 1 <= real <= channels:
            raise ProgramError(f"channels must be in [1, {channels}], the instruction's words, not {real}")
        _normalise(opcode, (*count, *a, *d), real, body, h, act)
