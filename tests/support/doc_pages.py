"""Read the blocks of a documentation page and run them in order, as the page prints them.

| fenced block | what is done |
|---|---|
| bash | run: plain `gossamer` commands in this process, any other block by `bash -eu` |
| python | run, in one namespace for the page |
| any with title="FILE" | written to FILE |
| text, straight after one that runs | its output: every line is printed, in this order; `...` is anything |
| other | only shown |

`<!-- not run in CI: REASON -->` before a block: its commands are parsed and their names looked up, its Python compiled.
`<!-- exits N -->`: it ends with that status. A page's folder is empty but for links to `LINKED` of the repository.
"""

import contextlib
import io
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_lines import check_command, commands_of, logical_lines, plain_command

ROOT = Path(__file__).resolve().parents[2]
LINKED = ("benchmarks", "configs", "examples")

_FENCE = re.compile(r"^( *)(`{3,})(\w*) *(.*)$")
_TITLE = re.compile(r'title="([^"]+)"')
_NOT_RUN = re.compile(r"<!-- not run in CI: (.+) -->")
_EXITS = re.compile(r"<!-- exits (\d+) -->")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: `line` of its fence from 1, `title` of the file it is, why it is not run, its exit status."""

    language: str
    text: str
    line: int
    title: str | None = None
    not_run: str | None = None
    status: int = 0
    follows: bool = False
    """Nothing but blank lines is between it and the block before."""


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page's text."""
    blocks: list[Block] = []
    lines = page.splitlines()
    at, before, follows = 0, "", False
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if opened is None:
            if lines[at].strip():
                before, follows = lines[at].strip(), False
            at += 1
            continue
        end = at + 1
        while not lines[end].strip().startswith(opened[2]):
            end += 1
        title, not_run, exits = _TITLE.search(opened[4]), _NOT_RUN.fullmatch(before), _EXITS.fullmatch(before)
        blocks.append(
            Block(
                language=opened[3],
                text=textwrap.dedent("\n".join(lines[at + 1 : end])) + "\n",
                line=at + 1,
                title=None if title is None else title[1],
                not_run=None if not_run is None else not_run[1],
                status=0 if exits is None else int(exits[1]),
                follows=follows,
            )
        )
        at, before, follows = end + 1, "", True
    return blocks


def prose_of(page: str) -> str:
    """Return a page's text without its fenced blocks and comments, line by line."""
    kept, fence = [], ""
    for line in page.splitlines():
        opened = _FENCE.match(line)
        if fence:
            fence = "" if line.strip().startswith(fence) else fence
            kept.append("")
        elif opened is not None:
            fence = opened[2]
            kept.append("")
        else:
            kept.append(re.sub(r"<!--.*?-->", "", line))
    return "\n".join(kept)


def run_page(page: Path, folder: Path) -> int:
    """Run the blocks of a page in a folder; returns how many were run. Raises AssertionError with page and line."""
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    names: dict[str, Any] = {"__name__": "__main__"}
    printed: str | None = None
    ran = 0
    with contextlib.chdir(folder):
        for block in blocks_of(page.read_text()):
            where = f"{page.relative_to(ROOT)}:{block.line}"
            if block.title is not None:
                Path(block.title).parent.mkdir(parents=True, exist_ok=True)
                Path(block.title).write_text(block.text)
            elif block.language == "text":
                if block.follows and printed is not None:
                    check_output(block.text, printed, where)
                printed = None
            elif block.language not in ("bash", "python"):
                printed = None
            elif block.not_run is not None:
                check_block(block, where)
                printed = None
            else:
                status, printed = run_python(block, where, names) if block.language == "python" else run_bash(block)
                assert status == block.status, f"{where}: exit status {status}, not {block.status}\n{printed}"
                ran += 1
    return ran


def check_output(shown: str, printed: str, where: str) -> None:
    """Assert that the lines of a shown output are printed, in their order."""
    rest = iter(line.rstrip() for line in printed.splitlines())
    lines = [line.rstrip() for line in shown.splitlines() if line.strip() not in ("", "...")]
    assert lines, f"{where}: shows no output"
    for line in lines:
        assert line in rest, f"{where}: {line!r} is not printed, or not in this order, of\n{printed}"


def check_block(block: Block, where: str) -> None:
    """Assert that what a block would run exists, without running it."""
    if block.language == "python":
        compile(block.text, where, "exec")
        return
    for command in commands_of(block.text):
        check_command(command, where)


def run_bash(block: Block) -> tuple[int, str]:
    """Return the exit status of a block of commands and what it printed, stderr last."""
    commands = [plain_command(line) for line in logical_lines(block.text)]
    if any(command is None for command in commands):
        return _run_shell(block.text)
    texts = []
    for command in commands:
        assert command is not None
        status, text = _run_here(command)
        texts.append(text)
        if status:
            return status, "".join(texts)
    return 0, "".join(texts)


def _run_shell(text: str) -> tuple[int, str]:
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    process = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": os.pathsep.join(paths), "COLUMNS": "80"},
    )  # fmt: skip
    return process.returncode, process.stdout + process.stderr


def _run_here(command: list[str]) -> tuple[int, str]:
    """Run a `gossamer` command in this process."""
    from gossamer import cli

    with _captured(command) as (out, err):
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return status, out.getvalue() + err.getvalue()


def run_python(block: Block, where: str, names: dict[str, Any]) -> tuple[int, str]:
    """Run a block of Python in a page's namespace; return 0 and what it printed."""
    with _captured([sys.argv[0]]) as (out, err):
        exec(compile(block.text, where, "exec"), names)
    return 0, out.getvalue() + err.getvalue()


@contextlib.contextmanager
def _captured(arguments: list[str]) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Replace the command line and both output streams."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = arguments
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield out, err
    finally:
        sys.argv = before
