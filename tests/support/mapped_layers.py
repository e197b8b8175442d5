"""Compile one layer with a given mapping instead of the one that the search finds."""

from typing import Any

import numpy as np
import pytest
from quantized_layers import convolution, joined

from gossamer.arch.config import fingerprint
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvMapping, ConvShape, Objective
from gossamer.dataflow.program import Program
from gossamer.mapper.codegen import mac_layers
from gossamer.mapper.codegen.wide_pixels import Convolution
from gossamer.mapper.compile import compile_network


def small_layer(seed: int, **changes: Any) -> Any:
    """Return a small convolution with some of its properties changed; `joined`: the kind of a layer behind it."""
    case: dict[str, Any] = {"kernel": (3, 3), "pads": (1, 1, 1, 1), "input_shape": (1, 9, 11, 16), **changes}
    random, kind = np.random.default_rng(seed), case.pop("joined", None)
    layer = convolution(random, "layer", case.pop("input_shape"), case.pop("outputs"), case.pop("kernel"), **case)
    return layer if kind is None else joined(random, layer, kind)


class MappingCompiler:
    """Compiles a layer with a given mapping; `shape` is what the search chose for it without one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, case: Any, spec: SparseAccelerator) -> None:
        self.case, self.spec = case, spec
        self.shape: ConvShape | None = None
        self._mapping: ConvMapping | None = None
        choose = mac_layers.choose_width

        def given(layer: Convolution, spec: SparseAccelerator, objective: Objective) -> tuple[Convolution, ConvMapping]:
            if self._mapping is None:
                layer, mapping = choose(layer, spec, objective)
                self.shape = mapping.shape
                return layer, mapping
            widths = (layer, *layer.wide(spec))
            return next(each for each in widths if each.shape(spec) == self.shape), self._mapping

        monkeypatch.setattr(mac_layers, "choose_width", given)
        self.program()

    def program(self, mapping: ConvMapping | None = None, objective: Objective = Objective.LATENCY) -> Program:
        """Return the Program with a mapping, that of the search if none is given."""
        self._mapping = mapping
        return compile_network(
            self.case.network, self.spec, config_fingerprint=fingerprint(self.spec), objective=objective
        )
