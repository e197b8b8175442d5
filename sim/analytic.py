"""Cost a layer on a config from its mapping alone, without a Program and without weights.

The schedule follows from the mapping (`gossamer.sim.conv_schedule`), every instruction has a closed form or a known
number of bursts, and `gossamer.sim.jobs` runs the list on the event engine's kernels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import SelfCheckError
from gossamer.arch.isa import ENGINES, Engine
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import ConvMapping, ConvShape, LoopOrder
from gossamer.sim import engine
from gossamer.sim.conv_layout import (
    ALL_PARAMETERS,
    BLOCK_COLUMNS,
    BLOCK_PARTS,
    GROUP,
    LAYER_ENTRIES,
    RESIDENT,
    SPLIT_WORDS,
    SPLIT_X,
    SPLIT_Y,
    TILE_COLUMNS,
    TILE_ROWS,
)
from gossamer.sim.conv_schedule import conv_jobs
from gossamer.sim.conv_steps import FULL
from gossamer.sim.jobs import JOB_COLUMNS, run_traffic
from gossamer.sim.offchip import OffChipTiming, offchip_timing

JOBS_PER_STEP = 10
"""Most a step can have: two weight planes, parameters, input, a piece of the next, a second operand, COMPUTE,
REQUANTIZE, a join, STORE."""
JOBS_PER_LAYER = 3
"""The LOADs of all parameters, and END."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """Cycles of a layer that runs alone, fetch of its first instruction to END, and of each engine's instructions."""

    cycles: int
    engine_cycles: dict[Engine, int]


class LayerModel:
    """Costs mappings of one shape on one config; arrays that depend on these alone are made once.

    Off chip lies what a Program of this layer alone would have there, input and output without gaps:
    [batch][row][column][words]. In a network other addresses shift bursts, and layers overlap. Not followed: LOADs that
    code generation cuts because a field is too narrow (over 255 lines of padding, filled lines over 64 KiB, weight
    segments over 65,535 rows), and equal constants, which it stores once.
    """

    def __init__(self, shape: ConvShape, spec: SparseAccelerator) -> None:
        self.shape, self.spec = shape, spec
        self.memory = offchip_timing(spec)
        self.queue_depth = spec.dispatch.queue_depth
        self._memory = self.memory.as_array()
        self._layer = _shape_array(shape, spec, self.memory)
        self._words = np.array([block.words for block in shape.blocks], dtype=np.int64)
        self._blocks = np.zeros((len(shape.blocks), BLOCK_COLUMNS), dtype=np.int64)
        self._blocks[:, :BLOCK_PARTS] = [(b.first, b.channels, b.word, b.words) for b in shape.blocks]

    def jobs(self, mapping: ConvMapping) -> NDArray[np.int64]:
        """Return the jobs of a mapped layer in program order, END included, int64 [n, JOB_COLUMNS]."""
        layer, blocks = self._layer, self._blocks
        layer[RESIDENT] = mapping.order is LoopOrder.WEIGHTS_OUTER
        layer[TILE_ROWS], layer[TILE_COLUMNS] = mapping.tile_rows, mapping.tile_columns
        layer[GROUP], layer[SPLIT_WORDS] = mapping.group_blocks, mapping.split_words
        layer[SPLIT_Y], layer[SPLIT_X] = mapping.split_rows, mapping.split_columns
        layer[ALL_PARAMETERS] = mapping.resident_parameters
        taps = ceil_div(self.shape.kernel[0], mapping.split_rows) * ceil_div(
            self.shape.kernel[1], mapping.split_columns
        )
        blocks[:, BLOCK_PARTS] = taps * -(-self._words // mapping.split_words)
        steps = mapping.tile_count * int(blocks[:, BLOCK_PARTS].sum())
        jobs = np.empty((JOBS_PER_STEP * steps + JOBS_PER_LAYER, JOB_COLUMNS), dtype=np.int64)
        count = conv_jobs(layer, blocks, jobs)
        if count == FULL:
            raise SelfCheckError(f"the schedule of {steps} steps must have at most {len(jobs)} instructions")
        return jobs[:count]

    def run(self, jobs: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
        """Return the cycles of jobs and their times, int64 [n, TIME_COLUMNS]."""
        cycles, times, _ = self.run_traffic(jobs)
        return cycles, times

    def run_traffic(self, jobs: NDArray[np.int64]) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
        """Return the cycles of jobs, their times int64 [n, TIME_COLUMNS] and traffic int64 [n, TRAFFIC_COLUMNS]."""
        times = np.empty((jobs.shape[0], engine.TIME_COLUMNS), dtype=np.int64)
        traffic = np.zeros((jobs.shape[0], engine.TRAFFIC_COLUMNS), dtype=np.int64)
        cycles = run_traffic(jobs, self._memory, self.queue_depth, times, traffic)
        if cycles == engine.STUCK:
            raise SelfCheckError("the jobs of a schedule must wait for earlier ones only")
        return cycles, times, traffic


def layer_cycles(mapping: ConvMapping, spec: SparseAccelerator) -> LayerCost:
    """Return the cost of a convolution (or product with constant weights) under a mapping, as `LayerModel` sees it."""
    model = LayerModel(mapping.shape, spec)
    jobs = model.jobs(mapping)
    cycles, times = model.run(jobs)
    span = times[:, engine.COMPLETED] - times[:, engine.STARTED]
    busy = np.bincount(jobs[:-1, engine.ENGINE], weights=span[:-1], minlength=len(ENGINES))
    return LayerCost(
        cycles=cycles, engine_cycles={name: int(busy[number]) for number, name in enumerate(ENGINES)}
    )  # fmt: skip


def mapping_jobs(mapping: ConvMapping, spec: SparseAccelerator) -> NDArray[np.int64]:
    """Return the jobs of a mapped layer in program order, END included, int64 [n, JOB_COLUMNS]."""
    return LayerModel(mapping.shape, spec).jobs(mapping)


def _shape_array(shape: ConvShape, spec: SparseAccelerator, memory: OffChipTiming) -> NDArray[np.int64]:
    """Return the numbers of shape and array in the order of `gossamer.sim.conv_layout`; those of a mapping are 0."""
    array = spec.array
    mapping = [0] * (ALL_PARAMETERS + 1 - RESIDENT)
    numbers = [
        shape.batch, shape.rows, shape.columns, ceil_div(shape.channels, array.group_size), shape.out_rows,
        shape.out_columns, ceil_div(shape.out_channels, array.group_size), *shape.kernel, *shape.stride,
        *shape.dilation, *shape.pads, shape.steps, shape.index_bits, int(shape.shares_input), shape.parameter_bytes,
        *mapping, array.group_size, array.chains, array.chain_length, array.lanes, array.weight_rows_per_cycle,
        spec.vector.lanes, memory.row_bytes, int(shape.joined), shape.joined_bytes, int(shape.source_on_chip),
        int(shape.target_on_chip), int(shape.operand_on_chip),
    ]  # fmt: skip
    return np.array(numbers, dtype=np.int64).reshape(LAYER_ENTRIES)
