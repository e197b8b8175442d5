"""Prune a network to N:M sparsity along the hardware's reduction order, or find the pattern its weights already have.

A group is M consecutive input channels of one kernel tap of one output channel (of that channel's convolution group);
channels are padded to a multiple of M, so a group never crosses a tap. Weights are (out, rows, columns, in / groups),
so groups lie along the last axis. DESIGN section 5.
"""

import difflib
import fnmatch
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Conv2d, ConvTranspose2d, Layer, Network
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.pruning.kernels import count_nonzeros, select_largest

WeightLayer = Conv2d | ConvTranspose2d

CANDIDATES: tuple[NmPattern, ...] = tuple(
    NmPattern(n, m) for n, m in ((1, 16), (1, 8), (2, 16), (1, 4), (2, 8), (4, 16), (1, 2), (2, 4), (4, 8), (8, 16))
)
"""What `keep` looks for, strictest first: by density, then by stored bits."""

_NEVER_NAMED = ("dense", "keep")


def magnitude_mask(weight: NDArray[Any], pattern: NmPattern) -> NDArray[np.bool_]:
    """Return the mask (shape of `weight`) of the N largest magnitudes in each group of M along the last axis.

    The last group of an axis may be short: it keeps at most N of what it has. Of equal magnitudes the first is kept.
    Raises ModelError for NaN or infinity.
    """
    _require_finite(weight, "weight")
    return _mask(weight, pattern)


def _mask(weight: NDArray[Any], pattern: NmPattern) -> NDArray[np.bool_]:
    mask = np.zeros(weight.shape, np.bool_)
    if weight.size:
        channels = weight.shape[-1]
        rows = np.ascontiguousarray(weight).reshape(-1, channels)
        select_largest(rows, pattern.n, pattern.m, mask.reshape(-1, channels))
    return mask


def detect_pattern(weight: NDArray[Any], max_group: int = 16) -> NmPattern | None:
    """Return the strictest of CANDIDATES with M <= max_group that the nonzeros of `weight` obey, or None.

    A pattern counts only if it forbids something: N must be below the channels a group really has.
    """
    channels = weight.shape[-1]
    if not weight.size:
        return None
    largest = np.zeros(4, np.int64)
    count_nonzeros(np.ascontiguousarray(weight).reshape(-1, channels), largest)
    for pattern in CANDIDATES:
        if pattern.m <= max_group and _restricts(pattern, channels) and largest[pattern.index_bits - 1] <= pattern.n:
            return pattern
    return None


