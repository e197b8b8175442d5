"""Check the command line: exit statuses, messages without tracebacks, nothing half-written, lazy imports."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from perfetto_reader import read_trace

from gossamer import cli
from gossamer.arch.config import config_names
from gossamer.arch.target import Target
from gossamer.dataflow.mapping import Objective
from gossamer.explore.sweep_file import sweep_names
from gossamer.exports.config_text import ConfigFormat
from gossamer.mapper.pruning.prune import CANDIDATES
from gossamer.mapper.quantization.calibrate import ActivationRange
from gossamer.shipped_models import shipped_models
from gossamer.verify_command import STALLS

Run = Callable[..., tuple[int, str, str]]


def _small_model(path: Path, weight: np.ndarray | None = None) -> Path:
    value = np.ones((8, 8, 1, 1), dtype=np.float32) if weight is None else weight
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="only")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), path)
    return path


HEAVY = {"numpy", "numba", "onnx", "scipy", "networkx", "pydantic", "altair", "vl_convert", "jinja2"}
BY_TYPER = {"pydantic"}
"""What typer imports itself when it reads or completes options."""


def run_lazily(*words: str, heavy: set[str] = HEAVY, **environment: str) -> str:
    """Return what a command line prints in a process of its own, which must not import what is slow to import."""
    code = (
        "import sys\nsys.argv[0] = 'gossamer'\nfrom gossamer.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        f"heavy = {heavy} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=os.environ | environment
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_help_is_lazy_and_lists_every_command() -> None:
    printed = run_lazily("--help")
    for command in ("simulate", "compile", "prune", "models", "configs", "schema", "doctor"):
        assert command in printed


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("gossamer sim", "simulate"),
        ("gossamer sweep --w", "--workers"),
        ("gossamer simulate digits --config u280-sp", "u280-sparse"),
        ("gossamer simulate digits-", "digits-2x4 digits-1x4 digits-2x8"),
    ],
)
def test_completion_is_lazy(typed: str, offered: str) -> None:
    number = str(len(typed.split()) - 1)
    asked = {"_GOSSAMER_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": number}
    assert run_lazily(heavy=HEAVY - BY_TYPER, **asked).split() == offered.split()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("simulate digits -c ", config_names()),
        ("config ", config_names()),
        ("simulate ", [name for name, model in shipped_models().items() if model.path and model.path.exists()]),
        ("verify resn", ["resnet50"]),
        ("sweep ", sweep_names()),
        ("simulate digits --sparsity ", ["dense", "keep", *map(str, CANDIDATES)]),
        ("prune digits -s 2:", ["2:4", "2:8", "2:16"]),
        ("simulate digits --objective ", list(Objective)),
        ("quantize digits --range ", list(ActivationRange)),
        ("generate --target ", list(Target)),
        ("verify digits --target ", list(Target)),
        ("synth --target ", ["xcup", "ecp5"]),
        ("verify digits --stalls ", STALLS),
        ("config ecp5-tiny --format ", list(ConfigFormat)),
        ("schema ", ["config", "sweep"]),
        ("simulate digits -c ./my", []),
    ],
)
def test_values_are_completed(
    typed: str, offered: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["gossamer", *typed.split(" ")]
    asked = {"_GOSSAMER_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(line), "COMP_CWORD": str(len(line) - 1)}
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        cli.app([], prog_name="gossamer")
    assert sorted(capsys.readouterr().out.split()) == sorted(map(str, offered))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_a_shell(shell: str) -> None:
    assert f"_GOSSAMER_COMPLETE=complete_{shell}" in run_lazily(_GOSSAMER_COMPLETE=f"source_{shell}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "resnet5", "-c", "ecp5-tiny"], "did you mean resnet50"),
        (["simulate", "digits", "-c", "ecp5-tinny"], "did you mean `ecp5-tiny`"),
        (["simulate", "digits", "-c", "ecp5-tiny", "-s", "5:4"], "5:4"),
        (["simulate", "digits", "-c", "ecp5-tiny", "-s", "half"], "half"),
        (["simulate", "digits", "-c", "ecp5-tiny", "-s", "2:16"], "group_size is 8"),
        (["simulate", "digits", "-c", "ecp5-tiny", "--shape", "image"], "NAME=D0xD1"),
        (["simulate", "digits", "-c", "ecp5-tiny", "--set", "array.chain=4"], "did you mean"),
        (["simulate", "digits", "-c", "ecp5-tiny", "--set", "array.chains"], "array.chains"),
        (["simulate", "digits", "-c", "ecp5-tiny", "--range", "median"], "median"),
        (["simulate", "digits", "-c", "ecp5-tiny", "--calibration", "none.npz"], "none.npz"),
        (["simulate", "digits", "-c", "ecp5-tiny", "--objective", "speed"], "latency, energy, edp, bytes, not `speed`"),
        (["compile", "digits", "-c", "ecp5-tiny", "-o", "p.gsm", "--objective", "speed"], "not `speed`"),
        (["simulate", "digits", "-c", "ecp5-tiny", "--explain", "residul_a"], "did you mean residual_a"),
        (["simulate", "digits", "-c", "ecp5-tiny", "--explain", "10"], "or its number, 1 to 9, not `10`"),
        (["simulate", "digits", "-c", "ecp5-tiny", "--explain", "?"], "the first names are stem"),
        (["simulate", "digits", "-c", "systolic-32x32-ws", "--explain", "stem"], "--explain is about mappings"),
        (["simulate", "digits", "-c", "systolic-32x32-ws", "--objective", "edp"], "--objective is about mappings"),
        (["simulate", "digits", "-c", "systolic-32x32-ws", "--objective", "speed"], "not `speed`"),
        (["simulate", "digits", "-c", "ecp5-tiny", "--sparsity-file", "none.yaml"], "none.yaml"),
        (["simulate", "gemm:0x4x4", "-c", "ecp5-tiny"], "between 1 and"),
        (["simulate", "gemm:4x4", "-c", "ecp5-tiny"], "gemm:MxKxN"),
        (["simulate", "conv:4x4x8:7x7x8", "-c", "ecp5-tiny"], "does not fit"),
        (["compile", "digits", "-c", "systolic-32x32-ws", "-o", "p.gsm"], "runs no Program"),
        (["prune", "gemm:4x4x4", "-o", "p.onnx"], "needs an ONNX file"),
        (["simulate", "digits"], "--config"),
    ],
)
def test_bad_input_is_one_message(run: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    status, out, err = run(*arguments)
    assert status == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07\x12\xff\xff\xff\xff\x7f", bytes(1000)])
def test_broken_onnx_is_refused(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    status, _, err = run("simulate", "m.onnx", "-c", "ecp5-tiny")
    assert status == 2
    assert "m.onnx" in err
    assert "Traceback" not in err


def test_nan_weights_are_refused(run: Run, tmp_path: Path) -> None:
    weight = np.ones((8, 8, 1, 1), dtype=np.float32)
    weight[3, 2] = np.nan
    _small_model(tmp_path / "m.onnx", weight)
    status, _, err = run("simulate", "m.onnx", "-c", "ecp5-tiny")
    assert status == 2
    assert "NaN" in err


def test_config_problems_are_reported_together(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("name: x\nname: y\nclock_mhz: fast\narray: {kind: sparse_chain, chains: 3}\n")
    status, _, err = run("simulate", "digits", "-c", "c.yaml")
    assert status == 2
    assert "c.yaml:2:1" in err
    assert "clock_mhz" in err
    assert "chain_length" in err


def test_keep_refuses_weights_that_break_a_stated_pattern(run: Run, tmp_path: Path) -> None:
    _small_model(tmp_path / "m.onnx")
    (tmp_path / "s.yaml").write_text("only: 2:4\n")
    status, _, err = run("simulate", "m.onnx", "-c", "ecp5-tiny", "-s", "keep", "--sparsity-file", "s.yaml")
    assert status == 2
    assert "only" in err
    assert "2:4" in err


def test_explanation_of_a_layer(run: Run, tmp_path: Path) -> None:
    status, out, err = run("simulate", "digits", "-c", "ecp5-tiny", "--explain", "sum", "-o", "run")
    assert (status, err) == (0, "")
    assert out.startswith("residual_b + sum (layer 5 and 6 of 9): conv 1x8x8x32 -> 1x8x8x32, 3x3, dense\n")
    assert max(map(len, out.splitlines())) <= 80
    assert "all of the second operand is on chip, where an earlier layer left it" in " ".join(out.split())
    status, text, _ = run("simulate", "digits", "-c", "ecp5-tiny", "--explain", "6", "--json", "--no-advice")
    explained = json.loads(text)["explain"]
    assert status == 0
    assert explained == json.loads((tmp_path / "run" / "result.json").read_text())["explain"]
    assert "--explain" in json.loads((tmp_path / "run" / "run.json").read_text())["command"]
    assert explained["layers"] == ["residual_b", "sum"]


def test_objectives_change_the_program(run: Run, tmp_path: Path) -> None:
    for objective in ("latency", "bytes"):
        status, _, _ = run("compile", "digits", "-c", "ecp5-tiny", "--objective", objective, "-o", f"{objective}.gsm")
        assert status == 0
    sizes = {path.stem: path.stat().st_size for path in tmp_path.glob("*.gsm")}
    assert sizes["bytes"] < sizes["latency"]
    status, _, err = run("simulate", "bytes.gsm", "-c", "ecp5-tiny", "--explain", "stem")
    assert status == 2
    assert "--explain is about mappings, and bytes.gsm is a compiled Program" in err


def test_read_only_output_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    status, _, err = run("simulate", "gemm:4x8x8", "-c", "ecp5-tiny", "--no-advice", "-o", "file/run")
    assert status == 2
    assert "file/run" in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_foreign_folder_is_never_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data.txt").write_text("keep me")
    status, _, err = run("simulate", "gemm:4x8x8", "-c", "ecp5-tiny", "--no-advice", "-o", "mine")
    assert status == 2
    assert "not a run folder" in err
    assert (tmp_path / "mine" / "data.txt").read_text() == "keep me"


def test_interruption_is_one_message(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gossamer.dataflow.program_file.os.replace", interrupt)
    status, _, err = run("compile", "gemm:4x8x8", "-c", "ecp5-tiny", "-o", "p.gsm")
    assert status == 2
    assert "interrupted" in err
    assert list(tmp_path.iterdir()) == []


def test_json_is_one_object_and_repeats_byte_for_byte(run: Run) -> None:
    first = run("simulate", "gemm:64x72x24", "-c", "ecp5-tiny", "-s", "2:4", "--json", "--no-advice")
    second = run("simulate", "gemm:64x72x24", "-c", "ecp5-tiny", "-s", "2:4", "--json", "--no-advice")
    assert first == second
    result = json.loads(first[1])
    for key in ("total_cycles", "latency_s", "energy_j", "dram_bytes", "peak_utilization", "layers"):
        assert key in result
    layer = result["layers"][0]
    for key in ("name", "op", "macs", "dense_macs", "cycles", "bound", "utilization", "stall_cycles"):
        assert key in layer
    assert layer["macs"] * 2 == layer["dense_macs"]


def test_run_folder_is_complete_and_replaced_by_the_next_run(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        status, out, _ = run("simulate", "gemm:64x72x24", "-c", "ecp5-tiny", "--no-advice", "-o", "r")
        assert status == 0
        assert "total" in out
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert names == {"run.json", "result.json", "layers.csv", "config.resolved.yaml", "program.gsm"}
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_trace_is_in_the_run_folder(run: Run, tmp_path: Path) -> None:
    arguments = ("simulate", "gemm:64x72x24", "-c", "ecp5-tiny", "--no-advice", "--trace")
    assert run(*arguments, "-o", "r")[0] == 0
    assert json.loads((tmp_path / "r" / "run.json").read_text())["command"][-1] == "--trace"
    tracks = {name: track for (process, name), track in read_trace(tmp_path / "r" / "trace.pftrace").items()}
    cycles = json.loads((tmp_path / "r" / "result.json").read_text())["total_cycles"]
    end = tracks["dispatch"].slices[-1]
    assert (end.name, end.annotations["cycle"]) == ("END", cycles - 1)
    assert {each.annotations["layer"] for each in tracks["COMPUTE"].slices} == {"gemm"}
    assert run("simulate", "r/program.gsm", "-c", "ecp5-tiny", "--trace", "-o", "again")[0] == 0
    assert (tmp_path / "again" / "trace.pftrace").read_bytes() == (tmp_path / "r" / "trace.pftrace").read_bytes()


def test_a_trace_needs_a_folder_and_instructions(run: Run, tmp_path: Path) -> None:
    status, out, err = run("simulate", "gemm:64x72x24", "-c", "ecp5-tiny", "--trace", "--json")
    assert (status, list(json.loads(out))) == (2, ["error"])
    assert "--trace writes into the run folder" in err
    status, out, err = run("simulate", "gemm:64x72x24", "-c", "systolic-32x32-ws", "--trace", "-o", "r")
    assert (status, out) == (2, "")
    assert "--trace is about instructions" in err
    assert list(tmp_path.iterdir()) == []


def test_program_file_is_simulated_as_it_is(run: Run, tmp_path: Path) -> None:
    assert run("compile", "gemm:64x72x24", "-c", "ecp5-tiny", "-s", "2:4", "-o", "p.gsm")[0] == 0
    direct = json.loads(run("simulate", "gemm:64x72x24", "-c", "ecp5-tiny", "-s", "2:4", "--json", "--no-advice")[1])
    loaded = json.loads(run("simulate", "p.gsm", "-c", "ecp5-tiny", "--json")[1])
    assert loaded["total_cycles"] == direct["total_cycles"]
    assert direct["layers"][0]["kept_energy"] < 1
    assert loaded["layers"] == [{**layer, "kept_energy": None} for layer in direct["layers"]]
    assert loaded["sparsity"] == direct["sparsity"] == "2:4"


@pytest.mark.parametrize("config", ["kv260-edge", "u280-sparse"])
def test_program_for_another_config_is_refused(run: Run, tmp_path: Path, config: str) -> None:
    assert run("compile", "gemm:64x72x24", "-c", "ecp5-tiny", "-o", "p.gsm")[0] == 0
    status, _, err = run("simulate", "p.gsm", "-c", config)
    assert status == 2
    assert "was compiled for ecp5-tiny" in err


def test_missing_and_damaged_program_files_are_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "d.gsm").write_bytes(b"GSMR" + bytes(100))
    for name in ("none.gsm", "d.gsm"):
        status, _, err = run("simulate", name, "-c", "ecp5-tiny")
        assert status == 2
        assert name in err
        assert "Traceback" not in err


def test_doctor_and_lists(run: Run) -> None:
    status, out, _ = run("doctor", "--json")
    assert status == 0
    assert json.loads(out)["ok"] is True
    assert "resnet50" in run("models")[1]
    assert "u280-sparse" in run("configs")[1]
    assert "properties" in run("schema")[1] or "anyOf" in run("schema")[1]
