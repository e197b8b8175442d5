"""Layers whose tensors lie on chip: the model's times, bounds and events against generated code, for all tilings.

The layer is emitted alone, as if the layer before it had left its input in the activation buffer.
"""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from mapped_layers import small_layer

from gossamer.arch.config import load_config
from gossamer.arch.isa import Engine
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvMapping, ConvShape, Objective
from gossamer.dataflow.network import Binary, BinaryKind, Conv2d
from gossamer.dataflow.program import Program
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.allocate import TensorPlace, dense_place
from gossamer.mapper.codegen import mac_layers
from gossamer.mapper.codegen.wide_pixels import Convolution
from gossamer.mapper.compile import assemble
from gossamer.mapper.emit import Emitter
from gossamer.mapper.objective import activity_of, prices
from gossamer.mapper.placement import place_tensors
from gossamer.mapper.tiling import Space, chip_numbers, search_mapping
from gossamer.sim import accounting, engine
from gossamer.sim.analytic import LayerModel
from gossamer.sim.timing import run_program

SEED = 1
CONFIGS = ("ecp5-tiny", "kv260-edge", "u280-sparse")
LAYERS: list[dict[str, Any]] = [
    {"outputs": 24},
    {"outputs": 72, "input_shape": (2, 6, 7, 40), "stride": (2, 2), "pattern": NmPattern(2, 4)},
    {"outputs": 16, "input_shape": (1, 12, 9, 24), "dilation": (2, 3), "pads": (2, 3, 2, 3)},
    {"outputs": 96, "input_shape": (1, 8, 8, 96), "groups": 96},
    {"outputs": 72, "input_shape": (1, 1, 30, 72), "kernel": (1, 1), "pads": (0, 0, 0, 0), "pattern": NmPattern(2, 8)},
    {"outputs": 40, "input_shape": (1, 7, 6, 40), "joined": BinaryKind.ADD},
    {"outputs": 72, "input_shape": (1, 7, 6, 40), "joined": BinaryKind.MULTIPLY},
]
PLAIN = [(True, False, False), (False, True, False), (True, True, False)]
JOINED = [(False, False, True), (True, False, True), (True, True, True)]
CASES = [
    (number, on_chip) for number, case in enumerate(LAYERS) for on_chip in (JOINED if "joined" in case else PLAIN)
]  # fmt: skip
"""Whether source, target and operand are on chip."""


