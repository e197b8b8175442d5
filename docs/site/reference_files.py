"""Write the references of config and sweep files from the specs that read them."""

import inspect
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from pydantic.fields import FieldInfo
from writing import code, fence, first_sentence, table

from gossamer.arch.config import config_names, device_names, load_config, load_device
from gossamer.arch.fields import allowed
from gossamer.arch.rules import RULES
from gossamer.arch.spec import SparseAccelerator, Spec, SystolicAccelerator
from gossamer.explore import spec as sweep_spec
from gossamer.explore.axes import SWEPT_FIELDS
from gossamer.explore.sweep_file import load_sweep, sweep_names
from gossamer.render import describe_config

UNITS = {
    "_bytes": "bytes", "_bits": "bits", "_mhz": "MHz", "_gb_s": "1e9 bytes/s", "_ns": "ns", "_cycles": "cycles",
    "_beats": "beats", "_s": "s", "_j": "J", "_w": "W", "_js": "J s", "_per_s": "1/s",
}  # fmt: skip
"""Units by the end of a name; longest first when they are looked up."""


def pages() -> dict[str, str]:
    """Return both pages by their names."""
    return {"config.md": _config(), "sweep-file.md": _sweep()}


def unit_of(name: str) -> str:
    """Return the unit that a name ends with, empty without."""
    return next((UNITS[end] for end in sorted(UNITS, key=len, reverse=True) if name.endswith(end)), "")


def _rows(model: type[Spec], above: str = "") -> Iterator[tuple[str, ...]]:
    """Yield a row per field of a spec; `above` is its own dotted name and a dot."""
    for name, field in model.model_fields.items():
        takes = _takes(field) if _inner(field) is None else f"[a mapping](#{_anchor(above + name)})"
        yield code(field.alias or name), takes, unit_of(name), _default(field), field.description or ""


def _takes(field: FieldInfo) -> str:
    """Return what values a field takes."""
    kind = str(field.annotation)
    words = "a list" if kind.startswith("list[") else "a mapping" if kind.startswith("dict[") else allowed(field)
    return words.split(" (")[0]


def _anchor(dotted: str) -> str:
    return dotted.replace(".", "-").replace("_", "-")


def _inner(field: FieldInfo) -> type[Spec] | None:
    """Return the spec that a field holds, None if it holds a value."""
    kind = field.annotation
    return kind if inspect.isclass(kind) and issubclass(kind, Spec) else None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default()
    if isinstance(value, Spec):
        return code(", ".join(f"{key}: {each}" for key, each in value.model_dump(exclude_unset=True).items()))
    return "none" if value is None else code(str(value)) if value not in ("", [], {}) else "empty"


_HEAD = ("field", "takes", "unit", "default", "meaning")


def _fields(model: type[Spec], above: str = "") -> str:
    """Return the table of a spec, and below it those of the specs it holds; equal ones in a row are one table."""
    text = table(_HEAD, _rows(model, above))
    inner = {name: spec for name, field in model.model_fields.items() if (spec := _inner(field)) is not None}
    if len(inner) > 1 and len(set(inner.values())) == 1:
        text = table(_HEAD, [(row[0], "a mapping", *row[2:]) for row in _rows(model, above)])
        return text + f"\nEach of them:\n\n{table(_HEAD, _rows(next(iter(inner.values()))))}"
    for name, spec in inner.items():
        text += f"\n### {above}{name} {{#{_anchor(above + name)}}}\n\n{first_sentence(spec.__doc__)}\n\n"
        text += "The name of a [shipped device](#shipped-devices), or:\n\n" if name == "device" else ""
        text += _fields(spec, f"{above}{name}.")
    return text


def _config() -> str:
    """Return every field of a config, the rules between them, and what ships."""
    text = (
        "# Config files\n\n"
        "A config is a YAML file with the fields below; `gossamer schema` prints the same as JSON Schema for editors. "
        "A command takes the name of a shipped config or a path, and `--set KEY=VALUE` changes a field by its dotted "
        "name: `--set off_chip.channels=2`. An unknown key is refused, and everything wrong is told at once, each with "
        "file, line and column.\n\n"
        "## Example\n\n`ecp5-tiny`, as shipped:\n\n"
    )
    shipped = files("gossamer.configs") / "accelerators" / "ecp5-tiny.yaml"
    text += fence("yaml", shipped.read_text(encoding="utf-8"))
    text += f"\n## Fields\n\n{first_sentence(SparseAccelerator.__doc__)}\n\n" + _fields(SparseAccelerator)
    text += "\n## Rules between fields\n\n" + "\n".join(f"- {first_sentence(rule.__doc__)}" for rule in RULES)
    text += "\n- The whole fits its device, by the estimate of `gossamer.arch.resources`.\n"
    text += f"\n## Plain systolic arrays\n\n{first_sentence(SystolicAccelerator.__doc__)}\n\n"
    array = SystolicAccelerator.model_fields["array"].annotation
    text += "`name`, `clock_mhz` and `clock_source` as above, and of `array`:\n\n" + table(_HEAD, _rows(array))
    text += "\n## Shipped configs\n\n"
    configs = [(code(name), describe_config(load_config(name))) for name in config_names()]
    text += table(("config", "what it is"), configs)
    text += "\n## Shipped devices\n\n"
    names = ("part", "family", "dsp", "bram36", "uram", "lut", "ff", "board", "source")
    rows = []
    for name in device_names():
        device = load_device(name).model_dump(mode="json")
        rows.append((code(name), *("" if device[each] is None else device[each] for each in names)))
    return text + table(("device", *names), rows)


def _sweep() -> str:
    """Return every field of a sweep file, the metrics, and what ships."""
    text = (
        "# Sweep files\n\n"
        "[Sweeps](../sweeps.md) explains them with an example; `gossamer schema sweep` prints the JSON Schema.\n\n"
    )
    text += table(_HEAD, _rows(sweep_spec.SweepSpec))
    parts = {
        "strategy": sweep_spec.Strategy, "range": sweep_spec.RangeBounds, "powers_of_two": sweep_spec.PowerBounds,
        "constraints": sweep_spec.Bounds,
    }  # fmt: skip
    for name, spec in parts.items():
        text += f"\n## {name} {{#{_anchor(name)}}}\n\n{first_sentence(spec.__doc__)}\n\n{table(_HEAD, _rows(spec))}"
    text += "\n## Metrics\n\n"
    rows = [
        (code(each), unit_of(each), "more" if each in sweep_spec.MAXIMISED else "less") for each in sweep_spec.METRICS
    ]
    text += table(("metric", "unit", "better is"), rows)
    text += "\n## Fields that can be an axis\n\nBesides `model`, `batch`, `sparsity`, `sparsity[GLOB]`, `device` and "
    text += "`precision`:\n\n" + table(("axis", "takes"), [(code(n), _takes(f)) for n, f in SWEPT_FIELDS.items()])
    text += "\n## Shipped sweeps\n\n"
    loaded = {name: load_sweep(name) for name in sweep_names()}
    rows = [(code(name), f"{each.space.size:,}", each.spec.question) for name, each in loaded.items()]
    return text + table(("sweep", "points before conditions", "question"), rows)
