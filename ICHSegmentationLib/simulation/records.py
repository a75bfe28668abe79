"""Parameters back from the JSON that they were written as: nested frozen dataclasses, tuples, one of several kinds."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ICHSegmentationLib.errors import InputError

Record = TypeVar("Record")
KIND = "type"  # name under which the JSON of one of several dataclasses says which it is of
NUMBERS = {float: (int, float), int: (int,)}


def to_json(record: Any) -> Any:
    """A dataclass as JSON values; one that stands in a tuple says which kind it is of, under "type"."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {field.name: to_json(getattr(record, field.name)) for field in dataclasses.fields(record)}
    if isinstance(record, tuple):
        return [
            {**to_json(item), KIND: type(item).__name__} if dataclasses.is_dataclass(item) else to_json(item)
            for item in record
        ]
    return record


def from_json(kind: type[Record], values: Any) -> Record:
    """The dataclass that `to_json` (and a JSON file) made `values` of, equal to the last bit.

    Raises:
        InputError: a name is missing or unknown, or a value is not what the field holds.
    """
    record: Record = read(kind, values, kind.__name__)
    return record


def read(hint: Any, value: Any, where: str) -> Any:
    """One value of the type `hint`; `where` is its place, for the error."""
    if dataclasses.is_dataclass(hint):
        return read_record(hint, value, where)
    if get_origin(hint) in (types.UnionType, Union):
        return read_one_of(get_args(hint), value, where)
    if get_origin(hint) is tuple:
        items = get_args(hint)
        if not isinstance(value, list) or (items[-1] is not Ellipsis and len(items) != len(value)):
            raise InputError(f"{where} must be a list of {len(items)} values; found {value!r}.")
        if items[-1] is Ellipsis:
            items = (items[0],) * len(value)
        return tuple(read(item, v, f"{where}[{k}]") for k, (item, v) in enumerate(zip(items, value, strict=True)))
    if not isinstance(value, NUMBERS.get(hint, (hint,))) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{where} must be of type {hint.__name__}; found {value!r}.")
    return value


def read_record(kind: Any, values: Any, where: str) -> Any:
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    if not isinstance(values, dict):
        raise InputError(f"{where} must be an object with {', '.join(names)}; found {values!r}.")
    if wrong := sorted((set(values) - {KIND}) ^ set(names)):
        raise InputError(
            f"{where} has other entries than this version knows (missing or unknown: {', '.join(wrong)}); a case can "
            "be replayed by the version that simulated it."
        )
    return kind(**{name: read(hints[name], values[name], f"{where}.{name}") for name in names})


def read_one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """A value of one of several kinds: None, or a plain one, or the dataclass that the value names."""
    if value is None and type(None) in kinds:
        return None
    rest = [kind for kind in kinds if kind is not type(None)]
    if len(rest) == 1:
        return read(rest[0], value, where)
    named = {kind.__name__: kind for kind in rest}
    found = value.get(KIND) if isinstance(value, dict) else value
    if found not in named:
        raise InputError(f"{where} must be one of {', '.join(named)}; found {found!r}.")
    return read_record(named[found], value, where)
