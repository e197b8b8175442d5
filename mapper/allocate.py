"""Hand out addresses: rotating ranges of the on-chip buffers, and the off-chip memory map of a Program.

Off-chip addresses are virtual while code is generated, because sizes are known only at the end: constants count from 0,
activations from `ACTIVATION_BASE`. `OffChip.layout` fixes the order instructions, constants, activations.
"""

from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.accumulator import half_entries, tile_entries
from gossamer.arch.activation import half_bytes
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import INSTRUCTION_BYTES
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.network import Network, Shape
from gossamer.dataflow.numerics import QuantParams
from gossamer.dataflow.program import Region, RegionKind, TensorBinding

ACTIVATION_BASE = 1 << 39
"""First virtual off-chip address of activations; everything below is constants."""

REGION_ALIGN_BYTES = 64


def align(value: int, multiple: int) -> int:
    """Return `value` rounded up to a multiple of `multiple`."""
    return ceil_div(value, multiple) * multiple


class RingBuffer:
    """Hand out rotating ranges of one on-chip buffer, so that a layer rarely lands where its predecessor still works.

    A range never straddles the end. Nothing is freed: a range stays valid until the requests after it have wrapped
    around. Who needs several ranges at once (ping-pong slots) requests them as one range. `unit` names what addresses
    count; `first` is that of the first byte.
    """

    def __init__(self, name: str, capacity: int, unit: str = "bytes", first: int = 0) -> None:
        self.name = name
        self.capacity = capacity
        self.unit = unit
        self.first = self._next = self.end = first
        """`end`: the address behind all that was handed out."""

    def part(self, number: int, count: int, of: int) -> "RingBuffer":
        """Return a ring over `count` from the `number`th on of some equal parts of this one."""
        first, end = (self.capacity * part // of for part in (number, number + count))
        return RingBuffer(self.name, end - first, self.unit, self.first + first)

    def beyond(self, address: int) -> "RingBuffer":
        """Return a ring over what lies behind an address."""
        return RingBuffer(self.name, self.first + self.capacity - address, self.unit, address)

    def alloc(self, amount: int, multiple: int, *, who: str) -> int:
        """Return the address, a multiple of `multiple`, of the next `amount` units. MappingError if they never fit."""
        if align(self.first, multiple) + amount > self.first + self.capacity:
            raise MappingError(
                f"{who}: needs {amount} {self.unit} of the {self.name} buffer at once, and it has {self.capacity}; "
                f"enlarge `buffers.{self.name}.capacity_bytes`"
            )
        start = align(self._next, multiple)
        if start + amount > self.first + self.capacity:
            start = align(self.first, multiple)
        self._next = start + amount
        self.end = max(self.end, self._next)
        return start


class ActivationHalves(RingBuffer):
    """Hand out ranges of the activation buffer; ranges that LOAD and VECTOR write lie in different halves if they fit.

    Where they lie is a matter of speed only: tokens keep whatever overlaps in order. Tensors that stay on chip take the
    end of the buffer (`hold`).
    """

    def __init__(self, spec: SparseAccelerator) -> None:
        super().__init__("activation", spec.buffers.activation.capacity_bytes)
        self.middle = half_bytes(spec)
        self._lower = RingBuffer("activation", self.middle)
        self._upper = RingBuffer("activation", self.capacity - self.middle, first=self.middle)
        self._all_bytes = self.capacity
        self.held_bytes = 0

    def hold(self, held_bytes: int) -> None:
        """Leave the last bytes to tensors that stay on chip, until the next call."""
        self.held_bytes, self.capacity = held_bytes, self._all_bytes - held_bytes
        self._lower.capacity = min(self.middle, self.capacity)
        self._upper.capacity = max(0, self.capacity - self.middle)

    def part(self, number: int, count: int, of: int) -> "ActivationHalves":
        """Return such parts of both halves; what must lie together lies in the lower one."""
        part = copy(self)
        part._lower, part._upper = (ring.part(number, count, of) for ring in (self._lower, self._upper))
        part.first, part.capacity, part._next = part._lower.first, part._lower.capacity, part._lower.first
        return part

    def alloc_apart(self, loaded: int, written: int, multiple: int, *, who: str) -> tuple[int, int]:
        """Return the address of `loaded` bytes that LOAD fills and of `written` bytes that VECTOR fills.

        `loaded` is a multiple of `multiple`, as are the addresses. Raises MappingError if they never fit together.
        """
        if loaded <= self._lower.capacity and written <= self._upper.capacity:
            lower = self._lower.alloc(loaded, multiple, who=who)
            return lower, self._upper.alloc(written, multiple, who=who)
        base = self.alloc(loaded + written, multiple, who=who)
        return base, base + loaded


class AccumulatorHalves:
    """Hand out ranges of the accumulator so that COMPUTE and REQUANTIZE find themselves in different halves.

    Each half is a ring. Requests alternate between the halves: what is requested next never lies in the half that the
    request before it got last.
    """

    def __init__(self, spec: SparseAccelerator) -> None:
        self.lanes = spec.array.lanes
        self._rings = tuple(
            RingBuffer("accumulator", tile_entries(spec), "entries of each half", first)
            for first in (0, half_entries(spec))
        )
        self._turn = 0

    def part(self, number: int, count: int, of: int) -> "AccumulatorHalves":
        """Return such parts of both halves."""
        part = copy(self)
        part._rings, part._turn = tuple(ring.part(number, count, of) for ring in self._rings), 0
        return part

    def alloc(self, entries: int, *, who: str) -> int:
        """Return the first of `entries` entries in the next half. Raises MappingError if they never fit."""
        half = self._turn
        self._turn = 1 - half
        return self._rings[half].alloc(entries, self.lanes, who=who)

    def turn(self) -> None:
        """Let the next request get the other half."""
        self._turn = 1 - self._turn

    def half(self, entry: int) -> int:
        """Return the half that an entry it gave lies in."""
        return int(entry >= self._rings[1].first)

    def alloc_pair(self, entries: int, *, who: str) -> tuple[int, int]:
        """Return the first entries of a range in the next half and of an equal one in the other."""
        return self.alloc(entries, who=who), self.alloc(entries, who=who)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPlace:
    """Where code finds a tensor off chip: virtual address and strides in bytes; a slice has its owner's strides.

    Pixel (b, y, x) is `words` words of `group_size` bytes; pad channels of the last word hold anything. `on_chip`: the
    address is in the activation buffer, and rows may have padding between them.
    """

    name: str
    shape: Shape
    quant: QuantParams
    group_size: int
    address: int
    batch_bytes: int
    row_bytes: int
    column_bytes: int
    on_chip: bool = False

    @property
    def words(self) -> int:
        """Words of one pixel that hold this tensor's channels."""
        return ceil_div(self.shape[3], self.group_size)

    @property
    def is_contiguous(self) -> bool:
        """Whether all pixels of all batches follow each other at `column_bytes`."""
        batch, rows, columns, _ = self.shape
        rows_join = rows == 1 or self.row_bytes == columns * self.column_bytes
        return rows_join and (batch == 1 or self.batch_bytes == rows * columns * self.column_bytes)

    @property
    def is_dense(self) -> bool:
        """Whether pixels follow each other without gaps: one run covers any number of them."""
        return self.is_contiguous and self.column_bytes == self.words * self.group_size

    def at(self, batch: int = 0, row: int = 0, column: int = 0, word: int = 0) -> int:
        """Return the virtual off-chip byte address of a word."""
        return (
            self.address
            + batch * self.batch_bytes
            + row * self.row_bytes
            + column * self.column_bytes
            + word * self.group_size
        )

    def slice(self, name: str, shape: Shape, quant: QuantParams, *, batch: int = 0, row: int = 0, column: int = 0,
              word: int = 0) -> "TensorPlace":  # fmt: skip
        """Return the place of a tensor that is a block of this one, starting at a pixel and a channel word."""
        return TensorPlace(
            name=name, shape=shape, quant=quant, group_size=self.group_size,
            address=self.at(batch, row, column, word), batch_bytes=self.batch_bytes, row_bytes=self.row_bytes,
            column_bytes=self.column_bytes,
        )  # fmt: skip


def tensor_bytes(shape: Shape, group_size: int) -> int:
    """Return the off-chip bytes of a tensor that owns its memory."""
    batch, rows, columns, channels = shape
    return batch * rows * columns * align(channels, group_size)


def place_tensor(name: str, shape: Shape, quant: QuantParams, group_size: int, address: int) -> TensorPlace:
    """Return the place of a tensor that owns its memory at `address`."""
    _, rows, columns, channels = shape
    pitch = align(channels, group_size)
    return TensorPlace(
        name=name, shape=shape, quant=quant, group_size=group_size, address=address,
        batch_bytes=rows * columns * pitch, row_bytes=columns * pitch, column_bytes=pitch,
    )  # fmt: skip


def dense_place(network: Network, name: str, spec: SparseAccelerator) -> TensorPlace:
    """Return a tensor by itself, before places are known: what its layers take does not depend on where it lies."""
    return place_tensor(name, network.tensors[name].shape, QuantParams(1.0, 0), spec.array.group_size, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Off-chip bytes needed from layer `first` to layer `last`, both included. Inputs and outputs are never shared.

    `core`: which one's layers are counted; nothing says when those of another are run.
    """

    name: str
    kind: RegionKind
    size_bytes: int
    first: int
    last: int
    core: int = 0


class OffChip:
    """The off-chip memory map under construction: constants, activations that share memory over time, scratch."""

    def __init__(self, group_size: int) -> None:
        self.group_size = group_size
        self._constants: list[bytes] = []
        self._constant_at: dict[bytes, int] = {}
        self._constant_bytes = 0
        self._activations: list[tuple[Request, int]] = []
        self._activation_bytes = 0
        self._scratch_used = 0
        self._scratch_bytes = 0

    def constant(self, data: bytes | NDArray[np.uint8] | NDArray[np.int8]) -> int:
        """Return the virtual address of constant bytes; equal constants are kept once."""
        content = data if isinstance(data, bytes) else data.tobytes()
        known = self._constant_at.get(content)
        if known is not None:
            return known
        address = self._constant_bytes
        self._constants.append(content)
        self._constant_at[content] = address
        self._constant_bytes = align(address + len(content), REGION_ALIGN_BYTES)
        return address

    def plan(self, requests: list[Request]) -> dict[str, int]:
        """Place all activations, largest first, each at the lowest address free over its layers. Call once."""
        placed: list[tuple[Request, int, int]] = []
        for request in sorted(requests, key=lambda r: -r.size_bytes):
            size = align(max(1, request.size_bytes), REGION_ALIGN_BYTES)
            shared = request.kind is RegionKind.ACTIVATION
            taken = sorted(
                (start, stop)
                for other, start, stop in placed
                if not shared
                or other.kind is not RegionKind.ACTIVATION
                or other.core != request.core
                or (other.first <= request.last and request.first <= other.last)
            )
            address = 0
            for start, stop in taken:
                if address + size <= start:
                    break
                address = max(address, stop)
            placed.append((request, address, address + size))
            self._activations.append((request, address))
            self._activation_bytes = max(self._activation_bytes, address + size)
        return {request.name: ACTIVATION_BASE + start for request, start, _ in placed}

    def scratch(self, name: str, shape: Shape, quant: QuantParams) -> TensorPlace:
        """Return a place for a tensor that lives only within the current layer."""
        address = ACTIVATION_BASE + self._activation_bytes + self._scratch_used
        self._scratch_used = align(self._scratch_used + tensor_bytes(shape, self.group_size), REGION_ALIGN_BYTES)
        self._scratch_bytes = max(self._scratch_bytes, self._scratch_used)
        return place_tensor(name, shape, quant, self.group_size, address)

    def release_scratch(self) -> None:
        """Let the next layer use the scratch memory again."""
        self._scratch_used = 0

    def image(self) -> NDArray[np.uint8]:
        """Return the constants region."""
        padded = (part + bytes(-len(part) % REGION_ALIGN_BYTES) for part in self._constants)
        return np.frombuffer(b"".join(padded), dtype=np.uint8)

    def layout(self, instructions: int) -> "OffChipLayout":
        """Return the final addresses for a program of `instructions` instructions."""
        constants = instructions * INSTRUCTION_BYTES
        activations = constants + self._constant_bytes
        regions = [
            Region(name="instructions", kind=RegionKind.INSTRUCTIONS, address=0, size_bytes=constants),
            Region(name="constants", kind=RegionKind.CONSTANTS, address=constants, size_bytes=self._constant_bytes),
        ]
        regions.extend(
            Region(name=request.name, kind=request.kind, address=activations + start, size_bytes=request.size_bytes)
            for request, start in self._activations
        )
        if self._scratch_bytes:
            regions.append(
                Region(
                    name="scratch",
                    kind=RegionKind.ACTIVATION,
                    address=activations + self._activation_bytes,
                    size_bytes=self._scratch_bytes,
                )
            )
        return OffChipLayout(constants=constants, activations=activations, regions=tuple(regions))


@dataclass(frozen=True, slots=True)
class OffChipLayout:
    """Final off-chip addresses of the constants and activations, and the memory map."""

    constants: int
    activations: int
    regions: tuple[Region, ...]

    def relocate(self, virtual: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return final addresses of virtual ones (any shape)."""
        return np.where(
            virtual >= ACTIVATION_BASE, virtual - ACTIVATION_BASE + self.activations, virtual + self.constants
        )

    def binding(self, place: TensorPlace) -> TensorBinding:
        """Return the Program's description of a contiguous tensor."""
        return TensorBinding(
            name=place.name,
            address=int(self.relocate(np.array([place.address]))[0]),
            shape=place.shape,
            channel_pitch=place.column_bytes,
            quant=place.quant,
        )
