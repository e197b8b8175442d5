"""Fronts and hypervolumes against brute force, and the kernels against themselves without compilation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from gossamer.explore import pareto, pareto_kernels
from gossamer.explore.pareto import front, hypervolume, oriented
from gossamer.explore.spec import METRICS

_GRID = 5


def brute_front(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points no other is at most everywhere and less somewhere."""
    return np.array([not any((q <= p).all() and (q < p).any() for q in points) for p in points], np.bool_)


def small_points(values: st.SearchStrategy[float]) -> st.SearchStrategy[NDArray[np.float64]]:
    """Return arrays of up to 40 points of 1 to 5 objectives."""
    shapes = st.tuples(st.integers(0, 40), st.integers(1, 5))
    return shapes.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=values))


@given(small_points(st.integers(0, 4).map(float)))
def test_front_with_ties_is_brute_force(points: NDArray[np.float64]) -> None:
    assert np.array_equal(front(points), brute_front(points))


@given(small_points(st.floats(allow_nan=False)))
def test_front_of_any_numbers_is_brute_force(points: NDArray[np.float64]) -> None:
    assert np.array_equal(front(points), brute_front(points))


@given(small_points(st.integers(0, 4).map(float)), st.randoms())
def test_front_does_not_depend_on_order(points: NDArray[np.float64], random: object) -> None:
    order = np.random.default_rng(1).permutation(len(points))
    assert np.array_equal(front(points[order]), front(points)[order])


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_front_of_many_points(objectives: int) -> None:
    points = np.random.default_rng(objectives).random((20_000, objectives))
    kept = front(points)
    on_front = points[kept]
    assert brute_front(on_front).all()
    for point in points[~kept][::37]:
        assert ((on_front <= point).all(axis=1) & (on_front < point).any(axis=1)).any()


@pytest.mark.parametrize("points", [np.array([[np.nan, 1.0]]), np.zeros((3, 0)), np.zeros(3)])
def test_front_refuses_what_has_no_order(points: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="at least one objective without NaN"):
        front(points)


def lattice_volume(points: NDArray[np.float64]) -> float:
    """Return the cells of a lattice of side _GRID that whole-numbered points dominate."""
    axes = [np.arange(_GRID)] * points.shape[1]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, points.shape[1])
    return float(sum((points <= cell).all(axis=1).any() for cell in cells))


@given(
    st.tuples(st.integers(0, 25), st.integers(1, 4)).flatmap(
        lambda shape: hnp.arrays(np.float64, shape, elements=st.integers(0, _GRID + 1).map(float))
    )
)
def test_hypervolume_counts_the_cells_of_a_lattice(points: NDArray[np.float64]) -> None:
    assert hypervolume(points, np.full(points.shape[1], float(_GRID))) == lattice_volume(points)


def test_hypervolume_by_hand() -> None:
    points = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    assert hypervolume(points, np.array([4.0, 4.0])) == 6.0
    assert hypervolume(points, np.array([1.0, 4.0])) == 0.0
    assert hypervolume(np.array([[0.0, 0.0, 0.0]]), np.array([2.0, 3.0, 4.0])) == 24.0


def test_hypervolume_agrees_with_sampling() -> None:
    generator = np.random.default_rng(3)
    points = generator.random((300, 3))
    samples = generator.random((20_000, 3)) * 1.1
    dominated = np.array([(points <= sample).all(axis=1).any() for sample in samples])
    expected = 1.1**3 * dominated.mean()
    deviation = 1.1**3 * float(dominated.std()) / len(samples) ** 0.5
    assert abs(hypervolume(points, np.full(3, 1.1)) - expected) < 5 * deviation


@pytest.mark.parametrize(
    ("points", "reference", "message"),
    [
        (np.array([[np.inf, 0.0]]), np.ones(2), "points must be finite"),
        (np.zeros((1, 2)), np.array([1.0, np.nan]), "k finite numbers"),
        (np.zeros((1, 2)), np.ones(3), "k finite numbers"),
    ],
)
def test_hypervolume_refuses(points: NDArray[np.float64], reference: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hypervolume(points, reference)


def test_kernels_without_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    cases = [generator.integers(0, 6, (60, objectives)).astype(float) for objectives in (2, 3, 4)]
    compiled = [(front(points).tolist(), hypervolume(points, np.full(points.shape[1], 6.0))) for points in cases]
    for name in ("mark_front_2", "mark_front_3", "mark_front", "volume_3"):
        kernel = getattr(pareto_kernels, name)
        monkeypatch.setattr(pareto, name, getattr(kernel, "py_func", kernel))
    assert [
        (front(points).tolist(), hypervolume(points, np.full(points.shape[1], 6.0))) for points in cases
    ] == compiled


def test_what_is_maximised_is_negated() -> None:
    metrics = np.arange(len(METRICS), dtype=np.float64)[None]
    assert oriented(metrics, ["latency_s", "throughput_per_s", "dsp"]).tolist() == [[1.0, -2.0, 9.0]]
