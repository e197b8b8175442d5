"""Execute a Program: values only, instruction by instruction in program order, exactly as `gossamer.arch.isa` defines.

It sees nothing but the Program and the config. Off-chip bytes nobody has written and all on-chip buffers start as
POISON, so that a program which reads what it has not written gives wrong values rather than lucky zeros.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.config import fingerprint
from gossamer.arch.encoding import decode_columns
from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.program import Program, TensorBinding
from gossamer.dataflow.program_file import check_program, memory_image
from gossamer.sim.golden.executor_bounds import accumulator_entries, check_bounds, index_pitch, layer_name
from gossamer.sim.golden.executor_kernels import RUN_FIELDS, panel_sizes, run
from gossamer.sim.golden.executor_vector import FAULTS

POISON = 0xA5


def place_tensor(memory: NDArray[np.uint8], binding: TensorBinding, values: NDArray[np.int8]) -> None:
    """Write an int8 array of the binding's shape into memory; pad channels get the tensor's zero point.

    Raises ProgramError for another dtype or shape.
    """
    if values.dtype != np.int8 or values.shape != binding.shape:
        raise ProgramError(
            f"tensor `{binding.name}` must be int8 of shape {binding.shape}, not {values.dtype} of shape {values.shape}"
        )
    batch, rows, columns, channels = binding.shape
    padded = np.full((batch, rows, columns, binding.channel_pitch), binding.quant.zero_point, dtype=np.int8)
    padded[..., :channels] = values
    memory[binding.address : binding.address + padded.size] = padded.reshape(-1).view(np.uint8)


def read_tensor(memory: NDArray[np.uint8], binding: TensorBinding) -> NDArray[np.int8]:
    """Return the tensor of a binding out of memory, int8 of its shape, without pad channels."""
    batch, rows, columns, channels = binding.shape
    count = batch * rows * columns * binding.channel_pitch
    stored = memory[binding.address : binding.address + count].view(np.int8)
    return stored.reshape(batch, rows, columns, binding.channel_pitch)[..., :channels].copy()


def initial_memory(program: Program, inputs: Mapping[str, NDArray[np.int8]]) -> NDArray[np.uint8]:
    """Return off-chip memory uint8 [memory_bytes] at the start: image and inputs in place, the rest POISON.

    Raises ProgramError unless `inputs` holds exactly the program's inputs.
    """
    expected = [binding.name for binding in program.inputs]
    if set(inputs) != set(expected):
        raise ProgramError(
            f"{program.name}: inputs must be {', '.join(expected) or 'none'}; not {', '.join(inputs) or 'none'}"
        )
    try:
        memory = np.full(program.memory_bytes, POISON, dtype=np.uint8)
    except MemoryError as error:
        raise ProgramError(
            f"{program.name}: its {program.memory_bytes} bytes of off-chip memory do not fit this machine's memory"
        ) from error
    image = memory_image(program)
    memory[: image.size] = image
    for binding in program.inputs:
        place_tensor(memory, binding, inputs[binding.name])
    return memory


def execute_memory(
    program: Program, spec: SparseAccelerator, inputs: Mapping[str, NDArray[np.int8]]
) -> NDArray[np.uint8]:
    """Return off-chip memory uint8 [memory_bytes] after END.

    inputs: int8 (batch, rows, columns, channels) per input name. Raises ProgramError naming instruction, layer, field,
    address and limit if an instruction leaves a buffer or the memory map, or has parameters that cannot be used.
    """
    check_program(program)
    if program.config_fingerprint != fingerprint(spec):
        raise ProgramError(
            f"{program.name}: the program must be compiled for {spec.name} with fingerprint {fingerprint(spec)[:12]}, "
            f"not for {program.config_name} with {program.config_fingerprint[:12]}: compile the model again"
        )
    columns = decode_columns(program.instructions)
    check_bounds(program, spec, columns)
    memory = initial_memory(program, inputs)
    fields = np.ascontiguousarray(np.stack([columns[name] for name in RUN_FIELDS], axis=1))
    buffers, array = spec.buffers, spec.array
    act, wgt, idx, par = (
        np.full(buffer.capacity_bytes, POISON, dtype=np.uint8)
        for buffer in (buffers.activation, buffers.weight, buffers.index, buffers.parameter)
    )
    acc = np.full((accumulator_entries(spec), 4 * array.chains), POISON, dtype=np.uint8).view(np.int32)
    scratch_a, scratch_w, scratch_s = (np.empty(size, dtype=np.float32) for size in panel_sizes(array.chains))
    fault = np.zeros(2, dtype=np.int64)
    done = int(
        run(
            fields, 0, len(fields), memory, act, wgt, idx, par, acc, array.chain_length, array.group_size,
            index_pitch(spec), scratch_a, scratch_w, scratch_s, fault,
        )
    )  # fmt: skip
    if fault[0]:
        opcode = Opcode(int(columns["opcode"][done]))
        what = FAULTS[int(fault[0])].format(value=int(fault[1]))
        raise ProgramError(
            f"instruction {done} ({opcode.name}, layer {layer_name(program, done)}): parameter block at "
            f"{columns['par'][done]}: {what}"
        )
    return memory


def execute(
    program: Program, spec: SparseAccelerator, inputs: Mapping[str, NDArray[np.int8]]
) -> dict[str, NDArray[np.int8]]:
    """Return every output, int8 (batch, rows, columns, channels) by name. Inputs and errors as `execute_memory`."""
    memory = execute_memory(program, spec, inputs)
    return {binding.name: read_tensor(memory, binding) for binding in program.outputs}
