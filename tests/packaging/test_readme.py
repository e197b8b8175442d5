"""Run the README as printed, and hold the picture of the first page against what its commands say."""

import re
from pathlib import Path

import pytest
from command_lines import commands_of, logical_lines, plain_command
from doc_pages import blocks_of, run_page

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which the README was run."""
    place = tmp_path_factory.mktemp("readme")
    assert run_page(ROOT / "README.md", place) == 6
    return place


def test_runs_as_printed(folder: Path) -> None:
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_picture_is_of_the_same_runs(folder: Path, scheme: str) -> None:
    pictures = [folder / "plots" / "waterfall.svg", ROOT / "docs" / "pictures" / f"resnet50-{scheme}.svg"]
    drawn, shown = (re.findall(r"<text[^>]*>([^<]*)", picture.read_text()) for picture in pictures)
    assert len(drawn) > 20
    assert shown == drawn, "draw it again with docs/site/pictures.py"


def test_links_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)\)|(?:src|srcset)=\"([^\"]+)\"", README)
    places = [place for link in links for place in link if place and "://" not in place]
    assert len(places) > 15
    assert [place for place in places if not (ROOT / place).is_file()] == []


def test_two_commands() -> None:
    main, test = (re.search(rf"<!-- {name}-command -->\n```\n(.*?)```", README, re.S) for name in ("main", "test"))
    assert main is not None
    assert test is not None
    assert "pytest" in test[1]
    shown = [plain_command(line) for block in blocks_of(README) if block.language == "bash"
             for line in logical_lines(block.text)]  # fmt: skip
    assert list(commands_of(main[1]))[-1] in shown, "the main command is one whose output is shown"
