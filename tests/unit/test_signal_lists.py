"""Check the signal lists of waveforms: GTKWave's against pyvcd's writer, Surfer's commands line by line."""

import io
from pathlib import Path

import pytest
from vcd.gtkw import GTKWSave

from gossamer.arch.config import load_config
from gossamer.arch.isa import ENGINES
from gossamer.arch.spec import SparseAccelerator
from gossamer.rtl.testbench.signal_lists import WaveSignal, signal_groups, write_signal_lists


def spec_of(*settings: str) -> SparseAccelerator:
    spec = load_config("ecp5-tiny", settings)
    assert isinstance(spec, SparseAccelerator)
    return spec


@pytest.mark.parametrize(("settings", "masters"), [((), ["m_axi"]), (("axi.ports=2",), ["m_axi0", "m_axi1"])])
def test_groups(settings: tuple[str, ...], masters: list[str]) -> None:
    groups = signal_groups(spec_of(*settings))
    assert list(groups) == ["host", "dispatch", *(engine.value.upper() for engine in ENGINES), *masters]
    for engine in ENGINES:
        inside = f"gossamer_core.control.{engine.value}__"
        assert {WaveSignal(inside + name, 1) for name in ("start", "done", "waiting")} <= set(
            groups[engine.value.upper()]
        )
    for master in masters:
        names = {signal.path.removeprefix(f"gossamer_core.{master}_") for signal in groups[master]}
        channels = ("ar", "r", "aw", "w", "b")
        assert {channel + name for channel in channels for name in ("valid", "ready")} <= names
        assert {
            "araddr",
            "arlen",
            "rdata",
            "rlast",
            "rresp",
            "awaddr",
            "awlen",
            "wdata",
            "wstrb",
            "wlast",
            "bresp",
        } <= names
        assert not {"arid", "arprot", "awsize"} & names


def test_files(tmp_path: Path) -> None:
    spec = spec_of("axi.ports=2")
    groups = signal_groups(spec)
    write_signal_lists(spec, tmp_path / "dump.fst")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dump.gtkw", "dump.sucl"]
    expected = io.StringIO()
    save = GTKWSave(expected)
    save.dumpfile("dump.fst", abspath=False)
    save.timestart(0)
    for name, signals in groups.items():
        with save.group(name):
            for signal in signals:
                one = signal.bits == 1
                path = signal.path if one else f"{signal.path}[{signal.bits - 1}:0]"
                save.trace(path, datafmt="bin" if one else "hex")
    assert _effective((tmp_path / "dump.gtkw").read_text()) == _effective(expected.getvalue())
    lines = (tmp_path / "dump.sucl").read_text().splitlines()
    assert lines == [
        *(line for name, signals in groups.items()
          for line in (f"divider_add {name}", *(f"variable_add {signal.path}" for signal in signals))),
        "zoom_fit",
    ]  # fmt: skip
    assert all(len(line.split()) <= 2 for line in lines), "Surfer splits commands at blanks"


def _effective(text: str) -> list[str]:
    """Return the lines of a save file, each with the flags that hold for it: they are kept until changed."""
    flags, lines = "", []
    for line in text.splitlines():
        if line.startswith("@"):
            flags = line
        else:
            lines.append(line if line.startswith("[") else f"{flags} {line}")
    return lines
