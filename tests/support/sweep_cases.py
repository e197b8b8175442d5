"""Sweep files, stores and what is in them, for tests of sweeps."""

import sqlite3
from pathlib import Path

from gossamer.explore.sweep_file import Sweep, load_sweep

TEXT = """\
name: made-up
question: What does the stand-in evaluator say?
base: u280-sparse
axes:
  model: [digits]
  sparsity: [dense, "2:4", "2:8"]
  array.chains: {range: {from: 8, to: 256, step: 8}}
  array.lanes: [1, 2, 3, 4, 6, 8]
  buffers.weight.capacity_bytes: {powers_of_two: {from: 65536, to: 4194304}}
set:
  vector.lanes: array.chains / array.lanes
where:
  - array.chains * array.lanes <= 1024
constraints: {energy_j: {max: 250}}
objectives: [latency_s, energy_j, dsp]
strategy: STRATEGY
"""


def made_up_sweep(folder: Path, strategy: str = "{kind: grid}", text: str = TEXT) -> Sweep:
    """Return the sweep of TEXT with a strategy: 4,032 points before conditions."""
    path = folder / "made-up.yaml"
    path.write_text(text.replace("STRATEGY", strategy))
    return load_sweep(path)


def point_table(path: Path) -> str:
    """Return the rows of the table of points, every bit of every number."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT * FROM point ORDER BY id").fetchall()
    connection.close()
    return "\n".join(repr(row) for row in rows)
