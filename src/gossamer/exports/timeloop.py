"""Write a sparse-chain config as an architecture file of Timeloop 0.4, for its dense convolutions.

The hierarchy, outermost first, and what Timeloop may do at each level. Dimensions are those of its CNN layer: M output
channels, C input channels, R and S kernel columns and rows, P and Q output columns and rows, N batch.

    off_chip                          all of weights, inputs and results
    weight_buffer                     weights, two copies of each tile
    activation_in, activation_out     the halves of the activation buffer: inputs, results
    accumulator                       partial sums of int32, two copies of each tile
    chains    spatial, one M each     a chain of DSPs is an output channel
    stages    spatial, over C and R   a stage holds one weight; the words of a kernel column, then further columns
    weight_register                   one weight of a stage and the shadow behind it, shared by the lanes
    lanes     spatial, over P and Q   positions that share the weights
    mac                               one int8 multiply-accumulate a cycle

Bandwidths are words a cycle, those of our ports. docs/ecosystem.md says what has no place here.
"""

from typing import Any

import yaml

from gossamer.arch.activation import half_bytes
from gossamer.arch.spec import SparseAccelerator
from gossamer.exports.zigzag import off_chip_bytes_per_cycle

DIMENSIONS = ("C", "M", "R", "S", "N", "P", "Q")
DATA_SPACES = ("Weights", "Inputs", "Outputs")


class Component(dict[str, Any]):
    """A node that stores or computes."""


class Container(dict[str, Any]):
    """A node that holds all behind it, as often as its `spatial` says."""


class _Dumper(yaml.SafeDumper):
    """Knows the two kinds of node, which Timeloop marks by tags."""


for _kind in (Component, Container):
    _Dumper.add_representer(
        _kind, lambda dumper, node: dumper.represent_mapping(f"!{type(node).__name__}", node, flow_style=False)
    )


def architecture(spec: SparseAccelerator) -> dict[str, Any]:
    """Return the architecture file of a config of one core."""
    array, buffers = spec.array, spec.buffers
    lower, upper = half_bytes(spec), buffers.activation.capacity_bytes - half_bytes(spec)
    row = off_chip_bytes_per_cycle(spec)
    weights, sums = array.chains, array.chains * array.lanes
    windows = array.group_size * array.chain_length * array.lanes
    held = buffers.weight.capacity_bytes
    nodes = [
        Container(name="system"),
        Component(**{"name": "off_chip", "class": "DRAM", "attributes": _attributes(row, None, row, row)}),
        Container(name="core"),
        _buffer("weight_buffer", "Weights", held, weights, weights * array.weight_rows_per_cycle, row),
        _buffer("activation_in", "Inputs", lower, array.group_size, windows, row),
        _buffer("activation_out", "Outputs", upper, array.group_size, row, spec.vector.lanes),
        _buffer("accumulator", "Outputs", buffers.accumulator.capacity_bytes, weights, sums, sums, word_bytes=4),
        _copies("chains", array.chains, "M"),
        _copies("stages", array.chain_length, "C", "R"),
        _kept("weight_register", "regfile", "Weights", _attributes(1, 2, 1, 1)),
        _copies("lanes", array.lanes, "P", "Q"),
        Component(**{"name": "mac", "class": "intmac", "attributes": {"datawidth": 8}}),
    ]
    return {"architecture": {"version": "0.4", "nodes": nodes}}


def architecture_yaml(spec: SparseAccelerator) -> str:
    """Return the text of the architecture file."""
    data = architecture(spec)
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120)


def _attributes(
    row_words: int, rows: int | None, read_words: int, write_words: int, word_bytes: int = 1
) -> dict[str, int]:
    depth = {} if rows is None else {"depth": rows}
    return {
        **depth, "width": 8 * word_bytes * row_words, "block_size": row_words, "datawidth": 8 * word_bytes,
        "read_bandwidth": read_words, "write_bandwidth": write_words,
    }  # fmt: skip


def _buffer(
    name: str, kept: str, capacity_bytes: int, row_words: int, read_words: int, write_words: int, word_bytes: int = 1
) -> Component:
    """Return an on-chip buffer of rows that are read and written whole."""
    rows = capacity_bytes // (row_words * word_bytes)
    return _kept(name, "SRAM", kept, _attributes(row_words, rows, read_words, write_words, word_bytes))


def _kept(name: str, kind: str, kept: str, attributes: dict[str, int]) -> Component:
    """Return a memory for one operand that holds two copies of its tile: one fills while the other is used."""
    return Component(**{
        "name": name, "class": kind, "attributes": {**attributes, "multiple_buffering": 2},
        "constraints": {
            "dataspace": {"keep": [kept], "bypass": [space for space in DATA_SPACES if space != kept]}
        },
    })  # fmt: skip


def _copies(name: str, count: int, *dimensions: str) -> Container:
    """Return a dimension of the array, over which only these dimensions of a layer may be unrolled."""
    one = [f"{dimension}=1" for dimension in DIMENSIONS if dimension not in dimensions]
    return Container(
        name=name, spatial={"meshX": count}, constraints={"spatial": {"permutation": list(dimensions), "factors": one}}
    )
