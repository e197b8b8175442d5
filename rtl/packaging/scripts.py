"""Write the files by which other tools take the generated Verilog: file list, FuseSoC, Vivado, Verilator waivers."""

from collections.abc import Iterable, Sequence

from gossamer.rtl.copies import CLOCK, RESET
from gossamer.rtl.packaging.interfaces import INTERRUPT, Bus, Port

WAIVERS_FILE = "waivers.vlt"

_WAIVERS = (
    ("CASEINCOMPLETE", "every case has its default assigned before it"),
    ("WIDTHEXPAND", "operands of arithmetic are unsigned and extend with zeros, as intended"),
    ("WIDTHTRUNC", "results are cut to the width of their register on purpose: counters wrap"),
    ("UNUSEDSIGNAL", "carry bits, and fields of the instruction word that an engine does not need"),
    ("PROCASSINIT", "registers have a power-up value besides their reset: FPGAs load it with the bitstream"),
    ("DECLFILENAME", "modules that only one other uses stand in its file, as `owner.part`"),
    ("SYMRSVDWORD", "`interrupt` is a C++ word; Verilator renames it"),
)
"""Rules of `verilator -Wall` that are switched off, each with the reason."""

_PRIMITIVE_WAIVERS = (
    ("PINCONNECTEMPTY", "dsp_cascade*", "outputs of a DSP slice that are not used"),
    ("PINCONNECTEMPTY", "dsp_adder*", "the same"),
    ("PINCONNECTEMPTY", "dot_cascade*", "the same"),
    ("PINMISSING", "registered_multiplier", "C, shift inputs, which only a multiplier can drive, and unused outputs"),
    ("PINMISSING", "part_product", "the same"),
)
"""The same, for the modules that instantiate primitives."""


def file_list(verilog: Sequence[str]) -> str:
    """Return Verilog files, one a line, in their order; paths are relative to the list."""
    return "".join(f"{path}\n" for path in verilog)


def waivers() -> str:
    """Return what Verilator need not warn about."""
    lines = ["`verilator_config"]
    for rule, reason in _WAIVERS:
        lines += [f"// {reason}", f'lint_off -rule {rule} -file "*verilog/*.v"']
    for rule, module, reason in _PRIMITIVE_WAIVERS:
        lines += [f"// {reason}", f'lint_off -rule {rule} -file "*verilog/{module}.v"']
    lines += ["// models of primitives, for simulation", 'lint_off -file "*simulation/*.v"']
    return "\n".join(lines) + "\n"


def fusesoc_core(top: str, version: str, about: str, verilog: Sequence[str], models: Sequence[str]) -> str:
    """Return the FuseSoC core description (CAPI2); only simulation and lint take the models of primitives."""
    files, simulated = ("\n".join(f"      - {path}" for path in paths) or "      []" for paths in (verilog, models))
    return f"""CAPI=2:
name: gossamer:accelerators:{top}:{version}
description: "{about}"

filesets:
  rtl:
    files:
{files}
    file_type: verilogSource
  simulation:
    files:
{simulated}
    file_type: verilogSource
  waivers:
    files:
      - {WAIVERS_FILE}
    file_type: vlt

targets:
  default: &default
    filesets: [rtl]
    toplevel: {top}
  sim:
    <<: *default
    filesets: [rtl, simulation]
  lint:
    <<: *default
    filesets: [rtl, simulation, waivers]
    default_tool: verilator
    tools:
      verilator:
        mode: lint-only
        verilator_options: [-Wall]
"""


def _words(names: Iterable[str]) -> str:
    return " ".join(names)


