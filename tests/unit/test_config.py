"""Shipped configs, overrides, schema, fingerprint: what loads and what it loads to."""

import hashlib
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from gossamer.arch.config import (
    DESCRIPTIVE_FIELDS,
    config_names,
    config_schema,
    device_names,
    fingerprint,
    load_config,
    resolved_yaml,
)
from gossamer.arch.errors import ConfigError
from gossamer.arch.resources import estimate_resources
from gossamer.arch.spec import MemoryKind, SparseAccelerator, SystolicAccelerator

SHIPPED = {
    "u280-sparse", "kv260-edge", "ecp5-tiny", "ecp5-nano",
    "systolic-32x32-ws", "systolic-32x32-os", "systolic-128x128-ws",
}  # fmt: skip
DEVICES = {"u280", "vcu1525", "vhk158", "kv260", "zcu104", "xc7a100t", "ecp5-85"}


def sparse(name: str, *overrides: str) -> SparseAccelerator:
    spec = load_config(name, overrides)
    assert isinstance(spec, SparseAccelerator)
    return spec


def shipped_text(name: str) -> str:
    return (files("gossamer.configs") / "accelerators" / f"{name}.yaml").read_text(encoding="utf-8")


def leaves(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every scalar field of a spec with its path."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def replaced(model: BaseModel, path: tuple[str, ...], value: Any) -> Any:
    """Return the spec with one scalar replaced."""
    inner = value if len(path) == 1 else replaced(getattr(model, path[0]), path[1:], value)
    return model.model_copy(update={path[0]: inner})


def other(value: Any) -> Any:
    """Return another value of the same type."""
    if isinstance(value, str):
        return value + "x"
    return value + 1 if isinstance(value, int) else value * 1.0000001


def test_shipped_names() -> None:
    assert set(config_names()) >= SHIPPED
    assert set(device_names()) >= DEVICES
    assert list(config_names()) == sorted(config_names())


@pytest.mark.parametrize("name", config_names())
def test_shipped_config_loads_fits_and_is_commented(name: str) -> None:
    spec = load_config(name)
    assert spec.name == name
    assert shipped_text(name).startswith("# ")
    if isinstance(spec, SparseAccelerator):
        estimate = estimate_resources(spec)
        for resource in ("dsp", "bram36", "uram", "lut", "ff"):
            assert 0 <= estimate.share(resource) <= 1


@pytest.mark.parametrize("name", device_names())
def test_shipped_device_is_legal(name: str) -> None:
    """Each device, inline in a config as large as the smallest shipped one, loads and keeps its name."""
    memory = "dp16kd" if name == "ecp5-85" else "bram36"
    overrides = [f"buffers.{buffer}.memory={memory}" for buffer in
                 ("activation", "weight", "index", "accumulator", "parameter")]  # fmt: skip
    assert sparse("ecp5-tiny", f"device={name}", *overrides).device.name == name


def test_published_budgets() -> None:
    """Counts of the data sheets, typed in again."""
    table = {
        "u280": (9024, 2016, 960, 1_303_680, 2_607_360), "kv260": (1248, 144, 64, 117_120, 234_240),
        "vcu1525": (6840, 2160, 960, 1_182_240, 2_364_480), "zcu104": (1728, 312, 96, 230_400, 460_800),
        "xc7a100t": (240, 135, 0, 63_400, 126_800), "ecp5-85": (156, 208, 0, 83_640, 83_640),
        "vhk158": (7392, 2541, 1301, 1_753_984, 3_507_968),
    }  # fmt: skip
    for name, counts in table.items():
        device = yaml.safe_load((files("gossamer.configs") / "devices" / f"{name}.yaml").read_text(encoding="utf-8"))
        assert tuple(device[key] for key in ("dsp", "bram36", "uram", "lut", "ff")) == counts


def test_the_configs_people_rely_on() -> None:
    u280 = sparse("u280-sparse")
    assert u280.array.chains * u280.array.chain_length * u280.array.lanes == 8192
    assert u280.off_chip.channels * u280.off_chip.channel_bandwidth_gb_s == 460
    assert sparse("kv260-edge").off_chip.channel_bandwidth_gb_s == 19.2
    tiny = sparse("ecp5-tiny")
    assert (tiny.array.chains, tiny.array.chain_length, tiny.array.lanes) == (8, 4, 2)
    systolic = load_config("systolic-128x128-ws")
    assert isinstance(systolic, SystolicAccelerator)
    assert (systolic.array.rows, systolic.array.columns, systolic.array.stationarity.value) == (128, 128, "ws")


def test_overrides_apply_in_order_and_reach_into_the_named_device() -> None:
    spec = sparse(
        "kv260-edge", "off_chip.channels=3", "off_chip.channels=2", "device=zcu104", "device.dsp=1e3",
        "buffers.activation.capacity_bytes=524288", "axi={ports: 2, data_bits: 64, burst_beats: 8, max_outstanding: 1}",
    )  # fmt: skip
    assert spec.off_chip.channels == 2
    assert (spec.device.name, spec.device.dsp, spec.device.uram) == ("zcu104", 1000, 96)
    assert spec.buffers.activation.capacity_bytes == 524_288
    assert spec.axi.ports == 2


def test_an_override_mends_what_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(shipped_text("kv260-edge").replace("chains: 64", "chains: 0x"))
    with pytest.raises(ConfigError, match=r"array.chains: must be a whole number"):
        load_config(path)
    path.write_text(shipped_text("kv260-edge").replace("chains: 64", "chains: .inf"))
    with pytest.raises(ConfigError, match=r"array.chains: must be a plain finite decimal number"):
        load_config(path)
    assert sparse(str(path), "array.chains=64") == sparse("kv260-edge")


def test_numbers_that_yaml_1_1_misreads(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    text = shipped_text("kv260-edge")
    path.write_text(text.replace("clock_mhz: 250.0", "clock_mhz: 1e2").replace("524288 # 512", "0x8_0000 # 512"))
    spec = sparse(str(path))
    assert spec.clock_mhz == 100.0
    assert spec == sparse("kv260-edge", "clock_mhz=100")
    assert sparse("kv260-edge", "buffers.activation.capacity_bytes=1e5").buffers.activation.capacity_bytes == 10**5


def test_anchors_aliases_and_merges(tmp_path: Path) -> None:
    buffers = (
        "buffers:\n  activation: &a {capacity_bytes: 32768, memory: dp16kd}\n  weight: *a\n"
        "  index: {<<: *a, capacity_bytes: 6144}\n  accumulator: {<<: [*a, {memory: bram36}]}\n  parameter: *a\n"
    )
    start, end = shipped_text("ecp5-tiny").split("buffers:")
    path = tmp_path / "a.yaml"
    path.write_text(start + buffers + "vector:" + end.split("vector:")[1])
    spec = sparse(str(path), "buffers.weight.capacity_bytes=16384", "buffers.parameter.capacity_bytes=16384")
    assert spec == sparse("ecp5-tiny")
    assert spec.buffers.accumulator.memory is MemoryKind.DP16KD


@pytest.mark.parametrize("name", config_names())
def test_resolved_yaml_loads_back_equal(name: str, tmp_path: Path) -> None:
    spec = load_config(name)
    path = tmp_path / "config.resolved.yaml"
    path.write_text(resolved_yaml(spec), encoding="utf-8")
    assert load_config(path) == spec
    assert fingerprint(spec) in path.read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # the changed texts are not legal choices
@pytest.mark.parametrize("name", ["u280-sparse", "systolic-32x32-ws"])
def test_every_field_changes_the_fingerprint(name: str) -> None:
    spec = load_config(name)
    base = fingerprint(spec)
    assert len(base) == 64
    unchanged, fields = set(), 0
    for path, value in leaves(spec):
        changed = replaced(spec, path, other(value))
        assert changed != spec
        fields += 1
        if fingerprint(changed) == base:
            unchanged.add(".".join(path))
    assert fields >= (36 if isinstance(spec, SparseAccelerator) else 7)
    assert unchanged == {path for path in DESCRIPTIVE_FIELDS if path in {".".join(at) for at, _ in leaves(spec)}}


def test_fingerprint_is_stable() -> None:
    """A Program file names its config by this value, so it must not depend on the machine or the key order."""
    spec = load_config("systolic-32x32-ws")
    canonical = '{"array":{"columns":32,"kind":"systolic","rows":32,"stationarity":"ws"},"clock_mhz":1000.0}'
    assert fingerprint(spec) == hashlib.sha256(canonical.encode()).hexdigest()


def test_schema_accepts_shipped_configs_and_refuses_mistakes() -> None:
    schema = config_schema()
    json.dumps(schema)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for name in config_names():
        data = yaml.safe_load(shipped_text(name))
        validator.validate(data)
        validator.validate(yaml.safe_load(resolved_yaml(load_config(name))))
        assert not validator.is_valid({**data, "extra": 1})
        assert not validator.is_valid({key: value for key, value in data.items() if key != "array"})
    data = yaml.safe_load(shipped_text("kv260-edge"))
    assert not validator.is_valid({**data, "device": "kv261"})
    assert not validator.is_valid({**data, "array": {**data["array"], "chains": 12}})
    assert not validator.is_valid({**data, "array": {**data["array"], "group_size": 5}})


def test_schema_describes_every_field_and_names_the_devices() -> None:
    definitions = config_schema()["$defs"]
    for name, definition in definitions.items():
        for key, field in definition.get("properties", {}).items():
            assert field.get("description"), f"{name}.{key}"
    choices = definitions["SparseAccelerator"]["properties"]["device"]["anyOf"]
    assert choices[0]["enum"] == list(device_names())
