"""Which layers limit ResNet-50, and by what?

    python examples/limiting_layers.py

The layers of ResNet-50 at 2:4 on the U280's design by the cycles they lose, which are all but those in which the whole
array does useful work, and what they lose them to.
"""

import gossamer

MODEL, CONFIG, SPARSITY, SHOWN = "resnet50", "u280-sparse", "2:4", 6
LOST_TO = {
    "edges": "stages, chains or lanes without work", "fill": "filling and draining the chains",
    "memory": "off-chip memory", "vector": "VECTOR, with the array idle", "control": "fetch, dispatch, tokens",
}  # fmt: skip


def main() -> None:
    """Print the layers that lose most, then what the whole network loses."""
    report = gossamer.simulate(MODEL, CONFIG, sparsity=SPARSITY)
    lost = sorted(report.layers, key=lambda layer: layer.classes["compute"] - layer.cycles)
    print(f"{MODEL} at {SPARSITY} on {CONFIG}: {report.total_cycles:,} cycles")
    print(f"{'layer':<8}{'op':<10}{'cycles':>9}{'lost':>9}  mostly to")
    for layer in lost[:SHOWN]:
        cause = max(LOST_TO, key=lambda name: layer.classes[name])
        share = layer.classes[cause] / (layer.cycles - layer.classes["compute"])
        wasted = layer.cycles - layer.classes["compute"]
        print(f"{layer.name:<8}{layer.op:<10}{layer.cycles:>9,}{wasted:>9,.0f}  {LOST_TO[cause]} ({100 * share:.0f} %)")
    total = report.total_cycles - report.classes["compute"]
    first = sum(layer.cycles - layer.classes["compute"] for layer in lost[:SHOWN])
    print(
        f"these {SHOWN} of {len(lost)} layers lose {100 * first / total:.0f} % of {total:,.0f} cycles lost, which go to"
    )
    for cause in sorted(LOST_TO, key=lambda name: -report.classes[name]):
        print(f"  {100 * report.classes[cause] / total:>4.1f} % {LOST_TO[cause]}")


if __name__ == "__main__":
    main()
