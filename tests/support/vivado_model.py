"""Execute Tcl scripts for Vivado in a Tcl interpreter whose Vivado commands are a model that refuses what is wrong.

A command, option, file, cell, pin, port, property or step that does not exist raises. Names and options: UG835.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vivado_blocks import BlockDesign, Cell
from vivado_ip import CATALOG, Interface, Ip

COMMANDS = {
    "add_files": "-norecurse -fileset=", "apply_bd_automation": "-rule= -config=",
    "assign_bd_address": "-offset= -range= -target_address_space=", "close_design": "", "close_project": "",
    "connect_bd_intf_net": "", "connect_bd_net": "", "create_bd_cell": "-type= -vlnv=", "create_bd_design": "",
    "create_bd_intf_port": "-mode= -vlnv=", "create_bd_port": "-dir= -type=", "create_clock": "-name= -period=",
    "create_project": "-force -in_memory -part=", "current_design": "", "current_fileset": "", "current_project": "",
    "exclude_bd_addr_seg": "-target_address_space=", "generate_target": "", "get_bd_addr_segs": "",
    "get_bd_addr_spaces": "", "get_bd_cells": "", "get_bd_intf_pins": "", "get_bd_intf_ports": "", "get_bd_pins": "",
    "get_bd_ports": "", "get_board_parts": "-quiet -latest_file_version", "get_files": "", "get_ports": "",
    "get_property": "", "get_runs": "", "launch_runs": "-jobs= -to_step=", "make_wrapper": "-files= -top",
    "open_run": "", "puts": "", "regenerate_bd_layout": "", "report_timing_summary": "-max_paths= -file=",
    "report_utilization": "-hierarchical -file=", "save_bd_design": "",
    "set_property": "-dict -name= -value= -objects=", "update_compile_order": "-fileset=", "update_ip_catalog": "",
    "validate_bd_design": "", "wait_on_run": "",
    "write_hw_platform": "-fixed -include_bit -force -file=",
    "ipx::add_address_block": "", "ipx::add_address_space": "", "ipx::add_bus_parameter": "", "ipx::add_memory_map": "",
    "ipx::associate_bus_interfaces": "-clock= -reset= -busif=", "ipx::check_integrity": "",
    "ipx::create_xgui_files": "",
    "ipx::current_core": "", "ipx::get_address_blocks": "-of_objects=",
    "ipx::get_address_spaces": "-quiet -of_objects=", "ipx::get_bus_interfaces": "-quiet -of_objects=",
    "ipx::get_memory_maps": "-quiet -of_objects=", "ipx::infer_bus_interface": "",
    "ipx::package_project": "-root_dir= -vendor= -library= -taxonomy= -import_files -set_current=",
    "ipx::save_core": "",
}  # fmt: skip
"""Vivado's commands the scripts use, with their options; `=`: takes a value."""

PORT = re.compile(r"^  (input|output) (?:reg )?(?:\[\d+:0\] )?(\w+)(?: = .*)?;", re.M)


class VivadoError(AssertionError):
    """Something Vivado would refuse."""


def need(condition: object, message: str) -> None:
    """Raise unless a condition holds."""
    if not condition:
        raise VivadoError(message)


def ports_of(verilog: Path) -> dict[str, str]:
    """Return the ports of a generated module by name: input or output."""
    return {name: way for way, name in PORT.findall(verilog.read_text())}


