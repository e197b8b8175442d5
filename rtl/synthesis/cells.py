"""Say what each primitive takes of a device, so that a netlist can be counted."""

from collections.abc import Mapping

from gossamer.arch.errors import ToolError
from gossamer.arch.resources import Resources
from gossamer.arch.spec import Family
from gossamer.arch.target import Target

FAMILY = {Target.XCUP: Family.ULTRASCALE_PLUS, Target.ECP5: Family.ECP5}
"""Targets that can be synthesized for: those with primitives of their own."""

_LUT6 = {
    **{f"LUT{inputs}": 1 for inputs in range(1, 7)}, "LUT6_2": 1, "INV": 1, "SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1,
    "RAM32X1D": 2, "RAM64X1S": 1, "RAM64X1D": 2, "RAM32M": 4, "RAM64M": 4, "RAM128X1S": 2, "RAM128X1D": 4,
    "RAM256X1S": 4, "RAM256X1D": 8, "RAM512X1S": 8, "RAM32M16": 8, "RAM64M8": 8, "RAM64X8SW": 8, "RAM32X16DR8": 8,
}  # fmt: skip
"""LUT6 of distributed memories and shift registers: AMD UG574, table of primitives."""

_LUT4 = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}
"""LUT4 of ECP5: a carry cell uses both of a slice; a 16 x 4 memory a slice, half of another, and the write slice
(Lattice FPGA-TN-02204)."""

CARRIES = frozenset({"CARRY4", "CARRY8", "CCU2C"})
WIDE_MUXES = frozenset({"MUXF7", "MUXF8", "MUXF9", "PFUMX", "L6MUX21"})
REGISTERS = frozenset({"FDRE", "FDSE", "FDCE", "FDPE", "TRELLIS_FF"})
MULTIPLIERS = frozenset({"DSP48E2", "MULT18X18D"})
BLOCK_MEMORIES = frozenset({"RAMB36E2", "RAMB18E2", "URAM288", "DP16KD", "PDPW16KD"})
_FREE = frozenset({"$scopeinfo", "GND", "VCC", "BUFG", "IBUF", "OBUF", "DCCA", "ALU54B"}) | WIDE_MUXES

LUTS: dict[Target, dict[str, int]] = {Target.XCUP: _LUT6, Target.ECP5: _LUT4}
"""LUTs by primitive; carry cells of UltraScale+ have their LUTs counted as such."""


def count_resources(target: Target, cells: Mapping[str, int]) -> Resources:
    """Return what a netlist's primitives take. Raises ToolError for one that is not known: nothing is left out."""
    luts = LUTS[target]
    known = _FREE | CARRIES | REGISTERS | MULTIPLIERS | BLOCK_MEMORIES | luts.keys()
    unknown = sorted(name for name in cells if name not in known)
    if unknown:
        raise ToolError(f"the netlist has primitives that cannot be counted: {', '.join(unknown)}")
    halves = cells.get("RAMB18E2", 0)
    return Resources(
        dsp=sum(cells.get(name, 0) for name in MULTIPLIERS),
        bram36=sum(cells.get(name, 0) for name in ("RAMB36E2", "DP16KD", "PDPW16KD")) + (halves + 1) // 2,
        uram=cells.get("URAM288", 0),
        lut=sum(count * luts.get(name, 0) for name, count in cells.items()),
        ff=sum(cells.get(name, 0) for name in REGISTERS),
    )
