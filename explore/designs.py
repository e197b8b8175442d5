"""Cost designs in bulk: rules and device, cycles and energy of every layer, without an object per point.

Cycles of a layer on the array: the best of few tilings under the analytic model (`gossamer.explore.array_costs`); of a
layer that VECTOR or DMA runs: the closed form the mapper chooses its tiles by. The network's are their sum. Resources,
rules and prices are those of `simulate`, as tables over the fields they read (`gossamer.explore.points`).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.resources import COMPONENTS, RESOURCE_NAMES, Resources, component_resources
from gossamer.arch.rules import RULES
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import Objective
from gossamer.explore.array_costs import cheapest_shape
from gossamer.explore.axes import layers_of
from gossamer.explore.evaluate import STATUS, Results
from gossamer.explore.points import Ints, Points, RecordedValues, Tabulated, is_workload, recorded
from gossamer.explore.space import Space
from gossamer.explore.spec import METRICS, SweepSpec
from gossamer.explore.workload import Workload, make_workload
from gossamer.mapper.layer_options import Alternative, Moved, OnArray, Work
from gossamer.mapper.mapping_counts import COUNTS, OFF_CHIP
from gossamer.mapper.objective import Prices, prices
from gossamer.mapper.tiling import chip_numbers
from gossamer.sim.timing import peak_macs_per_cycle

Floats = NDArray[np.float64]

CAPACITY_FIELDS = ("buffers.", "device")
"""Fields, by how they begin, that say what fits, not what it takes."""


class DesignEvaluator:
    """Evaluates the points of one space; tables are kept from call to call."""

    def __init__(self, sweep: SweepSpec, space: Space) -> None:
        self._sweep, self._space = sweep, space
        self._workloads: dict[tuple[Any, ...], Workload] = {}
        self._rules = [Tabulated(_rule(rule)) for rule in RULES]
        self._components = [Tabulated(recorded(_component(name))) for name in COMPONENTS]
        self._budget = Tabulated(recorded(lambda spec: [getattr(spec.device, name) for name in RESOURCE_NAMES]))
        self._prices: Tabulated[Prices] = Tabulated(recorded(lambda spec: prices(Objective.LATENCY, spec)))
        self._clock = Tabulated(recorded(lambda spec: (spec.clock_mhz * 1e6, peak_macs_per_cycle(spec))))
        self._group_size = Tabulated(recorded(lambda spec: spec.array.group_size))
        self._works: dict[int, Tabulated[Any]] = {}
        self._chips: dict[tuple[int, bool], Tabulated[tuple[int, ...]]] = {}

    def evaluate(self, ids: Ints) -> Results:
        """Return the results of points, in the order of `ids` int64 [n]."""
        status = np.full(len(ids), STATUS.BREAKS_RULE, dtype=np.int8)
        metrics = np.full((len(ids), len(METRICS)), np.nan)
        legal = np.flatnonzero(self._space.legal(ids))
        if legal.size:
            columns = self._space.columns(ids[legal])
            designs = _designs(self._space, columns, len(legal))
            kept = np.flatnonzero(self._obeys(designs))
            if kept.size:
                self._evaluate(designs.take(kept), {name: column[kept] for name, column in columns.items()},
                               legal[kept], status, metrics)  # fmt: skip
        return Results(ids=ids, status=status, metrics=metrics)

    def _obeys(self, designs: Points) -> NDArray[np.bool_]:
        """Return which designs break no rule of the config, bool [n]."""
        good = np.ones(designs.count, dtype=bool)
        for table in self._rules:
            results, which = table.at(designs)
            good &= np.array(results, dtype=bool)[which]
        return good

    def _evaluate(
        self, designs: Points, columns: dict[str, NDArray[Any]], place: Ints, status: NDArray[np.int8], metrics: Floats
    ) -> None:  # fmt: skip
        """Fill status and metrics, at `place` int64 [n], of designs that break no rule."""
        needs = np.zeros((designs.count, len(RESOURCE_NAMES)), dtype=np.int64)
        for table in self._components:
            results, which = table.at(designs)
            needs += np.array([[getattr(each, name) for name in RESOURCE_NAMES] for each in results])[which]
        budgets, which = self._budget.at(designs)
        fits = (needs <= np.array(budgets)[which]).all(axis=1)
        status[place[~fits]] = STATUS.EXCEEDS_DEVICE
        left = np.flatnonzero(fits)
        for key, mine in self._by_workload(columns, left):
            workload = self._workload(key)
            sizes, which = self._group_size.at(designs.take(mine))
            wide = np.array(sizes)[which] >= workload.group_size
            status[place[mine[~wide]]] = STATUS.BREAKS_RULE
            mine = mine[wide]
            if not mine.size:
                continue
            chosen = designs.take(mine)
            cycles, counts = self._network(chosen, workload)
            found = np.flatnonzero(np.isfinite(cycles))
            status[place[mine]] = STATUS.DOES_NOT_FIT_BUFFERS
            values = self._metrics(chosen.take(found), workload, cycles[found], counts[found], needs[mine[found]])
            metrics[place[mine[found]]] = values
            status[place[mine[found]]] = np.where(self._allowed(values), STATUS.FEASIBLE, STATUS.BREAKS_CONSTRAINT)

    def _by_workload(self, columns: dict[str, NDArray[Any]], points: Ints) -> list[tuple[tuple[Any, ...], Ints]]:
        """Return the different workloads of points, as (name, value) pairs of their axes, and the points of each."""
        names = [name for name in columns if is_workload(name)]
        if not points.size:
            return []
        coded = np.stack([np.unique(columns[name][points], return_inverse=True)[1] for name in names], axis=1)
        _, first, which = np.unique(coded, axis=0, return_index=True, return_inverse=True)
        keys = [tuple((name, columns[name][points[at]].item()) for name in names) for at in first]
        return [(key, points[which == number]) for number, key in enumerate(keys)]

    def _workload(self, key: tuple[Any, ...]) -> Workload:
        """Return a workload, made once."""
        if key not in self._workloads:
            values = dict(key)
            globs = tuple((glob, value) for name, value in key if (glob := layers_of(name)) is not None)
            self._workloads[key] = make_workload(
                model=values["model"], batch=values["batch"], sparsity=values["sparsity"], overrides=globs
            )
        return self._workloads[key]

    def _network(self, designs: Points, workload: Workload) -> tuple[Floats, Ints]:
        """Return cycles float64 [n] of a workload, infinite where a layer fits no buffers, and counts [n, COUNTS]."""
        run = _Run(self, designs)
        cycles, counts = np.zeros(designs.count), np.zeros((designs.count, COUNTS), dtype=np.int64)
        for layer in workload.layers:
            best: tuple[Floats, Ints] | None = None
            for option in layer.options:
                found = run.option(option)
                if best is None:
                    best = found
                else:
                    better = found[0] < best[0]
                    best = np.where(better, found[0], best[0]), np.where(better[:, None], found[1], best[1])
            assert best is not None
            cycles, counts = cycles + best[0], counts + best[1]
        return np.ceil(cycles), counts

    def _metrics(self, designs: Points, workload: Workload, cycles: Floats, counts: Ints, needs: Ints) -> Floats:
        """Return metrics float64 [n, METRICS]."""
        clocks, which = self._clock.at(designs)
        hertz, peak = np.array(clocks, dtype=np.float64)[which].T
        charged, priced = self._prices.at(designs)
        energy = np.zeros(designs.count)
        for number, each in enumerate(charged):
            mine = priced == number
            energy[mine] = (counts[mine] * each.event_j).sum(axis=1) + each.cycle_j * cycles[mine]
        latency = cycles / hertz
        values = {
            "cycles": cycles, "latency_s": latency, "throughput_per_s": workload.batch / latency, "energy_j": energy,
            "power_w": energy / latency, "edp_js": energy * latency, "dram_bytes": counts[:, OFF_CHIP],
            "utilization": workload.macs / (peak * cycles), "kept_energy": np.full(designs.count, workload.kept_energy),
            **{name: needs[:, at] for at, name in enumerate(RESOURCE_NAMES)},
        }  # fmt: skip
        return np.stack([np.asarray(values[name], dtype=np.float64) for name in METRICS], axis=1)

    def _allowed(self, metrics: Floats) -> NDArray[np.bool_]:
        """Return which rows of metrics meet the constraints, bool [n]."""
        good = np.ones(len(metrics), dtype=bool)
        for name, bounds in self._sweep.constraints.items():
            column = metrics[:, METRICS.index(name)]
            if bounds.min is not None:
                good &= column >= bounds.min
            if bounds.max is not None:
                good &= column <= bounds.max
        return good

    def table(self, work: Work) -> Tabulated[Any]:
        """Return the table of a work: the parts of one on the array, the cost of another."""
        if id(work) not in self._works:
            match work:
                case OnArray():
                    self._works[id(work)] = Tabulated(recorded(work.parts))
                case Moved(reads_all=True):
                    self._works[id(work)] = Tabulated(_whole(work.cost))
                case Moved():
                    self._works[id(work)] = Tabulated(recorded(work.cost))
        return self._works[id(work)]

    def chips(self, designs: Points, reserved: int, apart: bool) -> Ints:
        """Return int64 [n, CHIP] of `gossamer.mapper.mapping_bound`."""
        key = reserved, apart
        if key not in self._chips:
            self._chips[key] = Tabulated(recorded(lambda spec: chip_numbers(spec, reserved, apart=apart).numbers))
        results, which = self._chips[key].at(designs)
        return np.array(results, dtype=np.int64)[which]


class _Run:
    """The designs of one workload, grouped by all that the cycles of a legal tiling depend on."""

    def __init__(self, evaluator: DesignEvaluator, designs: Points) -> None:
        self._evaluator, self._designs = evaluator, designs
        fields = [name for name in designs.fields if not name.startswith(CAPACITY_FIELDS)]
        first, which = designs.groups(fields)
        order = np.argsort(which, kind="stable")
        self._groups = np.split(order, np.searchsorted(which[order], np.arange(1, len(first))))
        self._specs = [designs.spec(int(point)) for point in first]
        self._capacities: dict[int, list[tuple[Ints, Ints, Ints]]] = {}
        self._parts: dict[tuple[int, tuple[Alternative, ...]], tuple[Floats, Ints]] = {}
        self._done: dict[int, tuple[Floats, Ints]] = {}

    def option(self, option: tuple[Work, ...]) -> tuple[Floats, Ints]:
        """Return cycles float64 [n] and counts int64 [n, COUNTS] of works that run one after the other."""
        cycles = np.zeros(self._designs.count)
        counts = np.zeros((self._designs.count, COUNTS), dtype=np.int64)
        for work in option:
            if id(work) not in self._done:
                self._done[id(work)] = self._moved(work) if isinstance(work, Moved) else self._on_array(work)
            cycles, counts = cycles + self._done[id(work)][0], counts + self._done[id(work)][1]
        return cycles, counts

    def _moved(self, work: Moved) -> tuple[Floats, Ints]:
        results, which = self._evaluator.table(work).at(self._designs)
        cycles = np.array([math.inf if cost is None else cost.cycles for cost in results])
        counts = np.array([np.zeros(COUNTS, np.int64) if cost is None else cost.counts for cost in results])
        return cycles[which], counts[which]

    def _on_array(self, work: OnArray) -> tuple[Floats, Ints]:
        cycles = np.zeros(self._designs.count)
        counts = np.zeros((self._designs.count, COUNTS), dtype=np.int64)
        results, which = self._evaluator.table(work).at(self._designs)
        for number, points in enumerate(self._groups):
            for part in results[which[points[0]]]:
                found = self._part(number, tuple(part))
                cycles[points] += found[0]
                counts[points] += found[1]
        return cycles, counts

    def _part(self, group: int, alternatives: tuple[Alternative, ...]) -> tuple[Floats, Ints]:
        """Return cycles and counts of the designs of a group, of the best of some shapes."""
        key = group, alternatives
        if key in self._parts:
            return self._parts[key]
        points = self._groups[group]
        if not alternatives:
            return np.full(len(points), np.inf), np.zeros((len(points), COUNTS), dtype=np.int64)
        chips = [(shape, *self._group_chips(group, reserved)) for shape, reserved in alternatives]
        which = chips[0][3]
        cycles, counts = cheapest_shape(
            [(shape, apart, anywhere) for shape, apart, anywhere, _ in chips], self._specs[group]
        )
        self._parts[key] = cycles[which], counts[which]
        return self._parts[key]

    def _group_chips(self, group: int, reserved: int) -> tuple[Ints, Ints, Ints]:
        """Return the different capacities of a group, loads and results apart and anywhere, and which a point has."""
        if reserved not in self._capacities:
            self._capacities[reserved] = self._capacities_of(reserved)
        return self._capacities[reserved][group]

    def _capacities_of(self, reserved: int) -> list[tuple[Ints, Ints, Ints]]:
        both = [self._evaluator.chips(self._designs, size, apart) for size in {0, reserved} for apart in (True, False)]
        wide = both[-2].shape[1]
        joined = np.concatenate(both, axis=1)
        found = []
        for points in self._groups:
            rows, which = np.unique(joined[points], axis=0, return_inverse=True)
            found.append((rows[:, -2 * wide : -wide], rows[:, -wide:], which.astype(np.int64)))
        return found


def _designs(space: Space, columns: dict[str, NDArray[Any]], count: int) -> Points:
    """Return the hardware of points."""
    hardware = {name: column for name, column in columns.items() if not is_workload(name)}
    hardware.setdefault("array.chains", np.full(count, space.base.array.chains))  # at least one column
    return Points(space.base, hardware, space.devices)


def _rule(rule: Callable[[Any], Any]) -> Callable[[SparseAccelerator, dict[str, None]], bool]:
    """Return whether a rule finds nothing wrong, as a function that notes what it reads."""
    return lambda spec, reads: not any(True for _ in rule(RecordedValues(spec, reads)))


def _component(name: str) -> Callable[[SparseAccelerator], Resources]:
    return lambda spec: component_resources(name, spec)


WHOLE = ("array", "axi", "off_chip", "clock_mhz", "vector", "dispatch", *(
    f"buffers.{name}.capacity_bytes" for name in ("activation", "weight", "index", "accumulator", "parameter")
))  # fmt: skip
"""What a layer that is compiled depends on: all but the device and what buffers are built from."""


def _whole(function: Callable[[SparseAccelerator], Any]) -> Callable[[SparseAccelerator, dict[str, None]], Any]:
    """Return a function that is given the config itself, and reads all of it that matters to a Program."""

    def call(spec: SparseAccelerator, reads: dict[str, None]) -> Any:
        reads.update(dict.fromkeys(WHOLE))
        return function(spec)

    return call
