"""Write the Yosys scripts.

Yosys 0.70's `abc9` stops with an assertion on ordinary designs when `synth_xilinx` or `synth_ecp5` runs in one go
(YosysHQ/yosys#4349); run as two commands, cut before `map_luts`, it does not.
"""

from collections.abc import Sequence

from gossamer.rtl.synthesis.cells import Target

STATISTICS = "stat.json"
NETLIST = "netlist.json"

_SYNTHESIS = {
    Target.XCUP: "synth_xilinx -family xcup -uram -noiopad -noclkbuf -flatten",
    Target.ECP5: "synth_ecp5",
}
"""`-uram`: UltraRAM is used, for memories whose `ram_style` asks for it."""


def synthesis_script(target: Target, top: str, files: Sequence[str], boxes: Sequence[str] = ()) -> str:
    """Return the script that maps a module to primitives, writing statistics and netlist to the working folder.

    `files`: Verilog to read. `boxes`: Verilog of modules that stay black boxes.
    """
    command = f"{_SYNTHESIS[target]} -top {top}"
    lines = [
        *(f"read_verilog -lib {path}" for path in boxes),
        *(f"read_verilog {path}" for path in files),
        f"hierarchy -check -top {top}",
        f"{command} -run begin:map_luts",
        f"{command} -run map_luts:",
        "delete t:$scopeinfo",
        f"tee -q -o {STATISTICS} stat -json",
        f"write_json {NETLIST}",
    ]
    return "\n".join(lines) + "\n"
