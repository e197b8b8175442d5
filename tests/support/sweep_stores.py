"""Write small result stores of sweeps whose metrics are made-up closed forms: roughly what a small network would do."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.explore.evaluate import METRICS, STATUS, Results
from gossamer.explore.runner import run_sweep
from gossamer.explore.space import Space
from gossamer.explore.spec import SweepSpec
from gossamer.explore.sweep_file import load_sweep

AXES = {
    "model": ["digits"],
    "sparsity": ["dense", "2:4", "2:8"],
    "device": ["kv260", "u280"],
    "array.chains": [8, 16, 32],
    "array.lanes": [1, 2, 4, 8],
    "off_chip.channel_bandwidth_gb_s": [4.8, 9.6, 19.2],
    "clock_mhz": [125.0, 250.0],
}
SWEEP = {
    "name": "tiny", "question": "Which small core runs digits best?", "base": "kv260-edge", "axes": AXES,
    "set": {"vector.lanes": "array.chains"}, "objectives": ["latency_s", "energy_j"],
}  # fmt: skip

_KEPT = {"dense": 1.0, "2:4": 0.5, "2:8": 0.25}


class MadeUp:
    """Evaluate points of AXES or of more axes."""

    def __init__(self, sweep: SweepSpec, space: Space) -> None:
        self._sweep, self._space = sweep, space

    def evaluate(self, ids: NDArray[np.int64]) -> Results:
        point = self._space.columns(ids)
        kept = np.array([_KEPT[text] for text in point["sparsity"].tolist()])
        chains, lanes, clock = point["array.chains"], point["array.lanes"], point["clock_mhz"]
        dsp = 8.0 * chains * -(-lanes // 2) + 60
        dram = 6e4 * (0.3 + 0.7 * kept)
        compute, memory = 4e6 * kept / (chains * lanes), dram / point["off_chip.channel_bandwidth_gb_s"] * clock / 100
        cycles = np.round(np.maximum(compute, memory) + 0.2 * np.minimum(compute, memory) + 3000)
        latency = cycles / clock / 1e6
        big = point["device"] == "u280"
        power = 0.2 + 0.002 * dsp * clock / 100 + np.where(big, 1.5, 0.1)
        known = {
            "cycles": cycles, "latency_s": latency, "throughput_per_s": 1 / latency, "energy_j": power * latency,
            "power_w": power, "edp_js": power * latency**2, "dram_bytes": dram, "utilization": compute / cycles,
            "kept_energy": 1 - 0.4 * (1 - kept) ** 2, "dsp": dsp, "bram36": 20.0 + chains, "uram": 0.0 * dsp,
            "lut": 3000 + 60 * dsp, "ff": 2000 + 80 * dsp,
        }  # fmt: skip
        metrics = np.stack([known[name] for name in METRICS], axis=1)
        status = np.where(self._space.legal(ids), STATUS.FEASIBLE, STATUS.BREAKS_RULE).astype(np.int8)
        status[(chains == 32) & (lanes == 8)] = STATUS.BREAKS_RULE
        status[~big & (dsp > 300)] = STATUS.EXCEEDS_DEVICE
        metrics[status != STATUS.FEASIBLE] = np.nan
        for name, bounds in self._sweep.constraints.items():
            status[metrics[:, METRICS.index(name)] > (bounds.max or np.inf)] = STATUS.BREAKS_CONSTRAINT
        return Results(ids=ids, status=status, metrics=metrics)


def write_store(path: Path, factory: Callable[[SweepSpec, Space], MadeUp] = MadeUp, **changes: object) -> Path:
    """Run SWEEP, with keys changed, into the store at `path` and return it; the sweep file is beside it."""
    file = path.with_suffix(".yaml")
    file.write_text(json.dumps({**SWEEP, **changes}))
    run_sweep(load_sweep(file), path, factory=factory)
    return path
