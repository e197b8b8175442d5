"""Time plain dense systolic arrays: the closed forms of SCALE-Sim, and a fold-by-fold event simulation.

For comparison with other simulators only; there is no RTL of this array. A layer is a GEMM of M positions, N output
channels and K reduction elements, K' of them kept by a layer-wise N:M. The array has R rows and C columns.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.spec import Stationarity, SystolicArraySpec
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.network import Conv2d, ConvTranspose2d, Layer, MatMul, Network
from gossamer.dataflow.sparsity import NmPattern
from gossamer.sim.kernels import kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmShape:
    """One GEMM (`count` equal ones: the groups of a grouped convolution)."""

    name: str
    op: str
    positions: int
    channels: int
    reduction: int
    kept_reduction: int
    count: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates after layer-wise N:M."""
        return self.count * self.positions * self.channels * self.kept_reduction

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates counting zeros."""
        return self.count * self.positions * self.channels * self.reduction


@dataclass(frozen=True, slots=True, kw_only=True)
class SystolicLayer:
    """Cycles of one layer: all of them, those whose PEs all worked in effect (useful MACs / PEs), and the rest."""

    shape: GemmShape
    cycles: int
    fill_cycles: int
    edge_cycles: float
    compute_cycles: float


def kept_reduction(reduction: int, pattern: NmPattern | None) -> int:
    """Return K' of a layer-wise N:M: sum over blocks of min(N, block length) (SCALE-Sim 3.0.0, operand_matrix.py)."""
    if pattern is None:
        return reduction
    full, rest = divmod(reduction, pattern.m)
    return full * pattern.n + min(pattern.n, rest)


def gemm_shapes(network: Network) -> tuple[GemmShape, ...]:
    """Return the GEMMs of every layer that multiplies; other layers cost a systolic array nothing."""
    return tuple(shape for layer in network.layers if (shape := _gemm_shape(network, layer)) is not None)


def _gemm_shape(network: Network, layer: Layer) -> GemmShape | None:
    batch, rows, columns, channels = network.tensors[layer.output].shape
    match layer:
        case Conv2d():
            reduction = layer.weight.shape[1] * layer.weight.shape[2] * layer.weight.shape[3]
            return GemmShape(
                name=layer.name, op=layer.op, positions=batch * rows * columns, channels=channels // layer.groups,
                reduction=reduction, kept_reduction=kept_reduction(reduction, layer.pattern), count=layer.groups,
            )  # fmt: skip
        case ConvTranspose2d():
            in_batch, in_rows, in_columns, reduction = network.tensors[layer.inputs[0]].shape
            taps = layer.weight.shape[1] * layer.weight.shape[2]
            return GemmShape(
                name=layer.name, op=layer.op, positions=in_batch * in_rows * in_columns, channels=channels * taps,
                reduction=reduction, kept_reduction=kept_reduction(reduction, layer.pattern),
            )  # fmt: skip
        case MatMul():
            reduction = network.tensors[layer.inputs[0]].shape[3]
            return GemmShape(
                name=layer.name, op=layer.op, positions=columns, channels=channels, reduction=reduction,
                kept_reduction=reduction, count=batch * rows,
            )  # fmt: skip
    return None


def systolic_cycles(shape: GemmShape, array: SystolicArraySpec) -> int:
    """Return the cycles of a layer in closed form.

    WS: ceil(K'/R) ceil(N/C) (2R + C + M - 2); OS: ceil(M/R) ceil(N/C) (K' + R + C - 2); IS: ceil(K'/R) ceil(M/C)
    (2R + C + N - 2) per GEMM. SCALE-Sim 3.0.0 reports one less per layer (SCALE-Sim#125).
    """
    rows, columns = array.rows, array.columns
    match array.stationarity:
        case Stationarity.WEIGHT:
            folds = ceil_div(shape.kept_reduction, rows) * ceil_div(shape.channels, columns)
            per_fold = 2 * rows + columns + shape.positions - 2
        case Stationarity.OUTPUT:
            folds = ceil_div(shape.positions, rows) * ceil_div(shape.channels, columns)
            per_fold = shape.kept_reduction + rows + columns - 2
        case Stationarity.INPUT:
            folds = ceil_div(shape.kept_reduction, rows) * ceil_div(shape.positions, columns)
            per_fold = 2 * rows + columns + shape.channels - 2
    return shape.count * folds * per_fold


@kernel
def _run_folds(
    spatial_rows: int,
    spatial_columns: int,
    steps: int,
    rows: int,
    columns: int,
    preload: int,
    totals: NDArray[np.int64],
) -> None:
    """Walk every fold: preload the stationary operand, stream `steps` steps through the used PEs, drain.

    totals int64 [3]: cycles, fill and drain cycles, PE-cycles of unused PEs while steps stream.
    """
    clock = np.int64(0)
    fill = np.int64(0)
    unused = np.int64(0)
    for row_start in range(0, spatial_rows, rows):
        used_rows = min(rows, spatial_rows - row_start)
        for column_start in range(0, spatial_columns, columns):
            used_columns = min(columns, spatial_columns - column_start)
            started = clock
            clock += preload
            last_enters = clock + steps - 1
            last_leaves = last_enters + (rows - 1) + (columns - 1) + 1
            unused += (rows * columns - used_rows * used_columns) * steps
            clock = last_leaves
            fill += clock - started - steps
    totals[0] = clock
    totals[1] = fill
    totals[2] = unused


def simulate_systolic(shapes: Iterable[GemmShape], array: SystolicArraySpec) -> tuple[SystolicLayer, ...]:
    """Run every layer fold by fold; cycles equal `systolic_cycles`, split into compute, ragged edges and fill."""
    results = []
    totals = np.zeros(3, dtype=np.int64)
    units = array.rows * array.columns
    for shape in shapes:
        spatial_rows, spatial_columns, steps, preload = _spatial(shape, array)
        _run_folds(spatial_rows, spatial_columns, steps, array.rows, array.columns, preload, totals)
        cycles, fill, unused = (int(total) * shape.count for total in totals)
        results.append(
            SystolicLayer(
                shape=shape, cycles=cycles, fill_cycles=fill, edge_cycles=unused / units,
                compute_cycles=cycles - fill - unused / units,
            )
        )  # fmt: skip
    return tuple(results)


def _spatial(shape: GemmShape, array: SystolicArraySpec) -> tuple[int, int, int, int]:
    match array.stationarity:
        case Stationarity.WEIGHT:
            return shape.kept_reduction, shape.channels, shape.positions, array.rows
        case Stationarity.OUTPUT:
            return shape.positions, shape.channels, shape.kept_reduction, 0
        case Stationarity.INPUT:
            return shape.kept_reduction, shape.positions, shape.channels, array.rows
