"""Run the static checks as tests: lint, format, types, layers, and the house rules no tool knows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "arch", "dataflow", "sim", "mapper", "explore", "rtl", "configs", "src/gossamer", "benchmarks", "docs", "examples",
    "tests",
)  # fmt: skip
SOURCES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if not any(part.is_symlink() for part in path.parents)
)


def _run(*command: str) -> str:
    process = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout + process.stderr


def test_lint() -> None:
    _run("ruff", "check", ".")


def test_format() -> None:
    _run("ruff", "format", "--check", ".")


def test_types() -> None:
    found = re.search(r"no issues found in (\d+) source files", _run("mypy"))
    assert found is not None
    assert int(found[1]) >= 40, "mypy saw too few files: a wrong path reports success"


def test_layers() -> None:
    code = "import sys; from importlinter.cli import lint_imports_command as run; sys.argv = ['lint-imports']; run()"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "1 kept, 0 broken" in process.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_house_rules(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 600, "module longer than 600 lines: split by idea"
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    if path != Path(__file__):
        assert not re.search(r"\b(TODO|FIXME|XXX)\b|fastmath=True|yaml\.load\(|import pickle|shell=True", text)
        assert not re.search(r"except( Base)?Exception\s*:|except\s*:", text)
