"""Read an ONNX file into a Graph and check everything that is read; onnx's own checker lets corrupted files pass."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError
from gossamer.mapper.onnx_import.graph import Attribute, Graph, Node, order_nodes

MIN_OPSET, MAX_OPSET = 7, 25
MAX_ELEMENTS = 2**31 - 1
MAX_RANK = 8

_FLOAT_TYPES: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.FLOAT: np.dtype("<f4"),
    onnx.TensorProto.DOUBLE: np.dtype("<f8"),
    onnx.TensorProto.FLOAT16: np.dtype("<f2"),
}
_INTEGER_TYPES: dict[int, np.dtype[Any]] = {
    onnx.TensorProto.INT64: np.dtype("<i8"),
    onnx.TensorProto.INT32: np.dtype("<i4"),
    onnx.TensorProto.INT16: np.dtype("<i2"),
    onnx.TensorProto.UINT16: np.dtype("<u2"),
    onnx.TensorProto.INT8: np.dtype("i1"),
    onnx.TensorProto.UINT8: np.dtype("u1"),
    onnx.TensorProto.BOOL: np.dtype("?"),
}
_PLAIN_DOMAINS = {
    **dict.fromkeys(("Quant", "IntQuant"), ("qonnx.custom_op.general", "onnx.brevitas")),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), ("com.microsoft",)),
}
"""Operators of other operator sets that are read as if they were ONNX's own."""
_TYPED_FIELDS = {
    onnx.TensorProto.FLOAT: "float_data",
    onnx.TensorProto.DOUBLE: "double_data",
    onnx.TensorProto.INT64: "int64_data",
}


def read_graph(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """Return the checked graph of an ONNX file with its inputs bound to shapes.

    shapes: by input name; must cover every input with a dynamic axis, and may replace fixed ones. Raises ModelError
    naming file and node for anything that is not a sound model.
    """
    try:
        model = _parse(path)
        return _graph(model, path, shapes)
    except ModelError as error:
        text = str(error)
        raise ModelError(text if text.startswith(str(path)) else f"{path}: {text}") from error


def _parse(path: Path) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}") from error
    if not data:
        raise ModelError("the file is empty; expected an ONNX model")
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # protobuf raises its own family, UnicodeDecodeError, RecursionError
        raise ModelError("not an ONNX model, or truncated: the protobuf message cannot be parsed") from error
    if not model.HasField("graph") or not model.graph.node:
        raise ModelError("not an ONNX model, or truncated: it holds no graph with nodes")
    return model


