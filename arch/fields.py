"""Say what the fields of a spec take, in words and as a check of single values."""

import json
from enum import StrEnum
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from gossamer.arch.problems import Path


def fields_of(model: type[BaseModel], path: Path) -> dict[str, FieldInfo]:
    """Return the fields of the spec at `path` within `model`."""
    for key in path:
        inner = model.model_fields[str(key)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            raise KeyError(key)
        model = inner
    return model.model_fields


def choices_of(annotation: Any) -> list[str]:
    """Return the values of an enumeration or Literal as text; empty for other types."""
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return [member.value for member in annotation]
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return []


def allowed(field: FieldInfo) -> str:
    """Return what a field takes: "a whole number from 8 to 512, a multiple of 8"; absence not mentioned."""
    choices = choices_of(field.annotation)
    if choices:
        return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        return f"a mapping with the keys {', '.join(field.annotation.model_fields)}"
    if str in (field.annotation, *get_args(field.annotation)):
        return "text (put it in quotes if it looks like a number)"
    limits = {
        name: getattr(item, name)
        for item in field.metadata
        for name in ("ge", "gt", "le", "lt", "multiple_of")
        if getattr(item, name, None) is not None
    }
    kinds = (field.annotation, *get_args(field.annotation))
    words = "a whole number" if int in kinds and float not in kinds else "a number"
    if "ge" in limits and "le" in limits:
        words += f" from {limits['ge']} to {limits['le']}"
    else:
        bounds = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
        words += " and".join(f" {bounds[name]} {limits[name]}" for name in bounds if name in limits)
    return words + (f", a multiple of {limits['multiple_of']}" if "multiple_of" in limits else "")


def leaf_fields(model: type[BaseModel], above: str = "") -> dict[str, FieldInfo]:
    """Return every field of a spec that holds a plain value, by its dotted name, in order."""
    leaves: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            leaves.update(leaf_fields(field.annotation, f"{above}{name}."))
        else:
            leaves[above + name] = field
    return leaves


def takes(field: FieldInfo, value: object) -> bool:
    """Tell whether a field takes a value as it is read from YAML."""
    kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    check: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        check.validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    return True