class VivadoModel:
    """Vivado, as far as the scripts see it. `boards`: board parts that are installed; `slack_ns`: after routing.

    What it has seen: `calls`, `printed`, `projects` (name and part), `sources`, `properties`, `design`, `steps`.
    """

    def __init__(self, boards: Sequence[str] = (), slack_ns: float = 0.5, fails: str = "") -> None:
        import tkinter

        self.boards, self.slack_ns, self.fails = boards, slack_ns, fails
        self.calls: list[tuple[str, ...]] = []
        self.printed: list[str] = []
        self.projects: list[tuple[str, str]] = []
        self.sources: list[Path] = []
        self.constraints: list[Path] = []
        self.properties: dict[str, str] = {}
        self.design: BlockDesign | None = None
        self.steps: list[str] = []
        self.clocks: dict[str, float] = {}
        self.packaged: dict[str, Ip] = {}
        self._inferred: dict[str, tuple[str, ...]] = {}
        self._repository = ""
        self._problem = ""
        self._tcl: Any = tkinter.Tcl()
        self._tcl.eval('proc unknown args {error "Vivado has no command [lindex $args 0]"}')
        for name in COMMANDS:
            self._tcl.eval(f"namespace eval ::{name.rpartition('::')[0]} {{}}")
            self._tcl.tk.createcommand(name, self._command(name))

    def run(self, script: Path, *arguments: str) -> None:
        """Source a script with -tclargs. Raises VivadoError for an error of Tcl or of a command."""
        import tkinter

        self._tcl.setvar("argv", " ".join(arguments))
        try:
            self._tcl.eval(f"source {{{script}}}")
        except tkinter.TclError as error:
            raise VivadoError(self._problem or str(error)) from error

    def list(self, text: str) -> tuple[str, ...]:
        """Return the words of a Tcl list."""
        return tuple(str(word) for word in self._tcl.splitlist(text))

    def _command(self, name: str) -> Callable[..., str]:
        method = getattr(self, "_" + name.replace("::", "_"), None)
        allowed = COMMANDS[name].split()

        def call(*words: str) -> str:
            texts = [str(word) for word in words]
            self.calls.append((name, *texts))
            options: dict[str, str] = {}
            rest = []
            while texts:
                word = texts.pop(0)
                if word in allowed:
                    options[word] = "1"
                elif f"{word}=" in allowed:
                    need(texts, f"{name} {word} has no value")
                    options[word] = texts.pop(0)
                else:
                    need(not re.match(r"-[a-z]", word), f"{name} has no option {word}")
                    rest.append(word)
            return str(method(options, *rest)) if method is not None else name

        def guarded(*words: str) -> str:
            try:
                return call(*words)
            except (AssertionError, KeyError, TypeError) as error:
                self._problem = f"{name}: {error}"  # tkinter tells nobody of it
                raise

        return guarded

    # Projects and files.

    def _create_project(self, options: dict[str, str], name: str, folder: str = "") -> str:
        need("-in_memory" in options or folder, "create_project needs a folder")
        self.projects.append((name, options.get("-part", "")))
        self.sources, self.constraints, self.design, self.steps = [], [], None, []
        self.properties = {}
        return name

    def _add_files(self, options: dict[str, str], *files: str) -> str:
        need(self.projects, "no project is open")
        for path in (Path(path) for text in files for path in self.list(text)):
            need(path.is_file(), f"{path}: no such file")
            (self.constraints if options.get("-fileset") == "constrs_1" else self.sources).append(path)
        return ""

    def _get_board_parts(self, options: dict[str, str], pattern: str) -> str:
        return " ".join(board for board in self.boards if re.fullmatch(pattern.replace("*", ".*"), board))

    def _current_project(self, options: dict[str, str]) -> str:
        return "project"

    def _current_fileset(self, options: dict[str, str]) -> str:
        return "fileset"

    def _current_design(self, options: dict[str, str]) -> str:
        return "design"

    def _get_files(self, options: dict[str, str], pattern: str) -> str:
        need(self.design is not None and pattern == f"{self.design.name}.bd", f"no file {pattern}")
        return pattern

    def _make_wrapper(self, options: dict[str, str]) -> str:
        need(self._blocks().is_valid, "the block design has not been validated")
        path = Path(f"{self._blocks().name}_wrapper.v")
        path.write_text("".join(f"  input {name};\n" for name in self._blocks().ports))
        return str(path.resolve())

    def _puts(self, options: dict[str, str], *words: str) -> str:
        self.printed.append(words[-1])
        return ""

    # Properties.

    def _set_property(self, options: dict[str, str], *words: str) -> str:
        if "-dict" in options:
            flat = self.list(words[0])
            need(len(flat) % 2 == 0, "set_property -dict takes pairs")
            pairs, target = dict(zip(flat[::2], flat[1::2], strict=True)), words[1]
        elif "-name" in options:
            pairs, target = {options["-name"]: options["-value"]}, options["-objects"]
        else:
            pairs, target = {words[0]: words[1]}, words[2]
        need(target != "", f"set_property {', '.join(pairs)} has no object")
        if self.design is not None and target.lstrip("/") in self.design.cells:
            self.design.set_properties(target.lstrip("/"), pairs)
        for name, value in pairs.items():
            if (name, target) == ("top", "fileset"):
                need(any(path.stem == value for path in self.sources), f"no source holds the top {value}")
            if name == "ip_repo_paths":
                self._repository = value
            self.properties[f"{target} {name}"] = value
        return ""

    def _get_property(self, options: dict[str, str], name: str, target: str) -> str:
        need(target != "", f"get_property {name} has no object")
        if name == "CONFIG.FREQ_HZ":
            return self._hz(target)
        if name == "DIRECTORY":
            return str(Path.cwd())
        known = {
            "STATS.WNS": self.slack_ns, "STATS.WHS": 0.01, "PROGRESS": "40%" if target == self.fails else "100%",
            "STATUS": "route_design ERROR",
        }  # fmt: skip
        need(name in known, f"a run has no property {name}")
        return str(known[name])

    def _hz(self, pin: str) -> str:
        design = self._blocks()
        need(design.is_valid, "clocks are known when the block design is validated")
        name, _, source = design.driver(pin).partition("/")
        key = {"pl_clk0": "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ", "clk_out1": "CLKOUT1_REQUESTED_OUT_FREQ"}[source]
        return str(round(float(design.cells[name].properties[key]) * 1e6) - 2502)

    # Packaging.

    def _ipx_package_project(self, options: dict[str, str]) -> str:
        need(self.properties.get("fileset top"), "the project to package has no top")
        self._root = Path(options["-root_dir"])
        self._root.mkdir()
        self._name = f"{options['-vendor']}:{options['-library']}"
        self._inferred = {}
        return ""

    def _ipx_current_core(self, options: dict[str, str]) -> str:
        return "core_object"

    def _ipx_get_bus_interfaces(self, options: dict[str, str], name: str) -> str:
        need(name in self._inferred or "-quiet" in options, f"the core has no interface {name}")
        return name if name in self._inferred else ""

    def _ipx_infer_bus_interface(self, options: dict[str, str], ports: str, kind: str, core: str) -> str:
        names = self.list(ports)
        known = ports_of(next(path for path in self.sources if path.stem == self.properties["fileset top"]))
        need(all(name in known for name in names), f"{kind}: the top lacks one of {names}")
        name = names[0] if len(names) == 1 else names[0].rpartition("_")[0]
        self._inferred[name] = names
        return ""

    def _ipx_associate_bus_interfaces(self, options: dict[str, str], core: str) -> str:
        need(all(name in self._inferred for name in options.values()), f"no interface among {options}")
        return ""

    def _ipx_get_memory_maps(self, options: dict[str, str], name: str) -> str:
        return "" if "-quiet" in options else name

    def _ipx_get_address_blocks(self, options: dict[str, str]) -> str:
        return "block"

    def _ipx_save_core(self, options: dict[str, str], core: str) -> str:
        known = ports_of(next(path for path in self.sources if path.stem == self.properties["fileset top"]))
        interfaces = {
            name: Interface(is_master=known[f"{name}_araddr"] == "output", clocks=("clk",))
            for name, ports in self._inferred.items() if len(ports) > 1
        }  # fmt: skip
        taken = {port for name, ports in self._inferred.items() if len(ports) > 1 for port in ports}
        pins = {way: tuple(n for n, w in known.items() if w == way and n not in taken) for way in ("input", "output")}
        self.packaged[str(self._root.resolve())] = Ip(
            inputs=pins["input"], outputs=pins["output"], interfaces=interfaces,
            spaces=tuple(name for name, way in interfaces.items() if way.is_master),
            segments={name: (f"{name}/reg0",) for name, way in interfaces.items() if not way.is_master},
        )  # fmt: skip
        self._vlnv = f"{self._name}:{self.properties['core_object name']}"
        return ""

    # Block designs.

    def _blocks(self) -> BlockDesign:
        need(self.design is not None, "no block design is open")
        assert self.design is not None
        return self.design

    def _create_bd_design(self, options: dict[str, str], name: str) -> str:
        self.design = BlockDesign(name)
        return name

    def _create_bd_cell(self, options: dict[str, str], name: str) -> str:
        vlnv, core = options["-vlnv"], None
        need(options["-type"] == "ip" and name not in self._blocks().cells, f"cell {name} cannot be made")
        if vlnv not in CATALOG:
            core = self.packaged.get(str(Path(self._repository).resolve()))
            need(core is not None and vlnv == self._vlnv, f"no IP {vlnv} in the catalog")
        self._blocks().cells[name] = Cell(vlnv, core)
        return f"/{name}"

    def _get_bd_cells(self, options: dict[str, str], name: str) -> str:
        need(name in self._blocks().cells, f"no cell {name}")
        return f"/{name}"

    def _create_bd_port(self, options: dict[str, str], name: str) -> str:
        self._blocks().ports[name] = options["-dir"]
        return name

    def _create_bd_intf_port(self, options: dict[str, str], name: str) -> str:
        kind = "pcie" if "pcie_7x_mgt" in options["-vlnv"] else "diff_clock"
        self._blocks().interface_ports[name] = Interface(is_master=options["-mode"] == "Master", kind=kind)
        return name

    def _get_bd_ports(self, options: dict[str, str], name: str) -> str:
        need(name in self._blocks().ports, f"no port {name}")
        return name

    def _get_bd_intf_ports(self, options: dict[str, str], name: str) -> str:
        need(name in self._blocks().interface_ports, f"no interface port {name}")
        return name

    def _get_bd_pins(self, options: dict[str, str], path: str) -> str:
        return self._blocks().pin(path)

    def _get_bd_intf_pins(self, options: dict[str, str], path: str) -> str:
        self._blocks().interface(path)
        return path

    def _connect_bd_net(self, options: dict[str, str], *pins: str) -> str:
        self._blocks().connect(pins)
        return ""

    def _connect_bd_intf_net(self, options: dict[str, str], one: str, other: str) -> str:
        self._blocks().connect_bus(one, other)
        return ""

    def _get_bd_addr_spaces(self, options: dict[str, str], path: str) -> str:
        need(path in self._blocks().spaces(), f"no address space {path}")
        return path

    def _get_bd_addr_segs(self, options: dict[str, str], pattern: str) -> str:
        known = [
            f"{name}/{segment}"
            for name, cell in self._blocks().cells.items()
            for segments in cell.ip().segments.values()
            for segment in segments
        ]
        found = [path for path in known if re.fullmatch(pattern.replace("*", "[^/]*"), path)]
        need(found, f"no address segment {pattern}")
        return " ".join(f"/{path}" for path in found)

    def _assign_bd_address(self, options: dict[str, str], segment: str) -> str:
        place = None
        if "-offset" in options:
            size = {"256M": 1 << 28}.get(options.get("-range", ""), 4096)
            place = (int(options["-offset"], 16), size)
        space = self._blocks().addresses.setdefault(options["-target_address_space"], {})
        need(segment.lstrip("/") not in space, f"{segment} is assigned twice")
        space[segment.lstrip("/")] = place
        return ""

    _exclude_bd_addr_seg = _assign_bd_address

    def _validate_bd_design(self, options: dict[str, str]) -> str:
        self._blocks().validate()
        return ""

    # Runs.

    def _get_runs(self, options: dict[str, str], name: str) -> str:
        need(self.projects and name in ("synth_1", "impl_1"), f"no run {name}")
        return name

    def _launch_runs(self, options: dict[str, str], name: str) -> str:
        need(int(options["-jobs"]) > 0, "jobs must be at least 1")
        need(self.properties.get("fileset top"), "there is no top to synthesize")
        need(name == "synth_1" or "synth_1" in self.steps, "implementation needs a synthesized design")
        step = options.get("-to_step", name)
        need(step in ("synth_1", "impl_1", "write_bitstream"), f"no step {step}")
        need(step != "write_bitstream" or self.design is not None, "no bitstream of a core out of context")
        if name == "synth_1":
            self._read_constraints()
        if step == "write_bitstream":
            Path(f"{self.properties['fileset top']}.bit").write_text("bits")
        self.steps.append(step)
        return ""

    def _open_run(self, options: dict[str, str], name: str) -> str:
        need(name in self.steps, f"{name} has not run")
        return ""

    def _report_utilization(self, options: dict[str, str]) -> str:
        need(Path(options["-file"]).parent.is_dir(), f"no folder for {options['-file']}")
        return ""

    _report_timing_summary = _report_utilization

    def _write_hw_platform(self, options: dict[str, str]) -> str:
        need("write_bitstream" in self.steps, "no bitstream to include")
        return ""

    def _read_constraints(self) -> None:
        need(self.constraints, "no constraints")
        for path in self.constraints:
            self._tcl.eval(f"source {{{path}}}")

    def _get_ports(self, options: dict[str, str], name: str) -> str:
        top = next(path for path in self.sources if path.stem == self.properties["fileset top"])
        need(name in ports_of(top), f"the top has no port {name}")
        return name

    def _create_clock(self, options: dict[str, str], port: str) -> str:
        self.clocks[port] = float(options["-period"])
        return ""
