"""Resource estimates: against primitive counts worked out by hand, and the refusal to exceed a device."""

import itertools
import re

import pytest

from gossamer.arch.config import load_config
from gossamer.arch.errors import ConfigError
from gossamer.arch.logic import OFFSET_BITS, OWNER_BITS, STORE_PIECES_AHEAD, TABLE_BITS, WRITE_BURSTS_HELD
from gossamer.arch.primitives import memory_primitives, multiplier_dsps
from gossamer.arch.resources import (
    RESOURCE_NAMES,
    ROW_PRODUCTS,
    VECTOR_PRODUCTS,
    Resources,
    estimate_resources,
    shortages,
)
from gossamer.arch.spec import Family, MemoryKind, SparseAccelerator
from gossamer.arch.target import Target
from gossamer.rtl.core import Core
from gossamer.rtl.dma import parameters, spread
from gossamer.rtl.dma.store import PIECES_AHEAD
from gossamer.rtl.vector.lane import TABLE_ROW_BYTES, TABLE_ROWS
from gossamer.rtl.verilog import verilog_modules

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
        (BRAM, US, 72, 512, False, 1, 2),     # RAMB36E2 as Yosys maps it, in halves
        (BRAM, US, 73, 512, False, 1, 3),
        (BRAM, US, 36, 512, False, 1, 1),     # RAMB18E2
        (BRAM, US, 32, 256, True, 1, 1),      # as Yosys maps the banks of point 0 of the table
        (BRAM, US, 72, 513, False, 1, 4),
        (BRAM, US, 64, 512, True, 1, 2),      # eight byte enables
        (BRAM, US, 72, 512, True, 1, 3),
        (BRAM, US, 72, 512, False, 2, 4),     # true dual port is half as wide
        (BRAM, US, 1, 32768, False, 1, 2),
        (BRAM, US, 9, 4096, False, 1, 2),
        (BRAM, US, 8, 4096, True, 1, 2),
        (URAM, US, 72, 4096, False, 1, 1),    # URAM288 as Yosys maps it
        (URAM, US, 64, 16384, True, 1, 4),    # as Yosys maps the halves of u280-sparse's banks
        (URAM, US, 1024, 8192, True, 1, 29),  # its weight banks
        (URAM, US, 512, 6144, True, 1, 15),   # its index banks
        (URAM, US, 72, 4096, False, 2, 1),
        (URAM, US, 8, 32768, False, 1, 8),    # one shape only before Versal
        (URAM, VERSAL, 8, 32768, True, 1, 1),
        (URAM, US, 1024, 65536, True, 2, 256),
        (DP16KD, ECP5, 36, 512, False, 1, 1),
        (DP16KD, ECP5, 36, 512, False, 2, 2),
        (DP16KD, ECP5, 64, 1024, True, 2, 4),
        (LUTRAM, US, 7, 64, False, 1, 8),
        (LUTRAM, US, 14, 32, False, 1, 8),    # RAM32M16
        (LUTRAM, S7, 3, 64, False, 1, 4),
        (LUTRAM, ECP5, 4, 16, False, 1, 6),
        (LUTRAM, US, 7, 65, False, 2, 32),
        (LUTRAM, US, 16, 64, True, 1, 32),    # each byte in two RAM64M8, of 7 bits each
        (LUTRAM, US, 16, 32, True, 1, 16),
        (LUTRAM, S7, 8, 64, True, 1, 12),
        (LUTRAM, ECP5, 8, 17, True, 1, 24),
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
    bits = {BRAM: 18 * 1024, URAM: 288 * 1024, DP16KD: 18 * 1024}
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
    # two lanes to a DSP; 4 segments of the sums of 128 chains and 4 lanes: of two sums, two segments to a DSP
    assert parts["array"].dsp == 128 * 16 * 4 // 2 + 128 * 4 // 2 * (4 // 2) == 4096 + 512
    # 7 products a lane; LAYER_NORM: 2 small ones, 25 x 25 and 25 x 26 in 2 slices each, two 32 x 32; LRN: 2 and 9 x 32
    assert parts["vector engine"].dsp == 7 * 128 + (2 + 6 + 8) + (2 + 2)
    assert (parts["compute control"].dsp, parts["dma"].dsp) == (1, 2)
    # copies for 4 lanes, VECTOR and STORE, of 32 banks of 64 bits, 12,288 deep: 8,192 (2 URAMs) and 4,096 (1)
    assert blocks(parts["activation buffer"]) == (0, 0, 6 * 32 * (2 + 1))
    # 4 banks of a row of 128 bytes (14 URAMs of 9, and 2 bytes), 8,192 deep (2): the 2 x 2 bytes fit one
    assert blocks(parts["weight buffer"]) == (0, 0, 4 * (14 * 2 + 1))
    # pieces of 256 bytes that start anywhere: 8 banks of 64 bytes (7 URAMs of 9, and 1 byte), 3,072 deep
    assert blocks(parts["index buffer"]) == (0, 0, 8 * (7 + 1))
    # 4 lanes of 64 cells in two halves, each 64 bits and 1,024 deep: 2 block RAMs
    assert blocks(parts["accumulator"]) == (0, 4 * 64 * 2 * 2, 0)
    # windows of 128 bytes that start at any 4: 2 banks of 1,024 bits (64 block RAMs of 16), 2,048 deep
    assert blocks(parts["parameter buffer"]) == (0, 2 * 64, 0)
    assert blocks(parts["array"]) == (4096 + 512, 0, 0)


