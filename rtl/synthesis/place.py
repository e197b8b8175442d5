"""Place and route a netlist on an ECP5 with nextpnr and read its timing report."""

import json
import os
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer.arch.errors import ToolError
from gossamer.rtl.synthesis.components import component_of
from gossamer.rtl.synthesis.floorplan import place_hard_blocks
from gossamer.rtl.synthesis.harness import CORE
from gossamer.rtl.synthesis.tools import NEXTPNR, Tool, run_tool

SPEED_GRADES = (6, 7, 8)
SEEDS = 3
"""Runs the reported clock is the median of, at least: it depends on the seed of the placement by 1 to 17 %."""

_ROUND = re.compile(r"\biter=\d+ wires=\d+ overused=(\d+)")

PACKAGE = "CABGA381"
DEVICES = {"LFE5U-12F": "--12k", "LFE5U-25F": "--25k", "LFE5U-45F": "--45k", "LFE5U-85F": "--85k"}

FLOORPLAN = "floorplan.json"
"""The netlist with the places of its hard blocks."""

PLACER = "static"
"""nextpnr's electrostatic placer, for whole cores: less wire than its default finds (docs/decisions/0013)."""

ROUTER = "router2"
"""nextpnr's negotiating router: its first one does not finish a core of 45,000 LUTs in hours."""

PATIENCE = 20
"""Rounds of the router without a new least number of wires taken twice after which it is stopped, since it would go on
for ever. Where it came to its end, after 30 to 83 rounds, at most 7 passed without one while more than FEW were left,
and up to 35 when there were fewer (docs/decisions/0013)."""

FEW, PATIENCE_WITH_FEW = 100, 100
"""If no more wires than that are left it gets more rounds: they are short, and the number goes up and down."""

DSP_LIMIT_MHZ = 225.0
"""Fastest clock of a multiplier with all its registers: Lattice FPGA-DS-02012, register-to-register performance of DSP
functions; quoted from memory, to be checked against the document. nextpnr does not model the multiplier's inner
register and may find more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CriticalPath:
    """The slowest path of one seed: delays in ns, LUT and carry cells on it, and the nets it runs along."""

    start: str
    end: str
    delay_ns: float
    logic_ns: float
    routing_ns: float
    cells: int
    component_ns: Mapping[str, float]
    """Delay by component of the cell in which, or of the cell to which, it passes."""

    @property
    def component(self) -> str:
        """Return the component most of the delay belongs to."""
        return max(self.component_ns, key=lambda name: self.component_ns[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Result of one seed. `fmax_mhz`: as nextpnr says, without the limit of the multipliers."""

    seed: int
    fmax_mhz: float
    critical_path: CriticalPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What all seeds together say. `fmax_mhz`: their median, at most DSP_LIMIT_MHZ if there are multipliers."""

    fmax_mhz: float
    speed_grade: int
    placements: tuple[Placement, ...]

    @property
    def median(self) -> Placement:
        """Return the placement with the median clock, the lower of two."""
        return sorted(self.placements, key=lambda placement: placement.fmax_mhz)[(len(self.placements) - 1) // 2]


def device_option(part: str) -> str:
    """Return nextpnr's option for an ECP5 part. Raises ToolError for a part it does not know."""
    for name, option in DEVICES.items():
        if part.startswith(name):
            return option
    raise ToolError(f"{NEXTPNR.command} cannot place on {part}; it knows {', '.join(DEVICES)}")


def read_report(text: str, seed: int) -> Placement:
    """Return the clock and the slowest path of a nextpnr report. Raises ToolError if the text is not that."""
    try:
        report = json.loads(text)
        clocks = {name: clock["achieved"] for name, clock in report["fmax"].items()}
        name = min(clocks, key=lambda name: clocks[name])
        paths = [path for path in report["critical_paths"] if path["from"] == path["to"] and name in path["from"]]
        return Placement(seed=seed, fmax_mhz=float(clocks[name]), critical_path=_path(paths[0]["path"]))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ToolError(f"the report of {NEXTPNR.command}, seed {seed}, cannot be read: {error!r}") from error


