"""Write a hardware config as text: resolved YAML of ours, or the file that another tool reads."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import yaml

from gossamer.arch.config import load_config, resolved_yaml
from gossamer.arch.cores import require_one_core
from gossamer.arch.errors import ConfigError
from gossamer.arch.spec import SparseAccelerator


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        """Write lists that occur twice twice."""
        return True


class ConfigFormat(StrEnum):
    """Who reads it."""

    GOSSAMER = "gossamer"
    ZIGZAG = "zigzag"
    TIMELOOP = "timeloop"


def config_text(config: str | Path, kind: str | ConfigFormat, settings: Sequence[str] = ()) -> str:
    """Return a config as YAML: with every default and the device written out, or for zigzag-dse 3.9 or Timeloop 0.4.

    `settings`: `KEY=VALUE` overrides. The other tools get the dense array and its memories of one core;
    docs/ecosystem.md says what has no place there. Raises ConfigError for a config that is wrong or cannot be said in
    that format.
    """
    if kind not in list(ConfigFormat):
        raise ConfigError(f"--format must be one of {', '.join(ConfigFormat)}, not `{kind}`")
    spec = load_config(config, settings)
    if kind == ConfigFormat.GOSSAMER:
        return resolved_yaml(spec)
    if not isinstance(spec, SparseAccelerator):
        raise ConfigError(f"{config}: a plain systolic array has no memories to export; choose a sparse_chain config")
    require_one_core(spec, f"--format {kind} describes one core")
    from gossamer.exports.timeloop import architecture_yaml
    from gossamer.exports.zigzag import accelerator

    if kind == ConfigFormat.TIMELOOP:
        return architecture_yaml(spec)
    return yaml.dump(accelerator(spec), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120)
