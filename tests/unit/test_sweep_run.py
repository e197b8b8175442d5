"""Runs of sweeps: fronts against brute force, the same points however they are evaluated, stopped or resumed."""

import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stand_in import StandIn, refusing
from sweep_cases import TEXT, made_up_sweep, point_table

from gossamer.arch.errors import GossamerError
from gossamer.explore.evaluate import METRICS, STATUS
from gossamer.explore.pareto import hypervolume, oriented
from gossamer.explore.pool import LocalPool
from gossamer.explore.runner import Progress, run_sweep
from gossamer.explore.store import read_store


def test_the_grid_and_its_front_are_brute_force(tmp_path: Path) -> None:
    sweep = made_up_sweep(tmp_path)
    report = run_sweep(sweep, tmp_path / "r.db", factory=StandIn(), chunk_points=100)
    values = (axis.values for axis in sweep.space.axes)
    rows = list(itertools.product(*values))
    included = [number for number, row in enumerate(rows) if row[3] * row[4] <= 1024]  # type: ignore[operator]
    assert report.points_total == report.points_evaluated == report.points_new == len(included)
    assert report.points_excluded == len(rows) - len(included)
    expected = StandIn()(sweep.spec, sweep.space).evaluate(np.array(included))
    with read_store(tmp_path / "r.db") as store:
        found = store.results()
    assert found.ids.tolist() == included
    assert found.status.tolist() == expected.status.tolist()
    assert found.metrics.tobytes() == expected.metrics.tobytes()
    assert report.infeasible == {
        status.name.lower(): int((expected.status == status).sum()) for status in STATUS if status != STATUS.FEASIBLE
    }
    assert all(report.infeasible.values())
    feasible = expected.status == STATUS.FEASIBLE
    points = oriented(expected.metrics[feasible], sweep.spec.objectives)
    front = [i for i, p in zip(expected.ids[feasible].tolist(), points, strict=True)
             if not ((points <= p).all(axis=1) & (points < p).any(axis=1)).any()]  # fmt: skip
    assert sorted(point.id for point in report.pareto) == front
    assert len(front) > 10
    first = report.pareto[0]
    assert [first.values[axis.name] for axis in sweep.space.axes] == list(rows[first.id])
    assert first.values["vector.lanes"] == rows[first.id][3] // rows[first.id][4]  # type: ignore[operator]
    assert [first.metrics[name] for name in METRICS] == expected.metrics[included.index(first.id)].tolist()
    latencies = [point.metrics["latency_s"] for point in report.pareto]
    assert latencies == sorted(latencies)


STRATEGIES = (
    "{kind: grid}", "{kind: random, points: 700, seed: 3}", "{kind: nsga2, points: 170, seed: 5}",
    "{kind: tpe, points: 120, seed: 5}",
)  # fmt: skip


class Stop(Exception):
    """Raised in the middle of a sweep."""


def stop_after(chunks: int) -> Callable[[Progress], None]:
    """Return a watch that raises Stop when told the progress for the `chunks`-th time."""
    told = itertools.count(1)

    def watch(progress: Progress) -> None:
        if next(told) > chunks:
            raise Stop

    return watch


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_stopped_and_resumed_is_uninterrupted(tmp_path: Path, strategy: str) -> None:
    sweep = made_up_sweep(tmp_path, strategy)
    whole = run_sweep(sweep, tmp_path / "whole.db", factory=StandIn(), chunk_points=64)
    stops = 0
    while True:
        try:
            resumed = run_sweep(sweep, tmp_path / "parts.db", factory=StandIn(), watch=stop_after(2), chunk_points=64)
            break
        except Stop:
            stops += 1
            with read_store(tmp_path / "parts.db") as store:
                assert len(store.chunks()) >= stops
    assert stops > 1
    assert point_table(tmp_path / "parts.db") == point_table(tmp_path / "whole.db")
    with read_store(tmp_path / "parts.db") as parts, read_store(tmp_path / "whole.db") as store:
        assert parts.proposed().tolist() == store.proposed().tolist()
        assert bool(len(parts.proposed())) == (sweep.spec.strategy.kind in ("nsga2", "tpe"))
    assert resumed.pareto == whole.pareto
    again = run_sweep(sweep, tmp_path / "parts.db", factory=StandIn(), resume=True, chunk_points=999)
    assert (again.points_new, again.pareto) == (0, whole.pareto)


@pytest.mark.parametrize("strategy", STRATEGIES[:3])
def test_workers_do_not_change_a_bit(tmp_path: Path, strategy: str) -> None:
    sweep = made_up_sweep(tmp_path, strategy)
    alone = run_sweep(sweep, tmp_path / "alone.db", factory=StandIn(), chunk_points=64)
    together = run_sweep(sweep, tmp_path / "two.db", workers=2, factory=StandIn(), chunk_points=64)
    assert point_table(tmp_path / "two.db") == point_table(tmp_path / "alone.db")
    assert together.pareto == alone.pareto


def test_a_random_sample_is_as_large_as_asked(tmp_path: Path) -> None:
    sweep = made_up_sweep(tmp_path, "{kind: random, points: 700, seed: 3}")
    report = run_sweep(sweep, tmp_path / "r.db", factory=StandIn())
    assert report.points_total == report.points_evaluated == 700
    other = made_up_sweep(tmp_path, "{kind: random, points: 700, seed: 4}")
    run_sweep(other, tmp_path / "other.db", factory=StandIn())
    assert point_table(tmp_path / "r.db") != point_table(tmp_path / "other.db")
    everything = made_up_sweep(tmp_path, "{kind: random, points: 100000}")
    grid = run_sweep(made_up_sweep(tmp_path), tmp_path / "grid.db", factory=StandIn())
    assert run_sweep(everything, tmp_path / "all.db", factory=StandIn()).points_total == grid.points_total
    assert point_table(tmp_path / "all.db") == point_table(tmp_path / "grid.db")


