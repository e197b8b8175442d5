"""Search the mappings of layers in processes of their own, with an empty cache of mappings and with a filled one."""

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from gossamer.arch.config import load_config, require_hardware
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvShape, Objective
from gossamer.mapper.objective import prices
from gossamer.mapper.tiling import Search, Space, chip_numbers, search_mapping
from gossamer.sim.analytic import LayerModel
from gossamer.sim.kernels import cache_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTime:
    """What a process found, and its CPU seconds: of each layer's search, and of all it did, imports included."""

    found: tuple[Search, ...]
    layer_s: tuple[float, ...]
    process_s: float

    @property
    def search_s(self) -> float:
        """CPU seconds of all searches."""
        return sum(self.layer_s)


def cold_and_cached(
    shapes: Sequence[ConvShape], config: str, objective: Objective = Objective.LATENCY
) -> tuple[SearchTime, SearchTime]:  # fmt: skip
    """Return the searches of a first process and of a second one, which finds on disk what the first kept."""
    kept = {name: os.environ.get(name) for name in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"NUMBA_CACHE_DIR": str(cache_folder().parent), "XDG_CACHE_HOME": folder}
        try:
            cold, cached = (_in_new_process(shapes, config, objective) for _ in range(2))
        finally:
            for name, value in kept.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
    if cold.found != cached.found:
        raise SystemExit("the cache gives other mappings than the search")
    return cold, cached


def searched_space(
    shape: ConvShape, spec: SparseAccelerator, objective: Objective = Objective.LATENCY
) -> Space:  # fmt: skip
    """Return the space the mapper searches: LOAD and VECTOR wait for each other only if nothing else fits."""
    charged = prices(objective, spec)
    space = Space(shape, chip_numbers(spec), charged)
    return space if len(space.choices) else Space(shape, chip_numbers(spec, apart=False), charged)


def _in_new_process(shapes: Sequence[ConvShape], config: str, objective: Objective) -> SearchTime:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_search, shapes, config, objective).result()


def _search(shapes: Sequence[ConvShape], config: str, objective: Objective) -> SearchTime:
    spec = require_hardware(load_config(config), config)
    model = LayerModel(shapes[0], spec)  # loads the kernels
    model.run(model.jobs(searched_space(shapes[0], spec).mapping(0)))
    found, seconds = [], []
    for shape in shapes:
        start = time.process_time()
        found.append(search_mapping(shape, spec, "layer", objective=objective))
        seconds.append(time.process_time() - start)
    return SearchTime(found=tuple(found), layer_s=tuple(seconds), process_s=time.process_time())
