"""Reads .ui files as Slicer does, and refuses what Qt's loader would pass over with a warning or in silence."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from host import ctk_widgets, mrml_widgets
from host.stand_in import property_names

STAND_INS = {**ctk_widgets.STAND_INS, **mrml_widgets.STAND_INS}
DYNAMIC_PROPERTIES = {"SlicerParameterName"}
MARGINS = {"margin", "leftMargin", "topMargin", "rightMargin", "bottomMargin"}
SPACINGS = {"spacing", "horizontalSpacing", "verticalSpacing"}
SPACER_PROPERTIES = {"orientation", "sizeHint", "sizeType"}
ITEM_PROPERTIES = {"text", "icon", "toolTip", "statusTip", "whatsThis", "font", "textAlignment", "flags", "checkState"}


class UiFileError(ValueError):
    """What is wrong with the .ui file."""


class UiLoader(QtUiTools.QUiLoader):
    """`qt.QUiLoader`: unknown classes, properties, enumerators, signals and slots raise UiFileError."""

    def load(self, device: QtCore.QIODevice, parent: Any = None) -> QtWidgets.QWidget:
        root = ElementTree.fromstring(bytes(device.readAll().data()))
        for element in root.iter():
            _check(element)
            _number_enumerators(element)
        connections = root.find("connections")
        if connections is not None:
            root.remove(connections)
        widget = self._load_without_complaint(ElementTree.tostring(root), parent)
        for connection in connections if connections is not None else ():
            _make(connection, widget)
        return widget

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> QtWidgets.QWidget:
        if class_name not in STAND_INS:
            return super().createWidget(class_name, parent, name)
        widget = STAND_INS[class_name](parent)
        widget.setObjectName(name)
        return widget

    def _load_without_complaint(self, xml: bytes, parent: Any) -> QtWidgets.QWidget:
        buffer = QtCore.QBuffer()
        buffer.setData(xml)
        buffer.open(QtCore.QBuffer.ReadOnly)
        complaints: list[str] = []
        previous = QtCore.qInstallMessageHandler(lambda kind, context, text: complaints.append(text))
        try:
            widget = super().load(buffer, parent)
        finally:
            QtCore.qInstallMessageHandler(previous)
        if complaints or widget is None:
            raise UiFileError("; ".join(complaints) or self.errorString())
        return widget


def _check(element: ElementTree.Element) -> None:
    known = _known_properties(element)
    for found in element.findall("property"):
        name = found.get("name", "")
        if known is not None and name not in known and name not in DYNAMIC_PROPERTIES:
            owner = f"{element.get('class', element.tag)} {element.get('name', '')}".strip()
            raise UiFileError(f"{owner} has no property {name}")


def _known_properties(element: ElementTree.Element) -> frozenset[str] | set[str] | None:
    if element.tag == "widget" and element.get("class") == "Line":
        return property_names(QtWidgets.QFrame) | {"orientation"}
    if element.tag == "widget":
        return property_names(_widget_class(element.get("class", "")))
    if element.tag == "layout":
        return property_names(getattr(QtWidgets, element.get("class", ""))) | MARGINS | SPACINGS
    return {"spacer": SPACER_PROPERTIES, "item": ITEM_PROPERTIES, "column": ITEM_PROPERTIES}.get(element.tag)


def _widget_class(name: str) -> type:
    found = STAND_INS.get(name) or getattr(QtWidgets, name, None)
    if found is None or not issubclass(found, QtWidgets.QWidget):
        raise UiFileError(f"no widget class {name}; beside Qt's the host has {', '.join(sorted(STAND_INS))}")
    return found


def _number_enumerators(element: ElementTree.Element) -> None:
    """Check that enumerators are named as both Qt 5 and Qt 6 read them; a stand-in's property takes their number."""
    for value in (*element.findall("property/enum"), *element.findall("property/set")):
        names = (value.text or "").split("|")
        for name in names:
            if name.count("::") != 1:
                raise UiFileError(f"write {name} as Class::Enumerator")
        if element.get("class") in STAND_INS and _is_plain_number(element, value):
            value.text = str(sum(_enumerator(name) for name in names))
            value.tag = "number"


def _is_plain_number(element: ElementTree.Element, value: ElementTree.Element) -> bool:
    owner = next(found for found in element.findall("property") if value in found)
    meta = STAND_INS[element.get("class", "")].staticMetaObject
    return meta.property(meta.indexOfProperty(owner.get("name", ""))).typeName() == "int"


def _enumerator(name: str) -> int:
    scope, key = name.split("::")
    holder = STAND_INS.get(scope) or getattr(QtWidgets, scope, None) or getattr(QtCore, scope, None)
    if not hasattr(holder, key):
        raise UiFileError(f"no enumerator {name}")
    found = getattr(holder, key)
    return found if isinstance(found, int) else found.value


def _make(connection: ElementTree.Element, root: QtWidgets.QWidget) -> None:
    sender, receiver = (_child(root, connection.findtext(role, "")) for role in ("sender", "receiver"))
    slot = connection.findtext("slot", "").split("(")[0]
    if not callable(getattr(receiver, slot, None)):
        raise UiFileError(f"{type(receiver).__name__} has no slot {slot}")
    try:
        sender.connect(connection.findtext("signal", ""), getattr(receiver, slot))
    except AttributeError as error:
        raise UiFileError(str(error)) from error


def _child(root: QtWidgets.QWidget, name: str) -> QtCore.QObject:
    found = root if root.objectName == name else root.findChild(QtCore.QObject, name)
    if found is None:
        raise UiFileError(f"a connection names {name}, which is not there")
    return found