def blocks(part: Resources) -> tuple[int, int, int]:
    return part.dsp, part.bram36, part.uram


def test_ecp5_tiny_by_hand() -> None:
    parts = estimate_resources(sparse("ecp5-tiny")).components
    assert parts["array"].dsp == 8 * 4 * 2  # nothing is packed: one multiplier per lane
    # 4 copies of 4 banks of 64 bits in halves of 512: 2 DP16KD each
    assert blocks(parts["activation buffer"]) == (0, 4 * 4 * 2 * 2, 0)
    assert blocks(parts["weight buffer"]) == (0, 2 * 4, 0)  # 2 banks of 64 bits, 1,024 deep
    assert blocks(parts["index buffer"]) == (0, 2 * 2, 0)  # 2 banks of 64 bits, 384 deep
    assert blocks(parts["accumulator"]) == (0, 2 * 4 * 2 * 2, 0)  # 2 lanes, 4 cells, halves of 64 bits x 256
    assert blocks(parts["parameter buffer"]) == (0, 2 * 4, 0)  # 2 banks of 128 bits, 512 deep
    assert (parts["compute control"].dsp, parts["dma"].dsp) == (1, 4)  # 15 bits of address fit a multiplier


def test_kv260_edge_fills_its_memories() -> None:
    parts = estimate_resources(sparse("kv260-edge")).components
    assert blocks(parts["activation buffer"]) == (0, 0, 4 * 8 * 2)  # halves of 4,096 words: one URAM each
    assert blocks(parts["accumulator"]) == (0, 2 * 32 * 2, 0)  # halves of 512: one block RAM each
    assert blocks(parts["weight buffer"]) == (0, 0, 0)
    assert parts["weight buffer"].lut > 2 * 64 * 8 * 16  # 2 banks of 64 bytes, 512 deep: 8 of 64, 16 LUTs a byte
    assert blocks(parts["index buffer"]) == (0, 4 * 2 * 2, 0)  # 4 banks of 128 bits, 768 deep


@pytest.mark.parametrize(
    ("family", "bits", "count"),
    [
        (US, (27, 18), 1), (US, (18, 27), 1), (US, (28, 18), 2), (US, (25, 38), 3), (S7, (27, 17), 2),
        (S7, (25, 18), 1), (VERSAL, (27, 24), 1), (ECP5, (18, 18), 1), (ECP5, (19, 18), 2), (ECP5, (27, 17), 2),
    ],
)  # fmt: skip
def test_multipliers_by_hand(family: Family, bits: tuple[int, int], count: int) -> None:
    assert multiplier_dsps(family, bits) == count


def test_what_is_counted_is_what_the_rtl_contains() -> None:
    """Every product of two variables in the generated text, and the sizes of small memories."""
    found = {}
    for module in verilog_modules(Core(sparse("ecp5-tiny"), Target.GENERIC)):
        text = re.sub(r"//.*", "", module.text)
        products = re.findall(r"assign [^;=]+= [^;=]+ \* (?!\d+'h)[^;]+;|^ +part_product ", text, re.M)
        if products:
            found[module.name] = len(products)
    assert found == {
        "multiply_add": 1, "position_walk": 1, "transfer_setup": 1, "vector_lane": 1, "lane_sum": 2, "multiplier": 4,
        "multiplier_9": 2, "lrn": 2, "layer_norm": 7, "row_statistics": 1,
    }  # fmt: skip
    assert len(VECTOR_PRODUCTS) == found["vector_lane"] + found["lane_sum"] + found["multiplier"]
    # LAYER_NORM has two 32 x 32, LRN one of 9 x 32, in two parts
    of_rows = found["lrn"] + found["layer_norm"] + found["row_statistics"] + 2 * found["multiplier"]
    of_rows += found["multiplier_9"]
    assert len(ROW_PRODUCTS) == of_rows
    assert TABLE_BITS == (8 * TABLE_ROW_BYTES, TABLE_ROWS)
    assert (OFFSET_BITS, OWNER_BITS) == (parameters.OFFSET_BITS, 1 + parameters.OFFSET_BITS)
    assert (STORE_PIECES_AHEAD, WRITE_BURSTS_HELD) == (PIECES_AHEAD, spread.BURSTS_HELD)


