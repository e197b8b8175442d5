"""Check the plain systolic arrays against figures SCALE-Sim 3.0.0 printed and against a PE-by-PE brute force."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from gossamer.arch.errors import ModelError
from gossamer.arch.spec import Stationarity, SystolicArraySpec
from gossamer.dataflow.sparsity import NmPattern
from gossamer.scalesim_tables import load_topology
from gossamer.sim.systolic import GemmShape, gemm_shapes, kept_reduction, simulate_systolic, systolic_cycles


def _array(rows: int, columns: int, stationarity: str) -> SystolicArraySpec:
    return SystolicArraySpec(kind="systolic", rows=rows, columns=columns, stationarity=Stationarity(stationarity))


def _gemm(positions: int, reduction: int, channels: int, pattern: NmPattern | None = None) -> GemmShape:
    kept = kept_reduction(reduction, pattern)
    return GemmShape(
        name="g", op="gemm", positions=positions, channels=channels, reduction=reduction, kept_reduction=kept
    )


def _brute_force(shape: GemmShape, array: SystolicArraySpec) -> int:
    """Move operands through the array one cycle at a time; a fold ends when its last PE has done its last step."""
    spatial_rows, spatial_columns, steps = {
        Stationarity.WEIGHT: (shape.kept_reduction, shape.channels, shape.positions),
        Stationarity.OUTPUT: (shape.positions, shape.channels, shape.kept_reduction),
        Stationarity.INPUT: (shape.kept_reduction, shape.positions, shape.channels),
    }[array.stationarity]
    cycles = 0
    for _ in range(0, spatial_rows, array.rows):
        for _ in range(0, spatial_columns, array.columns):
            if array.stationarity is not Stationarity.OUTPUT:
                cycles += array.rows
            done = np.zeros((array.rows, array.columns), dtype=np.int64)
            cycle = 0
            while done.min() < steps:
                for row in range(array.rows):
                    for column in range(array.columns):
                        if cycle >= row + column and done[row, column] < steps:
                            done[row, column] += 1
                cycle += 1
            cycles += cycle
    return cycles


@pytest.mark.parametrize("stationarity", ["ws", "os", "is"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 7, 3), (9, 4, 10), (8, 8, 8)])
def test_closed_form_equals_brute_force(stationarity: str, shape: tuple[int, int, int]) -> None:
    array = _array(4, 3, stationarity)
    gemm = _gemm(*shape)
    assert systolic_cycles(gemm, array) == _brute_force(gemm, array)


@pytest.mark.parametrize(("stationarity", "printed"), [("os", 27_071), ("ws", 63_199)])
def test_gemm_equals_printed_figure(stationarity: str, printed: int) -> None:
    gemm = _gemm(64, 784, 512)
    assert systolic_cycles(gemm, _array(32, 32, stationarity)) - 1 == printed


def test_resnet50_equals_printed_total() -> None:
    network = load_topology(Path(str(files("gossamer.configs") / "topologies" / "resnet50.csv")))
    array = _array(32, 32, "ws")
    assert sum(systolic_cycles(shape, array) - 1 for shape in gemm_shapes(network)) == 5_753_486


@pytest.mark.parametrize("stationarity", ["ws", "os", "is"])
@pytest.mark.parametrize("pattern", [None, NmPattern(2, 4), NmPattern(1, 8)])
def test_simulation_equals_closed_form_and_splits_it(stationarity: str, pattern: NmPattern | None) -> None:
    array = _array(32, 16, stationarity)
    shapes = [_gemm(m, k, n, pattern) for m in (1, 31, 100) for k in (3, 147) for n in (1, 33)]
    for layer in simulate_systolic(shapes, array):
        assert layer.cycles == systolic_cycles(layer.shape, array)
        assert layer.compute_cycles * 32 * 16 == pytest.approx(layer.shape.macs)
        assert layer.compute_cycles + layer.edge_cycles + layer.fill_cycles == pytest.approx(layer.cycles)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("name,a\nConv1,224,224,7,7,3\n", r":2: expected name"),
        ("name,a\nConv1,4,4,7,7,3,64,1,\n", r":2: the kernel 7x7"),
        ("name,a\nG,64,512,784,3:5,\n", r":2: sparsity pattern"),
        ("name,a\n", r"no layers"),
        ("", r"no layers"),
    ],
)
def test_malformed_table_is_refused(tmp_path: Path, body: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(body)
    with pytest.raises(ModelError, match=message):
        load_topology(path)
