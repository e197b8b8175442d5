"""The page of published figures says what the code works out now, and what the committed runs measured."""

import sys

import pytest
from scripts import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import energy_table
import validation

PAGE = ROOT / "docs" / "validation.md"


def test_the_page_is_what_its_command_writes() -> None:
    assert validation.page() == PAGE.read_text(encoding="utf-8")


def test_published_figures_that_follow_from_arithmetic_are_met() -> None:
    assert 100 * validation.lockstep_utilization(0.25, 256, 32) == pytest.approx(81.4, abs=0.5)
    assert 100 * validation.lockstep_utilization(0.25, 64, 32) == pytest.approx(68.3, abs=0.5)
    for text, within in ((validation.energy_table(), 0.002), (validation.axis_table(), 0.3)):
        for line in text.splitlines()[2:]:
            *_, published, ours = (cell.strip() for cell in line.strip("|").split("|"))
            assert float(ours) == pytest.approx(float(published), abs=within), line
    for line in validation.systolic_table().splitlines()[2:]:
        *_, printed, ours = (cell.strip() for cell in line.strip("|").split("|"))
        assert printed == ours, line
    for line in validation.gain_table().splitlines()[2:]:
        *_, printed, ours = (cell.strip(" x") for cell in line.strip("|").split("|"))
        assert float(ours) == pytest.approx(float(printed), abs=0.01), line


def test_every_run_the_page_quotes_is_measured() -> None:
    wanted = {(validation.name_of(model), config, sparsity) for model, config, sparsity in validation.SIMULATIONS}
    assert set(validation.runs()) == wanted


def test_the_tables_of_the_energy_page_are_those_of_the_code() -> None:
    assert energy_table.text() in (ROOT / "docs" / "explanation" / "energy.md").read_text(encoding="utf-8")
