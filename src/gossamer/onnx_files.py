"""Write models as ONNX: pruned, in the form they came in, or pruned and quantized, in QDQ form."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from gossamer.arch.errors import ModelError
from gossamer.models import load_model
from gossamer.request import SimulationRequest
from gossamer.shipped_models import shipped_models
from gossamer.simulation import LARGEST_GROUP, Stage, pruned_for_groups, quantized_network

if TYPE_CHECKING:
    from gossamer.mapper.pruning.prune_onnx import PruneSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedFile:
    """What was written: how many layers, patterns by how many layers have them, and what the user must know."""

    file: Path
    file_bytes: int
    layers: int
    patterns: Mapping[str, int]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the object `quantize --json` prints."""
        return {
            "file": str(self.file), "file_bytes": self.file_bytes, "layers": self.layers,
            "patterns": dict(self.patterns), "notes": list(self.notes),
        }  # fmt: skip

    def __str__(self) -> str:
        patterns = "".join(f", {text} in {count}" for text, count in self.patterns.items())
        notes = [line for note in self.notes for line in wrap(f"note: {note}", 80, subsequent_indent="      ")]
        summary = f"{self.file}: {self.layers} layers, int8{patterns}; {self.file_bytes:,} bytes"
        return "\n".join((*notes, summary, ""))


def quantize_file(request: SimulationRequest, output: Path, stage: Stage) -> QuantizedFile:
    """Write the pruned, quantized model of a request as ONNX in QDQ form; its config is not looked at.

    Raises ModelError for a model that cannot be imported or quantized, and a file that cannot be written.
    """
    from gossamer.mapper.onnx_export.quantized import write_qdq
    from gossamer.mapper.pruning.prune import weight_layers

    network = quantized_network(request, pruned_for_groups(request, LARGEST_GROUP, stage), stage)
    stage("writing")
    file_bytes = write_qdq(network, output)
    patterns = Counter(str(layer.pattern) for layer in weight_layers(network) if layer.pattern is not None)
    return QuantizedFile(
        file=output, file_bytes=file_bytes, layers=len(network.layers), patterns=patterns, notes=network.notes
    )


def prune_file(
    model: str, sparsity: str, sparsity_file: Path | None, shapes: Mapping[str, tuple[int, ...]], output: Path,
    stage: Stage,
) -> "PruneSummary":  # fmt: skip
    """Write the pruned ONNX of a model and return what was pruned. Raises ModelError."""
    from gossamer.mapper.pruning.prune import load_overrides
    from gossamer.mapper.pruning.prune_onnx import prune_onnx

    shipped = shipped_models().get(model)
    path = shipped.path if shipped is not None else Path(model)
    if path is None or not path.is_file():
        load_model(model, shapes)  # says what is wrong with the name
        raise ModelError(f"{model}: prune needs an ONNX file or a shipped model, not a one-liner or a table")
    bound = {**(shipped.shapes if shipped is not None else {}), **shapes}
    stage(f"pruning {model}")
    overrides = {} if sparsity_file is None else load_overrides(sparsity_file)
    return prune_onnx(path, sparsity, output, shapes=bound, overrides=overrides)
