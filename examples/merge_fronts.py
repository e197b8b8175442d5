"""Merge the fronts of sweeps that are parts of one: what `gossamer sweep --json` printed for each, into one JSON list.

    python examples/merge_fronts.py part-*.json > front.json

Exact: a point that another dominates in its part is dominated in the whole. Points keep values and metrics; their ids
are those of their part, whose `name` is put beside them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.explore.pareto import front, oriented
from gossamer.explore.spec import METRICS


def merged(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the points of the common front. Raises ValueError if the reports have different objectives."""
    objectives = reports[0]["objectives"]
    if any(report["objectives"] != objectives for report in reports):
        raise ValueError("all parts must have the same objectives in the same order")
    points = [{"part": report["name"], **point} for report in reports for point in report["pareto"]]
    if not points:
        return []
    metrics = np.array([[point["metrics"][name] for name in METRICS] for point in points])
    return [point for point, best in zip(points, front(oriented(metrics, objectives)), strict=True) if best]


if __name__ == "__main__":
    json.dump(merged([json.loads(Path(path).read_text()) for path in sys.argv[1:]]), sys.stdout, indent=1)
