"""Confirmation of sweeps: simulated again once, errors as they are, order of the front judged."""

from pathlib import Path

import pytest

from gossamer import confirmation
from gossamer.arch.config import load_config
from gossamer.confirmation import Confirmation, ConfirmedPoint, confirm, confirmation_text
from gossamer.explore.runner import run_sweep
from gossamer.explore.sweep_file import Sweep, load_sweep
from gossamer.request import SimulationRequest
from gossamer.simulation import run_simulation

SWEEP = """
name: small
base: ecp5-tiny
axes:
  model: ["gemm:64x96x80"]
  sparsity: [dense, "2:4"]
  array.chains: [8, 16]
  array.lanes: [1, 2]
  buffers.activation.capacity_bytes: [16384, 32768]
objectives: [latency_s, dsp]
"""


def silent(stage: str) -> None:
    """Show nothing."""


@pytest.fixture
def swept(tmp_path: Path) -> tuple[Sweep, Path]:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    sweep = load_sweep(tmp_path / "sweep.yaml")
    run_sweep(sweep, tmp_path / "results.db")
    return sweep, tmp_path / "results.db"


def point(on_front: bool, estimated: float, simulated: float, number: int = 0) -> ConfirmedPoint:
    return ConfirmedPoint(
        id=number, on_front=on_front, estimated=dict.fromkeys(confirmation.CONFIRMED, estimated),
        simulated=dict.fromkeys(confirmation.CONFIRMED, simulated),
    )  # fmt: skip


def test_points_are_simulated_as_simulate_does_and_kept(
    swept: tuple[Sweep, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmation, "SMALL_MACS", 0)
    sweep, store = swept
    found = confirm(sweep, store, 2, silent)
    assert [each.on_front for each in found.points] == [True, True, False, False]
    for each in found.points:
        values = confirmation.point_values(sweep, each.id)
        settings = [f"{name}={values[name]}" for name in values if "." in name]
        request = SimulationRequest(
            model=values["model"], config="ecp5-tiny", sparsity=values["sparsity"], shapes={}, advice=False,
            overrides=tuple(settings),
        )  # fmt: skip
        report = run_simulation(request).report.as_json()
        assert each.simulated["cycles"] == report["total_cycles"]
        assert each.simulated["energy_j"] == report["energy_j"]
        assert load_config("ecp5-tiny", settings) == confirmation.point_spec(sweep, values)
    assert found.holds

    def again(*_: object) -> None:
        raise AssertionError("confirmed points must not be simulated again")

    monkeypatch.setattr(confirmation, "simulate", again)
    assert confirm(sweep, store, 2, silent) == found


def test_an_order_reversed_beyond_the_bound_does_not_hold() -> None:
    kept = Confirmation(points=(point(True, 100, 105), point(True, 120, 121), point(False, 90, 300)))
    assert kept.reversed_pct("cycles") == 0
    assert kept.holds
    near = Confirmation(points=(point(True, 100, 105), point(True, 104, 103)))
    assert near.reversed_pct("cycles") == pytest.approx(4)
    assert near.holds
    far = Confirmation(points=(point(True, 100, 125), point(True, 120, 121)))
    assert far.reversed_pct("cycles") == pytest.approx(20)
    assert not far.holds
    assert far.worst_pct("cycles") == pytest.approx(20)
    assert "DOES NOT HOLD" in confirmation_text(far)


@pytest.mark.slow
def test_small_designs_of_the_front_run_as_rtl_and_are_synthesized(swept: tuple[Sweep, Path]) -> None:
    sweep, store = swept
    found = confirm(sweep, store, 1, silent)
    front = next(each for each in found.points if each.on_front)
    assert front.rtl == {"bit_exact": True, "cycles": front.simulated["cycles"]}
    assert front.synthesized is not None
    assert front.synthesized["dsp"] == front.estimated["dsp"]
    assert front.synthesized["lut"] == pytest.approx(front.estimated["lut"], rel=0.10)
