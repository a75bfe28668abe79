"""Qt properties: which a class has, and how the stand-ins declare theirs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from PySide6 import QtCore, QtWidgets


@functools.cache
def property_names(cls: type) -> frozenset[str]:
    meta = cls.staticMetaObject  # an object's metaObject() would die with it
    return frozenset(meta.property(index).name() for index in range(meta.propertyCount()))


def stored(kind: Any, default: Any, changed: Callable[[Any], None] | None = None) -> QtCore.Property:
    """A property whose value the widget keeps; `changed(widget)` follows a new value."""
    key = object()

    def put(widget: Any, value: Any) -> None:
        widget.__dict__[key] = value
        if changed is not None:
            changed(widget)

    return QtCore.Property(kind, lambda widget: widget.__dict__.get(key, default), put)


def forwarded(kind: Any, part: str, *names: str) -> list[QtCore.Property]:
    """Properties that are those of the widget's part."""

    def one(name: str) -> QtCore.Property:
        return QtCore.Property(
            kind,
            lambda widget: getattr(getattr(widget, part), name),
            lambda widget, value: setattr(getattr(widget, part), name, value),
        )

    return [one(name) for name in names]


def in_a_row(widget: QtWidgets.QWidget, *parts: QtWidgets.QWidget) -> None:
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part)
