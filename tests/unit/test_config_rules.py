"""Rules that tie fields of a config together: each with the values just inside and just outside it."""

import pytest

from gossamer.arch.config import load_config
from gossamer.arch.errors import ConfigError
from gossamer.arch.isa import FIELDS, Opcode
from gossamer.arch.rules import (
    PARAMETER_ENTRY_BYTES,
    PARAMETER_HEADER_BYTES,
    PARAMETER_TABLE_BYTES,
    PARAMETER_WIDE_TABLE_BYTES,
    Values,
    broken_rules,
    minimum_capacities,
)
from gossamer.dataflow.numerics import HEADER_DTYPE, REQUANTIZE_DTYPE, TABLE_BYTES, WIDE_TABLE_BYTES

HUGE = ("device.uram=1000000", "device.bram36=1000000", "device.lut=100000000")
"""Budgets that keep the fit out of the way of the address rules."""


def refused(*overrides: str, name: str = "kv260-edge") -> str:
    with pytest.raises(ConfigError, match="must be") as caught:
        load_config(name, overrides)
    return str(caught.value)


def test_parameter_formats_are_those_of_the_numerics() -> None:
    assert HEADER_DTYPE.itemsize == PARAMETER_HEADER_BYTES
    assert REQUANTIZE_DTYPE.itemsize == PARAMETER_ENTRY_BYTES
    assert TABLE_BYTES == PARAMETER_TABLE_BYTES
    assert WIDE_TABLE_BYTES == PARAMETER_WIDE_TABLE_BYTES


def test_minimum_capacities_by_hand() -> None:
    """ecp5-tiny: 8 chains x 4 stages x 2 lanes of groups of 8; 32 rows of 8 weights and of 3 index bytes a fold."""
    need = {name: count for name, (count, _) in
            minimum_capacities(chains=8, chain_length=4, lanes=2, group_size=8).items()}  # fmt: skip
    assert need == {
        "activation": 2 * 2 * (32 + 8), "weight": 2 * 32 * 8, "index": 2 * 32 * 3, "accumulator": 2 * 2 * 32,
        "parameter": 32 + 1024,
    }  # fmt: skip
    wide = minimum_capacities(chains=128, chain_length=16, lanes=4, group_size=16)
    assert wide["parameter"][0] == 2 * (32 + 128 * 12 + 256)
    assert wide["index"][0] == 2 * 256 * 64


@pytest.mark.parametrize("buffer", ["activation", "weight", "index", "accumulator", "parameter"])
def test_buffer_holds_two_minimal_tiles(buffer: str) -> None:
    need, why = minimum_capacities(chains=64, chain_length=8, lanes=2, group_size=8)[buffer]
    key = f"buffers.{buffer}.capacity_bytes"
    load_config("kv260-edge", [f"{key}={need}"])
    override = f"{key}={need - 1}"
    assert refused(override) == (
        f"override `{override}`: {key}: must be at least {need} to hold two minimal tiles ({why}), not {need - 1}"
    )


@pytest.mark.parametrize(
    ("buffer", "opcode", "field", "unit_bytes"),
    [
        ("activation", Opcode.COMPUTE, "a", 1), ("weight", Opcode.COMPUTE, "w", 1), ("index", Opcode.COMPUTE, "i", 1),
        ("parameter", Opcode.REQUANTIZE, "par", 1), ("accumulator", Opcode.COMPUTE, "acc", 4 * 64),
    ],
)  # fmt: skip
def test_buffer_is_addressable(buffer: str, opcode: Opcode, field: str, unit_bytes: int) -> None:
    limit = unit_bytes * 2 ** next(entry.bits for entry in FIELDS[opcode] if entry.name == field)
    key = f"buffers.{buffer}.capacity_bytes"
    load_config("kv260-edge", [*HUGE, f"{key}={limit}"])
    assert f"{key}: must be at most {limit}" in refused(*HUGE, f"{key}={limit + 1}")


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("kv260-edge", "buffers.index.memory=dp16kd",
         "buffers.index.memory: must be one of bram36, uram288, lutram on the ultrascale_plus device, not dp16kd"),
        ("ecp5-tiny", "buffers.weight.memory=uram288",
         "buffers.weight.memory: must be one of dp16kd, lutram on the ecp5 device, not uram288"),
        ("ecp5-tiny", "device.uram=1", "device.uram: must be 0 on the ecp5 family, which has no UltraRAM, not 1"),
        ("kv260-edge", "vector.lanes=36",
         "vector.lanes: must be a multiple of array.group_size (8), not 36; nearest: 32 and 40"),
        ("kv260-edge", "vector.lanes=4",
         "vector.lanes: must be a multiple of array.group_size (8), not 4; nearest: 8"),
        ("kv260-edge", "array.group_size=16",
         None),
        ("ecp5-tiny", "array.group_size=16",
         "array.chains: must be at least array.group_size (16), since a block of output channels is stored in whole "
         "words, not 8"),
        ("kv260-edge", "array.weight_rows_per_cycle=9",
         "array.weight_rows_per_cycle: must be at most array.chain_length (8), not 9"),
        ("kv260-edge", "array.weight_rows_per_cycle=6",
         "array.weight_rows_per_cycle: must be a divisor of array.chain_length (8), not 6; nearest: 4 and 8"),
        ("kv260-edge", "array.weight_rows_per_cycle=8", None),
        ("u280-sparse", "axi.burst_beats=256",
         "axi.burst_beats: must be at most 128 with axi.data_bits 256, since no burst crosses 4096 bytes, not 256"),
        ("u280-sparse", "axi.ports=16",
         "axi.ports: must be at most 8 with axi.data_bits 256, since a core moves at most 256 bytes on chip per cycle "
         "and direction, not 16"),
        ("u280-sparse", "axi.ports=2", None),
        ("u280-sparse", "axi.burst_beats=3",
         "axi.burst_beats: must be at least axi.ports (8), within off_chip.interleave_bytes (4096): a burst holds "
         "whole rows of 256 bytes, a beat of every port; not 3"),
        ("u280-sparse", "axi.burst_beats=8", None),
        ("kv260-edge", "axi.burst_beats=256", None),
        ("kv260-edge", "off_chip.interleave_bytes=96",
         "off_chip.interleave_bytes: must be a power of two, not 96; nearest: 64 and 128"),
        ("kv260-edge", "off_chip.interleave_bytes=64", None),
    ],
)  # fmt: skip
def test_rule(name: str, override: str, message: str | None) -> None:
    """None: the value just inside the rule is legal."""
    if message is None:
        load_config(name, [override, *HUGE])
    else:
        assert message in refused(override, name=name)


def test_series7_has_no_uram_and_ecp5_no_bram36() -> None:
    message = refused("device=xc7a100t", name="u280-sparse")
    assert message.count("must be one of bram36, lutram on the series7 device, not uram288") == 3
    assert refused("device=ecp5-85", name="u280-sparse").count("must be one of dp16kd, lutram on the ecp5 device") == 5


def test_rules_with_missing_inputs_are_skipped() -> None:
    data = {"vector": {"lanes": 3}, "array": {"group_size": 8, "lanes": "x"}, "buffers": {"weight": {}}}
    assert [path for path, _ in broken_rules(Values(data, []))] == ["vector.lanes"]
    assert broken_rules(Values(data, [("array", "group_size")])) == []
    assert broken_rules(Values(data, [("vector",)])) == []
    assert broken_rules(Values({}, [])) == []
