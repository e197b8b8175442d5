"""Check the hand-over to Vivado: the scripts are executed with a model of Vivado that refuses what does not exist."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import gossamer
from gossamer import cli
from gossamer.arch.config import device_names, load_config
from gossamer.arch.errors import ConfigError
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.target import default_target
from gossamer.rtl.core import Core
from gossamer.rtl.packaging.interfaces import axi_buses, top_ports
from gossamer.rtl.packaging.scripts import vivado_script
from gossamer.rtl.packaging.vivado import handover
from gossamer.rtl.packaging.vivado.boards import BOARD_DESIGNS, HOST, hbm_ports, zynq_ports
from gossamer.rtl.packaging.vivado.handover import packaging_part, vivado_files, vivado_guide
from gossamer.rtl.packaging.vivado.templates import filled

pytest.importorskip("tkinter", reason="the scripts are executed in Python's Tcl interpreter")

from vivado_model import VivadoError, VivadoModel

KV260, U280 = "xilinx.com:kv260_som:part0:1.4", "xilinx.com:au280:part0:1.1"
BOARD_FILES = {
    "vivado/block_design.tcl", "vivado/build.tcl", "vivado/constraints.xdc", "vivado/out_of_context.xdc",
    "vivado/steps.tcl",
}  # fmt: skip
CORE_FILES = {"vivado/build.tcl", "vivado/out_of_context.xdc", "vivado/steps.tcl"}
Make = Callable[..., Path]


SMALL = (
    "array.chains=8", "array.chain_length=4", "array.weight_rows_per_cycle=1", "array.group_size=4", "vector.lanes=8",
    "buffers.activation.capacity_bytes=65536", "buffers.accumulator.capacity_bytes=16384", "axi.data_bits=32",
    "buffers.index.capacity_bytes=8192", "buffers.weight.capacity_bytes=16384",
)  # fmt: skip
"""A core that is generated in few seconds."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate a small core for KV260, with all of its Verilog."""
    folder = tmp_path_factory.mktemp("whole") / "core"
    gossamer.generate("kv260-edge", folder, settings=SMALL, vivado=True)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that writes what --vivado adds for a config, with a top that has ports and nothing inside."""
    folders: dict[tuple[str, ...], Path] = {}

    def make(config: str, *settings: str) -> Path:
        if (config, *settings) not in folders:
            folders[(config, *settings)] = _shell(tmp_path_factory.mktemp("core"), config, settings)
        return folders[(config, *settings)]

    return make


def _shell(folder: Path, config: str, settings: tuple[str, ...]) -> Path:
    spec = load_config(config, settings)
    assert isinstance(spec, SparseAccelerator)
    ports = top_ports(Core(spec, default_target(spec.device.family)))
    buses, top = axi_buses(ports), "verilog/gossamer_core.v"
    lines = ["  input clk;", "  input rst;"]
    lines += [f"  {'input' if p.is_input else 'output'} [{p.bits - 1}:0] {p.name};" for p in ports]
    part = packaging_part(spec.device)
    files = {
        top: "\n".join(lines), "filelist.f": f"{top}\n", **vivado_files("gossamer_core", spec, buses),
        "package_ip.tcl": vivado_script("gossamer_core", "1.0", "about", part, [top], ports, buses),
    }  # fmt: skip
    for path, text in files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder: the scripts change to one of their own."""
    monkeypatch.chdir(tmp_path)


def built(folder: Path, *arguments: str, boards: tuple[str, ...] = (KV260, U280)) -> VivadoModel:
    model = VivadoModel(boards)
    model.run(folder / "vivado" / "build.tcl", *arguments)
    return model


