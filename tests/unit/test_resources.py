"""Resource estimates: against primitive counts worked out by hand, and the refusal to exceed a device."""

import itertools

import pytest

from gossamer.arch.config import load_config
from gossamer.arch.errors import ConfigError
from gossamer.arch.resources import (
    RESOURCE_NAMES,
    Resources,
    estimate_resources,
    memory_primitives,
    shortages,
)
from gossamer.arch.spec import Family, MemoryKind, SparseAccelerator

US, VERSAL, S7, ECP5 = Family.ULTRASCALE_PLUS, Family.VERSAL, Family.SERIES7, Family.ECP5
BRAM, URAM, LUTRAM, DP16KD = MemoryKind.BRAM36, MemoryKind.URAM288, MemoryKind.LUTRAM, MemoryKind.DP16KD
HUGE = tuple(f"device.{name}=100000000" for name in RESOURCE_NAMES)


def sparse(name: str, *overrides: str) -> SparseAccelerator:
    spec = load_config(name, overrides)
    assert isinstance(spec, SparseAccelerator)
    return spec


@pytest.mark.parametrize(
    ("kind", "family", "width_bits", "depth", "byte_writes", "read_ports", "count"),
    [
        (BRAM, US, 72, 512, False, 1, 1),     # RAMB36E2 as Yosys maps it
        (BRAM, US, 73, 512, False, 1, 2),
        (BRAM, US, 72, 513, False, 1, 2),
        (BRAM, US, 64, 512, True, 1, 1),      # eight byte enables
        (BRAM, US, 72, 512, True, 1, 2),
        (BRAM, US, 72, 512, False, 2, 2),     # true dual port is half as wide
        (BRAM, US, 1, 32768, False, 1, 1),
        (BRAM, US, 9, 4096, False, 1, 1),
        (BRAM, US, 8, 4096, True, 1, 1),
        (URAM, US, 72, 4096, False, 1, 1),    # URAM288 as Yosys maps it
        (URAM, US, 72, 4096, False, 2, 1),
        (URAM, US, 8, 32768, False, 1, 8),    # one shape only before Versal
        (URAM, VERSAL, 8, 32768, True, 1, 1),
        (URAM, US, 1024, 65536, True, 2, 256),
        (DP16KD, ECP5, 36, 512, False, 1, 1),
        (DP16KD, ECP5, 36, 512, False, 2, 2),
        (DP16KD, ECP5, 64, 1024, True, 2, 4),
        (LUTRAM, US, 7, 64, False, 1, 8),
        (LUTRAM, S7, 3, 64, False, 1, 4),
        (LUTRAM, ECP5, 4, 16, False, 1, 6),
        (LUTRAM, US, 7, 65, False, 2, 32),
    ],
)  # fmt: skip
def test_memory_primitives_by_hand(
    kind: MemoryKind, family: Family, width_bits: int, depth: int, byte_writes: bool, read_ports: int, count: int
) -> None:
    assert memory_primitives(
        kind, family, width_bits, depth, byte_writes=byte_writes, read_ports=read_ports
    ) == count  # fmt: skip


def test_memory_primitives_never_beat_the_bits_and_never_fall() -> None:
    """A primitive has a fixed number of bits; a wider or deeper memory never takes fewer."""
    bits = {BRAM: 36 * 1024, URAM: 288 * 1024, DP16KD: 18 * 1024}
    sizes = (1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 72, 511, 512, 513, 4095, 4096, 4097)
    for (kind, capacity_bits), ports, byte_writes in itertools.product(bits.items(), (1, 2), (False, True)):
        family = ECP5 if kind is DP16KD else US
        for width_bits, depth in itertools.product(sizes, sizes):
            count = memory_primitives(kind, family, width_bits, depth, byte_writes=byte_writes, read_ports=ports)
            assert count * capacity_bits >= width_bits * depth
            for wider, deeper in ((width_bits + 1, depth), (width_bits, depth + 1)):
                more = memory_primitives(kind, family, wider, deeper, byte_writes=byte_writes, read_ports=ports)
                assert more >= count


def test_u280_sparse_by_hand() -> None:
    """DSPs and memories of the shipped config, each worked out from its structure."""
    parts = estimate_resources(sparse("u280-sparse")).components
    assert parts["array"].dsp == 128 * 16 * 4 // 2 == 4096
    assert parts["vector engine"].dsp == 2 * 128
    # 16 banks of 64 bits, 65,536 deep (16 URAMs), twice for four lanes
    assert parts["activation buffer"] == Resources(uram=2 * 16 * 16)
    # 4 rows a cycle, each 1,024 bits (16 URAMs) and 8,192 deep (2)
    assert parts["weight buffer"] == Resources(uram=4 * 16 * 2)
    # 4 rows a cycle, each 384 bits (6 URAMs) and 8,192 deep (2)
    assert parts["index buffer"] == Resources(uram=4 * 6 * 2)
    # 4 lanes in two halves, each 4,096 bits (57 block RAMs of 72) and 1,024 deep (2)
    assert parts["accumulator buffer"] == Resources(bram36=4 * 2 * 57 * 2)
    # 128 entries of 96 bits a cycle: 192 block RAMs of 64, 342 deep
    assert parts["parameter buffer"] == Resources(bram36=192)
    # 4,096 packed elements of 32.1 LUTs, and one 48-LUT adder for the second segment of each column
    assert parts["array"].lut == round(4096 * 32.1) + 128 * 2 * 48
    # 32 ports, two queues of 128 x 256 bits: 4 block RAMs each
    assert parts["axi ports"].bram36 == 32 * 2 * 4


