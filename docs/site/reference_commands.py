"""Write the references of the command line and of what it prints as JSON, from the commands themselves."""

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import json_shape
from reference_code import error_kinds
from typer.models import OptionInfo
from writing import code, fence, first_sentence, paragraphs, table

from gossamer import cli, doctor, exits
from gossamer.confirmation import Confirmation
from gossamer.explore.outcome import SweepReport
from gossamer.generation import GenerationReport
from gossamer.mapper.pruning.prune_onnx import PruneSummary
from gossamer.onnx_files import QuantizedFile
from gossamer.report import SimulationReport
from gossamer.synthesis import SynthesisReport
from gossamer.verification import VerificationReport

COMMANDS: Mapping[str, Callable[..., None]] = {
    str(each.name or each.callback.__name__): each.callback for each in cli.app.registered_commands if each.callback
}
"""Functions of the commands, by name."""

REPORTS: Mapping[str, type] = {
    "simulate": SimulationReport, "verify": VerificationReport, "generate": GenerationReport, "synth": SynthesisReport,
    "sweep": SweepReport, "prune": PruneSummary, "quantize": QuantizedFile,
}  # fmt: skip
"""Classes whose `as_json` a command prints; what other commands print is written where they do."""


def pages() -> dict[str, str]:
    """Return both pages by their names."""
    return {"cli.md": _cli(), "json.md": _json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """An argument or option: `names` of options, `takes` what values, `default` as the command line would have it."""

    names: tuple[str, ...]
    metavar: str
    takes: str
    default: str
    required: bool
    meaning: str

    @property
    def row(self) -> tuple[str, ...]:
        """Return the row of its table."""
        shown = "required" if self.required else code(self.default)
        return ", ".join(map(code, self.names or (self.metavar,))), self.takes, shown, self.meaning


def parameters(function: Callable[..., None]) -> list[Parameter]:
    """Return the arguments and options of a command, in the order of its function."""
    hints = get_type_hints(function, include_extras=True)
    return [
        _parameter(name, get_args(hints[name]), parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
    ]


def _parameter(name: str, hint: tuple[Any, ...], default: Any) -> Parameter:
    """Return what is known of a parameter of a function, annotated with typer's description of it."""
    kind, description = hint
    required = default is inspect.Parameter.empty
    names: tuple[str, ...] = ()
    if isinstance(description, OptionInfo):
        given = [each for each in (description.default, *(description.param_decls or ())) if isinstance(each, str)]
        names = tuple(sorted(given, key=len, reverse=True)) or (f"--{name}", f"--no-{name}")
    inner = next((each for each in get_args(kind) if each is not type(None)), kind)
    takes = {str: "text", int: "whole number", Path: "path", bool: ""}[inner]
    if description.min is not None:
        takes += f" from {description.min}" + (f" to {description.max}" if description.max is not None else "")
    shown = "" if required or default in (None, False, []) else names[0] if default is True else str(default)
    return Parameter(
        names=names, metavar=description.metavar or name.upper(), required=required, default=shown,
        takes=f"{takes}, repeatable" if get_origin(kind) is list else takes, meaning=str(description.help),
    )  # fmt: skip


def _cli() -> str:
    """Return every command with its arguments and options."""
    rows = [(f"[{name}](#{name})", first_sentence(command.__doc__)) for name, command in COMMANDS.items()]
    text = (
        f"# Command line\n\n{cli.app.info.help} `gossamer --help` and `gossamer COMMAND --help` print what is here; "
        "`python -m gossamer` is the same command. [JSON and exit statuses](json.md) have a page of their own, and so "
        "has [shell completion](../shell.md).\n\n"
    )
    text += table(("command", "what it does"), rows)
    for name, command in COMMANDS.items():
        given = parameters(command)
        text += f"\n## {name}\n\n{paragraphs(command.__doc__)}\n\n{fence('text', _usage(name, given))}\n"
        text += table(("argument or option", "takes", "default", "meaning"), [each.row for each in given])
    return text


def _usage(name: str, given: Sequence[Parameter]) -> str:
    """Return the line that says what must be given."""
    words = [f"gossamer {name}"]
    for each in given:
        if not each.names:
            words.append(each.metavar if each.required or each.metavar.startswith("[") else f"[{each.metavar}]")
        elif each.required:
            words.append(f"{each.names[0]} {each.metavar}")
    return " ".join([*words, "[OPTIONS]"])


def _json() -> str:
    """Return statuses, errors and the keys of every object."""
    text = "# JSON and exit statuses\n\n" + (exits.__doc__ or "").partition("\n\n")[2].strip() + "\n\n"
    kinds = [(code(kind.__name__), kind.exit_status, first_sentence(kind.__doc__)) for kind in error_kinds()]
    text += (
        "With `--json` a command prints one object on stdout and nothing else there; progress and messages are on "
        'stderr. For bad input it is `{"error": {"kind", "message", "exit_status"}}`, `kind` being one of these, '
        "UsageError, OSError or KeyboardInterrupt:\n\n"
    )
    text += table(("kind", "status", "meaning"), kinds)
    text += (
        "\nKeys below: `[]` is an element of a list, `NAME` any key. Units are in the names; ratios are from 0 to 1. "
        "The same inputs give the same bytes, but for `seconds`.\n"
    )
    for name, command in COMMANDS.items():
        if name in REPORTS:
            text += f"\n## {name}\n\n" + _report(REPORTS[name])
            text += f"\nAnd {_listed(command)}.\n" if _listed(command) else ""
            if name == "sweep":
                text += "\nWith `--confirm`, `confirmation` is:\n\n" + _report(Confirmation)
        elif name == "doctor":
            text += _keys_of(name, doctor.as_json)
        elif name != "schema":
            text += _keys_of(name, command)
    return text


def _report(kind: type) -> str:
    """Return the keys that `as_json` of a report has, with what its docstrings say."""
    text = paragraphs(kind.__doc__) + "\n\n"
    text += table(("key", "is"), [(code(key), what) for key, what in json_shape.keys_of(kind)])
    parts = json_shape.parts_of(kind)
    return text + "".join(f"\n`{name}`: {first_sentence(part.__doc__)}\n" for name, part in parts)


def _listed(function: Callable[..., Any]) -> str:
    """Return the keys of the dict that a function prints or returns, as its source has them."""
    keys: list[str] = []
    for node in ast.walk(ast.parse(inspect.getsource(function))):
        printed = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_print_json"
        values = node.args if printed else [node.value] if isinstance(node, ast.Return) else []
        for value in values:
            names = value.keys if isinstance(value, ast.Dict) else []
            keys += [str(key.value) for key in names if isinstance(key, ast.Constant)]
    return ", ".join(map(code, keys))


def _keys_of(name: str, function: Callable[..., Any]) -> str:
    """Return the line of keys of a command without a report. Raises SystemExit if there are none to be found."""
    keys = _listed(function)
    if not keys:
        raise SystemExit(f"{name}: what --json prints is not known; add its class to REPORTS of {Path(__file__).name}")
    return f"\n## {name}\n\nKeys: {keys}.\n"
