"""Write which signals a waveform viewer shows first: save files for GTKWave and command files for Surfer.

Groups of signals, top to bottom: the host's port, dispatch, each engine, each AXI4 master. All are ports of the core or
of its `control`, whose names no config changes; left out are those of AXI that never change.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gossamer.arch.isa import ENGINES
from gossamer.arch.spec import SparseAccelerator
from gossamer.rtl.control.control import Control
from gossamer.rtl.copies import CLOCK, RESET, flat_ports
from gossamer.rtl.core import Core, master_names

GTKWAVE_SUFFIX, SURFER_SUFFIX = ".gtkw", ".sucl"

_GROUP, _GROUP_END, _BIT, _NUMBER = "@800200", "@1000200", "@28", "@22"
"""Flags of GTKWave 3 that precede lines: begin and end of a group, binary and hexadecimal signals (right-justified)."""

_HOST = "s_axi_"
_CONSTANT = {"arid", "rid", "awid", "bid"} | {
    channel + name for channel in ("ar", "aw") for name in ("prot", "size", "burst", "lock", "cache", "qos", "region")
}
_DISPATCH = ("running", "start", "length", "fetch_valid", "fetch_ready", "fetch_instruction", "fetch_dispatched")


@dataclass(frozen=True, slots=True)
class WaveSignal:
    """A signal of a waveform: its path from the top, joined by dots, and its width."""

    path: str
    bits: int


def signal_groups(spec: SparseAccelerator) -> dict[str, list[WaveSignal]]:
    """Return the signals worth seeing first, by the name of their group."""
    core = Core(spec)
    top = core.module_name
    outer, inner = _widths(core), _widths(Control(spec))
    inside = f"{top}.control"
    masters = {prefix.removesuffix("_"): _starting(outer, prefix, top) for prefix in master_names(spec.axi.ports)}
    engines = {engine.value.upper(): _starting(inner, f"{engine.value}__", inside) for engine in ENGINES}
    first = [WaveSignal(f"{top}.{name}", 1) for name in (CLOCK, RESET, "interrupt")]
    dispatch = [WaveSignal(f"{inside}.{name}", inner[name]) for name in _DISPATCH]
    return {"host": [*first, *_starting(outer, _HOST, top)], "dispatch": dispatch, **engines, **masters}


def write_signal_lists(spec: SparseAccelerator, waves: Path) -> None:
    """Write the lists of a waveform file beside it, with its name and another suffix."""
    groups = signal_groups(spec)
    for suffix, lines in ((GTKWAVE_SUFFIX, _gtkwave(groups, waves)), (SURFER_SUFFIX, _surfer(groups))):
        waves.with_suffix(suffix).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _widths(component: Core | Control) -> dict[str, int]:
    """Return the widths of a component's ports."""
    return {name: len(value) for name, (value, _) in flat_ports(component).items()}


def _starting(widths: Mapping[str, int], prefix: str, scope: str) -> list[WaveSignal]:
    """Return the signals of a scope whose names begin with a prefix, without AXI's constant ones."""
    return [
        WaveSignal(f"{scope}.{name}", bits)
        for name, bits in widths.items()
        if name.startswith(prefix) and name.removeprefix(prefix) not in _CONSTANT
    ]


def _gtkwave(groups: Mapping[str, list[WaveSignal]], waves: Path) -> Iterator[str]:
    """Yield the lines of a save file."""
    yield f'[dumpfile] "{waves.name}"'
    yield "[timestart] 0"
    for name, signals in groups.items():
        yield from (_GROUP, f"-{name}")
        for signal in signals:
            yield from (_BIT, signal.path) if signal.bits == 1 else (_NUMBER, f"{signal.path}[{signal.bits - 1}:0]")
        yield from (_GROUP_END, f"-{name}")


def _surfer(groups: Mapping[str, list[WaveSignal]]) -> Iterator[str]:
    """Yield the lines of a command file."""
    for name, signals in groups.items():
        yield f"divider_add {name}"
        yield from (f"variable_add {signal.path}" for signal in signals)
    yield "zoom_fit"
