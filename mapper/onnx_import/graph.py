"""Hold an ONNX graph as plain Python, checked: what the file reader hands to the importer's passes.

An attribute or constant is only reached through accessors that check its type and name the node when it is wrong.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Step

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | NDArray[Any] | None
"""Decoded value; None for kinds the importer has no use for (subgraphs, sparse tensors, types)."""


@dataclass(slots=True, kw_only=True)
class Node:
    """One operator call. `name` is unique in the graph; an omitted optional input is the empty string."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute] = field(default_factory=dict)
    domain: str = ""
    source: str | None = None
    """Set by fusion: the node computes `steps` of this one tensor, whatever its inputs say."""
    steps: tuple[Step, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Tensors the node really needs."""
        return tuple(filter(None, self.inputs)) if self.source is None else (self.source,)

    def integer(self, key: str, default: int) -> int:
        """Return an integer attribute. Raises ModelError when it has another type."""
        value = self.attributes.get(key, default)
        if not isinstance(value, int):
            raise self.error(f"attribute {key} must be an integer, not {_kind(value)}")
        return value

    def real(self, key: str, default: float) -> float:
        """Return a finite float attribute. Raises ModelError otherwise."""
        value = self.attributes.get(key, default)
        if not isinstance(value, float) or not np.isfinite(value):
            raise self.error(f"attribute {key} must be a finite float, not {_kind(value)}")
        return value

    def text(self, key: str, default: str) -> str:
        """Return a string attribute. Raises ModelError when it has another type."""
        value = self.attributes.get(key, default)
        if not isinstance(value, str):
            raise self.error(f"attribute {key} must be a string, not {_kind(value)}")
        return value

    def integers(self, key: str) -> tuple[int, ...] | None:
        """Return a list of integers, or None when the attribute is absent. Raises ModelError for another type."""
        if key not in self.attributes:
            return None
        value = self.attributes[key]
        if not isinstance(value, tuple) or not all(isinstance(entry, int) for entry in value):
            raise self.error(f"attribute {key} must be a list of integers, not {_kind(value)}")
        return tuple(int(entry) for entry in value)

    def error(self, problem: str) -> ModelError:
        """Return a ModelError that names this node."""
        return ModelError(f"node {self.name} ({self.op}): {problem}")


def _kind(value: Attribute) -> str:
    match value:
        case int() | float():
            return f"{type(value).__name__} {value!r}"
        case str():
            return f"string {value!r}"
        case tuple():
            return f"list {list(value[:8])}"
        case np.ndarray():
            return f"tensor of shape {value.shape}"
    return "another kind of value"


@dataclass(slots=True, kw_only=True)
class Graph:
    """Nodes in topological order, only those the outputs need; constants by name.

    `constants` holds decoded arrays (float32, int64 or bool, read-only); `pending` decodes an initializer on first use.
    """

    name: str
    opset: int
    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    nodes: list[Node]
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    pending: dict[str, Callable[[], NDArray[Any]]] = field(default_factory=dict)
    element_types: dict[str, int] = field(default_factory=dict)
    """ONNX's element type of initializers, Constant nodes and copies: of decoded integers only the values are left."""
    notes: list[str] = field(default_factory=list)

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the value of a constant tensor, or None when the tensor is not constant."""
        if name in self.pending:
            self.constants[name] = self.pending.pop(name)()
        return self.constants.get(name)

    def scalar(self, name: str) -> float | None:
        """Return the value of a constant of one element, or None for anything else."""
        value = self.constant(name)
        return float(value.reshape(())) if value is not None and value.size == 1 else None

    def uses(self) -> dict[str, int]:
        """Return how often each tensor is read, graph outputs included."""
        counts: dict[str, int] = {}
        for name in self._reads():
            counts[name] = counts.get(name, 0) + 1
        return counts

    def _reads(self) -> Iterator[str]:
        for node in self.nodes:
            yield from node.reads
        yield from self.outputs


def order_nodes(nodes: list[Node], known: set[str], outputs: tuple[str, ...]) -> list[Node]:
    """Return the nodes that `outputs` need in topological order.

    known: names of graph inputs and initializers. Raises ModelError for a tensor produced twice, a tensor nobody
    produces, and a cycle.
    """
    producer: dict[str, Node] = {}
    for node in nodes:
        for name in filter(None, node.outputs):
            if name in producer:
                raise node.error(f"output {name} is also produced by node {producer[name].name}")
            if name in known:
                raise node.error(f"output {name} is also a graph input or initializer")
            producer[name] = node
    needed = needed_nodes(nodes, producer, known, outputs)
    waiting = {node.name: {producer[name].name for name in node.reads if name in producer} for node in needed}
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(needed):
        for source in waiting[node.name]:
            readers.setdefault(source, []).append(index)
    ready = [index for index, node in enumerate(needed) if not waiting[node.name]]
    heapify(ready)
    ordered: list[Node] = []
    while ready:  # smallest index first: a file that is already sorted keeps its order
        node = needed[heappop(ready)]
        ordered.append(node)
        for index in readers.get(node.name, ()):
            waiting[needed[index].name].discard(node.name)
            if not waiting[needed[index].name]:
                heappush(ready, index)
    if len(ordered) < len(needed):
        stuck = next(node for node in needed if waiting[node.name])
        raise stuck.error(f"the graph has a cycle: it waits for {', '.join(sorted(waiting[stuck.name])[:3])}")
    return ordered


def needed_nodes(nodes: list[Node], producer: dict[str, Node], known: set[str], outputs: tuple[str, ...]) -> list[Node]:
    """Return the nodes that `outputs` need, in file order. Raises ModelError for a tensor that nobody produces."""
    for output in outputs:
        if output not in producer and output not in known:
            raise ModelError(f"graph output {output} is produced by no node")
    found: set[str] = set()
    stack = [producer[output] for output in outputs if output in producer]
    while stack:
        node = stack.pop()
        if node.name in found:
            continue
        found.add(node.name)
        for name in node.reads:
            if name in producer:
                stack.append(producer[name])
            elif name not in known:
                raise node.error(f"input {name} is produced by no node and is no graph input or initializer")
    return [node for node in nodes if node.name in found]
