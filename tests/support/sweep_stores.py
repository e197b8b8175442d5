"""Write small results databases of sweeps: the schema in plain SQL, with metrics of made-up closed forms."""

import itertools
import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

from gossamer.arch.config import load_config, resolved_yaml
from gossamer.explore.spec import METRICS

AXES: dict[str, list[int | float | str]] = {
    "model": ["digits"],
    "sparsity": ["dense", "2:4", "2:8"],
    "device": ["ecp5-85", "kv260"],
    "array.chains": [8, 16, 32],
    "array.lanes": [1, 2, 4, 8],
    "off_chip.channel_bandwidth_gb_s": [0.8, 1.6, 3.2],
    "clock_mhz": [50.0, 100.0],
}

_SCHEMA = f"""
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE axis(axis INTEGER, name TEXT, position INTEGER, value, PRIMARY KEY(axis, position));
CREATE TABLE chunk(first INTEGER PRIMARY KEY, count INTEGER, excluded INTEGER);
CREATE TABLE point(id INTEGER PRIMARY KEY, status INTEGER, {", ".join(f"{name} REAL" for name in METRICS)});
CREATE TABLE confirmed(id INTEGER, tier TEXT, cycles REAL, latency_s REAL, energy_j REAL, detail TEXT,
                       PRIMARY KEY(id, tier));
"""


def metrics_of(point: dict[str, int | float | str]) -> tuple[int, dict[str, float]]:
    """Return status and metrics of a point: roughly what a small network would do, quite made up."""
    kept = {"dense": 1.0, "2:4": 0.5, "2:8": 0.25}[str(point["sparsity"])]
    chains, lanes, clock = int(point["array.chains"]), int(point["array.lanes"]), float(point["clock_mhz"])
    macs = chains * lanes
    dsp = 8 * chains * math.ceil(lanes / 2) + 60
    bandwidth = float(point["off_chip.channel_bandwidth_gb_s"])
    compute, memory = 4e6 * kept / macs, 60e3 * (0.3 + 0.7 * kept) / bandwidth * clock / 100
    cycles = round(max(compute, memory) + 0.2 * min(compute, memory) + 3000)
    latency = cycles / clock / 1e6
    power = 0.2 + 0.002 * dsp * clock / 100 + (1.5 if point["device"] == "kv260" else 0.1)
    status = 1 if chains == 32 and lanes == 8 else 2 if point["device"] == "ecp5-85" and dsp > 300 else 0
    return status, {
        "cycles": cycles, "latency_s": latency, "throughput_per_s": 1 / latency, "energy_j": power * latency,
        "power_w": power, "edp_js": power * latency**2, "dram_bytes": 6e4 * (0.3 + 0.7 * kept),
        "utilization": compute / cycles, "kept_energy": 1 - 0.4 * (1 - kept) ** 2, "dsp": dsp, "bram36": 20 + chains,
        "uram": 0, "lut": 3000 + 60 * dsp, "ff": 2000 + 80 * dsp,
    }  # fmt: skip


def write_store(
    path: Path, *, objectives: tuple[str, ...] = ("latency_s", "energy_j"), base: str = "ecp5-tiny",
    axes: dict[str, list[int | float | str]] = AXES, derived: dict[str, str] | None = None,
    constraints: dict[str, dict[str, float]] | None = None, confirmed: int = 0,
) -> Path:  # fmt: skip
    """Write the database of a grid sweep and return its path."""
    limits = constraints or {}
    sweep = {
        "name": "tiny", "question": "Which small core runs digits best?", "base": base, "axes": axes,
        "objectives": list(objectives), "constraints": limits, "set": derived or {},
    }  # fmt: skip
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_SCHEMA)
        meta = {"sweep": json.dumps(sweep), "base": resolved_yaml(load_config(base))}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        for number, (name, values) in enumerate(axes.items()):
            connection.executemany(
                "INSERT INTO axis VALUES (?, ?, ?, ?)",
                [(number, name, position, value) for position, value in enumerate(values)],
            )
        rows = []
        for point_id, values in enumerate(itertools.product(*axes.values())):
            status, metrics = metrics_of(dict(zip(axes, values, strict=True)))
            if status == 0 and any(metrics[name] > limit["max"] for name, limit in limits.items()):
                status = 4
            known = [metrics[name] for name in METRICS] if status in (0, 4) else [None] * len(METRICS)
            rows.append((point_id, status, *known))
        connection.execute("INSERT INTO chunk VALUES (0, ?, 0)", (len(rows),))
        connection.executemany(f"INSERT INTO point VALUES ({', '.join('?' * (2 + len(METRICS)))})", rows)
        some = [row for row in rows if row[1] == 0][:confirmed]
        connection.executemany(
            "INSERT INTO confirmed VALUES (?, 'simulated', ?, ?, NULL, '')",
            [(row[0], row[2] * 1.01, row[3] * 1.01) for row in some],
        )
    return path
