"""Write small Programs by hand: a config with free sizes, and a list of instructions to a Program."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gossamer.arch.config import fingerprint, load_config
from gossamer.arch.encoding import encode
from gossamer.arch.isa import Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.numerics import QuantParams
from gossamer.dataflow.program import LayerRecord, Program, Region, RegionKind, TensorBinding

Line = tuple[Opcode, dict[str, int]]


def small_spec(
    *, group: int = 8, chains: int = 8, chain_length: int = 4, lanes: int = 2, kib: int = 4
) -> SparseAccelerator:
    """Return ecp5-tiny with another array and `kib` KiB of activations, weights, indices, sums and parameters each."""
    spec = load_config("ecp5-tiny")
    assert isinstance(spec, SparseAccelerator)
    array = spec.array.model_copy(
        update={"group_size": group, "chains": chains, "chain_length": chain_length, "lanes": lanes}
    )
    buffers = {
        name: getattr(spec.buffers, name).model_copy(update={"capacity_bytes": kib * 1024})
        for name in ("activation", "weight", "index", "accumulator", "parameter")
    }
    return spec.model_copy(update={"array": array, "buffers": spec.buffers.model_copy(update=buffers)})


def binding(
    name: str, address: int, shape: tuple[int, int, int, int], group: int, zero_point: int = 0
) -> TensorBinding:
    """Return a tensor's binding with its channels padded to whole words."""
    pitch = -(-shape[3] // group) * group
    return TensorBinding(
        name=name, address=address, shape=shape, channel_pitch=pitch, quant=QuantParams(0.5, zero_point)
    )


def layer(name: str = "hand", macs: int = 0) -> LayerRecord:
    """Return a layer record of which only name and macs matter."""
    return LayerRecord(
        name=name, op="conv", positions=1, channels=1, reduction=1, macs=macs, dense_macs=macs, weight_bytes=0,
        index_bytes=0, pattern="dense",
    )  # fmt: skip


def constants_address(instructions: int) -> int:
    """Return where the constants begin in a program of so many instructions without END."""
    return 64 * (instructions + 1)


def program_of(spec: SparseAccelerator, lines: Sequence[Line], image: np.ndarray, *, working_bytes: int = 0,
               **bindings: Any) -> Program:  # fmt: skip
    """Return a Program of these lines and END: instructions, constants, then `working_bytes` for all tensors."""
    words = np.stack([encode(opcode, fields) for opcode, fields in [*lines, (Opcode.END, {})]])
    start = constants_address(len(lines))
    after = start + -(-image.size // 64) * 64
    regions = [
        Region(name="instructions", kind=RegionKind.INSTRUCTIONS, address=0, size_bytes=words.size),
        Region(name="constants", kind=RegionKind.CONSTANTS, address=start, size_bytes=image.size),
        Region(name="tensors", kind=RegionKind.ACTIVATION, address=after, size_bytes=working_bytes),
    ]
    layer_of = np.zeros(len(words), dtype=np.int32)
    layer_of[-1] = -1
    fields = {"inputs": (), "outputs": (), "intermediates": (), "layers": (layer(),)} | bindings
    return Program(
        name="hand", config_name=spec.name, config_fingerprint=fingerprint(spec), instructions=words, image=image,
        regions=tuple(regions), layer_of=layer_of, **fields,
    )  # fmt: skip
