"""Which design on a U280 suits MobileNetV2?

    python examples/u280_for_mobilenet.py

Sweeps the array's shape with the analytic model, then simulates the shipped design and the smallest that is nearly as
fast as the fastest. MobileNetV2 is depthwise convolutions, one input channel for each output, and small 1x1 ones: they
fill few of the 8,192 multipliers that suit ResNet-50.
"""

import tempfile
from pathlib import Path

import gossamer

SWEEP = """
name: u280-mobilenet
question: Which array shape suits MobileNetV2 on a U280?
base: u280-sparse
axes:
  model: [mobilenet-v2]
  array.chains: [32, 64, 128]
  array.chain_length: [4, 8, 16]
  array.lanes: [2, 4]
set: {array.weight_rows_per_cycle: array.chain_length // 4}
objectives: [latency_s, lut]
strategy: {kind: grid}
"""
NEARLY = 1.5
"""Times the latency of the fastest design."""


def main() -> None:
    """Print the front, then two designs as simulated networks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep.yaml"
        path.write_text(SWEEP)
        found = gossamer.sweep(path, Path(folder) / "results.db")
    front = sorted(found.pareto, key=lambda point: point.metrics["latency_s"])
    print(f"{found.points_evaluated - found.points_infeasible} of {found.points_total} designs fit; the front:")
    for point in front:
        chains, stages, lanes = (point.values[f"array.{name}"] for name in ("chains", "chain_length", "lanes"))
        latency, lut, dsp = (point.metrics[name] for name in ("latency_s", "lut", "dsp"))
        print(f"  {chains:>3} x {stages:>2} x {lanes}  {1e3 * latency:.3f} ms  {lut:>7,.0f} LUT  {dsp:>5,.0f} DSP")
    small = min(
        (point for point in front if point.metrics["latency_s"] <= NEARLY * front[0].metrics["latency_s"]),
        key=lambda point: point.metrics["lut"],
    )
    settings = [f"{name}={value}" for name, value in small.values.items() if name.startswith("array.")]
    for label, chosen in (("shipped", []), ("smaller", settings)):
        report = gossamer.simulate("mobilenet-v2", "u280-sparse", settings=chosen)
        shape = report.config_summary.partition(",")[0]
        print(f"{label}: {1e3 * report.latency_s:.3f} ms simulated, {100 * report.utilization:.1f} % used of {shape}")


if __name__ == "__main__":
    main()
