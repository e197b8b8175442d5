"""Put the logic levels of the units together: what each component of a core has between two registers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from gossamer.arch.errors import ToolError
from gossamer.rtl.synthesis.depth import Levels, unit_levels
from gossamer.rtl.synthesis.units import UnitResult


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicDepth:
    """Most logic levels of a component's paths, each counted where it ends.

    `levels`: between registers. `before_multiplier`: of paths into a DSP; 0 if there are none. `unit`, `cell`: where
    the longest ends.
    """

    levels: int
    before_multiplier: int
    unit: str
    cell: str


def read_netlist(result: UnitResult) -> dict[str, object]:
    """Return the netlist of a unit. Raises ToolError if it cannot be read."""
    try:
        modules = json.loads(result.netlist.read_text(encoding="utf-8"))["modules"]
        return dict(modules[result.unit.name])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ToolError(f"{result.netlist}: not a netlist of {result.unit.name}: {error!r}") from error


def logic_depth(results: Sequence[UnitResult]) -> dict[str, LogicDepth]:
    """Return the depth by component; `results` has every unit after those that contain it."""
    component = {result.unit.name: result.unit.component for result in results}
    levels: dict[str, Levels] = {}
    deepest: dict[str, LogicDepth] = {}
    for result in reversed(results):
        unit = result.unit
        found = levels[unit.name] = unit_levels(read_netlist(result), levels)
        for path in found.longest:
            owner = component[path.unit or unit.name]
            before = deepest.get(owner, LogicDepth(levels=-1, before_multiplier=0, unit="", cell=""))
            longer = path.levels > before.levels
            deepest[owner] = LogicDepth(
                levels=max(before.levels, path.levels),
                before_multiplier=max(before.before_multiplier, path.levels if path.multiplier else 0),
                unit=unit.name if longer else before.unit, cell=path.cell if longer else before.cell,
            )  # fmt: skip
    return {name: deepest[name] for name in dict.fromkeys(component.values()) if name in deepest}
