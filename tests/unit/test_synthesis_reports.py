"""Reading what the tools say: files that Yosys 0.70 and nextpnr-ecp5 0.11.1 wrote for `tiny` (see tests/unit/data)."""

import json
import sys
from pathlib import Path

import pytest

from gossamer.arch.errors import ToolError
from gossamer.arch.resources import Resources
from gossamer.arch.target import Target
from gossamer.rtl.packaging.interfaces import Port
from gossamer.rtl.synthesis import tools
from gossamer.rtl.synthesis.cells import count_resources
from gossamer.rtl.synthesis.harness import HARNESS, harness_text
from gossamer.rtl.synthesis.place import DSP_LIMIT_MHZ, PATIENCE, Clock, device_option, place_and_route, read_report
from gossamer.rtl.synthesis.scripts import synthesis_script
from gossamer.rtl.synthesis.tools import Tool
from gossamer.rtl.synthesis.units import (
    REGISTER_FILE_BITS,
    FlipFlopMemory,
    accidental,
    read_cells,
    register_memories,
)

DATA = Path(__file__).parent / "data" / "synthesis"


def test_cells_are_counted_as_yosys_lists_them() -> None:
    cells = read_cells((DATA / "yosys-stat.json").read_text(), HARNESS)
    assert cells["TRELLIS_DPR16X4"] == 2
    # 216 LUT4, 8 carry cells of two, two memories of 16 x 4 in 6 each
    assert count_resources(Target.ECP5, cells) == Resources(dsp=1, lut=216 + 8 * 2 + 2 * 6, ff=203)


@pytest.mark.parametrize("text", ["", "{}", '{"modules": {"\\\\other": {}}}', "[1]"])
def test_statistics_of_something_else_are_refused(text: str) -> None:
    with pytest.raises(ToolError, match="statistics of core cannot be read"):
        read_cells(text, "core")


def test_primitives_by_hand() -> None:
    cells = {
        "LUT6": 10, "LUT2": 5, "RAM32M16": 2, "SRL16E": 3, "CARRY4": 7, "MUXF7": 9, "FDRE": 4, "FDSE": 1, "DSP48E2": 2,
        "RAMB36E2": 3, "RAMB18E2": 3, "URAM288": 5,
    }  # fmt: skip
    assert count_resources(Target.XCUP, cells) == Resources(dsp=2, bram36=3 + 2, uram=5, lut=10 + 5 + 16 + 3, ff=5)


def test_a_primitive_that_is_not_known_is_not_left_out() -> None:
    with pytest.raises(ToolError, match=r"cannot be counted: \$mul, MAGIC"):
        count_resources(Target.XCUP, {"LUT6": 1, "$mul": 1, "MAGIC": 2})


def test_memories_in_flip_flops_are_found() -> None:
    text = (DATA / "yosys-memories.txt").read_text()
    found = list(register_memories(text))
    assert found == [FlipFlopMemory(name="core.registers", words=16, bits=128)]
    assert accidental(found) == []
    large = FlipFlopMemory(name="core.registers", words=33, bits=33 * 8)
    assert large.bits > REGISTER_FILE_BITS
    assert accidental([*found, large]) == [large]


def test_constant_tables_are_no_memories() -> None:
    text = (
        (DATA / "yosys-memories.txt").read_text().replace("\\core.registers", "$\\x.$auto$proc_rom.cc:155:do_switch$3")
    )
    assert list(register_memories(text)) == []


def test_clock_and_path_are_read_from_nextpnr() -> None:
    placement = read_report((DATA / "nextpnr-report.json").read_text(), 1)
    path = placement.critical_path
    assert placement.fmax_mhz == pytest.approx(120.8605, abs=1e-3)
    assert path.start == "core.other_TRELLIS_FF_Q_2"
    assert path.delay_ns == pytest.approx(1000 / placement.fmax_mhz, abs=2e-3)
    assert path.delay_ns == pytest.approx(path.logic_ns + path.routing_ns, abs=2e-3)
    assert sum(path.component_ns.values()) == pytest.approx(path.delay_ns, abs=5e-3)
    assert path.component == "wires"  # `tiny` has no components


@pytest.mark.parametrize("text", ["", "{}", '{"fmax": {}, "critical_paths": []}', '{"fmax": 3}', "[]"])
def test_a_report_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(ToolError, match="seed 4, cannot be read"):
        read_report(text, 4)


def placed(tmp_path: Path, *clocks: float, has_multipliers: bool = True) -> Clock:
    """Return the clock from reports that are there already, so that nothing runs."""
    report = json.loads((DATA / "nextpnr-report.json").read_text())
    for seed, clock in enumerate(clocks, 1):
        report["fmax"] = {name: {"achieved": clock, "constraint": 100} for name in report["fmax"]}
        (tmp_path / f"speed6-seed{seed}.json").write_text(json.dumps(report))
    return place_and_route(
        tmp_path / "none.json", "LFE5U-85F-6BG381C", speed_grade=6, seeds=range(1, len(clocks) + 1), target_mhz=100.0,
        has_multipliers=has_multipliers, folder=tmp_path, stage=lambda stage: None,
    )  # fmt: skip


