"""See a transposed convolution as ordinary ones, as few as the array can run together."""

import math
from dataclasses import replace

import numpy as np

from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import Objective
from gossamer.dataflow.network import ConvTranspose2d
from gossamer.dataflow.numerics import Requantization
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.convolution_shape import block_channels
from gossamer.mapper.codegen.wide_pixels import (
    Convolution,
    best_width,
    has_adjacent_pixels,
    join_columns,
    join_rows,
)
from gossamer.mapper.shares import WHOLE, Share


def transposed_phases(
    layer: ConvTranspose2d, source: TensorPlace, target: TensorPlace, params: Requantization, spec: SparseAccelerator,
    objective: Objective, share: Share = WHOLE,
) -> list[Convolution]:  # fmt: skip
    """Return ordinary convolutions that compute a transposed one, the better of the ways in `phase_lists`.

    `share`: what it has of every buffer.
    """
    parts, *joined = phase_lists(layer, source, target, params, spec)
    return better(joined[0], parts, spec, objective, share) if joined else parts


def phase_lists(
    layer: ConvTranspose2d, source: TensorPlace, target: TensorPlace, params: Requantization, spec: SparseAccelerator
) -> list[list[Convolution]]:
    """Return one or two ways to compute it by convolutions, one per residue of the output position modulo the stride.

    Output Y gets taps ky with (Y + top - ky) divisible by the stride: a convolution with every stride-th tap, reversed.
    The bias holds the zero point of all taps (as if gaps held it), so each phase adds back those of taps it skips.
    The phases of adjacent columns become one convolution of wide pixels if it fits a block of channels; the second way
    does the same with those of adjacent rows.
    """
    (stride_y, stride_x), zero = layer.stride, source.quant.zero_point
    weight, limit = layer.weight.astype(np.int64), block_channels(spec)
    parts: list[Convolution] = []
    for row in range(min(stride_y, target.shape[1])):
        taps_y, pad_y = _phase_taps(row, layer.pads[0], stride_y, weight.shape[1])
        phases = []
        for column in range(min(stride_x, target.shape[2])):
            taps_x, pad_x = _phase_taps(column, layer.pads[1], stride_x, weight.shape[2])
            kept = layer.weight[:, taps_y][:, :, taps_x]
            skipped = weight.sum(axis=(1, 2, 3)) - kept.sum(axis=(1, 2, 3), dtype=np.int64)
            pads = (pad_y, pad_x)
            if kept.size == 0:
                kept, pads = np.zeros((len(weight), 1, 1, weight.shape[3]), np.int8), (0, 0)
            out_shape = (
                target.shape[0], ceil_div(target.shape[1] - row, stride_y),
                ceil_div(target.shape[2] - column, stride_x), target.shape[3],
            )  # fmt: skip
            phase = replace(
                target, shape=out_shape, address=target.at(0, row, column), row_bytes=target.row_bytes * stride_y,
                column_bytes=target.column_bytes * stride_x,
            )  # fmt: skip
            bias = (params.bias + zero * skipped).astype(np.int32)
            phases.append(
                Convolution(
                    who=layer.name, source=source, target=phase, weight=kept, params=replace(params, bias=bias),
                    pads=pads, pattern=layer.pattern,
                )
            )  # fmt: skip
        if has_adjacent_pixels(target) and target.shape[2] % stride_x == 0:
            phases = join_columns(phases, limit)
        parts += phases
    if has_adjacent_pixels(target) and len(parts) == stride_y and target.shape[2] % stride_x == 0:
        joined = join_rows(parts, limit)
        return [parts, joined] if joined else [parts]
    return [parts]


def better(
    first: list[Convolution], second: list[Convolution], spec: SparseAccelerator, objective: Objective, share: Share
) -> list[Convolution]:  # fmt: skip
    """Return the first of two lists of convolutions if it costs less, else the second."""

    def cost(parts: list[Convolution]) -> float:
        found = [best_width(part, spec, share, objective=objective) for part in parts]
        return sum(math.inf if each is None else each[1].cost for each in found)

    return first if cost(first) < cost(second) else second


def _phase_taps(first: int, top: int, stride: int, taps: int) -> tuple[list[int], int]:
    """Return the kernel rows of the outputs first, first + stride, ... in input order, and the padding before them."""
    residue = (first + top) % stride
    kept = list(range(residue, taps, stride))[::-1]
    return kept, len(kept) - 1 - (first + top - residue) // stride
