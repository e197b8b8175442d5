"""Check nests of strided axes against numpy reshape and transpose."""

import itertools
import math

import numpy as np
import pytest

from gossamer.mapper.codegen.strided import Axis, collapse, nest, offsets, permutation_nest, refine, split_axes

SEEDS = range(150)


def test_collapse_merges_what_is_contiguous_for_all_operands() -> None:
    axes = nest((2, 3, 1, 4), (96, 32, 7, 4), (12, 4, 9, 1))
    assert collapse(axes) == (Axis(6, (32, 4)), Axis(4, (4, 1)))
    assert collapse(nest((2, 3), (3, 1))) == (Axis(6, (1,)),)
    assert collapse(nest((2, 3), (3, 1)), keep_inner=True) == nest((2, 3), (3, 1))
    assert collapse(nest((1, 1), (3, 1)), keep_inner=True) == nest((1,), (1,))
    assert collapse(nest((1, 1), (3, 1))) == ()
    assert collapse(nest((2, 3), (0, 0), (3, 1))) == (Axis(6, (0, 1)),)


@pytest.mark.parametrize("seed", range(40))
def test_collapse_keeps_the_order_of_offsets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [int(v) for v in rng.integers(1, 4, 4)]
    dense = [math.prod(sizes[i + 1 :]) for i in range(4)]
    other = [int(v) for v in rng.choice([0, 1, 2, 6], 4)]
    axes = nest(sizes, dense, other)
    assert list(offsets(collapse(axes), 2)) == list(offsets(axes, 2))


def test_refine_finds_common_factors_or_none() -> None:
    assert refine((4, 6), (2, 12)) == (2, 2, 6)
    assert refine((24,), (2, 3, 4)) == (2, 3, 4)
    assert refine((1, 1), (1,)) == ()
    assert refine((4, 6), (6, 4)) is None
    with pytest.raises(ValueError, match="do not refine"):
        split_axes(nest((6,), (1,)), (4,))


def factorisation(rng: np.random.Generator, total: int, count: int) -> list[int]:
    sizes = []
    for _ in range(count - 1):
        divisors = [d for d in range(1, total + 1) if total % d == 0]
        sizes.append(int(rng.choice(divisors)))
        total //= sizes[-1]
    return [*sizes, total]


@pytest.mark.parametrize("seed", SEEDS)
def test_permutation_nest_moves_what_numpy_moves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = [int(v) for v in rng.choice([1, 2, 3, 4, 6], 4)]
    total = math.prod(shape)
    view = factorisation(rng, total, int(rng.integers(1, 6)))
    order = [int(v) for v in rng.permutation(len(view))]
    out_shape = factorisation(rng, total, 4)
    pitch, out_pitch = shape[3] + 2, out_shape[3] + 1
    strides = [shape[1] * shape[2] * pitch, shape[2] * pitch, pitch, 1]
    out_strides = [out_shape[1] * out_shape[2] * out_pitch, out_shape[2] * out_pitch, out_pitch, 1]
    found = permutation_nest(shape, strides, view, order, out_shape, out_strides)
    moved = np.arange(total).reshape(view).transpose(order).reshape(out_shape)
    if found is None:
        view_boundaries = {math.prod(view[i:]) for i in range(len(view))}
        shape_boundaries = {math.prod(shape[i:]) for i in range(4)}
        permuted = [view[i] for i in order]
        crossing = any(a % b and b % a for a, b in itertools.product(view_boundaries, shape_boundaries))
        out_boundaries = {math.prod(out_shape[i:]) for i in range(4)}
        permuted_boundaries = {math.prod(permuted[i:]) for i in range(len(permuted))}
        inner = any(a % b and b % a for a, b in itertools.product(permuted_boundaries, out_boundaries))
        splits = refine(shape, view)
        assert crossing or inner or len([f for f in splits or () if f > 1]) > len([v for v in view if v > 1])
        return
    pairs = dict((d, s) for s, d in offsets(found, 2))
    assert len(pairs) == total
    for index in np.ndindex(*out_shape):
        source = np.unravel_index(moved[index], shape)
        assert pairs[int(np.dot(index, out_strides))] == int(np.dot(source, strides))
