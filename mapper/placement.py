"""Decide which tensors share off-chip bytes, before any code exists, and give every tensor its place.

Three kinds of layer may cost nothing: a View is its input under another shape; an aligned concat is filled by its
producers; an aligned slice is a window of its input. Tensors that share bytes form a family with one root that owns the
memory; families share memory over time by their lifetimes. What cannot be shared stays a real layer that copies.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from gossamer.arch.errors import MappingError
from gossamer.dataflow.network import Concat, Layer, Network, Shape, Slice, View
from gossamer.dataflow.numerics import QuantParams
from gossamer.dataflow.program import RegionKind
from gossamer.mapper.allocate import OffChip, Request, TensorPlace, place_tensor, tensor_bytes

CHANNELS = 3
"""Axis number of the channels of a stored shape."""


@dataclass(frozen=True, slots=True)
class Relative:
    """A tensor's place relative to the address of its root."""

    root: str
    place: TensorPlace


class Placement:
    """Places under construction; layers are visited last to first, so that consumers choose before producers."""

    def __init__(self, network: Network, group_size: int) -> None:
        self.network, self.group_size = network, group_size
        self.fixed = {*network.inputs, *network.outputs}
        self.relative: dict[str, Relative] = {}
        for layer in reversed(network.layers):
            self._visit(layer)
        for name in network.tensors:
            self._ensure(name)

    def _quant(self, name: str) -> QuantParams:
        quant = self.network.tensors[name].quant
        if quant is None:
            raise MappingError(f"tensor {name} has no number format: quantize the network first")
        return quant

    def _ensure(self, name: str) -> Relative:
        """Return a tensor's place; one without a place becomes a root."""
        if name not in self.relative:
            shape = self.network.tensors[name].shape
            self.relative[name] = Relative(name, place_tensor(name, shape, self._quant(name), self.group_size, 0))
        return self.relative[name]

    def _visit(self, layer: Layer) -> None:
        match layer:
            case View():
                self._view(layer)
            case Concat():
                self._concat(layer)
            case Slice():
                self._slice(layer)
            case _:
                self._ensure(layer.output)

    def _view(self, layer: View) -> None:
        source, output = layer.inputs[0], layer.output
        if output in self.relative and source not in self.relative and source not in self.fixed:
            self._alias(source, output)
        elif output not in self.relative:
            self._ensure(source)
            self._alias(output, source)
        self._ensure(output)
        self._ensure(source)

    def _alias(self, name: str, owner: str) -> None:
        """Let `name` be the bytes of `owner` under its own shape, if the owner's pixels follow each other evenly."""
        place = self.relative[owner].place
        if not place.is_contiguous or (name in self.fixed and not place.is_dense):
            return
        _, rows, columns, _ = shape = self.network.tensors[name].shape
        row_bytes = columns * place.column_bytes
        self.relative[name] = Relative(
            self.relative[owner].root,
            TensorPlace(
                name=name, shape=shape, quant=self._quant(name), group_size=self.group_size, address=place.address,
                batch_bytes=rows * row_bytes, row_bytes=row_bytes, column_bytes=place.column_bytes,
            ),
        )  # fmt: skip

    def _concat(self, layer: Concat) -> None:
        owner = self._ensure(layer.output)
        starts, start = [], 0
        for name in layer.inputs:
            starts.append(start)
            start += self.network.tensors[name].shape[layer.axis]
        if layer.axis == CHANNELS and any(first % self.group_size for first in starts):
            return
        for name, first in zip(layer.inputs, starts, strict=True):
            if name not in self.relative and name not in self.fixed:
                self._part(name, owner, layer.axis, first)

    def _slice(self, layer: Slice) -> None:
        aligned = layer.step == 1 and (layer.axis != CHANNELS or layer.start % self.group_size == 0)
        source, output = layer.inputs[0], layer.output
        if aligned and output not in self.relative:
            owner = self._ensure(source)
            self._part(output, owner, layer.axis, layer.start)
            if output in self.fixed and not self.relative[output].place.is_dense:
                del self.relative[output]
        self._ensure(output)

    def _part(self, name: str, owner: Relative, axis: int, first: int) -> None:
        """Let `name` be the part of `owner` that starts at `first` along an axis."""
        shape: Shape = self.network.tensors[name].shape
        starts = {("batch", "row", "column", "word")[axis]: first // self.group_size if axis == CHANNELS else first}
        self.relative[name] = Relative(owner.root, owner.place.slice(name, shape, self._quant(name), **starts))

    def requests(
        self, joined: Collection[str], leads: Mapping[str, str], held: Collection[str] = ()
    ) -> list[Request]:  # fmt: skip
        """Return the memory every family needs, and from which layer to which.

        `joined`: tensors that need none. Their reader writes while their producer reads. `held`: others. `leads`:
        of two layers that run together, by their outputs, the output of the first; both read and write at the same
        time.
        """
        network = self.network
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        numbers: dict[str, int] = {}
        for place, layer in enumerate(network.layers):
            number = next((numbers[name] for name in layer.inputs if name in joined), place)
            numbers[layer.output] = number = numbers.get(leads.get(layer.output, ""), number)
            for name in (*layer.inputs, layer.output):
                root = self.relative[name].root
                first.setdefault(root, number)
                last[root] = number
        kinds = {self.relative[name].root: RegionKind.INPUT for name in network.inputs}
        kinds |= {self.relative[name].root: RegionKind.OUTPUT for name in network.outputs}
        roots = dict.fromkeys(relative.root for relative in self.relative.values())
        return [
            Request(
                name=root, kind=kinds.get(root, RegionKind.ACTIVATION), first=first.get(root, 0),
                size_bytes=tensor_bytes(network.tensors[root].shape, self.group_size),
                last=last.get(root, len(network.layers)),
            )
            for root in roots
            if root not in joined and root not in held
        ]  # fmt: skip


def place_tensors(
    network: Network, memory: OffChip, joined: Collection[str] = (), leads: Mapping[str, str] | None = None,
    held: Mapping[str, TensorPlace] | None = None,
) -> dict[str, TensorPlace]:  # fmt: skip
    """Return the place of every tensor of a quantized network. Raises MappingError if one has no format.

    `joined`: tensors that never leave the chip (`gossamer.mapper.joining`) and have no place. `held`: the places of
    those that stay on chip from layer to layer (`gossamer.mapper.holding`).
    """
    placement, held = Placement(network, memory.group_size), held or {}
    addresses = memory.plan(placement.requests(joined, leads or {}, held))
    places = dict(held)
    for name, relative in placement.relative.items():
        if name in joined or name in held:
            continue
        place = relative.place
        places[name] = TensorPlace(
            name=name, shape=place.shape, quant=place.quant, group_size=place.group_size,
            address=addresses[relative.root] + place.address, batch_bytes=place.batch_bytes, row_bytes=place.row_bytes,
            column_bytes=place.column_bytes,
        )  # fmt: skip
    return places


def place_images(
    network: Network, memory: OffChip, images: int, cuts: Sequence[tuple[int, int]], joined: Collection[str],
    leads: Mapping[str, str], held: Collection[str] = (),
) -> tuple[dict[str, TensorPlace], list[dict[str, TensorPlace]]]:  # fmt: skip
    """Return the places of all inputs and outputs of a batch, and those of every tensor of each core.

    A core runs the network on images [first, stop) of `images` (`cuts`) at its own pace: it shares inputs and outputs
    with the others, and has memory of its own for what is between them. `joined`, `leads`: as for `place_tensors`;
    `held`: tensors that stay on chip on every core.
    """
    placement = Placement(network, memory.group_size)
    requests: list[Request] = []
    for core, (first, stop) in enumerate(cuts):
        for request in placement.requests(joined, leads, held):
            if request.kind is RegionKind.ACTIVATION:
                size = request.size_bytes // images * (stop - first)
                requests.append(replace(request, name=f"{request.name} of core {core}", size_bytes=size, core=core))
            elif core == 0:
                requests.append(request)
    addresses = memory.plan(requests)
    own: list[dict[str, TensorPlace]] = []
    for core, (first, stop) in enumerate(cuts):
        places = {}
        for name, relative in placement.relative.items():
            if name in joined or name in held:
                continue
            place, each = relative.place, relative.place.shape[0] // images
            shape = ((stop - first) * each, *place.shape[1:])
            if relative.root in addresses:
                address = addresses[relative.root] + place.at(batch=first * each)
            else:
                address = addresses[f"{relative.root} of core {core}"] + place.address
            places[name] = replace(place, shape=shape, address=address)
        own.append(places)
    whole = {
        name: replace(relative.place, address=addresses[relative.root] + relative.place.address)
        for name, relative in placement.relative.items()
        if relative.root in addresses
    }
    return whole, own
