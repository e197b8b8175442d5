"""The plan of off-chip memory against an integer program solved by HiGHS, and against what is alive at once."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np

from gossamer.dataflow.program import RegionKind
from gossamer.mapper.allocate import OffChip, Request, align

GRAPHS = 20


def gap_benchmark() -> ModuleType:
    """Return benchmarks/allocation_gap.py, which holds the integer program."""
    path = Path(__file__).parents[2] / "benchmarks" / "allocation_gap.py"
    specification = importlib.util.spec_from_file_location("allocation_gap", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def overlaps(requests: list[Request]) -> list[tuple[str, str]]:
    """Return the pairs that a plan gives common bytes although both are needed."""
    places = OffChip(8).plan(requests)

    def both_needed(a: Request, b: Request) -> bool:
        shared = a.kind is b.kind is RegionKind.ACTIVATION
        return not shared or (a.first <= b.last and b.first <= a.last)

    return [
        (a.name, b.name)
        for number, a in enumerate(requests)
        for b in requests[:number]
        if both_needed(a, b)
        and places[a.name] < places[b.name] + align(b.size_bytes, 64)
        and places[b.name] < places[a.name] + align(a.size_bytes, 64)
    ]


def test_plans_of_small_graphs_are_close_to_the_best() -> None:
    """Largest first at the lowest free address: not always the best plan, but rarely and little above it."""
    benchmark, random, gaps = gap_benchmark(), np.random.default_rng(3), []
    for _ in range(GRAPHS):
        requests = benchmark.random_requests(random)
        assert overlaps(requests) == []
        planned, least = benchmark.planned_bytes(requests), benchmark.least_bytes(requests)
        assert benchmark.alive_bytes(requests) <= least <= planned
        gaps.append(planned / least - 1)
    assert np.mean(gaps) < 0.02
    assert max(gaps) < 0.25


def test_the_exact_plan_is_that_of_a_case_done_by_hand() -> None:
    """Three tensors of 1, 2 and 1 units in a row, each alive with the next: 3 units, as 2 + 1."""
    requests = [
        Request(name=name, kind=RegionKind.ACTIVATION, size_bytes=64 * size, first=first, last=first + 1)
        for name, size, first in (("a", 1, 0), ("b", 2, 1), ("c", 1, 2))
    ]
    benchmark = gap_benchmark()
    assert benchmark.least_bytes(requests) == benchmark.planned_bytes(requests) == 192
