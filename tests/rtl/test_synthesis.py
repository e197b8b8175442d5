"""The real tools on small designs: every memory becomes the primitive it asks for, units add up, a clock is found."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from gossamer.arch.config import load_config
from gossamer.arch.primitives import memory_primitives
from gossamer.arch.spec import MemoryKind, SparseAccelerator
from gossamer.arch.target import Target
from gossamer.rtl.accumulator import AccumulatorLane
from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.copies import Copies
from gossamer.rtl.memory.block import BlockMemory
from gossamer.rtl.packaging.interfaces import top_ports
from gossamer.rtl.synthesis.cells import FAMILY, count_resources
from gossamer.rtl.synthesis.core_depth import logic_depth
from gossamer.rtl.synthesis.harness import HARNESS, harness_text
from gossamer.rtl.synthesis.hierarchy import Design, Unit
from gossamer.rtl.synthesis.place import place_and_route
from gossamer.rtl.synthesis.units import UnitResult, accidental, prepare_units, synthesize_unit, synthesize_units
from gossamer.rtl.verilog import verilog_modules

SIZES = {
    MemoryKind.BRAM36: ((8, 8, 512), (64, 1, 512)),
    MemoryKind.URAM288: ((8, 8, 4096), (64, 1, 1024)),
    MemoryKind.DP16KD: ((8, 8, 512), (64, 1, 256)),
    MemoryKind.LUTRAM: ((8, 8, 64), (64, 1, 32)),
}
"""Bits that an enable writes, enables, rows."""

REGISTERS = """\
module registers(input clk, input rst, input [5:0] row, input write, input [7:0] data, output reg [7:0] read);
  reg [7:0] words [0:63];
  integer n;
  always @(posedge clk) begin
    read <= words[row];
    if (rst) for (n = 0; n < 64; n = n + 1) words[n] <= 0;
    else if (write) words[row] <= data;
  end
