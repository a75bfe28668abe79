"""Stand-ins of `slicer.ScriptedLoadableModule`'s classes, and `load_module`, which does what Slicer's factory does."""

from __future__ import annotations

import importlib.util
import os
import sys
import unittest
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtWidgets

from host import modules
from host.mrml_widgets import qMRMLWidget

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


@dataclass(slots=True)
class ModuleParent:
    """What a module says of itself; the names Slicer knows, and no other."""

    name: str
    path: str
    title: str = ""
    categories: list[str] = field(default_factory=list)
    dependencies: list[str] = field(default_factory=list)
    contributors: list[str] = field(default_factory=list)
    helpText: str = ""
    acknowledgementText: str = ""
    icon: Any = None
    hidden: bool = False
    index: int = -1
    associatedNodeTypes: list[str] = field(default_factory=list)


class ScriptedLoadableModule:
    """Base of the module class."""

    def __init__(self, parent: ModuleParent) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        for ending in (".svg", ".png"):
            if os.path.isfile(self.resourcePath(f"Icons/{self.moduleName}{ending}")):
                parent.icon = QtGui.QIcon(self.resourcePath(f"Icons/{self.moduleName}{ending}"))
                break

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def runTest(self, msec: int = 0, **options: Any) -> None:
        test = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**options)


class ScriptedLoadableModuleWidget:
    """Base of the panel. Without a parent it makes its own and sets itself up."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent or self._own_parent()
        self.layout = self.parent.layout()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._unloading)
        if parent is None:
            self.setup()
            self.parent.show()

    def _own_parent(self) -> Any:
        own = qMRMLWidget()
        QtWidgets.QVBoxLayout(own)
        own.setMRMLScene(slicer.mrmlScene)
        return own

    def _unloading(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()

    def resourcePath(self, filename: str) -> str:
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)

    def setup(self) -> None:
        """Slicer adds its developer's buttons here."""

    def enter(self) -> None:
        """The user comes to the module."""

    def exit(self) -> None:
        """The user goes to another module."""

    def cleanup(self) -> None:
        """The module ends."""


class ScriptedLoadableModuleLogic:
    """Base of the logic, with the module's one parameter node in the scene."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        found = self.getAllParameterNodes()
        return found[0] if found else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if self.moduleName in (node.GetAttribute("ModuleName"), node.GetSingletonTag())]

    def createParameterNode(self) -> Any:
        node = slicer.vtkMRMLScriptedModuleNode()
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of the self-test that ships with a module."""

    messageDelay = 0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        slicer.util.delayDisplay(message, self.messageDelay)

    def runTest(self) -> None:
        raise AssertionError(f"{type(self).__name__} tests nothing")


class LoadedModule(NamedTuple):
    """A module in the host: its module object and its panel's Python object."""

    module: ScriptedLoadableModule
    widget: ScriptedLoadableModuleWidget

    def close(self) -> None:
        """What Slicer does at its end: leave the panel, clean up, unload. A second time is nothing."""
        name, panel = self.module.moduleName, self.widget.parent
        if hasattr(slicer.modules, name.lower()):
            panel.entered = False
            self.widget.exit()
            slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
            _forget(name, self.module.parent.path, panel)


def load_module(path: str | Path) -> LoadedModule:
    """Import a module's file, make its module object and its panel, set the panel up and enter it."""
    name, path, panel = Path(path).stem, str(path), modules.ModulePanel()
    try:
        python = _import_alone(name, path)
        module = getattr(python, name)(ModuleParent(name, path))
        modules.add(modules.Module(name, path, widgetRepresentation=lambda: panel))
        panel.setMRMLScene(slicer.mrmlScene)
        panel.python = getattr(python, f"{name}Widget")(panel)
        panel.python.setup()
        panel.entered = True
        panel.python.enter()
    except BaseException:
        _forget(name, path, panel)
        raise
    return LoadedModule(module, panel.python)


def _forget(name: str, path: str, panel: modules.ModulePanel) -> None:
    if panel.python is not None:
        slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", panel.python._unloading)
    vars(slicer.modules).pop(name.lower(), None)
    sys.modules.pop(name, None)
    if os.path.dirname(path) in sys.path:
        sys.path.remove(os.path.dirname(path))
    panel.deleteLater()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)


def _import_alone(name: str, path: str) -> Any:
    """Import the file while only its own folder and the interpreter's are on the path, as in Slicer."""
    before = sys.path[:]
    interpreters = [entry for entry in before if entry.startswith((sys.prefix, sys.base_prefix))]
    spec = importlib.util.spec_from_file_location(name, path)
    python = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path[:] = [os.path.dirname(path), *interpreters]
    try:
        spec.loader.exec_module(python)
    finally:
        sys.path[:] = [entry for entry in sys.path if entry not in before] + before
    return python
