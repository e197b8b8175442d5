"""Keep what is compiled and found between runs in one folder, and remove what no run has used for long.

Entries are folders named by what they depend on, mostly a hash of it, so that other code, or another version of a tool,
has others: `kernels-*`, `mappings-*`, `tools-*` and, below `cores`, compiled cores. Whoever uses one claims it first,
which notes the time. When a new one is made, those that were not used for UNUSED_DAYS go, then, least recently used
first, those beyond MOST_BYTES that were not used for a day. Claims and removals exclude each other by a lock, so that
an entry is never removed between its claim and its use, whichever environments share the folder; it is renamed before
it is removed, so that it is there as a whole or not at all.
"""

import os
import shutil
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

UNUSED_DAYS = 30
MOST_BYTES = 5_000_000_000
_DAY_SECONDS = 86_400
_REMOVED = ".removed-"
_PREFIXES = ("kernels-", "mappings-", "tools-", _REMOVED)
"""Of entries in the folder itself."""


def user_cache() -> Path:
    """Return the folder of everything that is kept between runs. Raises RuntimeError without a home directory."""
    # The XDG specification: a relative path is invalid and must be ignored.
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "gossamer"


def claim(entry: Path) -> None:
    """Make the folder of an entry, or note that it is used now. Raises OSError if it cannot be written.

    Entries elsewhere than in `user_cache` are only made. A new one may remove old ones.
    """
    root = user_cache()
    if root not in entry.parents or find_spec("fcntl") is None:  # not POSIX: nothing is removed
        entry.mkdir(parents=True, exist_ok=True)
        return
    import fcntl

    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_new = not entry.exists()
        entry.mkdir(parents=True, exist_ok=True)
        os.utime(entry)
        removed = [_set_aside(path) for path in _stale(root)] if is_new else []
    for path in removed:
        shutil.rmtree(path, ignore_errors=True)


def entries(root: Path) -> Iterator[Path]:
    """Yield the entries of a cache folder, and what is left of removals that were interrupted."""
    for folder in (root, root / "cores"):
        for path in folder.glob("*"):
            if path.is_dir() and (folder != root or path.name.startswith(_PREFIXES)):
                yield path


def bytes_of(entry: Path) -> int:
    """Return the sizes of all files of an entry."""
    return sum(path.lstat().st_size for path in entry.rglob("*") if path.is_file())


def _stale(root: Path) -> list[Path]:
    """Return the entries to remove."""
    now = time.time()
    stale, kept = [], []
    for entry in entries(root):
        days = (now - entry.stat().st_mtime) / _DAY_SECONDS
        if entry.name.startswith(_REMOVED) or days > UNUSED_DAYS:
            stale.append(entry)
        else:
            kept.append((days, bytes_of(entry), entry))
    room = MOST_BYTES
    for days, size, entry in sorted(kept):
        room -= size
        if room < 0 and days > 1:
            stale.append(entry)
    return stale


def _set_aside(entry: Path) -> Path:
    if entry.name.startswith(_REMOVED):
        return entry
    aside = entry.with_name(f"{_REMOVED}{os.getpid()}-{entry.name}")
    entry.replace(aside)
    return aside
