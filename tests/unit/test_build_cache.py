"""Check which compiled cores are taken from the cache."""

from pathlib import Path
from typing import Any

import pytest

from gossamer.rtl.testbench.simulate import build
from gossamer.rtl.verilog import VerilogModule

MODULES = (VerilogModule(name="top", text="module top; endmodule\n"),)


class StandIn:
    """A runner that only writes what make writes last."""

    builds = 0

    def build(self, *, hdl_toplevel: str, build_dir: Path, **_: Any) -> None:
        """Count and write."""
        StandIn.builds += 1
        (build_dir / hdl_toplevel).touch()


def test_a_build_is_used_again_but_not_by_another_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cocotb_tools.runner.get_runner", lambda name: StandIn())
    monkeypatch.setattr(StandIn, "builds", 0)
    first = build(MODULES, tmp_path)
    assert build(MODULES, tmp_path) == first
    assert StandIn.builds == 1
    monkeypatch.setattr("cocotb_tools.config.libs_dir", tmp_path / "other" / "libs")
    assert build(MODULES, tmp_path) != first
    assert StandIn.builds == 2
