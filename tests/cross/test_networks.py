"""Whole networks: every tensor of the executed Program equals the golden layer kernels, and nothing is lost on the way.

Light models get random weights: their placeholders are constants, and constant weights would hide most errors.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import rapidocr_onnxruntime
from network_programs import assert_values, compiled, constant_planes, random_inputs
from onnx_cases import with_random_weights
from replay import replay

from gossamer.arch.config import load_config
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.network import Conv2d, Network, effective_macs
from gossamer.dataflow.program import Program
from gossamer.dataflow.program_file import load_program, save_program
from gossamer.mapper.compile import choose
from gossamer.mapper.onnx_import.reader import load_onnx
from gossamer.mapper.pruning.prune import prune
from gossamer.mapper.quantization.quantize import quantize
from gossamer.shipped_models import shipped_models
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.timing import simulate

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
OCR = Path(rapidocr_onnxruntime.__file__).parent / "models"
CONFIGS = ("ecp5-tiny", "kv260-edge", "u280-sparse")
SEED = 31

DIGITS = {"digits": "dense", "digits-2x4": "2:4", "digits-1x4": "1:4", "digits-2x8": "2:8"}
OCR_SHAPES = {
    "ch_ppocr_mobile_v2.0_cls_infer": (1, 3, 48, 96),
    "ch_PP-OCRv4_rec_infer": (1, 3, 48, 64),
    "ch_PP-OCRv4_det_infer": (1, 3, 96, 96),
}
QUICK = ("squeezenet", "shufflenet")
SLOW = ("resnet50", "densenet121", "inception_v1", "inception_v2", "bvlc_alexnet", "zfnet512", "vgg19")
NETWORKS = [
    *DIGITS, *OCR_SHAPES, *QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A quantized network with int8 inputs and the value of every tensor."""

    network: Network
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@lru_cache(maxsize=3)
def quantized(name: str, folder: Path, sparsity: str = "2:4") -> Case:
    """Return a network pruned to `sparsity`; digits are pruned already."""
    if name in DIGITS:
        network = prune(load_onnx(shipped_models()[name].path), "keep", max_group=8)
    elif name in OCR_SHAPES:
        network = prune(load_onnx(OCR / f"{name}.onnx", {"x": OCR_SHAPES[name]}), sparsity)
    else:
        path = with_random_weights(LIGHT / f"light_{name}.onnx", folder / f"{name}.onnx", SEED)
        network = prune(load_onnx(path), sparsity)
    network = quantize(network)
    inputs = random_inputs(network, SEED)
    return Case(network, inputs, run_layers(network, inputs))


def config(name: str) -> SparseAccelerator:
    spec = load_config(name)
    assert isinstance(spec, SparseAccelerator)
    return spec


