"""Configs as other tools read them: Timeloop's architecture against the config, and what is refused."""

import json
from collections.abc import Callable
from math import prod

import pytest
import yaml

from gossamer.arch.config import config_names, load_config
from gossamer.arch.spec import SparseAccelerator
from gossamer.exports.config_text import config_text

Run = Callable[..., tuple[int, str, str]]
SPECS = [spec for spec in map(load_config, config_names()) if isinstance(spec, SparseAccelerator)]
TWO = ("cores=2", "device.dsp=1000", "device.bram36=1000", "device.lut=400000")
ONE_CORE = [spec.name for spec in SPECS if spec.cores == 1]


class _Loader(yaml.SafeLoader):
    """Reads Timeloop's tags as plain mappings."""


for _tag in ("!Component", "!Container"):
    _Loader.add_constructor(_tag, lambda loader, node: loader.construct_mapping(node, deep=True))


@pytest.mark.parametrize("name", ONE_CORE)
def test_timeloop_has_the_sizes_of_the_config(name: str) -> None:
    spec = load_config(name)
    assert isinstance(spec, SparseAccelerator)
    text = config_text(name, "timeloop")
    found = _Loader(text).get_single_data()["architecture"]
    assert found["version"] == "0.4"
    nodes = {node["name"]: node for node in found["nodes"]}
    assert prod(node["spatial"]["meshX"] for node in nodes.values() if "spatial" in node) == (
        spec.array.chains * spec.array.chain_length * spec.array.lanes
    )
    bytes_of = {
        name: node["attributes"]["depth"] * node["attributes"]["width"] // 8
        for name, node in nodes.items()
        if node.get("class") == "SRAM"
    }
    halves = bytes_of["activation_in"] + bytes_of["activation_out"]
    buffers = spec.buffers
    assert (bytes_of["weight_buffer"], halves, bytes_of["accumulator"]) == (
        buffers.weight.capacity_bytes, buffers.activation.capacity_bytes, buffers.accumulator.capacity_bytes,
    )  # fmt: skip
    for node in nodes.values():
        attributes = node.get("attributes", {})
        if "block_size" in attributes:
            assert attributes["width"] == attributes["block_size"] * attributes["datawidth"]
        kept = node.get("constraints", {}).get("dataspace")
        assert kept is None or sorted(kept["keep"] + kept["bypass"]) == ["Inputs", "Outputs", "Weights"]
    bandwidth = spec.off_chip.channels * spec.off_chip.channel_bandwidth_gb_s * spec.off_chip.efficiency
    read = nodes["off_chip"]["attributes"]["read_bandwidth"]
    assert read == min(spec.axi.row_bytes, round(bandwidth * 1e3 / spec.clock_mhz))


def test_formats_of_the_command(run: Run) -> None:
    status, out, err = run("config", "ecp5-tiny", "--set", "array.lanes=1")
    assert (status, err) == (0, "")
    assert yaml.safe_load(out)["array"]["lanes"] == 1
    assert yaml.safe_load(run("config", "ecp5-tiny", "--format", "zigzag")[1])["operational_array"]["sizes"] == [
        8,
        4,
        2,
    ]
    told = json.loads(run("config", "ecp5-tiny", "--format", "timeloop", "--json")[1])
    assert told == {"format": "timeloop", "text": run("config", "ecp5-tiny", "--format", "timeloop")[1]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ecp5-tiny", "--format", "scalesim"], "gossamer, zigzag, timeloop, not `scalesim`"),
        (["systolic-32x32-ws", "--format", "timeloop"], "no memories to export"),
        (
            ["ecp5-tiny", "--format", "zigzag", *(word for setting in TWO for word in ("--set", setting))],
            "`cores` must be 1, not 2",
        ),
    ],
)
def test_what_cannot_be_said_is_refused(run: Run, arguments: list[str], message: str) -> None:
    status, out, err = run("config", *arguments)
    assert (status, out) == (2, "")
    assert message in err
