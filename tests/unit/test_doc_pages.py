"""Check the checks of documentation pages: what they run, and that they find what is wrong."""

from pathlib import Path

import pytest
from command_lines import check_command, check_options, check_script, commands_of, plain_command
from doc_pages import blocks_of, check_output, prose_of, run_page

FENCE = "```"


def page_of(folder: Path, text: str) -> Path:
    """Return a page with a text, its ~~~ being fences."""
    page = folder / "page.md"
    page.write_text(text.replace("~~~", FENCE))
    return page


@pytest.fixture
def run_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder to run pages in, which counts as the repository's root."""
    monkeypatch.setattr("doc_pages.ROOT", tmp_path)
    (tmp_path / "run").mkdir()
    return tmp_path


def test_blocks_know_their_marks() -> None:
    text = "<!-- not run in CI: slow -->\n\n~~~bash\na\n~~~\n\n~~~text\nb\n~~~\n"
    text += '<!-- exits 2 -->\n~~~yaml title="c.yaml"\nd\n~~~\n'
    first, second, third = blocks_of(text.replace("~~~", FENCE))
    assert (first.language, first.not_run, first.line, first.text) == ("bash", "slow", 3, "a\n")
    assert (second.follows, second.not_run) == (True, None)
    assert (third.title, third.status, third.follows) == ("c.yaml", 2, False)
    assert prose_of("a\n~~~\nb\n~~~\nc <!-- d -->e\n".replace("~~~", FENCE)).split() == ["a", "c", "e"]


def test_a_page_runs_in_one_folder(run_text: Path) -> None:
    text = (
        '~~~yaml title="sub/a.txt"\nhello\n~~~\n~~~bash\ncat sub/a.txt > b.txt\n~~~\n'
        "~~~python\nfrom pathlib import Path\ntext = Path('b.txt').read_text()\n~~~\n"
        "~~~python\nprint(text + 'one\\ntwo')\n~~~\n\n~~~text\nhello\n...\ntwo\n~~~\n"
        "<!-- exits 2 -->\n~~~bash\ngossamer schema nonsense\n~~~\n\n"
        "~~~text\ngossamer: schema must be of config or sweep, not `nonsense`\n~~~\n"
    )
    assert run_page(page_of(run_text, text), run_text / "run") == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("~~~bash\nfalse\n~~~\n", "page.md:1: exit status 1, not 0"),
        ("~~~bash\necho one\n~~~\n~~~text\ntwo\n~~~\n", "page.md:4: 'two' is not printed"),
        ("~~~python\nprint('b')\nprint('a')\n~~~\n~~~text\na\nb\n~~~\n", "'b' is not printed, or not in this order"),
        ("<!-- not run in CI: x -->\n~~~bash\ngossamer simulat\n~~~\n", "page.md:2: no such command"),
    ],
)
def test_what_is_wrong_is_found(run_text: Path, text: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        run_page(page_of(run_text, text), run_text / "run")


def test_shown_output_may_not_be_empty() -> None:
    with pytest.raises(AssertionError, match="shows no output"):
        check_output("...\n", "a\n", "page.md:1")


@pytest.mark.parametrize(
    ("line", "is_plain"),
    [
        ("gossamer verify digits --config ecp5-tiny", True),
        ("gossamer sweep 'a b.yaml' -o r.db  # a comment | with bars", True),
        ("gossamer models > models.txt", False),
        ("gossamer report part-*", False),
        ("A=1 gossamer models", False),
        ("python x.py", False),
    ],
)
def test_plain_commands(line: str, is_plain: bool) -> None:
    assert (plain_command(line) is not None) == is_plain


def test_commands_are_found_in_shell() -> None:
    text = "for n in 1 2; do gossamer sweep $n.yaml -o $n.db --json > $n.json; done\n"
    text += "cd x && \\\npython a/b.py -o c\n# gossamer no\n"
    assert list(commands_of(text)) == [
        ["gossamer", "sweep", "$n.yaml", "-o", "$n.db", "--json"], ["python", "a/b.py", "-o", "c"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("gossamer simulate digits", "--config|config"),
        ("gossamer simulate digits --config ecp5-tiny --sparsty 2:4", "No such option: --sparsty"),
        ("gossamer simulate digits --config ecp5-tiny --batch many", "many"),
        ("gossamer simulate digit --config ecp5-tiny", "no shipped model digit"),
        ("gossamer verify digits --config ecp5-tinny", "did you mean `ecp5-tiny`"),
        ("gossamer generate --config ecp5-tiny --set array.chain=8 -o core", "chain"),
        ("gossamer sweep digits-ecp6 -o r.db", "digits-ecp6"),
        ("gossamer simulate digits --config ecp5-tiny --sparsity 2-4", "2-4"),
    ],
)
def test_commands_that_cannot_be_are_refused(command: str, message: str) -> None:
    from gossamer import GossamerError

    with pytest.raises((AssertionError, GossamerError), match=message):
        check_command(command.split(), "page.md:1")


def test_commands_that_can_be_are_taken() -> None:
    check_command(
        ["gossamer", "simulate", "gemm:4x8x8", "--config", "ecp5-tiny", "--sparsity", "2:4", "--set", "axi.ports=2"],
        "page.md:1",
    )
    check_command(["gossamer", "simulate", "--help"], "page.md:1")
    check_command(["gossamer", "verify", "mine.onnx", "--config", "mine.yaml"], "page.md:1")


def test_synopses_and_scripts() -> None:
    check_options(["gossamer", "verify", "[MODEL", "|", "--random", "COUNT]", "--config", "CONFIG"], "page.md:1")
    with pytest.raises(AssertionError, match="no option --seeds"):
        check_options(["gossamer", "verify", "MODEL", "--seeds", "N"], "page.md:1")
    check_script(["python", "benchmarks/sweep_answers.py", "-o", "x.md"], "page.md:1")
    with pytest.raises(AssertionError, match="has no option --nothing"):
        check_script(["python", "benchmarks/sweep_answers.py", "--nothing"], "page.md:1")
    with pytest.raises(AssertionError, match=r"there is no benchmarks/none\.py"):
        check_script(["python", "benchmarks/none.py"], "page.md:1")