def check_pattern(layer: WeightLayer) -> None:
    """Raise ModelError, naming layer, output channel and group, if the weights break the layer's pattern."""
    pattern = layer.pattern
    if pattern is None or not layer.weight.size:
        return
    out, rows, columns, channels = layer.weight.shape
    largest = np.zeros(4, np.int64)
    count_nonzeros(np.ascontiguousarray(layer.weight).reshape(-1, channels), largest)
    if largest[pattern.index_bits - 1] <= pattern.n:
        return
    groups = -(-channels // pattern.m)
    padded = np.zeros((out, rows, columns, groups * pattern.m), np.bool_)
    padded[..., :channels] = layer.weight != 0
    counts = padded.reshape(out, rows, columns, groups, pattern.m).sum(axis=-1)
    o, y, x, g = (int(i) for i in np.argwhere(counts > pattern.n)[0])
    raise ModelError(
        f"{layer.name}: {pattern} allows {pattern.n} nonzeros in {pattern.m} consecutive input channels, but output "
        f"channel {o}, kernel row {y}, column {x}, group {g} (input channels {g * pattern.m} to "
        f"{min(channels, (g + 1) * pattern.m) - 1}) has {int(counts[o, y, x, g])}; "
        f"{int((counts > pattern.n).sum())} of {counts.size} groups do. Prune the layer to {pattern} or let "
        "`keep` choose its pattern"
    )


def check_group_size(network: Network, group_size: int, config_name: str) -> None:
    """Raise ModelError, naming every layer, if a pattern's M exceeds the array's group_size."""
    wrong = [
        f"{layer.name} ({layer.pattern})"
        for layer in weight_layers(network)
        if layer.pattern is not None and layer.pattern.m > group_size
    ]
    if wrong:
        raise ModelError(
            f"{config_name}: array.group_size is {group_size}, so N:M patterns need M <= {group_size}; these layers "
            f"have a larger M: {', '.join(wrong)}. Choose a smaller M or a config with a larger group_size"
        )


def weight_layers(network: Network) -> list[WeightLayer]:
    """Return the layers that hold weights, in topological order."""
    return [layer for layer in network.layers if isinstance(layer, WeightLayer)]


def dense_by_default(network: Network) -> frozenset[str]:
    """Return the weight layers a uniform pattern leaves dense: the first, the last and every depthwise one."""
    layers = weight_layers(network)
    names = {layer.name for layer in layers if layer.weight.shape[-1] == 1}
    return frozenset(names | {layer.name for layer in (*layers[:1], *layers[-1:])})


def prune(
    network: Network, sparsity: str | NmPattern, overrides: Mapping[str, str] | None = None, *, max_group: int = 16
) -> Network:
    """Return the network with pruned weights and `pattern` set on every weight layer.

    sparsity is an N:M pattern (magnitude pruning; `dense_by_default` layers stay dense), `dense` (weights as they are)
    or `keep` (weights as they are, `pattern` found with M <= max_group). overrides maps layer names or globs to an N:M
    pattern, `dense` or `keep`; an exact name beats a glob, a later glob an earlier one. With sparsity `keep` an
    override N:M states what the weights must already obey. Raises ModelError for an unknown name, NaN or infinite
    weights, an unknown pattern, or weights that break a stated one.
    """
    wanted = str(sparsity).strip()
    _parse(wanted, "sparsity")
    chosen = resolve(network, wanted, overrides or {})
    layers: list[Layer] = []
    for layer in network.layers:
        if not isinstance(layer, WeightLayer):
            layers.append(layer)
            continue
        _require_finite(layer.weight, f"{layer.name}: weight")
        choice = chosen[layer.name]
        if choice == "dense":
            layers.append(replace(layer, pattern=None))
        elif choice == "keep":
            layers.append(replace(layer, pattern=detect_pattern(layer.weight, max_group)))
        elif wanted == "keep":
            stated = replace(layer, pattern=NmPattern.parse(choice))
            check_pattern(stated)
            layers.append(stated)
        else:
            layers.append(_pruned(layer, NmPattern.parse(choice)))
    return network.with_layers(tuple(layers))


def _pruned(layer: WeightLayer, pattern: NmPattern) -> WeightLayer:
    """Return the layer pruned; where the pattern forbids nothing (a tap has at most N channels) it stays dense."""
    if not _restricts(pattern, layer.weight.shape[-1]):
        return replace(layer, pattern=None)
    weight = np.array(layer.weight, order="C")
    weight *= _mask(weight, pattern)
    before = 0.0 if is_placeholder(layer) else _squares(layer, layer.weight)
    kept = _squares(layer, weight) / before if before else None
    return replace(layer, weight=weight, pattern=pattern, kept_energy=kept)


def is_placeholder(layer: WeightLayer) -> bool:
    """Return whether the weights are one value for all, which takes no memory: their file has none."""
    return not any(layer.weight.strides[1:])


def _squares(layer: WeightLayer, weight: NDArray[Any]) -> float:
    """Return the sum of the squares of weights, codes of which count by the scale of their channel."""
    channels = np.square(weight, dtype=np.float64).reshape(len(weight), -1).sum(axis=1)
    return float(channels.sum() if layer.weight_scale is None else channels @ np.square(layer.weight_scale))


def _restricts(pattern: NmPattern, channels: int) -> bool:
    return pattern.n < min(pattern.m, channels)


def pattern_note(network: Network, sparsity: str, max_group: int = 16) -> str | None:
    """Return a sentence about the patterns that a model's own weights obey; None if there is nothing to say.

    network: pruned as `sparsity` says. `keep` tells what was found, `dense` that weights obey a pattern all the same.
    """
    layers = weight_layers(network)
    if sparsity == "keep":
        patterns = [layer.pattern for layer in layers]
    elif sparsity == "dense":
        real = [layer for layer in layers if layer.pattern is None and not is_placeholder(layer)]
        patterns = [detect_pattern(layer.weight, max_group) for layer in real]
    else:
        return None
    counts = Counter(str(pattern) for pattern in patterns if pattern is not None)
    told = ", ".join(f"{text} in {count}" for text, count in counts.items())
    if sparsity == "keep":
        found = told or "an N:M pattern in none"
        return f"Weights as they are in the model: {found} of {len(layers)} layers with weights."
    if not counts:
        return None
    return (
        f"Weights are pruned already, {told} of {len(layers)} layers with weights, and run as dense ones: "
        "--sparsity keep makes use of it."
    )


def resolve(network: Network, sparsity: str, overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the choice (N:M text, `dense` or `keep`) for every weight layer by name.

    Raises ModelError listing every override that names no weight layer or has no known pattern.
    """
    names = [layer.name for layer in weight_layers(network)]
    default_dense = dense_by_default(network) if sparsity not in _NEVER_NAMED else frozenset()
    chosen = {name: "dense" if name in default_dense else sparsity for name in names}
    problems = []
    exact = {key: value for key, value in overrides.items() if key in chosen}
    for key, value in [*((k, v) for k, v in overrides.items() if k not in exact), *exact.items()]:
        try:
            _parse(value, f"layer {key}")
        except ModelError as error:
            problems.append(str(error))
        matches = [key] if key in exact else [name for name in names if fnmatch.fnmatchcase(name, key)]
        if not matches:
            near = difflib.get_close_matches(key, names, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"layers with weights: {', '.join(names)}"
            problems.append(f"layer {key}: {network.name} has no layer with weights of this name; {hint}")
        chosen.update(dict.fromkeys(matches, value.strip()))
    if problems:
        raise ModelError("\n".join(problems))
    return chosen


def load_overrides(path: Path) -> dict[str, str]:
    """Return the mapping of layer names or globs to N:M, `dense` or `keep` in a YAML file.

    Raises ModelError with file:line:column for everything wrong in it; patterns need no quotes.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            root = yaml.compose(stream, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ModelError(f"{path}: is not YAML: {error}") from error
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise ModelError(f"{path}: expected lines such as `layer3.*: 2:4`, found {root.tag.rpartition(':')[2]}")
    overrides: dict[str, str] = {}
    problems = []
    for key, value in root.value:
        where = f"{path}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            problems.append(f"{where}: expected `layer: pattern`, found a nested block")
            continue
        if key.value in overrides:
            problems.append(f"{where}: {key.value} appears twice; keep one of the two lines")
        try:
            _parse(value.value, f"{where}: {key.value}")
        except ModelError as error:
            problems.append(str(error))
        overrides[key.value] = value.value
    if problems:
        raise ModelError("\n".join(problems))
    return overrides


def _parse(text: str, where: str) -> None:
    if text.strip() in _NEVER_NAMED:
        return
    try:
        NmPattern.parse(text)
    except ModelError as error:
        raise ModelError(f"{where}: {error}, `dense` or `keep`") from error


def _require_finite(weight: NDArray[Any], what: str) -> None:
    if weight.dtype.kind == "f" and not np.isfinite(weight).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(weight))[0])
        raise ModelError(
            f"{what} has {int((~np.isfinite(weight)).sum())} values that are NaN or infinite, the first at "
            f"[out, kernel row, kernel column, in] = {list(first)}; expected finite numbers"
        )
