"""Cutting a design into units: by hand on small Verilog, and by sums over the generated core."""

from collections import Counter

import pytest

from gossamer.arch.config import load_config
from gossamer.arch.errors import ToolError
from gossamer.arch.spec import SparseAccelerator
from gossamer.rtl.core import Core
from gossamer.rtl.synthesis.components import COMPONENTS, INSTANCES, component_of
from gossamer.rtl.synthesis.hierarchy import CUT_BITS, Design
from gossamer.rtl.verilog import verilog_modules

LEAF = "module leaf(\n  input clk,\n  input [9999:0] a,\n  output [9999:0] b\n);\nendmodule\n"
ARRAY = "module leaf_x3(\n  input clk\n);\n  leaf copy [2:0] (.clk(clk));\nendmodule\n"
SMALL = "module small(\n  input clk\n);\nendmodule\n"
TOP = """\
// a comment with ( and module leaf in it
module top(
    clk
);
  input clk;
  leaf_x3 first (
    .clk(clk)
  );
  leaf \\second.one (
    .clk(clk)
  );
  small third (
    .clk(clk)
  );
endmodule
module \\top.part (
    clk
);
  input clk;
endmodule
"""
FILES = {"verilog/top.v": TOP, "verilog/leaf.v": LEAF, "verilog/leaf_x3.v": ARRAY, "verilog/small.v": SMALL}


def test_repeated_modules_are_cut_out_and_small_ones_are_not() -> None:
    design = Design(top="top", files=FILES)
    top, leaf = design.units({"top": "all"})
    assert design.bits["leaf"] == 20_001 >= CUT_BITS
    assert (top.name, top.count, top.cuts) == ("top", 1, {"leaf": 4})
    assert top.files == ("verilog/leaf_x3.v", "verilog/small.v", "verilog/top.v")
    assert (leaf.name, leaf.count, leaf.cuts, leaf.files) == ("leaf", 4, {}, ("verilog/leaf.v",))
    assert leaf.component == "all"


def test_a_component_begins_at_its_module() -> None:
    units = Design(top="top", files=FILES).units({"top": "all", "small": "little"})
    assert {unit.name: unit.component for unit in units} == {"top": "all", "leaf": "all", "small": "little"}


def test_a_top_that_is_not_there_is_refused() -> None:
    with pytest.raises(ToolError, match="has no module core"):
        Design(top="core", files=FILES)


@pytest.mark.parametrize(
    ("name", "settings"), [("ecp5-tiny", ()), pytest.param("u280-sparse", (), marks=pytest.mark.slow)]
)
def test_units_hold_every_module_as_often_as_it_is_instantiated(name: str, settings: tuple[str, ...]) -> None:
    """Brute force: expand the tree of instances, and compare with units times what they contain."""
    spec = load_config(name, settings)
    assert isinstance(spec, SparseAccelerator)
    files = {module.name: module.text for module in verilog_modules(Core(spec))}
    design = Design(top="gossamer_core", files=files)
    expected: Counter[str] = Counter()

    def expand(module: str, copies: int) -> None:
        expected[module] += copies
        for child, count in design.instances[module].items():
            expand(child, copies * count)

    expand("gossamer_core", 1)
    found: Counter[str] = Counter()
    units = design.units(COMPONENTS)
    tops = {unit.name for unit in units}

    def within(module: str, copies: int) -> None:
        found[module] += copies
        for child, count in design.instances[module].items():
            if child not in tops:
                within(child, copies * count)

    for unit in units:
        within(unit.name, unit.count)
    assert found == expected
    assert set(expected) == set(design.path_of)
    array, lanes = spec.array, spec.vector.lanes
    assert expected["chain"] == array.chains * array.weight_rows_per_cycle
    assert expected["vector_lane"] == lanes
    assert len(units) < 40
    assert {unit.component for unit in units} == set(COMPONENTS.values())


@pytest.mark.parametrize(
    ("cell", "component"),
    [
        ("core.compute.array.segments.x_FF", "array"), ("core.compute.walk.x", "compute control"),
        ("core.computer.x", "wires"), ("core.dma", "dma"), ("seen_FF_12", "harness"), ("core.x", "wires"),
    ],
)  # fmt: skip
def test_cells_belong_to_components_by_their_names(cell: str, component: str) -> None:
    assert component_of(cell, "core") == component


def test_instances_of_components_are_those_of_the_core() -> None:
    """The names of the flat netlist are those the core gives its submodules."""
    spec = load_config("ecp5-tiny")
    assert isinstance(spec, SparseAccelerator)
    files = {module.name: module.text for module in verilog_modules(Core(spec))}
    for path, component in INSTANCES.items():
        parent, _, instance = path.rpartition(".")
        owner = {"": "gossamer_core", "compute": "compute_engine"}[parent]
        module = next(name for name, each in COMPONENTS.items() if each == component)
        assert f"  {module} {instance} (" in files[owner]
