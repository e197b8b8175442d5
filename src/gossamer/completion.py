"""Offer the shell values of options and arguments: shipped names, and words of which one is chosen.

A shell asks while the user types, so nothing heavy is imported for an answer; tests/unit/test_cli.py compares the words
with what the commands take.
"""

from collections.abc import Callable

SPARSITIES = ("dense", "keep", "1:2", "2:4", "4:8", "8:16", "1:4", "2:8", "4:16", "1:8", "2:16", "1:16")
OBJECTIVES = ("latency", "energy", "edp", "bytes")
RANGES = ("min-max", "percentile", "mse")
TARGETS = ("generic", "xcup", "versal", "ecp5")
SYNTHESIS_TARGETS = ("xcup", "ecp5")
STALLS = ("none", "random")
FORMATS = ("gossamer", "zigzag", "timeloop")
SCHEMAS = ("config", "sweep")


def words(*choices: str) -> Callable[[], list[str]]:
    """Return what offers these words."""
    return lambda: list(choices)


def configs() -> list[str]:
    """Return the names of the shipped configs."""
    from gossamer.arch.config import config_names

    return list(config_names())


def sweeps() -> list[str]:
    """Return the names of the shipped sweeps."""
    from gossamer.arch.config import shipped_names

    return list(shipped_names("sweeps"))


def models() -> list[str]:
    """Return the shipped models that are installed."""
    from gossamer.shipped_models import shipped_models

    return [name for name, model in shipped_models().items() if model.path is not None and model.path.exists()]
