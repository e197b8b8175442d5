"""Sweeps of real designs end to end: front by brute force, the same store from whoever evaluates, kills, other code."""

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from distributed import LocalCluster
from scripts import load_script
from sweep_cases import point_table

from gossamer import cli
from gossamer.explore.evaluate import METRICS, STATUS, make_evaluator
from gossamer.explore.runner import run_sweep
from gossamer.explore.sweep_file import Sweep, load_sweep

ROOT = Path(__file__).parents[2]
TEXT = """\
name: digits-designs
question: Which small core?
base: ecp5-tiny
axes:
  model: [digits]
  sparsity: [dense, "2:4"]
  array.chains: [8, 16, 32]
  array.chain_length: [1, 2]
  array.lanes: [1, 2, 4]
  buffers.activation.capacity_bytes: ACTIVATION
  buffers.weight.capacity_bytes: WEIGHT
set: {vector.lanes: array.chains}
where: [array.chains * array.lanes <= 64]
constraints: {latency_s: {max: 0.001}}
objectives: [latency_s, bram36, dsp]
"""

FEW = TEXT.replace("ACTIVATION", "[1024, 4096, 16384]").replace("WEIGHT", "[1024, 4096, 16384]")
"""288 points and 36 that the condition leaves out."""

MANY = TEXT.replace("ACTIVATION", "{range: {from: 8192, to: 32768, step: 1024}}").replace(
    "WEIGHT", "{range: {from: 4096, to: 16384, step: 512}}"
)
"""32 blocks of 625 points that are costed together, a chunk each, and 4 that the condition leaves out."""

Run = Callable[..., tuple[int, str, str]]


def sweep_in(folder: Path, text: str) -> Sweep:
    (folder / "sweep.yaml").write_text(text)
    return load_sweep(folder / "sweep.yaml")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a function that runs `gossamer` beside `sweep.yaml`, FEW: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    sweep_in(tmp_path, FEW)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gossamer", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capfd.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


def one_by_one(sweep: Sweep) -> dict[int, tuple[STATUS, dict[str, float]]]:
    """Return status and metrics of every point, each evaluated alone."""
    evaluator, found = make_evaluator(sweep.spec, sweep.space), {}
    for number in range(sweep.space.size):
        if sweep.space.included(np.array([number]))[0]:
            result = evaluator.evaluate(np.array([number]))
            metrics = dict(zip(METRICS, result.metrics[0].tolist(), strict=True))
            found[number] = STATUS(int(result.status[0])), metrics
    return found


def test_the_command_finds_the_front_of_brute_force(run: Run, tmp_path: Path) -> None:
    expected = one_by_one(load_sweep(tmp_path / "sweep.yaml"))
    costs = {
        number: (metrics["latency_s"], metrics["bram36"], metrics["dsp"])
        for number, (status, metrics) in expected.items() if status == STATUS.FEASIBLE
    }  # fmt: skip
    front = [
        number for number, mine in costs.items()
        if not any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in costs.values())
    ]  # fmt: skip
    status, out, err = run("sweep", "sweep.yaml", "-o", "r.db", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["points_total"] == found["points_evaluated"] == len(expected) == 288
    assert found["points_excluded"] == 36
    assert found["points_infeasible"] == len(expected) - len(costs)
    assert all(found["infeasible"][reason] > 0 for reason in ("exceeds_device", "breaks_constraint"))
    assert sorted(point["id"] for point in found["pareto"]) == front
    assert len({costs[number] for number in front}) > 3
    for point in found["pareto"]:
        assert point["metrics"] == expected[point["id"]][1]
    assert found["seconds"] > 0

    status, out, err = run("sweep", "sweep.yaml", "-o", "r.db", "--resume")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "digits-designs: Which small core?"
    assert lines[1].startswith(f"points 288: {len(costs)} feasible, ")
    assert any(line.startswith(f"front  {len(front)} points") for line in lines)
    assert not any(line.startswith("time") for line in lines)
    shown = [int(line.split()[0]) for line in lines if line[:10].strip().isdigit()]
    assert len(shown) == len({costs[number] for number in front})
    assert set(shown) <= set(front)


def test_results_of_other_code_are_refused(run: Run, tmp_path: Path) -> None:
    assert run("sweep", "sweep.yaml", "-o", "r.db", "--json")[0] == 0
    with closing(sqlite3.connect(tmp_path / "r.db")) as connection, connection:
        (identity,) = connection.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
        other = {**json.loads(identity), "code of gossamer": "0" * 64}
        connection.execute("UPDATE meta SET value = ? WHERE key = 'identity'", (json.dumps(other),))
    before = (tmp_path / "r.db").read_bytes()
    status, out, err = run("sweep", "sweep.yaml", "-o", "r.db")
    assert (status, out) == (2, "")
    assert "r.db: holds results that must not be mixed with those of this sweep" in err
    assert f"code of gossamer: {'0' * 16} there" in err
    assert (tmp_path / "r.db").read_bytes() == before


def test_workers_and_a_cluster_make_the_store_of_one_worker(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path, MANY)
    alone = run_sweep(sweep, tmp_path / "alone.db")
    assert alone.points_total == 20_000
    two = run_sweep(sweep, tmp_path / "two.db", workers=2)
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        there = run_sweep(sweep, tmp_path / "there.db", cluster=cluster.scheduler_address)
    expected = point_table(tmp_path / "alone.db")
    assert point_table(tmp_path / "two.db") == expected
    assert point_table(tmp_path / "there.db") == expected
    assert alone.pareto == two.pareto == there.pareto


@pytest.fixture
def kills() -> ModuleType:
    """Return benchmarks/sweep_kills.py."""
    return load_script("benchmarks/sweep_kills.py")


def test_three_kills_of_the_command(tmp_path: Path, kills: ModuleType) -> None:
    sweep_in(tmp_path, MANY)
    command = [sys.executable, "-m", "gossamer", "sweep", os.fspath(tmp_path / "sweep.yaml"), "-o"]
    outcome = kills.kill_and_resume(command, tmp_path, kills=3, seed=4)
    assert (outcome.kills, outcome.points) == (3, 20_000)