def test_kv260_from_verilog_to_bitstream(made: Make, tmp_path: Path) -> None:
    folder = made("kv260-edge")
    model = built(folder)
    device = load_config("kv260-edge").device
    assert model.projects == [("gossamer_core_packaging", device.part), ("gossamer_core", device.part)]
    assert model.properties["project board_part"] == KV260
    assert model.steps == ["synth_1", "impl_1", "write_bitstream"]
    assert model.design is not None
    for port in range(load_config("kv260-edge").axi.ports):
        assert model.design.reached(f"core/m_axi{port}")[0] == f"ps/SAXIGP{port + 2}/HP{port}_DDR_LOW"
    assert model.design.reached("ps/M_AXI_HPM0_FPD") == ("core/s_axi/reg0",)
    assert model.design.addresses["ps/Data"] == {"core/s_axi/reg0": (0xA000_0000, 4096)}
    assert model.design.driver("core/clk") == "ps/pl_clk0"
    assert model.design.driver("core/rst") == "reset/peripheral_reset"
    assert model.design.driver("ps/pl_ps_irq0") == "core/interrupt"
    build = tmp_path / "gossamer_core_vivado"
    assert (build / "gossamer_core.bit").is_file()
    assert any(call[:1] == ("write_hw_platform",) and call[-1] == f"{build}/gossamer_core.xsa" for call in model.calls)
    assert [path.name for path in tmp_path.iterdir()] == ["gossamer_core_vivado"]


def test_u280_reaches_all_of_its_hbm(made: Make, tmp_path: Path) -> None:
    model = built(made("u280-sparse"))
    device = load_config("u280-sparse").device
    assert model.projects == [("gossamer_core_packaging", device.part), ("gossamer_core", device.part)]
    assert model.properties["project board_part"] == U280
    assert model.design is not None
    ports = set()
    for space in (*(f"core/m_axi{master}" for master in range(8)), HOST):
        segments = model.design.addresses[space]
        assert sorted(place or (0, 0) for place in segments.values()) == [(c << 28, 1 << 28) for c in range(32)]
        ports.add(next(iter(segments)).split("/")[1])
    assert len(ports) == 9
    assert model.design.addresses["pcie/M_AXI_LITE"] == {"core/s_axi/reg0": (0, 4096)}
    assert model.design.driver("core/clk") == "clocks/clk_out1"
    assert model.design.driver("core/rst") == "core_reset/peripheral_reset"
    assert model.design.driver("core_reset/aux_reset_in") == "hbm_ready/Res"
    assert model.design.driver("interrupt_crossing/src_in") == "core/interrupt"
    assert model.design.driver("pcie/usr_irq_req") == "interrupt_crossing/dest_out"
    assert model.design.driver("hbm_cattrip") == "hbm_hot/Res"
    assert model.properties["hbm_cattrip PACKAGE_PIN"] == "D32"
    assert (tmp_path / "gossamer_core_vivado" / "gossamer_core.bit").is_file()


def test_the_generated_core_is_built(whole: Path) -> None:
    model = built(whole)
    assert model.steps == ["synth_1", "impl_1", "write_bitstream"]


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ("kv260-edge", ("axi.ports=1", "clock_mhz=233.3")),
        ("kv260-edge", ("axi.ports=8", "axi.data_bits=64", "device.lut=200000")),
        ("u280-sparse", ("axi.ports=1", "axi.data_bits=512")),
        ("u280-sparse", ("axi.ports=16", "axi.data_bits=32", "axi.burst_beats=32")),
    ],
)
def test_any_number_of_masters_is_connected(made: Make, config: str, settings: tuple[str, ...]) -> None:
    model = built(made(config, *settings))
    assert model.design is not None
    masters = [name for name in model.design.spaces() if name.startswith("core/")]
    assert len(masters) == int(settings[0].partition("=")[2])
    assert model.steps[-1] == "write_bitstream"


@pytest.mark.parametrize("device", ["zcu104", "vcu1525", "vhk158"])
def test_other_devices_are_built_out_of_context(made: Make, device: str) -> None:
    folder = made("kv260-edge", f"device={device}")
    model = built(folder, boards=())
    part = load_config("kv260-edge", [f"device={device}"]).device.part
    assert model.projects == [("gossamer_core_packaging", part), ("gossamer_core_out_of_context", part)]
    assert model.steps == ["synth_1", "impl_1"]
    assert model.design is None
    assert model.clocks == {"clk": 4.0}
    assert model.properties["synth_1 STEPS.SYNTH_DESIGN.ARGS.MORE OPTIONS"] == "-mode out_of_context"
    assert {path for path in files(folder) if path.startswith("vivado/")} == CORE_FILES
    spec = load_config("kv260-edge", [f"device={device}"])
    assert isinstance(spec, SparseAccelerator)
    buses = axi_buses(top_ports(Core(spec, default_target(spec.device.family))))
    assert f"There is no block design for {device}" in vivado_guide("gossamer_core", spec, buses)


