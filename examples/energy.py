"""Where does the energy go, dense and at 2:4?

    python examples/energy.py

ResNet-50 on the KV260's design. Energy is estimated from one table of published figures per access and operation
(`arch/energy.py`); the shares and ratios are worth more than the joules.
"""

import gossamer

MODEL, CONFIG = "resnet50", "kv260-edge"


def main() -> None:
    """Print the energy of an inference by component."""
    runs = {sparsity: gossamer.simulate(MODEL, CONFIG, sparsity=sparsity) for sparsity in ("dense", "2:4")}
    dense, sparse = runs.values()
    print(f"{MODEL} on {CONFIG}, mJ per image\n{'':<20}{'dense':>8}{'2:4':>8}{'saved':>8}")
    parts = sorted(dense.energy_by_component_j, key=lambda name: -dense.energy_by_component_j[name])
    for name in parts:
        before, after = (1e3 * run.energy_by_component_j[name] for run in (dense, sparse))
        if before >= 0.1:
            print(f"{name:<20}{before:>8.2f}{after:>8.2f}{100 * (1 - after / before):>6.0f} %")
    assert dense.energy_j is not None
    assert sparse.energy_j is not None
    share = 1 - sparse.energy_j / dense.energy_j
    print(f"{'all':<20}{1e3 * dense.energy_j:>8.2f}{1e3 * sparse.energy_j:>8.2f}{100 * share:>6.0f} %")
    watts = [run.energy_j / run.latency_s for run in runs.values() if run.energy_j is not None]
    print(f"{'W':<20}{watts[0]:>8.2f}{watts[1]:>8.2f}")


if __name__ == "__main__":
    main()
