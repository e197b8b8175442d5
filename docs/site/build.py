"""Build the documentation site: pages of docs/, and references generated from the code, as HTML that needs no network.

    python docs/site/build.py [-o build/site]

Needs the extra `docs`. Any broken link, and any page that the navigation does not have, ends the build with status 1.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import reference_code
import reference_commands
import reference_files
import reference_hardware

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
COLORS = re.compile(r"\x1b\[[0-9;]*m")

SECTIONS: dict[str, tuple[str, ...]] = {
    "Tutorials": (
        "tutorials/simulate-onnx.md", "tutorials/design-a-core.md", "tutorials/verify.md", "tutorials/sweep.md",
        "tutorials/own-layer.md", "tutorials/own-device.md", "examples.md",
    ),
    "Guides": ("explain.md", "reports.md", "sweeps.md", "vivado.md", "ecosystem.md", "shell.md"),
    "How accurate is it": (
        "accuracy.md", "validation.md", "flightllm-resources.md", "mapping-search.md",
    ),
    "How it works": (
        "explanation/nm-on-dsp-chains.md", "explanation/timing-model.md", "explanation/energy.md", "sweep-answers.md",
    ),
    "Decisions": ("decisions/*.md",),
    "Reference": (
        "reference/cli.md", "reference/config.md", "reference/sweep-file.md", "reference/python.md",
        "reference/json.md", "reference/instructions.md", "reference/registers.md", "glossary.md", "changelog.md",
    ),
}  # fmt: skip
"""Pages of every section in order; a page that is not there is left out, one that is in no section is refused."""


def compose(folder: Path) -> None:
    """Write all pages to a folder: those of docs/ and those generated."""
    shutil.copytree(DOCS, folder, ignore=shutil.ignore_patterns("site"))
    shutil.copy(DOCS / "site" / "site.css", folder)
    shutil.copy(ROOT / "CHANGELOG.md", folder / "changelog.md")
    generated = (reference_commands.pages, reference_files.pages, reference_hardware.pages, reference_code.pages)
    for pages in generated:
        for name, text in pages().items():
            page = folder / "reference" / name
            page.parent.mkdir(exist_ok=True)
            page.write_text(text, encoding="utf-8")


def navigation(folder: Path) -> list[tuple[str, list[str]]]:
    """Return the sections with the pages that are in a folder. Raises SystemExit for a page in no section."""
    sections = [
        (title, [path.relative_to(folder).as_posix() for name in names for path in sorted(folder.glob(name))])
        for title, names in SECTIONS.items()
    ]
    listed = {"index.md", *(page for _, pages in sections for page in pages)}
    lost = sorted({path.relative_to(folder).as_posix() for path in folder.rglob("*.md")} - listed)
    if lost:
        raise SystemExit(f"docs/{', docs/'.join(lost)}: in no section; add them to SECTIONS of docs/site/build.py")
    return [(title, pages) for title, pages in sections if pages]


def _configuration(sections: Sequence[tuple[str, list[str]]]) -> Iterator[str]:
    """Yield the lines of zensical.toml: the settings kept in this folder and the navigation."""
    for line in (DOCS / "site" / "zensical.toml").read_text().splitlines():
        yield line
        if line == "[project]":
            yield 'nav = [{"Gossamer" = "index.md"},'
            for title, pages in sections:
                yield f"  {{{json.dumps(title)} = {json.dumps(pages)}}},"
            yield "]"


def build(output: Path) -> None:
    """Write the site to a folder. Raises SystemExit when anything is wrong with it."""
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch)
        compose(project / "docs")
        for name in ("README.md", "src"):
            (project / name).symlink_to(ROOT / name)
        lines = _configuration(navigation(project / "docs"))
        (project / "zensical.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        process = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        if process.returncode:
            said = COLORS.sub("", process.stdout + process.stderr)
            raise SystemExit(said.partition("Traceback (most recent call last)")[0])
        shutil.rmtree(output, ignore_errors=True)
        shutil.copytree(project / "site", output)


def main() -> None:
    """Build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", dest="output", type=Path, default=ROOT / "build" / "site", help="folder of the site")
    output: Path = parser.parse_args().output
    build(output)
    print(f"{output / 'index.html'}: {sum(1 for _ in output.rglob('*.html'))} pages")


if __name__ == "__main__":
    main()