@pytest.mark.parametrize(
    ("step", "steps", "projects"),
    [
        ("package", [], ["packaging"]), ("core", ["synth_1"], ["out_of_context"]),
        ("project", [], ["packaging", "core"]), ("synth", ["synth_1"], ["packaging", "core"]),
        ("impl", ["synth_1", "impl_1"], ["packaging", "core"]),
    ],
)  # fmt: skip
def test_steps_do_less(made: Make, step: str, steps: list[str], projects: list[str]) -> None:
    model = built(made("kv260-edge"), step, "2")
    assert model.steps == steps
    assert [name.removeprefix("gossamer_").removeprefix("core_") for name, _ in model.projects] == projects
    jobs = {call[call.index("-jobs") + 1] for call in model.calls if call[0] == "launch_runs"}
    assert jobs == ({"2"} if steps else set())
    if step == "core":
        assert model.clocks == {"clk": 4.0}


def test_what_goes_wrong_ends_the_build(made: Make) -> None:
    build = made("kv260-edge") / "vivado" / "build.tcl"
    with pytest.raises(VivadoError, match=r"no board files of xilinx.com:kv260_som:part0; install them"):
        VivadoModel([U280]).run(build)
    with pytest.raises(VivadoError, match=r"STEP must be one of package, core, .*; not sinth"):
        VivadoModel([KV260]).run(build, "sinth")
    slow = VivadoModel([KV260], slack_ns=-0.2)
    with pytest.raises(VivadoError, match=r"timing is not met: worst setup slack is -0.2 ns"):
        slow.run(build)
    assert slow.steps == ["synth_1", "impl_1"], "reports are written, a bitstream is not"
    with pytest.raises(VivadoError, match=r"impl_1: route_design ERROR; see runme.log in"):
        VivadoModel([KV260], fails="impl_1").run(build)


MUTANTS = [
    ("block_design.tcl", "core/s_axi", "core/s_axil", "no interface core/s_axil"),
    ("block_design.tcl", "0 {m_axi0}", "0 {m_axi9}", "no interface core/m_axi9"),
    ("block_design.tcl", "        0 {m_axi0}\n", "", "ps/saxihp0_fpd_aclk is not connected"),
    ("block_design.tcl", "core/clk reset/", "reset/", "core/clk is not connected"),
    ("block_design.tcl", "core/interrupt ps", "core/irq ps", "no pin core/irq"),
    ("block_design.tcl", "wire reset/peripheral_reset core/rst", "", "core/rst is not connected"),
    ("block_design.tcl", "M_AXI_GP1 0", "M_AXI_GP1 1", "ps/maxihpm1_fpd_aclk is not connected"),
    ("block_design.tcl", "PL0_REF_CTRL__FREQMHZ 250", "PL0_REF_CTRL__FREQMHZ 100", "clock is 99997498 Hz"),
    ("block_design.tcl", "FPGA_PL0_ENABLE", "PL0_ENABLE", "has no property CONFIG.PSU__PL0_ENABLE"),
    ("block_design.tcl", "exclude_bd_addr_seg -target", "# -target", "HP0_LPS_OCM, which has no address there"),
    ("block_design.tcl", "validate_bd_design\n", "validate_design\n", "Vivado has no command validate_design"),
    ("block_design.tcl", "-vlnv $ip", "-vnlv $ip", "create_bd_cell has no option -vnlv"),
    ("block_design.tcl", "accelerators:gossamer_core", "accelerators:core", "no IP gossamer:accelerators:core"),
    ("block_design.tcl", "xilinx.com:ip:smartconnect {", "xilinx.com:ip:smartconect {", "no IP xilinx.com:ip:smartcon"),
    ("block_design.tcl", "    save_bd_design\n}", "    save_bd_design\n", "missing close-brace"),
    ("build.tcl", "steps.tcl]", "stages.tcl]", "no such file"),
    ("build.tcl", "$scripts constraints.xdc", "$scripts pins.xdc", "pins.xdc: no such file"),
    ("build.tcl", "top block_design_wrapper", "top wrapper", "no source holds the top wrapper"),
    ("build.tcl", "get_files block_design.bd", "get_files design.bd", "no file design.bd"),
    ("build.tcl", "-to_step write_bitstream", "-to_step write_bits", "no step write_bits"),
    ("steps.tcl", "core_folder package_ip.tcl", "core_folder package.tcl", "no such file or directory"),
    ("constraints.xdc", "[current_design]", "[get_ports led]", "no port led"),
]
"""Faults in scripts of kv260-edge: the file, what it says, what it says instead, and what must then be noticed."""


