"""The command line of sweeps: messages and exit statuses, no file left behind, what the terminal shows."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from stand_in import StandIn
from sweep_cases import TEXT, made_up_sweep

import gossamer
from gossamer.explore.runner import run_sweep
from gossamer.sweep_command import SweepInterrupted, run_sweep_command, sweep_text

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "digits-ecp"], "did you mean `digits-ecp5`?"),
        (["sweep", "none.yaml"], "none.yaml: cannot be read: No such file or directory"),
        (["sweep", "made-up.yaml"], "made-up.yaml:2:11: question: must be text"),
        (["sweep", "digits-ecp5", "--workers", "0"], "--workers must be from 1 to 256, not 0"),
        (["sweep", "digits-ecp5", "--workers", "two"], "--workers"),
        (["sweep", "digits-ecp5", "--resume"], "r.db: there is no store to resume"),
        (["sweep", "digits-ecp5", "--cluster", "nowhere"], "--cluster nowhere: no scheduler answers there"),
        (["export", "none.db"], "none.db: there is no result store"),
    ],
)
def test_bad_input_is_one_message_and_no_file(run: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "made-up.yaml").write_text(TEXT.replace("What does the stand-in evaluator say?", "3"))
    output = "r.csv" if arguments[0] == "export" else "r.db"
    status, out, err = run(*arguments, "-o", output)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made-up.yaml"]


def test_configs_lists_sweeps_and_schema_has_theirs(run: Run) -> None:
    status, out, _ = run("configs")
    assert status == 0
    assert "digits-ecp5" in out.partition("\nsweeps\n")[2]
    status, out, _ = run("schema", "sweep")
    assert (status, json.loads(out)["title"]) == (0, "Gossamer sweep")
    assert "schema must be of config or sweep, not `sweeps`" in run("schema", "sweeps")[2]


def test_export_says_what_it_wrote(run: Run, tmp_path: Path) -> None:
    report = run_sweep(made_up_sweep(tmp_path), tmp_path / "r.db", factory=StandIn())
    assert run("export", "r.db", "-o", "r.csv") == (0, f"r.csv: {report.points_total:,} points\n", "")


def test_the_report_as_text_and_json(tmp_path: Path) -> None:
    path = tmp_path / "made-up.yaml"
    made_up_sweep(tmp_path)
    report = run_sweep_command(
        str(path), tmp_path / "r.db", resume=False, workers=1, cluster=None, quiet=True, factory=StandIn()
    )
    text = sweep_text(replace(report, store=Path("r.db"), seconds=2.0))
    lines = text.splitlines()
    assert lines[0] == "made-up: What does the stand-in evaluator say?"
    assert lines[1].startswith("points 3,465: ")
    assert "567 left out by conditions" in " ".join(text.split())
    assert "time   2.0 s for 3,465 new points, 1.732 kpoints/s" in lines
    assert f"front  {len(report.pareto)} points of least latency_s, least energy_j, least dsp" in lines
    assert "all of them: batch=1 model=digits" in lines
    assert lines[-2] == "saved  r.db"
    assert all(len(line) <= 80 for line in lines)
    data = report.as_json()
    assert {"points_total", "points_evaluated", "points_infeasible", "pareto", "seconds"} <= data.keys()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    counts = sum(data["infeasible"].values())
    assert data["points_infeasible"] == counts


def test_points_with_equal_objectives_are_one_entry(tmp_path: Path) -> None:
    report = run_sweep(made_up_sweep(tmp_path), tmp_path / "r.db", factory=StandIn())
    first, second, *others = report.pareto
    alike = replace(second, id=9999, metrics={**second.metrics, "lut": 1.0})
    doubled = replace(report, pareto=(first, second, *others, alike))
    lines, plain = sweep_text(doubled).splitlines(), sweep_text(report).splitlines()
    added = " " * 12 + "and 1 more with the same objectives"
    assert f"front  {len(doubled.pareto)} points, {len(report.pareto)} with different objectives, of" in " ".join(lines)
    table, plain_table = (text[text.index("all of them: batch=1 model=digits") :] for text in (lines, plain))
    second_ends = next(at for at, line in enumerate(table) if line.strip().startswith(f"{others[0].id} "))
    assert table[second_ends - 1] == added
    assert [line for line in table if line != added] == plain_table
    assert len(doubled.as_json()["pareto"]) == len(report.pareto) + 1


def test_no_feasible_point_is_said(tmp_path: Path) -> None:
    sweep = made_up_sweep(tmp_path, text=TEXT.replace("max: 250", "max: 0"))
    report = run_sweep(sweep, tmp_path / "r.db", factory=StandIn())
    assert report.pareto == ()
    assert "front  none: no point is feasible" in sweep_text(report)


def test_an_interrupt_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up_sweep(tmp_path)

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gossamer.sweep_command.run_sweep", interrupt)
    with pytest.raises(SweepInterrupted, match="interrupted; nothing was written"):
        run_sweep_command(
            str(tmp_path / "made-up.yaml"), tmp_path / "r.db", resume=False, workers=1, cluster=None, quiet=True
        )


def test_sweep_is_a_verb_of_the_package() -> None:
    assert gossamer.sweep.__module__ == "gossamer.api"
