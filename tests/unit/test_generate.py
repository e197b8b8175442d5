"""Check the `generate` verb: every file it names, the same bytes twice, lint, and refusal of what has no hardware."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

import gossamer
from gossamer import cli
from gossamer.arch.config import load_config
from gossamer.arch.errors import ConfigError, GossamerError
from gossamer.arch.isa import FIELDS, Opcode
from gossamer.arch.registers import REGISTERS, ErrorCause
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.target import Target
from gossamer.rtl.control.axi_lite import SLAVE_PORTS
from gossamer.rtl.control.control import Control
from gossamer.rtl.copies import Copies
from gossamer.rtl.testbench.simulate import verilator_folder

Run = Callable[..., tuple[int, str, str]]


class StandIn(wiring.Component):
    """Control with an AXI4 master that never asks: what `generate` needs of a core."""

    module_name = "gossamer_core"

    def __init__(self, spec: SparseAccelerator, target: Target | None = None) -> None:
        self.spec = spec
        bits = spec.axi.data_bits
        master = {
            "araddr": Out(64), "arlen": Out(8), "arvalid": Out(1), "arready": In(1), "rdata": In(bits), "rvalid": In(1),
            "rready": Out(1), "awaddr": Out(64), "awlen": Out(8), "awvalid": Out(1), "awready": In(1),
        }  # fmt: skip
        super().__init__(
            {**SLAVE_PORTS, **{f"m_axi_{name}": member for name, member in master.items()}, "interrupt": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.control = control = Copies(Control(self.spec))
        for name, member in SLAVE_PORTS.items():
            inner, outer = getattr(control, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        m.d.comb += [
            self.interrupt.eq(control.interrupt),
            control.memory_quiet.eq(1),
            control.fetch_instruction.eq(self.m_axi_rdata),
            control.fetch_valid.eq(self.m_axi_rvalid),
            self.m_axi_rready.eq(control.fetch_ready),
            self.m_axi_araddr.eq(control.base),
        ]
        return m


@pytest.fixture(autouse=True)
def core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the core as long as there is none."""
    if find_spec("gossamer.rtl.core") is None:
        module = ModuleType("gossamer.rtl.core")
        module.Core = StandIn  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "gossamer.rtl.core", module)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a function that runs the command line in an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gossamer", "generate", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capfd.readouterr()
        code = stop.value.code
        return (0 if code is None else int(code)), captured.out, captured.err

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_bytes_twice_and_json_tells_of_every_file(run: Run, tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        status, out, err = run("-c", "ecp5-tiny", "-o", name, "--json")
        assert (status, err) == (0, "")
        results.append(json.loads(out))
    first, second = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert first == second
    assert results[0].pop("seconds") >= 0
    assert results[1].pop("seconds") >= 0
    assert results[0] == results[1]
    assert results[0]["files"] == sorted(first)
    verilog = [text.decode() for path, text in first.items() if path.startswith("verilog/")]
    assert results[0]["lines"] == sum(text.count("\n") for text in verilog)
    assert (
        results[0]["modules"] == sum(len(re.findall(r"^module ", text, re.M)) for text in verilog) >= len(verilog) > 5
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_files_named_in_scripts_exist(tmp_path: Path) -> None:
    report = gossamer.generate("ecp5-tiny", tmp_path / "core")
    folder = tmp_path / "core"
    verilog = sorted(path for path in report.files if path.startswith("verilog/"))
    models = sorted(path for path in report.files if path.startswith("simulation/"))
    assert models == ["simulation/DCCA.v", "simulation/L6MUX21.v", "simulation/MULT18X18D.v", "simulation/PFUMX.v"]
    assert (folder / "simulation.f").read_text().split() == models
    listed = (folder / "filelist.f").read_text().split()
    assert listed[0] == f"verilog/{report.top}.v"
    assert sorted(listed) == verilog
    assert "\\" not in (folder / "gossamer_core.core").read_text()
    head, description = (folder / "gossamer_core.core").read_text().split("\n", 1)
    assert head == "CAPI=2:"
    core = yaml.safe_load(description)
    assert sorted(core["filesets"]["rtl"]["files"]) == verilog
    assert core["filesets"]["simulation"]["files"] == models
    assert core["targets"]["lint"]["filesets"] == ["rtl", "simulation", "waivers"]
    assert core["targets"]["default"]["filesets"] == ["rtl"]
    assert core["filesets"]["waivers"]["files"] == ["waivers.vlt"]
    assert core["targets"]["lint"]["toplevel"] == core["targets"]["default"]["toplevel"] == report.top
    named = re.findall(r"\[file join \$folder (\S+)\]", (folder / "package_ip.tcl").read_text())
    assert sorted(named) == verilog
    assert "waivers.vlt" in report.files
    resolved = load_config(folder / "config.resolved.yaml")
    assert resolved == load_config("ecp5-tiny")


def test_vivado_script_is_tcl_and_declares_every_interface(tmp_path: Path) -> None:
    tkinter = pytest.importorskip("tkinter")
    gossamer.generate("ecp5-tiny", tmp_path / "core", settings=["name='a\"]} [exit'"])
    interpreter = tkinter.Tcl()
    interpreter.eval(
        'set ::calls {}; proc unknown args { lappend ::calls $args; if {"-quiet" in $args} { return }; return object }'
    )
    interpreter.eval(f"source {{{tmp_path / 'core' / 'package_ip.tcl'}}}")
    calls = [interpreter.splitlist(call) for call in interpreter.splitlist(interpreter.eval("set ::calls"))]
    inferred = [call for call in calls if call[0] == "ipx::infer_bus_interface"]
    kinds = [call[2].split(":")[2] for call in inferred]
    assert sorted(kinds) == ["aximm_rtl", "aximm_rtl", "clock_rtl", "interrupt_rtl", "reset_rtl"]
    associated = {call[2] for call in calls if call[:2] == ("ipx::associate_bus_interfaces", "-busif")}
    assert associated == {"s_axi", "m_axi"}
    files = next(call for call in calls if call[0] == "add_files")[2]
    assert {call[0] for call in calls} >= {"ipx::add_memory_map", "ipx::add_address_space", "ipx::save_core"}
    assert all(Path(path).is_file() for path in interpreter.splitlist(files))


@pytest.mark.parametrize("target", Target)
def test_lint_is_clean_with_the_waivers(target: Target, tmp_path: Path) -> None:
    settings = ["array.weight_rows_per_cycle=2"] if target is Target.VERSAL else []  # dot products
    report = gossamer.generate("ecp5-tiny", tmp_path / "core", settings=settings, target=target)
    environment = {**os.environ, "PATH": f"{verilator_folder()}{os.pathsep}{os.environ['PATH']}"}
    command = ["verilator", "--lint-only", "-Wall", "--top-module", report.top, "waivers.vlt", "-f", "filelist.f"]
    command += ["-f", "simulation.f"]
    process = subprocess.run(
        command, cwd=tmp_path / "core", env=environment, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stderr) == (0, "")
    slave = tmp_path / "core" / "verilog" / "axi_lite_slave.v"
    broken, count = re.subn(r"assign s_axi_wready = [^;]+;", "", slave.read_text())
    assert count == 1
    slave.write_text(broken)
    process = subprocess.run(
        command, cwd=tmp_path / "core", env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode != 0, "lint must see an output that nothing drives"
    assert re.search("UNDRIVEN.*s_axi_wready", process.stderr)


def test_readme_has_every_register_field_and_cause(tmp_path: Path) -> None:
    gossamer.generate("ecp5-tiny", tmp_path / "core")
    text = (tmp_path / "core" / "README.md").read_text()
    for register in REGISTERS.values():
        assert f"| 0x{register.address:03x} | {register.name} |" in text
    for opcode in Opcode:
        assert f"{opcode.value} {opcode.name}" in text
        for field in FIELDS[opcode]:
            assert f"| `{field.name}` |" in text
    for cause in ErrorCause:
        assert f"| {cause.value} | {cause.name} |" in text
    verilog = (tmp_path / "core" / "verilog" / "gossamer_core.v").read_text()
    ports = re.findall(r"^  (input|output) (?:reg )?(?:\[(\d+):0\] )?(\w+)(?: = .*)?;", verilog, re.M)
    assert len(ports) > 20
    for way, high, name in ports:
        assert f"| `{name}` | {way} | {int(high or 0) + 1} |" in text


def test_an_earlier_generation_is_replaced_and_nothing_else(run: Run, tmp_path: Path) -> None:
    assert run("-c", "ecp5-tiny", "-o", "core")[0] == 0
    (tmp_path / "core" / "README.md").write_text("edited")
    status, out, _ = run("-c", "ecp5-tiny", "-o", "core")
    assert status == 0
    assert "top gossamer_core" in out
    assert (tmp_path / "core" / "README.md").read_text() != "edited"
    (tmp_path / "core" / "verilog" / "mine.v").write_text("keep me")
    status, _, err = run("-c", "ecp5-tiny", "-o", "core")
    assert status == 2
    assert "verilog/mine.v" in err
    assert (tmp_path / "core" / "verilog" / "mine.v").read_text() == "keep me"
    (tmp_path / "empty").mkdir()
    assert run("-c", "ecp5-tiny", "-o", "empty")[0] == 0


def test_a_failure_leaves_what_was_there(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("-c", "ecp5-tiny", "-o", "core")[0] == 0
    before = contents(tmp_path)
    replace, calls = os.replace, []

    def second_fails(*paths: Path) -> None:
        calls.append(paths)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        replace(*paths)

    monkeypatch.setattr("gossamer.folders.os.replace", second_fails)
    status, _, err = run("-c", "ecp5-tiny", "-o", "core")
    assert status == 2
    assert "No space left on device" in err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"sha256": 3}'])
def test_foreign_folders_and_files_are_refused(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "generation.json").write_text(text)
    (tmp_path / "mine" / "data").write_text("keep me")
    (tmp_path / "file").write_text("keep me")
    for name in ("mine", "file", "file/core"):
        status, out, err = run("-c", "ecp5-tiny", "-o", name)
        assert (status, out) == (2, "")
        assert name in err
        assert "Traceback" not in err
    assert contents(tmp_path) == {"mine/generation.json": text.encode(), "mine/data": b"keep me", "file": b"keep me"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-c", "systolic-32x32-ws"), "`array.kind` must be sparse_chain to generate hardware, not systolic"),
        (
            ("-c", "ecp5-tiny", "--set", "axi.burst_beats=4", "--set", "axi.ports=8"),
            "axi.burst_beats: must be at least axi.ports (8)",
        ),
        (("-c", "ecp5-tinny"), "did you mean"),
        (("-c", "ecp5-tiny", "--set", "array.chains=7"), "array.chains"),
        (
            ("-c", "ecp5-tiny", "--target", "stratix"),
            "--target must be one of generic, xcup, versal, ecp5; not stratix",
        ),
        (
            ("-c", "kv260-edge", "--set", "array.weight_rows_per_cycle=1"),
            "must cut array.chain_length (8) into segments of at most 7 stages on target xcup, not 8: two lanes share "
            "a DSP and the low one has 18 bits: 8 products of up to 16384 (-128 x -128) reach 131072, more than 131071;"
            " 7 reach 114688; try 2, or a shorter chain",
        ),
    ],
)
def test_what_has_no_hardware_is_refused(run: Run, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    status, out, err = run(*arguments, "-o", "core")
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "target", "primitive"),
    [
        ((), "ecp5", "MULT18X18D"), (("--target", "xcup"), "xcup", "DSP48E2"), (("--target", "generic"), "generic", ""),
        (("--target", "versal"), "versal", "DSP58"),
    ],
)  # fmt: skip
def test_the_device_chooses_the_target_unless_it_is_named(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], target: str, primitive: str
) -> None:
    status, out, _ = run("-c", "ecp5-tiny", "-o", "core", "--json", *arguments)
    assert (status, json.loads(out)["target"]) == (0, target)
    text = "".join(path.read_text() for path in sorted((tmp_path / "core" / "verilog").iterdir()))
    found = {name for name in ("DSP48E2", "DSP58", "MULT18X18D") if re.search(rf"^ *{name} #", text, re.M)}
    assert found == ({primitive} if primitive else set())
    command = json.loads((tmp_path / "core" / "generation.json").read_text())["command"]
    assert command[4:] == [*arguments]
    assert f"Target `{target}`" in (tmp_path / "core" / "README.md").read_text()


def test_python_raises_what_the_command_line_prints(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"axi.ports: must be one of 1, 2, 4, 8, 16, not 3"):
        gossamer.generate("ecp5-tiny", tmp_path / "core", settings=["axi.ports=3"])
    (tmp_path / "core").write_text("in the way")
    with pytest.raises(GossamerError, match="is not a generated core"):
        gossamer.generate("ecp5-tiny", tmp_path / "core")
