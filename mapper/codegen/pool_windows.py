"""Say what pooling windows cover: spans of input with their padding, counts of elements, parameters per count."""

from dataclasses import dataclass, replace
from itertools import groupby

from gossamer.arch.errors import MappingError
from gossamer.dataflow.network import Pool2d
from gossamer.dataflow.numerics import VectorParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Windows [first, first + windows) along one axis: the input they read, and how much of it is padding."""

    first: int
    windows: int
    start: int
    real: int
    before: int
    after: int

    @property
    def size(self) -> int:
        """Input positions of the span, padding included."""
        return self.before + self.real + self.after


def span(first: int, windows: int, *, kernel: int, stride: int, pad: int, size: int) -> Span:
    """Return what `windows` windows from `first` on read of an axis of `size` positions padded by `pad` before."""
    low = first * stride - pad
    high = low + (windows - 1) * stride + kernel
    start, stop = max(low, 0), min(high, size)
    if start >= stop:
        raise MappingError(
            f"pooling windows {first} to {first + windows - 1} must touch the input, not only its padding"
        )
    return Span(first=first, windows=windows, start=start, real=stop - start, before=start - low, after=high - stop)


def counted(layer: Pool2d, axis: int, window: int, size: int) -> int:
    """Return how many positions of a window along rows (axis 0) or columns (1) an average divides by."""
    low = window * layer.stride[axis] - layer.pads[axis]
    high = low + layer.kernel[axis]
    if layer.count_include_pad:
        return min(high, size + layer.pads[2 + axis]) - low
    return min(high, size) - max(low, 0)


def regions(counts: list[int]) -> list[tuple[int, int, int]]:
    """Return (first, length, count) of the stretches of equal counts."""
    result, first = [], 0
    for count, members in groupby(counts):
        length = len(list(members))
        result.append((first, length, count))
        first += length
    return result


def average_params(layer: Pool2d, count: int) -> VectorParams:
    """Return the parameters of an average over `count` elements. Raises MappingError if quantization gave none."""
    if layer.params is None:
        raise MappingError(f"{layer.name}: has no quantized parameters; quantize the network before compiling it")
    for known, multiplier, shift in layer.count_multipliers:
        if known == count:
            return replace(layer.params, mult_a=multiplier, shift=shift)
    if count != layer.kernel[0] * layer.kernel[1]:
        raise MappingError(f"{layer.name}: has no multiplier for windows of {count} elements; quantize again")
    return layer.params
