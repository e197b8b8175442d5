"""Hold what there is to say about one layer: frozen, in plain numbers and short texts, as `--json` prints it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One loop of a nest: how often it runs, and what one iteration takes. `on_array`: within one COMPUTE."""

    axis: str
    count: int
    size: str
    on_array: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A place of data: bytes it has and the layer holds there at once (None: not known), bytes read and written."""

    name: str
    capacity_bytes: int | None
    held_bytes: int | None
    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """Cycles that a layer cannot do with less than, and why."""

    name: str
    cycles: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What the search for a mapping says of itself. `cost`, `least`: in `unit`; `least` of any tiling of the space."""

    objective: str
    unit: str
    cost: float
    least: float
    proved: bool
    tilings: int
    illegal: Mapping[str, int]
    costed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerUp:
    """The second best mapping: how its loops differ, what it costs under the objective, and its cycles."""

    differs: str
    cost: float
    cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedPart:
    """`count` equal parts of a layer, with the mapping of one, its cycles alone, and how it was found.

    `assumed`: what the search takes to be otherwise than it is, "" if nothing.
    """

    count: int
    assumed: str
    order: str
    loops: tuple[Loop, ...]
    reuse: Mapping[str, str]
    cycles: int
    search: Searched
    runner_up: RunnerUp | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One layer, with the one that shares its tiles if there is one.

    `cycles`: in the network, where layers overlap. `alone_cycles`: by itself, as the search costs it; None where it
    does not (several parts, products of activations, layers that take turns or are not on the array). `above_roof`: how
    far that, or else `cycles`, is above the highest roof, as a share of the roof. `parts`: none for a layer that is not
    mapped.
    """

    layers: tuple[str, ...]
    numbers: tuple[int, ...]
    op: str
    what: str
    joined: str | None
    partner: str | None
    cycles: int
    alone_cycles: int | None
    bound: str
    limit: str
    roofs: tuple[Roof, ...]
    roofline_cycles: float
    above_roof: float
    busy_cycles: Mapping[str, int]
    class_cycles: Mapping[str, int]
    levels: tuple[Level, ...]
    off_chip_bytes: Mapping[str, int]
    parts: tuple[MappedPart, ...]
