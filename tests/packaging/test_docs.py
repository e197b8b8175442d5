"""Run what README and documentation pages print, and look up every command, option and script that they name."""

import re
from pathlib import Path

import pytest
from command_lines import check_options, check_script
from doc_pages import blocks_of, prose_of, run_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
COMMAND = re.compile(r"(?<!`)`((?:gossamer|python [a-z]+/\w+\.py)(?: [^`]*)?)`")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


RUNNING = [page for page in PAGES if any(b.language in ("bash", "python") for b in blocks_of(page.read_text()))]


@pytest.mark.parametrize("page", RUNNING, ids=_name)
def test_page_runs_as_printed(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=_name)
def test_page_keeps_to_the_rules(page: Path) -> None:
    text = page.read_text()
    for block in blocks_of(text):
        assert block.language not in ("sh", "shell", "console"), f"{_name(page)}:{block.line}: write ```bash"
        assert not block.text.startswith("$ "), f"{_name(page)}:{block.line}: no prompts, the block is run"
    for number, line in enumerate(prose_of(text).splitlines(), 1):
        where = f"{_name(page)}:{number}"
        assert not re.match(r" {4,}(gossamer|python|pip|vivado) ", line), f"{where}: write commands in ```bash blocks"
        assert "![](" not in line, f"{where}: a picture needs a text for those who do not see it"
        for command in COMMAND.findall(line):
            words = command.split()
            check_options(words, where) if words[0] == "gossamer" else check_script(words, where)
