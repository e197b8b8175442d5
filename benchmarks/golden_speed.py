"""Compare the golden kernels' speed with numpy's float32 BLAS and onnxruntime's int8 kernels, side by side.

    python benchmarks/golden_speed.py [--rounds 30] [--threads 2] [--cpu] [--json]

Every contender runs the same product or convolution, one after the other in every round, with the same number of
threads. Speeds are dense-equivalent multiply-accumulates per second (zeros counted), from the fastest round of each;
ratios are to numpy's float32 BLAS. BLAS gets a convolution as the matrix product of the same size, for which
rearranging the input is not counted. `golden` times the int32 sums with weights already packed, as BLAS gives float32
sums and onnxruntime packs when it loads; `layer` is a whole call of run_layer: packing weights, sums, requantization.
Other work on the machine disturbs the contenders unevenly: on a busy one, `--threads 1 --cpu` compares processor time.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=30, help="rounds; the fastest of each contender counts")
parser.add_argument("--threads", type=int, default=2, help="threads of every contender")
parser.add_argument("--cpu", action="store_true", help="processor time instead of wall time; use with --threads 1")
parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
ARGUMENTS = parser.parse_args()
# Both must be set before the libraries start their threads.
for variable in ("OPENBLAS_NUM_THREADS", "GOSSAMER_THREADS"):
    os.environ[variable] = str(ARGUMENTS.threads)

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from gossamer.dataflow.network import Conv2d, Network, Tensor  # noqa: E402
from gossamer.dataflow.numerics import QuantParams, Requantization  # noqa: E402
from gossamer.dataflow.sparsity import NmPattern  # noqa: E402
from gossamer.sim.golden.kernel_choice import prepare  # noqa: E402
from gossamer.sim.golden.layers import run_layer  # noqa: E402

SEED = 2026
PRODUCTS = ((3136, 576, 64), (784, 1152, 128), (196, 2304, 256), (1024, 1024, 1024))
CONVOLUTIONS = ((56, 56, 64, 64), (28, 28, 128, 128), (14, 14, 256, 256))
PATTERNS = (None, NmPattern(2, 4), NmPattern(2, 8))
ZERO = -7


def pruned(weight, pattern):
    """Return int8 weights (outputs, rows, columns, channels) with the largest N of every M channels kept."""
    if pattern is None:
        return weight
    grouped = weight.reshape(-1, pattern.m).copy()
    order = np.argsort(-np.abs(grouped.astype(np.int16)), axis=1, kind="stable")
    np.put_along_axis(grouped, order[:, pattern.n :], 0, axis=1)
    return grouped.reshape(weight.shape)


def golden(rng, shape, outputs, kernel, pads, pattern) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return (sums with packed weights, the whole layer) of a convolution of int8 `shape` (N, H, W, C)."""
    weight = pruned(rng.integers(-127, 128, (outputs, *kernel, shape[3])).astype(np.int8), pattern)
    params = Requantization(
        bias=np.zeros(outputs, np.int32), multiplier=np.full(outputs, 2**30, np.int32),
        shift=np.full(outputs, 42, np.uint8), zero_out=0,
    )  # fmt: skip
    layer = Conv2d(
        name="layer", inputs=("a",), output="out", op="conv", weight=weight, pads=pads, pattern=pattern, params=params
    )
    out_shape = (*shape[:3], outputs)
    quant = QuantParams(scale=1.0, zero_point=ZERO)
    tensors = {name: Tensor(name=name, shape=s, quant=quant) for name, s in (("a", shape), ("out", out_shape))}
    network = Network(name="speed", inputs=("a",), outputs=("out",), tensors=tensors, layers=(layer,))
    source = rng.integers(-128, 128, shape).astype(np.int8)
    packed = prepare(layer, shape)
    acc = np.empty(out_shape, np.int32)
    return lambda: packed.accumulate(source, ZERO, acc), lambda: run_layer(network, layer, {"a": source})


def blas(rng, positions, reduction, outputs) -> Callable[[], object]:
    a, b = rng.random((positions, reduction), np.float32), rng.random((reduction, outputs), np.float32)
    out = np.empty((positions, outputs), np.float32)
    return lambda: np.matmul(a, b, out=out)


