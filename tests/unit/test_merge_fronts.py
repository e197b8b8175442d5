"""The fronts of the parts of a sweep, merged by examples/merge_fronts.py, are the front of the whole."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from scripts import load_script
from sweep_stores import AXES, MadeUp, write_store

from gossamer.explore.runner import run_sweep
from gossamer.explore.sweep_file import load_sweep


@pytest.fixture
def example() -> ModuleType:
    return load_script("examples/merge_fronts.py")


def report(folder: Path, name: str, devices: list[str]) -> dict[str, Any]:
    """Return the JSON of a sweep over some devices."""
    axes = {**AXES, "device": devices}
    store = write_store(folder / f"{name}.db", name=name, axes=axes, objectives=["latency_s", "energy_j", "dsp"])
    return run_sweep(load_sweep(store.with_suffix(".yaml")), store, factory=MadeUp).as_json()


def test_parts_merge_to_the_whole(tmp_path: Path, example: ModuleType) -> None:
    whole = report(tmp_path, "whole", ["kv260", "u280"])
    parts = [report(tmp_path, name, [name]) for name in ("kv260", "u280")]

    def shown(points: list[dict[str, Any]]) -> list[str]:
        return sorted(repr((sorted(point["values"].items()), point["metrics"])) for point in points)

    front = example.merged(parts)
    assert shown(front) == shown(whole["pareto"])
    assert len(front) < sum(len(part["pareto"]) for part in parts)
    assert {point["part"] for point in front} == {"kv260", "u280"}
    with pytest.raises(ValueError, match="same objectives"):
        example.merged([whole, {**whole, "objectives": ["dsp"]}])
