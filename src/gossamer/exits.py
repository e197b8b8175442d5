"""Turn whatever ends a command into a message, an exit status and, with `--json`, one object; never a traceback.

Statuses: 0 done; 1 the answer is no, or a tool failed; 2 bad input or interrupted.
"""

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr

from gossamer.arch.errors import GossamerError

BAD_INPUT = 2
_TYPER_INTERRUPTED = 130
"""Status typer leaves with when it has seen KeyboardInterrupt."""


def run(app: Callable[[], None], words: Sequence[str]) -> None:
    """Run a command line with the words behind its name, and leave with its status."""
    as_json = "--json" in words
    said = io.StringIO()
    try:
        with _collected(said, as_json):
            app()
    except GossamerError as error:
        _leave(str(error), type(error).__name__, error.exit_status, as_json)
    except KeyboardInterrupt:
        _interrupted(as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _leave(f"{error.filename or 'file system'}: {error.strerror or error}", "OSError", BAD_INPUT, as_json)
    except SystemExit as stop:
        if stop.code == _TYPER_INTERRUPTED:
            _interrupted(as_json)
        if as_json and stop.code == BAD_INPUT:  # what typer says about the words themselves
            _print_error(said.getvalue().rpartition("Error: ")[2].strip(), "UsageError", BAD_INPUT)
        raise


@contextmanager
def _collected(said: io.StringIO, wanted: bool) -> Iterator[None]:
    """Keep what goes to stderr in `said` too, if wanted: there is no progress then, only what went wrong."""
    if not wanted:
        yield
        return
    try:
        with redirect_stderr(said):
            yield
    finally:
        sys.stderr.write(said.getvalue())


def _interrupted(as_json: bool) -> None:
    _leave("interrupted; nothing was left half-written", "KeyboardInterrupt", BAD_INPUT, as_json)


def _leave(message: str, kind: str, status: int, as_json: bool) -> None:
    sys.stderr.write(f"gossamer: {message}\n")
    if as_json:
        _print_error(message, kind, status)
    sys.exit(status)


def _print_error(message: str, kind: str, status: int) -> None:
    problem = {"kind": kind, "message": message, "exit_status": status}
    sys.stdout.write(json.dumps({"error": problem}, indent=2) + "\n")