def _graph(model: Any, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    proto = model.graph
    pending: dict[str, Callable[[], NDArray[Any]]] = {}
    for tensor in proto.initializer:
        if not tensor.name or tensor.name in pending:
            raise ModelError(f"initializer {tensor.name or '(unnamed)'} is given twice or has no name")
        pending[tensor.name] = partial(decode_tensor, tensor, path.parent, f"initializer {tensor.name}")
    if proto.sparse_initializer:
        raise ModelError("sparse initializers are not supported: store the weights dense")
    inputs = [value for value in proto.input if value.name not in pending]
    names = [value.name for value in inputs]
    if len(set(names)) != len(names):
        raise ModelError(f"a graph input is given twice: {', '.join(names)}")
    outputs = tuple(value.name for value in proto.output)
    if not outputs or len(set(outputs)) != len(outputs) or not all(outputs):
        raise ModelError(f"expected one or more graph outputs with distinct names, not {list(outputs)}")
    nodes = order_nodes(_nodes(proto, path.parent), pending.keys() | set(names), outputs)
    read = {name for node in nodes for name in node.inputs} | set(outputs)
    return Graph(
        name=path.stem,
        opset=_opset(model),
        inputs=_bind([value for value in inputs if value.name in read or value.name in shapes], shapes),
        outputs=outputs,
        nodes=nodes,
        pending=pending,
        element_types=_element_types(proto),
    )


def _element_types(proto: Any) -> dict[str, int]:
    types = {tensor.name: int(tensor.data_type) for tensor in proto.initializer}
    for entry in proto.node:
        values = [given.t.data_type for given in entry.attribute if given.name == "value"]
        if entry.op_type == "Constant" and values:
            types |= dict.fromkeys(entry.output, int(values[0]))
        elif entry.op_type == "Identity" and entry.input and entry.input[0] in types:
            types |= dict.fromkeys(entry.output, types[entry.input[0]])
    return types


def _opset(model: Any) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not MIN_OPSET <= versions[0] <= MAX_OPSET:
        found = ", ".join(map(str, versions)) or "none"
        raise ModelError(
            f"ONNX operator set must be {MIN_OPSET} to {MAX_OPSET}, not {found}; "
            "convert the model with onnx.version_converter"
        )
    return int(versions[0])


def _nodes(proto: Any, folder: Path) -> list[Node]:
    nodes: list[Node] = []
    taken: set[str] = set()
    for index, entry in enumerate(proto.node):
        outputs = tuple(entry.output)
        base = entry.name or next(filter(None, outputs), f"node {index}")
        name, copies = base, 1
        while name in taken:
            copies += 1
            name = f"{base}_{copies}"
        taken.add(name)
        node = Node(
            name=name,
            op=entry.op_type,
            inputs=tuple(entry.input),
            outputs=outputs,
            domain="" if entry.domain in ("ai.onnx", *_PLAIN_DOMAINS.get(entry.op_type, ())) else entry.domain,
        )
        if not any(outputs):
            raise node.error("a node must have an output")
        node.attributes = {attribute.name: _attribute(attribute, node, folder) for attribute in entry.attribute}
        if len(node.attributes) != len(entry.attribute):
            raise node.error("an attribute is given twice")
        nodes.append(node)
    return nodes


def _attribute(proto: Any, node: Node, folder: Path) -> Attribute:
    kinds = onnx.AttributeProto
    try:
        match proto.type:
            case kinds.INT:
                return int(proto.i)
            case kinds.FLOAT:
                return float(proto.f)
            case kinds.STRING:
                return bytes(proto.s).decode()
            case kinds.INTS:
                return tuple(proto.ints)
            case kinds.FLOATS:
                return tuple(proto.floats)
            case kinds.STRINGS:
                return tuple(bytes(entry).decode() for entry in proto.strings)
            case kinds.TENSOR:
                return decode_tensor(proto.t, folder, f"node {node.name} ({node.op}), attribute {proto.name}")
    except UnicodeDecodeError as error:
        raise node.error(f"attribute {proto.name} is not valid text") from error
    return None


def decode_tensor(proto: Any, folder: Path, where: str) -> NDArray[Any]:
    """Return a tensor as read-only float32, int64 or bool. Raises ModelError naming `where` for anything unsound."""
    shape = tuple(proto.dims)
    elements = math.prod(shape)
    if len(shape) > MAX_RANK or any(size < 0 for size in shape) or elements > MAX_ELEMENTS:
        raise ModelError(f"{where}: shape {list(shape)[: MAX_RANK + 1]} is not that of a tensor")
    dtype = _FLOAT_TYPES.get(proto.data_type) or _INTEGER_TYPES.get(proto.data_type)
    if dtype is None:
        found = onnx.TensorProto.DataType.Name(proto.data_type) if 0 <= proto.data_type <= 23 else proto.data_type
        raise ModelError(f"{where}: element type must be float, double, float16, integer or bool, not {found}")
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        array = np.frombuffer(_external(proto, folder, where, elements * dtype.itemsize), dtype)
    elif proto.HasField("raw_data"):
        if len(proto.raw_data) != elements * dtype.itemsize:
            raise ModelError(
                f"{where}: shape {list(shape)} needs {elements * dtype.itemsize} bytes, found {len(proto.raw_data)}"
            )
        array = np.frombuffer(proto.raw_data, dtype)
    else:
        array = _typed(proto, dtype, elements, where)
    array = array.reshape(shape)
    if proto.data_type in _FLOAT_TYPES:
        array = array.astype(np.float32, copy=False)
        _check_finite(array, where)
    elif proto.data_type != onnx.TensorProto.BOOL:
        array = array.astype(np.int64, copy=False)
    array.flags.writeable = False
    return array


def _typed(proto: Any, dtype: np.dtype[Any], elements: int, where: str) -> NDArray[Any]:
    values = getattr(proto, _TYPED_FIELDS.get(proto.data_type, "int32_data"))
    if len(values) != elements:
        raise ModelError(f"{where}: shape {list(proto.dims)} needs {elements} values, found {len(values)}")
    if proto.data_type == onnx.TensorProto.FLOAT16:
        return np.fromiter((value & 0xFFFF for value in values), np.uint16, elements).view(dtype)
    return np.array(values, dtype=np.int64 if dtype.kind != "f" else dtype).astype(dtype)


def _external(proto: Any, folder: Path, where: str, expected: int) -> bytes:
    entries = {entry.key: entry.value for entry in proto.external_data}
    location = entries.get("location", "")
    file = folder / location
    if not location or not file.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{where}: external data must lie in the model's folder, not at {location or '(nowhere)'}")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", expected))
    except ValueError as error:
        raise ModelError(f"{where}: external data has no valid offset and length") from error
    if length != expected or offset < 0:
        raise ModelError(f"{where}: the tensor needs {expected} bytes, its external data gives {length} from {offset}")
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            data: bytes = stream.read(length)
    except (OSError, ValueError) as error:
        raise ModelError(f"{where}: external data file {file} cannot be read; it belongs next to the model") from error
    if len(data) != length:
        raise ModelError(f"{where}: external data file {file} is truncated: {len(data)} of {length} bytes")
    return data


def _check_finite(array: NDArray[np.float32], where: str) -> None:
    """Refuse NaN and infinite weights; a single value may be infinite (the limit of a Clip)."""
    with np.errstate(over="ignore", invalid="ignore"):
        finite = bool(np.isfinite(array.sum()))  # one pass; exact only when it says finite
    if not finite:
        bad = np.flatnonzero(np.isnan(array) if array.size == 1 else ~np.isfinite(array))
        if bad.size:
            index = list(map(int, np.unravel_index(int(bad[0]), array.shape)))
            raise ModelError(f"{where}: {bad.size} of {array.size} values are NaN or infinite, the first at {index}")


def _bind(inputs: list[Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the inputs' shapes with every axis a positive integer."""
    declared = {value.name: _declared(value) for value in inputs}
    for name, shape in shapes.items():
        if name not in declared:
            raise ModelError(f"--shape names input {name}, which is not there; inputs: {_listed(declared)}")
        if len(shape) != len(declared[name]):
            raise ModelError(
                f"--shape {name}={_spelled(shape)} has {len(shape)} axes, the model's has {len(declared[name])}: "
                f"{_listed({name: declared[name]})}"
            )
    bound = {name: tuple(shapes.get(name, shape)) for name, shape in declared.items()}
    for name, axes in bound.items():
        if any(isinstance(axis, int) and axis <= 0 for axis in axes):
            raise ModelError(
                f"input {name} has an axis without elements: {_spelled(axes)}; every axis must be at least 1"
            )
    dynamic = {name: axes for name, axes in bound.items() if any(isinstance(axis, str) for axis in axes)}
    if dynamic:
        example = " ".join(
            f"--shape {name}={_spelled(tuple(map(_example, axes, (1, *[48] * (len(axes) - 2), 192))))}"
            for name, axes in dynamic.items()
        )
        raise ModelError(f"dynamic axes must be bound: {_listed(dynamic)}. Give every axis a size, such as {example}")
    result = {name: tuple(int(axis) for axis in axes) for name, axes in bound.items()}
    for name, shape in result.items():
        if math.prod(shape) > MAX_ELEMENTS:
            raise ModelError(f"input {name} has more than {MAX_ELEMENTS} elements: {_spelled(shape)}")
    return result


def _declared(value: Any) -> tuple[int | str, ...]:
    kind = value.type.tensor_type
    if kind.elem_type not in _FLOAT_TYPES:
        raise ModelError(f"input {value.name} must be a tensor of floats, not of element type {kind.elem_type}")
    if not kind.HasField("shape") or len(kind.shape.dim) > MAX_RANK:
        raise ModelError(f"input {value.name} must have 0 to {MAX_RANK} axes, and the model does not say which")
    return tuple(_axis(axis) for axis in kind.shape.dim)


def _axis(axis: Any) -> int | str:
    if axis.HasField("dim_value") and axis.dim_value >= 0:
        return int(axis.dim_value)
    return axis.dim_param or "?"


def _example(axis: int | str, size: int) -> int:
    return axis if isinstance(axis, int) else size


def _spelled(axes: tuple[int | str, ...]) -> str:
    return "x".join(map(str, axes)) or "scalar"


def _listed(declared: Mapping[str, tuple[int | str, ...]]) -> str:
    return ", ".join(f"{name} [{', '.join(map(str, axes))}]" for name, axes in declared.items())
