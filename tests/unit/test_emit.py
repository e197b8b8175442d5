"""Rings, the off-chip memory map and the checks of the emitter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_programs import sized_spec

from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Opcode, Space
from gossamer.dataflow.numerics import QuantParams
from gossamer.dataflow.program import LayerRecord, RegionKind
from gossamer.mapper.allocate import ACTIVATION_BASE, OffChip, Request, RingBuffer, place_tensor
from gossamer.mapper.emit import Emitter

QUANT = QuantParams(0.1, 0)


@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from([1, 4, 16])), max_size=40))
def test_ring_ranges_are_aligned_and_whole(requests) -> None:
    ring = RingBuffer("weight", 64)
    last = 0
    for amount, multiple in requests:
        start = ring.alloc(amount, multiple, who="layer")
        assert start % multiple == 0
        assert start + amount <= 64
        assert start == 0 or start >= last
        last = start + amount


def test_ring_refuses_what_never_fits() -> None:
    with pytest.raises(MappingError, match="conv: needs 65 entries of the accumulator buffer at once, and it has 64"):
        RingBuffer("accumulator", 64, "entries").alloc(65, 1, who="conv")


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=25))
def test_memory_is_shared_only_by_tensors_that_never_live_together(requests) -> None:
    memory = OffChip(8)
    listed = [
        Request(
            name=str(i), kind=RegionKind.OUTPUT if fixed else RegionKind.ACTIVATION, size_bytes=size,
            first=min(a, b), last=max(a, b),
        )
        for i, (size, a, b, fixed) in enumerate(requests)
    ]  # fmt: skip
    places = memory.plan(listed)
    for i, one in enumerate(listed):
        assert (places[one.name] - ACTIVATION_BASE) % 64 == 0
        for other in listed[:i]:
            together = one.first <= other.last and other.first <= one.last
            if together or RegionKind.OUTPUT in (one.kind, other.kind):
                apart = (
                    places[one.name] + one.size_bytes <= places[other.name]
                    or places[other.name] + other.size_bytes <= places[one.name]
                )
                assert apart, (one, other)


def test_layout_orders_instructions_constants_activations() -> None:
    memory = OffChip(8)
    first, again = memory.constant(b"abc"), memory.constant(b"abc")
    second = memory.constant(np.arange(70, dtype=np.uint8))
    assert (first, again, second) == (0, 0, 64)
    address = memory.plan([Request(name="t", kind=RegionKind.INPUT, size_bytes=80, first=0, last=1)])["t"]
    layout = memory.layout(3)
    assert layout.relocate(np.array([first, second, address])).tolist() == [192, 256, 192 + 64 + 128]
    assert memory.image().size == 192
    binding = layout.binding(place_tensor("t", (1, 2, 5, 3), QUANT, 8, address))
    assert (binding.address, binding.channel_pitch, binding.shape) == (384, 8, (1, 2, 5, 3))


def test_place_addresses_are_nhwc() -> None:
    place = place_tensor("t", (2, 3, 4, 20), QUANT, 8, 1000)
    assert place.words == 3
    assert place.at(1, 2, 3, 2) == 1000 + ((1 * 3 + 2) * 4 + 3) * 24 + 16
    part = place.slice("s", (2, 3, 2, 8), QUANT, column=1, word=1)
    assert part.at(1, 2, 1) == place.at(1, 2, 2, 1)
    assert place.is_dense
    assert not part.is_contiguous


def test_a_value_too_wide_names_layer_and_field() -> None:
    emitter = Emitter(sized_spec(group=8, chains=16))
    record = LayerRecord(
        name="conv1", op="conv", positions=1, channels=1, reduction=1, macs=1, dense_macs=1, weight_bytes=0,
        index_bytes=0, pattern="dense",
    )  # fmt: skip
    emitter.begin_layer(record)
    emitter.load(Space.WEIGHT, dram=0, dst=0, run_bytes=8)
    emitter.store(dram=0, src=0, run_bytes=1 << 20)
    with pytest.raises(MappingError, match=r"conv1: field `run_bytes` .* of STORE must be below 2\*\*20, not 1048576"):
        emitter.columns()


def test_columns_hold_what_was_emitted() -> None:
    emitter = Emitter(sized_spec(group=8, chains=16))
    emitter.load(Space.PARAMETER, dram=5, dst=7, run_bytes=9, fill=-2)
    emitter.vector(Opcode.COPY, a=1, d=2, ny=3, nx=4, nc=5, par=6, par_bytes=32)
    emitter.end()
    columns = emitter.columns()
    assert emitter.opcodes().tolist() == [Opcode.LOAD, Opcode.COPY, Opcode.END]
    assert columns["fill"].tolist() == [254, 0, 0]
    assert columns["nc"].tolist() == [0, 5, 0]
    assert columns["par_bytes"].tolist() == [0, 32, 0]
    assert emitter.layer_of().tolist() == [-1, -1, -1]