@pytest.mark.parametrize(("lanes", "per_stage"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_two_lanes_share_a_dsp_and_an_odd_lane_takes_one(lanes: int, per_stage: int) -> None:
    spec = sparse("u280-sparse", *HUGE, f"array.lanes={lanes}")
    pairs_of_sums, adders_of_4_segments = 128 * lanes // 2, 2  # chains are even: sums pair up with odd lanes too
    adders = pairs_of_sums * adders_of_4_segments
    assert estimate_resources(spec).components["array"].dsp == 128 * 16 * per_stage + adders
    narrow = sparse("u280-sparse", *HUGE, f"array.lanes={lanes}", "device.family=series7", "device.uram=0", *(
        f"buffers.{name}.memory=bram36" for name in ("activation", "weight", "index")))  # fmt: skip
    assert estimate_resources(narrow).components["array"].dsp == 128 * 16 * lanes


@pytest.mark.parametrize(("rows", "per_dsp", "adders"), [(1, 2, 0), (2, 2, 0), (3, 3, 0), (4, 2, 1), (6, 3, 1)])
def test_two_lanes_or_three_segments_share_a_dsp58(rows: int, per_dsp: int, adders: int) -> None:
    """Of segments of four stages; what is left of more groups of segments than one is added in further DSP58."""
    changes = ["array.chains=16", f"array.chain_length={4 * rows}", f"array.weight_rows_per_cycle={rows}"]
    array = estimate_resources(sparse("kv260-edge", "device=vhk158", *changes)).components["array"]
    products = 16 * 4 * rows * 2
    assert array.dsp == products // per_dsp + 16 * adders


@pytest.mark.parametrize(
    ("group_size", "stages", "rows", "dsp", "lut", "ff"),
    [
        (4, 12, 3, 256, 6265, 8701),
        (4, 12, 2, 384, 6233, 8863),
        (4, 12, 6, 288, 6361, 7643),
        (8, 12, 3, 256, 18650, 14317),
        (4, 4, 1, 128, 2121, 2099),
        (8, 4, 1, 128, 6249, 3971),
        (16, 12, 3, 256, 31046, 25309),
    ],
)
def test_an_array_of_dsp58_takes_what_synthesis_counts(
    group_size: int, stages: int, rows: int, dsp: int, lut: int, ff: int
) -> None:
    """Against the arrays of docs/decisions/0024 that have 16 chains and 4 lanes, no coefficient fitted to them."""
    changes = [f"array.group_size={group_size}", f"array.chain_length={stages}", f"array.weight_rows_per_cycle={rows}"]
    spec = sparse("kv260-edge", "device=vhk158", "array.chains=16", "array.lanes=4", *changes)
    array = estimate_resources(spec).components["array"]
    assert array.dsp == dsp
    assert abs(array.lut - lut) < 0.015 * lut
    assert abs(array.ff - ff) < 0.005 * ff


def test_lutram_buffers_count_as_luts() -> None:
    block, small = (
        estimate_resources(sparse("ecp5-tiny", f"buffers.index.memory={kind}")).components["index buffer"]
        for kind in ("dp16kd", "lutram")
    )
    assert (block.bram36, small.bram36) == (4, 0)
    # 2 banks of 8 bytes (2 of 4 bits each) x 384 words (24 of 16) x 6 LUT4, and the choice of one of 24; a row's 9 bits
    assert small.lut - block.lut > 2 * 8 * 2 * 24 * 6
    assert small.ff - block.ff == 2 * 9


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("array.chains=64", "array.chains=128"), ("array.chain_length=8", "array.chain_length=16"),
        ("array.lanes=2", "array.lanes=4"), ("array.group_size=8", "array.group_size=16"),
        ("array.weight_rows_per_cycle=4", "array.weight_rows_per_cycle=16"), ("axi.ports=1", "axi.ports=2"),
        ("axi.data_bits=64", "axi.data_bits=128"), ("axi.burst_beats=16", "axi.burst_beats=32"),
        ("axi.max_outstanding=32", "axi.max_outstanding=64"), ("vector.lanes=8", "vector.lanes=16"),
        ("buffers.activation.capacity_bytes=1048576", "buffers.activation.capacity_bytes=2097152"),
        ("buffers.weight.capacity_bytes=1048576", "buffers.weight.capacity_bytes=4194304"),
        ("buffers.index.capacity_bytes=1048576", "buffers.index.capacity_bytes=2097152"),
        ("buffers.accumulator.capacity_bytes=2097152", "buffers.accumulator.capacity_bytes=4194304"),
        ("buffers.parameter.capacity_bytes=1048576", "buffers.parameter.capacity_bytes=2097152"),
    ],
)  # fmt: skip
def test_more_hardware_takes_no_less_of_anything_and_more_of_something(smaller: str, larger: str) -> None:
    """Queues of up to 64 entries take one LUTRAM however deep they are, so those of the ports may stay unchanged.

    Single beats fetch more bursts ahead, to be remembered, than bursts of 16 do: the base is where that has settled.
    """
    base = ("axi.ports=2", "axi.data_bits=128")
    before = estimate_resources(sparse("u280-sparse", *HUGE, *base, smaller)).total
    after = estimate_resources(sparse("u280-sparse", *HUGE, *base, larger)).total
    pairs = [(getattr(before, name), getattr(after, name)) for name in RESOURCE_NAMES]
    assert all(less <= more for less, more in pairs)
    assert any(less < more for less, more in pairs) or smaller.startswith(("axi.max", "axi.burst"))


