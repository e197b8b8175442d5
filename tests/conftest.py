"""Fixtures of several folders."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gossamer import cli

# Before anything imports numpy: threads for small products cost several times the work.
for _name in cli.ONE_BLAS_THREAD:
    os.environ.setdefault(_name, "1")


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs the command line in an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gossamer", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capfd.readouterr()
        code = stop.value.code
        return (0 if code is None else int(code)), captured.out, captured.err

    return call