def assert_conserved(network: Network, program: Program, spec: SparseAccelerator) -> None:
    """Multiply-accumulates agree in Network, records, constant planes and simulation, in sum and layer by layer."""
    macs = {layer.name: effective_macs(network, layer) for layer in network.layers}
    records = {record.name: (record.macs, record.dense_macs) for record in program.layers}
    assert records == {name: macs[name] for name in records}
    assert all(macs[name] == (0, 0) for name in macs.keys() - records.keys())
    result = simulate(program, spec)
    assert result.macs == sum(effective for effective, _ in macs.values()) > 0
    assert result.dense_macs == sum(dense for _, dense in macs.values())
    for layer in network.layers:
        if isinstance(layer, Conv2d):
            values, _ = constant_planes(program, layer.name)
            columns, rest = divmod(np.count_nonzero(values), np.count_nonzero(layer.weight))
            assert rest == 0, layer.name
            assert 1 <= columns <= max(1, spec.array.chains // layer.weight.shape[0]), layer.name
    assert sum(result.classes.values()) == result.total_cycles == sum(layer.cycles for layer in result.layers)
    assert all(sum(layer.classes.values()) == layer.cycles for layer in result.layers)
    assert all(engine.total == result.total_cycles for engine in result.engines.values())


@pytest.mark.parametrize("spec_name", CONFIGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_equals_the_layer_kernels(name: str, spec_name: str, folder: Path) -> None:
    case, spec = quantized(name, folder), config(spec_name)
    program = compiled(case.network, spec)
    # A network that answers the same to everything would make the comparison empty.
    distinct = [np.unique(case.expected[layer.output]).size for layer in case.network.layers]
    assert np.median(distinct) > 60
    _, choices = choose(case.network, spec)
    most = len(case.network.layers) - len(choices.joins)  # whose tensors stay on chip
    assert assert_values(case.network, program, spec, case.inputs, case.expected) >= 0.9 * most
    assert_conserved(case.network, program, spec)


@pytest.mark.parametrize("name", ["digits-2x8", "ch_PP-OCRv4_det_infer"])
def test_a_saved_program_gives_the_same_bytes(name: str, folder: Path, tmp_path: Path) -> None:
    case, spec = quantized(name, folder), config("kv260-edge")
    program = compiled(case.network, spec)
    save_program(program, tmp_path / "network.gsm")
    loaded = load_program(tmp_path / "network.gsm")
    assert_values(case.network, loaded, spec, case.inputs, case.expected)
    assert simulate(loaded, spec).total_cycles == simulate(program, spec).total_cycles


@pytest.mark.parametrize("name", DIGITS)
def test_digits_programs_classify_as_the_layer_kernels_do(name: str, folder: Path) -> None:
    network, spec = quantized(name, folder).network, config("ecp5-tiny")
    program = compiled(network, spec)
    (source,), (logits,) = network.inputs, network.outputs
    with np.load(Path(shipped_models()["digits"].path).parent / "digits-test.npz") as archive:
        images = archive["image"][:16]
    quant = network.tensors[source].quant
    codes = np.clip(np.rint(images / quant.scale) + quant.zero_point, -128, 127).astype(np.int8)
    layout = network.layouts[source]
    classes = []
    for image in codes:
        stored = layout.to_stored(image[None], network.tensors[source].shape)
        got, want = execute(program, spec, {source: stored})[logits], run_layers(network, {source: stored})[logits]
        np.testing.assert_array_equal(got, want)
        classes.append(int(got.argmax()))
    assert len(set(classes)) >= 6, "sixteen images of digits must not look alike"


@pytest.mark.parametrize(("sparsity", "bits"), [("2:4", 5.0), ("2:8", 2.75)])
def test_pruned_planes_have_the_closed_form_size(sparsity: str, bits: float, folder: Path) -> None:
    """5.00 and 2.75 bits per dense weight, counted in the bytes the Program loads, where channels divide evenly.

    Of layers with more channels than half of the 128 chains: others may be stored for several columns at once.
    """
    case = quantized("squeezenet", folder, sparsity)
    program = compiled(case.network, config("u280-sparse"))
    even = [
        layer
        for layer in case.network.layers
        if isinstance(layer, Conv2d) and layer.pattern is not None
        and layer.weight.shape[3] % 16 == 0 and layer.weight.shape[0] % 16 == 0 and layer.weight.shape[0] > 64
    ]  # fmt: skip
    assert len(even) >= 12
    for layer in even:
        planes = constant_planes(program, layer.name)
        assert 8 * sum(plane.size for plane in planes) / layer.weight.size == bits, layer.name


@lru_cache(maxsize=1)
def small_classifier() -> Case:
    """Return the angle classifier on a thumbnail: every layer, at a size the replay enumerates byte by byte."""
    network = quantize(prune(load_onnx(OCR / "ch_ppocr_mobile_v2.0_cls_infer.onnx", {"x": (1, 3, 48, 8)}), "2:4"))
    inputs = random_inputs(network, SEED)
    return Case(network, inputs, run_layers(network, inputs))


@pytest.mark.parametrize("seed", range(2))
def test_replay_of_the_classifier(seed: int) -> None:
    case, spec = small_classifier(), config("ecp5-tiny")
    program = compiled(case.network, spec)
    found = replay(program, spec, case.inputs, seed=10 + seed, schedules=2)
    for name in case.network.outputs:
        np.testing.assert_array_equal(found.outputs[name], case.expected[name])
    assert {record.name: found.macs[at] for at, record in enumerate(program.layers) if record.macs} == {
        record.name: record.macs for record in program.layers if record.macs
    }


@pytest.mark.parametrize("seed", range(3))
def test_replay_of_digits(seed: int, folder: Path) -> None:
    case, spec = quantized("digits-2x4", folder), config("ecp5-tiny")
    program = compiled(case.network, spec)
    found = replay(program, spec, case.inputs, seed=seed, schedules=4)
    for name in case.network.outputs:
        np.testing.assert_array_equal(found.outputs[name], case.expected[name])
    assert sum(found.macs.values()) == sum(record.macs for record in program.layers)
