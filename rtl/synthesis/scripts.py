"""Write the Yosys scripts.

Yosys 0.70's `abc9` stops with an assertion on ordinary designs when `synth_xilinx` or `synth_ecp5` runs in one go
(YosysHQ/yosys#4349); run as two commands, cut before `map_luts`, it does not.
"""

from collections.abc import Sequence

from gossamer.arch.target import Target

STATISTICS = "stat.json"
NETLIST = "netlist.json"

_SYNTHESIS = {
    Target.XCUP: "synth_xilinx -family xcup -uram -noiopad -noclkbuf -flatten",
    Target.ECP5: "synth_ecp5",
}
"""`-uram`: UltraRAM is used, for memories whose `ram_style` asks for it."""


_ECP5_DELAY_PS = 3000
"""Delay of LUTs and wires, as abc9 counts it, up to which it saves LUTs rather than levels. Otherwise a unit becomes as
fast as it can be, which costs LUTs for nothing where its deepest path is a rotation (docs/decisions/0012). Whole cores
have deeper paths, and are what they were. UltraScale+ has none: there the levels are what is asked for."""

_XCUP_WIRE_PS = 800
"""Delay of a wire between LUTs for abc9, in place of Yosys's 300, in units of handshakes and counters: the more, the
more its deepest paths are those with the most levels, rather than those through carries and memories. Where rotations
are, as beside the activations, that would cost half as many LUTs again, and there are few levels without it."""

_HANDSHAKES = ("control", "dma", "vector_engine")

_BOXES = {
    Target.XCUP: ("+/xilinx/cells_sim.v", "+/xilinx/cells_xtra.v"),
    Target.ECP5: ("+/ecp5/cells_sim.v", "+/ecp5/cells_bb.v"),
}
"""Yosys's own declarations of the primitives that generated Verilog instantiates."""


def preparation_script(target: Target, top: str, files: Sequence[str], units: Sequence[str]) -> str:
    """Return the script that cuts a design into units, each flattened and written as RTLIL of its name.

    Constants and unused ports are carried across the cuts, as if there were none; three rounds, after which nothing
    changed in the cores that were tried. Registers that are outputs lose their initial value: Yosys 0.70 stops where
    one that has it turns out to be unused.
    """
    lines = [
        *(f"read_verilog -lib -specify {path}" for path in _BOXES[target]),
        *(f"read_verilog {path}" for path in files),
        f"hierarchy -check -top {top}",
        "proc",
        "select a:keep %ci1:+[Q] t:$*ff* %i",  # registers whose output must be kept are not merged
        "setattr -set keep 1",
        "select -clear",
        *(f"setattr -mod -set keep_hierarchy 1 {name}" for name in units),
        "flatten",
        "opt_clean",
        "setattr -unset init o:*",
        *("opt_hier", "opt_expr", "opt_clean") * 3,
        "setattr -mod -unset keep_hierarchy A:keep_hierarchy",
        "delete t:$scopeinfo",
    ]
    for name in units:
        lines += [f"select {name}", f"write_rtlil -selected {name}.il", "select -clear"]
    return "\n".join(lines) + "\n"


def synthesis_script(target: Target, top: str, boxes: Sequence[str] = ()) -> str:
    """Return the script that maps a unit to primitives, from RTLIL to statistics and netlist in the working folder.

    `boxes`: units that stay black boxes in it.
    """
    command = f"{_SYNTHESIS[target]} -top {top}"
    options = {
        Target.ECP5: [f"scratchpad -set abc9.D {_ECP5_DELAY_PS}"],
        Target.XCUP: [f"scratchpad -set synth_xilinx.abc9.W {_XCUP_WIRE_PS}"] if top in _HANDSHAKES else [],
    }
    lines = [
        *(line for name in boxes for line in (f"read_rtlil {name}.il", f"blackbox {name}")),
        f"read_rtlil {top}.il",
        *options[target],
        f"{command} -run begin:map_luts",
        f"{command} -run map_luts:",
        "delete t:$scopeinfo",
        f"tee -q -o {STATISTICS} stat -json",
        f"write_json {NETLIST}",
    ]
    return "\n".join(lines) + "\n"
