"""Choose tiles of streamed layers by a closed form of their double-buffered pipeline."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product

from gossamer.arch.activation import half_bytes
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import LOAD_SETUP_CYCLES, LOAD_WRITE_CYCLES, STORE_SETUP_CYCLES, ceil_div
from gossamer.sim.offchip import OffChipTiming, offchip_timing


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCost:
    """One candidate tile: what it holds on chip and what it costs, once per tile."""

    sizes: tuple[int, ...]
    on_chip_bytes: int
    tiles: int
    loaded_bytes: int
    stored_bytes: int
    load_runs: int = 1
    """Separate runs off chip; each is a burst at least."""
    loads: int = 1
    stores: int = 1
    work_cycles: int
    """Cycles of COMPUTE and VECTOR, or of byte-wise DMA, per tile."""


def halvings(size: int) -> Iterator[int]:
    """Yield tile sizes of an axis: ceil(size / 2**k) down to one, largest first."""
    while size > 1:
        yield size
        size = ceil_div(size, 2)
    yield 1


def pipeline_cycles(memory: OffChipTiming, tile: TileCost) -> float:
    """Return about how many cycles a layer of equal tiles takes when load, work and store overlap (ours).

    Loads and stores each use the ports on their own but share the channels.
    """
    bytes_per_cycle = min(memory.row_bytes, memory.channel_bytes_per_cycle)
    runs_per_cycle = memory.ports * memory.max_outstanding / (memory.latency_cycles + 1)
    read = max(tile.loaded_bytes / bytes_per_cycle, tile.load_runs / runs_per_cycle)
    stages = (
        tile.loads * (LOAD_SETUP_CYCLES + LOAD_WRITE_CYCLES + memory.latency_cycles) + read,
        float(tile.work_cycles),
        tile.stores * (STORE_SETUP_CYCLES + memory.latency_cycles) + tile.stored_bytes / bytes_per_cycle,
    )
    shared = (tile.loaded_bytes + tile.stored_bytes) / memory.channel_bytes_per_cycle
    return sum(stages) + (tile.tiles - 1) * max(*stages, shared)


def slotted_cycles(spec: SparseAccelerator, tile: TileCost, slots: int) -> float:
    """Return about how many cycles a layer takes; with one slot nothing overlaps."""
    memory = offchip_timing(spec)
    if slots == 1:
        return tile.tiles * pipeline_cycles(memory, replace(tile, tiles=1))
    return pipeline_cycles(memory, tile)


def cheapest(spec: SparseAccelerator, candidates: Iterable[TileCost], slots: int = 2) -> tuple[TileCost, int] | None:
    """Return the cheapest tile and its ping-pong slots (1 when none fits `slots` times); None if none fits at all."""
    capacity, middle = spec.buffers.activation.capacity_bytes, half_bytes(spec)
    memory = offchip_timing(spec)
    fitting = [tile for tile in candidates if tile.on_chip_bytes <= capacity]

    def apart(tile: TileCost, count: int) -> bool:
        """Return whether what LOAD and what VECTOR writes fit a half of the buffer each."""
        written = tile.on_chip_bytes - tile.loaded_bytes
        return count * tile.loaded_bytes <= middle and count * written <= capacity - middle

    def together(tile: TileCost, count: int) -> bool:
        """Return whether the tile fits the buffer at all."""
        return count * tile.on_chip_bytes <= capacity

    for count, fits in product((slots, 1), (apart, together)):
        best = min(
            (tile for tile in fitting if fits(tile, min(count, tile.tiles))),
            key=lambda tile: pipeline_cycles(memory, tile),
            default=None,
        )
        if best is not None:
            return best, min(count, best.tiles)
    return None


def tile_count(sizes: Iterable[int], tiles: Iterable[int]) -> int:
    """Return how many tiles cover a box."""
    return math.prod(ceil_div(size, tile) for size, tile in zip(sizes, tiles, strict=True))