def test_total_is_the_sum_and_shares_follow() -> None:
    estimate = estimate_resources(sparse("kv260-edge"))
    assert estimate.tier == "estimated"
    for name in RESOURCE_NAMES:
        assert getattr(estimate.total, name) == sum(getattr(part, name) for part in estimate.components.values())
    assert estimate.share("dsp") == estimate.total.dsp / 1248
    assert estimate_resources(sparse("ecp5-tiny")).share("uram") == 0


def test_what_does_not_fit_is_refused_with_need_budget_and_breakdown() -> None:
    # half as long chains, of two segments: 256 * 8 * 4 / 2 and 256 * 4 / 2 DSPs, as many as at 128 chains, and they fit
    shape = ["array.chains=256", "array.chain_length=8", "array.weight_rows_per_cycle=2"]
    with pytest.raises(ConfigError, match="needs") as caught:
        load_config("u280-sparse", [*shape, "buffers.accumulator.memory=uram288"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("u280-sparse.yaml:6:1: device: needs 1,")
    # 4 lanes x 128 cells x 2 halves; 2 banks of 256 bytes (28 URAMs of 9, and 4 bytes), 8,192 deep (2): the 2 x 4 bytes
    # fit one; 8 banks of 64 bytes (7 and 1)
    assert "uram (estimated) but u280 has 960: accumulator 1,024, activation buffer 576, " in lines[0]
    assert lines[0].endswith("weight buffer 114, index buffer 64")
    assert f"needs {1024 + 576 + 114 + 64:,} uram" in lines[0]


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


@pytest.mark.parametrize(("family", "dsp"), [(ECP5, 20), (US, 20)])
def test_products_of_rows_take_the_dsps_that_yosys_counts(family: Family, dsp: int) -> None:
    """Yosys 0.70 on ecp5-tiny's vector engine without lanes, synth_ecp5 and synth_xilinx -family xcup.

    Two of them are squares, which it maps as it does other products; the parameter loader has none.
    """
    assert sum(multiplier_dsps(family, bits) for bits in ROW_PRODUCTS) == dsp


@pytest.mark.parametrize("capacity_bytes", [32768, 262144])
def test_the_position_walk_takes_one_multiplier_as_yosys_counts(capacity_bytes: int) -> None:
    """Yosys 0.70 on ecp5-tiny and with addresses of 18 bits."""
    spec = sparse("ecp5-tiny", "device.bram36=1000", f"buffers.activation.capacity_bytes={capacity_bytes}")
    assert estimate_resources(spec).components["compute control"].dsp == 1


FLIGHTLLM_LUTS_PER_DSP, FLIGHTLLM_FFS_PER_DSP = 190_000 / 6144, 360_000 / 6144
"""Its matrix engine on the U280, after place and route (FPGA'24, arXiv 2401.03868)."""


@pytest.mark.parametrize(("group_size", "most"), [(4, 17), (8, 33), (16, 95)])
def test_the_array_takes_few_luts_per_dsp(group_size: int, most: int) -> None:
    """Of the DSPs that multiply, 6,144; at groups of 4, with the accumulator, fewer than FlightLLM's matrix engine."""
    parts = estimate_resources(sparse("u280-6144", f"array.group_size={group_size}")).components
    dsps = 192 * 16 * 4 // 2
    assert dsps == 6144
    assert parts["array"].lut <= most * dsps
    assert parts["array"].ff + parts["accumulator"].ff < FLIGHTLLM_FFS_PER_DSP * dsps
    if group_size == 4:
        assert parts["array"].lut + parts["accumulator"].lut < FLIGHTLLM_LUTS_PER_DSP * dsps
