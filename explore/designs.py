"""Cost designs in bulk: rules and device, cycles and energy of every layer, without an object per point.

Cycles of a layer on the array: the best of few tilings under the analytic model (`gossamer.explore.array_costs`); of a
layer that VECTOR or DMA runs: the closed form the mapper chooses its tiles by. The network's are their sum. Resources,
rules and prices are those of `simulate`, as tables over the fields they read (`gossamer.explore.points`).
"""

import math
from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.activation import half_bytes
from gossamer.arch.resources import COMPONENTS, RESOURCE_NAMES, component_resources
from gossamer.arch.rules import RULES
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import Objective
from gossamer.explore.array_costs import CYCLES, Costs, shape_costs
from gossamer.explore.evaluate import STATUS, Results
from gossamer.explore.points import Ints, Points, RecordedValues, Tabulated, is_workload
from gossamer.explore.space import ROOM_FIELDS, Space
from gossamer.explore.spec import METRICS, SweepSpec
from gossamer.explore.workload import Workload, make_workload
from gossamer.mapper.layer_options import Alternative, LayerOptions, Moved, OnArray, Work
from gossamer.mapper.mapping_bound import CHIP
from gossamer.mapper.mapping_counts import OFF_CHIP
from gossamer.mapper.objective import Prices, prices
from gossamer.mapper.tiling import ROOMS, timing_numbers
from gossamer.sim.timing import peak_macs_per_cycle

Floats = NDArray[np.float64]


class DesignEvaluator:
    """Evaluates the points of one space; tables are kept from call to call."""

    def __init__(self, sweep: SweepSpec, space: Space) -> None:
        self._sweep, self._space = sweep, space
        self._workloads: dict[tuple[Any, ...], Workload] = {}
        self._rules = [Tabulated(_rule(rule)) for rule in RULES]
        self._components = [Tabulated(partial(component_resources, name)) for name in COMPONENTS]
        self._budget = Tabulated(lambda spec: [getattr(spec.device, name) for name in RESOURCE_NAMES])
        self._prices: Tabulated[Prices] = Tabulated(partial(prices, Objective.LATENCY))
        self._clock = Tabulated(lambda spec: (spec.clock_mhz * 1e6, peak_macs_per_cycle(spec)))
        self._group_size = Tabulated(lambda spec: spec.array.group_size)
        self._halves, self._loads = Tabulated(_halves), Tabulated(_loads)
        self._works: dict[int, Tabulated[Any]] = {}
        self._rooms: dict[tuple[int, int, bool], Tabulated[tuple[int, ...]]] = {}

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
            costs = self._network(chosen, workload)
            found = np.flatnonzero(np.isfinite(costs.times[:, CYCLES]))
            status[place[mine]] = STATUS.DOES_NOT_FIT_BUFFERS
            values = self._metrics(chosen.take(found), workload, costs.take(found), needs[mine[found]])
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
            self._workloads[key] = make_workload(dict(key))
        return self._workloads[key]

    def _network(self, designs: Points, workload: Workload) -> Costs:
        """Return what designs take for a workload."""
        run, costs = _Run(self, designs), []
        for layer in workload.layers:
            first, *others = (run.option(option) for option in layer.options)
            costs.append(reduce(Costs.or_better, others, first))
        self._hold(designs, workload, run, costs)
        return reduce(Costs.then, costs, Costs.none(designs.count))

    def _hold(self, designs: Points, workload: Workload, run: "_Run", costs: list[Costs]) -> None:
        """Let tensors stay on chip where that is not worse, as `gossamer.mapper.holding`, and change costs to that.

        Each takes as much of the half of the buffer that VECTOR writes as it has bytes, or of the whole buffer if what
        its layer reads is on chip too; tiles are those that would fit without it.
        """
        rooms, which = self._halves.at(designs)
        whole, upper = np.array(rooms, dtype=np.int64)[which].T
        loads, which = self._loads.at(designs)
        filling = np.zeros((len(workload.layers), designs.count))
        taken = np.zeros((len(workload.layers), designs.count), dtype=np.int64)
        held: dict[str, NDArray[np.bool_]] = {}
        for tensor in (each for layer in workload.layers for each in layer.held):
            size, fill = np.array([tensor.needs(*each) for each in loads], dtype=np.int64)[which].T
            inputs = [held.get(name, np.zeros(designs.count, dtype=bool)) for name in tensor.sources]
            room = np.where(np.all(inputs, axis=0), whole, upper)
            alive = slice(tensor.alive.start, tensor.alive.stop)
            could = taken[alive].max(axis=0) + size <= room
            if not could.any():
                continue
            tried = {**held, tensor.name: could}
            after = {user: run.on_chip(workload.layers[user], tried, costs[user]) for user in tensor.users}
            gained = sum(costs[user].times[:, CYCLES] - each.times[:, CYCLES] for user, each in after.items())
            better = could & (np.nan_to_num(gained, nan=-1.0) >= fill)
            filling[tensor.alive.start] += np.where(better, fill, 0)
            held[tensor.name] = better
            taken[alive] += np.where(better, size, 0)
            for user, each in after.items():
                costs[user] = costs[user].where(better, each)
        for cost, cycles in zip(costs, filling, strict=True):
            cost.times[:, CYCLES] += cycles

    def _metrics(self, designs: Points, workload: Workload, costs: Costs, needs: Ints) -> Floats:
        """Return metrics float64 [n, METRICS]; needs int64 [n, RESOURCE_NAMES]."""
        cycles, counts = np.ceil(costs.times[:, CYCLES]), costs.counts
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
                    self._works[id(work)] = Tabulated(work.parts)
                case Moved():
                    self._works[id(work)] = Tabulated(work.cost, WHOLE if work.reads_all else ())
        return self._works[id(work)]

    def rooms(self, designs: Points, reserved: int, apart: bool) -> Ints:
        """Return int64 [n, CHIP] of `gossamer.mapper.mapping_bound`, of which the rooms are filled in."""
        chips = np.zeros((designs.count, CHIP), dtype=np.int64)
        for number, (_, places, room) in enumerate(ROOMS):
            key = number, reserved, apart
            if key not in self._rooms:
                self._rooms[key] = Tabulated(partial(_room, room, reserved, apart))
            results, which = self._rooms[key].at(designs)
            chips[:, places] = np.array(results, dtype=np.int64)[which]
        return chips


