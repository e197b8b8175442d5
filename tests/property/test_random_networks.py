"""Random networks on random small configs: values, schedule and counts hold together whatever meets whatever."""

import numpy as np
import pytest
from layer_programs import sized_spec
from network_programs import assert_values, compiled, random_inputs
from replay import replay

from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.network import effective_macs
from gossamer.dataflow.program_file import parse_program, program_bytes
from gossamer.mapper.quantization.quantize import quantize
from gossamer.mapper.random_networks import random_network
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.timing import simulate

SEEDS = range(30)
REPLAYED = range(30, 42)


def random_spec(seed: int) -> SparseAccelerator:
    """Return a config with an odd array and buffers from a few tiles to plenty."""
    random = np.random.default_rng(seed)
    group = int(random.choice([4, 8, 16]))
    chains = max(group, int(random.choice([8, 16])))
    rows = 2 * group * int(random.choice([1, 3, 40]))
    spec = sized_spec(
        group=group, chains=chains, vector_lanes=group * int(random.choice([1, 2, 4])),
        activation=int(random.choice([2048, 4096, 32768])), weight=chains * rows, index=chains * rows,
        accumulator=4 * chains * int(random.choice([8, 32, 256])), parameter=int(random.choice([2048, 4096, 16384])),
    )  # fmt: skip
    chain_length = int(random.integers(1, 9))
    rows_per_cycle = [rows for rows in range(1, 9) if chain_length % rows == 0]
    array = spec.array.model_copy(
        update={
            "chain_length": chain_length,
            "lanes": int(random.integers(1, 5)),
            "weight_rows_per_cycle": int(random.choice(rows_per_cycle)),
        }
    )
    dispatch = spec.dispatch.model_copy(update={"queue_depth": int(random.integers(1, 9))})
    return spec.model_copy(update={"array": array, "dispatch": dispatch})


def check(seed: int, *, products: bool):
    """Compile, save, execute and simulate one network; return it with its Program, config, inputs and values."""
    spec = random_spec(seed)
    network = quantize(random_network(seed, most_m=spec.array.group_size, products=products))
    inputs = random_inputs(network, seed)
    expected = run_layers(network, inputs)
    program = parse_program(program_bytes(compiled(network, spec)))
    assert_values(network, program, spec, inputs, expected)
    result = simulate(program, spec)
    totals = [effective_macs(network, layer) for layer in network.layers]
    assert (result.macs, result.dense_macs) == tuple(sum(column) for column in zip(*totals, strict=True))
    assert sum(result.classes.values()) == result.total_cycles == sum(layer.cycles for layer in result.layers)
    assert all(engine.total == result.total_cycles for engine in result.engines.values())
    assert 0 <= result.utilization <= 1
    return network, program, spec, inputs, expected


@pytest.mark.parametrize("seed", SEEDS)
def test_values_and_counts(seed: int) -> None:
    check(seed, products=True)


@pytest.mark.parametrize("seed", REPLAYED)
def test_schedule(seed: int) -> None:
    """The replay shares no code with mapper and executor. It has no rule for a product's streamed operand: left out."""
    network, program, spec, inputs, expected = check(seed, products=False)
    found = replay(program, spec, inputs, seed=seed, schedules=1)
    for name in network.outputs:
        np.testing.assert_array_equal(found.outputs[name], expected[name])
    macs = {layer.name: effective_macs(network, layer)[0] for layer in network.layers}
    for number, record in enumerate(program.layers):
        if macs[record.name]:
            assert found.macs[number] == macs[record.name], record.name


def test_seeds_meet_every_kind_of_layer() -> None:
    """The generator is worth its seeds only if they cover what the mapper has code for."""
    kinds = {type(layer).__name__ for seed in SEEDS for layer in random_network(seed, most_m=16).layers}
    assert kinds == {
        "Binary", "Concat", "Conv2d", "ConvTranspose2d", "LayerNorm", "Lrn", "MatMul", "Permute", "Pool2d", "Resize",
        "Slice", "Softmax", "Unary", "View",
    }  # fmt: skip
