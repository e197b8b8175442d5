"""Write what an engineer with Vivado runs: project scripts, constraints, and a block design where the board has one."""

import math
import re
from collections.abc import Sequence

from gossamer.arch.errors import ConfigError
from gossamer.arch.spec import DeviceSpec, Family, SparseAccelerator
from gossamer.arch.target import Target, default_target
from gossamer.rtl.packaging.interfaces import INTERRUPT, Bus
from gossamer.rtl.packaging.vivado.boards import BOARD_DESIGNS, BoardDesign, hbm_ports, zynq_ports
from gossamer.rtl.packaging.vivado.templates import filled

VIVADO_VERSION = "2023.2"
"""What the scripts are written for, by its documentation. Nobody has run them."""

_FAMILIES = (Family.ULTRASCALE_PLUS, Family.VERSAL, Family.SERIES7)
_WORD = re.compile(r"[A-Za-z0-9_.:-]+")


def require_vivado(spec: SparseAccelerator, target: Target, where: str) -> None:
    """Raise ConfigError, beginning with `where`, unless Vivado supports the device and has what the target names."""
    device = spec.device
    if device.family not in _FAMILIES:
        raise ConfigError(
            f"{where}: --vivado needs a device that Vivado supports, of family {', '.join(_FAMILIES)}, not "
            f"{device.name} ({device.family}); leave --vivado out, or choose another config"
        )
    if target not in (Target.GENERIC, default_target(device.family)):
        primitive = {Target.XCUP: "DSP48E2", Target.VERSAL: "DSP58"}.get(target, "MULT18X18D")
        raise ConfigError(
            f"{where}: --vivado needs primitives that {device.name} ({device.family}) has, and target {target} builds "
            f"from {primitive}; leave --target out"
        )
    for field, text in (("part", device.part), ("board", device.board)):
        if text is not None and not _WORD.fullmatch(text):
            raise ConfigError(f"{where}: device.{field} must be a name that Vivado knows, not {text!r}")


def packaging_part(device: DeviceSpec) -> str | None:
    """Return the part to package the IP for: it decides for which families Vivado offers it. None outside Vivado."""
    return device.part if device.family in _FAMILIES and _WORD.fullmatch(device.part) else None


def board_design(device: DeviceSpec) -> BoardDesign | None:
    """Return how a device's board is built, None if there is no block design for it."""
    return None if device.board is None else BOARD_DESIGNS.get(device.board)


def vivado_files(top: str, spec: SparseAccelerator, buses: Sequence[Bus]) -> dict[str, str]:
    """Return the files in `vivado/` by path; `build.tcl` is the one to run."""
    values, design = _values(top, spec, buses), board_design(spec.device)
    templates = {"build.tcl": "build_core.tcl", "steps.tcl": "steps.tcl", "out_of_context.xdc": "out_of_context.xdc"}
    if design is not None:
        templates |= {
            "build.tcl": "build_board.tcl",
            "block_design.tcl": f"block_design_{design.memory}.tcl",
            "constraints.xdc": f"constraints_{design.memory}.xdc",
        }
    return {f"vivado/{name}": filled(template, values) for name, template in sorted(templates.items())}


def vivado_guide(top: str, spec: SparseAccelerator, buses: Sequence[Bus]) -> str:
    """Return the README's section: the command, what it does, how software reaches the core, what has been checked."""
    values, design = _values(top, spec, buses), board_design(spec.device)
    if design is None:
        return filled("guide.md", {**values, "BUILD": filled("guide_core.md", values)})
    values |= {
        "TITLE": design.title,
        "PRODUCTS": " and ".join(f"`{top}.{ending}`" for ending in design.delivers),
        "BOARD_GUIDE": filled(f"guide_{design.memory}.md", values).rstrip(),
    }
    return filled("guide.md", {**values, "BUILD": filled("guide_board.md", values)})


def _values(top: str, spec: SparseAccelerator, buses: Sequence[Bus]) -> dict[str, str]:
    """Return what stands for the places of the templates."""
    device, design = spec.device, board_design(spec.device)
    values = {
        "TOP": top,
        "PART": device.part,
        "DEVICE": re.sub(r"[^A-Za-z0-9 ._-]", "_", device.name),
        "VIVADO": VIVADO_VERSION,
        "CLOCK_MHZ": f"{spec.clock_mhz:.12g}",
        # Down to a whole picosecond: never slower than the config says.
        "PERIOD_NS": f"{math.floor(1e6 / spec.clock_mhz) / 1000:.3f}",
        "CONTROL": next(bus.name for bus in buses if not bus.is_master),
    }
    if design is None:
        return values
    masters = [bus.name for bus in buses if bus.is_master]
    ports = zynq_ports(masters, spec.axi.data_bits) if design.memory == "zynq" else hbm_ports(masters)
    indent = " " * 8
    return values | {
        "BOARD": str(device.board),
        "CARRIER": design.carrier,
        "CONNECT": filled("connect.tcl", {}),
        "INTERRUPT": INTERRUPT,
        "HBM_AXI_MHZ": str(round(spec.clock_mhz)),
        "PORT_PROPERTIES": "\n".join(f"{indent}{name} {value}" for name, value in ports.properties.items()),
        "MEMORY_PORTS": "\n".join(f"{indent}{port} {{{' '.join(names)}}}" for port, names in ports.masters.items()),
    }
