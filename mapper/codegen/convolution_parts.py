"""What the emission of a multiply-accumulate layer keeps track of: its steps, the copies of operands, turns."""

from dataclasses import dataclass

from gossamer.arch.isa import Opcode
from gossamer.dataflow.mapping import Tile
from gossamer.dataflow.numerics import VectorParams
from gossamer.mapper.allocate import TensorPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What follows a layer in the same tiles: its result joined with `operand`, of the same size.

    `addition`: of the results, source A, and the operand, in the pass that requantizes them. Where there is none, a
    second pass by `opcode` with parameters `block` joins them; `first`: the layer's result is its source A.
    """

    operand: TensorPlace
    addition: VectorParams | None = None
    opcode: Opcode = Opcode.ADD
    block: bytes = b""
    first: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """One COMPUTE: a block of a group over one part of its reduction, for a tile. `outer` counts the outermost loop."""

    outer: int
    tile_number: int
    tile: Tile
    group: tuple[int, ...]
    block: int
    part: int


class Slots:
    """What the two copies of an operand hold; a new content takes the copy the latest step does not use."""

    def __init__(self, count: int) -> None:
        self._keys: list[tuple[int, ...] | None] = [None] * count
        self._used = count - 1

    def find(self, key: tuple[int, ...]) -> int | None:
        """Return the slot that holds `key`, or None."""
        return self._keys.index(key) if key in self._keys else None

    def use(self, key: tuple[int, ...]) -> int:
        """Return the slot that holds `key` and protect it from the next `fill`."""
        self._used = self._keys.index(key)
        return self._used

    def fill(self, key: tuple[int, ...]) -> int:
        """Return the slot that takes `key`."""
        slot = (self._used + 1) % len(self._keys)
        self._keys[slot] = key
        return slot


class Turns:
    """Halves of the accumulator, taken in turn by one layer, or by those that are emitted together."""

    def __init__(self) -> None:
        self._count = -1

    @property
    def next_half(self) -> int:
        """The half that is taken next."""
        return (self._count + 1) % 2

    def take(self) -> int:
        """Return the next turn."""
        self._count += 1
        return self._count
