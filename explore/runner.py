"""Run a sweep into its store, chunk by chunk, so that it can be stopped anywhere and go on where it was."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import GossamerError
from gossamer.explore.cluster import ClusterPool
from gossamer.explore.evaluate import STATUS, EvaluatorFactory, Results, make_evaluator
from gossamer.explore.identity import code_identity, sweep_identity
from gossamer.explore.outcome import FrontTracker, SweepReport, make_report
from gossamer.explore.pool import InProcess, Job, LocalPool, Pool
from gossamer.explore.search import BATCH, Search
from gossamer.explore.space import Space
from gossamer.explore.spec import SweepSpec
from gossamer.explore.store import Store, is_absent, joined, open_store
from gossamer.explore.strategies import Order, order_of
from gossamer.explore.sweep_file import Sweep

CHUNK = 1024
"""Points of a chunk of a grid, about: what an interruption loses at most, per worker. Chunks are whole blocks of points
that are costed together (`Space.block`) if those are not too large."""

LARGEST_CHUNK = 16_384
SCATTERED_CHUNK = 16
"""Points of a chunk of random ones, of which each is costed alone."""

MAX_WORKERS = 256
_ASKS_PER_POINT = 20
"""A search that proposes so many points per new one has seen what it can reach, and ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a sweep is: positions of its order or proposed points done, of how many; points and what they are."""

    done: int
    total: int
    points: int
    infeasible: int
    front: int
    points_per_s: float


Watch = Callable[[Progress], None]
"""Told the progress after every chunk."""


@dataclass(slots=True, kw_only=True)
class _Run:
    """One run of a sweep: what its chunks are recorded with."""

    store: Store
    front: FrontTracker
    watch: Watch
    total: int
    done: int
    points: int
    infeasible: int
    searching: bool
    new_points: int = 0
    started: float = 0.0

    def record(
        self, first: int, count: int, excluded: int, results: Results, proposed: NDArray[np.int64] | None = None
    ) -> None:  # fmt: skip
        """Keep a chunk and tell the progress."""
        if not self.started:
            self.started = time.monotonic()
        self.store.add_chunk(first, count, excluded, results, proposed)
        self.front.add(results)
        self.done += count
        self.points += len(results.ids)
        self.new_points += len(results.ids)
        self.infeasible += int((results.status != STATUS.FEASIBLE).sum())
        self.tell()

    def tell(self) -> None:
        """Tell the progress."""
        seconds = time.monotonic() - self.started if self.started else 0.0
        self.watch(
            Progress(
                done=self.points if self.searching else self.done, total=self.total,
                points=self.points, infeasible=self.infeasible,
                front=self.front.count(), points_per_s=self.new_points / seconds if seconds > 0 else 0.0,
            )
        )  # fmt: skip


def run_sweep(
    sweep: Sweep,
    output: Path,
    *,
    workers: int = 1,
    cluster: str | None = None,
    resume: bool = False,
    factory: EvaluatorFactory = make_evaluator,
    watch: Watch = lambda progress: None,
    chunk_points: int | None = None,
) -> SweepReport:
    """Evaluate the points of a sweep into the store `output`; go on if it has some already.

    workers: processes of this machine, one being this process itself; cluster: address of a dask.distributed scheduler
    instead. resume: `output` must exist. Interrupted by whatever, completed chunks are kept. Raises GossamerError; no
    file is left behind if nothing was evaluated.
    """
    started = time.monotonic()
    if not 1 <= workers <= MAX_WORKERS:
        raise GossamerError(f"--workers must be from 1 to {MAX_WORKERS}, not {workers}")
    if cluster is not None and workers > 1:
        raise GossamerError("--workers are of this machine, --cluster has its own: leave one out")
    absent = is_absent(output)
    if resume and absent:
        raise GossamerError(f"{output}: there is no store to resume; leave out --resume to start one")
    identity = sweep_identity(sweep)
    spec, space = sweep.spec, sweep.space
    job = Job(factory=factory, spec=spec, space=space, code=code_identity())

    def make_pool() -> Pool:
        if cluster is not None:
            return ClusterPool(job, cluster, sha256(repr((sorted(identity.items()), factory)).encode()).hexdigest())
        return InProcess(job) if workers == 1 else LocalPool(job, workers)

    with ExitStack() as stack:
        pools: list[Pool] = []

        def pool() -> Pool:
            if not pools:
                pools.append(make_pool())
                stack.callback(pools[0].close)
            return pools[0]

        search = None if spec.strategy.kind in ("grid", "random") else Search(spec.strategy, spec.objectives, space)
        order = order_of(spec.strategy, space) if search is None else None
        if absent:
            pool()  # before there is a file: what is wrong with the evaluator leaves none
        size = chunk_points or _chunk_points(spec, space)
        store = stack.enter_context(open_store(output, spec, space, identity, {"chunk_points": str(size)}))
        run = _resumed(store, spec, watch, order)
        if order is not None:
            _run_order(run, order, int(store.meta()["chunk_points"]), pool)
        else:
            assert search is not None
            _run_search(run, search, space, pool)
        return make_report(sweep, store, run.front, evaluated=run.new_points, seconds=time.monotonic() - started)


def _chunk_points(spec: SweepSpec, space: Space) -> int:
    """Return the points of a chunk."""
    if spec.strategy.kind != "grid":
        return SCATTERED_CHUNK
    return space.block * max(1, CHUNK // space.block) if space.block <= LARGEST_CHUNK else CHUNK


def _resumed(store: Store, spec: SweepSpec, watch: Watch, order: Order | None) -> _Run:
    """Return a run that begins with what the store has."""
    front = FrontTracker(spec.objectives)
    for batch in store.batches(f"status = {STATUS.FEASIBLE.value}"):
        front.add(batch)
    statuses = store.count_by_status()
    points = sum(statuses.values())
    return _Run(
        store=store, front=front, watch=watch, points=points, infeasible=points - statuses.get(STATUS.FEASIBLE, 0),
        total=spec.strategy.points or 0 if order is None else order.length,
        done=sum(count for count, _ in store.chunks().values()), searching=order is None,
    )  # fmt: skip


def _run_order(run: _Run, order: Order, chunk_points: int, pool: Callable[[], Pool]) -> None:
    """Evaluate what the store does not have of a fixed order."""
    known = run.store.chunks()
    missing: Iterator[tuple[int, int]] = (
        (first, min(chunk_points, order.length - first))
        for first in range(0, order.length, chunk_points)
        if first not in known
    )
    counts: dict[int, int] = {}
    run.tell()
    for first, count in missing:
        counts[first] = count
        pool().submit(first, order.ids(first, count))
        if len(counts) >= pool().capacity:
            _take(run, pool(), counts)
    while counts:
        _take(run, pool(), counts)


def _take(run: _Run, pool: Pool, counts: dict[int, int]) -> None:
    first, chunk = pool.next()
    run.record(first, counts.pop(first), chunk.excluded, chunk.results)


def _run_search(run: _Run, search: Search, space: Space, pool: Callable[[], Pool]) -> None:
    """Ask, evaluate and tell until there are as many points as wanted, or no more new ones."""
    wanted = run.total
    known_rounds = run.store.chunks()
    run.tell()
    if run.points >= wanted:
        return
    asked = distinct = 0
    seen: set[int] = set()
    while distinct < wanted and asked < _ASKS_PER_POINT * wanted and len(seen) < space.size:
        count = min(BATCH, wanted - distinct)
        ids = search.ask(count)
        included = space.included(ids)
        points = np.unique(ids[included])
        fresh = points[[point not in seen for point in points.tolist()]] if len(points) else points
        if asked not in known_rounds:
            results = _evaluated(fresh, pool()) if len(fresh) else joined([])
            run.record(asked, count, int((~included).sum()), results, ids)
        search.tell(ids, run.store.look_up(points))
        seen.update(ids.tolist())
        distinct += len(fresh)
        asked += count


def _evaluated(points: NDArray[np.int64], pool: Pool) -> Results:
    """Return the results of points, shared out to all workers."""
    parts = [part for part in np.array_split(points, pool.capacity) if len(part)]
    for key, part in enumerate(parts):
        pool.submit(key, part)
    done = dict(pool.next() for _ in parts)
    return joined([done[key].results for key in range(len(parts))])
