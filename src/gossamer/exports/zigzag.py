"""Write a dense sparse-chain config, its layers and its mappings as zigzag-dse 3.9.1 reads them.

The array becomes three unrolled dimensions, one multiply-accumulate each per cycle:

    D1 chains        K
    D2 chain stages  C in words of `group_size` channels; stages left over take further kernel columns (FX)
    D3 lanes         OX, or OX and OY, whichever leaves fewer lanes idle

A stage takes `group_size` cycles for its word, one channel each: they are loops over C in time. Memories, each with the
ports of ours and the energy of `gossamer.arch.energy`:

    weight_register  the stage's weight and the shadow behind it, shared by the lanes     <- weight_buffer
    weight_buffer    `weight_rows_per_cycle` rows a cycle to the array                    <- off_chip
    activation_in    the half of the activation buffer that LOAD fills                    <- off_chip
    accumulator      int32, read and written by all lanes and chains in every cycle       -> activation_out
    activation_out   the other half, filled by VECTOR at `vector.lanes` bytes a cycle     -> off_chip
    off_chip         what the AXI ports move in a cycle, at most what the memory does, each way

Two copies of a tile that is not the whole operand are `force_double_buffering` (ours holds two also of a whole input).
Partial sums cannot leave our accumulator; there is no way to forbid it, so that path has one byte a cycle. Not there:
instructions and tokens, latency and bursts of the memory, the fill of each COMPUTE, parameters, the VECTOR engine's
latency, channels padded to words, and lanes that continue in the next row of a tile.
"""

from typing import Any

from gossamer.arch.activation import half_bytes
from gossamer.arch.energy import energy_table
from gossamer.arch.spec import BufferSpec, SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import ConvMapping, ConvShape, LoopOrder

Loop = tuple[str, int]
Levels = dict[str, list[list[Loop]]]
"""Loops in time by operand (W, I, O) and memory, innermost first."""

NO_PATH_BITS = 8
"""Per cycle, on a path that our hardware does not have."""


class NotExpressible(ValueError):
    """A mapping that zigzag's loops, whose sizes multiply to those of the layer, cannot say."""


