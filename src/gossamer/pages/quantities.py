"""Name the metrics of design points for a reader, each with a unit whose prefix suits the values shown."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric: what it is called and measured in; `prefixed` if the unit takes decimal prefixes."""

    name: str
    unit: str
    prefixed: bool = False
    factor: float = 1.0


_METRICS: Mapping[str, Metric] = {
    "cycles": Metric(name="Cycles", unit="cycles", prefixed=True),
    "latency_s": Metric(name="Latency", unit="s", prefixed=True),
    "throughput_per_s": Metric(name="Throughput", unit="inputs/s"),
    "energy_j": Metric(name="Energy", unit="J", prefixed=True),
    "power_w": Metric(name="Power", unit="W", prefixed=True),
    "edp_js": Metric(name="Energy × delay", unit="J·s", prefixed=True),
    "dram_bytes": Metric(name="Off-chip traffic", unit="B", prefixed=True),
    "utilization": Metric(name="Utilisation", unit="%", factor=100.0),
    "kept_energy": Metric(name="Kept weight energy", unit="%", factor=100.0),
    "dsp": Metric(name="DSP", unit="slices"),
    "bram36": Metric(name="BRAM36", unit="blocks"),
    "uram": Metric(name="URAM", unit="blocks"),
    "lut": Metric(name="LUT", unit="count"),
    "ff": Metric(name="FF", unit="count"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A metric in the unit it is shown in: shown value = value * factor."""

    metric: str
    name: str
    unit: str
    factor: float

    @property
    def title(self) -> str:
        """Return the title of an axis or column: name and unit."""
        return f"{self.name} ({self.unit})"

    def text(self, value: float) -> str:
        """Return a value with four significant digits, without the unit."""
        return four_digits(value * self.factor)


def four_digits(value: float) -> str:
    """Return a number with four significant digits, thousands apart; nothing for NaN."""
    if np.isnan(value):
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def quantity_of(metric: str, values: NDArray[np.float64]) -> Quantity:
    """Return how to show a metric whose values are float64 [n]: the prefix brings the median to 1 or above."""
    known = _METRICS[metric]
    factor, unit = known.factor, known.unit
    magnitudes = np.abs(values[np.isfinite(values) & (values != 0)])
    if known.prefixed and magnitudes.size:
        median = float(np.median(magnitudes))
        scale, prefix = next((entry for entry in _PREFIXES if median >= entry[0]), _PREFIXES[-1])
        factor, unit = 1.0 / scale, prefix + unit
        if known.unit == "cycles":
            unit = {"": "cycles", "k": "thousand cycles", "M": "million cycles"}.get(prefix, f"{scale:g} cycles")
    return Quantity(metric=metric, name=known.name, unit=unit, factor=factor)


def value_text(value: float | str) -> str:
    """Return the value of a field as it is read best: 50 for 50.0."""
    return value if isinstance(value, str) else f"{value:.10g}"
