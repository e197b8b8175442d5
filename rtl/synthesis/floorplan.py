"""Give the multipliers and block RAMs of an ECP5 netlist their places, before nextpnr places the rest around them.

nextpnr puts them where its placement of the logic would like them, and then wherever there is room: on a core that
uses most multipliers of a device, across it. Here the logic is taken out of the netlist instead. If every cell lay at
the mean of those it is connected to, which is where the sum of the squared lengths of all wires is least, that sum
would be one of the squared distances between hard blocks alone, each weighted by a Schur complement of the netlist's
Laplacian. These weights say which blocks want to lie together; simulated annealing then exchanges blocks.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numba import njit

from gossamer.arch.errors import ToolError
from gossamer.rtl.synthesis.harness import CORE

MULTIPLIER, MEMORY = "MULT18X18D", "DP16KD"
ENABLES = ("CE0", "CE1", "CE2", "CE3")
BLOCK_ENABLES = 4
"""Different clock enables that the multipliers of a block can have together, constants among them."""

LARGE_NET = 16
"""Cells of a net up to which it says where they should be; beyond are resets, enables and the like."""

STEPS = 75_000
"""Exchanges tried per hard block."""

START, END = 300.0, 0.005
"""Temperatures of the annealing, in tiles of wire: from where nearly all exchanges are made to where none is."""

CROWDED = 10_000.0
"""What an enable too many costs, in the same unit."""

_TOLERANCE, _ROUNDS = 1e-3, 300
_LOOSE = 1e-3
"""Weight that ties every cell to the middle, so that parts without a hard block have a solution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of multipliers and of block RAMs of a device, and the columns in which their groups of four begin."""

    multipliers: tuple[int, ...]
    memories: tuple[int, ...]
    columns: tuple[int, ...]


_SMALL = Rows(multipliers=(13,), memories=(25, 37), columns=(4, 13, 22, 33, 42, 51, 60))
ROWS = {
    "LFE5U-12F": _SMALL,
    "LFE5U-25F": _SMALL,
    "LFE5U-45F": Rows(
        multipliers=(22, 46), memories=(10, 34, 58), columns=(4, 13, 22, 31, 42, 51, 60, 69, 78)
    ),
    "LFE5U-85F": Rows(
        multipliers=(10, 34, 58), memories=(22, 46, 70, 82),
        columns=(4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114),
    ),
}  # fmt: skip
"""As nextpnr names its places."""

_GROUPS = {MULTIPLIER: ("MULT18_", (0, 1, 4, 5), (0, 1, 4, 5)), MEMORY: ("EBR", (0, 1, 2, 3), (0, 2, 4, 6))}
"""Names of the places of a group of four, and how far behind its column they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """Places of one kind, row by row, every other row backwards; groups of four follow each other."""

    names: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray


def sites(rows: Rows, kind: str) -> Sites:
    """Return the places of a kind of hard block."""
    prefix, numbers, offsets = _GROUPS[kind]
    found = []
    for turn, line in enumerate(rows.multipliers if kind == MULTIPLIER else rows.memories):
        row = [
            (f"X{column + offset}/Y{line}/{prefix}{number}", column + offset, line)
            for column in rows.columns
            for number, offset in zip(numbers, offsets, strict=True)
        ]
        found += row[::-1] if turn % 2 else row
    return Sites(
        names=tuple(name for name, _, _ in found), x=np.array([x for _, x, _ in found], float),
        y=np.array([y for _, _, y in found], float),
    )  # fmt: skip


def place_hard_blocks(netlist: Path, part: str, target: Path) -> None:
    """Write `netlist`, the JSON of Yosys, with a place for every multiplier and block RAM. The same for the same input.

    Raises ToolError if the device has fewer places.
    """
    design = json.loads(netlist.read_text(encoding="utf-8"))
    cells = max(design["modules"].values(), key=lambda module: len(module["cells"]))["cells"]
    rows = next(rows for name, rows in ROWS.items() if part.startswith(name))
    blocks = [name for kind in _GROUPS for name in sorted(cells) if cells[name]["type"] == kind]
    counts = [sum(cells[name]["type"] == kind for name in blocks) for kind in _GROUPS]
    places = [sites(rows, kind) for kind in _GROUPS]
    for kind, count, each in zip(_GROUPS, counts, places, strict=True):
        if count > len(each.names):
            raise ToolError(f"{part} has {len(each.names)} {kind}, the netlist {count}")
    if len(blocks) > 1:
        weights = attraction(cells, blocks)
        at = _arrange(weights, cells, blocks, counts, places)
        names = [name for each in places for name in each.names]
        for block, place in zip(blocks, at, strict=True):
            if place >= 0:
                cells[block].setdefault("attributes", {})["BEL"] = names[place]
    target.write_text(json.dumps(design), encoding="utf-8")


def attraction(cells: Mapping[str, Any], blocks: Sequence[str]) -> np.ndarray:
    """Return how strongly hard blocks attract each other through all that is connected to them, [block][block]."""
    number = {name: index for index, name in enumerate(cells)}
    graph = _graph(cells, number)
    hard = np.array([number[name] for name in blocks])
    degree = np.asarray(graph.sum(axis=1)).ravel()
    soft = np.setdiff1d(np.flatnonzero(degree), hard)
    inner = (sparse.diags(degree[soft] + _LOOSE) - graph[soft][:, soft]).tocsr()
    pulls = graph[soft][:, hard].toarray()
    weights = graph[hard][:, hard].toarray() + pulls.T @ _solve(inner, pulls)
    np.fill_diagonal(weights, 0)
    return np.asarray((weights + weights.T) / 2)


