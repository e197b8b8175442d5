"""Find `gossamer` commands in shell text, and hold them against the real command line without running them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import typer.main

from gossamer import cli

_OPERATORS = frozenset(";&|()<>\n")
_SHELL = re.compile(r"[$`*?~{}\[\]!]|&&|\|\||[;|&<>()]")
"""What only a shell understands; square brackets and braces would be globs."""

ROOT = Path(__file__).resolve().parents[2]

COMMANDS: Any = typer.main.get_command(cli.app)
"""The command line as typer builds it."""


def logical_lines(text: str) -> list[str]:
    """Return the lines of shell text, those that end in a backslash joined, without comments and blank ones."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def plain_command(line: str) -> list[str] | None:
    """Return the words of a line that is one `gossamer` command and nothing a shell would change; else None."""
    words = shlex.split(line, comments=True)
    bare = re.sub(r"'[^']*'", "", line.split(" #")[0])
    return words if words[:1] == ["gossamer"] and not _SHELL.search(bare) else None


def commands_of(text: str) -> Iterator[list[str]]:
    """Yield the words of every command in shell text that is `gossamer` or a script of ours, in loops too."""
    for line in logical_lines(text):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        redirected = False
        for word in [*lexer, ";"]:
            if word and set(word) <= _OPERATORS:
                if not redirected:
                    yield from _ours(words)
                redirected = word.startswith((">", "<"))
                words = []
            else:
                words.append(word)


def _ours(words: list[str]) -> Iterator[list[str]]:
    """Yield the words from `gossamer` or `python SCRIPT` on, behind `do`, `time` or settings of the environment."""
    for at, word in enumerate(words):
        if word == "gossamer":
            yield words[at:]
            return
        if word == "python" and words[at + 1 : at + 2] and words[at + 1].endswith(".py"):
            yield words[at:]
            return


def check_command(words: list[str], where: str) -> None:
    """Assert that the command line takes a command, and that what it names is there."""
    if words[0] == "python":
        check_script(words, where)
        return
    if words[1:2] and words[1].startswith("-"):
        assert words[1] in _options(COMMANDS), f"{where}: gossamer has no option {words[1]}"
        return
    command = COMMANDS.commands.get("".join(words[1:2]))
    assert command is not None, f"{where}: no such command: {shlex.join(words[:2])}"
    try:
        values = command.make_context(words[1], words[2:]).params
    except typer.Exit:  # --help
        return
    except Exception as error:  # typer's own, which no public name has
        raise AssertionError(f"{where}: {shlex.join(words)}: {error}") from error
    _check_names(values, where)


def check_options(words: list[str], where: str) -> None:
    """Assert that a synopsis, which need not be complete, names a command and options that exist."""
    words = [word for word in re.split(r"[\s\[\]|]+", " ".join(words)) if word][1:]
    command = COMMANDS
    if words and not words[0].startswith("-"):
        assert words[0] in COMMANDS.commands, f"{where}: gossamer has no command {words[0]}"
        command = COMMANDS.commands[words[0]]
    for word in words:
        if re.fullmatch(r"--?[a-z][-a-z]*", word):
            assert word in _options(command), f"{where}: gossamer {' '.join(words)}: no option {word}"


def check_script(words: list[str], where: str) -> None:
    """Assert that a script of this repository is there and reads the options it is given."""
    assert (ROOT / words[1]).is_file(), f"{where}: there is no {words[1]}"
    text = (ROOT / words[1]).read_text()
    for word in words[2:]:
        if re.fullmatch(r"--?[a-z][-a-z]*", word):
            assert f'"{word}"' in text, f"{where}: {words[1]} has no option {word}"


def _options(command: Any) -> set[str]:
    return {"--help"} | {name for option in command.params for name in (*option.opts, *option.secondary_opts)}


def _check_names(values: dict[str, Any], where: str) -> None:
    """Assert that shipped names exist; files must too, unless an earlier block that is not run would make them."""
    from gossamer.arch.config import load_config
    from gossamer.dataflow.sparsity import NmPattern
    from gossamer.explore.sweep_file import load_sweep
    from gossamer.one_liners import is_one_liner, parse_one_liner
    from gossamer.shipped_models import shipped_models

    def is_file(name: str) -> bool:
        return bool(Path(name).suffix) or "/" in name or "$" in name

    config, model, sweep = (values.get(name) for name in ("config", "model", "sweep_file"))
    if config is not None and (not is_file(config) or Path(config).exists()):
        load_config(config, values.get("overrides") or ())
    if sweep is not None and (not is_file(sweep) or Path(sweep).exists()):
        load_sweep(sweep)
    if model is not None and is_one_liner(model):
        parse_one_liner(model)
    elif model is not None and not is_file(model):
        assert model in shipped_models(), f"{where}: no shipped model {model}"
    sparsity = values.get("sparsity")
    if sparsity is not None and sparsity not in ("dense", "keep"):
        NmPattern.parse(sparsity)
