"""Compare the off-chip memory plan of networks with what no plan can be below, and small ones with the exact optimum.

    python benchmarks/allocation_gap.py [--config kv260-edge] [--graphs 200] [--seed 1]

Bound: the most bytes that are alive in one layer. Exact: an integer program (two tensors that are alive together do not
overlap, the highest end is least), solved by HiGHS through scipy, on random lifetimes of up to nine tensors.
"""

import argparse
from itertools import combinations
from unittest.mock import patch

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.optimize import Bounds, LinearConstraint, milp

from gossamer.arch.config import load_config
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.program import RegionKind
from gossamer.mapper.allocate import REGION_ALIGN_BYTES, OffChip, Request, align
from gossamer.request import SimulationRequest
from gossamer.shipped_models import shipped_models
from gossamer.simulation import compile_for

UNIT = REGION_ALIGN_BYTES


def planned_bytes(requests: list[Request]) -> int:
    """Return the bytes the allocator takes."""
    places = OffChip(8).plan(requests)
    first = min(places.values())
    return max(places[each.name] - first + align(each.size_bytes, UNIT) for each in requests)


def alive_bytes(requests: list[Request]) -> int:
    """Return the most bytes alive at once; inputs and outputs always are."""
    fixed = sum(align(each.size_bytes, UNIT) for each in requests if each.kind is not RegionKind.ACTIVATION)
    shared = [each for each in requests if each.kind is RegionKind.ACTIVATION]
    times = {time for each in shared for time in (each.first, each.last)}
    alive = [sum(align(e.size_bytes, UNIT) for e in shared if e.first <= time <= e.last) for time in times]
    return fixed + max(alive, default=0)


def least_bytes(requests: list[Request]) -> int:
    """Return the fewest bytes any plan takes, by an integer program over units of UNIT bytes."""
    sizes = [align(each.size_bytes, UNIT) // UNIT for each in requests]
    together = [
        (i, j)
        for (i, a), (j, b) in combinations(enumerate(requests), 2)
        if RegionKind.ACTIVATION not in (a.kind, b.kind)
        or a.kind is not b.kind
        or (a.first <= b.last and b.first <= a.last)
    ]
    count, room = len(requests), sum(sizes)
    variables = count + 1 + len(together)  # starts, the end, and for each pair which is below
    rows, limits = [], []
    for i, size in enumerate(sizes):
        row = np.zeros(variables)
        row[i], row[count] = 1, -1
        rows.append(row)
        limits.append(-size)
    for number, (i, j) in enumerate(together):
        for low, high, sign in ((i, j, 1), (j, i, -1)):
            row = np.zeros(variables)
            row[low], row[high], row[count + 1 + number] = 1, -1, sign * room
            rows.append(row)
            limits.append((room if sign > 0 else 0) - sizes[low])
    cost = np.zeros(variables)
    cost[count] = 1
    upper = np.full(variables, float(room))
    upper[count + 1 :] = 1
    found = milp(
        cost, constraints=LinearConstraint(np.array(rows), ub=np.array(limits)), integrality=np.ones(variables),
        bounds=Bounds(0, upper),
    )  # fmt: skip
    if not found.success:
        raise RuntimeError(found.message)
    return round(found.fun) * UNIT


def random_requests(random: np.random.Generator) -> list[Request]:
    """Return tensors of a small network: sizes over two orders of magnitude, most of them short-lived."""
    count, layers = int(random.integers(3, 10)), int(random.integers(3, 8))
    requests = []
    for number in range(count):
        first = int(random.integers(0, layers))
        last = min(layers - 1, first + int(random.choice([0, 1, 1, 1, 2, 4])))
        kind = RegionKind.INPUT if number == 0 else RegionKind.OUTPUT if number == 1 else RegionKind.ACTIVATION
        size = UNIT * int(np.exp(random.uniform(0, np.log(100))))
        requests.append(Request(name=f"t{number}", kind=kind, size_bytes=size, first=first, last=last))
    return requests


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare memory plans with bounds and with exact optima.")
    parser.add_argument("--config", default="kv260-edge")
    parser.add_argument("--graphs", type=int, default=200, help="random small graphs")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    spec, console = load_config(options.config), Console(stderr=True)
    assert isinstance(spec, SparseAccelerator)
    seen: list[list[Request]] = []
    plan = OffChip.plan

    def remember(memory: OffChip, requests: list[Request]) -> dict[str, int]:
        seen.append(requests)
        return plan(memory, requests)

    print(f"{'network':14} {'planned':>12} {'alive at once':>14} {'gap':>7}")
    for name in track(list(shipped_models()), console=console, transient=True):
        seen.clear()
        request = SimulationRequest(model=name, config=options.config, sparsity="dense", shapes={})
        with patch.object(OffChip, "plan", remember):
            compile_for(request, spec, lambda _: None)
        requests = seen[-1]
        planned, alive = planned_bytes(requests), alive_bytes(requests)
        print(f"{name:14} {planned:12,} {alive:14,} {100 * (planned / alive - 1):6.2f}%", flush=True)
    random = np.random.default_rng(options.seed)
    gaps = []
    for _ in track(range(options.graphs), console=console, transient=True):
        requests = random_requests(random)
        gaps.append(planned_bytes(requests) / least_bytes(requests) - 1)
    print(
        f"{len(gaps)} random graphs: {sum(gap == 0 for gap in gaps)} planned with the fewest bytes, "
        f"mean gap {100 * np.mean(gaps):.2f} %, largest {100 * max(gaps):.1f} %"
    )


if __name__ == "__main__":
    main()
