"""Name what the results of a sweep depend on, so that results of other code or other inputs are never mixed."""

import hashlib
import json
from functools import cache
from importlib import metadata
from pathlib import Path

from gossamer.arch.config import fingerprint
from gossamer.explore.sweep_file import Sweep
from gossamer.shipped_models import shipped_models

_ROOMS = ("arch", "dataflow", "sim", "mapper", "explore")
_PACKAGES = ("numpy", "numba")
_PARTS = ("axes", "set", "where", "constraints", "objectives", "strategy")


@cache
def code_identity() -> dict[str, str]:
    """Return what results depend on besides the inputs: our code, and the packages that compute."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(f"{room}/{path.relative_to(package / room).as_posix()}\0".encode())
            digest.update(path.read_bytes() + b"\0")
    return {"code of gossamer": digest.hexdigest(), **{name: metadata.version(name) for name in _PACKAGES}}


def sweep_identity(sweep: Sweep) -> dict[str, str]:
    """Return everything the results of a sweep depend on, by a name that a user understands."""
    written = sweep.spec.model_dump(mode="json", by_alias=True)
    parts = {f"sweep: {part}": _digest(json.dumps(written[part], sort_keys=False)) for part in _PARTS}
    parts["base config"] = fingerprint(sweep.space.base)
    for name, device in sweep.space.devices.items():
        parts[f"device {name}"] = _digest(device.model_dump_json())
    for axis in sweep.space.axes:
        if axis.name == "model":
            parts |= {f"model {name}": _model_digest(str(name)) for name in axis.values}
    if sweep.spec.strategy.kind in ("nsga2", "tpe"):
        parts["optuna"] = metadata.version("optuna")
    return code_identity() | parts


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _model_digest(name: str) -> str:
    """Return a hash of a model: of its file, or of the name that says all."""
    shipped = shipped_models().get(name)
    path = Path(name) if shipped is None or shipped.path is None else shipped.path
    if not path.is_file():
        return _digest(name)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
