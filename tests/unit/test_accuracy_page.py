"""The page on accuracy says what the committed measurements say."""

import re
import sys
from pathlib import Path

import pytest
from scripts import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import accuracy
import rtl_agreement

PAGE = ROOT / "docs" / "accuracy.md"


def test_the_page_is_what_its_command_writes() -> None:
    assert accuracy.page() == PAGE.read_text(encoding="utf-8")


def test_every_chart_of_the_page_is_there_and_drawn() -> None:
    shown = re.findall(r"\(pictures/(.*)\.svg\)", PAGE.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(each.name for each in accuracy.charts())
    for name in shown:
        assert (ROOT / "docs" / "pictures" / f"{name}.svg").stat().st_size < 200_000


def test_every_core_ran_as_many_programs_and_no_cycle_is_off_without_stalls() -> None:
    rows = rtl_agreement.read()
    for stalls in rtl_agreement.STALLS:
        seeds = [{key[2] for key in rows if key[:2] == (core, stalls)} for core in (1, 2, 3)]
        assert seeds == [set(range(1, len(seeds[0]) + 1))] * 3
        assert len(seeds[0]) >= 100
    for key, row in rows.items():
        if key[1] == "none":
            assert row["rtl_cycles"] == row["sim_cycles"], key
            assert row["counters_off"] == row["instructions_off"] == "0", key


def test_a_table_of_another_program_changes_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cycle more in one program is seen."""
    rows = {key: dict(row) for key, row in rtl_agreement.read().items()}
    row = rows[1, "none", 1]
    row["rtl_cycles"] = str(int(row["rtl_cycles"]) + 1)
    rtl_agreement.write(tmp_path / "table.csv", rows.values())
    changed = rtl_agreement.read(tmp_path / "table.csv")
    monkeypatch.setattr(rtl_agreement, "read", lambda: changed)
    assert accuracy.page() != PAGE.read_text(encoding="utf-8")