def _graph(cells: Mapping[str, Any], number: Mapping[str, int]) -> sparse.csr_array:
    """Return the symmetric weights between cells of one net: 1 over the other cells of it.

    The harness around the core may lie anywhere: its cells are left out.
    """
    nets: dict[int, dict[int, None]] = {}
    for name, cell in cells.items():
        if not name.startswith(f"{CORE}."):
            continue
        for bits in cell["connections"].values():
            for bit in bits:
                if isinstance(bit, int):
                    nets.setdefault(bit, {})[number[name]] = None
    first, second, weight = [], [], []
    for net in nets.values():
        members = list(net)
        if not 2 <= len(members) <= LARGE_NET:
            continue
        pairs = [(a, b) for at, a in enumerate(members) for b in members[at + 1 :]]
        first += [a for a, _ in pairs]
        second += [b for _, b in pairs]
        weight += [1 / (len(members) - 1)] * len(pairs)
    half = sparse.coo_array((weight, (first, second)), shape=(len(cells), len(cells))).tocsr()
    return (half + half.T).tocsr()


def _solve(matrix: sparse.csr_array, right: np.ndarray) -> np.ndarray:
    """Return the solutions for all right hand sides at once, by conjugate gradients scaled by the diagonal."""
    scale = 1 / matrix.diagonal()[:, None]
    solution, rest = np.zeros_like(right), right.copy()
    step = rest * scale
    size = (rest * step).sum(axis=0)
    for _ in range(_ROUNDS):
        moved = matrix @ step
        along = size / np.maximum((step * moved).sum(axis=0), np.finfo(float).tiny)
        solution += step * along
        rest -= moved * along
        if np.abs(rest).max() < _TOLERANCE:
            break
        scaled = rest * scale
        after = (rest * scaled).sum(axis=0)
        step = scaled + step * (after / np.maximum(size, np.finfo(float).tiny))
        size = after
    return solution


def _arrange(
    weights: np.ndarray, cells: Mapping[str, Any], blocks: Sequence[str], counts: Sequence[int], places: Sequence[Sites]
) -> np.ndarray:  # fmt: skip
    """Return the place of every block, counted through all `places`, -1 for multipliers that nextpnr is to place.

    Blocks begin in the order of their names.
    """
    starts = np.cumsum([0, *(len(each.names) for each in places)])
    at = np.concatenate([start + np.arange(count) for start, count in zip(starts, counts, strict=False)])
    enables: dict[Any, int] = {}
    wanted = np.full((len(blocks), len(ENABLES)), -1)
    for block, name in enumerate(blocks[: counts[0]]):
        for pin, port in enumerate(ENABLES):
            for bit in cells[name]["connections"].get(port, ()):
                wanted[block, pin] = enables.setdefault(bit, len(enables))
    holder = np.full(starts[-1], -1)
    holder[at] = np.arange(len(blocks))
    kinds = np.repeat(np.arange(len(counts)), counts)
    x, y = (np.concatenate([getattr(each, name) for each in places]) for name in ("x", "y"))
    _anneal(weights, at, holder, x, y, wanted, kinds, starts, STEPS * len(blocks))
    crowded = [place for place in at[: counts[0]] if _excess(holder, wanted, place)]
    at[np.isin(at, crowded)] = -1
    return at


@njit
def _excess(holder: np.ndarray, wanted: np.ndarray, place: int) -> int:
    """Return how many different enables too many the group has that a place is in."""
    seen = np.full(4 * wanted.shape[1], -1)
    count = 0
    first = place - place % 4
    for other in range(first, first + 4):
        for pin in range(wanted.shape[1]):
            enable = wanted[holder[other], pin] if holder[other] >= 0 else -1
            if enable >= 0 and not (seen[:count] == enable).any():
                seen[count] = enable
                count += 1
    return max(0, count - BLOCK_ENABLES)


@njit
def _anneal(
    weights: np.ndarray, at: np.ndarray, holder: np.ndarray, x: np.ndarray, y: np.ndarray, wanted: np.ndarray,
    kinds: np.ndarray, starts: np.ndarray, steps: int,
) -> None:  # fmt: skip
    """Exchange blocks, or move them to empty places of their kind, so that those that attract each other are close."""
    np.random.seed(1)
    blocks = len(at)
    heat, cooling = START, (END / START) ** (1 / steps)
    for _ in range(steps):
        heat *= cooling
        block = np.random.randint(blocks)
        here, kind = at[block], kinds[block]
        there = np.random.randint(starts[kind], starts[kind + 1])
        other = holder[there]
        if here == there:
            continue
        change = 0.0
        for third in range(blocks):
            if third in (block, other):
                continue
            weight = weights[block, third] - (weights[other, third] if other >= 0 else 0.0)
            if weight:
                px, py = x[at[third]], y[at[third]]
                change += weight * (abs(x[there] - px) + abs(y[there] - py) - abs(x[here] - px) - abs(y[here] - py))
        apart = kind == 0 and here // 4 != there // 4
        if apart:
            change -= CROWDED * (_excess(holder, wanted, here) + _excess(holder, wanted, there))
        holder[here], holder[there] = other, block
        if apart:
            change += CROWDED * (_excess(holder, wanted, here) + _excess(holder, wanted, there))
        if change < 0 or np.random.random() < math.exp(-change / heat):
            at[block] = there
            if other >= 0:
                at[other] = here
        else:
            holder[here], holder[there] = block, other
