"""Turn every knob of a config: each must change a result or the estimated hardware, or it should not exist."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from gossamer.arch.config import load_config
from gossamer.arch.spec import SparseAccelerator, SystolicAccelerator
from gossamer.request import SimulationRequest
from gossamer.simulation import run_simulation

DESCRIPTIVE = {"name", "clock_source", "device.name", "device.part", "device.board", "device.source"}
"""Fields that only say where a number comes from."""

SETTINGS = {
    "clock_mhz": "80",
    "device.dsp": "150",
    "device.bram36": "200",
    "device.lut": "80000",
    "device.ff": "80000",
    "array.chains": "16",
    "array.chain_length": "2",
    "array.lanes": "4",
    "array.group_size": "4",
    "array.weight_rows_per_cycle": "4",
    "off_chip.kind": "ddr4",
    "off_chip.channels": "2",
    "off_chip.channel_bandwidth_gb_s": "0.4",
    "off_chip.efficiency": "0.3",
    "off_chip.latency_ns": "900.0",
    "off_chip.interleave_bytes": "64",
    "axi.ports": "2",
    "axi.data_bits": "32",
    "axi.burst_beats": "2",
    "axi.max_outstanding": "1",
    "buffers.activation.capacity_bytes": "8192",
    "buffers.activation.memory": "lutram",
    "buffers.weight.capacity_bytes": "4096",
    "buffers.weight.memory": "lutram",
    "buffers.index.capacity_bytes": "1536",
    "buffers.index.memory": "lutram",
    "buffers.accumulator.capacity_bytes": "1024",
    "buffers.accumulator.memory": "lutram",
    "buffers.parameter.capacity_bytes": "2048",
    "buffers.parameter.memory": "lutram",
    "vector.lanes": "16",
    "dispatch.queue_depth": "1",
}
"""A legal other value of every knob of ecp5-tiny."""

ROOMY = ("device.dsp=400", "device.lut=400000")
"""Before any knob is turned, ecp5-tiny gets a device on which every setting fits."""

UNTURNED = {
    "device.family": "decides which memory kinds are legal; tests/unit/test_config.py changes it",
    "device.uram": "an ECP5 has none; tests/unit/test_config.py exceeds it on another device",
    "array.kind": "chooses the whole config class",
    "cores": "changes the Program; tests/cross/test_cores.py runs several",
}


def _leaves(spec: BaseModel, prefix: str = "") -> set[str]:
    found = set()
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        found |= _leaves(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else {prefix + name}
    return found


def _result(model: str, config: str, overrides: tuple[str, ...] = (), batch: int = 1) -> dict[str, Any]:
    request = SimulationRequest(
        model=model, config=config, sparsity="2:4", shapes={}, overrides=overrides, advice=False, batch=batch
    )
    return run_simulation(request).report.as_json()


@pytest.fixture(scope="module")
def reference() -> str:
    return json.dumps([_result(model, "ecp5-tiny", ROOMY) for model in MODELS])


MODELS = ("digits", "conv:24x24x32:3x3x48:p=1", "gemm:1x512x256")


def test_every_field_is_listed() -> None:
    spec = load_config("ecp5-tiny")
    assert isinstance(spec, SparseAccelerator)
    assert _leaves(spec) - DESCRIPTIVE == set(SETTINGS) | set(UNTURNED)


@pytest.mark.parametrize("knob", sorted(SETTINGS))
def test_knob_changes_something(knob: str, reference: str) -> None:
    changed = [_result(model, "ecp5-tiny", (*ROOMY, f"{knob}={SETTINGS[knob]}")) for model in MODELS]
    for result, before in zip(changed, json.loads(reference), strict=True):
        result["config"] = before["config"]
    assert json.dumps(changed) != reference


@pytest.mark.parametrize(
    ("knob", "value"),
    [("array.rows", "16"), ("array.columns", "16"), ("array.stationarity", "os"), ("clock_mhz", "500")],
)
def test_systolic_knob_changes_something(knob: str, value: str) -> None:
    assert isinstance(load_config("systolic-32x32-ws"), SystolicAccelerator)
    before = _result("gemm:64x100x72", "systolic-32x32-ws")
    assert _result("gemm:64x100x72", "systolic-32x32-ws", (f"{knob}={value}",)) != before
