"""A sweep killed at random moments resumes to what an uninterrupted one finds (50 kills: benchmarks/sweep_kills.py)."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from scripts import load_script
from sweep_cases import made_up_sweep

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark() -> ModuleType:
    return load_script("benchmarks/sweep_kills.py")


def test_three_kills(tmp_path: Path, benchmark: ModuleType) -> None:
    made_up_sweep(tmp_path)
    command = [sys.executable, str(ROOT / "tests" / "support" / "stand_in_sweep.py"), str(tmp_path / "made-up.yaml")]
    outcome = benchmark.kill_and_resume(command, tmp_path, kills=3, seed=11)
    assert outcome.kills == 3
    assert outcome.points == 3465