@pytest.mark.parametrize(("name", "right", "wrong", "problem"), MUTANTS, ids=[mutant[3] for mutant in MUTANTS])
def test_faults_are_noticed(made: Make, tmp_path: Path, name: str, right: str, wrong: str, problem: str) -> None:
    folder = shutil.copytree(made("kv260-edge"), tmp_path / "core")
    text = (folder / "vivado" / name).read_text()
    assert right in text
    (folder / "vivado" / name).write_text(text.replace(right, wrong, 1))
    with pytest.raises(VivadoError, match=problem):
        built(folder)


HBM_MUTANTS = [
    ("wire pcie/axi_aclk memory$port/aclk1", "", "memory31/aclk1 is not connected"),
    ("USER_CLK_SEL_LIST1 AXI_31_ACLK", "USER_CLK_SEL_LIST1 AXI_30_ACLK", "the clock of a port that is off"),
    ("clocks/clk_out1 memory$port/aclk hbm", "pcie/axi_aclk memory$port/aclk hbm", "are on different clocks"),
    ("$channel < 32", "$channel < 31", "HBM_MEM31, which has no address there"),
    ("$channel << 28", "$channel << 27", "segments overlap"),
    ("wire hbm/apb_complete_$stack", "# ", "hbm_ready/Op1 is not connected"),
    (
        "[get_bd_pins hbm_hot/Res] [get_bd_ports hbm_cattrip]",
        "[get_bd_pins hbm_hot/Res]",
        "hbm_cattrip is not connected",
    ),
]


@pytest.mark.parametrize(("right", "wrong", "problem"), HBM_MUTANTS, ids=[m[2] for m in HBM_MUTANTS])
def test_faults_of_the_design_with_hbm_are_noticed(
    made: Make, tmp_path: Path, right: str, wrong: str, problem: str
) -> None:
    folder = shutil.copytree(made("u280-sparse"), tmp_path / "core")
    script = folder / "vivado" / "block_design.tcl"
    text = script.read_text()
    assert right in text
    script.write_text(text.replace(right, wrong))
    with pytest.raises(VivadoError, match=problem):
        built(folder, "project")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("INTERRUPT", "irq", "no pin core/irq"),
        ("zynq_ports", lambda masters, bits: zynq_ports(masters[1:], bits), "core/m_axi0 is not connected"),
        ("zynq_ports", lambda masters, bits: zynq_ports([f"{m}_" for m in masters], bits), "no interface core/m_axi0_"),
        ("filled", lambda name, values: filled(name, values).replace("} {\n", "{\n"), "close-brace|extra characters"),
        ("filled", lambda name, values: filled(name, values).replace("steps.tcl", "step.tcl"), "no such file"),
    ],
)
def test_faults_of_the_generator_are_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: object, problem: str
) -> None:
    monkeypatch.setattr(handover, name, value)
    with pytest.raises(VivadoError, match=problem):
        built(_shell(tmp_path, "kv260-edge", ()))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["verilog/dma.v", "package_ip.tcl", "vivado/steps.tcl", "vivado/block_design.tcl"])