def test_ecp5_tiny_by_hand() -> None:
    parts = estimate_resources(sparse("ecp5-tiny")).components
    assert parts["array"].dsp == 8 * 4 * 2  # nothing is packed: one multiplier per lane
    assert parts["activation buffer"] == Resources(bram36=4 * 4)
    assert parts["weight buffer"] == Resources(bram36=2 * 4)
    assert parts["accumulator buffer"] == Resources(bram36=2 * 2 * 8)


@pytest.mark.parametrize(("lanes", "per_stage"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_two_lanes_share_a_dsp_and_an_odd_lane_takes_one(lanes: int, per_stage: int) -> None:
    spec = sparse("u280-sparse", *HUGE, f"array.lanes={lanes}")
    assert estimate_resources(spec).components["array"].dsp == 128 * 16 * per_stage
    narrow = sparse("u280-sparse", *HUGE, f"array.lanes={lanes}", "device.family=series7", "device.uram=0", *(
        f"buffers.{name}.memory=bram36" for name in ("activation", "weight", "index")))  # fmt: skip
    assert estimate_resources(narrow).components["array"].dsp == 128 * 16 * lanes


def test_lutram_buffers_count_as_luts() -> None:
    parts = estimate_resources(sparse("ecp5-tiny", "buffers.index.memory=lutram")).components
    # 24 bits (6 of 4) x 2,048 words (128 of 16) x 6 LUT4
    assert parts["index buffer"] == Resources(lut=6 * 128 * 6)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("array.chains=64", "array.chains=128"), ("array.chain_length=8", "array.chain_length=16"),
        ("array.lanes=2", "array.lanes=4"), ("array.group_size=8", "array.group_size=16"),
        ("array.weight_rows_per_cycle=1", "array.weight_rows_per_cycle=16"), ("axi.ports=1", "axi.ports=2"),
        ("axi.data_bits=64", "axi.data_bits=128"), ("axi.burst_beats=1", "axi.burst_beats=32"),
        ("axi.max_outstanding=32", "axi.max_outstanding=64"), ("vector.lanes=8", "vector.lanes=16"),
        ("buffers.activation.capacity_bytes=1048576", "buffers.activation.capacity_bytes=2097152"),
        ("buffers.weight.capacity_bytes=1048576", "buffers.weight.capacity_bytes=4194304"),
        ("buffers.index.capacity_bytes=1048576", "buffers.index.capacity_bytes=2097152"),
        ("buffers.accumulator.capacity_bytes=2097152", "buffers.accumulator.capacity_bytes=4194304"),
        ("buffers.parameter.capacity_bytes=1048576", "buffers.parameter.capacity_bytes=2097152"),
    ],
)  # fmt: skip
def test_more_hardware_takes_no_less_of_anything_and_more_of_something(smaller: str, larger: str) -> None:
    """Queues of up to 64 entries take one LUTRAM however deep they are, so those of the ports may stay unchanged."""
    base = ("axi.ports=2", "axi.data_bits=128")
    before = estimate_resources(sparse("u280-sparse", *HUGE, *base, smaller)).total
    after = estimate_resources(sparse("u280-sparse", *HUGE, *base, larger)).total
    pairs = [(getattr(before, name), getattr(after, name)) for name in RESOURCE_NAMES]
    assert all(less <= more for less, more in pairs)
    assert any(less < more for less, more in pairs) or smaller.startswith(("axi.max", "axi.burst"))


def test_port_queues_move_from_lutram_to_block_ram() -> None:
    """Two bursts of 32 beats fit 64-deep LUTRAM; of 64 beats, 32 ports x 2 queues x 4 block RAMs."""
    short = estimate_resources(sparse("u280-sparse", "axi.burst_beats=32")).components["axi ports"]
    long = estimate_resources(sparse("u280-sparse", "axi.burst_beats=64")).components["axi ports"]
    assert (short.bram36, long.bram36) == (0, 256)
    assert short.lut - long.lut == 32 * 2 * 8 * 37  # 37 slices of 64 x 7 hold 256 bits


def test_total_is_the_sum_and_shares_follow() -> None:
    estimate = estimate_resources(sparse("kv260-edge"))
    assert estimate.tier == "estimated"
    for name in RESOURCE_NAMES:
        assert getattr(estimate.total, name) == sum(getattr(part, name) for part in estimate.components.values())
    assert estimate.share("dsp") == estimate.total.dsp / 1248
    assert estimate_resources(sparse("ecp5-tiny")).share("uram") == 0


def test_what_does_not_fit_is_refused_with_need_budget_and_breakdown() -> None:
    with pytest.raises(ConfigError, match="needs") as caught:
        load_config("u280-sparse", ["array.chains=256", "buffers.accumulator.memory=uram288"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("u280-sparse.yaml:6:1: device: needs 1,")
    # 8 halves of 8,192 bits (114 URAMs of 72), 512 deep; 4 rows of 2,048 and 768 bits, 4,096 deep
    assert "uram (estimated) but u280 has 960: accumulator buffer 912, activation buffer 512, " in lines[0]
    assert lines[0].endswith("weight buffer 128, index buffer 48")
    assert f"needs {912 + 512 + 128 + 48:,} uram" in lines[0]


def test_every_resource_can_be_the_one_that_is_short() -> None:
    spec = sparse("kv260-edge")
    total = estimate_resources(spec).total
    for name in RESOURCE_NAMES:
        need = getattr(total, name)
        load_config("kv260-edge", [f"device.{name}={need}"])
        with pytest.raises(
            ConfigError, match=rf"device: needs {need:,} {name} \(estimated\) but kv260 has {need - 1:,}:"
        ):
            load_config("kv260-edge", [f"device.{name}={need - 1}"])
    assert shortages(spec) == []
