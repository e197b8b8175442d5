"""Synthesize the hardware of a config and compare what it takes with the estimate.

Everything is kept in the run folder: a module whose Verilog has not changed is not synthesized again, and a placement
that is there is not repeated.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gossamer.arch.config import fingerprint, load_config, require_hardware, resolved_yaml
from gossamer.arch.cores import require_one_core
from gossamer.arch.errors import ConfigError, GossamerError
from gossamer.arch.resources import Resources, estimate_resources
from gossamer.arch.spec import DeviceSpec, SparseAccelerator
from gossamer.arch.target import Target, chosen_target
from gossamer.rtl.core import Core
from gossamer.rtl.generate import generate_core
from gossamer.rtl.packaging.interfaces import top_ports
from gossamer.rtl.synthesis.cells import FAMILY, count_resources
from gossamer.rtl.synthesis.components import COMPONENTS
from gossamer.rtl.synthesis.core_depth import LogicDepth, logic_depth
from gossamer.rtl.synthesis.harness import HARNESS, harness_text
from gossamer.rtl.synthesis.hierarchy import Design, Unit
from gossamer.rtl.synthesis.place import SEEDS, SPEED_GRADES, Clock, place_and_route
from gossamer.rtl.synthesis.tools import YOSYS
from gossamer.rtl.synthesis.units import (
    FlipFlopMemory,
    UnitResult,
    accidental,
    prepare_units,
    synthesize_unit,
    synthesize_units,
)

RUN_FILE = "run.json"
RESULT_FILE = "result.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisReport:
    """What a config takes after synthesis, and what was predicted; by component and in total.

    `units`: modules synthesized, how often each is there, its primitives. `depth`: logic levels, by component (xcup
    only). `clock`: after place and route (ecp5 only). `register_memories`: memories that became flip-flops by accident.
    """

    config_name: str
    config_fingerprint: str
    target: Target
    device: DeviceSpec
    tool: str
    components: Mapping[str, Resources]
    predicted: Mapping[str, Resources]
    units: tuple[UnitResult, ...]
    register_memories: tuple[FlipFlopMemory, ...]
    depth: Mapping[str, LogicDepth] | None
    clock: Clock | None
    folder: Path

    @property
    def total(self) -> Resources:
        """Sum over the components."""
        return sum(self.components.values(), Resources())

    @property
    def predicted_total(self) -> Resources:
        """Sum of the estimate."""
        return sum(self.predicted.values(), Resources())

    def as_json(self) -> dict[str, Any]:
        """Return the object `synth --json` prints: the same for the same Verilog and tools."""
        value: dict[str, Any] = {
            "config": self.config_name, "config_fingerprint": self.config_fingerprint, "target": self.target.value,
            "device": self.device.name, "tool": self.tool,
            "resources": asdict(self.total), "predicted": asdict(self.predicted_total),
            "components": {
                name: {"resources": asdict(part), "predicted": asdict(self.predicted[name])}
                for name, part in self.components.items()
            },
            "units": [
                {
                    "module": result.unit.name, "component": result.unit.component, "count": result.unit.count,
                    "cells": dict(sorted(result.cells.items())),
                }
                for result in self.units
            ],
            "register_memories": [asdict(memory) for memory in self.register_memories],
        }  # fmt: skip
        if self.depth is not None:
            value["logic_depth"] = {name: asdict(depth) for name, depth in self.depth.items()}
        if self.clock is not None:
            value |= {
                "fmax_mhz": self.clock.fmax_mhz, "speed_grade": self.clock.speed_grade,
                "seeds": [
                    {"seed": each.seed, "fmax_mhz": each.fmax_mhz, "critical_path": asdict(each.critical_path)}
                    for each in self.clock.placements
                ],
            }  # fmt: skip
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesisRequest:
    """What to synthesize.

    `target` None: that of the device. `seeds`: placements to run (ecp5). `folder` None: one named after config and
    target.
    """

    config: str
    target: str | None = None
    settings: tuple[str, ...] = ()
    folder: Path | None = None
    seeds: int = SEEDS
    speed_grade: int = SPEED_GRADES[0]
    place: bool = True


def run_synthesis(request: SynthesisRequest, stage: Callable[[str], None]) -> SynthesisReport:
    """Return the report of a request. Raises ConfigError for bad input, ToolError if a tool is missing or fails."""
    spec, target = _checked(request)
    folder = request.folder or Path("runs") / f"synth-{spec.name}-{target.value}"
    tool = f"{YOSYS.package} {YOSYS.version}"
    YOSYS.path()
    _claim(folder)
    stage("generating Verilog")
    core = Core(spec, target)
    generated = generate_core(core, spec, target, version("gossamer"))
    verilog = {path: text for path, text in generated.files.items() if path.startswith("verilog/")}
    design = Design(top=generated.top, files=verilog)
    _write(folder / RUN_FILE, json.dumps(_provenance(request, target, spec, tool), indent=2) + "\n")
    _write(folder / "config.resolved.yaml", resolved_yaml(spec))
    results = synthesize_units(target, design.units(COMPONENTS), design, folder / "units", stage)
    stage("counting logic levels")
    depth = logic_depth(results) if target is Target.XCUP else None
    clock = None
    if target is Target.ECP5 and request.place:
        clock = _place(request, spec, design, harness_text(generated.top, top_ports(core)), folder, stage)
    report = SynthesisReport(
        config_name=spec.name, config_fingerprint=fingerprint(spec), target=target, device=spec.device, tool=tool,
        components=component_resources(target, results), predicted=predicted_components(spec), units=results,
        register_memories=tuple(accidental([memory for result in results for memory in result.register_memories])),
        depth=depth, clock=clock, folder=folder,
    )  # fmt: skip
    _write(folder / RESULT_FILE, json.dumps(report.as_json(), indent=2) + "\n")
    return report


def _checked(request: SynthesisRequest) -> tuple[SparseAccelerator, Target]:
    """Return config and target of a request that can be carried out. Raises ConfigError."""
    targets = ", ".join(target.value for target in FAMILY)
    if request.target is not None and request.target not in list(FAMILY):
        raise ConfigError(f"--target must be one of {targets}; not {request.target}")
    if request.seeds < SEEDS:
        raise ConfigError(f"--seeds must be at least {SEEDS}, not {request.seeds}: one placement says little")
    if request.speed_grade not in SPEED_GRADES:
        grades = ", ".join(map(str, SPEED_GRADES))
        raise ConfigError(f"--speed must be one of {grades}; not {request.speed_grade}")
    loaded = load_config(request.config, request.settings)
    target = chosen_target(request.target, loaded)
    spec = require_hardware(loaded, request.config, target)
    require_one_core(spec, "synth synthesizes one core, of which several are as many")
    if target not in FAMILY:
        raise ConfigError(
            f"{request.config}: device {spec.device.name} is {spec.device.family.value}, which cannot be synthesized "
            f"here; targets are {targets}"
        )
    if spec.device.family is not FAMILY[target]:
        fitting = [each.value for each, family in FAMILY.items() if family is spec.device.family]
        raise ConfigError(
            f"{request.config}: device {spec.device.name} is {spec.device.family.value}, --target {target.value} "
            f"is for {FAMILY[target].value}; " + (f"use --target {fitting[0]}" if fitting else f"targets are {targets}")
        )
    return spec, target


def _claim(folder: Path) -> None:
    """Make the run folder. Raises GossamerError if it holds something else, or cannot be made."""
    if folder.exists() and not (folder / RUN_FILE).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise GossamerError(f"{folder}: exists and is not a folder of an earlier synth; name another with -o")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GossamerError(f"{folder}: cannot be made ({error.strerror}); name another with -o") from error


def _write(path: Path, text: str) -> None:
    """Write a file as a whole."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.replace(path)


