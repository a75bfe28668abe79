"""Stand-in of `slicer.parameterNodeWrapper`: typed fields kept in a real vtkMRMLScriptedModuleNode, tied to widgets.

Knows bool, int, float, str, enumerations and MRML nodes (Optional or not); any other type is refused. Values are
written as Slicer writes them: a scene saved by one is read by the other. Unlike Slicer's it refuses unknown fields.
"""

from __future__ import annotations

import enum
import functools
import typing
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import slicer
import vtk
from PySide6 import QtWidgets

from host.ctk_widgets import ctkSliderWidget
from host.mrml_widgets import qMRMLNodeComboBox

__all__ = ["Choice", "Default", "WithinRange", "parameterNodeWrapper"]


class Default(NamedTuple):
    """The value of a field that has none yet."""

    value: Any


class WithinRange(NamedTuple):
    """Both ends are allowed."""

    minimum: float
    maximum: float

    def allows(self, value: Any) -> bool:
        return self.minimum <= value <= self.maximum


class Choice(NamedTuple):
    """One of these values."""

    choices: Any

    def allows(self, value: Any) -> bool:
        return value in self.choices


@dataclass(frozen=True)
class Field:
    """One annotated name of the wrapped class, and how its value is kept in the node."""

    name: str
    kind: type
    annotations: tuple
    default: Any

    @property
    def is_node(self) -> bool:
        return issubclass(self.kind, slicer.vtkMRMLNode)

    def find(self, annotation: type) -> Any:
        return next((found for found in self.annotations if isinstance(found, annotation)), None)

    def check(self, value: Any) -> None:
        kinds = (int, float) if self.kind is float else self.kind
        if not isinstance(value, kinds) and not (value is None and self.is_node):
            raise TypeError(f"{self.name} wants {self.kind.__name__}, not {value!r}")
        for rule in filter(None, (self.find(WithinRange), self.find(Choice))):
            if not rule.allows(value):
                raise ValueError(f"{self.name} = {value!r} breaks {rule}")

    def write(self, node: Any, value: Any) -> None:
        self.check(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node: Any) -> Any:
        if not node.HasParameter(self.name):  # a new scene has emptied the node
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if issubclass(self.kind, enum.Enum) else self.kind(text)


def _field(name: str, annotated: Any, assigned: Any) -> Field:
    kind, *annotations = typing.get_args(annotated) if hasattr(annotated, "__metadata__") else (annotated,)
    if typing.get_origin(kind) is typing.Union:
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
        if not issubclass(kind, slicer.vtkMRMLNode):
            raise TypeError(f"{name}: the stand-in knows Optional for nodes only")
    plain = kind in (bool, int, float, str)
    if not plain and not (isinstance(kind, type) and issubclass(kind, (enum.Enum, slicer.vtkMRMLNode))):
        raise TypeError(f"{name}: the stand-in does not know {kind}")
    default = next((found.value for found in annotations if isinstance(found, Default)), assigned)
    return Field(name, kind, tuple(annotations), _empty(kind) if default is None else default)


def _empty(kind: type) -> Any:
    if issubclass(kind, slicer.vtkMRMLNode):
        return None
    return next(iter(kind)) if issubclass(kind, enum.Enum) else kind()


class Tie(NamedTuple):
    """How a widget's value is read, written and heard."""

    read: Callable[[], Any]
    write: Callable[[Any], None]
    changed: Any


VALUE_WIDGETS = {
    (QtWidgets.QCheckBox, bool): ("checked", "toggled"),
    (QtWidgets.QPushButton, bool): ("checked", "toggled"),
    (QtWidgets.QSlider, int): ("value", "valueChanged"),
    (QtWidgets.QSpinBox, int): ("value", "valueChanged"),
    (QtWidgets.QDoubleSpinBox, float): ("value", "valueChanged"),
    (ctkSliderWidget, float): ("value", "valueChanged"),
    (QtWidgets.QLineEdit, str): ("text", "textChanged"),
    (QtWidgets.QTextEdit, str): ("plainText", "textChanged"),
}
BOUNDED_WIDGETS = (QtWidgets.QSlider, ctkSliderWidget)


def _tie(widget: Any, field: Field) -> Tie:
    if (type(widget), field.kind) in VALUE_WIDGETS:
        return _tie_value(widget, field, *VALUE_WIDGETS[type(widget), field.kind])
    if type(widget) is qMRMLNodeComboBox and field.is_node:
        widget.nodeTypes = [field.kind().GetClassName()]
        return Tie(widget.currentNode, widget.setCurrentNode, widget.currentNodeChanged)
    if type(widget) is QtWidgets.QComboBox and (field.find(Choice) or issubclass(field.kind, enum.Enum)):
        return _tie_choice(widget, field)
    raise RuntimeError(f"a {type(widget).__name__} cannot show {field.name}, a {field.kind.__name__}")


