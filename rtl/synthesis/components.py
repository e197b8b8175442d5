"""Name the components of a core: the modules they begin at, and the parts of the estimate that speak of them."""

COMPONENTS = {
    "gossamer_core": "wires", "control": "control", "dma": "dma", "compute_engine": "compute control",
    "sparse_array": "array", "accumulator": "accumulator", "vector_engine": "vector engine",
    "activation_buffer": "activation buffer", "weight_buffer": "weight buffer", "index_buffer": "index buffer",
    "parameter_buffer": "parameter buffer",
}  # fmt: skip
"""Component by the module it begins at."""

INSTANCES = {
    "control": "control", "dma": "dma", "compute": "compute control", "compute.array": "array",
    "compute.accumulator": "accumulator", "vector": "vector engine", "activations": "activation buffer",
    "weights": "weight buffer", "indices": "index buffer", "parameters": "parameter buffer",
}  # fmt: skip
"""Component by its instance below the core; the longest name that fits counts."""


def component_of(cell: str, core: str) -> str:
    """Return the component of a cell of the flat netlist, by its hierarchical name; "harness" outside the core."""
    parts = cell.split(".")
    if parts[0] != core:
        return "harness"
    path = ".".join(parts[1:])
    fitting = [name for name in INSTANCES if path == name or path.startswith(f"{name}.")]
    return INSTANCES[max(fitting, key=len)] if fitting else "wires"