def test_the_clock_is_the_median_and_never_beyond_the_data_sheet(tmp_path: Path) -> None:
    assert placed(tmp_path, 130.0, 90.0, 110.0).fmax_mhz == 110.0
    assert placed(tmp_path, 130.0, 90.0, 110.0).median.seed == 3
    assert placed(tmp_path, 300.0, 290.0, 310.0).fmax_mhz == DSP_LIMIT_MHZ
    assert placed(tmp_path, 300.0, 290.0, 310.0, has_multipliers=False).fmax_mhz == 300.0


ROUTER = """\
#!{python}
import json, shutil, sys, time
log, report = (sys.argv[sys.argv.index(option) + 1] for option in ("--log", "--report"))
with open(log, "w") as file:
    for number, taken in enumerate({taken}, 1):
        file.write(f"Info: iter={{number}} steplen=1.0\\n")
        file.write(f"Info:     iter={{number}} wires=9 overused={{taken}} overuse=9\\n")
        file.flush()
        time.sleep(0.02)
while {ends}:
    time.sleep(1)
shutil.copyfile("{report}", report)
"""


def routed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: list[int], *, ends: bool) -> list[str]:
    """Return the stages told of a run whose router leaves that many wires taken twice, round by round."""
    program, stages = tmp_path / "nextpnr", list[str]()
    text = ROUTER.format(python=sys.executable, taken=taken, ends=not ends, report=DATA / "nextpnr-report.json")
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setattr(Tool, "path", lambda self: str(program))
    monkeypatch.setattr(tools, "WATCH_SECONDS", 0.005)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "floorplan.json").write_text("{}")
    place_and_route(
        tmp_path / "none.json", "LFE5U-85F-6BG381C", speed_grade=6, seeds=[1], target_mhz=100.0, has_multipliers=False,
        folder=tmp_path, stage=stages.append,
    )  # fmt: skip
    return stages


def test_rounds_of_the_router_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = routed(tmp_path, monkeypatch, [4000, 50, 52, 7, 0], ends=True)
    assert stages[0] == "place and route, seed 1, 1 of 1 (minutes)"
    assert any("routing, round" in stage and "wires still taken twice" in stage for stage in stages[1:])
    assert (tmp_path / "speed6-seed1.json").is_file()


def test_a_router_that_gets_nowhere_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = r"seed 1, 1 of 1\): not routed: 1,500 wires are taken twice, and no fewer for 20 rounds\..*lanes.*; log: "
    with pytest.raises(ToolError, match=message):
        routed(tmp_path, monkeypatch, [9000, 1500, *range(1501, 1501 + PATIENCE)], ends=False)
    assert not (tmp_path / "speed6-seed1.json").exists()


def test_a_router_with_few_wires_left_gets_more_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    routed(tmp_path, monkeypatch, [9000, 1, *[2] * (PATIENCE + 1), 0], ends=True)
    assert (tmp_path / "speed6-seed1.json").is_file()


def test_a_part_nextpnr_does_not_know_is_refused() -> None:
    assert device_option("LFE5U-85F-6BG381C") == "--85k"
    with pytest.raises(ToolError, match="cannot place on LFE5X-1"):
        device_option("LFE5X-1")


def test_the_harness_connects_every_bit_once() -> None:
    ports = [
        Port(name=name, bits=bits, is_input=way)
        for name, bits, way in (("a", 3, True), ("b", 1, True), ("c", 2, False))
    ]
    text = harness_text("core_top", ports)
    assert "[3:0] drive" in text
    assert "[1:0] seen" in text
    assert all(
        pin in text for pin in (".a(drive[2:0])", ".b(drive[3:3])", ".c(outputs[1:0])", ".clk(clk)", ".rst(rst)")
    )


def test_the_script_is_cut_before_map_luts() -> None:
    lines = synthesis_script(Target.XCUP, "top", ["box"]).splitlines()
    first, second = [line for line in lines if line.startswith("synth_xilinx")]
    assert first.endswith("-run begin:map_luts")
    assert second.endswith("-run map_luts:")
    assert lines[:3] == ["read_rtlil box.il", "blackbox box", "read_rtlil top.il"]


def test_only_an_ecp5_trades_levels_for_luts() -> None:
    for target in (Target.XCUP, Target.ECP5):
        before, _ = synthesis_script(target, "top").split("-run begin:map_luts")
        assert ("scratchpad -set abc9.D " in before) == (target is Target.ECP5)


def test_equal_modules_of_two_designs_have_equal_text() -> None:
    """Yosys counts what it names through the whole design, and remembers lines; neither is part of the hardware."""
    from gossamer.rtl.synthesis.units import numbered_afresh

    texts = [
        f"# Generated by Yosys\n\nautoidx {first + 9}\nattribute \\src \"a.v:{first}.1\"\nmodule \\a\n"
        f"  attribute \\src \"a.v:{first + 1}.1\"\n  wire $1\n  wire $and$a.v:7$2_Y${first}\n"
        f"  cell $mux $auto$opt.cc:12:run${first + 1}\n    connect \\A $and$a.v:7$2_Y${first}\n  end\nend\n"
        for first in (40, 123456)
    ]  # fmt: skip
    first, second = (numbered_afresh(text) for text in texts)
    assert first == second
    names = {line.split()[-1] for line in first.splitlines() if " wire " in line or " cell " in line}
    assert len(names) == 3
    assert numbered_afresh(first) == first
