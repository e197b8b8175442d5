"""Say what a layer has of every buffer while it takes turns with another one (`gossamer.mapper.codegen.members`)."""

from dataclasses import dataclass, replace

PARTS = 16
"""Shares are counted in sixteenths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Sixteenths of the buffers of activations, of weights and indices, of sums and of parameters."""

    activation: int = PARTS
    weight: int = PARTS
    accumulator: int = PARTS
    parameter: int = PARTS

    def of(self, buffer: str) -> int:
        """Return the sixteenths of a buffer, by its name in the config."""
        return int(getattr(self, "weight" if buffer == "index" else buffer))

    def split(self, of: int) -> "Share":
        """Return one of some equal parts."""
        return Share(
            activation=self.activation // of, weight=self.weight // of, accumulator=self.accumulator // of,
            parameter=self.parameter // of,
        )  # fmt: skip

    @property
    def rest(self) -> "Share":
        """What it leaves to another layer."""
        return Share(
            activation=PARTS - self.activation, weight=PARTS - self.weight, accumulator=PARTS - self.accumulator,
            parameter=PARTS - self.parameter,
        )  # fmt: skip


WHOLE = Share()
"""What a layer has that runs alone."""

HALF = Share(activation=8, weight=8, accumulator=8, parameter=8)
"""What both have if both multiply."""

MOST_WEIGHTS = replace(HALF, weight=12)
"""What one has that keeps many weights, beside one that keeps few."""

FEWEST_WEIGHTS = MOST_WEIGHTS.rest
"""What that one has."""

BESIDE_SUMS = Share(activation=14, weight=12, accumulator=14, parameter=12)
"""What a layer has that multiplies beside one that sums: pixels of that lie in the weight buffer."""

BESIDE_MOVES = Share(activation=8, parameter=12)
"""What a layer has that multiplies beside one that does not use the array."""
