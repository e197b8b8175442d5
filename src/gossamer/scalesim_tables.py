"""Read SCALE-Sim topology tables (convolution and M,N,K forms) as a Network of independent layers.

Format and output shape as SCALE-Sim 3.0.0 reads them (topology_utils.py): a header line, one layer a line, a comma at
the end of each; convolutions are not padded, one stride serves rows and columns, an optional last column `N:M` prunes.
Rows named DP... are depthwise there; they are read as `Channels` groups.
"""

from dataclasses import replace
from pathlib import Path

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Layer, Network, Tensor
from gossamer.dataflow.sparsity import NmPattern
from gossamer.one_liners import convolution_network

_CONV_COLUMNS = "name, input rows, input columns, kernel rows, kernel columns, channels, filters, stride[, N:M],"
_GEMM_COLUMNS = "name, M, N, K[, N:M],"


def load_topology(path: Path) -> Network:
    """Return the table as a Network; weights are seeded noise, pruned where the table says so.

    Raises ModelError naming file and line for anything malformed.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read as a layer table: {error}") from error
    tensors: dict[str, Tensor] = {}
    layers: list[Layer] = []
    names: set[str] = set()
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip(" \t,"):
            continue
        where = f"{path}:{number}"
        cells = [cell.strip() for cell in line.strip().split(",")]
        if not cells[-1]:
            cells.pop()
        single = _parse_row(where, cells)
        name = cells[0]
        while name in names:
            name += "'"
        names.add(name)
        layer = _pruned(where, single, cells)
        tensors |= {
            f"{name}.{role}": Tensor(name=f"{name}.{role}", shape=single.tensors[role].shape)
            for role in ("input", "output")
        }
        layers.append(_renamed(layer, name))
    if not layers:
        raise ModelError(f"{path}: no layers; expected a header line, then lines of {_CONV_COLUMNS} or {_GEMM_COLUMNS}")
    return Network(
        name=path.stem,
        inputs=tuple(layer.inputs[0] for layer in layers),
        outputs=tuple(layer.output for layer in layers),
        tensors=tensors,
        layers=tuple(layers),
        notes=("layers are independent and weights random: a shape table, not a network",),
    )


def _parse_row(where: str, cells: list[str]) -> Network:
    has_pattern = ":" in cells[-1]
    numbers = cells[1:-1] if has_pattern else cells[1:]
    if len(numbers) not in (3, 7) or not all(cell.isdigit() and int(cell) > 0 for cell in numbers):
        raise ModelError(
            f"{where}: expected {_CONV_COLUMNS} or {_GEMM_COLUMNS} with positive integers, found {','.join(cells)!r}"
        )
    values = [int(cell) for cell in numbers]
    if len(values) == 3:
        positions, channels, reduction = values
        return convolution_network(where, (1, positions, reduction), (1, 1, channels), op="gemm")
    rows, columns, kernel_rows, kernel_columns, depth, channels, stride = values
    # A last partial stride still makes an output there: ceil((rows - kernel + stride) / stride).
    rows, columns = (
        kernel + -(-(size - kernel) // stride) * stride
        for size, kernel in ((rows, kernel_rows), (columns, kernel_columns))
    )
    depthwise = "DP" in cells[0]
    return convolution_network(
        where,
        (rows, columns, depth),
        (kernel_rows, kernel_columns, depth if depthwise else channels),
        stride=(stride, stride),
        groups=depth if depthwise else 1,
    )


def _pruned(where: str, single: Network, cells: list[str]) -> Layer:
    from gossamer.mapper.pruning.prune import prune

    if ":" not in cells[-1] or cells[-1] == "1:1":
        return single.layers[0]
    try:
        pattern = NmPattern.parse(cells[-1])
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    return prune(single, "dense", {single.layers[0].name: str(pattern)}).layers[0]


def _renamed(layer: Layer, name: str) -> Layer:
    return replace(layer, name=name, inputs=(f"{name}.input",), output=f"{name}.output")
