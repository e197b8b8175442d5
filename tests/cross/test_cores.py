"""Several cores: closed forms of their cycles, values of every way to cut layers, and the barriers between them."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest
from hand_programs import small_spec
from network_programs import random_inputs
from replay_cores import replay_cores, walk
from replay_twin import ReplayError

from gossamer.arch.config import fingerprint, load_config
from gossamer.arch.cores import core_spec
from gossamer.arch.errors import ModelError, ProgramError
from gossamer.arch.isa import Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import BARRIER_CYCLES
from gossamer.dataflow.mapping import Objective
from gossamer.dataflow.network import Network
from gossamer.dataflow.program import Program, Way
from gossamer.dataflow.program_file import parse_program, program_bytes
from gossamer.dataflow.streams import part_of, segments_of
from gossamer.mapper import cores as mapper
from gossamer.mapper.batch import with_batch
from gossamer.mapper.compile import compile_network
from gossamer.mapper.onnx_import.reader import load_onnx
from gossamer.mapper.quantization.quantize import quantize
from gossamer.mapper.random_networks import random_network
from gossamer.shipped_models import shipped_models
from gossamer.sim.cores import simulate_program
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.timing import run_program

LARGE = ("device.dsp=1000", "device.bram36=1000", "device.lut=400000", "device.ff=400000")
"""A device that holds four cores of ecp5-tiny."""


def tiny(cores: int, *settings: str) -> SparseAccelerator:
    spec = load_config("ecp5-tiny", [*LARGE, f"cores={cores}", *settings])
    assert isinstance(spec, SparseAccelerator)
    return spec


def digits(batch: int = 1) -> Network:
    return quantize(with_batch(load_onnx(shipped_models()["digits-2x4"].path), batch))


def compiled(network: Network, spec: SparseAccelerator) -> Program:
    return compile_network(network, spec, config_fingerprint=fingerprint(spec))


@pytest.mark.parametrize("cores", [2, 3, 4])
def test_a_batch_of_as_many_images_as_cores_takes_the_cycles_of_one(cores: int) -> None:
    """Exactly, since one channel serves every address alike."""
    spec = tiny(cores)
    alone = run_program(compiled(digits(), core_spec(spec)), core_spec(spec)).total_cycles
    program = compiled(digits(cores), spec)
    result = simulate_program(program, spec)
    assert result.total_cycles == alone
    assert set(program.streams.ways) == {Way.IMAGES}
    assert [core.total for core in result.cores] == [alone] * cores
    assert [core.waiting for core in result.cores] == [0] * cores


@pytest.mark.parametrize("cores", [2, 3])
def test_one_image_takes_fewer_cycles_on_several_cores(cores: int) -> None:
    spec = tiny(cores)
    alone = run_program(compiled(digits(), core_spec(spec)), core_spec(spec)).total_cycles
    result = simulate_program(compiled(digits(), spec), spec)
    assert alone / cores < result.total_cycles < 0.75 * alone


def test_cycles_are_the_sum_of_the_stages_of_the_slowest_core() -> None:
    spec = tiny(3)
    program = compiled(digits(), spec)
    core, streams = core_spec(spec), program.streams
    assert streams.stages > 2
    cycles = np.zeros((streams.stages, streams.cores), dtype=np.int64)
    for segment in streams.segments:
        cycles[segment.stage, segment.core] = run_program(part_of(program, segment), core).total_cycles
    result = simulate_program(program, spec)
    assert result.total_cycles == cycles.max(axis=1).sum() + BARRIER_CYCLES * (streams.stages - 1)
    for number, each in enumerate(result.cores):
        assert each.stage_cycles == tuple(cycles[:, number])
        assert each.total == result.total_cycles - cycles[-1].max() + cycles[-1, number]
        assert all(engine.total == each.total for engine in each.engines.values())
    assert sum(result.classes.values()) == result.total_cycles == sum(layer.cycles for layer in result.layers)
    assert all(sum(layer.classes.values()) == layer.cycles for layer in result.layers)
    assert all(engine.total == 3 * result.total_cycles for engine in result.engines.values())
    one = simulate_program(compiled(digits(), tiny(1)), tiny(1))
    assert (result.macs, result.dense_macs) == (one.macs, one.dense_macs)
    found = {layer.record.name: layer.record for layer in result.layers}
    for layer in one.layers:
        record = found[layer.record.name]
        for field in ("macs", "dense_macs", "positions", "channels", "reduction"):
            assert getattr(record, field) == getattr(layer.record, field), (record.name, field)


def random_case(seed: int, cores: int) -> tuple[Network, SparseAccelerator, dict[str, np.ndarray]]:
    group = (4, 8, 16)[seed % 3]
    network = quantize(random_network(seed, most_m=group))
    spec = small_spec(
        group=group, chains=16, chain_length=1 + seed % 5, lanes=(1, 2, 4)[seed % 3], kib=(16, 32)[seed % 2]
    ).model_copy(update={"cores": cores})
    return network, spec, random_inputs(network, seed)


@pytest.mark.parametrize("cores", [2, 3])
@pytest.mark.parametrize("seed", range(100, 116))
def test_random_networks(seed: int, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers cut in any way that is possible, not in the best: executor and replay give every byte of the outputs."""
    network, spec, inputs = random_case(seed, cores)
    chance = random.Random(seed)
    monkeypatch.setattr(mapper, "best_way", lambda costs: chance.choice([way for way in costs if costs[way] < 1e9]))
    expected = run_layers(network, inputs)
    core = core_spec(spec)
    for found in mapper.candidates(network, core, cores, Objective.LATENCY):
        program = replace(found.program, config_fingerprint=fingerprint(spec))
        executed = execute(program, spec, inputs)
        replayed = replay_cores(program, spec, inputs, seed)
        for name in set(network.outputs) - set(network.inputs):
            np.testing.assert_array_equal(executed[name], expected[name])
            np.testing.assert_array_equal(replayed[name], expected[name])
        assert program_bytes(parse_program(program_bytes(program))) == program_bytes(program)
        simulate_program(program, spec)


