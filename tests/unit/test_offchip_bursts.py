"""Bursts, beats and pieces against brute force; LOAD and STORE through one port against their closed forms."""

import numpy as np
import pytest
from hand_programs import small_spec
from timing_programs import timing_program

from gossamer.arch.isa import Opcode
from gossamer.arch.timing import (
    LOAD_MOVE_CYCLES,
    LOAD_SETUP_CYCLES,
    LOAD_WRITE_CYCLES,
    burst_bytes,
    load_cycles,
    store_cycles,
)
from gossamer.sim import engine
from gossamer.sim.offchip import beats_between, burst_end, offchip_timing, pieces_between
from gossamer.sim.timing import run_program, simulate

CASES = [(1, 1, 16), (3, 4, 17), (4, 4, 31), (5, 4, 31), (9, 2, 100), (33, 4, 16)]
"""bursts, max_outstanding, latency_cycles (long enough for both instruction bursts to be through)."""


def fixed_latency_spec(*, outstanding: int, latency: int):
    """Return a config with one 64-bit port of 8-beat bursts and a memory that answers a beat per cycle."""
    spec = small_spec()
    off_chip = spec.off_chip.model_copy(
        update={"channels": 1, "channel_bandwidth_gb_s": 0.008 * spec.clock_mhz, "efficiency": 1.0,
                "latency_ns": latency * 1000.0 / spec.clock_mhz, "interleave_bytes": 4096}
    )  # fmt: skip
    axi = spec.axi.model_copy(update={"ports": 1, "data_bits": 64, "burst_beats": 8, "max_outstanding": outstanding})
    return spec.model_copy(update={"off_chip": off_chip, "axi": axi})


def one_transfer(opcode: Opcode, spec, **fields: int):
    run = run_program(timing_program([(opcode, {"ny": 1, "nx": 1, **fields})]), spec)
    return int(run.span(np.array([0]))[0]), run


@pytest.mark.parametrize(("bursts", "outstanding", "latency"), CASES)
def test_a_load_of_equal_bursts_takes_its_closed_form(bursts: int, outstanding: int, latency: int) -> None:
    spec = fixed_latency_spec(outstanding=outstanding, latency=latency)
    cycles, run = one_transfer(Opcode.LOAD, spec, dram=8192, run_bytes=64 * bursts)
    assert cycles == load_cycles(
        bursts=bursts, burst_beats=8, latency_cycles=latency, max_outstanding=outstanding
    )  # fmt: skip
    assert run.traffic[0].tolist() == [bursts, 8 * bursts, 8 * bursts, 64 * bursts]


@pytest.mark.parametrize(("bursts", "outstanding", "latency"), CASES)
def test_a_store_of_equal_bursts_takes_its_closed_form(bursts: int, outstanding: int, latency: int) -> None:
    spec = fixed_latency_spec(outstanding=outstanding, latency=latency)
    cycles, _ = one_transfer(Opcode.STORE, spec, dram=8192, run_bytes=64 * bursts)
    assert cycles == store_cycles(
        bursts=bursts, burst_beats=8, latency_cycles=latency, max_outstanding=outstanding
    )  # fmt: skip


@pytest.mark.parametrize("pad_top", [0, 3, 40])
def test_padding_is_written_while_the_first_request_is_on_its_way(pad_top: int) -> None:
    spec = fixed_latency_spec(outstanding=4, latency=20)
    cycles, _ = one_transfer(Opcode.LOAD, spec, dram=8192, run_bytes=64, pad_top=pad_top, dst_y=64)
    assert cycles == load_cycles(
        bursts=1, burst_beats=8, latency_cycles=20, max_outstanding=4, fill_beats=8 * pad_top
    )  # fmt: skip


def test_a_load_without_data_takes_its_setup_and_fill() -> None:
    cycles, run = one_transfer(
        Opcode.LOAD, fixed_latency_spec(outstanding=1, latency=9), ny=0, run_bytes=1, pad_top=2, pad_right=15
    )
    assert cycles == LOAD_SETUP_CYCLES + LOAD_MOVE_CYCLES + 2 * 2 + LOAD_WRITE_CYCLES
    assert run.traffic[0, engine.BURSTS] == 0