def _halves(spec: SparseAccelerator) -> tuple[int, int]:
    """Return the bytes of the activation buffer, and of the half that VECTOR writes."""
    capacity = spec.buffers.activation.capacity_bytes
    return capacity, capacity - half_bytes(spec)


def _loads(spec: SparseAccelerator) -> tuple[int, int]:
    """Return the group size of the array, and the bytes LOAD writes in a cycle."""
    return spec.array.group_size, spec.axi.ports * spec.axi.data_bits // 8


def _room(room: Callable[..., tuple[int, ...]], reserved: int, apart: bool, spec: SparseAccelerator) -> tuple[int, ...]:
    return room(spec, reserved, apart)


class _Run:
    """The designs of one workload, grouped by all that the cycles of a legal tiling depend on."""

    def __init__(self, evaluator: DesignEvaluator, designs: Points) -> None:
        self._evaluator, self._designs = evaluator, designs
        fields = [name for name in designs.fields if not name.startswith(ROOM_FIELDS)]
        first, which = designs.groups(fields)
        order = np.argsort(which, kind="stable")
        self._groups = np.split(order, np.searchsorted(which[order], np.arange(1, len(first))))
        self._specs = [designs.spec(int(point)) for point in first]
        self._capacities: dict[int, list[tuple[Ints, Ints, Ints]]] = {}
        self._parts: dict[tuple[int, tuple[Alternative, ...]], Costs] = {}
        self._done: dict[int, Costs] = {}

    def option(self, option: tuple[Work, ...]) -> Costs:
        """Return the costs of works that run one after the other."""
        total = Costs.none(self._designs.count)
        for work in option:
            if id(work) not in self._done:
                self._done[id(work)] = self._moved(work) if isinstance(work, Moved) else self._on_array(work)
            total = total.then(self._done[id(work)])
        return total

    def on_chip(self, layer: LayerOptions, held: Mapping[str, NDArray[np.bool_]], stored: Costs) -> Costs:
        """Return the costs of a layer for designs bool [n] that hold some of its tensors; of the others: `stored`."""
        costs, none = stored, np.zeros(self._designs.count, dtype=bool)
        tensors = set().union(*layer.on_chip)
        for names, work in layer.on_chip.items():
            such = np.all([held.get(name, none) == (name in names) for name in tensors], axis=0)
            if such.any():
                costs = costs.where(such, self.option((work,)))
        return costs

    def _moved(self, work: Moved) -> Costs:
        results, which = self._evaluator.table(work).at(self._designs)
        costs = Costs.none(len(results))
        for number, cost in enumerate(results):
            costs.times[number, CYCLES] = math.inf if cost is None else cost.cycles
            costs.counts[number] = 0 if cost is None else cost.counts
        return costs.take(which)

    def _on_array(self, work: OnArray) -> Costs:
        total = Costs.none(self._designs.count)
        results, which = self._evaluator.table(work).at(self._designs)
        for number, points in enumerate(self._groups):
            costs = Costs.none(len(points))
            for part in results[which[points[0]]]:
                costs = costs.then(self._part(number, tuple(part)))
            total.times[points], total.counts[points] = costs.times, costs.counts
        return total

    def _part(self, group: int, alternatives: tuple[Alternative, ...]) -> Costs:
        """Return what the designs of a group take for the best of some shapes."""
        key = group, alternatives
        if key not in self._parts:
            best = Costs.none(len(self._groups[group]))
            best.times[:, CYCLES] = math.inf
            for shape, reserved in alternatives:
                apart, anywhere, which = self._group_chips(group, reserved)
                best = best.or_better(shape_costs(shape, self._specs[group], apart, anywhere).take(which))
            self._parts[key] = best
        return self._parts[key]

    def _group_chips(self, group: int, reserved: int) -> tuple[Ints, Ints, Ints]:
        """Return the different capacities of a group, loads and results apart and anywhere, and which a point has."""
        if reserved not in self._capacities:
            self._capacities[reserved] = self._capacities_of(reserved)
        return self._capacities[reserved][group]

    def _capacities_of(self, reserved: int) -> list[tuple[Ints, Ints, Ints]]:
        apart, anywhere = (self._evaluator.rooms(self._designs, reserved, each) for each in (True, False))
        found = []
        for points, spec in zip(self._groups, self._specs, strict=True):
            chips = np.stack([apart[points], anywhere[points]], axis=1)
            for place, number in timing_numbers(spec).items():
                chips[:, :, place] = number
            rows, which = np.unique(chips.reshape(len(points), -1), axis=0, return_inverse=True)
            rows = rows.reshape(len(rows), 2, -1)
            found.append((np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1]), which.astype(np.int64)))
        return found


def _designs(space: Space, columns: dict[str, NDArray[Any]], count: int) -> Points:
    """Return the hardware of points."""
    hardware = {name: column for name, column in columns.items() if not is_workload(name)}
    hardware.setdefault("array.chains", np.full(count, space.base.array.chains))  # at least one column
    return Points(space.base, hardware, space.devices)


def _rule(rule: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """Return whether a rule finds nothing wrong, as a function of a config."""
    return lambda spec: not any(True for _ in rule(RecordedValues(spec)))


WHOLE = ("array", "axi", "off_chip", "clock_mhz", "vector", "dispatch", *(
    f"buffers.{name}.capacity_bytes" for name in ("activation", "weight", "index", "accumulator", "parameter")
))  # fmt: skip
"""What a layer that is compiled depends on: all but the device and what buffers are built from."""
