"""Compile the hot loops: one decorator for every numba kernel, and a kernel cache that can never be stale.

numba's own cache notices a change of the file a kernel is in, but not of another file whose function or constant was
compiled into it. So the cache folder is named by a hash of every source that a kernel can depend on, the numba version
and the Python version; a changed source starts a new folder. It lies in NUMBA_CACHE_DIR if that is set, else in
XDG_CACHE_HOME/gossamer, else in ~/.cache/gossamer. If the folder cannot be written kernels are compiled in every run.

With NUMBA_DISABLE_JIT=1 in the environment kernels are ordinary Python functions.
"""

import hashlib
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any, TypeVar, overload

import numba

from gossamer.arch.user_cache import claim, user_cache

F = TypeVar("F", bound=Callable[..., Any])


def _import_array_support() -> None:
    """Import numba's array functions, which the first compiled kernel needs, without importing scipy.linalg.

    numba only asks whether SciPy's BLAS is there, which no kernel here uses, and the answer costs up to half a second
    in every run. It is given without importing: what other users of numba in this process see is unchanged.
    """
    if numba.config.DISABLE_JIT or "scipy.linalg" in sys.modules:
        return
    blocked: dict[str, Any] = sys.modules  # None makes an import fail
    blocked["scipy.linalg"] = None
    try:
        arrays: Any = import_module("numba.np.arraymath")
    finally:
        del sys.modules["scipy.linalg"]
    arrays._HAVE_BLAS = util.find_spec("scipy") is not None


_import_array_support()

_ROOMS = ("arch", "dataflow", "sim", "mapper", "explore")
_DECORATOR_MODULE = "gossamer.sim.kernels"
_IMPORT = re.compile(r"^\s*(?:from\s+(gossamer[\w.]*)\s+import\s+(\([^)]*\)|[^\n#]*)|import\s+(gossamer[\w.]*))", re.M)


def _room_sources() -> dict[str, Path]:
    """Return every module of the rooms: dotted name to source file."""
    sources: dict[str, Path] = {}
    package = Path(__file__).resolve().parent.parent
    for room in _ROOMS:
        root = package / room
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            sources[".".join(("gossamer", room, *(part for part in parts if part != "__init__")))] = path
    return sources


def _imported(text: str) -> set[str]:
    """Return the dotted names a source may import from this package, `from a import b` counted as a and as a.b."""
    names: set[str] = set()
    for source, imported, plain in _IMPORT.findall(text):
        if plain:
            names.add(plain)
            continue
        names.add(source)
        names.update(f"{source}.{name}" for name in re.findall(r"\w+", imported))
    return names


@cache
def kernel_sources() -> tuple[str, ...]:
    """Return the modules compiled code can depend on: those that use the decorator and all they import, sorted."""
    texts = {name: path.read_text(encoding="utf-8") for name, path in _room_sources().items()}
    pending = [name for name, text in texts.items() if _DECORATOR_MODULE in _imported(text)]
    found = {_DECORATOR_MODULE}
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(_imported(texts[name]) & texts.keys())
    return tuple(sorted(found))


@cache
def cache_folder() -> Path:
    """Return the folder of the compiled kernels of exactly these sources, numba and Python; it may not exist yet."""
    digest = hashlib.sha256(f"numba {metadata.version('numba')} python {platform.python_version()}".encode())
    sources = _room_sources()
    for name in kernel_sources():
        digest.update(name.encode() + b"\0" + sources[name].read_bytes() + b"\0")
    given = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(given) if given else user_cache()
    return base / f"kernels-{digest.hexdigest()[:16]}"


@cache
def cache_is_writable() -> bool:
    """Return whether compiled kernels can be kept; creates the folder."""
    try:
        claim(cache_folder())
        with tempfile.TemporaryFile(dir=cache_folder()):
            return True
    except (OSError, RuntimeError):  # RuntimeError: no home directory
        return False


def cache_is_cold() -> bool:
    """Return whether this run has to compile kernels, for a front end to say so: nothing is cached (yet, or ever)."""
    if numba.config.DISABLE_JIT:
        return False
    return not cache_is_writable() or next(cache_folder().rglob("*.nbi"), None) is None


@overload
def kernel(function: F) -> F: ...
@overload
def kernel(*, parallel: bool = False, contract: bool = False, allocates: bool = True) -> Callable[[F], F]: ...
def kernel(
    function: F | None = None, *, parallel: bool = False, contract: bool = False, allocates: bool = True
) -> F | Callable[[F], F]:
    """Compile a free function of arrays and scalars; use as `@kernel` or `@kernel(parallel=True)`.

    The GIL is released, integer division by zero is not checked for (callers validate), results are cached on disk.
    `contract` lets a float product and sum become one fused multiply-add, and nothing else of fast maths: only for
    kernels whose float values are integers below 2**24 throughout, where both ways are exact. `allocates=False` is for
    kernels that make and return no array (numba refuses to compile those that do): numba then counts no references,
    which for a short kernel with several arrays takes ten times as long as its work.
    """

    def decorate(target: F) -> F:
        # numba reads the setting when the decorator runs; other users of numba in this process keep theirs.
        previous = numba.config.CACHE_DIR
        writable = not numba.config.DISABLE_JIT and cache_is_writable()
        if writable:
            numba.config.CACHE_DIR = str(cache_folder())
        try:
            compiled: F = numba.njit(
                cache=writable,
                nogil=True,
                parallel=parallel,
                error_model="numpy",
                fastmath={"contract"} if contract else False,
                _nrt=allocates,
            )(target)
        finally:
            numba.config.CACHE_DIR = previous
        return compiled

    return decorate if function is None else decorate(function)
