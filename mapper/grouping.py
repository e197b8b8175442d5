"""Decide which layers are joined, and which consecutive ones take turns (`gossamer.mapper.codegen.together`).

A pair is worth it if one layer leaves idle what the other is bound by. Every two convolutions that follow each other
and whose busiest engine takes less than both alone are compiled and simulated both ways; of all ways to pair the layers
of a network, the one that saves most is taken.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from gossamer.arch.isa import ENGINES
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import Objective
from gossamer.dataflow.network import Binary, Conv2d, Layer, Network, Resize
from gossamer.mapper.allocate import dense_place
from gossamer.mapper.codegen.mac_layers import convolution_of, joined_operand
from gossamer.mapper.codegen.scaling import find_scaling
from gossamer.mapper.codegen.vector import vector_params
from gossamer.mapper.codegen.wide_pixels import best_width
from gossamer.mapper.mapping_cache import keep_numbers, key_of, read_numbers
from gossamer.mapper.tiling import Search
from gossamer.sim.analytic import layer_cycles

Pair = tuple[Conv2d, Conv2d]

WORTHWHILE = 0.95
"""Part of the cycles of two layers alone beyond which their busiest engine saves too little to try them together."""


def pair_layers(
    network: Network, joins: Mapping[str, Binary], spec: SparseAccelerator, saved: Callable[[Pair], int]
) -> list[Pair]:
    """Return the pairs of layers that save most cycles, in network order. `saved`: by a pair, measured."""
    pairs: list[Pair] = []
    for run in _runs(network, joins):
        gains = [0, 0] + [_gain(network, joins, spec, pair, saved) for pair in pairwise(run)]
        best = [0] * (len(run) + 1)
        for end in range(2, len(run) + 1):
            best[end] = max(best[end - 1], best[end - 2] + gains[end])
        end = len(run)
        while end >= 2:
            if best[end] > best[end - 1]:
                pairs.append((run[end - 2], run[end - 1]))
                end -= 1
            end -= 1
    order = {layer.output: number for number, layer in enumerate(network.layers)}
    return sorted(pairs, key=lambda pair: order[pair[0].output])


def _runs(network: Network, joins: Mapping[str, Binary]) -> Iterator[list[Conv2d]]:
    """Yield maximal sequences of convolutions with nothing between them that emits instructions of its own."""
    run: list[Conv2d] = []
    for layer in network.layers:
        if isinstance(layer, Conv2d):
            run.append(layer)
        elif not any(name in joins for name in layer.inputs):
            yield run
            run = []
    yield run


def _gain(
    network: Network, joins: Mapping[str, Binary], spec: SparseAccelerator, pair: Pair, saved: Callable[[Pair], int]
) -> int:  # fmt: skip
    """Return the cycles a pair saves, 0 if it cannot."""
    searches: list[Search] = []
    for share in (1, 2):
        found = [search_layer(network, layer, joins.get(layer.output), spec, share) for layer in pair]
        searches += [each for each in found if each is not None]
        if len(searches) < share * len(pair):
            return 0
        busy = [layer_cycles(search.mapping, spec).engine_cycles for search in searches[-len(pair) :]]
        busiest = max(sum(each[engine] for each in busy) for engine in ENGINES)
        if busiest >= WORTHWHILE * sum(search.cycles for search in searches[: len(pair)]):
            return 0
    made = joins.get(pair[0].output, pair[0]).output
    read = [*pair[1].inputs, *(joins[pair[1].output].inputs if pair[1].output in joins else ())]
    key = key_of("pair", spec, [search.mapping for search in searches], [name == made for name in read])
    kept = read_numbers(key, 1)
    if kept is None:
        kept = [saved(pair)]
        keep_numbers(key, kept)
    return max(0, kept[0])


def search_layer(
    network: Network, layer: Conv2d, joined: Binary | None, spec: SparseAccelerator, share: int = 1,
    objective: Objective = Objective.LATENCY,
) -> Search | None:  # fmt: skip
    """Return the mapping of a layer between tensors without gaps, with a `share`th of the buffers, if any."""
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
