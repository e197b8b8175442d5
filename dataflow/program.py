"""Hold a compiled Program: what golden executor, timing simulator and RTL all run."""

from dataclasses import dataclass
from enum import StrEnum
from math import prod

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.network import Shape
from gossamer.dataflow.numerics import QuantParams


class RegionKind(StrEnum):
    """What a range of the program's off-chip memory holds."""

    INSTRUCTIONS = "instructions"
    CONSTANTS = "constants"
    INPUT = "input"
    OUTPUT = "output"
    ACTIVATION = "activation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One range of the memory map; addresses are byte offsets from the program base, multiples of 64."""

    name: str
    kind: RegionKind
    address: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorBinding:
    """Where a tensor lies off chip: [batch][row][column][channel_pitch] bytes from `address`.

    Inputs and outputs own all of it; an intermediate that is some channels of another tensor ends with its last one.
    """

    name: str
    address: int
    shape: Shape
    channel_pitch: int
    quant: QuantParams

    @property
    def span_bytes(self) -> int:
        """Return the bytes from the first channel of the first pixel to the last channel of the last one."""
        return (prod(self.shape[:3]) - 1) * self.channel_pitch + self.shape[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """What reports need to attribute instructions to a layer; the hardware never sees it."""

    name: str
    op: str
    positions: int
    channels: int
    reduction: int
    macs: int
    dense_macs: int
    weight_bytes: int
    index_bytes: int
    pattern: str


class Way(StrEnum):
    """Along which axis of its result a layer's record is a part of the layer: `name` is that of the whole one."""

    WHOLE = "whole"
    IMAGES = "images"
    POSITIONS = "positions"
    CHANNELS = "channels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Instructions [first, first + count) of a Program, the last one a BARRIER or END: what a core does in a stage."""

    core: int
    stage: int
    first: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The instructions of several cores. Every core has one segment in every stage; all begin a stage together.

    `ways`: of every layer record of the Program.
    """

    cores: int
    segments: tuple[Segment, ...]
    ways: tuple[Way, ...]

    @property
    def stages(self) -> int:
        """Return the number of stages."""
        return len(self.segments) // self.cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Instructions, constant image and memory map.

    instructions uint8 [count, 64] in program order (region INSTRUCTIONS at address 0); image uint8: the bytes of the
    CONSTANTS region; layer_of int32 [count]: index into `layers` for every instruction (-1: none). `streams`: which
    instructions are for which core; None: all for the only one.
    """

    name: str
    config_name: str
    config_fingerprint: str
    instructions: NDArray[np.uint8]
    image: NDArray[np.uint8]
    regions: tuple[Region, ...]
    inputs: tuple[TensorBinding, ...]
    outputs: tuple[TensorBinding, ...]
    intermediates: tuple[TensorBinding, ...]
    layers: tuple[LayerRecord, ...]
    layer_of: NDArray[np.int32]
    streams: Streams | None = None

    @property
    def memory_bytes(self) -> int:
        """Off-chip bytes the Program needs from its base address."""
        return max(region.address + region.size_bytes for region in self.regions)
