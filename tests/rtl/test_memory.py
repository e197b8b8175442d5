"""On-chip buffers against byte arrays, cycle by cycle; broken variants must fail."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gossamer.arch.activation import activation_banks
from gossamer.arch.banking import WindowSizes
from gossamer.arch.config import load_config
from gossamer.arch.spec import MemoryKind, SparseAccelerator
from gossamer.rtl.copies import flat_ports
from gossamer.rtl.memory.activation import ActivationBuffer
from gossamer.rtl.memory.window import WindowBuffer
from gossamer.rtl.testbench.simulate import SimulationFailed, build, run
from gossamer.rtl.verilog import VerilogModule, verilog_modules
from gossamer.rtl_run import cores_folder

SEED = os.environ.get("GOSSAMER_SEED", "1")
BENCHES = Path(__file__).parent / "benches"
BUFFERS = ("activation", "weight", "index", "accumulator", "parameter")
ODD = (
    "device=kv260", "array.lanes=3", "array.group_size=4", "array.chain_length=6", "array.weight_rows_per_cycle=2",
    "vector.lanes=16", "axi.data_bits=128", "array.chains=16", "buffers.activation.capacity_bytes=8192",
    "buffers.accumulator.capacity_bytes=65536", *(f"buffers.{name}.memory=bram36" for name in BUFFERS),
)  # fmt: skip
SMALL = ("buffers.activation.capacity_bytes=2048",)
FOUR_PORTS = (*SMALL, "axi.ports=4")
"""A row is as long as the words of all banks."""
ONE_LANE = ("array.lanes=1", "buffers.activation.capacity_bytes=4096")


def sparse(*overrides: str) -> SparseAccelerator:
    spec = load_config("ecp5-tiny", overrides)
    assert isinstance(spec, SparseAccelerator)
    return spec


def inputs(component: ActivationBuffer | WindowBuffer) -> str:
    return ",".join(name for name, (_, is_input) in flat_ports(component).items() if is_input)


def run_bench(modules: Sequence[VerilogModule], bench: str, folder: Path, environment: dict[str, str]) -> None:
    target = build(modules, cores_folder())
    run(
        target, modules[0].name, "memory_bench", folder=folder, environment={"SEED": SEED, **environment},
        python_path=[BENCHES], test_filter=f"{bench}$",
    )  # fmt: skip


def activation(overrides: Sequence[str]) -> tuple[tuple[VerilogModule, ...], dict[str, str]]:
    spec = sparse(*overrides)
    component = ActivationBuffer(spec)
    environment = {
        "CAPACITY": str(spec.buffers.activation.capacity_bytes), "GROUP": str(spec.array.group_size),
        "LENGTH": str(spec.array.chain_length), "LANES": str(spec.array.lanes), "VECTOR": str(spec.vector.lanes),
        "BEAT": str(spec.axi.row_bytes), "BANKS": str(activation_banks(spec).banks), "INPUTS": inputs(component),
    }  # fmt: skip
    return verilog_modules(component), environment


@pytest.mark.parametrize(
    "overrides",
    [SMALL, ODD, pytest.param(ONE_LANE, marks=pytest.mark.slow), FOUR_PORTS],
    ids=["tiny", "odd", "one", "four ports"],
)
def test_activation_buffer(tmp_path: Path, overrides: Sequence[str]) -> None:
    modules, environment = activation(overrides)
    run_bench(modules, "activation_buffer", tmp_path, environment)


@pytest.mark.parametrize(
    ("capacity", "word", "read", "unit", "piece"),
    [(512, 8, 8, 8, 8), (768, 4, 3, 1, 8), (1536, 8, 96, 24, 16), (512, 16, 32, 4, 8)],
)
@pytest.mark.parametrize("memory", [MemoryKind.DP16KD, MemoryKind.LUTRAM])
def test_window_buffer(
    tmp_path: Path, capacity: int, word: int, read: int, unit: int, piece: int, memory: MemoryKind
) -> None:
    sizes = WindowSizes(
        capacity_bytes=capacity, word_bytes=word, read_bytes=read, read_unit_bytes=unit, piece_bytes=piece,
        memory=memory,
    )  # fmt: skip
    component = WindowBuffer("window_buffer", sizes)
    numbers = {"CAPACITY": capacity, "READ": read, "UNIT": unit, "PIECE": piece}
    environment = {**{name: str(number) for name, number in numbers.items()}, "INPUTS": inputs(component)}
    run_bench(verilog_modules(component), "window_buffer", tmp_path, environment)


@pytest.mark.parametrize(
    ("module", "pattern", "replacement"),
    [
        ("activation_copy", r"\.window_carry\([^)]*\)", ".window_carry(4'h0)"),
        ("activation_write_port", r"enable <= ", "enable <= 16'h7fff & "),
        ("activation_buffer", r"( ready = )", r"\1 1'h1 | "),
    ],
    ids=["no carry", "a byte lost", "never waits"],
)
def test_mutants_of_the_activation_buffer_fail(tmp_path: Path, module: str, pattern: str, replacement: str) -> None:
    modules, environment = activation(SMALL)
    changed = []
    for item in modules:
        if item.name == module:
            text, count = re.subn(pattern, replacement, item.text)
            assert count >= 1
            item = replace(item, text=text)
        changed.append(item)
    with pytest.raises(SimulationFailed, match="failed: activation_buffer"):
        run_bench(changed, "activation_buffer", tmp_path, environment)