def _path(steps: Sequence[Mapping[str, Any]]) -> CriticalPath:
    delays = {"routing": 0.0, "logic": 0.0}
    components: dict[str, float] = {}
    for step in steps:
        delays["routing" if step["type"] == "routing" else "logic"] += step["delay"]
        owner = component_of(step["to"]["cell"], CORE)
        components[owner] = components.get(owner, 0.0) + step["delay"]
    return CriticalPath(
        start=steps[0]["from"]["cell"], end=steps[-1]["to"]["cell"], delay_ns=round(sum(delays.values()), 3),
        logic_ns=round(delays["logic"], 3), routing_ns=round(delays["routing"], 3),
        cells=sum(step["type"] == "logic" for step in steps),
        component_ns={name: round(delay, 3) for name, delay in components.items()},
    )  # fmt: skip


class _Watch:
    """What the router has reached, read from its log while it runs."""

    def __init__(self, log: Path, step: str, stage: Callable[[str], None]) -> None:
        self._log, self._step, self._stage, self._known = log, step, stage, 0

    def __call__(self) -> None:
        """Tell of a new round. Raises ToolError if there is nothing to be gained from more of them."""
        try:
            text = self._log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        taken = [int(number) for number in _ROUND.findall(text)]
        if len(taken) == self._known:
            return
        self._known, left = len(taken), min(taken)
        self._stage(f"{self._step}: routing, round {len(taken)}, {taken[-1]:,} wires still taken twice")
        patience = PATIENCE if left > FEW else PATIENCE_WITH_FEW
        if len(taken) - 1 - taken.index(left) >= patience:
            raise ToolError(
                f"{NEXTPNR.command} ({self._step}): not routed: {left:,} wires are taken twice, and no fewer for "
                f"{patience} rounds. There is too much for this device: fewer array.lanes or a shorter chain take "
                f"less, --no-place gives the sizes without a clock; log: {self._log}"
            )


def place_and_route(
    netlist: Path, part: str, *, speed_grade: int, seeds: Sequence[int], target_mhz: float, has_multipliers: bool,
    folder: Path, stage: Callable[[str], None], tool: Tool = NEXTPNR, placer: str = PLACER,
) -> Clock:  # fmt: skip
    """Return the clock a netlist reaches with each seed; a seed whose report is in `folder` is not run again.

    Nor are hard blocks placed again whose places are there: a folder is one netlist's. Raises ToolError.
    """
    device, planned = device_option(part), folder / FLOORPLAN
    reports = [folder / f"speed{speed_grade}-seed{seed}.json" for seed in seeds]
    if not planned.is_file() and not all(report.is_file() for report in reports):
        stage("placing multipliers and block RAMs (minutes)")
        part_plan = planned.with_suffix(".part")
        place_hard_blocks(netlist, part, part_plan)
        part_plan.replace(planned)
    relative = os.path.relpath(planned, folder)  # the tool sees another /tmp than this process
    placements = []
    for number, (seed, report) in enumerate(zip(seeds, reports, strict=True), 1):
        if not report.is_file():
            step = f"place and route, seed {seed}, {number} of {len(seeds)}"
            stage(f"{step} (minutes)")
            log = report.with_suffix(".log")
            log.unlink(missing_ok=True)
            part_report = report.with_suffix(".part")
            arguments = [
                device, "--package", PACKAGE, "--speed", str(speed_grade), "--json", relative,
                "--freq", f"{target_mhz:g}", "--seed", str(seed), "--timing-allow-fail", "--lpf-allow-unconstrained",
                "--placer", placer, "--router", ROUTER,
                "--report", part_report.name, "--quiet", "--log", log.name,
            ]  # fmt: skip
            run_tool(tool, arguments, folder=folder, log=log, step=step, watch=_Watch(log, step, stage))
            if not part_report.is_file():
                raise ToolError(f"{tool.command} ({step}): wrote no report; log: {log}")
            part_report.replace(report)
        placements.append(read_report(report.read_text(encoding="utf-8"), seed))
    median = statistics.median(placement.fmax_mhz for placement in placements)
    return Clock(
        fmax_mhz=round(min(median, DSP_LIMIT_MHZ) if has_multipliers else median, 2), speed_grade=speed_grade,
        placements=tuple(placements),
    )  # fmt: skip