def _tie_value(widget: Any, field: Field, value: str, signal: str) -> Tie:
    limits = field.find(WithinRange)
    if type(widget) in BOUNDED_WIDGETS and limits is None:
        raise RuntimeError(f"{field.name} needs a range to be shown by a {type(widget).__name__}")
    if limits is not None:
        widget.minimum, widget.maximum = limits
    return Tie(lambda: getattr(widget, value), lambda new: setattr(widget, value, new), getattr(widget, signal))


def _tie_choice(widget: Any, field: Field) -> Tie:
    choices = list(field.find(Choice).choices if field.find(Choice) else field.kind)
    widget.clear()
    widget.addItems([choice.name if isinstance(choice, enum.Enum) else str(choice) for choice in choices])
    return Tie(
        lambda: choices[widget.currentIndex],
        lambda new: widget.setCurrentIndex(choices.index(new)),
        widget.currentIndexChanged,
    )


class ParameterNode:
    """What the decorator makes of a class: its fields are attributes, stored in `parameterNode`."""

    allParameters: typing.ClassVar[dict[str, Field]] = {}

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode, self._ties, self._showing = parameterNode, {}, False
        self._values = {}
        self._read()
        parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, functools.partial(_show, weakref.ref(self)))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.allParameters and name not in ("parameterNode", "_ties", "_showing", "_values"):
            raise AttributeError(f"{type(self).__name__} has no field {name}")
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name in ("AddObserver", "RemoveObserver", "StartModify", "EndModify", "Modified"):
            return getattr(self.parameterNode, name)
        raise AttributeError(f"{type(self).__name__} has no field {name}")

    def _read(self) -> None:
        """Slicer keeps the values, and reads them anew when the node says that it was modified, not before."""
        self._values = {name: field.read(self.parameterNode) for name, field in self.allParameters.items()}

    def connectGui(self, gui: Any) -> None:
        """Tie the widgets whose dynamic property SlicerParameterName names a field.

        Slicer's loses the tag for disconnectGui on its way out (pull request 8667), and so does this one.
        """
        named = [(widget.property("SlicerParameterName"), widget) for widget in vars(gui).values()]
        named = [(name, widget) for name, widget in named if name is not None]
        names = [name for name, _ in named]
        for name in names:
            if name not in self.allParameters or names.count(name) > 1:  # of two widgets Slicer would forget one
                raise ValueError(f"{type(self).__name__} has no field {name}, or it is tied twice")
        self.connectParametersToGui(dict(named))

    def connectParametersToGui(self, widgets: dict[str, Any]) -> int:
        """Tie fields to widgets; returns a tag for disconnectGui, the first of which is 0."""
        for name in widgets:
            if name not in self.allParameters:
                raise ValueError(f"{type(self).__name__} has no field {name}")
        tag = max(self._ties, default=-1) + 1
        self._ties[tag] = [self._connect(name, widget) for name, widget in widgets.items()]
        return tag

    def _connect(self, name: str, widget: Any) -> tuple[str, Tie, Callable]:
        tie = _tie(widget, self.allParameters[name])
        tie.write(getattr(self, name))

        def changed(*_: Any) -> None:
            if not self._showing:
                setattr(self, name, tie.read())

        tie.changed.connect(changed)
        return name, tie, changed

    def disconnectGui(self, tag: int) -> None:
        for _, tie, changed in self._ties.pop(tag):
            tie.changed.disconnect(changed)


def _show(reference: weakref.ref, *_: Any) -> None:
    """Bring the tied widgets up to date, if the wrapper still lives: the node may outlive it."""
    wrapper = reference()
    if wrapper is None:
        return
    wrapper._read()
    if wrapper._showing:
        return
    wrapper._showing = True
    try:
        for name, tie, _changed in [entry for entries in wrapper._ties.values() for entry in entries]:
            tie.write(getattr(wrapper, name))
    finally:
        wrapper._showing = False


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: annotations become fields, defaults come from `= value` or Default."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {name: _field(name, hint, getattr(cls, name, None)) for name, hint in hints.items()}
    contents = {name: _attribute(field) for name, field in fields.items()}
    return type(cls.__name__, (ParameterNode, cls), {**contents, "allParameters": fields, "__module__": cls.__module__})


def _attribute(field: Field) -> property:
    def put(self: ParameterNode, value: Any) -> None:
        field.check(value)
        self._values[field.name] = value  # before the node tells of it
        field.write(self.parameterNode, value)

    return property(lambda self: self._values[field.name], put)
