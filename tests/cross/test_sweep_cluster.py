"""Sweeps on a dask.distributed cluster: the same bits as here, whoever dies; what cannot work is said."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from stand_in import StandIn, refusing
from sweep_cases import made_up_sweep, point_table

from gossamer.arch.errors import GossamerError
from gossamer.explore import runner
from gossamer.explore.runner import run_sweep


@pytest.fixture
def cluster(machines: LocalCluster) -> LocalCluster:
    """A cluster whose workers are all there again after the deaths of another test."""
    with Client(machines.scheduler_address) as client:
        client.wait_for_workers(2, timeout=120)
    return machines


@pytest.fixture(scope="module")
def machines() -> Iterator[LocalCluster]:
    support = str(Path(__file__).parents[1] / "support")
    path = os.pathsep.join([support, *filter(None, [os.environ.get("PYTHONPATH")])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as made:
            yield made


@pytest.mark.parametrize("strategy", ["{kind: grid}", "{kind: nsga2, points: 170, seed: 5}"])
def test_a_cluster_does_not_change_a_bit(tmp_path: Path, cluster: LocalCluster, strategy: str) -> None:
    sweep = made_up_sweep(tmp_path, strategy)
    alone = run_sweep(sweep, tmp_path / "alone.db", factory=StandIn(), chunk_points=64)
    there = run_sweep(
        sweep, tmp_path / "there.db", cluster=cluster.scheduler_address, factory=StandIn(), chunk_points=64
    )
    assert point_table(tmp_path / "there.db") == point_table(tmp_path / "alone.db")
    assert there.pareto == alone.pareto


def test_a_dead_worker_loses_nothing(tmp_path: Path, cluster: LocalCluster) -> None:
    sweep = made_up_sweep(tmp_path)
    marks = tmp_path / "marks"
    marks.mkdir()
    run_sweep(sweep, tmp_path / "alone.db", factory=StandIn(), chunk_points=64)
    dying = StandIn(die_at=700, deaths=2, marks=marks)
    run_sweep(sweep, tmp_path / "there.db", cluster=cluster.scheduler_address, factory=dying, chunk_points=64)
    assert len(list(marks.iterdir())) == 2
    assert point_table(tmp_path / "there.db") == point_table(tmp_path / "alone.db")


def test_a_chunk_that_kills_its_workers_is_named(tmp_path: Path, cluster: LocalCluster) -> None:
    sweep = made_up_sweep(tmp_path)
    marks = tmp_path / "marks"
    marks.mkdir()
    dying = StandIn(die_at=700, deaths=99, marks=marks)
    with pytest.raises(GossamerError, match="the chunk of points 640 to 703 cannot be evaluated"):
        run_sweep(sweep, tmp_path / "r.db", cluster=cluster.scheduler_address, factory=dying, chunk_points=64)
    assert len(list(marks.iterdir())) == 4


def test_no_evaluator_no_file(tmp_path: Path, cluster: LocalCluster) -> None:
    with pytest.raises(GossamerError, match="this model cannot be read"):
        run_sweep(
            made_up_sweep(tmp_path), tmp_path / "r.db", cluster=cluster.scheduler_address, factory=refusing
        )  # fmt: skip
    assert not (tmp_path / "r.db").exists()


def test_other_code_on_a_worker_is_refused(
    tmp_path: Path, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = runner.code_identity()
    monkeypatch.setattr(runner, "code_identity", lambda: {**here, "code of gossamer": "other"})
    with pytest.raises(GossamerError, match="a worker must have the same code of gossamer as the sweep"):
        run_sweep(
            made_up_sweep(tmp_path), tmp_path / "r.db", cluster=cluster.scheduler_address, factory=StandIn()
        )  # fmt: skip
    assert not (tmp_path / "r.db").exists()