@pytest.mark.parametrize(
    ("address", "size", "bursts", "beats"),
    [(8192, 64, 1, 8), (8200, 64, 2, 8), (8199, 2, 1, 2), (8191, 2, 2, 2), (12287, 1, 1, 1), (8192, 1, 1, 1)],
)
def test_unaligned_transfers_touch_whole_beats_and_stop_at_boundaries(
    address: int, size: int, bursts: int, beats: int
) -> None:
    _, run = one_transfer(Opcode.LOAD, fixed_latency_spec(outstanding=4, latency=5), dram=address, run_bytes=size)
    assert run.traffic[0].tolist() == [bursts, beats, beats, size]


def test_a_byte_scatter_moves_one_byte_per_cycle() -> None:
    spec = fixed_latency_spec(outstanding=4, latency=5)
    cycles, _ = one_transfer(Opcode.LOAD, spec, dram=8192, run_bytes=64, dst_e=8)
    assert cycles == load_cycles(bursts=1, burst_beats=64, latency_cycles=5, max_outstanding=4)


def test_lines_apart_on_chip_but_not_off_chip_cost_a_piece_per_beat_and_line() -> None:
    spec = fixed_latency_spec(outstanding=4, latency=5)
    _, run = one_transfer(Opcode.LOAD, spec, dram=8192, run_bytes=12, ny=4, dram_y=12, dst_y=16)
    # bytes 0..47 are 6 beats; lines start at 12 and 36 inside a beat, at 24 on one
    assert run.traffic[0].tolist() == [1, 6, 8, 48]


def test_no_burst_crosses_4_kib_a_stripe_or_its_longest_length() -> None:
    assert burst_bytes(data_bits=1024, burst_beats=256, interleave_bytes=1 << 20) == 4096
    assert burst_bytes(data_bits=64, burst_beats=16, interleave_bytes=4096) == 128
    assert burst_bytes(data_bits=64, burst_beats=15, interleave_bytes=4096) == 64
    assert burst_bytes(data_bits=64, burst_beats=16, interleave_bytes=96) == 64
    assert burst_end(4090, 9000, 4096) == 4096
    assert burst_end(4096, 9000, 4096) == 8192
    assert burst_end(8192, 9000, 4096) == 9000


@pytest.mark.parametrize("segment", [1, 3, 4, 6, 8, 12, 16, 40])
def test_pieces_are_the_beat_and_segment_pairs(segment: int) -> None:
    random = np.random.default_rng(segment)
    for beat in (4, 8, 16):
        for _ in range(50):
            base = int(random.integers(0, 200))
            first = base + int(random.integers(0, 60))
            last = first + int(random.integers(1, 60))
            pairs = {(byte // beat, (byte - base) // segment) for byte in range(first, last)}
            assert pieces_between(base, first, last, segment, beat) == len(pairs)
            assert beats_between(first, last, beat) == len({byte // beat for byte in range(first, last)})


def test_channels_share_the_load_of_interleaved_addresses() -> None:
    spec = fixed_latency_spec(outstanding=64, latency=5)
    slow = spec.off_chip.model_copy(
        update={"channel_bandwidth_gb_s": 0.001 * spec.clock_mhz, "interleave_bytes": 64}
    )  # fmt: skip
    cycles = {}
    for channels in (1, 2, 4):
        off_chip = slow.model_copy(update={"channels": channels})
        cycles[channels], _ = one_transfer(
            Opcode.LOAD, spec.model_copy(update={"off_chip": off_chip}), dram=8192, run_bytes=64 * 64
        )
    assert [cycles[1], cycles[2]] == pytest.approx([64 * 64 + 9, 32 * 64 + 9], abs=80)
    assert cycles[4] < cycles[2] < cycles[1]


def test_transfers_never_beat_the_ports_or_the_channels() -> None:
    spec = fixed_latency_spec(outstanding=8, latency=5)
    size = 64 * 50
    result = simulate(timing_program([(Opcode.LOAD, {"ny": 1, "nx": 1, "dram": 8192, "run_bytes": size})]), spec)
    timing = offchip_timing(spec)
    assert size / result.total_cycles <= min(timing.row_bytes, timing.channel_bytes_per_cycle)
