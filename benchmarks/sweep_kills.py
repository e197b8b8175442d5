"""Kill a running sweep at random moments and resume it: its points must equal those of an uninterrupted run.

    python benchmarks/sweep_kills.py [SWEEP] [--kills 50] [--workers 2] [--seed 1]

SIGKILL goes to the main process or, every other time, to it and its workers at once. A sweep that is done before enough
kills is compared and begun again.
"""

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

_LINGER_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a series of kills: how many struck a running sweep, after how many of them it had points."""

    kills: int
    sweeps: int
    with_points: int
    points: int
    whole_seconds: float


def table_digest(store: Path) -> tuple[int, str]:
    """Return the number of stored points and a hash of every bit of their rows."""
    digest, count = sha256(), 0
    with closing(sqlite3.connect(store)) as connection:
        if connection.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            raise AssertionError(f"{store} is damaged")
        for row in connection.execute("SELECT * FROM point ORDER BY id"):
            digest.update(repr(row).encode())
            count += 1
    return count, digest.hexdigest()


def _points(store: Path) -> int:
    """Return how many points a store holds, 0 if there is none yet."""
    if not store.exists():
        return 0
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM point").fetchone()[0])
        except sqlite3.OperationalError:  # killed before the tables were made
            return 0


def _remove(store: Path) -> None:
    for path in store.parent.glob(store.name + "*"):
        path.unlink()


def _wait_until_gone(group: int) -> None:
    """Wait until no process of a group is left: workers end by themselves. Raises AssertionError if one does not."""
    deadline = time.monotonic() + _LINGER_SECONDS
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError(f"a process of group {group} outlived the sweep by {_LINGER_SECONDS} s")


def _run(command: Sequence[str], seconds: float | None, whole_group: bool) -> bool:
    """Run a command for so many seconds, then kill it; return whether it was done before."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()
        _wait_until_gone(process.pid)
        return False
    if process.returncode:
        raise AssertionError(f"the sweep failed: {errors.decode()}")
    return True


def kill_and_resume(command: Sequence[str], folder: Path, *, kills: int, seed: int) -> Outcome:
    """Run a sweep whose command is completed by the path of its store; kill and resume it; compare.

    Raises AssertionError if a completed store differs from that of an uninterrupted run.
    """
    whole, store = folder / "whole.db", folder / "killed.db"
    _run([*command, str(whole)], None, False)  # compiles kernels
    _remove(whole)
    started = time.monotonic()
    _run([*command, str(whole)], None, False)
    seconds = time.monotonic() - started
    expected = table_digest(whole)
    generator = random.Random(seed)
    struck = sweeps = with_points = 0
    while struck < kills:
        done = _run([*command, str(store)], generator.uniform(0.0, seconds), struck % 2 == 1)
        if done:
            sweeps += 1
            if table_digest(store) != expected:
                raise AssertionError("the resumed store differs from an uninterrupted run")
            _remove(store)
            continue
        struck += 1
        with_points += 0 < _points(store) < expected[0]
    _run([*command, str(store)], None, False)
    if table_digest(store) != expected:
        raise AssertionError("the resumed store differs from an uninterrupted run")
    return Outcome(
        kills=struck, sweeps=sweeps + 1, with_points=with_points, points=expected[0], whole_seconds=seconds
    )  # fmt: skip


def main() -> None:
    """Run the benchmark and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", nargs="?", default=str(Path(__file__).with_name("sweep_kills.yaml")))
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    command = [sys.executable, "-m", "gossamer", "sweep", options.sweep, "--workers", str(options.workers), "-o"]
    with tempfile.TemporaryDirectory() as folder:
        found = kill_and_resume(command, Path(folder), kills=options.kills, seed=options.seed)
    print(
        f"{found.kills} kills at random moments of {found.whole_seconds:.1f} s, {found.with_points} of them between "
        f"the first and the last of {found.points:,} points; {found.sweeps} sweeps resumed to the end, all equal"
    )


if __name__ == "__main__":
    main()
