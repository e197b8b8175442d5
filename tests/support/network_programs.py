"""Compile whole networks, execute them, and compare every tensor off chip with the golden layer kernels."""

from collections.abc import Mapping

import numpy as np

from gossamer.arch.config import fingerprint
from gossamer.arch.encoding import decode_columns
from gossamer.arch.isa import Opcode, Space
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.network import Binary, Concat, Network, Slice, View
from gossamer.dataflow.program import Program, RegionKind, TensorBinding
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.compile import compile_mapped
from gossamer.sim.golden.executor import execute_memory, read_tensor

Values = Mapping[str, np.ndarray]


_held: dict[int, Mapping[str, TensorPlace]] = {}
"""Places of tensors that stay on chip, by a hash of the Program's instructions."""


def compiled(network: Network, spec: SparseAccelerator) -> Program:
    compilation = compile_mapped(network, spec, config_fingerprint=fingerprint(spec))
    _held[hash(compilation.program.instructions.tobytes())] = compilation.held
    return compilation.program


def read_held(activations: np.ndarray, place: TensorPlace) -> np.ndarray:
    """Return a tensor out of the activation buffer, int8 of its shape."""
    strides = (place.batch_bytes, place.row_bytes, place.column_bytes, 1)
    return np.lib.stride_tricks.as_strided(activations[place.address :], place.shape, strides, writeable=False).copy()


def random_inputs(network: Network, seed: int) -> dict[str, np.ndarray]:
    """Return int8 inputs that use the whole range but mostly lie where the calibration's values did."""
    random = np.random.default_rng(seed)
    return {
        name: np.clip(np.rint(random.normal(0, 40, network.tensors[name].shape)), -128, 127).astype(np.int8)
        for name in network.inputs
    }


def due(
    network: Network, program: Program, held: Mapping[str, TensorPlace]
) -> dict[int, list[TensorBinding | TensorPlace]]:  # fmt: skip
    """Return by instruction number the tensors that are complete after it, each before its bytes can be reused.

    Layers may be in another order than in the network. One without code of its own (a view, a concat or slice in place,
    what is joined to another one) is complete with the last of those that make what it reads.
    """
    names = [layer.name for layer in network.layers]
    assert len(set(names)) == len(names), "layer names must be unique"
    last = {program.layers[at].name: int(np.flatnonzero(program.layer_of == at)[-1]) for at in set(program.layer_of)
            if at >= 0}  # fmt: skip
    ends: dict[str, int] = {}
    for layer in network.layers:
        ends[layer.output] = max(last.get(layer.name, 0), *(ends.get(name, 0) for name in layer.inputs))
    when: dict[int, list[TensorBinding | TensorPlace]] = {}
    bindings = {binding.name: binding for binding in (*program.intermediates, *program.outputs, *held.values())}
    for name, end in ends.items():
        if name in bindings:
            when.setdefault(end, []).append(bindings[name])
    return when


def assert_values(network: Network, program: Program, spec: SparseAccelerator, inputs: Values, expected: Values) -> int:
    """Execute; every tensor must equal `expected` byte for byte when its layer is done, and outputs at the end too.

    Tensors that stay on chip are compared there; the Program must be one of `compiled`. Fails at the first layer that
    differs. Returns how many tensors were compared: all but those that are parts of another one with gaps between their
    pixels.
    """
    when = due(network, program, _held[hash(program.instructions.tobytes())])
    op_of = {layer.output: f"{layer.op} {layer.name}" for layer in network.layers}
    seen: set[str] = set()

    def compare(binding: TensorBinding | TensorPlace, memory: np.ndarray, activations: np.ndarray) -> None:
        on_chip = isinstance(binding, TensorPlace)
        got = read_held(activations, binding) if on_chip else read_tensor(memory, binding)
        want = expected[binding.name]
        bad = np.argwhere(got != want)
        if bad.size:
            at = tuple(bad[0].tolist())
            raise AssertionError(
                f"{network.name} on {spec.name}: first difference in {op_of[binding.name]}, tensor {binding.name}: "
                f"{len(bad)} of {want.size} elements, at {at} {got[at]} instead of {want[at]}"
            )

    def after(number: int, memory: np.ndarray, activations: np.ndarray) -> None:
        for binding in when.pop(number, ()):
            compare(binding, memory, activations)
            seen.add(binding.name)

    memory = execute_memory(program, spec, inputs, after)
    for binding in program.outputs:
        if binding.name not in network.inputs:
            compare(binding, memory, memory)
    assert not when, "some tensors were never compared"
    _assert_parts(network, seen)
    return len(seen)


def _assert_parts(network: Network, seen: set[str]) -> None:
    """Every tensor that was not compared must be a part of one that was, or of an input, or only joined into one."""
    whole = seen | set(network.inputs)
    pending = [layer for layer in network.layers if layer.output not in whole]
    for _ in range(len(pending)):
        for layer in pending:
            joined = any(c.output in whole for c in network.consumers(layer.output) if isinstance(c, Concat | View))
            taken = isinstance(layer, Slice | View) and layer.inputs[0] in whole
            readers = list(network.consumers(layer.output))
            inside = len(readers) == 1 and isinstance(readers[0], Binary) and readers[0].output in whole
            if joined or taken or inside:
                whole.add(layer.output)
    missing = [layer.output for layer in pending if layer.output not in whole]
    assert not missing, f"tensors that were not compared: {missing}"


def constant_planes(program: Program, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct constant bytes that a layer LOADs into the weight and the index buffer, uint8 [n] each."""
    columns = decode_columns(program.instructions)
    number = next(at for at, record in enumerate(program.layers) if record.name == layer)
    constants = next(region for region in program.regions if region.kind is RegionKind.CONSTANTS)
    planes = []
    for space in (Space.WEIGHT, Space.INDEX):
        loads = (columns["opcode"] == Opcode.LOAD) & (columns["space"] == space) & (program.layer_of == number)
        taken = np.zeros(program.image.size, dtype=bool)
        for at in np.flatnonzero(loads).tolist():
            dram, run = int(columns["dram"][at]) - constants.address, int(columns["run_bytes"][at])
            for y in range(columns["ny"][at]):
                for x in range(columns["nx"][at]):
                    start = dram + y * int(columns["dram_y"][at]) + x * int(columns["dram_x"][at])
                    assert 0 <= start <= start + run <= taken.size, "not a constant"
                    taken[start : start + run] = True
        planes.append(program.image[taken])
    return planes[0], planes[1]
