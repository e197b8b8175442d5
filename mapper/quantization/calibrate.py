"""Find the range of values each tensor must represent, by running the float network on calibration data."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Binary, Conv2d, ConvTranspose2d, Layer, Network, Tensor, Unary
from gossamer.mapper.quantization.number_formats import Range
from gossamer.mapper.quantization.tables import clamp_limits
from gossamer.sim.reference import run_float

Values = dict[str, NDArray[np.float32]]

SYNTHETIC_SEED = 0
SAMPLES_PER_TENSOR = 2**17
"""Values kept of each tensor over all calibration inputs for percentile and mse; min-max sees every value."""

PERCENTILE = 99.99
_HISTOGRAM_BINS = 4096
_SHRINKAGES = np.linspace(0.2, 1.0, 33)
_FLOAT32_MAX = float(np.finfo(np.float32).max)


class ActivationRange(StrEnum):
    """How a range is read from calibration values."""

    MIN_MAX = "min-max"
    PERCENTILE = "percentile"
    MSE = "mse"


@dataclass(slots=True)
class Observer:
    """What calibration has seen of one tensor."""

    low: float = 0.0
    high: float = 0.0
    overflowed: bool = False
    samples: list[NDArray[np.float32]] = field(default_factory=list)

    def observe(self, values: NDArray[np.float32], keep: int) -> None:
        """Widen the range by values of any shape, and keep at most `keep` of them, evenly spaced."""
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            self.overflowed = True
            values = np.clip(np.nan_to_num(values, nan=0.0), -_FLOAT32_MAX, _FLOAT32_MAX)
            low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        if keep:
            flat = values.reshape(-1)
            step = -(-flat.size // keep)
            while math.gcd(step, values.shape[-1]) > 1:  # else some channels would never be seen
                step += 1
            self.samples.append(flat[::step].copy())

    def range(self, method: ActivationRange) -> Range:
        """Return (low, high), 0 included."""
        if method is ActivationRange.MIN_MAX or self.low == self.high:
            return self.low, self.high
        values = np.concatenate(self.samples).astype(np.float64)
        if method is ActivationRange.PERCENTILE:
            low, high = np.percentile(values, (100 - PERCENTILE, PERCENTILE))
            return min(float(low), 0.0), max(float(high), 0.0)
        return self._least_error(values)

    def _least_error(self, values: NDArray[np.float64]) -> Range:
        """Return the shrunken observed range whose 8-bit codes have the least mean square error on `values`."""
        best, least = (self.low, self.high), np.inf
        share, edges = np.histogram(values, _HISTOGRAM_BINS, (self.low, self.high))
        values = (edges[1:] + edges[:-1]) / 2
        for shrinkage in _SHRINKAGES[::-1].tolist():
            low, high = self.low * shrinkage, self.high * shrinkage
            scale = (high - low) / 255
            codes = np.clip(np.rint((values - low) / scale), 0, 255)
            error = float(share @ (codes * scale + low - values) ** 2)
            if error < least:
                best, least = (low, high), error
        return best


def inner_tensor(layer: Layer) -> str:
    """Return the name of the value of a layer before its fused activation."""
    return f"{layer.output}/before"


def needs_table(layer: Layer) -> bool:
    """Return whether a layer's fused activation is more than a clamp. Raises ModelError where only a clamp can be."""
    match layer:
        case Conv2d() | ConvTranspose2d():
            return clamp_limits(layer.activation) is None
        case Binary():
            if clamp_limits(layer.activation) is None:
                raise ModelError(
                    f"{layer.name}: only relu and clip can be fused into {layer.op}; make it its own layer"
                )
    return False


def expose_activations(network: Network) -> Network:
    """Return the same function with every activation that needs a table as a layer of its own."""
    tensors, layers = dict(network.tensors), list[Layer]()
    for layer in network.layers:
        if not (isinstance(layer, Conv2d | ConvTranspose2d) and needs_table(layer)):
            layers.append(layer)
            continue
        inner = inner_tensor(layer)
        tensors[inner] = Tensor(name=inner, shape=tensors[layer.output].shape)
        layers.append(replace(layer, output=inner, activation=()))
        layers.append(
            Unary(
                name=f"{layer.name}/activation", inputs=(inner,), output=layer.output, op="activation",
                steps=layer.activation,
            )
        )  # fmt: skip
    return replace(network, tensors=tensors, layers=tuple(layers))


def synthetic_inputs(network: Network) -> Values:
    """Return one batch of standard normal values for every input, the same in every run."""
    rng = np.random.default_rng(SYNTHETIC_SEED)
    return {name: rng.standard_normal(network.tensors[name].shape, dtype=np.float32) for name in network.inputs}


def calibrate(
    network: Network,
    data: Mapping[str, NDArray[Any]] | None,
    method: ActivationRange,
) -> tuple[dict[str, Range], list[str]]:
    """Return the range of every tensor (and of `inner_tensor` of layers that need a table), and notes for the user.

    data maps input names to stored-order arrays (samples, rows, columns, channels); None is one synthetic batch.
    Raises ModelError for missing, misshapen or non-finite data.
    """
    exposed = expose_activations(network)
    notes = []
    if data is None:
        batches = [synthetic_inputs(network)]
        notes.append(
            f"No calibration data: activation ranges come from one synthetic standard normal batch (seed "
            f"{SYNTHETIC_SEED}), so outputs are not accurate."
        )
    else:
        batches = list(_batches(network, data))
    keep = 0 if method is ActivationRange.MIN_MAX else -(-SAMPLES_PER_TENSOR // len(batches))
    observers = {name: Observer() for name in exposed.tensors}
    for inputs in batches:
        with np.errstate(all="ignore"):  # overflow is noted by the observers
            outputs = run_float(exposed, inputs)
        for name, values in outputs.items():
            observers[name].observe(values, keep)
    overflowed = [name for name, observer in observers.items() if observer.overflowed]
    if overflowed:
        notes.append(
            f"{len(overflowed)} tensors overflow float32 on these inputs, the first is {overflowed[0]}; their int8 "
            "values mean nothing (placeholder weights do this)."
        )
    return {name: observer.range(method) for name, observer in observers.items()}, notes


def _batches(network: Network, data: Mapping[str, NDArray[Any]]) -> Iterator[Values]:
    """Yield inputs of the network's batch size; the last batch is filled up with the first samples."""
    counts = set()
    for name in network.inputs:
        if name not in data:
            raise ModelError(f"calibration data has no array for input {name!r}; it has {', '.join(data) or 'none'}")
        array, shape = data[name], network.tensors[name].shape
        if array.ndim != 4 or array.shape[1:] != shape[1:] or not len(array):
            raise ModelError(
                f"calibration data for {name} must be (samples, {', '.join(map(str, shape[1:]))}), not {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ModelError(f"calibration data for {name} must be finite; it holds NaN or infinity")
        counts.add(-(-len(array) // shape[0]))
    if len(counts) != 1:
        raise ModelError(f"calibration arrays must hold equally many samples, not {sorted(counts)} batches")
    for index in range(counts.pop()):
        yield {
            name: np.take(
                np.asarray(data[name], np.float32),
                range(index * batch, (index + 1) * batch),
                axis=0,
                mode="wrap",
            )
            for name in network.inputs
            if (batch := network.tensors[name].shape[0])
        }
