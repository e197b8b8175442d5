"""Logic levels: by hand on small netlists, and against a slow twin on random ones cut into units at random."""

import random
from functools import cache
from typing import Any

import pytest

from gossamer.arch.errors import ToolError
from gossamer.rtl.synthesis.depth import Levels, unit_levels

OUTPUTS = {"Q", "O", "CO", "P", "Z", "DOUT", "S0", "COUT"}


def cell(kind: str, **pins: list[Any]) -> dict[str, Any]:
    return {
        "type": kind, "connections": pins,
        "port_directions": {pin: "output" if pin in OUTPUTS or pin.startswith("out") else "input" for pin in pins},
    }  # fmt: skip


def netlist(cells: dict[str, Any], inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> dict[str, Any]:
    ports = {name: {"direction": "input", "bits": bits} for name, bits in inputs.items()}
    ports |= {name: {"direction": "output", "bits": bits} for name, bits in outputs.items()}
    return {"cells": cells, "ports": ports}


def longest(levels: Levels, *, multiplier: bool = False) -> int:
    return max((path.levels for path in levels.longest if path.multiplier or not multiplier), default=-1)


def register(data: int, out: int) -> dict[str, Any]:
    return cell("FDRE", C=[1], CE=["1"], D=[data], R=["0"], Q=[out])


def test_luts_between_registers_count_and_wide_multiplexers_do_not() -> None:
    cells = {
        "a": register(9, 2), "l1": cell("LUT2", I0=[2], I1=["0"], O=[3]), "l2": cell("LUT6", I0=[3], I1=[2], O=[4]),
        "m": cell("MUXF7", I0=[3], I1=[4], S=[2], O=[5]), "b": register(5, 6),
        "d": cell("DSP48E2", CLK=[1], A=[3, 2], P=[7, 8]),
    }  # fmt: skip
    levels = unit_levels(netlist(cells, {"clk": [1]}, {"q": [6]}), {})
    assert longest(levels) == 2
    assert longest(levels, multiplier=True) == 1
    assert levels.from_register == {("q", 0): 0}


@pytest.mark.parametrize(("operand", "levels_out"), [(2, 2), (3, 2)])
def test_a_carry_chain_is_one_level_however_long(operand: int, levels_out: int) -> None:
    """LUT, then a chain of two carry cells."""
    cells = {
        "a": register(50, 2), "x": register(51, 3), "l": cell("LUT2", I0=[operand], O=[4]),
        "c0": cell("CARRY4", CI=["0"], S=[4, 5, 6, 7], DI=["0"] * 4, O=[10, 11, 12, 13], CO=[14, 15, 16, 17]),
        "c1": cell("CARRY4", CI=[17], S=["0"] * 4, DI=["0"] * 4, O=[20, 21, 22, 23], CO=[24, 25, 26, 27]),
        "b": register(23, 30),
    }  # fmt: skip
    assert longest(unit_levels(netlist(cells, {"clk": [1]}, {}), {})) == levels_out


def test_a_carry_goes_up_only() -> None:
    """Bit 0 of the sum does not depend on bit 3 of the operand, so that no register reaches its own register."""
    cells = {
        "a": register(50, 2), "l": cell("LUT2", I0=[2], O=[4]),
        "c": cell("CARRY4", CI=["0"], S=["0", "0", "0", 4], DI=["0"] * 4, O=[10, 11, 12, 13], CO=[14, 15, 16, 17]),
        "b": register(10, 30),
    }  # fmt: skip
    assert longest(unit_levels(netlist(cells, {"clk": [1]}, {}), {})) == -1


def test_distributed_memory_is_read_through_and_written_into() -> None:
    cells = {
        "a": register(50, 2), "l": cell("LUT2", I0=[2], O=[3]),
        "r": cell("TRELLIS_DPR16X4", WCK=[1], RAD=[3], WAD=[2], DI=[2], WRE=[2], out=[5]), "b": register(5, 6),
    }  # fmt: skip
    assert longest(unit_levels(netlist(cells, {"clk": [1]}, {}), {})) == 2


def test_a_loop_is_reported() -> None:
    cells = {"l": cell("LUT2", I0=[3], O=[2]), "m": cell("LUT2", I0=[2], O=[3])}
    with pytest.raises(ToolError, match="combinational loop of 2 nets"):
        unit_levels(netlist(cells, {}, {}), {})


def test_paths_across_units() -> None:
    """Register, two LUTs, unit: LUT, register; and through another LUT of it to a register, in front of a DSP."""
    below = unit_levels(
        netlist(
            {
                "l": cell("LUT1", I0=[2], O=[3]), "f": register(3, 4), "m": cell("LUT1", I0=[5], O=[6]),
                "d": cell("DSP48E2", A=[3], P=[9]),
            },
            {"clk": [1], "a": [2], "b": [5]}, {"q": [4], "z": [6]},
        ),
        {},
    )  # fmt: skip
    assert (below.to_register["a", 0], below.to_multiplier["a", 0]) == (1, 1)
    assert below.through == {("z", 0): {("b", 0): 1}}
    cells = {
        "f": register(20, 10), "l1": cell("LUT1", I0=[10], O=[11]), "l2": cell("LUT1", I0=[11], O=[12]),
        "u": {
            "type": "below", "connections": {"clk": [1], "a": [12], "b": [12], "q": [13], "z": [14]},
            "port_directions": {"clk": "input", "a": "input", "b": "input", "q": "output", "z": "output"},
        },
        "g": register(14, 15),
    }  # fmt: skip
    levels = unit_levels(netlist(cells, {"clk": [1]}, {"q": [13]}), {"below": below})
    assert longest(levels) == 3
    assert longest(levels, multiplier=True) == 3
    assert {(path.unit, path.cell) for path in levels.longest if path.unit} == {("below", "u")}
    assert levels.from_register == {("q", 0): 0}


@pytest.mark.parametrize("seed", range(30))
def test_units_agree_with_a_flat_twin(seed: int) -> None:
    """A random netlist of LUTs, registers and DSPs, half of it moved into a unit below."""
    rng = random.Random(seed)
    count = 40
    cells: dict[str, dict[str, Any]] = {}
    for net in range(2, count):
        kind = rng.choice(["LUT2", "LUT2", "LUT2", "FDRE", "DSP48E2"])
        sources = [rng.randrange(2, count if kind != "LUT2" else max(3, net)) for _ in range(2)]
        if kind == "LUT2":
            pins = {f"I{n}": [bit] for n, bit in enumerate(sources) if bit < net}
            cells[f"c{net}"] = cell("LUT2", **pins, O=[net])
        else:
            cells[f"c{net}"] = register(sources[0], net) if kind == "FDRE" else cell(kind, A=sources, P=[net])
    flat = unit_levels(netlist(cells, {"clk": [1]}, {}), {})
    assert longest(flat) == _twin(cells, "")
    assert longest(flat, multiplier=True) == _twin(cells, "DSP48E2")
    names = sorted(cells)
    inner = {name: cells[name] for name in names if rng.random() < 0.5}
    outer = {name: cells[name] for name in names if name not in inner}
    inner_uses, outer_uses = _uses(inner), _uses(outer)
    inputs = sorted(inner_uses - {_driven(each) for each in inner.values()} - {1})
    outputs = sorted({_driven(each) for each in inner.values()} & outer_uses)
    below = unit_levels(netlist(inner, {"clk": [1], "a": inputs}, {"q": outputs}), {})
    outer["below"] = {
        "type": "below", "connections": {"clk": [1], "a": inputs, "q": outputs},
        "port_directions": {"clk": "input", "a": "input", "q": "output"},
    }  # fmt: skip
    above = unit_levels(netlist(outer, {"clk": [1]}, {}), {"below": below})
    assert max(longest(above), longest(below)) == longest(flat)
    assert max(longest(above, multiplier=True), longest(below, multiplier=True)) == longest(flat, multiplier=True)


def _driven(each: dict[str, Any]) -> int:
    return int(next(bits[0] for pin, bits in each["connections"].items() if pin in OUTPUTS))


def _uses(cells: dict[str, dict[str, Any]]) -> set[int]:
    return {
        bit for each in cells.values() for pin, bits in each["connections"].items()
        for bit in bits if pin not in OUTPUTS and isinstance(bit, int)
    }  # fmt: skip


def _twin(cells: dict[str, dict[str, Any]], kind: str) -> int:
    """Return the longest path to a register or DSP of `kind`, by recursion over drivers; -1 if there is none."""
    drivers = {_driven(each): each for each in cells.values()}

    @cache
    def arrival(net: int) -> int:
        driver = drivers.get(net)
        if driver is None:
            return -1
        if driver["type"] != "LUT2":
            return 0
        before = max((arrival(bits[0]) for pin, bits in driver["connections"].items() if pin != "O"), default=-1)
        return before + 1 if before >= 0 else -1

    ends = [each for each in cells.values() if each["type"] != "LUT2" and each["type"].startswith(kind)]
    return max(
        (
            arrival(bit) for each in ends for pin, bits in each["connections"].items()
            for bit in bits if pin in ("D", "A", "R", "CE") and isinstance(bit, int)
        ),
        default=-1,
    )  # fmt: skip
