"""Check that the package list, the symbolic links and the disk agree, and that a bare room cannot be imported."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


def test_rooms_are_found() -> None:
    assert {"arch", "dataflow", "sim", "mapper", "configs"} <= set(ROOMS)


def test_package_list_equals_disk() -> None:
    own = (init.parent for init in (ROOT / "src" / "gossamer").glob("*/__init__.py"))
    on_disk = {"gossamer", *(f"gossamer.{path.name}" for path in own if not path.is_symlink())}
    for room in ROOMS:
        on_disk |= {
            ".".join(("gossamer", *init.parent.relative_to(ROOT).parts)) for init in (ROOT / room).rglob("__init__.py")
        }
    tools = PROJECT["tool"]["setuptools"]
    assert set(tools["packages"]) == on_disk
    assert set(tools["package-dir"]) == on_disk
    for package, folder in tools["package-dir"].items():
        assert (ROOT / folder / "__init__.py").is_file(), package


@pytest.mark.parametrize("room", ROOMS)
def test_symbolic_link_leads_to_the_room(room: str) -> None:
    link = ROOT / "src" / "gossamer" / room
    assert link.is_symlink()
    assert link.resolve() == ROOT / room


@pytest.mark.parametrize("room", ROOMS)
def test_bare_room_is_refused(room: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", f"import {room}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert process.returncode != 0
    assert f"import gossamer.{room}, not {room}" in process.stderr
