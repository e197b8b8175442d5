"""Check that every output shown in the README is what its command prints, and that the two commands are there."""

import re
from pathlib import Path

import pytest

from gossamer import cli

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
OUTPUTS = re.findall(r"<!-- output: (gossamer [^\n]*) -->\n```\n(.*?)```", README, re.S)


def test_outputs_are_shown() -> None:
    assert len(OUTPUTS) == 5


@pytest.mark.parametrize(("command", "shown"), OUTPUTS, ids=[command for command, _ in OUTPUTS])
def test_shown_output_is_real(
    command: str, shown: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = ["-o", "run"] if " simulate " in command else []
    monkeypatch.setattr("sys.argv", [*command.split(), *folder])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    printed = iter(capfd.readouterr().out.splitlines())
    lines = [line for line in shown.splitlines() if line.strip() not in ("", "...")]
    assert len(lines) > 5
    for line in lines:
        assert line in printed, f"{line!r} is not printed, or not in this order"


def test_two_commands() -> None:
    assert "<!-- main-command -->" in README
    test_command = re.search(r"<!-- test-command -->\n```\n(.*?)```", README, re.S)
    assert test_command is not None
    assert "pytest" in test_command[1]