def onnx_session(node, value_shape, out_type, out_shape, constants) -> onnxruntime.InferenceSession:
    graph = helper.make_graph(
        [node], "speed",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, value_shape)],
        [helper.make_tensor_value_info("out", out_type, out_shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = ARGUMENTS.threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def onnx_product(rng, positions, reduction, outputs) -> Callable[[], object]:
    """Return MatMulInteger, uint8 x int8: its fastest on AVX2, where it saturates (tests/support/onnx_integer.py)."""
    weight = rng.integers(-127, 128, (reduction, outputs)).astype(np.int8)
    node = helper.make_node("MatMulInteger", ["a", "b"], ["out"])
    shape, out = (positions, reduction), (positions, outputs)
    session = onnx_session(node, shape, TensorProto.INT32, out, {"b": weight})
    feed = {"a": rng.integers(0, 256, shape).astype(np.uint8)}
    return lambda: session.run(None, feed)


def onnx_convolution(rng, rows, columns, channels, outputs) -> Callable[[], object]:
    """Return QLinearConv 3x3, uint8 x int8, which includes its requantization."""
    constants = {
        "xs": np.float32(1), "xz": np.uint8(121), "ws": np.ones(outputs, np.float32), "ys": np.float32(4096),
        "w": rng.integers(-127, 128, (outputs, channels, 3, 3)).astype(np.int8), "wz": np.zeros(outputs, np.int8),
        "yz": np.uint8(128),
    }  # fmt: skip
    constants = {name: np.asarray(value) for name, value in constants.items()}
    inputs = ["a", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
    node = helper.make_node("QLinearConv", inputs, ["out"], kernel_shape=[3, 3], pads=[1] * 4)
    shape, out = (1, channels, rows, columns), (1, outputs, rows, columns)
    session = onnx_session(node, shape, TensorProto.UINT8, out, constants)
    feed = {"a": rng.integers(0, 256, shape).astype(np.uint8)}
    return lambda: session.run(None, feed)


def fastest(contenders: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return each contender's shortest time in seconds, all of them run in turn in every round."""
    clock = time.process_time if ARGUMENTS.cpu else time.perf_counter
    best = dict.fromkeys(contenders, float("inf"))
    for _ in range(ARGUMENTS.rounds):
        for name, run in contenders.items():
            start = clock()
            run()
            best[name] = min(best[name], clock() - start)
    return best


def measure(rng, title, macs, shape, outputs, kernel, pads, outside) -> dict[str, object]:
    contenders = dict(outside)
    for pattern in PATTERNS:
        label = "dense" if pattern is None else str(pattern)
        contenders[f"golden {label}"], contenders[f"layer {label}"] = golden(rng, shape, outputs, kernel, pads, pattern)
    speeds = {name: macs / seconds / 1e9 for name, seconds in fastest(contenders).items()}
    ratios = {name: speed / speeds["blas"] for name, speed in speeds.items()}
    return {"case": title, "gmacs_per_s": speeds, "ratio_to_blas": ratios}


def main() -> None:
    """Measure every case and print a table, or JSON."""
    rng = np.random.default_rng(SEED)
    results = []
    for positions, reduction, outputs in PRODUCTS:
        outside = {
            "blas": blas(rng, positions, reduction, outputs),
            "ort": onnx_product(rng, positions, reduction, outputs),
        }
        title, macs = f"gemm {positions}x{reduction}x{outputs}", positions * reduction * outputs
        results.append(measure(rng, title, macs, (1, 1, positions, reduction), outputs, (1, 1), (0,) * 4, outside))
    for rows, columns, channels, outputs in CONVOLUTIONS:
        outside = {
            "blas": blas(rng, rows * columns, 9 * channels, outputs),
            "ort": onnx_convolution(rng, rows, columns, channels, outputs),
        }
        title, macs = f"conv3x3 {rows}x{columns}x{channels}x{outputs}", rows * columns * 9 * channels * outputs
        results.append(measure(rng, title, macs, (1, rows, columns, channels), outputs, (3, 3), (1,) * 4, outside))
    if ARGUMENTS.json:
        json.dump({"threads": ARGUMENTS.threads, "rounds": ARGUMENTS.rounds, "results": results}, sys.stdout, indent=1)
        return
    clock, machine = "processor" if ARGUMENTS.cpu else "wall", platform.processor() or platform.machine()
    print(f"{ARGUMENTS.threads} threads, best of {ARGUMENTS.rounds}, {clock} time, {machine};")
    print("dense-equivalent GMAC/s (ratio to float32 BLAS)")
    names = list(results[0]["gmacs_per_s"])
    print(f"{'':24}" + "".join(f"{name:>15}" for name in names))
    for result in results:
        cells = (f"{result['gmacs_per_s'][n]:7.1f} ({result['ratio_to_blas'][n]:.2f})" for n in names)
        print(f"{result['case']:24}" + "".join(f"{cell:>15}" for cell in cells))


if __name__ == "__main__":
    main()
