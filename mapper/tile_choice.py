"""Choose tiles of streamed layers by a closed form of their double-buffered pipeline."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCost:
    """One candidate tile: what it holds on chip and what it costs, once per tile."""

    sizes: tuple[int, ...]
    on_chip_bytes: int
    tiles: int
    loaded_bytes: int
    stored_bytes: int
    work_cycles: int
    """Cycles of COMPUTE and VECTOR, or of byte-wise DMA, per tile."""


def halvings(size: int) -> Iterator[int]:
    """Yield tile sizes of an axis: ceil(size / 2**k) down to one, largest first."""
    while size > 1:
        yield size
        size = ceil_div(size, 2)
    yield 1


def transfer_cycles(spec: SparseAccelerator, moved_bytes: int) -> float:
    """Return about how many cycles one DMA instruction of `moved_bytes` takes."""
    memory = spec.off_chip
    cycles_per_second = spec.clock_mhz * 1e6
    channel = memory.channel_bandwidth_gb_s * 1e9 * memory.efficiency / cycles_per_second
    bytes_per_cycle = min(spec.axi.ports * spec.axi.data_bits / 8, memory.channels * channel)
    return memory.latency_ns * spec.clock_mhz / 1e3 + moved_bytes / bytes_per_cycle


def pipeline_cycles(spec: SparseAccelerator, tile: TileCost) -> float:
    """Return about how many cycles a layer of equal tiles takes when load, vector and store overlap (ours)."""
    stages = (
        transfer_cycles(spec, tile.loaded_bytes),
        float(tile.work_cycles),
        transfer_cycles(spec, tile.stored_bytes),
    )
    return sum(stages) + (tile.tiles - 1) * max(stages)


def cheapest(spec: SparseAccelerator, candidates: Iterable[TileCost], slots: int = 2) -> tuple[TileCost, int] | None:
    """Return the cheapest tile and its ping-pong slots (1 when none fits `slots` times); None if none fits at all."""
    capacity = spec.buffers.activation.capacity_bytes
    fitting = [tile for tile in candidates if tile.on_chip_bytes <= capacity]
    for count in (slots, 1):
        best = min(
            (tile for tile in fitting if tile.on_chip_bytes * min(count, tile.tiles) <= capacity),
            key=lambda tile: pipeline_cycles(spec, tile),
            default=None,
        )
        if best is not None:
            return best, min(count, best.tiles)
    return None


def tile_count(sizes: Iterable[int], tiles: Iterable[int]) -> int:
    """Return how many tiles cover a box."""
    return math.prod(ceil_div(size, tile) for size, tile in zip(sizes, tiles, strict=True))