def volume(folder: Path, kind: str, points: int, seed: int) -> float:
    """Return the hypervolume that a strategy reaches in a space of half a million points."""
    many = "  array.lanes: {range: {from: 1, to: 16, step: 1}}\n  axi.burst_beats: {range: {from: 1, to: 64, step: 1}}"
    text = TEXT.replace("  array.lanes: [1, 2, 3, 4, 6, 8]", many)
    sweep = made_up_sweep(folder, f"{{kind: {kind}, points: {points}, seed: {seed}}}", text)
    report = run_sweep(sweep, folder / f"{kind}{points}-{seed}.db", factory=StandIn())
    assert report.points_evaluated == points
    metrics = np.array([[point.metrics[name] for name in METRICS] for point in report.pareto])
    return hypervolume(oriented(metrics, sweep.spec.objectives), np.array([30.0, 300.0, 9000.0]))


@pytest.mark.parametrize(("kind", "points"), [("nsga2", 400), ("tpe", 100)])
def test_search_beats_random(tmp_path: Path, kind: str, points: int) -> None:
    means = {name: np.mean([volume(tmp_path, name, points, seed) for seed in (1, 2, 3)]) for name in ("random", kind)}
    assert means[kind] > means["random"]


def test_a_search_ends_when_there_is_nothing_new(tmp_path: Path) -> None:
    text = TEXT.replace("to: 256", "to: 16").replace("from: 65536", "from: 4194304")
    sweep = made_up_sweep(tmp_path, "{kind: nsga2, points: 50}", text)
    report = run_sweep(sweep, tmp_path / "r.db", factory=StandIn())
    assert report.points_evaluated <= sweep.space.size == 36
    assert report.points_evaluated < report.points_total == 50


def test_a_dead_worker_loses_nothing(tmp_path: Path) -> None:
    sweep = made_up_sweep(tmp_path)
    marks = tmp_path / "marks"
    marks.mkdir()
    run_sweep(sweep, tmp_path / "alone.db", factory=StandIn(), chunk_points=64)
    dying = StandIn(die_at=700, deaths=3, marks=marks)
    run_sweep(sweep, tmp_path / "two.db", workers=2, factory=dying, chunk_points=64)
    assert len(list(marks.iterdir())) == 3
    assert point_table(tmp_path / "two.db") == point_table(tmp_path / "alone.db")


def test_a_chunk_that_kills_its_workers_is_named(tmp_path: Path) -> None:
    sweep = made_up_sweep(tmp_path)
    marks = tmp_path / "marks"
    marks.mkdir()
    dying = StandIn(die_at=700, deaths=9, marks=marks)
    message = r"the chunk of points 640 to 703 cannot be evaluated: 4 workers died of it, the last with exit code -9"
    with pytest.raises(GossamerError, match=message):
        run_sweep(sweep, tmp_path / "r.db", workers=2, factory=dying, chunk_points=64)
    with read_store(tmp_path / "r.db") as store:
        assert 640 not in store.chunks()
        assert len(store.chunks()) > 5
    for mark in marks.iterdir():
        mark.unlink()
    run_sweep(sweep, tmp_path / "r.db", factory=StandIn(), resume=True)
    run_sweep(sweep, tmp_path / "alone.db", factory=StandIn())
    assert point_table(tmp_path / "r.db") == point_table(tmp_path / "alone.db")


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    sweep = made_up_sweep(tmp_path)
    from gossamer.explore.identity import code_identity
    from gossamer.explore.pool import Job

    pool = LocalPool(Job(factory=StandIn(), spec=sweep.spec, space=sweep.space, code=code_identity()), 2)
    processes = [worker.process for worker in pool._workers]
    os.kill(pool.processes[0], signal.SIGINT)  # as Ctrl-C sends it to the whole group: ignored
    pool.submit(0, np.arange(10))
    assert pool.next()[0] == 0
    for worker in pool._workers:
        worker.pipe.close()
        worker.process.join(20)
    assert [process.exitcode for process in processes] == [0, 0]


@pytest.mark.parametrize("workers", [1, 2])
def test_no_evaluator_no_file(tmp_path: Path, workers: int) -> None:
    with pytest.raises(GossamerError, match="this model cannot be read"):
        run_sweep(made_up_sweep(tmp_path), tmp_path / "r.db", workers=workers, factory=refusing)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made-up.yaml"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "--workers must be from 1 to 256, not 0"),
        ({"workers": 1000}, "--workers must be from 1 to 256, not 1000"),
        ({"workers": 2, "cluster": "tcp://x:1"}, "leave one out"),
        ({"resume": True}, "there is no store to resume"),
        ({"cluster": "no-address"}, "--cluster no-address: no scheduler answers there"),
    ],
)
def test_options_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(GossamerError, match=message):
        run_sweep(made_up_sweep(tmp_path), tmp_path / "r.db", factory=StandIn(), **options)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made-up.yaml"]


def test_progress_counts_everything(tmp_path: Path) -> None:
    told: list[Progress] = []
    report = run_sweep(
        made_up_sweep(tmp_path), tmp_path / "r.db", factory=StandIn(), watch=told.append, chunk_points=500
    )
    assert [now.done for now in told] == [*range(0, 4032, 500), 4032]
    assert {now.total for now in told} == {4032}
    assert told[-1].points == report.points_evaluated
    assert told[-1].infeasible == report.points_infeasible
    assert told[-1].points_per_s > 0