def accelerator(spec: SparseAccelerator) -> dict[str, Any]:
    """Return the accelerator file of a config."""
    array, buffers = spec.array, spec.buffers
    word_bits = 8 * array.group_size
    off_chip_bits = 8 * off_chip_bytes_per_cycle(spec)
    sums_bits = 32 * array.chains * array.lanes
    windows_bits = word_bits * array.chain_length * array.lanes
    rows_bits = 8 * array.chains * array.weight_rows_per_cycle
    results_bits = 8 * spec.vector.lanes
    lower, dims = half_bytes(spec), ["D1", "D2", "D3"]
    ports = {
        # One access reads the whole words of all stages and lanes, of which each stage takes a byte.
        "activation_in": [
            _port("r", 1, windows_bits, "I1, tl", least=windows_bits),
            _port("w", 1, off_chip_bits, "I1, fh"),
        ],
        "weight_buffer": [_port("r", 1, rows_bits, "I2, tl"), _port("w", 1, off_chip_bits, "I2, fh")],
        "accumulator": [
            _port("r", 1, sums_bits, "O, tl"),
            _port("r", 2, sums_bits, "O, th"),
            _port("w", 1, sums_bits, "O, fl"),
            _port("w", 2, NO_PATH_BITS, "O, fh"),
        ],
        "activation_out": [
            _port("r", 1, off_chip_bits, "O, th"),
            _port("r", 2, NO_PATH_BITS, "O, tl"),
            _port("w", 1, results_bits, "O, fl"),
            _port("w", 2, NO_PATH_BITS, "O, fh"),
        ],
    }
    activation, upper = buffers.activation, buffers.activation.capacity_bytes - lower
    off_chip_pj = energy_table().off_chip_pj(spec.off_chip, off_chip_bits // 8)
    return {
        "name": spec.name.replace("-", "_"),
        "operational_array": {
            "dimensions": dims,
            "sizes": [array.chains, array.chain_length, array.lanes],
            "systolic_dimensions": ["D1", "D2"],
            "unit_energy": mac_pj(spec),
            "unit_area": 1.0,
        },
        "memories": {
            "weight_register": {
                **_memory(["I2"], 2 * 8, [_port("r", 1, 8, "I2, tl"), _port("w", 1, 8, "I2, fh")], ["D3"]),
                "r_cost": 0.0,  # in the energy of a multiply-accumulate
                "w_cost": 0.0,
            },
            "weight_buffer": _buffer(spec, buffers.weight, ["I2"], ports["weight_buffer"]),
            "activation_in": _buffer(spec, activation, ["I1"], ports["activation_in"], lower),
            "accumulator": _buffer(spec, buffers.accumulator, ["O"], ports["accumulator"]),
            "activation_out": _buffer(spec, activation, ["O"], ports["activation_out"], upper),
            "off_chip": {
                **_memory(
                    ["I1", "I2", "O"],
                    8 << 33,
                    [
                        _port("r", 1, off_chip_bits, "I1, tl", "I2, tl", "O, tl", "O, th"),
                        _port("w", 1, off_chip_bits, "I1, fh", "I2, fh", "O, fh", "O, fl"),
                    ],
                    dims,
                ),
                "force_double_buffering": False,
                "r_cost": off_chip_pj,
                "w_cost": off_chip_pj,
            },
        },
    }


def off_chip_bytes_per_cycle(spec: SparseAccelerator) -> int:
    """Return what the AXI ports move in a cycle, at most what all channels of the memory do."""
    return min(spec.axi.row_bytes, round(spec.off_chip.bandwidth_gb_s * 1e3 / spec.clock_mhz))


def mac_pj(spec: SparseAccelerator) -> float:
    """Return the energy of a multiply-accumulate, the selection of its byte and the word handed to the next chain."""
    table = energy_table()
    scale = table.family[spec.device.family].process_scale
    return scale * (table.mac_int8.pj + table.select_byte.pj + spec.array.group_size * table.chain_hop.pj)


def _port(kind: str, number: int, bits: int, *allocation: str, least: int = 8) -> dict[str, Any]:
    return {
        "name": f"{kind}_port_{number}",
        "type": {"r": "read", "w": "write"}[kind],
        "bandwidth_min": least,
        "bandwidth_max": bits,
        "allocation": list(allocation),
    }


def _memory(operands: list[str], bits: int, ports: list[dict[str, Any]], served: list[str]) -> dict[str, Any]:
    return {
        "size": bits, "area": 0.0, "latency": 1, "operands": operands, "ports": ports, "served_dimensions": served,
        "force_double_buffering": True,
    }  # fmt: skip


def _buffer(
    spec: SparseAccelerator, buffer: BufferSpec, operands: list[str], ports: list[dict[str, Any]],
    capacity_bytes: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return an on-chip buffer; costs are those of a whole access of its first read and write port."""
    table = energy_table()
    scale = table.family[spec.device.family].process_scale
    size = buffer.capacity_bytes if capacity_bytes is None else capacity_bytes
    width = {kind: next(port["bandwidth_max"] for port in ports if port["type"] == kind) for kind in ("read", "write")}
    return {
        **_memory(operands, 8 * size, ports, ["D1", "D2", "D3"]),
        "r_cost": scale * table.buffer_read[buffer.memory].pj * width["read"] / 8,
        "w_cost": scale * table.buffer_write[buffer.memory].pj * width["write"] / 8,
    }


def layer(name: str, shape: ConvShape) -> dict[str, Any]:
    """Return a layer of the workload file. Raises NotExpressible unless it is a dense, ungrouped convolution."""
    if shape.index_bits or not shape.shares_input:
        raise NotExpressible("only dense, ungrouped layers have an equivalent")
    (kernel_y, kernel_x), (stride_y, stride_x), (dilation_y, dilation_x) = shape.kernel, shape.stride, shape.dilation
    top, left = shape.pads
    bottom = max(0, (shape.out_rows - 1) * stride_y + (kernel_y - 1) * dilation_y + 1 - shape.rows - top)
    right = max(0, (shape.out_columns - 1) * stride_x + (kernel_x - 1) * dilation_x + 1 - shape.columns - left)
    sizes = {
        "B": shape.batch, "K": shape.out_channels, "OX": shape.out_columns, "OY": shape.out_rows,
        "C": shape.channels, "FX": kernel_x, "FY": kernel_y,
    }  # fmt: skip
    return {
        "id": 0,
        "name": name,
        "operator_type": "Conv",
        "equation": "O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]",
        "dimension_relations": [f"ix={stride_x}*ox+{dilation_x}*fx", f"iy={stride_y}*oy+{dilation_y}*fy"],
        "loop_dims": list(sizes),
        "loop_sizes": list(sizes.values()),
        "operand_precision": {"W": 8, "I": 8, "O": 32, "O_final": 8},
        "operand_source": {"W": 0, "I": 0},
        "pr_loop_dims": ["IX", "IY"],
        "pr_loop_sizes": [shape.columns, shape.rows],
        "padding": [[left, right], [top, bottom]],
    }


def unrolling(shape: ConvShape, spec: SparseAccelerator) -> dict[str, list[Loop]]:
    """Return the loops over the array, by dimension of the array."""
    array = spec.array
    stages = min(array.chain_length, ceil_div(shape.channels, array.group_size))
    reduction = [("C", stages)]
    columns = min(shape.kernel[1], array.chain_length // stages)
    if columns > 1:
        reduction.append(("FX", columns))
    idle = {
        (ceil_div(shape.out_columns, x) * ceil_div(shape.out_rows, y), y): (x, y)
        for x in range(1, array.lanes + 1)
        for y in range(1, array.lanes // x + 1)
    }
    x, y = idle[min(idle)]
    x, y = min(x, shape.out_columns), min(y, shape.out_rows)
    lanes = [("OX", x)] if y == 1 else [("OX", x), ("OY", y)]
    return {"D1": [("K", min(array.chains, shape.out_channels))], "D2": reduction, "D3": lanes}


def mapping_entry(shape: ConvShape, spec: SparseAccelerator, loops: list[Loop] | None = None) -> list[dict[str, Any]]:
    """Return the mapping file of a layer: zigzag orders the loops in time unless `loops`, innermost first, does."""
    spatial = {
        dimension: [f"{name}, {size}" for name, size in unrolled]
        for dimension, unrolled in unrolling(shape, spec).items()
    }
    entry: dict[str, Any] = {"name": "default", "spatial_mapping": spatial}
    if loops is not None:
        entry["temporal_ordering"] = [[name, size] for name, size in loops]
    return [entry]


def levels(mapping: ConvMapping, spec: SparseAccelerator) -> Levels:
    """Return the loops of a mapping in time by operand and memory, innermost first, without those of one iteration.

    One COMPUTE: positions of the tile, steps and words, kernel columns, kernel rows. Around it blocks of the group,
    splits, then tiles and groups in the mapping's order. Raises NotExpressible, with what does not divide.
    """
    shape = mapping.shape
    across = {name: size for unrolled in unrolling(shape, spec).values() for name, size in unrolled}
    inner, outer = {}, {}
    for name, whole, part, what in (
        ("OX", shape.out_columns, mapping.tile_columns, "columns in tiles of"),
        ("OY", shape.out_rows, mapping.tile_rows, "rows in tiles of"),
        ("C", shape.block_words, mapping.split_words, "words in splits of"),
        ("FX", shape.kernel[1], mapping.split_columns, "kernel columns in splits of"),
        ("FY", shape.kernel[0], mapping.split_rows, "kernel rows in splits of"),
        ("K", len(shape.blocks), mapping.group_blocks, "blocks in groups of"),
    ):
        step = 1 if name == "K" else across.get(name, 1)
        inner[name], outer[name] = ceil_div(part, step), ceil_div(whole, part)
        if inner[name] * outer[name] != ceil_div(whole, step):
            raise NotExpressible(f"{whole} {what} {part}, {step} at a time")
    inner["C"] *= shape.steps
    if inner["C"] * outer["C"] != ceil_div(shape.channels, across["C"]):
        raise NotExpressible(f"{shape.channels} channels padded to words")
    positions, reduction = [(name, inner[name]) for name in ("OX", "OY")], [(n, inner[n]) for n in ("C", "FX", "FY")]
    group, splits = [("K", inner["K"])], [(name, outer[name]) for name in ("FX", "FY", "C")]
    tiles, groups = [("OX", outer["OX"]), ("OY", outer["OY"]), ("B", shape.batch)], [("K", outer["K"])]
    compute = positions + reduction
    if mapping.order is LoopOrder.WEIGHTS_OUTER:
        above, weights = tiles + groups, [positions, reduction + group + splits + tiles, groups]
    else:
        above, weights = groups + tiles, [positions, reduction, group + splits + groups + tiles]
    # The accumulator holds one block, or all of a group while its reduction is split.
    sums = [compute, group, above] if mapping.split_count == 1 else [compute + group + splits, [], above]
    found = {"O": sums, "W": weights, "I": [compute, group + splits + above]}
    return {
        operand: [[(name, size) for name, size in loops if size > 1] for loops in memories]
        for operand, memories in found.items()
    }


def ordering(mapping: ConvMapping, spec: SparseAccelerator) -> list[Loop]:
    """Return the loops of a mapping in time, innermost first. Raises NotExpressible, with what does not divide."""
    return [loop for memory in levels(mapping, spec)["W"] for loop in memory]
