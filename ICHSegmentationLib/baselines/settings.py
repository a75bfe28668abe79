"""Settings that are frozen dataclasses of JSON values, nested as they may be: to JSON and back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from ICHSegmentationLib.errors import InputError

Settings = TypeVar("Settings")


def from_json(kind: type[Settings], values: dict[str, Any]) -> Settings:
    """The settings that `dataclasses.asdict` and JSON made `values` of.

    Raises:
        InputError: a name is unknown.
    """
    hints = get_type_hints(kind)
    if unknown := sorted(set(values) - set(hints)):
        raise InputError(f"{kind.__name__} has no setting {', '.join(map(repr, unknown))}.")
    arguments = {}
    for name, value in values.items():
        nested = dataclasses.is_dataclass(hints[name]) and isinstance(value, dict)
        arguments[name] = from_json(hints[name], value) if nested else as_tuples(value)
    return kind(**arguments)


def as_tuples(value: Any) -> Any:
    """JSON's lists as tuples, all the way down."""
    return tuple(as_tuples(item) for item in value) if isinstance(value, list) else value


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(values, indent=1))
    partial.replace(path)
