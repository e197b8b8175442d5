"""Add two tensors of one size through the array, where VECTOR would read one operand after the other.

One operand passes the array unchanged, as a convolution of one weight of 1 per channel; what requantizes its sums adds
the other operand in the same pass (REQUANTIZE_ADD), one cycle per beat where ADD takes two.
"""

import numpy as np

from gossamer.arch.isa import Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.network import Binary, BinaryKind, Layer, Network
from gossamer.dataflow.numerics import VectorParams, fits_addend_factor
from gossamer.mapper.allocate import TensorPlace, dense_place
from gossamer.mapper.codegen.convolution_parts import Joined
from gossamer.mapper.codegen.convolution_shape import flatten
from gossamer.mapper.codegen.parameters import pass_through
from gossamer.mapper.codegen.vector import stream_cycles
from gossamer.mapper.codegen.wide_pixels import Convolution, best_width


def addition_of(
    layer: Binary, params: VectorParams, a: TensorPlace, b: TensorPlace, out: TensorPlace
) -> Convolution | None:  # fmt: skip
    """Return an addition as a convolution that is joined with the second operand, None if it cannot be one."""
    if layer.kind is BinaryKind.MULTIPLY or not fits_addend_factor(params.mult_a, params.mult_b):
        return None
    if not a.shape == b.shape == out.shape or not (a.is_contiguous and b.is_contiguous and out.is_contiguous):
        return None
    channels = a.shape[3]
    return Convolution(
        who=layer.name, source=flatten(a), target=flatten(out), weight=np.ones((channels, 1, 1, 1), np.int8),
        params=pass_through(0, channels, 0), groups=channels, joined=Joined(operand=flatten(b), addition=params),
    )  # fmt: skip


def adds_on_array(network: Network, layer: Layer, spec: SparseAccelerator) -> bool:
    """Return whether a layer is an addition that takes fewer cycles through the array than by VECTOR, places aside."""
    if not isinstance(layer, Binary) or layer.params is None:
        return False
    a, b, out = (dense_place(network, name, spec) for name in (*layer.inputs, layer.output))
    addition = addition_of(layer, layer.params, a, b, out)
    found = addition and best_width(addition, spec)
    if not found:
        return False
    return found[1].cycles < stream_cycles(spec, layer.name, Opcode.ADD, out, [a, b])