def test_a_file_that_is_missing_is_noticed(whole: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(whole, tmp_path / "core")
    (folder / name).unlink()
    with pytest.raises(VivadoError, match="no such file"):
        built(folder)


def test_models_for_simulation_are_not_synthesized(whole: Path) -> None:
    folder = whole
    assert (folder / "simulation" / "DSP48E2.v").is_file()
    for step in ("core", "package"):
        names = {path.parent.name for path in built(folder, step).sources}
        assert names == {"verilog"}
    model = built(folder, "core")
    assert {path.name for path in model.sources} == {path.name for path in (folder / "verilog").iterdir()}


def test_the_period_is_never_longer_than_the_clock_of_the_config(made: Make) -> None:
    period = re.search(
        r"-period (\S+)",
        (made("kv260-edge", "axi.ports=1", "clock_mhz=233.3") / "vivado/out_of_context.xdc").read_text(),
    )
    assert period is not None
    assert 0 <= 1000 / 233.3 - float(period[1]) < 0.001


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gossamer", "generate", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_same_bytes_from_the_command_line(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, small = whole, [word for setting in SMALL for word in ("--set", setting)]
    assert run(monkeypatch, "-c", "kv260-edge", "--vivado", "-o", "again", "--json", *small) == 0
    printed = json.loads(capfd.readouterr().out)
    assert printed["files"] == files(folder) == files(Path("again"))
    assert {path for path in printed["files"] if path.startswith("vivado/")} == BOARD_FILES
    assert all((folder / path).read_bytes() == (Path("again") / path).read_bytes() for path in files(folder))
    assert json.loads((folder / "generation.json").read_text())["command"][-1] == "--vivado"
    readme = (folder / "README.md").read_text()
    assert "vivado -mode batch -source PATH_TO_THIS_FOLDER/vivado/build.tcl" in readme
    assert "Written for Vivado 2023.2 by its documentation, and **not run**" in readme
    assert not any("@" in (folder / path).read_text() for path in BOARD_FILES)
    assert run(monkeypatch, "-c", "kv260-edge", "--vivado", "-o", "again", *small) == 0
    assert f"vivado -mode batch -source {Path('again').resolve()}/vivado/build.tcl\n" in capfd.readouterr().out
    # Without the option there is nothing of it.
    assert run(monkeypatch, "-c", "kv260-edge", "-o", "again", *small) == 0
    assert not (Path("again") / "vivado").exists()
    assert "## Vivado" not in (Path("again") / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("-c", "ecp5-tiny"),
            "ecp5-tiny: --vivado needs a device that Vivado supports, of family ultrascale_plus, versal, series7, not "
            "ecp5-85 (ecp5); leave --vivado out, or choose another config",
        ),
        (
            ("-c", "kv260-edge", "--set", "device=vhk158", "--target", "xcup"),
            "--vivado needs primitives that vhk158 (versal) has, and target xcup builds from DSP48E2",
        ),
        (("-c", "kv260-edge", "--target", "versal"), "target versal builds from DSP58; leave --target out"),
        (("-c", "kv260-edge", "--target", "ecp5"), "target ecp5 builds from MULT18X18D; leave --target out"),
        (
            ("-c", "kv260-edge", "--set", "device.part='a [exit]'"),
            "device.part must be a name that Vivado knows, not 'a [exit]'",
        ),
        (("-c", "kv260-edge", "--set", "device.board='{'"), "device.board must be a name that Vivado knows, not '{'"),
    ],
)
def test_what_vivado_cannot_build_is_refused(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert run(monkeypatch, *arguments, "--vivado", "-o", "core") == 2
    printed, errors = capfd.readouterr()
    assert printed == ""
    assert message in errors
    assert errors.count("\n") == 1
    assert not Path("core").exists()
    with pytest.raises(ConfigError, match="needs a device that Vivado supports"):
        gossamer.generate("ecp5-tiny", "core", vivado=True)


def test_boards_with_a_block_design_are_those_of_shipped_devices() -> None:
    base = load_config("kv260-edge")
    boards = set()
    for name in device_names():
        text = (Path(gossamer.__file__).parent / "configs" / "devices" / f"{name}.yaml").read_text()
        boards |= set(re.findall(r"^board: (\S+)", text, re.M))
    assert boards == set(BOARD_DESIGNS)
    assert base.device.board == "xilinx.com:kv260_som:part0"


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16, 32])
def test_every_master_has_one_memory_port(count: int) -> None:
    masters = [f"m{index}" for index in range(count)]
    zynq = zynq_ports(masters, 512)
    assert sorted(name for names in zynq.masters.values() for name in names) == sorted(masters)
    assert len(zynq.masters) == min(count, 4)
    assert zynq.properties["CONFIG.PSU__SAXIGP2__DATA_WIDTH"] == "128"
    hbm = hbm_ports(masters)
    names = [name for port in hbm.masters.values() for name in port]
    assert sorted(names) == sorted([*(f"core/{name}" for name in masters), HOST])
    assert {port for port in hbm.masters} == {name[-2:] for name, on in hbm.properties.items() if on == "true"}
    assert HOST in hbm.masters["31"]
