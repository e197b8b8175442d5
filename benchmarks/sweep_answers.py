"""Run the shipped sweeps and answer their questions by queries of their stores.

    python benchmarks/sweep_answers.py [SWEEP ...] [--workers N] [--folder DIR] [-o docs/sweep-answers.md]

Stores are kept in the folder, so that a run that was stopped goes on.
"""

import argparse
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from gossamer.explore.outcome import SweepReport
from gossamer.explore.runner import Progress, run_sweep
from gossamer.explore.sweep_file import load_sweep

QUERIES = {
    "u280-resnet50": """
SELECT sparsity, round(1e6 * min(latency_s)) AS "latency, us", "array.chains" AS chains,
       "array.chain_length" AS stages, "array.lanes" AS lanes, "vector.lanes" AS vector, dsp, lut,
       round(1e3 * energy_j, 1) AS "energy, mJ", round(100 * kept_energy, 1) AS "kept energy, %"
FROM points WHERE status = 0 GROUP BY sparsity ORDER BY min(latency_s)""",
    "ppocr-30fps": """
SELECT device, sparsity, min(lut) AS lut, dsp, bram36, uram, "array.chains" AS chains, "array.chain_length" AS stages,
       "array.lanes" AS lanes, "vector.lanes" AS vector, round(throughput_per_s, 1) AS "frames/s"
FROM points WHERE status = 0 GROUP BY device, sparsity ORDER BY min(lut), device""",
    "buffer-sizes": """
WITH best AS (SELECT sparsity, min(latency_s) AS latency FROM points WHERE status = 0 GROUP BY sparsity)
SELECT sparsity, round(1e3 * latency, 3) AS "best latency, ms", round(1e3 * latency_s, 3) AS "latency, ms",
       min("buffers.activation.capacity_bytes" + "buffers.weight.capacity_bytes" + "buffers.accumulator.capacity_bytes")
           / 1024 AS "KiB in all",
       "buffers.activation.capacity_bytes" / 1024 AS "activation, KiB",
       "buffers.weight.capacity_bytes" / 1024 AS "weight, KiB",
       "buffers.accumulator.capacity_bytes" / 1024 AS "accumulator, KiB"
FROM points JOIN best USING (sparsity)
WHERE status = 0 AND latency_s <= 1.05 * latency GROUP BY sparsity""",
    "sparsity-pays": """
WITH best AS (
    SELECT "off_chip.channels" AS channels, "array.chains" AS chains, sparsity, min(latency_s) AS latency
    FROM points WHERE status = 0 GROUP BY channels, chains, sparsity)
SELECT channels, chains, round(1e3 * half.latency, 2) AS "2:4, ms", round(1e3 * quarter.latency, 2) AS "2:8, ms",
       round(half.latency / quarter.latency, 2) AS "2:8 over 2:4"
FROM best AS half JOIN best AS quarter USING (channels, chains)
WHERE half.sparsity = '2:4' AND quarter.sparsity = '2:8' ORDER BY channels, chains""",
    "digits-ecp5": """
SELECT sparsity, round(1e6 * min(latency_s), 1) AS "latency, us", "array.chains" AS chains,
       "array.chain_length" AS stages, "array.lanes" AS lanes, dsp, lut, round(1e6 * energy_j, 1) AS "energy, uJ"
FROM points WHERE status = 0 GROUP BY sparsity ORDER BY min(latency_s)""",
}
"""What answers each sweep's question. A bare column beside min() is that of the row with the least value (SQLite)."""


def run(name: str, folder: Path, workers: int, console: Console) -> SweepReport:
    """Run one shipped sweep, or what is left of it."""

    def watch(progress: Progress) -> None:
        status.update(f"{name}: {progress.done:,} of {progress.total:,}")

    with console.status(name) as status:
        return run_sweep(load_sweep(name), folder / f"{name}.db", workers=workers, watch=watch)


def answer(report: SweepReport, query: str) -> list[str]:
    """Return a section of the page."""
    feasible = report.points_evaluated - report.points_infeasible
    with sqlite3.connect(f"file:{report.store}?mode=ro", uri=True) as connection:
        cursor = connection.execute(query)
        names = [column[0] for column in cursor.description]
        rows = [[f"{value:g}" if isinstance(value, float) else str(value) for value in row] for row in cursor]
    return [
        f"## {report.name}", "", report.question, "",
        f"{report.points_evaluated:,} points, {feasible:,} of them feasible, {len(report.pareto):,} on the front.", "",
        f"| {' | '.join(names)} |", f"|{'---|' * len(names)}", *(f"| {' | '.join(row)} |" for row in rows), "",
        "```sql", query.strip(), "```", "",
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description="Answer the questions of the shipped sweeps.")
    parser.add_argument("sweeps", nargs="*", default=list(QUERIES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("-o", type=Path, dest="output")
    options = parser.parse_args(arguments)
    lines = [
        "# What the shipped sweeps say", "",
        "Estimates of the analytic model ([sweeps.md](sweeps.md)), errors: [accuracy.md](accuracy.md).",
        "Made by", "", "<!-- not run in CI: it takes minutes and writes this page -->", "```bash",
        "python benchmarks/sweep_answers.py -o docs/sweep-answers.md", "```", "",
    ]  # fmt: skip
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.sweeps:
            lines += answer(run(name, folder, options.workers, console), QUERIES[name])
    text = "\n".join(lines)
    print(text, end="")
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
