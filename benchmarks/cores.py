"""ResNet-50 at 2:4 on two half cores beside the whole one of u280-sparse: python benchmarks/cores.py [MODEL].

Each half core has half of the chains, ports, buffers and VECTOR lanes of u280-sparse; together they have all of its
off-chip channels, and fit the device.
"""

import sys

import gossamer

CONFIG, SPARSITY = "u280-sparse", "2:4"
HALF = (
    "array.chains=64", "vector.lanes=64", "axi.ports=4", "buffers.activation.capacity_bytes=1572864",
    "buffers.weight.capacity_bytes=2097152", "buffers.index.capacity_bytes=786432",
    "buffers.accumulator.capacity_bytes=2097152", "buffers.parameter.capacity_bytes=262144",
)  # fmt: skip


def main() -> None:
    """Print cycles, energy and stages for a batch of one and of two."""
    model = sys.argv[1] if len(sys.argv) > 1 else "resnet50"
    print(f"{model} at {SPARSITY} on {CONFIG}")
    print(f"{'hardware':24}{'batch':>6}{'cycles':>12}{'mJ':>8}{'off chip MB':>13}{'barriers':>10}  layers cut by")
    for name, settings in (
        ("whole core", ()), ("one half core", (*HALF, "off_chip.channels=16")), ("two half cores", (*HALF, "cores=2")),
    ):  # fmt: skip
        for batch in (1, 2):
            report = gossamer.simulate(model, CONFIG, sparsity=SPARSITY, batch=batch, settings=settings)
            cores = report.cores
            ways = "" if cores is None else ", ".join(f"{count} {way}" for way, count in cores.layers.items() if count)
            line = (
                f"{name:24}{batch:6}{report.total_cycles:12,}{1e3 * (report.energy_j or 0):8.2f}"
                f"{report.dram_bytes / 1e6:13.2f}{0 if cores is None else cores.stages - 1:10}  {ways}"
            )
            print(line.rstrip())


if __name__ == "__main__":
    main()
