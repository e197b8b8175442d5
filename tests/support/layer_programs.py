"""Compile a network of layers without multiply-accumulates, one after the other, without the whole compiler."""

from collections.abc import Callable, Mapping

import numpy as np
from hand_programs import small_spec
from replay import replay

from gossamer.arch.config import fingerprint
from gossamer.arch.encoding import encode_columns
from gossamer.arch.isa import Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.network import Network
from gossamer.dataflow.numerics import QuantParams
from gossamer.dataflow.program import Program, RegionKind
from gossamer.mapper.allocate import Request, TensorPlace, place_tensor, tensor_bytes
from gossamer.mapper.codegen.convolution_shape import conv_shape
from gossamer.mapper.codegen.vector import emit_vector_layer
from gossamer.mapper.emit import PARAMETER_BYTES, Emitter
from gossamer.mapper.tokens import derive_accesses, derive_tokens, engine_numbers
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers

Alias = Callable[[dict[str, TensorPlace]], Mapping[str, TensorPlace]]


def sized_spec(*, group: int = 8, chains: int = 8, vector_lanes: int = 0, **capacities: int) -> SparseAccelerator:
    """Return a small config with buffers of so many bytes (1 MiB, 16 KiB of accumulators, where not given)."""
    spec = small_spec(group=group, chains=chains)
    names = ("activation", "weight", "index", "accumulator", "parameter")
    default = dict.fromkeys(names, 1 << 20) | {"accumulator": 1 << 14}
    buffers = {
        name: getattr(spec.buffers, name).model_copy(update={"capacity_bytes": capacities.get(name, default[name])})
        for name in names
    }
    vector = spec.vector.model_copy(update={"lanes": vector_lanes or 2 * group})
    return spec.model_copy(update={"buffers": spec.buffers.model_copy(update=buffers), "vector": vector})


def compile_layers(spec: SparseAccelerator, network: Network, alias: Alias | None = None) -> Program:
    """Return the program of a network of vector and move layers; `alias` replaces places, e.g. by slices of others."""
    group = spec.array.group_size
    emitter = Emitter(spec)
    kinds = dict.fromkeys(network.inputs, RegionKind.INPUT) | dict.fromkeys(network.outputs, RegionKind.OUTPUT)
    requests = [
        Request(
            name=name, kind=kinds.get(name, RegionKind.ACTIVATION), size_bytes=tensor_bytes(tensor.shape, group),
            first=0, last=len(network.layers),
        )
        for name, tensor in network.tensors.items()
    ]  # fmt: skip
    addresses = emitter.memory.plan(requests)
    places = {
        name: place_tensor(name, tensor.shape, tensor.quant, group, addresses[name])
        for name, tensor in network.tensors.items()
    }
    if alias is not None:
        places |= alias(places)
    for layer in network.layers:
        emit_vector_layer(emitter, network, layer, places)
    emitter.end()
    opcodes, columns = emitter.opcodes(), emitter.columns()
    wait, release = derive_tokens(engine_numbers(opcodes), derive_accesses(opcodes, columns, spec))
    layout = emitter.memory.layout(len(opcodes))
    if "dram" in columns:
        moves = np.isin(opcodes, (Opcode.LOAD, Opcode.STORE))
        columns["dram"] = np.where(moves, layout.relocate(columns["dram"]), 0)
    columns.pop(PARAMETER_BYTES)
    return Program(
        name=network.name, config_name=spec.name, config_fingerprint=fingerprint(spec),
        instructions=encode_columns(opcodes, {**columns, "wait": wait, "release": release}),
        image=emitter.memory.image(), regions=layout.regions, layers=tuple(emitter.layers),
        layer_of=emitter.layer_of(), intermediates=(),
        inputs=tuple(layout.binding(places[name]) for name in network.inputs),
        outputs=tuple(layout.binding(places[name]) for name in network.outputs),
    )  # fmt: skip


def check_layers(
    spec: SparseAccelerator, network: Network, values: Mapping[str, np.ndarray], *, replayed: bool = True,
    alias: Alias | None = None,
) -> Program:  # fmt: skip
    """Compile, execute, replay in random orders; every output must equal the golden layer kernels byte for byte."""
    program = compile_layers(spec, network, alias)
    expected = run_layers(network, values)
    got = execute(program, spec, values)
    for name in network.outputs:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=f"{network.name}: {name}")
    if replayed:
        found = replay(program, spec, values, seed=0, schedules=1)
        for name in network.outputs:
            np.testing.assert_array_equal(found.outputs[name], expected[name])
    return program


def shape_of(spec, rows, columns, channels, outputs, kernel, *, stride=1, groups=1, pattern=None):
    """Return the shape of a layer with same padding."""
    group = spec.array.group_size
    source = place_tensor("a", (1, rows, columns, channels), QuantParams(0.1, 0), group, 0)
    out = (1, -(-rows // stride), -(-columns // stride), outputs)
    return conv_shape(
        spec, source, place_tensor("b", out, QuantParams(0.1, 0), group, 0), who="layer", kernel=(kernel, kernel),
        stride=(stride, stride), pads=(kernel // 2, kernel // 2), groups=groups, pattern=pattern,
    )  # fmt: skip
