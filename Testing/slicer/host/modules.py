"""`slicer.modules`: the logics of Slicer's own modules, and what a module is to the application."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from host.mrml_widgets import qMRMLSegmentEditorWidget, qMRMLWidget

LOGICS = {
    "Colors": slicer.vtkMRMLColorLogic,
    "Volumes": slicer.vtkSlicerVolumesLogic,
    "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic,
    "Terminologies": slicer.vtkSlicerTerminologiesModuleLogic,
    "Tables": slicer.vtkSlicerTablesLogic,
    "SubjectHierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic,
    "Models": slicer.vtkSlicerModelsLogic,
    "Markups": slicer.vtkSlicerMarkupsLogic,
    "Sequences": slicer.vtkSlicerSequencesLogic,
    "Transforms": slicer.vtkSlicerTransformLogic,
}


@dataclass(frozen=True)
class Module:
    """`slicer.modules.volumes`: a module's name, file, logic and panel."""

    name: str
    path: str = ""
    logic: Callable[[], Any] = lambda: None
    widgetRepresentation: Callable[[], Any] = lambda: None


class ModuleManager(QtCore.QObject):
    """`slicer.app.moduleManager()`."""

    moduleLoaded = QtCore.Signal(str)
    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def module(self, name: str) -> Module | None:
        return getattr(slicer.modules, name.lower(), None)


class ModulePanel(qMRMLWidget):
    """qSlicerScriptedLoadableModuleWidget: the panel that is `parent` of a scripted module's widget class."""

    python: Any
    entered: bool

    def __init__(self) -> None:
        super().__init__()
        self.python, self.entered = None, False
        QtWidgets.QVBoxLayout(self)

    def self(self) -> Any:
        return self.python

    isEntered = QtCore.Property(bool, lambda self: self.entered)


def add(module: Module) -> None:
    setattr(slicer.modules, module.name.lower(), module)
    slicer.app.moduleManager().moduleLoaded.emit(module.name)


def add_slicers_own(application_logic: Any, scene: Any) -> None:
    for name, logic_class in LOGICS.items():
        logic = logic_class()
        logic.SetMRMLApplicationLogic(application_logic)
        vtk.vtkObject.GlobalWarningDisplayOff()  # the terminologies' files are not part of slicer-core
        logic.SetMRMLScene(scene)
        vtk.vtkObject.GlobalWarningDisplayOn()
        application_logic.SetModuleLogic(name, logic)
        add(Module(name, logic=lambda logic=logic: logic))
    slicer.modules.colors.logic().AddDefaultColorNodes()
    _add_segment_editor(scene)


def _add_segment_editor(scene: Any) -> None:
    """The segment editor's panel, which knows what it edits, in its real node."""
    panel, node = ModulePanel(), slicer.vtkMRMLSegmentEditorNode()
    node.SetSingletonTag("SegmentEditor")
    editor = qMRMLSegmentEditorWidget(panel)
    editor.setMRMLScene(scene)
    editor.setMRMLSegmentEditorNode(scene.AddNode(node))
    panel.python = types.SimpleNamespace(editor=editor)
    add(Module("SegmentEditor", widgetRepresentation=lambda: panel))
