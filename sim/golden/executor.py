"""Execute a Program: values only, instruction by instruction in program order, exactly as `gossamer.arch.isa` defines.

Several cores have buffers of their own and one off-chip memory.

It sees nothing but the Program and the config. Off-chip bytes nobody has written and all on-chip buffers start as
POISON, so that a program which reads what it has not written gives wrong values rather than lucky zeros.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.accumulator import accumulator_entries
from gossamer.arch.config import fingerprint
from gossamer.arch.encoding import decode_columns
from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import FIELDS, VECTOR_OPCODES, Opcode, Space, index_pitch_bytes
from gossamer.arch.spec import BufferSpec, SparseAccelerator
from gossamer.dataflow.program import Program, TensorBinding
from gossamer.dataflow.program_file import check_program, memory_image
from gossamer.dataflow.streams import segments_of
from gossamer.sim.golden.executor_blocks import run_vector
from gossamer.sim.golden.executor_bounds import check_bounds, layer_name
from gossamer.sim.golden.executor_kernels import INDEX_BITS, RUN_FIELDS, compute, load, panel_sizes, store

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
    _, rows, columns, _ = binding.shape
    stored = memory[binding.address : binding.address + binding.span_bytes].view(np.int8)
    pitch = binding.channel_pitch
    strides = (rows * columns * pitch, columns * pitch, pitch, 1)
    return np.lib.stride_tricks.as_strided(stored, binding.shape, strides, writeable=False).copy()


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


class _Machine:
    """Off-chip memory and the buffers of a config while a program runs on them."""

    def __init__(self, spec: SparseAccelerator, memory: NDArray[np.uint8]) -> None:
        array, buffers = spec.array, spec.buffers
        self.memory = memory
        self.group, self.chain_length, self.chains = array.group_size, array.chain_length, array.chains
        self.buffers = {
            Space.ACTIVATION: _poisoned(buffers.activation),
            Space.WEIGHT: _poisoned(buffers.weight),
            Space.INDEX: _poisoned(buffers.index),
            Space.PARAMETER: _poisoned(buffers.parameter),
        }
        self.act = self.buffers[Space.ACTIVATION].view(np.int8)
        self.wgt = self.buffers[Space.WEIGHT].view(np.int8)
        self.acc = np.full((accumulator_entries(spec), 4 * array.chains), POISON, dtype=np.uint8).view(np.int32)
        self.scratch = tuple(np.zeros(size, dtype=np.float32) for size in panel_sizes(array.chains))

    def load_store_compute(self, opcode: Opcode, space: int, f: NDArray[np.int64]) -> None:
        """Run one instruction of the other engines than VECTOR; f int64 in the order of RUN_FIELDS."""
        if opcode is Opcode.LOAD:
            load(f, self.memory, self.buffers[Space(space)])
        elif opcode is Opcode.STORE:
            store(f, self.memory, self.buffers[Space.ACTIVATION])
        elif opcode is Opcode.COMPUTE:
            index = self.buffers[Space.INDEX]
            pitch = index_pitch_bytes(self.chains, int(f[INDEX_BITS]))
            compute(
                f, self.act, self.wgt, index, self.acc, self.chain_length, self.group, pitch, *self.scratch
            )  # fmt: skip

    def vector(self, opcode: Opcode, f: Mapping[str, int]) -> None:
        """Run one VECTOR instruction."""
        run_vector(opcode, f, self.group, self.act, self.buffers[Space.PARAMETER], self.acc)


def _poisoned(buffer: BufferSpec) -> NDArray[np.uint8]:
    return np.full(buffer.capacity_bytes, POISON, dtype=np.uint8)


def execute_memory(
    program: Program,
    spec: SparseAccelerator,
    inputs: Mapping[str, NDArray[np.int8]],
    after: Callable[[int, NDArray[np.uint8], NDArray[np.int8]], None] | None = None,
) -> NDArray[np.uint8]:
    """Return off-chip memory uint8 [memory_bytes] after END.

    inputs: int8 (batch, rows, columns, channels) per input name. `after` is called with the number of each instruction
    and the memory and activation buffer it leaves: intermediate tensors share bytes, so each can be seen only before
    the next one. Raises ProgramError naming instruction, layer, field, address and limit if an instruction leaves a
    buffer or the memory map, or has parameters that cannot be used.
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
    machines = [_Machine(spec, memory) for _ in range(spec.cores)]
    fields = np.stack([columns[name] for name in RUN_FIELDS], axis=1)
    vector_names = [field.name for field in FIELDS[Opcode.COPY]]
    vector_fields = np.stack([columns[name] for name in vector_names], axis=1)
    spaces, opcodes = columns["space"].tolist(), columns["opcode"].tolist()
    for machine, number in _sequence(program, machines):
        opcode = Opcode(opcodes[number])
        if opcode in VECTOR_OPCODES:
            try:
                machine.vector(opcode, dict(zip(vector_names, vector_fields[number].tolist(), strict=True)))
            except ProgramError as error:
                raise ProgramError(
                    f"instruction {number} ({opcode.name}, layer {layer_name(program, number)}): parameter block at "
                    f"{columns['par'][number]}: {error}"
                ) from error
        else:
            machine.load_store_compute(opcode, spaces[number], fields[number])
        if after is not None:
            after(number, memory, machine.act)
    return memory


def _sequence(program: Program, machines: Sequence[_Machine]) -> Iterator[tuple[_Machine, int]]:
    """Yield who runs which instruction: stage by stage, in each core after core, which no core can tell."""
    for segment in segments_of(program):
        for number in range(segment.first, segment.first + segment.count):
            yield machines[segment.core], number


def execute(
    program: Program, spec: SparseAccelerator, inputs: Mapping[str, NDArray[np.int8]]
) -> dict[str, NDArray[np.int8]]:
    """Return every output, int8 (batch, rows, columns, channels) by name. Inputs and errors as `execute_memory`."""
    memory = execute_memory(program, spec, inputs)
    return {binding.name: read_tensor(memory, binding) for binding in program.outputs}
