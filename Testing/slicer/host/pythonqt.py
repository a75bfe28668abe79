"""PySide6 with the manner of PythonQt: the modules `qt` and `ctk` that a scripted module imports.

Qt's properties are attributes, `connect` takes a signature, and what PythonQt refuses is refused here: an attribute
that is no property on an object of Qt's own classes, overwriting a method or signal, an unknown signal. As in PythonQt,
an object of a Python subclass may hold new attributes; a stand-in of this host only those its class body annotates.
Dialogs that would wait for a user are handed to a function, which records them and answers.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from host.ctk_widgets import STAND_INS
from host.stand_in import property_names
from host.ui_file import UiLoader

LIBRARIES = (QtWidgets, QtGui, QtCore)
PYTHONQT_NAMES = {"name": "objectName"}
VIRTUAL_PROPERTIES = ("sizeHint", "minimumSizeHint")
WAITING_DIALOGS = {
    "QFileDialog": ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"),
    "QMessageBox": ("question", "information", "warning", "critical", "about"),
    "QInputDialog": ("getText", "getInt", "getDouble", "getItem"),
}
Ask = Callable[..., Any]

_connect_signal = QtCore.QObject.connect
_disconnect_signal = QtCore.QObject.disconnect


class QtModule(types.ModuleType):
    """The module `qt`: every class of Qt under one name."""

    def __getattr__(self, name: str) -> Any:
        for library in LIBRARIES:
            if hasattr(library, name):
                return getattr(library, name)
        raise AttributeError(f"qt has no {name}")


def signal_signature(sender: QtCore.QObject, signature: str) -> str:
    """The signature as Qt knows it: MRML objects travel as Python objects. An unknown signal raises AttributeError."""
    known = re.sub(r"vtk\w+\s*\*", "PyObject", signature)
    known = bytes(QtCore.QMetaObject.normalizedSignature(known)).decode()
    if type(sender).staticMetaObject.indexOfSignal(known) < 0:
        raise AttributeError(f"{type(sender).__name__} has no signal {signature}")
    return known


def _connect(self: QtCore.QObject, signature: str, slot: Callable) -> bool:
    if not callable(slot):
        raise TypeError(f"{signature} wants something to call, not {slot!r}")
    return bool(_connect_signal(self, QtCore.SIGNAL(signal_signature(self, signature)), slot))


def _disconnect(self: QtCore.QObject, signature: str, slot: Callable) -> bool:
    return _disconnect_signal(self, QtCore.SIGNAL(signal_signature(self, signature)), slot)


def _class_name(self: QtCore.QObject) -> str:
    return type(self).__name__


PYTHONQT_METHODS = {"connect": _connect, "disconnect": _disconnect, "className": _class_name}


def _reader(original: Callable) -> Callable:
    def read(self: QtCore.QObject, name: str) -> Any:
        if name in PYTHONQT_METHODS:
            return types.MethodType(PYTHONQT_METHODS[name], self)
        name = PYTHONQT_NAMES.get(name, name)
        if name not in property_names(type(self)):
            return original(self, name)
        if name in VIRTUAL_PROPERTIES:  # Qt itself looks for a Python method of this name
            found = original(self, name)
            return found if inspect.ismethod(found) else found()
        value = QtCore.QObject.property(self, name)
        return tuple(value) if isinstance(value, list) else value

    return read


def _assign(self: Any, name: str, value: Any) -> None:
    cls = type(self)
    name = PYTHONQT_NAMES.get(name, name)
    definer = next((base for base in cls.__mro__ if name in vars(base)), None)
    if name.startswith("__") or isinstance(value, QtCore.SignalInstance):  # PySide6's own notes
        self.__dict__[name] = value
    elif issubclass(cls, QtCore.QObject) and name in property_names(cls):
        _write_property(self, name, value)
    elif definer is not None and hasattr(type(vars(definer)[name]), "__set__"):
        vars(definer)[name].__set__(self, value)
    elif definer is not None and definer.__module__.startswith(("PySide6", "Shiboken")):
        raise AttributeError(f"{name} of {cls.__name__} is Qt's own and cannot be overwritten")
    elif _may_hold(cls, name):
        self.__dict__[name] = value
    elif not _is_named_child(self, name, value):
        raise AttributeError(f"{cls.__name__} has no property {name}")


def _write_property(self: QtCore.QObject, name: str, value: Any) -> None:
    if value is None or not QtCore.QObject.setProperty(self, name, value):
        raise AttributeError(f"property {name} of {type(self).__name__} does not accept {value!r}")


def _may_hold(cls: type, name: str) -> bool:
    if cls.__module__.startswith(("PySide6", "Shiboken")):
        return False
    if cls.__module__.startswith("host."):
        return any(name in vars(base).get("__annotations__", ()) for base in cls.__mro__)
    return True


def _is_named_child(parent: Any, name: str, value: Any) -> bool:
    """PySide6's loader sets every widget of a .ui file as an attribute of the root; PythonQt does not."""
    return isinstance(value, QtCore.QObject) and parent.findChild(type(value), name) == value


def _classes() -> list[type]:
    found = (getattr(library, name) for library in (*LIBRARIES, QtUiTools) for name in dir(library))
    return [cls for cls in found if inspect.isclass(cls) and issubclass(cls, shiboken6.Shiboken.Object)]


def _teach_manner() -> None:
    for cls in _classes():
        if "__setattr__" in vars(cls):
            cls.__setattr__ = _assign
        if issubclass(cls, QtCore.QObject) and "__getattribute__" in vars(cls):
            cls.__getattribute__ = _reader(cls.__getattribute__)


def _hand_over_dialogs(ask: Ask) -> None:
    def static(kind: str) -> Callable:
        return lambda *arguments: ask(kind, str(arguments[1]) if len(arguments) > 1 else "", arguments)

    def waiting(self: QtWidgets.QWidget, *arguments: Any) -> Any:
        return ask(f"{type(self).__name__}.exec", self.windowTitle, arguments)

    for class_name, functions in WAITING_DIALOGS.items():
        for function in functions:
            setattr(getattr(QtWidgets, class_name), function, staticmethod(static(f"{class_name}.{function}")))
    for cls in (QtWidgets.QDialog, QtWidgets.QMessageBox, QtWidgets.QFileDialog, QtWidgets.QMenu):
        cls.exec = cls.exec_ = waiting


def install(ask: Ask) -> None:
    """Give PySide6 the manner of PythonQt, once a process, and make it importable as `qt` and `ctk`.

    `ask(kind, text, arguments)` stands for the user before a dialog that waits, for instance
    `ask("QFileDialog.getSaveFileName", "Save the report", (parent, "Save the report", folder))`.
    """
    module = QtModule("qt")
    module.application = QtWidgets.QApplication(["Slicer"])  # held here for the life of the process
    module.application.setStyle("Fusion")
    _hand_over_dialogs(ask)
    _teach_manner()
    module.QUiLoader = UiLoader
    sys.modules["qt"], sys.modules["ctk"] = module, types.ModuleType("ctk")
    vars(sys.modules["ctk"]).update(STAND_INS)
