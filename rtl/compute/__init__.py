"""Generate the COMPUTE engine: the walk over passes and positions, the array and the accumulator."""

from gossamer.rtl.compute.engine import ComputeEngine

__all__ = ["ComputeEngine"]
