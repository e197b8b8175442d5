"""Places of multipliers and block RAMs, against their definition."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.arch.errors import ToolError
from gossamer.rtl.synthesis.floorplan import (
    BLOCK_ENABLES,
    ENABLES,
    MEMORY,
    MULTIPLIER,
    ROWS,
    attraction,
    place_hard_blocks,
    sites,
)

CHAIN, LOADS = 12, 12


def cell(kind: str, **connections: Any) -> dict[str, Any]:
    """Return a cell as Yosys writes it; every port is one bit."""
    return {"type": kind, "connections": {name: [bit] for name, bit in connections.items()}}


def chain_netlist(loads: int) -> dict[str, Any]:
    """Return multipliers in a chain of cells, every third with a memory, in an order that says nothing."""
    cells: dict[str, Any] = {}
    for stage in range(CHAIN):
        name = f"core.m{stage * 7 % CHAIN:02}"
        enables = {"CE0": "1", "CE1": 1000 + stage % loads, "CE2": "1", "CE3": "1"}
        cells[name] = cell(MULTIPLIER, A=3 * stage, P=3 * stage + 1, **enables)
        cells[f"core.sum{stage}"] = cell("LUT4", A=3 * stage + 1, Z=3 * stage + 2)
        cells[f"core.next{stage}"] = cell("TRELLIS_FF", DI=3 * stage + 2, Q=3 * stage + 3)
        if stage % 3 == 0:
            cells[f"core.r{stage * 5 % CHAIN:02}"] = cell(MEMORY, DO=3 * stage + 2)
    return cells


def test_places_are_those_of_the_device() -> None:
    counts = {part: [len(sites(rows, kind).names) for kind in (MULTIPLIER, MEMORY)] for part, rows in ROWS.items()}
    # Lattice's data sheet of the family: 18 x 18 multipliers, sysMEM blocks
    assert counts == {
        "LFE5U-12F": [28, 56], "LFE5U-25F": [28, 56], "LFE5U-45F": [72, 108], "LFE5U-85F": [156, 208]
    }  # fmt: skip


def test_attraction_is_the_schur_complement_of_the_laplacian() -> None:
    cells = chain_netlist(LOADS)
    names, number = list(cells), {name: at for at, name in enumerate(cells)}
    graph = np.zeros((len(cells), len(cells)))
    nets: dict[int, set[int]] = {}
    for name, each in cells.items():
        for (bit,) in each["connections"].values():
            if isinstance(bit, int):
                nets.setdefault(bit, set()).add(number[name])
    for net in nets.values():
        for a in net:
            for b in net - {a}:
                graph[a, b] += 1 / (len(net) - 1)
    blocks = sorted(name for name in names if cells[name]["type"] in (MULTIPLIER, MEMORY))
    hard = [number[name] for name in blocks]
    soft = [at for at in range(len(names)) if at not in hard]
    laplacian = np.diag(graph.sum(axis=1)) - graph
    complement = laplacian[np.ix_(hard, hard)] - laplacian[np.ix_(hard, soft)] @ np.linalg.solve(
        laplacian[np.ix_(soft, soft)], laplacian[np.ix_(soft, hard)]
    )
    expected = -complement
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(attraction(cells, blocks), expected, atol=5e-3)


@pytest.mark.parametrize("loads", [1, LOADS])
def test_blocks_of_a_chain_lie_in_its_order_with_few_enables_together(tmp_path: Path, loads: int) -> None:
    cells = chain_netlist(loads)
    (tmp_path / "in.json").write_text(json.dumps({"modules": {"top": {"cells": cells}, "lut": {"cells": {}}}}))
    for name in ("a.json", "b.json"):
        place_hard_blocks(tmp_path / "in.json", "LFE5U-25F-6BG256C", tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    placed = json.loads((tmp_path / "a.json").read_text())["modules"]["top"]["cells"]
    found = {name: each["attributes"]["BEL"] for name, each in placed.items() if each["type"] in (MULTIPLIER, MEMORY)}
    assert len(set(found.values())) == len(found)
    groups: dict[tuple[str, int], set[Any]] = {}
    for kind in (MULTIPLIER, MEMORY):
        names = sites(ROWS["LFE5U-25F"], kind).names
        for name, place in found.items():
            if cells[name]["type"] == kind:
                enables = [cells[name]["connections"].get(port, [None])[0] for port in ENABLES]
                groups.setdefault((kind, names.index(place) // 4), set()).update(enables)
    assert all(len(enables) <= BLOCK_ENABLES for (kind, _), enables in groups.items() if kind == MULTIPLIER)
    along = [int(found[f"core.m{stage * 7 % CHAIN:02}"].split("/")[0][1:]) for stage in range(CHAIN)]
    steps = np.abs(np.diff(along))
    assert steps.sum() <= 1.5 * (max(along) - min(along))  # in order, or nearly
    assert not any("attributes" in each for name, each in placed.items() if name.startswith(("core.sum", "core.next")))


def test_more_blocks_than_the_device_has_are_refused(tmp_path: Path) -> None:
    cells = {f"core.m{number}": cell(MULTIPLIER, A=number) for number in range(29)}
    (tmp_path / "in.json").write_text(json.dumps({"modules": {"top": {"cells": cells}}}))
    with pytest.raises(ToolError, match="LFE5U-25F has 28 MULT18X18D, the netlist 29"):
        place_hard_blocks(tmp_path / "in.json", "LFE5U-25F", tmp_path / "out.json")
