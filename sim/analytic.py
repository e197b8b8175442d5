"""Cost a layer on a config in closed form, without a Program.

Every instruction of the schedule has a closed form of its own (`gossamer.arch.timing`, `transfer_alone`), and the
schedule follows from the mapping; `gossamer.sim.pipeline_model` joins them. What is left out: what FETCH takes from the
channels, and the exact order in which bursts of LOAD and STORE meet there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import SelfCheckError
from gossamer.arch.isa import ENGINES, Engine
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import ConvMapping, LoopOrder
from gossamer.sim.conv_schedule import FULL, LAYER_ENTRIES, conv_jobs
from gossamer.sim.offchip import offchip_timing
from gossamer.sim.pipeline_model import JOB_COLUMNS, pipeline_cycles

JOBS_PER_STEP = 16
"""More than a step can have: two weight planes, parameters, input in chunks, COMPUTE, REQUANTIZE, STORE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """Cycles of a layer that runs alone, fetch of its first instruction to END, and of each engine's instructions."""

    cycles: int
    engine_cycles: dict[Engine, int]


def layer_cycles(mapping: ConvMapping, spec: SparseAccelerator) -> LayerCost:
    """Return the cost of a convolution (or product with constant weights) under a mapping.

    Input and output are taken to lie off chip without gaps: [batch][row][column][words].
    """
    jobs = mapping_jobs(mapping, spec)
    busy = np.zeros(len(ENGINES), dtype=np.int64)
    cycles = pipeline_cycles(jobs, offchip_timing(spec).as_array(), spec.dispatch.queue_depth, busy)
    return LayerCost(cycles=cycles, engine_cycles=dict(zip(ENGINES, busy.tolist(), strict=True)))


def mapping_jobs(mapping: ConvMapping, spec: SparseAccelerator) -> NDArray[np.int64]:
    """Return the jobs of a mapped layer in program order, int64 [n, JOB_COLUMNS]."""
    blocks = np.array([(b.first, b.channels, b.word, b.words) for b in mapping.shape.blocks], dtype=np.int64)
    steps = mapping.tile_count * sum(len(mapping.splits(number)) for number in range(len(blocks)))
    jobs = np.zeros((JOBS_PER_STEP * (steps + 1), JOB_COLUMNS), dtype=np.int64)
    count = conv_jobs(_layer_array(mapping, spec), blocks, offchip_timing(spec).as_array(), jobs)
    if count == FULL:
        raise SelfCheckError(f"the schedule of {steps} steps must have at most {len(jobs)} instructions")
    return jobs[:count]


def _layer_array(mapping: ConvMapping, spec: SparseAccelerator) -> NDArray[np.int64]:
    """Return the numbers of shape, mapping and array in the order of `gossamer.sim.conv_schedule`."""
    shape, array = mapping.shape, spec.array
    numbers = [
        shape.batch, shape.rows, shape.columns, ceil_div(shape.channels, array.group_size), shape.out_rows,
        shape.out_columns, ceil_div(shape.out_channels, array.group_size), *shape.kernel, *shape.stride,
        *shape.dilation, *shape.pads, shape.steps, shape.index_bits, int(shape.shares_input), shape.parameter_bytes,
        int(mapping.order is LoopOrder.WEIGHTS_OUTER), mapping.tile_rows, mapping.tile_columns, mapping.group_blocks,
        mapping.split_rows, mapping.split_columns, mapping.split_words, int(mapping.resident_parameters),
        array.group_size, array.chains, array.chain_length, array.lanes, array.weight_rows_per_cycle,
        spec.vector.lanes,
    ]  # fmt: skip
    return np.array(numbers, dtype=np.int64).reshape(LAYER_ENTRIES)
