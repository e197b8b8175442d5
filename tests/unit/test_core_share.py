"""One of several cores: its share of off-chip memory, what all of them take, and who refuses them."""

import os
import re
import subprocess
from pathlib import Path

import pytest

import gossamer
from gossamer.arch.config import config_names, config_schema, fingerprint, load_config, resolved_yaml
from gossamer.arch.cores import core_spec
from gossamer.arch.errors import ConfigError
from gossamer.arch.resources import RESOURCE_NAMES, estimate_resources
from gossamer.arch.spec import SparseAccelerator
from gossamer.core_report import memory_seconds
from gossamer.rtl.testbench.simulate import verilator_folder
from gossamer.sim.offchip import offchip_timing

LARGE = ("device.dsp=1000", "device.bram36=1000", "device.lut=400000", "device.ff=400000")


def tiny(*settings: str) -> SparseAccelerator:
    spec = load_config("ecp5-tiny", [*LARGE, *settings])
    assert isinstance(spec, SparseAccelerator)
    return spec


def test_channels_are_shared_where_they_divide_and_bandwidth_where_not() -> None:
    even = core_spec(tiny("cores=3", "off_chip.channels=6"))
    assert (even.cores, even.off_chip.channels, even.off_chip.channel_bandwidth_gb_s) == (1, 2, 1.6)
    odd = core_spec(tiny("cores=3", "off_chip.channels=4"))
    assert odd.off_chip.channels == 4
    assert odd.off_chip.channel_bandwidth_gb_s == pytest.approx(1.6 / 3)
    for channels in (3, 4, 6):
        spec = tiny("cores=3", f"off_chip.channels={channels}")
        whole = offchip_timing(spec).channel_bytes_per_cycle
        assert offchip_timing(core_spec(spec)).channel_bytes_per_cycle * 3 == pytest.approx(whole, rel=1e-4)
    assert core_spec(tiny()) == tiny()


def test_a_core_is_the_accelerator_of_one_core_but_for_its_memory() -> None:
    one, several = tiny(), core_spec(tiny("cores=2", "off_chip.channels=2"))
    assert several == one


def test_resources_are_as_many_times_those_of_a_core() -> None:
    one, three = (estimate_resources(tiny(f"cores={cores}")) for cores in (1, 3))
    for name in RESOURCE_NAMES:
        assert getattr(three.total, name) == 3 * getattr(one.total, name)
    with pytest.raises(ConfigError, match=r"device: needs 290 dsp \(estimated\) but ecp5-85 has 156"):
        load_config("ecp5-tiny", ["cores=2"])


def test_ports_of_all_cores_move_bytes() -> None:
    settings = ("off_chip.channels=16", "axi.data_bits=32")
    assert 4 * memory_seconds(tiny("cores=4", *settings), 999, 1) == memory_seconds(tiny(*settings), 999, 1)


def test_reads_and_writes_share_channels_but_not_ports() -> None:
    ports, channel = tiny("off_chip.channels=16"), tiny("axi.data_bits=256")  # either limits by itself
    for read, written in ((600, 300), (300, 600), (600, 600)):
        assert memory_seconds(ports, read, written) == max(read, written) / (8 * 100e6)
        assert memory_seconds(channel, read, written) == (read + written) / (1.6e9 * 0.8)


@pytest.mark.parametrize("value", ["0", "5", "true", "2.5"])
def test_a_count_that_cannot_be(value: str) -> None:
    with pytest.raises(ConfigError, match="cores: must be a whole number from 1 to 4, not"):
        load_config("ecp5-tiny", [*LARGE, f"cores={value}"])


def test_one_core_is_the_default_and_has_the_fingerprint_it_had() -> None:
    assert fingerprint(tiny("cores=1")) == fingerprint(tiny())
    assert fingerprint(tiny("cores=2")) != fingerprint(tiny())
    assert fingerprint(load_config("ecp5-tiny")).startswith("5473028ca50db43a")
    for name in config_names():
        spec = load_config(name)
        assert not isinstance(spec, SparseAccelerator) or spec.cores == 1
    assert "cores: 2" in resolved_yaml(tiny("cores=2"))
    assert "cores" in config_schema()["$defs"]["SparseAccelerator"]["properties"]


def test_what_is_of_one_core_refuses_several(tmp_path: Path) -> None:
    several = (*LARGE, "cores=2")
    with pytest.raises(ConfigError, match=re.escape("--explain shows the mapping of a layer on one core: `cores`")):
        gossamer.simulate("digits", "ecp5-tiny", settings=several, explain="1")
    with pytest.raises(ConfigError, match="--vivado makes projects for one core: `cores` must be 1, not 2; choose one"):
        gossamer.generate("ecp5-tiny", tmp_path / "core", settings=several, vivado=True)
    with pytest.raises(ConfigError, match="--stalls random records the pauses of one core's port: `cores` must be 1"):
        gossamer.verify("digits", "ecp5-tiny", settings=several, stalls="random")
    with pytest.raises(ConfigError, match="synth synthesizes one core, of which several are as many: `cores` must be"):
        gossamer.synth("ecp5-tiny", settings=several)


def test_the_generated_cores(tmp_path: Path) -> None:
    """One core's Verilog, a top around as many, lint, and a README that says how each is started."""
    report = gossamer.generate("ecp5-tiny", tmp_path / "core", settings=(*LARGE, "cores=3"))
    assert report.top == "gossamer_cores"
    assert {"verilog/gossamer_cores.v", "verilog/gossamer_core.v"} <= set(report.files)
    text = (tmp_path / "core" / "README.md").read_text()
    for name in ("s_axi0", "s_axi1", "s_axi2", "m_axi0", "m_axi1", "m_axi2"):
        assert f"- `{name}`: AXI4" in text
    for words in ("3 cores of 8 chains", "| PROGRAM_STREAM |", "All of this for every core", "64 times its `first`"):
        assert words in text
    command = ["verilator", "--lint-only", "-Wall", "--top-module", report.top, "waivers.vlt", "-f", "filelist.f"]
    environment = {**os.environ, "PATH": f"{verilator_folder()}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.run(
        [*command, "-f", "simulation.f"], cwd=tmp_path / "core", env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (process.returncode, process.stderr) == (0, "")


def test_one_core_has_no_ports_for_others(tmp_path: Path) -> None:
    assert gossamer.generate("ecp5-tiny", tmp_path / "core").top == "gossamer_core"
    assert "PROGRAM_STREAM" not in (tmp_path / "core" / "README.md").read_text()
    for module in ("gossamer_core", "run_control", "dispatcher", "dma"):
        text = (tmp_path / "core" / "verilog" / f"{module}.v").read_text()
        code = re.sub(r"//.*", "", text)
        assert not re.search(r"\b(arrived|pauses|counting|stream)\b", code)


def test_the_report_of_several_cores() -> None:
    report = gossamer.simulate("digits", "ecp5-tiny", settings=(*LARGE, "cores=2"))
    content = report.as_json()["cores"]
    assert len(content["cores"]) == 2
    assert max(core["cycles"] for core in content["cores"]) == report.total_cycles
    assert all(core["cycles"] == core["working"] + core["waiting"] for core in content["cores"])
    assert sum(content["layers"].values()) == len(report.layers)
    text = str(report)
    assert "on ecp5-tiny: 2 cores of 8 chains" in text
    assert re.search(r"cores  2, \d+ stages between barriers; layers cut by: ", text)
    assert f"core 1: {content['cores'][1]['cycles']:,} cycles" in text
    assert "cores" not in gossamer.simulate("digits", "ecp5-tiny").as_json()