class OnChip:
    """A layer, and what is joined to it, with some of its tensors in the activation buffer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, name: str, on_chip: tuple[bool, ...]) -> None:
        spec = load_config(name)
        assert isinstance(spec, SparseAccelerator)
        self.spec, self.network = spec, small_layer(SEED, **LAYERS[number]).network
        self.layer, *joined = self.network.layers
        assert isinstance(self.layer, Conv2d)
        self.joined = joined[0] if joined else None
        assert self.joined is None or isinstance(self.joined, Binary)
        source, target = self.layer.inputs[0], (self.joined or self.layer).output
        operand = [name for name in (self.joined.inputs if self.joined else ()) if name != self.layer.output]
        names = [name for name, held in zip((source, target, *operand), on_chip, strict=False) if held]
        self.held_bytes, self.held = 0, {}
        for each in names:
            self.held[each] = self._place(each, self.layer.pads if each == source else (0, 0, 0, 0))
        self.mapping: ConvMapping | None = None
        self.shape: ConvShape | None = None
        monkeypatch.setattr(mac_layers, "choose_width", self._choose)
        self.program(None)

    def _place(self, name: str, pads: tuple[int, int, int, int]) -> TensorPlace:
        place = replace(dense_place(self.network, name, self.spec), quant=self.network.tensors[name].quant)
        batch, rows, columns, _ = place.shape
        row_bytes = (columns + max(pads[1], pads[3])) * place.column_bytes
        batch_bytes = (rows + max(pads[0], pads[2])) * row_bytes
        before = pads[0] * row_bytes + pads[1] * place.column_bytes
        self.held_bytes += before + batch * batch_bytes
        address = self.spec.buffers.activation.capacity_bytes - self.held_bytes + before
        return replace(place, address=address, row_bytes=row_bytes, batch_bytes=batch_bytes, on_chip=True)

    def _choose(self, layer: Convolution, spec: SparseAccelerator, _: Objective) -> tuple[Convolution, ConvMapping]:
        """Return the widest pixels and the mapping that is tried."""
        *_, layer = layer, *layer.wide(spec)
        self.shape = layer.shape(spec)
        return layer, self.mapping or search_mapping(self.shape, spec, "layer").mapping

    def program(self, mapping: ConvMapping | None) -> Program:
        """Return the layer's instructions with a mapping, that of the search if none is given."""
        self.mapping = mapping
        emitter = Emitter(self.spec)
        joins = {self.layer.output: self.joined} if self.joined else {}
        places = place_tensors(self.network, emitter.memory, joins, held=self.held)
        emitter.activation.hold(self.held_bytes)
        mac_layers.emit_mac_layer(emitter, self.network, self.layer, places, self.joined)
        emitter.end()
        return assemble(emitter, self.network, places, config_fingerprint="")

    def space(self, objective: Objective = Objective.LATENCY) -> Space:
        assert self.shape is not None
        assert self.shape.held_bytes == self.held_bytes
        numbers = chip_numbers(self.spec, held_bytes=self.held_bytes)
        return Space(self.shape, numbers, prices(objective, self.spec))


def some(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` numbers, spread."""
    return np.unique(np.linspace(0, count - 1, most).astype(int)).tolist()


@pytest.mark.parametrize(("number", "on_chip"), CASES)
@pytest.mark.parametrize("name", CONFIGS)
def test_times_bounds_and_events_are_those_of_generated_code(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int, on_chip: tuple[bool, ...]
) -> None:
    case = OnChip(monkeypatch, number, name, on_chip)
    space = case.space(Objective.BYTES)
    assert case.shape is not None
    assert (case.shape.source_on_chip, case.shape.target_on_chip, case.shape.operand_on_chip) == on_chip
    model, columns = LayerModel(case.shape, case.spec), [engine.DISPATCHED, engine.STARTED, engine.COMPLETED]
    best = np.inf
    for choice in some(len(space.choices), 10):
        mapping = space.mapping(choice)
        jobs = model.jobs(mapping)
        cycles, times, _ = model.run_traffic(jobs)
        run = run_program(case.program(mapping), case.spec)
        assert jobs[:, engine.ENGINE].tolist() == run.work[:, engine.ENGINE].tolist()
        np.testing.assert_array_equal(times[:, columns], run.times[:, columns])
        assert space.least[choice] <= cycles == run.total_cycles
        best = min(best, cycles)
        computes, vectors = run.members(Engine.COMPUTE), run.members(Engine.VECTOR)
        work = accounting.array_work(run.columns, computes, case.spec)
        moved = int(run.traffic[:, engine.BYTES].sum()) + len(jobs) * 64
        events = accounting.activity(
            run.columns, case.spec, computes, work, vectors, run.windows[vectors], moved
        )  # fmt: skip
        assert activity_of(space.counts[choice]) == events
    assert search_mapping(case.shape, case.spec, "layer").cycles <= best


def test_the_search_finds_what_costing_every_tiling_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, on_chip in product((0, 3), PLAIN):
        case = OnChip(monkeypatch, number, "ecp5-tiny", on_chip)
        assert case.shape is not None
        space, model = case.space(), LayerModel(case.shape, case.spec)
        cycles = [model.run(model.jobs(space.mapping(choice)))[0] for choice in range(len(space.choices))]
        search = search_mapping(case.shape, case.spec, "layer")
        assert search.cycles == search.least == min(cycles)
        assert search.costed < len(cycles)
