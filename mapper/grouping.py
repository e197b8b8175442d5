"""Decide which layers are joined, and which take turns (`gossamer.mapper.codegen.together`).

A pair is worth it if one layer leaves idle what the other is bound by. Every two layers that can follow each other, and
whose busiest engine takes less than both alone, are compiled and simulated both ways; of all ways to pair the layers of
a network, the one that saves most is taken, and the layers are put in an order that has them side by side.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import networkx as nx

from gossamer.arch.isa import ENGINES
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import Objective
from gossamer.dataflow.network import Binary, Concat, Conv2d, Layer, MatMul, Network, Resize, Slice, View
from gossamer.dataflow.program import Program
from gossamer.mapper.allocate import dense_place
from gossamer.mapper.codegen.mac_layers import convolution_of, joined_operand
from gossamer.mapper.codegen.members import Pair
from gossamer.mapper.codegen.scaling import find_scaling
from gossamer.mapper.codegen.vector import vector_params
from gossamer.mapper.codegen.wide_pixels import best_width
from gossamer.mapper.mapping_cache import keep_numbers, key_of, read_numbers
from gossamer.mapper.shares import HALF, WHOLE, Share
from gossamer.mapper.tiling import Search
from gossamer.sim.analytic import layer_cycles
from gossamer.sim.timing import run_program, simulate

Compiler = Callable[[Sequence[Layer], Sequence[Pair]], Program]
"""Gives the Program of some layers of a network, given the pairs among them that take turns."""

WORTHWHILE = 0.95
"""Part of the cycles of two layers alone beyond which their busiest engine saves too little to try them together."""

NOTICEABLE = 0.001
"""Part of the cycles of all layers that two which are no neighbours must be able to save."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Layers that save cycles if they take turns.

    `units`: the layers, each with what is joined to it. `dependencies`: which of them, by their numbers, read what
    others make. `gains`: which two can take turns, and as weights the cycles that saves.
    """

    units: Sequence[Layer]
    dependencies: nx.DiGraph
    gains: nx.Graph

    def best(self, apart: Collection[str] = ()) -> list[Pair]:
        """Return the pairs that save most cycles, in network order. `apart`: outputs of layers that take no turns."""
        edges = self._matching(apart)
        pairs: list[Pair] = []
        for first, second in sorted(edges, key=lambda edge: -self.gains.edges[edge]["weight"]):
            more = [*pairs, (self.units[first], self.units[second])]
            if _order(self.dependencies, self.units, more):
                pairs = more
        number = {unit.output: place for place, unit in enumerate(self.units)}
        return sorted(pairs, key=lambda pair: number[pair[0].output])

    def beside(self, spans: Sequence[tuple[Collection[str], int]]) -> list[Pair]:
        """Return pairs that leave alone those of `spans` that save as many cycles as turns of their layers, or more.

        `spans`: outputs of layers that run in a row, and the cycles that it saves if they take no turns.
        """
        apart: set[str] = set()
        for outputs, saved in sorted(spans, key=lambda span: -span[1]):
            if saved + self._saved({*apart, *outputs}) >= self._saved(apart):
                apart |= set(outputs)
        return self.best(apart)

    def _matching(self, apart: Collection[str]) -> list[tuple[int, int]]:
        """Return the pairs of most weight, each in the order of the network."""
        left = self.gains.subgraph(number for number in self.gains if self.units[number].output not in apart)
        return sorted((min(edge), max(edge)) for edge in nx.max_weight_matching(left))

    def _saved(self, apart: Collection[str]) -> int:
        return sum(self.gains.edges[edge]["weight"] for edge in self._matching(apart))


def find_turns(
    network: Network, joins: Mapping[str, Binary], spec: SparseAccelerator, program: Compiler
) -> Turns:  # fmt: skip
    """Return which layers save cycles if they take turns, measured pair by pair."""
    units = [layer for layer in network.layers if not any(name in joins for name in layer.inputs)]
    graph = _dependencies(network, joins, units)
    turns = Turns(units=units, dependencies=graph, gains=nx.Graph())
    neighbours = list(_neighbours(graph))
    if not neighbours:
        return turns
    alone = [_Alone(network, joins.get(unit.output), unit, spec, program) for unit in units]
    least = NOTICEABLE * sum(each.cycles for each in alone)
    for first, second in neighbours:
        possible = alone[first].may_save(alone[second])
        if possible > (0 if second == first + 1 else least):
            gain = _gain(network, joins, spec, (units[first], units[second]), program)
            if gain > 0:
                turns.gains.add_edge(first, second, weight=gain)
    return turns


def side_by_side(network: Network, joins: Mapping[str, Binary], pairs: Sequence[Pair]) -> Network:
    """Return a network with the layers of each pair behind each other, and what is joined to a layer behind it."""
    units = [layer for layer in network.layers if not any(name in joins for name in layer.inputs)]
    layers: list[Layer] = []
    for number in _order(_dependencies(network, joins, units), units, pairs):
        layers.append(units[number])
        if units[number].output in joins:
            layers.append(joins[units[number].output])
    return replace(network, layers=tuple(layers))


def _dependencies(network: Network, joins: Mapping[str, Binary], units: Sequence[Layer]) -> nx.DiGraph:
    """Return which units, by their numbers, read what others make."""
    made = {unit.output: number for number, unit in enumerate(units)}
    made |= {joins[name].output: number for name, number in made.items() if name in joins}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(units)))
    for number, unit in enumerate(units):
        for name in (*unit.inputs, *(joins[unit.output].inputs if unit.output in joins else ())):
            if name in made and made[name] != number:
                graph.add_edge(made[name], number)
    return graph


def _neighbours(graph: nx.DiGraph) -> Iterator[tuple[int, int]]:
    """Yield every two units that can follow each other: nothing between them waits for one and is waited for."""
    behind = {number: nx.descendants(graph, number) for number in graph}
    for first, second in combinations(sorted(graph), 2):
        if not any(second in behind[between] for between in graph.successors(first)):
            yield first, second


def _order(graph: nx.DiGraph, units: Sequence[Layer], pairs: Sequence[Pair]) -> list[int]:
    """Return the numbers of the units in an order with pairs side by side, else as it was; none if there is none."""
    number = {unit.output: place for place, unit in enumerate(units)}
    both = {number[second.output]: number[first.output] for first, second in pairs}
    merged = nx.DiGraph()
    merged.add_nodes_from(both.get(each, each) for each in graph)
    merged.add_edges_from((both.get(a, a), both.get(b, b)) for a, b in graph.edges if both.get(a, a) != both.get(b, b))
    if not nx.is_directed_acyclic_graph(merged):
        return []
    seconds = {first: second for second, first in both.items()}
    order: list[int] = []
    for each in nx.lexicographical_topological_sort(merged):
        order += [each, seconds[each]] if each in seconds else [each]
    return order


class _Alone:
    """What a unit takes alone: `cycles`, and those of every engine."""

    def __init__(
        self, network: Network, joined: Binary | None, unit: Layer, spec: SparseAccelerator, program: Compiler
    ) -> None:  # fmt: skip
        self.cycles, self.busy = 0, dict.fromkeys(ENGINES, 0)
        self.possible = not isinstance(unit, View | Concat | Slice | MatMul)
        if isinstance(unit, Conv2d):
            found = search_layer(network, unit, joined, spec)
            shared = search_layer(network, unit, joined, spec, HALF)
            if found is None or shared is None:
                self.possible = False
                return
            self.cycles, self.busy = found.cycles, layer_cycles(shared.mapping, spec).engine_cycles
        elif self.possible:
            key = key_of("alone", spec, _described(network, unit, joined))
            kept = read_numbers(key, 1 + len(ENGINES))
            if kept is None:
                simulation = simulate(program([unit], ()), spec)
                kept = [simulation.total_cycles, *(simulation.engines[engine].busy for engine in ENGINES)]
                keep_numbers(key, kept)
            self.cycles, self.busy = kept[0], dict(zip(ENGINES, kept[1:], strict=True))

    def may_save(self, other: "_Alone") -> int:
        """Return the cycles that are saved at most if both take turns, 0 if that is little."""
        if not (self.possible and other.possible):
            return 0
        together, apart = max(self.busy[each] + other.busy[each] for each in ENGINES), self.cycles + other.cycles
        return apart - together if together < WORTHWHILE * apart else 0


def _gain(
    network: Network, joins: Mapping[str, Binary], spec: SparseAccelerator, pair: Pair, program: Compiler
) -> int:  # fmt: skip
    """Return the cycles a pair saves, compiled and simulated both ways."""
    described = [_described(network, unit, joins.get(unit.output)) for unit in pair]
    searches = [
        search_layer(network, unit, joins.get(unit.output), spec, share)
        for unit in pair
        if isinstance(unit, Conv2d)
        for share in (WHOLE, HALF)
    ]
    made = joins.get(pair[0].output, pair[0]).output
    read = [*pair[1].inputs, *(joins[pair[1].output].inputs if pair[1].output in joins else ())]
    key = key_of("pair", spec, described, [each and each.mapping for each in searches], [name == made for name in read])
    kept = read_numbers(key, 1)
    if kept is None:
        alone, together = (run_program(program(pair, pairs), spec).total_cycles for pairs in ((), (pair,)))
        kept = [alone - together]
        keep_numbers(key, kept)
    return kept[0]


def _described(network: Network, unit: Layer, joined: Binary | None) -> list[object]:
    """Return all of a unit that what it takes depends on; mappings of convolutions say it of them."""
    layers = [unit] if joined is None else [unit, joined]
    return [
        (
            type(layer).__name__ if isinstance(layer, Conv2d) else repr(replace(layer, name="", inputs=(), output="")),
            [network.tensors[name].shape for name in (*layer.inputs, layer.output)],
        )
        for layer in layers
    ]


def search_layer(
    network: Network, layer: Conv2d, joined: Binary | None, spec: SparseAccelerator, share: Share = WHOLE,
    objective: Objective = Objective.LATENCY,
) -> Search | None:  # fmt: skip
    """Return the mapping of a layer between tensors without gaps, with its `share` of the buffers, if any."""
    names = dict.fromkeys((*layer.inputs, layer.output, *((*joined.inputs, joined.output) if joined else ())))
    places = {name: dense_place(network, name, spec) for name in names}
    found = best_width(convolution_of(layer, places, joined), spec, share, objective=objective)
    return None if found is None else found[1]


def joins_that_fit(
    network: Network, joins: Mapping[str, Binary], spec: SparseAccelerator, objective: Objective
) -> dict[str, Binary]:
    """Return the joins whose two layers fit the buffers together; the layers of the others run one after the other."""
    return {
        layer.output: joins[layer.output]
        for layer in network.layers
        if layer.output in joins and _fits(network, layer, joins[layer.output], spec, objective)
    }


def _fits(network: Network, layer: Layer, joined: Binary, spec: SparseAccelerator, objective: Objective) -> bool:
    if isinstance(layer, Conv2d):
        return search_layer(network, layer, joined, spec, objective=objective) is not None
    if isinstance(layer, Resize):
        return True  # or it is not joined
    assert isinstance(layer, Binary)
    places = {name: dense_place(network, name, spec) for name in (*layer.inputs, *joined.inputs, joined.output)}
    what = joined_operand(layer, joined, places)
    found = find_scaling(
        spec, layer, vector_params(layer, layer.params), places[layer.inputs[0]], places[joined.output], what, objective
    )  # fmt: skip
    return found is not None