def vivado_script(
    top: str, version: str, about: str, part: str | None, verilog: Sequence[str], ports: Sequence[Port],
    buses: Sequence[Bus],
) -> str:  # fmt: skip
    """Return the Tcl script that packages the core as IP for Vivado's block designs.

    `part`: the IP is offered for parts of its family (UG1118); absent: for that of Vivado's default part.
    """
    files = "\n".join(f"    [file join $folder {path}] \\" for path in verilog)
    lines = [
        "# Package the core as IP. Run it where the IP may be written; nothing is written next to this script:",
        "#   vivado -mode batch -source path/to/package_ip.tcl",
        f"# Then add the folder {top}_ip to the project's IP repositories.",
        "set folder [file dirname [file normalize [info script]]]",
        f"set output [file join [pwd] {top}_ip]",
        f"create_project -in_memory {top}_packaging{'' if part is None else f' -part {part}'}",
        f"add_files -norecurse [list \\\n{files}\n]",
        f"set_property top {top} [current_fileset]",
        "update_compile_order -fileset sources_1",
        "ipx::package_project -root_dir $output -vendor gossamer -library accelerators -taxonomy /UserIP "
        "-import_files -set_current true",
        "set core [ipx::current_core]",
        f"set_property name {top} $core",
        f"set_property version {version} $core",
        f"set_property display_name {{{top}}} $core",
        f"set_property description {{{about}}} $core",
        *_clocking(ports),
    ]
    for bus in buses:
        lines += _bus(bus)
    lines += ["ipx::create_xgui_files $core", "ipx::check_integrity $core", "ipx::save_core $core", "close_project"]
    return "\n".join(lines) + "\n"


_INFER = """# Declare what Vivado has not found by itself.
proc infer {name ports kind core} {
    if {[ipx::get_bus_interfaces -quiet $name -of_objects $core] eq ""} {
        ipx::infer_bus_interface $ports $kind $core
    }
    return [ipx::get_bus_interfaces $name -of_objects $core]
}"""


def _clocking(ports: Sequence[Port]) -> list[str]:
    """Return commands that declare clock, reset and interrupt."""
    lines = [
        "# Clock, reset (active high) and interrupt (high level).",
        _INFER,
        f"infer {CLOCK} {CLOCK} xilinx.com:signal:clock_rtl:1.0 $core",
        f"set reset [infer {RESET} {RESET} xilinx.com:signal:reset_rtl:1.0 $core]",
        "set_property value ACTIVE_HIGH [ipx::add_bus_parameter POLARITY $reset]",
        f"ipx::associate_bus_interfaces -clock {CLOCK} -reset {RESET} $core",
    ]
    if any(port.name == INTERRUPT for port in ports):
        lines += [
            f"set interrupt [infer {INTERRUPT} {INTERRUPT} xilinx.com:signal:interrupt_rtl:1.0 $core]",
            "set_property value LEVEL_HIGH [ipx::add_bus_parameter SENSITIVITY $interrupt]",
        ]
    return lines


_LEAST_RANGE = 4096


def _bus(bus: Bus) -> list[str]:
    """Return commands that declare an AXI interface, its clock and its memory map or address space."""
    kind = "AXI4-Lite" if bus.is_lite else "AXI4"
    lines = [
        f"# {kind} {'master' if bus.is_master else 'slave'} {bus.name}.",
        f"set bus [infer {bus.name} [list {_words(port.name for port in bus.ports)}] "
        "xilinx.com:interface:aximm_rtl:1.0 $core]",
        f"ipx::associate_bus_interfaces -busif {bus.name} -clock {CLOCK} $core",
    ]
    size = 1 << bus.bits("araddr")
    if bus.is_master:
        return [
            *lines,
            f'if {{[ipx::get_address_spaces -quiet {bus.name} -of_objects $core] eq ""}} {{',
            f"    set space [ipx::add_address_space {bus.name} $core]",
            f"    set_property range {size} $space",
            f"    set_property width {bus.bits('rdata')} $space",
            f"    set_property master_address_space_ref {bus.name} $bus",
            "}",
        ]
    return [
        *lines,
        f'if {{[ipx::get_memory_maps -quiet {bus.name} -of_objects $core] eq ""}} {{',
        f"    set map [ipx::add_memory_map {bus.name} $core]",
        "    set block [ipx::add_address_block registers $map]",
        f"    set_property width {bus.bits('rdata')} $block",
        "    set_property usage register $block",
        f"    set_property slave_memory_map_ref {bus.name} $bus",
        "}",
        # Interconnects decode 4 KiB at least; the registers repeat in what is more than they are.
        f"foreach block [ipx::get_address_blocks -of_objects [ipx::get_memory_maps {bus.name} -of_objects $core]] {{",
        f"    set_property range {max(size, _LEAST_RANGE)} $block",
        "}",
    ]
