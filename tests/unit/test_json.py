"""`--json`: every command prints exactly one object on stdout, whether it did its work or refused its input."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from gossamer import cli

Run = Callable[..., tuple[int, str, str]]

DONE = [
    (["compile", "gemm:4x8x8", "-c", "ecp5-tiny", "-o", "p.gsm"], {"file", "config", "instructions", "memory_bytes"}),
    (["prune", "digits", "-o", "p.onnx"], {"file", "pruned_layers", "weight_layers", "weights", "zeroed"}),
    (["models"], {"models"}),
    (["configs"], {"configs", "sweeps"}),
    (["doctor"], {"ok", "checks"}),
]
REFUSED = [
    (["simulate", "resnet5", "-c", "ecp5-tiny"], "ModelError", "did you mean resnet50"),
    (["simulate", "digits"], "UsageError", "--config"),
    (["simulate", "digits", "-c", "ecp5-tiny", "-b", "0"], "UsageError", "--batch"),
    (["compile", "digits", "-c", "ecp5-tiny", "-o", "absent/p.gsm"], "ProgramError", "absent"),
    (["compile", "gemm:4x8x8", "-c", "ecp5-tiny", "-o", "p.gsm", "--listing"], "GossamerError", "--listing"),
    (["verify", "digits", "-c", "ecp5-tinny"], "ConfigError", "did you mean `ecp5-tiny`"),
    (["generate", "-c", "systolic-32x32-ws", "-o", "core"], "ConfigError", "sparse_chain"),
    (["synth", "-c", "none.yaml"], "ConfigError", "none.yaml"),
    (["sweep", "none.yaml", "-o", "r.db"], "ConfigError", "none.yaml"),
    (["export", "none.db", "-o", "p.csv"], "GossamerError", "none.db"),
    (["report", "none"], "GossamerError", "none"),
    (["prune", "none.onnx", "-o", "p.onnx"], "ModelError", "none.onnx"),
    (["models", "--all"], "UsageError", "--all"),
    (["nonsense"], "UsageError", "nonsense"),
]


def test_every_command_has_it() -> None:
    commands = typer.main.get_command(cli.app).commands
    without = {name for name, command in commands.items() if not any("--json" in p.opts for p in command.params)}
    assert without == {"schema"}, "schema prints JSON anyway"


@pytest.mark.parametrize(("arguments", "keys"), DONE, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_results_are_one_object(run: Run, arguments: list[str], keys: set[str]) -> None:
    status, out, err = run(*arguments, "--json")
    assert (status, err) == (0, "")
    assert keys <= json.loads(out).keys()


@pytest.mark.parametrize(
    ("arguments", "kind", "message"), REFUSED, ids=lambda value: value[0] if isinstance(value, list) else ""
)
def test_refusals_are_one_object(run: Run, tmp_path: Path, arguments: list[str], kind: str, message: str) -> None:
    status, out, err = run(*arguments, "--json")
    error = json.loads(out)["error"]
    assert (status, error["exit_status"], error["kind"]) == (2, 2, kind)
    assert message in error["message"]
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_is_one_object(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gossamer.dataflow.program_file.os.replace", interrupt)
    status, out, _ = run("compile", "gemm:4x8x8", "-c", "ecp5-tiny", "-o", "p.gsm", "--json")
    assert (status, json.loads(out)["error"]["kind"]) == (2, "KeyboardInterrupt")


def test_sweep_export_and_report_chain(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("gossamer.pages.command.write_report", lambda sources, output, plots: [output])  # slow
    (tmp_path / "s.yaml").write_text(
        "name: s\nquestion: How many lanes?\nbase: ecp5-tiny\naxes: {model: ['gemm:64x72x24'], array.lanes: [1, 2]}\n"
        "objectives: [latency_s, lut]\nstrategy: {kind: grid}\n"
    )
    results = [
        run("sweep", "s.yaml", "-o", "r.db", "--json"),
        run("export", "r.db", "-o", "p.csv", "--json"),
        run("report", "r.db", "-o", "r.html", "--json"),
    ]
    assert [(status, err) for status, _, err in results] == [(0, "")] * 3
    swept, exported, drawn = (json.loads(out) for _, out, _ in results)
    assert swept["points_total"] == exported["points"] == 2
    assert drawn == {"files": ["r.html"]}
    with sqlite3.connect(tmp_path / "r.db") as store:
        assert store.execute("SELECT count(*) FROM points").fetchone() == (2,)
