"""Numbering of points, columns, derived fields and conditions against brute force; samples are permutations."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.arch.config import load_config, load_device
from gossamer.arch.spec import SparseAccelerator
from gossamer.explore.expressions import parse_expression
from gossamer.explore.space import Axis, Space
from gossamer.explore.spec import Strategy
from gossamer.explore.strategies import RandomOrder, order_of

BASE = load_config("u280-sparse")
assert isinstance(BASE, SparseAccelerator)
KINDS = {
    "array.chains": "number", "array.lanes": "number", "vector.lanes": "number", "device.dsp": "number",
    "array.group_size": "number", "device": "text", "clock_mhz": "number",
}  # fmt: skip


def space(axes: dict[str, list[object]], derived: dict[str, str] | None = None, where: tuple[str, ...] = ()) -> Space:
    """Return a space over the base u280-sparse."""
    return Space(
        axes=tuple(Axis(name=name, values=tuple(values)) for name, values in axes.items()),  # type: ignore[arg-type]
        base=BASE,
        devices={str(name): load_device(str(name)) for name in axes.get("device", [])},
        derived={name: parse_expression(text, KINDS) for name, text in (derived or {}).items()},  # type: ignore[arg-type]
        conditions=tuple(parse_expression(text, KINDS) for text in where),  # type: ignore[arg-type]
    )


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_ids_are_mixed_radix_with_the_last_axis_fastest(lengths: list[int]) -> None:
    names = ["model", "batch", "array.chains", "array.lanes", "vector.lanes"]
    tested = space({name: [8 * at + 8 for at in range(length)] for name, length in zip(names, lengths, strict=False)})
    ids = np.arange(tested.size)
    expected = list(itertools.product(*(range(length) for length in lengths)))
    assert tested.size == len(expected)
    assert [tuple(row) for row in tested.coordinates(ids).tolist()] == expected
    assert np.array_equal(tested.ids(tested.coordinates(ids)), ids)
    columns = tested.columns(ids)
    for at, axis in enumerate(tested.axes):
        assert columns[axis.name].tolist() == [axis.values[row[at]] for row in expected]


def test_ids_beyond_32_bits() -> None:
    tested = space({f"x{at}": list(range(1000)) for at in range(6)})
    assert tested.size == 10**18
    assert tested.coordinates(np.array([10**18 - 1, 123_456_789_012_345_678])).tolist() == [
        [999] * 6, [123, 456, 789, 12, 345, 678],
    ]  # fmt: skip


@given(
    st.lists(st.integers(1, 16), min_size=1, max_size=6, unique=True),
    st.lists(st.sampled_from([8, 64, 120, 512]), min_size=1, max_size=4, unique=True),
    st.integers(1, 3000),
)
def test_conditions_and_derived_fields_are_brute_force(lanes: list[int], chains: list[int], most: int) -> None:
    tested = space(
        {"array.chains": list(chains), "array.lanes": list(lanes)},
        {"vector.lanes": "array.chains / array.lanes"},
        (f"array.chains * array.lanes <= {most} or array.group_size == 4", "vector.lanes != 8"),
    )
    ids = np.arange(tested.size)
    rows = list(itertools.product(chains, lanes))
    assert tested.included(ids).tolist() == [c * n <= most and c / n != 8 for c, n in rows]
    legal = [c % n == 0 and 4 <= c / n <= 512 for c, n in rows]
    assert tested.legal(ids).tolist() == legal
    vector = tested.columns(ids)["vector.lanes"]
    assert vector.dtype == np.int64
    assert [int(v) for v, good in zip(vector, legal, strict=True) if good] == [
        c // n for (c, n), good in zip(rows, legal, strict=True) if good
    ]


def test_budgets_follow_the_device() -> None:
    tested = space({"device": ["u280", "kv260"]}, where=("device.dsp > 2000", "device != 'zcu104'"))
    assert tested.included(np.arange(2)).tolist() == [True, False]
    assert space({"array.lanes": [1]}, where=("device.dsp > 2000",)).included(np.arange(1)).tolist() == [True]


def test_a_derived_value_that_is_no_number_is_illegal() -> None:
    tested = space({"array.lanes": [4, 5]}, {"vector.lanes": "64 / (array.lanes - 4)", "clock_mhz": "vector.lanes * 2"})
    assert tested.legal(np.arange(2)).tolist() == [False, True]
    assert tested.columns(np.arange(2))["clock_mhz"].tolist()[1] == 128.0


@settings(max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 2**32 - 1))
def test_a_random_order_is_a_permutation(size: int, seed: int) -> None:
    order = RandomOrder(size, seed, size)
    ids = order.ids(0, size)
    assert sorted(ids.tolist()) == list(range(size))
    assert np.array_equal(np.concatenate([order.ids(0, size // 2), order.ids(size // 2, size - size // 2)]), ids)


def test_random_orders_are_uniform_and_differ_by_seed() -> None:
    size, take, seeds = 997, 100, 2000
    counts = np.zeros(size)
    for seed in range(seeds):
        counts[RandomOrder(size, seed, take).ids(0, take)] += 1
    expected = seeds * take / size
    chi_square = float(((counts - expected) ** 2 / (expected * (1 - take / size))).sum())
    assert abs(chi_square - (size - 1)) < 5 * (2 * size) ** 0.5


def test_a_sample_ends_with_its_last_point_that_counts() -> None:
    tested = space(
        {"array.chains": list(range(8, 513, 8)), "array.lanes": list(range(1, 17))}, where=("array.lanes <= 4",)
    )
    order = order_of(Strategy(kind="random", points=50, seed=4), tested)
    assert int(tested.included(order.ids(0, order.length)).sum()) == 50
    assert tested.included(order.ids(order.length - 1, 1)).all()
    everything = order_of(Strategy(kind="random", points=5000, seed=4), tested)
    assert everything.length == tested.size


@pytest.mark.parametrize("size", [2**40, 10**12 + 39])
def test_a_sample_of_a_huge_grid(size: int) -> None:
    ids = RandomOrder(size, 1, 4096).ids(0, 4096)
    assert len(set(ids.tolist())) == 4096
    assert ids.min() >= 0
    assert size * 0.99 < ids.max() < size
