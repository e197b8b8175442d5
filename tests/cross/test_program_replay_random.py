"""Random networks, compiled onto small buffers: replay, executor and layer kernels agree byte for byte."""

import numpy as np
import pytest
from hand_programs import small_spec
from replay import replay

from gossamer.arch.config import fingerprint
from gossamer.dataflow.assembly import assemble, disassemble
from gossamer.dataflow.network import Conv2d
from gossamer.dataflow.program_file import parse_program, program_bytes
from gossamer.mapper.compile import compile_network
from gossamer.mapper.quantization.quantize import quantize
from gossamer.mapper.random_networks import random_network
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers


@pytest.mark.parametrize("seed", range(8))
def test_random_networks(seed: int) -> None:
    """Branches, joins, several inputs and outputs on small buffers; file and assembly text give the same program."""
    group = (4, 8, 16)[seed % 3]
    network = quantize(random_network(seed, most_m=group))
    spec = small_spec(
        group=group, chains=16, chain_length=1 + seed % 5, lanes=(1, 2, 4)[seed % 3], kib=(8, 16, 32)[seed % 3]
    )
    random = np.random.default_rng(seed)
    values = {
        name: np.clip(np.rint(random.normal(0, 40, network.tensors[name].shape)), -128, 127).astype(np.int8)
        for name in network.inputs
    }
    program = compile_network(network, spec, config_fingerprint=fingerprint(spec))
    expected = run_layers(network, values)
    seen = replay(program, spec, values, seed=seed, schedules=3)
    executed = execute(program, spec, values)
    for name in set(network.outputs) - set(network.inputs):
        np.testing.assert_array_equal(seen.outputs[name], expected[name])
        np.testing.assert_array_equal(executed[name], expected[name])
    kinds = {layer.name: layer for layer in network.layers}
    for at, record in enumerate(program.layers):
        if isinstance(kinds[record.name], Conv2d):
            assert seen.macs[at] == record.macs
    np.testing.assert_array_equal(assemble(disassemble(program)), program.instructions)
    assert program_bytes(parse_program(program_bytes(program))) == program_bytes(program)
