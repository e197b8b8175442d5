"""Gossamer: a co-design workbench for sparse neural-network accelerators on FPGAs.

The verbs of the command line as functions: `load_config`, `load_model`, `prune`, `quantize`, `compile`, `simulate`,
`generate`, `verify`, `synth`, `sweep`; and `charts`, those of `report`. They are imported on first use, so that
`import gossamer` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossamer.api import compile, simulate, sweep, synth, verify
    from gossamer.arch.config import load_config
    from gossamer.arch.errors import GossamerError
    from gossamer.generation import generate
    from gossamer.mapper.pruning.prune import prune
    from gossamer.mapper.quantization.quantize import quantize
    from gossamer.models import load_model
    from gossamer.pages.notebook import charts

__all__ = [
    "GossamerError", "charts", "compile", "generate", "load_config", "load_model", "prune", "quantize", "simulate",
    "sweep", "synth", "verify",
]  # fmt: skip

_HOMES = {
    "GossamerError": "gossamer.arch.errors",
    "charts": "gossamer.pages.notebook",
    "compile": "gossamer.api",
    "generate": "gossamer.generation",
    "load_config": "gossamer.arch.config",
    "load_model": "gossamer.models",
    "prune": "gossamer.mapper.pruning.prune",
    "quantize": "gossamer.mapper.quantization.quantize",
    "simulate": "gossamer.api",
    "sweep": "gossamer.api",
    "synth": "gossamer.api",
    "verify": "gossamer.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gossamer' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
