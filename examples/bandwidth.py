"""Does 2:4 pay on a board with little bandwidth?

    python examples/bandwidth.py

ResNet-50 on the KV260's design, dense and at 2:4, with ever less off-chip bandwidth. On the array 2:4 halves the
cycles; off chip its weights take 5 bits for each dense one instead of 8, and activations as many as before.
"""

import gossamer

MODEL, CONFIG = "resnet50", "kv260-edge"
BANDWIDTHS_GB_S = (19.2, 4.8, 1.2)


def main() -> None:
    """Print a line for each bandwidth."""
    print(f"{MODEL} on {CONFIG}\n{'GB/s':>6}{'dense':>12}{'2:4':>12}{'gain':>8}   2:4 waits for memory")
    for bandwidth in BANDWIDTHS_GB_S:
        dense, sparse = (
            gossamer.simulate(
                MODEL, CONFIG, sparsity=sparsity, settings=[f"off_chip.channel_bandwidth_gb_s={bandwidth}"]
            )
            for sparsity in ("dense", "2:4")
        )
        waiting = sparse.classes["memory"] / sparse.total_cycles
        print(
            f"{bandwidth:>6}{1e3 * dense.latency_s:>9.2f} ms{1e3 * sparse.latency_s:>9.2f} ms"
            f"{dense.total_cycles / sparse.total_cycles:>7.2f}x{100 * waiting:>8.0f} %"
        )


if __name__ == "__main__":
    main()