endmodule
"""


class Memories(wiring.Component):
    """One memory of each size, side by side."""

    module_name = "memories"

    def __init__(self, kinds: tuple[MemoryKind, ...]) -> None:
        self.parts = {
            f"{kind.value}_{number}": Copies(
                BlockMemory(f"{kind.value}_{number}_words", part_bits=bits, parts=parts, rows=rows, kind=kind)
            )
            for kind in kinds
            for number, (bits, parts, rows) in enumerate(SIZES[kind])
        }
        super().__init__(
            {
                f"{name}_{port}": member
                for name, part in self.parts.items()
                for port, member in part.signature.members.items()
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, part in self.parts.items():
            m.submodules[name] = part
            for port, member in part.signature.members.items():
                inner, outer = getattr(part, port), getattr(self, f"{name}_{port}")
                m.d.comb += inner.eq(outer) if member.flow == wiring.In else outer.eq(inner)
        return m


def design_of(component: wiring.Component) -> Design:
    modules = verilog_modules(component)
    return Design(top=modules[0].name, files={f"{module.name}.v": module.text for module in modules})


def flat(target: Target, design: Design, folder: Path) -> UnitResult:
    unit = Unit(name=design.top, files=tuple(design.files), cuts={}, count=1, component="all")
    return synthesize_unit(target, unit, prepare_units(target, [unit], design, folder), folder)


def total(results: tuple[UnitResult, ...]) -> Mapping[str, int]:
    cells: Counter[str] = Counter()
    for result in results:
        cells.update({name: count * result.unit.count for name, count in result.cells.items()})
    return cells


@pytest.mark.parametrize(
    ("target", "kinds"),
    [
        (Target.XCUP, (MemoryKind.BRAM36, MemoryKind.URAM288, MemoryKind.LUTRAM)),
        (Target.ECP5, (MemoryKind.DP16KD, MemoryKind.LUTRAM)),
    ],
)  # fmt: skip
def test_memories_become_what_they_ask_for(target: Target, kinds: tuple[MemoryKind, ...], tmp_path: Path) -> None:
    result = flat(target, design_of(Memories(kinds)), tmp_path)
    found = count_resources(target, result.cells)
    expected = {
        kind: sum(
            memory_primitives(kind, FAMILY[target], bits * parts, rows, byte_writes=parts > 1)
            for bits, parts, rows in SIZES[kind]
        )
        for kind in kinds
    }
    block = MemoryKind.BRAM36 if target is Target.XCUP else MemoryKind.DP16KD
    halves = 2 if target is Target.XCUP else 1
    assert (halves * found.bram36, found.uram) == (expected[block], expected.get(MemoryKind.URAM288, 0))
    assert result.register_memories == ()
    small = {name: count for name, count in result.cells.items() if name.startswith(("RAM", "TRELLIS_DPR"))}
    blocks = {name: count for name, count in small.items() if not name.startswith("RAMB")}
    assert count_resources(target, blocks).lut == expected[MemoryKind.LUTRAM]
    assert found.ff <= 2 * 64 + 16  # output registers of distributed memories


def test_a_memory_that_becomes_flip_flops_is_noticed(tmp_path: Path) -> None:
    """A reset clears it, which no primitive can."""
    result = flat(Target.XCUP, Design(top="registers", files={"registers.v": REGISTERS}), tmp_path)
    assert count_resources(Target.XCUP, result.cells).ff >= 512
    assert [(memory.name, memory.words, memory.bits) for memory in accidental(result.register_memories)] == [
        ("words", 64, 512)
    ]


def test_units_add_up_to_the_whole(tmp_path: Path) -> None:
    """A lane of the accumulator: its cells synthesized once, against all of it in one piece."""
    spec = load_config("ecp5-tiny")
    assert isinstance(spec, SparseAccelerator)
    design = design_of(AccumulatorLane(ArrayShape.of(spec)))
    units = design.units({"accumulator_lane": "lane", "accumulator_cell": "cell"})
    assert [(unit.name, unit.count) for unit in units] == [("accumulator_lane", 1), ("accumulator_cell", 4)]
    stages: list[str] = []
    results = synthesize_units(Target.ECP5, units, design, tmp_path / "units", stages.append)
    assert len(stages) == 3
    whole = flat(Target.ECP5, design, tmp_path)
    apart, together = count_resources(Target.ECP5, total(results)), count_resources(Target.ECP5, whole.cells)
    assert (apart.dsp, apart.bram36) == (together.dsp, together.bram36) == (0, 16)
    assert apart.lut == pytest.approx(together.lut, rel=0.05)
    assert apart.ff == together.ff
    again = synthesize_units(Target.ECP5, units, design, tmp_path / "units", stages.append)
    assert all(result.kept for result in again)
    assert [result.cells for result in again] == [result.cells for result in results]
    # memory, choice of the half, clearing, 32-bit sum: the path goes through all of them into the memory
    depth = logic_depth(results)
    assert 2 <= depth["cell"].levels <= 5
    assert logic_depth((whole,))["all"].levels == max(part.levels for part in depth.values())


def test_a_clock_is_found(tmp_path: Path) -> None:
    component = Memories((MemoryKind.LUTRAM,))
    core = design_of(component)
    files = {**core.files, f"{HARNESS}.v": harness_text(core.top, top_ports(component))}
    result = flat(Target.ECP5, Design(top=HARNESS, files=files), tmp_path)
    clock = place_and_route(
        result.netlist, "LFE5U-12F", speed_grade=6, seeds=(1,), target_mhz=100.0, has_multipliers=False,
        folder=tmp_path, stage=lambda stage: None,
    )  # fmt: skip
    assert 50 < clock.fmax_mhz < 600
    path = clock.median.critical_path
    assert path.delay_ns == pytest.approx(1000 / clock.fmax_mhz, rel=0.01)
    assert set(path.component_ns) <= {"wires", "harness"}
