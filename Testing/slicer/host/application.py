"""`slicer.app`: the scene, the modules' logics and the slice views are Slicer's own; what needs a user is recorded."""

from __future__ import annotations

import sys
import tempfile
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
import slicer.util
from PySide6 import QtCore, QtWidgets

from host import modules, mrml_widgets, parameter_node, pythonqt, recorders, scripted, subject_hierarchy
from host.views import LayoutManager


@dataclass(frozen=True)
class Dialog:
    """What the user was shown or asked: `kind` is the function's name, `arguments` what it was called with."""

    kind: str
    text: str
    arguments: Any


class HeadlessApplication(QtCore.QObject):
    """`slicer.app`, with the test's hands on it.

    dialogs: what the user was shown or asked, in order.
    answers: what the user answers to a kind of dialog ("confirmOkCancelDisplay"), or an exception to raise there.
    sample_data: what was registered in the Sample Data module.
    errors: exceptions that Qt or VTK swallowed, for instance in a slot, and Qt's warnings. A test should end with none.
    """

    startupCompleted = QtCore.Signal()
    aboutToQuit = QtCore.Signal()
    applicationName = "Slicer"
    majorVersion, minorVersion = 5, 13
    temporaryPath: str
    dialogs: list[Dialog]
    answers: dict[str, Any]
    sample_data: list[dict[str, Any]]
    errors: list[BaseException]
    _parts: dict[str, Any]

    processEvents = staticmethod(QtWidgets.QApplication.processEvents)
    clipboard = staticmethod(QtWidgets.QApplication.clipboard)
    palette = staticmethod(QtWidgets.QApplication.palette)
    topLevelWidgets = staticmethod(QtWidgets.QApplication.topLevelWidgets)
    setOverrideCursor = staticmethod(QtWidgets.QApplication.setOverrideCursor)
    restoreOverrideCursor = staticmethod(QtWidgets.QApplication.restoreOverrideCursor)

    def __init__(self) -> None:
        super().__init__()
        self.temporaryPath = tempfile.mkdtemp(prefix="slicer-host-")
        self.dialogs, self.answers, self.sample_data, self.errors = [], {}, [], []
        scene, logic = slicer.vtkMRMLScene(), slicer.vtkSlicerApplicationLogic()
        logic.SetTemporaryPath(self.temporaryPath)
        logic.SetMRMLScene(scene)
        self._parts = {
            "scene": scene,
            "logic": logic,
            "files": _file_access(logic, scene, self.temporaryPath),
            "layout": LayoutManager(logic, scene),
            "modules": modules.ModuleManager(),
        }
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        scene.AddNode(crosshair)

    def mrmlScene(self) -> Any:
        return self._parts["scene"]

    def applicationLogic(self) -> Any:
        return self._parts["logic"]

    def layoutManager(self) -> LayoutManager:
        return self._parts["layout"]

    def moduleManager(self) -> modules.ModuleManager:
        return self._parts["modules"]

    def settings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    userSettings = revisionUserSettings = settings

    def testingEnabled(self) -> bool:
        """False, as for a user: with True Slicer's own functions show and ask nothing."""
        return False

    def pauseRender(self) -> None:
        """Nothing renders by itself."""

    resumeRender = pauseRender

    def translate(self, context: str, text: str) -> str:
        return text

    def record(self, kind: str, text: str, arguments: Any) -> Any:
        """Note what was shown; gives or raises the answer set for its kind, None without one."""
        self.dialogs.append(Dialog(kind, text, arguments))
        answer = self.answers.get(kind)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def ask(self, kind: str, text: str, arguments: Any) -> Any:
        """Like record, for a question: the test must have said what the user answers."""
        if kind not in self.answers:
            raise AssertionError(f'nobody answers {kind} "{text}": set answers["{kind}"]')
        return self.record(kind, text, arguments)

    def shown(self, kind: str) -> list[str]:
        """The texts of one kind of dialog, in order."""
        return [dialog.text for dialog in self.dialogs if dialog.kind == kind]

    def wait_until(self, condition: Callable[[], Any], seconds: float = 10.0) -> None:
        """Let Qt work until the condition holds. Swallowed exceptions come out here."""
        end = time.monotonic() + seconds
        while not condition():
            self.processEvents()
            if self.errors:
                raise self.errors.pop(0)
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds} s")
            time.sleep(0.002)

    def note_error(self, kind: type, error: BaseException, trace: Any) -> None:
        self.errors.append(error)
        sys.__excepthook__(kind, error, trace)

    def note_message(self, kind: Any, context: Any, text: str) -> None:
        """What Qt warns of is an error too; the offscreen window's own remark is none."""
        if kind in (QtCore.QtMsgType.QtWarningMsg, QtCore.QtMsgType.QtCriticalMsg) and "propagateSizeHints" not in text:
            self.errors.append(RuntimeWarning(text))

    def reset(self) -> None:
        """As after the start: an empty scene, no settings, nothing recorded."""
        self.mrmlScene().Clear()
        for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
            self.mrmlScene().RemoveNode(node)
        for name in self.layoutManager().sliceViewNames():
            self.layoutManager().sliceWidget(name).mrmlSliceNode().SetSliceOffset(0.0)
        self.settings().clear()
        self.clipboard().clear()
        for kept in (self.dialogs, self.answers, self.sample_data, self.errors):
            kept.clear()


def start() -> HeadlessApplication:
    """The application of this process, made at the first call; `slicer.app` from then on."""
    if hasattr(slicer, "app"):
        return slicer.app
    pythonqt.install(lambda *asked: slicer.app.ask(*asked))
    slicer.app = HeadlessApplication()
    slicer.mrmlScene, slicer.modules = slicer.app.mrmlScene(), types.SimpleNamespace()
    sys.excepthook = slicer.app.note_error
    QtCore.qInstallMessageHandler(slicer.app.note_message)
    _keep_settings_in(slicer.app.temporaryPath)
    modules.add_slicers_own(slicer.app.applicationLogic(), slicer.mrmlScene)
    subject_hierarchy.keep(slicer.mrmlScene)
    vars(slicer).update(mrml_widgets.STAND_INS, qSlicerScriptedLoadableModuleWidget=modules.ModulePanel)
    recorders.install(slicer.app)
    for name, module in (("parameterNodeWrapper", parameter_node), ("ScriptedLoadableModule", scripted)):
        recorders.add_module(f"slicer.{name}", {public: getattr(module, public) for public in module.__all__})
    return slicer.app


def _keep_settings_in(folder: str) -> None:
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, folder)
    QtCore.QCoreApplication.setOrganizationName("Host")
    QtCore.QCoreApplication.setApplicationName("Slicer")


def _file_access(logic: Any, scene: Any, folder: str) -> tuple:
    """What reading a .mrb needs: a cache folder and its manager."""
    remote, data = slicer.vtkMRMLRemoteIOLogic(), slicer.vtkDataIOManagerLogic()
    for part in (remote, data):
        part.SetMRMLApplicationLogic(logic)
        part.SetMRMLScene(scene)
    remote.GetCacheManager().SetRemoteCacheDirectory(folder)
    data.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    return remote, data
