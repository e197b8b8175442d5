"""Explain one mapping: its loops from outermost to innermost, what stays where, and how it was found."""

from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import SLOTS, ConvMapping, LoopOrder, Objective, reduction_runs
from gossamer.explanation import Loop, MappedPart, RunnerUp, Searched
from gossamer.mapper.emit import Mapped
from gossamer.mapper.objective import UNITS
from gossamer.mapper.shares import WHOLE
from gossamer.mapper.tiling import search_again, search_two


def explain_part(
    part: Mapped, count: int, spec: SparseAccelerator, objective: Objective, *, streamed: bool, columns: int
) -> MappedPart:
    """Return what there is to say about a mapping that `count` parts of a layer have.

    `streamed`: the weights are a tensor, which the search takes to be constants. `columns`: of output, in one pixel.
    """
    mapping = part.mapping
    objective = part.searched_for(objective)
    shape, given = mapping.shape, (spec, part.reserved_bytes, part.share, objective)
    search, other = search_again(shape, *given), search_two(shape, *given).runner_up
    return MappedPart(
        count=count, order=str(mapping.order), loops=_loops(mapping, spec), cycles=search.cycles,
        reuse=_reuse(mapping, columns),
        assumed=", ".join(
            text for text, given in (
                ("the second operand taken for constant weights", streamed),
                ("with what waits for its first results", part.share != WHOLE),
            ) if given
        ),
        search=Searched(
            objective=str(objective), unit=UNITS[objective], cost=search.cost, least=search.least,
            proved=search.proved, tilings=search.tilings, illegal=search.illegal, costed=search.costed,
        ),
        runner_up=other and RunnerUp(
            differs=_differs(mapping, other[0]), cost=other[1].value, cycles=other[1].cycles
        ),
    )  # fmt: skip


def _loops(mapping: ConvMapping, spec: SparseAccelerator) -> tuple[Loop, ...]:
    """Return the loops, outermost first; a loop that is not cut runs once."""
    shape, array, group_size = mapping.shape, spec.array, spec.array.group_size
    widest = max(block.channels for block in shape.blocks)
    group_words = max(mapping.group_words(group, group_size) for group in mapping.groups())
    groups = [Loop(axis="group of channels", count=mapping.group_count, on_array=False,
                   size=f"{_count(mapping.group_blocks, 'block')}, {group_words * group_size} channels")]  # fmt: skip
    tiles = [Loop(axis=axis, count=count, size=f"{size} of {length}", on_array=False) for axis, count, size, length in (
        ("image", shape.batch, 1, shape.batch),
        ("tile of rows", mapping.row_tiles, mapping.tile_rows, shape.out_rows),
        (f"tile of {'positions' if shape.out_rows == 1 else 'columns'}", mapping.column_tiles, mapping.tile_columns,
         shape.out_columns),
    )]  # fmt: skip
    rows, columns, words = mapping.split_rows, mapping.split_columns, mapping.split_words
    splits = [
        Loop(axis=axis, count=ceil_div(length, size), size=f"{size} of {length}{unit}", on_array=False)
        for axis, size, length, unit in (
            ("part of input", words, shape.block_words, f" words of {group_size} channels"),
            ("part of kernel rows", rows, shape.kernel[0], ""),
            ("part of kernel columns", columns, shape.kernel[1], ""),
        )
    ]
    n_ry, n_rx, run_words = reduction_runs(rows, columns, shape.columns_apart(words), words)
    positions = mapping.tile_rows * mapping.tile_columns
    stages, lanes = min(array.chain_length, run_words), min(array.lanes, positions)
    inner = (
        ("run", n_ry * n_rx, f"{_count(run_words, 'word')} in a row"),
        ("fold", ceil_div(run_words, array.chain_length), f"{stages} of {array.chain_length} stages"),
        ("step", shape.steps, "a weight per stage" + (f", {shape.index_bits}-bit index" if shape.index_bits else "")),
        ("position", ceil_div(positions, array.lanes), f"{lanes} of {array.lanes} lanes"),
    )
    outer = [*groups, *tiles] if mapping.order is LoopOrder.WEIGHTS_OUTER else [*tiles, *groups]
    block = Loop(axis="block", count=mapping.group_blocks, on_array=False,
                 size=f"{widest} channels on {array.chains} chains")  # fmt: skip
    on_array = (Loop(axis=axis, count=count, size=size, on_array=True) for axis, count, size in inner)
    return *outer, *splits, block, *on_array


def _count(number: int, what: str) -> str:
    """Return a number of things."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _reuse(mapping: ConvMapping, columns: int) -> dict[str, str]:
    """Return what stays where, and how often it is loaded, by operand."""
    shape, tiles, splits = mapping.shape, mapping.tile_count, mapping.split_count
    parts = sum(len(mapping.splits(block)) for block in range(len(shape.blocks)))
    positions = mapping.tile_rows * mapping.tile_columns
    resident = mapping.order is LoopOrder.WEIGHTS_OUTER
    if resident:
        weights = f"loaded once; a group's stay for its {_count(tiles, 'tile')}"
    elif parts <= SLOTS:
        weights = f"loaded once; all stay for {_count(tiles, 'tile')}"
    else:
        weights = f"loaded {_count(tiles, 'time')}, with every tile; each load serves {positions} positions"
    steps = tiles * splits if resident else splits
    if shape.source_on_chip:
        inputs = "all of it is on chip, where the layer before left it"
    elif not shape.shares_input:
        inputs = "every block loads the channels it reads, with every tile"
    elif mapping.group_count > 1 and steps > SLOTS:
        inputs = f"a tile serves {_count(mapping.group_blocks, 'block')}; loaded {mapping.group_count} times, by group"
    else:
        inputs = f"a tile is loaded once and serves {_count(len(shape.blocks), 'block')}"
    sums = "stay in the accumulator" + (f" over {splits} parts of the reduction" if splits > 1 else "")
    parameters = "loaded once, all stay" if mapping.resident_parameters else "loaded by block, two at a time"
    reuse = {
        "weights": weights, "input": inputs, "sums": f"{sums}; never off chip", "parameters": parameters,
        "output": "all of it stays on chip; never off chip" if shape.target_on_chip else
        f"stored once, by tiles of {_count(mapping.group_blocks, 'block')}",
    }  # fmt: skip
    if columns > 1:
        reuse["pixels"] = f"{columns} columns are one pixel: chains that channels leave idle compute neighbours"
    if shape.operand_on_chip:
        reuse["operand"] = "all of the second operand is on chip, where an earlier layer left it"
    elif shape.joined_bytes:
        reuse["operand"] = "the second operand's tile is loaded once, and joined on chip"
    return reuse


def _differs(mapping: ConvMapping, other: ConvMapping) -> str:
    """Return how another mapping of a shape differs."""
    fields = {
        "order": (str(mapping.order), str(other.order)),
        "tile": tuple(f"{each.tile_rows}x{each.tile_columns}" for each in (mapping, other)),
        "blocks per group": (mapping.group_blocks, other.group_blocks),
        "taps": tuple(f"{each.split_rows}x{each.split_columns}" for each in (mapping, other)),
        "words": (mapping.split_words, other.split_words),
    }
    return ", ".join(f"{name} {theirs} instead of {ours}" for name, (ours, theirs) in fields.items() if ours != theirs)
