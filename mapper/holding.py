"""Choose tensors that stay on chip from the layer that makes them to those that read them, and place them there.

A tensor can stay if convolutions make it and read it, as their input or as what is added to their result: their
instructions find any part of a tensor in the activation buffer, padding included. It then is neither stored nor loaded,
but takes its place for as long as it is needed, which leaves less for the tiles of layers that run meanwhile. Tensors
are taken in the order of the network, each if the layers that run while it is alive take fewer cycles together, each
with the best mapping that the rest of the buffer allows.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter

from gossamer.arch.activation import half_bytes
from gossamer.arch.isa import Space
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import LOAD_MOVE_CYCLES, LOAD_SETUP_CYCLES, LOAD_WRITE_CYCLES, ceil_div
from gossamer.dataflow.mapping import Objective, input_extent
from gossamer.dataflow.network import Binary, Conv2d, Layer, Network
from gossamer.dataflow.numerics import QuantParams
from gossamer.mapper.allocate import OffChip, TensorPlace, align
from gossamer.mapper.codegen.convolution_loads import Row, fill_lines
from gossamer.mapper.codegen.mac_layers import convolution_of
from gossamer.mapper.codegen.wide_pixels import best_width
from gossamer.mapper.placement import place_tensors
from gossamer.sim.offchip import offchip_timing

ALIGN_BYTES = 64
"""Of the sizes of tensors on chip, which are counted from the end of the buffer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdable:
    """A tensor that can stay on chip: only convolutions make it and read it, and only such run meanwhile.

    `alive`: the numbers of the units from the one that makes it to the last that reads it; `readers`: those that read
    it. Units are the layers, each with the one that is joined to it. `padding`: pixels above, below, left and right of
    an image that its readers see as padding.
    """

    name: str
    alive: range
    readers: tuple[int, ...]
    padding: tuple[int, int, int, int]

    def placed(self, place: TensorPlace) -> tuple[TensorPlace, int]:
        """Return its place on chip, given that off chip, and its bytes; its padding begins at address 0."""
        (batch, rows, columns, _), (top, bottom, left, right) = place.shape, self.padding
        row_bytes = (columns + max(left, right)) * place.column_bytes
        batch_bytes = (rows + max(top, bottom)) * row_bytes
        address = top * row_bytes + left * place.column_bytes
        place = replace(place, address=address, batch_bytes=batch_bytes, row_bytes=row_bytes, on_chip=True)
        return place, align(address + batch * batch_bytes, ALIGN_BYTES)

    def fill_cycles(self, place: TensorPlace, row_bytes: int) -> int:
        """Return the cycles of the LOADs that fill the padding of a tensor `placed`, `row_bytes` a cycle."""
        batch, rows, columns, _ = place.shape
        areas = (
            (1, 1, place.address), (batch, rows, place.row_bytes - columns * place.column_bytes),
            (batch, 1, place.batch_bytes - rows * place.row_bytes),
        )  # fmt: skip
        each = LOAD_SETUP_CYCLES + LOAD_MOVE_CYCLES + LOAD_WRITE_CYCLES
        return sum(loads * (each + lines * ceil_div(size, row_bytes)) for loads, lines, size in areas if size)


def units_of(network: Network, joins: Mapping[str, Binary]) -> list[Layer]:
    """Return the layers but those that are joined to another one."""
    return [layer for layer in network.layers if not any(name in joins for name in layer.inputs)]


def holdable_tensors(network: Network, joins: Mapping[str, Binary], apart: Collection[str] = ()) -> list[Holdable]:
    """Return the tensors that can stay on chip, in the order they are made. `apart`: outputs of layers that need the
    whole buffer."""
    units = units_of(network, joins)
    readers: dict[str, list[int]] = {}
    for number, unit in enumerate(units):
        joiner = joins.get(unit.output)
        for name in dict.fromkeys((*unit.inputs, *(joiner.inputs if joiner else ()))):
            readers.setdefault(name, []).append(number)
    found = []
    for number, unit in enumerate(units):
        name = joins.get(unit.output, unit).output
        alive = range(number, max(readers.get(name, [number])) + 1)
        meanwhile = [units[each] for each in alive]
        if (
            len(alive) > 1
            and name not in network.outputs
            and all(isinstance(each, Conv2d) and each.output not in apart for each in meanwhile)
        ):
            paddings = [_padding(network, units[each], name) for each in readers[name]]
            top, bottom, left, right = (max(sizes) for sizes in zip(*paddings, strict=True))
            found.append(
                Holdable(name=name, alive=alive, readers=tuple(readers[name]), padding=(top, bottom, left, right))
            )
    return found


