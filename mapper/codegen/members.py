"""Make of two layers what can be emitted step by step, in turn (`gossamer.mapper.codegen.together`).

Each has a share of every buffer, and layers on the array take turns with the halves of the accumulator. What does not
use the array is emitted by itself first, and its instructions are taken from there.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from gossamer.arch.errors import MappingError
from gossamer.dataflow.mapping import SLOTS, Objective
from gossamer.dataflow.network import Binary, Conv2d, ConvTranspose2d, Layer, Network, Pool2d
from gossamer.dataflow.program import LayerRecord
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.addition import addition_of
from gossamer.mapper.codegen.convolution_parts import Turns
from gossamer.mapper.codegen.mac_layers import (
    convolution_of,
    joined_operand,
    mac_record,
    note_constants,
    pack_convolution,
)
from gossamer.mapper.codegen.pooling import is_summed
from gossamer.mapper.codegen.scaling import ScalingWeights, find_scaling, scaling_part
from gossamer.mapper.codegen.summing import SumEmitter
from gossamer.mapper.codegen.together import Interleaved, Part, Recorded, emit_together
from gossamer.mapper.codegen.transposed import transposed_phases
from gossamer.mapper.codegen.vector import vector_params, vector_record
from gossamer.mapper.codegen.wide_pixels import Convolution, best_width
from gossamer.mapper.emit import Emitter
from gossamer.mapper.shares import BESIDE_MOVES, BESIDE_SUMS, FEWEST_WEIGHTS, HALF, MOST_WEIGHTS, PARTS, Share

Pair = tuple[Layer, Layer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A layer of a pair: how it is emitted, its report record and that of the layer joined to it."""

    part: Part
    record: LayerRecord
    joined: LayerRecord | None = None
    emitters: Sequence[Emitter] = ()
    """Those of its parts, if it has several."""

    weights: ScalingWeights | None = None
    """Weights that are known once it is emitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the layers of a pair are emitted in: places of tensors; `joins`, `additions`, `scalings` of
    `gossamer.mapper.compile.Choices`; `alone` emits a layer by itself."""

    emitter: Emitter
    network: Network
    places: Mapping[str, TensorPlace]
    joins: Mapping[str, Binary]
    additions: Collection[str]
    scalings: Collection[str]
    alone: Callable[[Emitter, Layer], None]

    def emit_pair(self, pair: Pair) -> None:
        """Emit two layers step by step in turn.

        One by one if they do not fit: tensors that are parts of others may ask for larger tiles than those of their
        own.
        """
        try:
            members = self._members(pair)
        except MappingError:
            for layer in pair:
                self.alone(self.emitter, layer)
            return
        numbers = []
        for emitter, member in members:
            numbers.append(len(emitter.layers))
            emitter.begin_layer(member.record, member.joined)
            for other in member.emitters:
                other.resume_layer(numbers[-1])
        emit_together([member.part for _, member in members])
        for number, (emitter, member) in zip(numbers, members, strict=True):
            if member.weights is not None:
                note_constants(emitter, number, member.weights)

    def _members(self, pair: Pair) -> list[tuple[Emitter, Member]]:
        """Return the layers ready to be emitted, each with what it is appended by. Raises MappingError."""
        phases = {layer.output: self._convolutions(layer) for layer in pair}
        sums = {layer.output for layer in pair if self._is_summed(layer)}
        # What multiplies has its part first: sums take all of the weight buffer that it leaves.
        multiplies = {layer.output: bool(phases[layer.output]) or self._is_scaling(layer) for layer in pair}
        first, second = sorted(pair, key=lambda layer: not multiplies[layer.output])
        share, turns = HALF, Turns() if multiplies[first.output] else None
        if multiplies[second.output]:
            share = self._divided(phases[first.output], phases[second.output])
        elif multiplies[first.output]:
            share = BESIDE_SUMS if second.output in sums else BESIDE_MOVES
        made: dict[str, tuple[Emitter, Member]] = {}
        own = self.emitter.share(share, at_end=False)
        made[first.output] = own, self._member(own, first, phases[first.output], share, turns)
        rest = self.emitter.share(share.rest, at_end=True)
        if second.output in sums and multiplies[first.output]:
            rest.take_weights(self.emitter, made[first.output][1].emitters)
        made[second.output] = rest, self._member(rest, second, phases[second.output], share.rest, turns)
        return [made[layer.output] for layer in pair]

    def _divided(self, *members: Sequence[Convolution]) -> Share:
        """Return what the first of two layers that multiply has, by the weights they keep if they run alone."""
        spec = self.emitter.spec
        rows = spec.buffers.weight.capacity_bytes // spec.array.chains
        kept = [
            max((best[1].mapping.resident_rows for phase in phases if (best := best_width(phase, spec))), default=0)
            for phases in members
        ]
        for one, (most, other) in ((MOST_WEIGHTS, kept), (FEWEST_WEIGHTS, kept[::-1])):
            if most * PARTS > rows * HALF.weight and SLOTS * other * PARTS <= rows * FEWEST_WEIGHTS.weight:
                return one
        return HALF

    def _is_scaling(self, layer: Layer) -> bool:
        return layer.output in self.scalings and layer.output not in self.additions

    def _is_summed(self, layer: Layer) -> bool:
        if not isinstance(layer, Pool2d):
            return False
        return is_summed(self.emitter.spec, layer, self.places[layer.output], self.places[layer.inputs[0]])

    def _target(self, layer: Layer) -> TensorPlace:
        return self.places[self.joins.get(layer.output, layer).output]

    def _convolutions(self, layer: Layer) -> list[Convolution]:
        """Return the convolutions that make a layer's result one after another, none if it is not made by such."""
        match layer:
            case Conv2d():
                return [convolution_of(layer, self.places, self.joins.get(layer.output))]
            case ConvTranspose2d() if layer.params is not None:
                source, spec = self.places[layer.inputs[0]], self.emitter.spec
                target = self._target(layer)
                return transposed_phases(layer, source, target, layer.params, spec, Objective.LATENCY, HALF)
            case Binary() if layer.output in self.additions:
                a, b, out = (self.places[name] for name in (*layer.inputs, layer.output))
                found = addition_of(layer, vector_params(layer, layer.params), a, b, out)
                return [] if found is None else [found]
        return []

    def _member(
        self, emitter: Emitter, layer: Layer, phases: Sequence[Convolution], share: Share, turns: Turns | None
    ) -> Member:  # fmt: skip
        """Return a layer with the buffers of an emitter. Raises MappingError if they are too small."""
        out = self._target(layer)
        if isinstance(layer, Pool2d) and self._is_summed(layer):
            summed = SumEmitter(emitter, layer, out, self.places[layer.inputs[0]], turns)
            return Member(part=summed, record=vector_record(self.network, layer))
        if isinstance(layer, Binary) and self._is_scaling(layer):
            return self._scaling(emitter, layer, share, turns)
        if not phases:
            return self._recorded(emitter, layer, out)
        each = share.split(len(phases))
        emitters = [emitter.split(number, len(phases)) for number in range(len(phases))]
        found = [best_width(phase, self.emitter.spec, each) for phase in phases]
        packed = [
            pack_convolution(own, best[0], best[1].mapping, turns, each)
            for own, best in zip(emitters, found, strict=True)
            if best is not None
        ]
        if len(packed) < len(phases):
            raise MappingError(f"{layer.name}: no tile fits its share of the buffers")
        parts = [part for part, _ in packed]
        joiner = self.joins.get(layer.output)
        assert isinstance(layer, Conv2d | ConvTranspose2d | Binary)
        return Member(
            part=parts[0] if len(parts) == 1 else Interleaved(parts, out), emitters=tuple(emitters),
            record=mac_record(self.network, layer, packed),
            joined=None if joiner is None else vector_record(self.network, joiner),
        )  # fmt: skip

    def _scaling(self, emitter: Emitter, layer: Binary, share: Share, turns: Turns | None) -> Member:
        """Return a product with one value per channel on the array. Raises MappingError if no tile fits."""
        joiner, (a, b) = self.joins.get(layer.output), (self.places[name] for name in layer.inputs)
        what = None if joiner is None else joined_operand(layer, joiner, self.places)
        params, spec = vector_params(layer, layer.params), self.emitter.spec
        found = find_scaling(spec, layer, params, a, self._target(layer), what, Objective.LATENCY, share)
        if found is None:
            raise MappingError(f"{layer.name}: no tile fits its share of the buffers")
        part, weights = scaling_part(emitter, layer, found, b, turns, share)
        joined = None if joiner is None else vector_record(self.network, joiner)
        return Member(
            part=part, record=vector_record(self.network, layer), joined=joined, emitters=(emitter,), weights=weights
        )  # fmt: skip

    def _recorded(self, emitter: Emitter, layer: Layer, out: TensorPlace) -> Member:
        """Return a layer that does not use the array. Raises MappingError if it does."""
        recorder = emitter.recorder()
        self.alone(recorder, layer)
        part = Recorded(emitter, recorder, out)
        if not part.fits:
            raise MappingError(f"{layer.name}: runs on the array, but not step by step")
        return Member(
            part=part, record=recorder.layers[0], joined=recorder.layers[1] if recorder.layers[1:] else None
        )  # fmt: skip
