"""Make the workloads of a sweep: a model, batched, pruned and quantized, as the ways to run its layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gossamer.dataflow.network import Network, effective_macs
from gossamer.explore.axes import layers_of
from gossamer.mapper.batch import with_batch
from gossamer.mapper.layer_options import LayerOptions, layer_options
from gossamer.mapper.pruning.prune import prune, weight_layers
from gossamer.mapper.quantization.quantize import quantize
from gossamer.models import load_model
from gossamer.one_liners import is_one_liner


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What runs: the ways to run its layers, effective MACs, entries of a batch.

    `kept_energy`: share of the squares of all weights that pruning keeps. `group_size`: the least `array.group_size`
    its patterns need.
    """

    layers: list[LayerOptions]
    macs: int
    batch: int
    kept_energy: float
    group_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A workload as a network, pruned and quantized."""

    quantized: Network
    kept_energy: float


def prune_workload(values: Mapping[str, Any]) -> Pruned:
    """Return the network of a point, given the values of its workload axes. Raises ModelError."""
    model, sparsity = str(values["model"]), str(values["sparsity"])
    network = with_batch(load_model(model), int(values["batch"]))
    per_layer = {glob: str(value) for name, value in values.items() if (glob := layers_of(name)) is not None}
    if is_one_liner(model) or model.endswith(".csv"):  # independent layers: none of them stays dense by default
        per_layer = {**{layer.name: sparsity for layer in weight_layers(network)}, **per_layer}
    pruned = prune(network, sparsity, per_layer)
    return Pruned(quantized=quantize(pruned), kept_energy=_squares(pruned) / _squares(network))


def make_workload(values: Mapping[str, Any]) -> Workload:
    """Return the workload of a point, given the values of its workload axes. Raises ModelError."""
    pruned = prune_workload(values)
    quantized = pruned.quantized
    patterns = [layer.pattern for layer in weight_layers(quantized)]
    return Workload(
        layers=layer_options(quantized), batch=int(values["batch"]),
        macs=sum(effective_macs(quantized, layer)[0] for layer in quantized.layers),
        kept_energy=pruned.kept_energy,
        group_size=max((pattern.m for pattern in patterns if pattern is not None), default=1),
    )  # fmt: skip


def _squares(network: Network) -> float:
    """Return the sum of the squares of all weights; 1 if there are none."""
    total = sum(float(np.square(layer.weight, dtype=np.float64).sum()) for layer in weight_layers(network))
    return total or 1.0
