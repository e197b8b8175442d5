"""Build the documentation site; check its links and that the references have everything; open it in Chromium."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import typer.main
from chromium import open_browser
from scripts import load_script
from site_pages import SitePage, broken_links, served

import gossamer
from gossamer import cli
from gossamer.arch.fields import leaf_fields
from gossamer.arch.isa import FIELDS, Opcode
from gossamer.arch.registers import REGISTERS
from gossamer.arch.spec import SparseAccelerator

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "docs" / "site" / "build.py"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site."""
    folder = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, str(BUILD), "-o", str(folder)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return folder


def test_links_and_pictures_are_there(site: Path) -> None:
    assert broken_links(site) == []
    assert len(list(site.rglob("*.html"))) > 40


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert [each for each in SitePage(path).loads if "//" in each] == [], path
    assert "url(http" not in "".join(path.read_text() for path in site.rglob("*.css"))


def test_references_have_everything(site: Path) -> None:
    text = {path.stem: SitePage(path).text for path in (site / "reference").glob("*.html")}
    for name, command in typer.main.get_command(cli.app).commands.items():
        assert f"gossamer {name}" in text["cli"]
        for option in (each for parameter in command.params for each in parameter.opts if each.startswith("-")):
            assert option in text["cli"].split(f"gossamer {name} ")[1], f"{name} {option}"
    for field, spec in leaf_fields(SparseAccelerator).items():
        assert field.rpartition(".")[2] in text["config"]
        assert "".join((spec.description or "").replace("`", "").split()) in "".join(text["config"].split()), field
    for name in gossamer.__all__:
        assert name in text["python"]
    for register in REGISTERS.values():
        assert register.name in text["registers"]
    for opcode in Opcode:
        assert opcode.name in text["instructions"]
        assert all(field.name in text["instructions"] for field in FIELDS.get(opcode, ()))


def test_json_reference_has_the_keys_that_are_printed() -> None:
    shape = load_script("docs/site/json_shape.py")
    report = gossamer.simulate("gemm:8x64x16", "ecp5-tiny", advice=True, explain="1")
    keys = {path for path, _ in shape.keys_of(type(report))}
    assert report.as_json().keys() <= keys
    assert {f"layers[].{key}" for key in report.as_json()["layers"][0]} <= keys


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_first_page_in_a_browser(site: Path, scheme: Literal["light", "dark"]) -> None:
    problems: list[str] = []
    with served(site) as address, open_browser(scheme) as context:
        page = context.new_page()
        page.on("console", lambda message: problems.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(address) else problems.append(request.url))
        page.goto(address, wait_until="networkidle")
        shown = [picture.get_attribute("src") for picture in page.locator("article img").all() if picture.is_visible()]
        assert shown == [f"pictures/resnet50-{scheme}.svg#only-{scheme}"]
        assert page.evaluate("document.querySelector('article img').naturalWidth") > 500
        (total,) = re.findall(r"^total .*? cycles", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
        assert total in page.inner_text("article")
        page.keyboard.press("Control+k")
        page.keyboard.type("weight_rows_per_cycle")
        page.wait_for_selector("a[href*='reference/config.html']:visible")
    assert problems == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<h1 id="top">b</h1>')
    (tmp_path / "a.html").write_text('<a href="b.html#top"></a><a href="b.html#nowhere"></a><img src="c.svg">')
    assert broken_links(tmp_path) == ["a.html -> b.html#nowhere", "a.html -> c.svg"]


def test_a_page_in_no_section_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BUILD.parent)
    build = load_script("docs/site/build.py")
    (tmp_path / "lost.md").write_text("# Lost\n")
    with pytest.raises(SystemExit, match=r"docs/lost\.md: in no section; add them to SECTIONS"):
        build.navigation(tmp_path)
