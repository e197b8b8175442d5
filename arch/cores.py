"""Say what one of several cores is: an accelerator of its own with an equal share of off-chip memory.

The cores share addresses, but no channel and no AXI port: each has `channels / cores` channels where that is a whole
number, else all of them at 1 / cores of their bandwidth. So what a core does never depends on what another one does at
the same time, only on the barriers between them (docs/decisions/0023).
"""

from gossamer.arch.errors import ConfigError
from gossamer.arch.spec import SparseAccelerator


def core_spec(spec: SparseAccelerator) -> SparseAccelerator:
    """Return one of the equal cores of an accelerator as an accelerator of one core; that itself if it has one."""
    cores, memory = spec.cores, spec.off_chip
    if cores == 1:
        return spec
    if memory.channels % cores == 0:
        share = memory.model_copy(update={"channels": memory.channels // cores})
    else:
        share = memory.model_copy(update={"channel_bandwidth_gb_s": memory.channel_bandwidth_gb_s / cores})
    return spec.model_copy(update={"cores": 1, "off_chip": share})


def require_one_core(spec: SparseAccelerator, what: str) -> None:
    """Raise ConfigError, beginning with `what` is asked for, if a config has several cores."""
    if spec.cores > 1:
        raise ConfigError(f"{what}: `cores` must be 1, not {spec.cores}; choose one core with --set cores=1")
