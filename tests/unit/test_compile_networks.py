"""Pin what only whole networks showed: phases of transposed convolutions, tensors that are parts of others."""

from dataclasses import replace

import numpy as np
import pytest
from layer_programs import sized_spec
from network_programs import assert_values, compiled
from quantized_layers import IN, transposed
from replay import replay

from gossamer.arch.errors import ProgramError
from gossamer.dataflow.network import Network, Slice, Tensor, View, effective_macs
from gossamer.dataflow.numerics import QuantParams
from gossamer.dataflow.program_file import check_program
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.timing import simulate


def check(network: Network, values: dict[str, np.ndarray]):
    spec = sized_spec(group=8, chains=16)
    program = compiled(network, spec)
    assert_values(network, program, spec, values, run_layers(network, values))
    simulate(program, spec)
    return program


def test_phase_without_columns_keeps_the_rows_of_the_next() -> None:
    """Kernel 3 x 2, stride 3: the second column phase has no taps; rows shifted by the pads still are in the third."""
    case = transposed(
        np.random.default_rng(0), "t", (1, 2, 2, 8), 4, (3, 2), stride=(3, 3), pads=(2, 1, 1, 0), output_padding=(1, 1)
    )
    check(case.network, case.values)


@pytest.mark.parametrize(("outputs", "columns"), [(8, 2), (16, 1)])
def test_equal_phases_are_stored_and_counted_once(outputs: int, columns: int) -> None:
    """Two columns of 8 channels fit the 16 chains as one phase; of 16 channels they do not."""
    case = transposed(np.random.default_rng(0), "t", (1, 3, 3, 8), outputs, (2, 2), stride=(2, 2))
    layer = replace(case.layer, weight=np.ones_like(case.layer.weight))
    program = check(case.network.with_layers((layer,)), case.values)
    assert program.layers[0].weight_bytes == columns * outputs * 8
    assert program.layers[0].macs == 9 * 4 * outputs * 8


@pytest.mark.parametrize("seed", range(4))
def test_macs_of_a_transposed_convolution_are_those_executed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel, stride = (tuple(int(v) for v in rng.integers(1, 5, 2)) for _ in range(2))
    pads = tuple(int(rng.integers(0, k)) for k in (*kernel, *kernel))
    case = transposed(rng, "t", (1, 5, 4, 5), 8, kernel, stride=stride, pads=pads)
    spec = sized_spec(group=8, chains=16)
    found = replay(compiled(case.network, spec), spec, case.values, seed=seed, schedules=0)
    assert found.macs[0] == effective_macs(case.network, case.layer)[0]
    full = replace(case.layer, weight=np.ones_like(case.layer.weight))
    effective, dense = effective_macs(case.network, full)
    assert effective == dense == effective_macs(case.network, case.layer)[1] >= found.macs[0] > 0


def sliced(*, view: bool) -> Network:
    """Return a network whose input is cut along its channels, perhaps seen under another shape; its only output."""
    fields = {"inputs": ("in",), "output": "part"}
    layers = [Slice(name="slice", op="slice", axis=3, start=16, stop=20, **fields)]
    tensors = {"in": Tensor(name="in", shape=(1, 2, 3, 24), quant=IN)}
    tensors["part"] = Tensor(name="part", shape=(1, 2, 3, 4), quant=IN)
    if view:
        layers.append(View(name="view", op="view", inputs=("part",), output="out"))
        tensors["out"] = Tensor(name="out", shape=(1, 1, 6, 4), quant=IN)
    return Network(
        name="sliced", inputs=("in",), outputs=("out" if view else "part",), tensors=tensors, layers=tuple(layers)
    )


@pytest.mark.parametrize("view", [False, True])
def test_outputs_own_their_bytes(view: bool) -> None:
    """An output is never a window of another tensor: whoever reads it wants pixels without gaps."""
    network = sliced(view=view)
    values = {"in": np.arange(144, dtype=np.int8).reshape(1, 2, 3, 24)}
    program = check(network, values)
    assert program.outputs[0].channel_pitch == 8


def test_part_at_the_end_of_memory_ends_with_its_last_channel() -> None:
    """The last pixel of a window lacks the rest of its pitch; nothing beyond the tensor it is part of may be asked."""
    rng = np.random.default_rng(0)
    case = transposed(rng, "t", (1, 2, 3, 8), 24, (1, 1), stride=(1, 1))
    tensors = {**case.network.tensors, "wide": replace(case.network.tensors["out"], name="wide")}
    tensors["part"] = replace(tensors["wide"], name="part", shape=(*tensors["wide"].shape[:3], 4))
    quant = QuantParams(0.5, 0)
    tensors["out"] = Tensor(name="out", shape=tensors["part"].shape, quant=quant)
    follow = transposed(rng, "follow", tensors["part"].shape, 4, (1, 1), stride=(1, 1)).layer
    layers = (
        replace(case.layer, output="wide"),
        Slice(name="slice", op="slice", inputs=("wide",), output="part", axis=3, start=16, stop=20),
        replace(follow, inputs=("part",), output="out"),
    )
    network = Network(name="n", inputs=("a",), outputs=("out",), tensors=tensors, layers=layers)
    program = check(network, case.values)
    part = next(binding for binding in program.intermediates if binding.name == "part")
    wide = next(binding for binding in program.intermediates if binding.name == "wide")
    assert part.address == wide.address + 16
    assert part.span_bytes == 5 * 24 + 4
    last = program.memory_bytes - part.span_bytes
    check_program(replace(program, intermediates=(replace(part, address=last),)))
    with pytest.raises(ProgramError, match=rf"must lie within the memory map's {program.memory_bytes} bytes"):
        check_program(replace(program, intermediates=(replace(part, address=last + 1),)))