def batched_case(seed: int, cores: int) -> tuple[Network, SparseAccelerator, dict[str, np.ndarray]] | None:
    """Return a random network of several images, None if it mixes them."""
    _, spec, _ = random_case(seed, cores)
    try:
        network = quantize(with_batch(random_network(seed, most_m=spec.array.group_size), cores + seed % 2))
    except ModelError:
        return None
    return network, spec, random_inputs(network, seed)


@pytest.mark.parametrize("cores", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_random_networks_by_images(cores: int) -> None:
    """Every kind of layer; each core at its own pace, as the replay runs them, in memory that no other one touches."""
    found = [case for case in (batched_case(seed, cores) for seed in range(200, 216)) if case is not None]
    assert len(found) > 8
    for seed, (network, spec, inputs) in enumerate(found):
        images = mapper.candidates(network, core_spec(spec), cores, Objective.LATENCY)[3:]
        assert len(images) == 1 + (network.tensors[network.inputs[0]].shape[0] % cores != 0)
        assert set(images[0].program.streams.ways) <= {Way.IMAGES}
        assert images[0].program.streams.stages == 1
        expected = run_layers(network, inputs)
        for each in images:
            program = replace(each.program, config_fingerprint=fingerprint(spec))
            executed, replayed = execute(program, spec, inputs), replay_cores(program, spec, inputs, seed)
            for name in set(network.outputs) - set(network.inputs):
                np.testing.assert_array_equal(executed[name], expected[name])
                np.testing.assert_array_equal(replayed[name], expected[name])
            simulate_program(program, spec)


@pytest.mark.parametrize("objective", Objective)
def test_the_best_of_the_candidates_is_kept(objective: Objective) -> None:
    spec, network = tiny(2), digits()
    program = compile_network(network, spec, config_fingerprint=fingerprint(spec), objective=objective)
    result = simulate_program(program, spec)
    value = {
        Objective.LATENCY: lambda each: each.total_cycles, Objective.ENERGY: lambda each: each.energy.total_j,
        Objective.EDP: lambda each: each.energy.total_j * each.total_cycles,
        Objective.BYTES: lambda each: each.traffic.total_bytes,
    }[objective]  # fmt: skip
    others = [
        simulate_program(each.program, spec)
        for each in mapper.candidates(network, core_spec(spec), spec.cores, objective)
    ]
    assert value(result) == min(map(value, others))


@pytest.mark.parametrize("cores", [2, 3])
def test_images_of_a_batch(cores: int) -> None:
    """A batch that the cores share unevenly; every candidate gives every byte."""
    spec, network = tiny(cores), digits(cores + 1)
    inputs = random_inputs(network, cores)
    expected = run_layers(network, inputs)
    found = mapper.candidates(network, core_spec(spec), cores, Objective.LATENCY)
    assert len(found) == 5
    for each in found:
        program = replace(each.program, config_fingerprint=fingerprint(spec))
        executed = execute(program, spec, inputs)
        for name in network.outputs:
            np.testing.assert_array_equal(executed[name], expected[name])


def test_the_replay_sees_a_missing_barrier() -> None:
    """Mutant: two stages run as one."""
    spec, network = tiny(2), digits()
    program = compiled(network, spec)
    inputs = random_inputs(network, 1)
    replay_cores(program, spec, inputs, 1)
    streams = walk(program)
    assert len(streams[0]) > 2
    words = program.instructions.copy()
    segments = {(segment.core, segment.stage): segment for segment in program.streams.segments}
    for core in range(2):  # stages 0 and 1 in one segment, where they lie one behind the other
        first, second = segments[core, 0], segments[core, 1]
        kept = [*range(first.first, first.first + first.count - 1), *range(second.first, second.first + second.count)]
        words[first.first : first.first + len(kept)] = words[kept]
        segments[core, 0] = replace(first, count=len(kept))
        del segments[core, 1]
    mutant = replace(
        program, instructions=words, streams=replace(program.streams, segments=tuple(segments.values()))
    )  # fmt: skip
    with pytest.raises(ReplayError, match=r"no barrier|never written|no token orders|was not written|undefined"):
        replay_cores(mutant, spec, inputs, 1)


def test_programs_for_other_cores_are_refused() -> None:
    program = compiled(digits(), tiny(2))
    with pytest.raises(ProgramError, match="must be for the 3 cores of ecp5-tiny, not for 2: compile the model again"):
        simulate_program(program, tiny(3))
    segments = program.streams.segments
    words = program.instructions.copy()
    last = segments[0].first + segments[0].count - 1
    assert words[last, 0] & 31 == Opcode.BARRIER
    for what, streams in (
        ("segments must lie apart", replace(
            program.streams, segments=(segments[0], replace(segments[1], first=segments[0].first), *segments[2:]))),
        ("one segment for each of", replace(program.streams, segments=segments[:-1])),
        ("must say how each of", replace(program.streams, ways=())),
        ("the last instruction, and only that, must be", replace(
            program.streams, segments=(replace(segments[0], count=segments[0].count - 1), *segments[1:]))),
    ):  # fmt: skip
        with pytest.raises(ProgramError, match=re.escape(what)):
            program_bytes(replace(program, streams=streams))
    words[last, 2] ^= 64
    with pytest.raises(ProgramError, match=r"the BARRIER of .* must lead to"):
        program_bytes(replace(program, instructions=words))


def test_segments_are_those_of_the_only_core() -> None:
    program = compiled(digits(), tiny(1))
    (segment,) = segments_of(program)
    assert part_of(program, segment) is program
    assert segment.count == len(program.instructions)