def _provenance(request: SynthesisRequest, target: Target, spec: SparseAccelerator, tool: str) -> dict[str, Any]:
    """Return what run.json says: command, versions and config; nothing that changes between runs."""
    command = ["gossamer", "synth", "--config", request.config, "--target", target.value]
    command += [word for setting in request.settings for word in ("--set", setting)]
    if target is Target.ECP5:
        command += ["--seeds", str(request.seeds), "--speed", str(request.speed_grade)]
        command += [] if request.place else ["--no-place"]
    return {
        "command": command, "versions": {"gossamer": version("gossamer"), "yosys": tool},
        "config_fingerprint": fingerprint(spec),
    }  # fmt: skip


def _place(
    request: SynthesisRequest, spec: SparseAccelerator, design: Design, harness: str, folder: Path,
    stage: Callable[[str], None],
) -> Clock:  # fmt: skip
    """Synthesize the whole core flat, in its harness, and place and route it."""
    stage("synthesizing the whole core for place and route (minutes)")
    whole = Design(top=HARNESS, files={**design.files, f"{HARNESS}.v": harness})
    unit = Unit(name=HARNESS, files=tuple(whole.files), cuts={}, count=1, component="whole")
    rtlil = prepare_units(Target.ECP5, [unit], whole, folder / "whole")
    flat = synthesize_unit(Target.ECP5, unit, rtlil, folder / "whole")
    digest = hashlib.sha256((flat.folder / "key.txt").read_bytes()).hexdigest()[:16]
    place = folder / "whole" / f"placed-{digest}"
    place.mkdir(exist_ok=True)
    return place_and_route(
        flat.netlist, spec.device.part, speed_grade=request.speed_grade,
        seeds=range(1, request.seeds + 1), target_mhz=spec.clock_mhz,
        has_multipliers=count_resources(Target.ECP5, flat.cells).dsp > 0, folder=place, stage=stage,
    )  # fmt: skip


def component_resources(target: Target, results: Sequence[UnitResult]) -> dict[str, Resources]:
    """Return what each component takes: primitives of its units, as often as they are there."""
    cells: dict[str, Counter[str]] = {name: Counter() for name in COMPONENTS.values()}
    for result in results:
        for name, count in result.cells.items():
            cells[result.unit.component][name] += count * result.unit.count
    return {name: count_resources(target, part) for name, part in cells.items()}


def predicted_components(spec: SparseAccelerator) -> dict[str, Resources]:
    """Return the estimate by the components that are synthesized; it has no wires."""
    parts = estimate_resources(spec).components
    assert parts.keys() <= set(COMPONENTS.values())
    return {name: parts.get(name, Resources()) for name in COMPONENTS.values()}