def _padding(network: Network, layer: Layer, name: str) -> tuple[int, int, int, int]:
    """Return the padding a layer sees around a tensor: none around what is added to its result."""
    assert isinstance(layer, Conv2d)
    if layer.inputs[0] != name:
        return 0, 0, 0, 0
    (_, rows, columns, _), (_, out_rows, out_columns, _) = (
        network.tensors[each].shape for each in (name, layer.output)
    )
    height = input_extent(out_rows, layer.weight.shape[1], layer.stride[0], layer.dilation[0])
    width = input_extent(out_columns, layer.weight.shape[2], layer.stride[1], layer.dilation[1])
    top, left = layer.pads[:2]
    return top, max(0, height - top - rows), left, max(0, width - left - columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A tensor that stays on chip: its place there, and that of the first byte of its padding.

    Rows of an image lie so far apart that the padding on the right of one is that on the left of the next; images
    likewise. `first`, `last`: of the layers, the one that makes it and the last that reads it; `maker`: the output of
    the former.
    """

    place: TensorPlace
    base: int
    size_bytes: int
    first: int
    last: int
    maker: str

    def at(self, base: int) -> "Held":
        """Return it elsewhere."""
        return replace(self, base=base, place=replace(self.place, address=self.place.address - self.base + base))

    def looks_like(self, other: "Held") -> bool:
        """Return whether the bytes of another one's padding are the same, at the same addresses."""
        ours, theirs = (
            (
                each.base,
                each.size_bytes,
                replace(each.place, name="", quant=QuantParams(1.0, each.place.quant.zero_point)),
            )
            for each in (self, other)
        )
        return ours == theirs

    def overlaps(self, other: "Held") -> bool:
        """Return whether it shares bytes with another one, at whatever time."""
        return self.base < other.base + other.size_bytes and other.base < self.base + self.size_bytes

    def padding_loads(self) -> list[Row]:
        """Return the LOADs that fill its padding with its zero point."""
        place, result = self.place, []
        batch, rows, columns, _ = place.shape
        gap = place.row_bytes - columns * place.column_bytes
        below = place.batch_bytes - rows * place.row_bytes
        areas = [(self.base, 1, place.address - self.base)]
        for image in range(batch):
            areas += [(place.at(image, 0, columns), rows, gap), (place.at(image, rows), 1, below)]
        for address, lines, size in areas:
            if size:
                fill = place.quant.zero_point & 0xFF
                result += fill_lines(Space.ACTIVATION, address, lines, size, place.row_bytes, fill)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The tensors of a network that stay on chip, by their names.

    `taken_bytes`: what they take of the end of the activation buffer while a layer runs, by its output. `filled`: those
    that lie just where an equal one lay, whose padding is still there.
    """

    tensors: Mapping[str, Held] = field(default_factory=dict)
    taken_bytes: Mapping[str, int] = field(default_factory=dict)

    filled: Collection[str] = ()

    @property
    def places(self) -> dict[str, TensorPlace]:
        """Return where they are in the activation buffer."""
        return {name: each.place for name, each in self.tensors.items()}

    def spans(self) -> list[list[str]]:
        """Return the outputs of layers that run in a row while tensors are on chip, span by span."""
        taken = [(name, size > 0) for name, size in self.taken_bytes.items()]
        return [[name for name, _ in span] for busy, span in groupby(taken, key=itemgetter(1)) if busy]

    def of(self, network: Network) -> "Holding":
        """Return what of it is made in a part of the network."""
        made = {layer.output for layer in network.layers}
        return replace(self, tensors={name: each for name, each in self.tensors.items() if name in made})

    def without(self, outputs: Collection[str]) -> "Holding":
        """Return it without a span."""
        taken = {name: 0 if name in outputs else size for name, size in self.taken_bytes.items()}
        held = {name: each for name, each in self.tensors.items() if each.maker not in outputs}
        return replace(self, tensors=held, taken_bytes=taken)

    def padding_loads(self, name: str) -> list[Row]:
        """Return the LOADs that fill the padding of a tensor, none if it does not stay on chip or finds it filled."""
        return self.tensors[name].padding_loads() if name in self.tensors and name not in self.filled else []


NOTHING_HELD = Holding()


def hold_tensors(
    network: Network, joins: Mapping[str, Binary], spec: SparseAccelerator, objective: Objective,
    apart: Collection[str] = (),
) -> Holding:  # fmt: skip
    """Return the tensors that stay on chip. `apart`: outputs of layers that need the whole buffer."""
    return _Choice(network, joins, spec, objective, apart).choose()


class _Choice:
    """What stays on chip, while it is chosen."""

    def __init__(
        self, network: Network, joins: Mapping[str, Binary], spec: SparseAccelerator, objective: Objective,
        apart: Collection[str],
    ) -> None:  # fmt: skip
        self.network, self.joins, self.spec, self.objective = network, joins, spec, objective
        self.units = units_of(network, joins)
        self.held: dict[str, Held] = {}
        self._candidates = holdable_tensors(network, joins, apart)
        self._places = place_tensors(network, OffChip(spec.array.group_size), joins)

    def choose(self) -> Holding:
        """Return the tensors that stay on chip."""
        for tensor in self._candidates:
            self._try(tensor)
        taken = {unit.output: self._taken_bytes(number) for number, unit in enumerate(self.units)}
        return Holding(tensors=self.held, taken_bytes=taken, filled=self._filled())

    def _filled(self) -> set[str]:
        """Return the tensors that find the padding of an equal one before them."""
        found, capacity = set(), self.spec.buffers.activation.capacity_bytes
        inside = sorted(self.held.items(), key=lambda item: item[1].first)
        for at, (name, each) in enumerate(inside):
            equal = [number for number, (_, other) in enumerate(inside[:at]) if other.looks_like(each)]
            if not equal:
                continue
            since = range(inside[equal[-1]][1].first, each.first)
            left_alone = all(capacity - self._taken_bytes(number) <= each.base for number in since)
            if left_alone and not any(other.overlaps(each) for _, other in inside[equal[-1] + 1 : at]):
                found.add(name)
        return found

    def _try(self, tensor: Holdable) -> None:
        """Let a tensor stay on chip if that is not worse; of two equals, it moves fewer bytes."""
        placed = self._placed({**self.held, tensor.name: self._extent(tensor)})
        if placed is None or not all(self._writes_apart(each, placed) for each in placed.values()):
            return
        kept, room = self.held, [self._taken_bytes(each) for each in range(len(self.units))]
        self.held = placed
        changed = [each for each, taken in enumerate(room) if each in tensor.alive or self._taken_bytes(each) != taken]
        after = self._cost(changed)
        self.held = kept
        before = self._cost(changed)
        if after is None or before is None:
            return
        place, _ = tensor.placed(self._places[tensor.name])
        filling = tensor.fill_cycles(place, offchip_timing(self.spec).row_bytes)  # while VECTOR writes nothing
        cost = after[0] + (filling if self.objective is Objective.LATENCY else 0)
        if (cost, after[1] + filling) <= before:
            self.held = placed

    def _extent(self, tensor: Holdable) -> Held:
        """Return a tensor from address 0 on."""
        place, size_bytes = tensor.placed(self._places[tensor.name])
        first, last = tensor.alive[0], tensor.alive[-1]
        return Held(
            place=place, base=0, size_bytes=size_bytes, first=first, last=last, maker=self.units[first].output
        )  # fmt: skip

    def _placed(self, held: Mapping[str, Held]) -> dict[str, Held] | None:
        """Return tensors in places near the end of the buffer, the largest first; None if they do not fit."""
        placed: dict[str, Held] = {}
        for name, each in sorted(held.items(), key=lambda item: -item[1].size_bytes):
            end = self.spec.buffers.activation.capacity_bytes
            meanwhile = [o for o in placed.values() if o.first <= each.last and each.first <= o.last]
            for other in sorted(meanwhile, key=lambda other: -other.base):
                if other.base + other.size_bytes <= end - each.size_bytes:
                    break
                end = min(end, other.base)
            if end < each.size_bytes:
                return None
            placed[name] = each.at(end - each.size_bytes)
        return placed

    def _writes_apart(self, each: Held, held: Collection[str]) -> bool:
        """Return whether VECTOR writes a tensor beyond the half that LOAD writes, or while LOAD writes neither."""
        unit = self.units[each.first]
        joiner = self.joins.get(unit.output)
        read = {*unit.inputs, *(joiner.inputs if joiner else ())} - {unit.output}
        return each.base >= half_bytes(self.spec) or read <= set(held)

    def _taken_bytes(self, number: int) -> int:
        """Return the bytes up to the end of the buffer that tensors take while a unit runs."""
        capacity = self.spec.buffers.activation.capacity_bytes
        bases = [each.base for each in self.held.values() if each.first <= number <= each.last]
        return capacity - min(bases, default=capacity)

    def _cost(self, units: Sequence[int]) -> tuple[float, int] | None:
        """Return the cost of units under the objective and their cycles, each alone; None if one does not fit."""
        cost, cycles = 0.0, 0
        places = {**self._places, **{name: each.place for name, each in self.held.items()}}
        for number in units:
            layer = self.units[number]
            assert isinstance(layer, Conv2d)
            joiner = self.joins.get(layer.output)
            convolution = convolution_of(layer, places, joiner, held_bytes=self._taken_bytes(number))
            found = best_width(convolution, self.spec, objective=self.objective)
            if found is None:
                return None
            cost, cycles = cost + found[1].cost, cycles + found[1].cycles
        return cost, cycles
