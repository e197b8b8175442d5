"""Keep found mappings on disk: one small file each, named by a hash of everything the search depends on.

The folder is named by a hash of the search and of all compiled code, so that changed code starts a new one. A file is
written beside its place and renamed, whole or not at all, whoever else writes it at the same time; what cannot be read
is searched again. It lies in XDG_CACHE_HOME/gossamer, else in ~/.cache/gossamer; nothing is kept if it cannot be
written.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from inspect import getsource
from pathlib import Path

from gossamer.arch import energy
from gossamer.arch.user_cache import claim, user_cache
from gossamer.sim import accounting
from gossamer.sim.kernels import cache_folder

Numbers = list[int]


@cache
def mapping_folder() -> Path | None:
    """Return the folder of the mappings of exactly this code, None if there is none and it cannot be made."""
    digest = hashlib.sha256(cache_folder().name.encode())
    for module in sorted(Path(__file__).parent.rglob("*.py")):  # of what layers save in turn, all that emits them
        digest.update(module.read_bytes())
    for charging in (accounting, energy):
        digest.update(getsource(charging).encode())
    try:
        folder = user_cache() / f"mappings-{digest.hexdigest()[:16]}"
        claim(folder)
    except (OSError, RuntimeError):  # RuntimeError: no home directory
        return None
    return folder


def key_of(*parts: object) -> str:
    """Return the name under which what depends on `parts` is kept: their text decides."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def read_numbers(key: str, count: int) -> Numbers | None:
    """Return the `count` integers kept under a key, None if there are none or they cannot be read."""
    folder = mapping_folder()
    if folder is None:
        return None
    try:
        numbers = json.loads((folder / f"{key}.json").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    legal = isinstance(numbers, list) and len(numbers) == count and all(type(number) is int for number in numbers)
    return numbers if legal else None


def keep_numbers(key: str, numbers: Sequence[int]) -> None:
    """Keep integers under a key, if there is a folder."""
    folder = mapping_folder()
    if folder is None:
        return
    part = None
    try:
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".part", delete=False, encoding="ascii") as file:
            part = Path(file.name)
            json.dump(list(numbers), file)
        os.replace(part, folder / f"{key}.json")
    except OSError:  # a full disk, or a folder that was removed: search again next time
        if part is not None:
            part.unlink(missing_ok=True)
