"""The mapping search against brute force: every tiling of a space, costed by the model and run by the simulator."""

import os
from typing import Any

import numpy as np
import pytest
from mapped_layers import MappingCompiler, small_layer

from gossamer.arch.config import load_config
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvMapping
from gossamer.dataflow.network import BinaryKind
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.tiling import Space, chip_numbers, search_mapping
from gossamer.sim.analytic import LayerModel
from gossamer.sim.timing import run_program

SEED = int(os.environ.get("GOSSAMER_SEED", "1"))
CONFIGS = ("ecp5-tiny", "kv260-edge", "u280-sparse")
LAYERS: list[dict[str, Any]] = [
    {"outputs": 24},
    {"outputs": 40, "input_shape": (2, 7, 9, 24), "stride": (2, 2)},
    {"outputs": 72, "input_shape": (1, 1, 1, 264), "kernel": (1, 1), "pads": (0, 0, 0, 0), "pattern": NmPattern(2, 8)},
    {"outputs": 96, "input_shape": (1, 14, 14, 96), "groups": 96},
    {"outputs": 130, "input_shape": (1, 6, 5, 72), "pattern": NmPattern(2, 4)},
    {"outputs": 16, "input_shape": (1, 20, 9, 8), "dilation": (2, 3), "pads": (2, 3, 2, 3)},
    {"outputs": 72, "input_shape": (1, 7, 6, 40), "joined": BinaryKind.ADD},
    {"outputs": 72, "input_shape": (1, 7, 6, 40), "joined": BinaryKind.MULTIPLY},
    {"outputs": 8, "input_shape": (1, 2, 3, 8), "joined": BinaryKind.ADD},
    {"outputs": 16, "input_shape": (1, 4, 4, 72), "pads": (3, 3, 3, 3)},
    {"outputs": 24, "input_shape": (1, 5, 5, 40), "kernel": (5, 5), "pads": (4, 4, 4, 4)},
]
"""The last two have windows of padding alone."""


def sparse_config(name: str) -> SparseAccelerator:
    spec = load_config(name)
    assert isinstance(spec, SparseAccelerator)
    return spec


def layer_of(number: int) -> Any:
    """Return a small convolution."""
    return small_layer(SEED, **LAYERS[number])


class Compiler(MappingCompiler):
    """Compiles a layer with a given mapping and runs it."""

    def cycles(self, mapping: ConvMapping | None = None) -> int:
        """Return the cycles the timing simulator gives the layer; with the mapping of the search if none is given."""
        return run_program(self.program(mapping), self.spec).total_cycles


@pytest.mark.parametrize("number", range(len(LAYERS)))
@pytest.mark.parametrize("name", CONFIGS)
def test_no_mapping_is_faster_than_its_bound(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    spec = sparse_config(name)
    compiler = Compiler(monkeypatch, layer_of(number), spec)
    chosen = compiler.cycles()
    assert compiler.shape is not None
    space, model = Space(compiler.shape, chip_numbers(spec)), LayerModel(compiler.shape, spec)
    assert (np.diff(space.least) >= 0).all()
    tightness = []
    for choice in np.unique(np.linspace(0, len(space.choices) - 1, 250).astype(int)):
        cycles, _ = model.run(model.jobs(space.mapping(choice)))
        assert space.least[choice] <= cycles
        assert chosen <= cycles
        tightness.append(space.least[choice] / cycles)
    assert np.median(tightness) > 0.3  # a bound of 0 is a bound too, and prunes nothing


def check_against_every_tiling(monkeypatch: pytest.MonkeyPatch, name: str, number: int, most: int) -> None:
    """The search finds what running the whole space finds."""
    spec, case = sparse_config(name), layer_of(number)
    compiler = Compiler(monkeypatch, case, spec)
    found = compiler.cycles()
    assert compiler.shape is not None
    space = Space(compiler.shape, chip_numbers(spec))
    print(f"{name} {number}: {len(space.choices)} tilings")
    assert 10 < len(space.choices) <= most
    best = min(compiler.cycles(space.mapping(choice)) for choice in range(len(space.choices)))
    search = search_mapping(compiler.shape, spec, "layer")
    assert search.cycles == search.least == found == best
    assert search.costed < len(space.choices)


QUICK = [("ecp5-tiny", 2), ("kv260-edge", 2), ("u280-sparse", 1), ("u280-sparse", 2)]


@pytest.mark.parametrize(("name", "number"), QUICK)
def test_the_search_finds_what_running_every_tiling_finds(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    check_against_every_tiling(monkeypatch, name, number, 700)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(LAYERS)))
@pytest.mark.parametrize("name", CONFIGS)
def test_the_search_finds_what_running_every_tiling_of_larger_spaces_finds(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    check_against_every_tiling(monkeypatch, name, number, 6000)
