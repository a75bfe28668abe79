"""The Slicer module: the widget shows, the logic starts and wires, the library (ICHSegmentationLib) does.

Loads without torch. Nothing but the standard library, numpy, vtk, qt, ctk and slicer is imported at file scope.
"""

import sys
import time
import traceback
import unittest
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

try:
    from ICHSegmentationLib.errors import ICHError, InputError
except ImportError:  # run from the source tree: Slicer knows this file's folder only
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from ICHSegmentationLib.errors import ICHError, InputError
from ICHSegmentationLib.panel import application
from ICHSegmentationLib.panel.scene_result import SceneResult, add_result, result_of, show_alone
from ICHSegmentationLib.worker_keeper import WorkerKeeper

PICK_CT_AFTER_MS = 200  # a volume gets its image some time after it comes


class ICHSegmentation(ScriptedLoadableModule):
    """What Slicer's module list knows."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("ICH Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["The ICHSegmentation developers"]
        parent.helpText = _(
            "Finds and measures intracranial hemorrhage (bleeding in the head) on a CT without contrast agent, with an "
            "ensemble of E(3)-equivariant U-Nets. Choose a head CT, click Segment, correct the result in the Segment "
            "Editor. Research use only, not for clinical use."
        )
        parent.acknowledgementText = _(
            "The networks follow Geiger et al. (INSTANCE 2022) and Diaz et al. (Machine Learning for Biomedical "
            "Imaging 2024). The bundled ensemble was trained on simulated scans only."
        )
        slicer.app.connect("startupCompleted()", self.register_sample_data)

    def register_sample_data(self) -> None:
        from ICHSegmentationLib.panel.sample_data import register

        register(Path(self.resourcePath("Icons")))


@parameterNodeWrapper
class ICHSegmentationParameterNode:
    """What the panel remembers with the scene."""

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    quality: Annotated[str, Choice(["auto", "full", "fast"])] = "auto"
    device: str = "auto"
    bundlePath: str = ""
    segmentation: slicer.vtkMRMLSegmentationNode  # of the result that is shown


class ICHSegmentationLogic(ScriptedLoadableModuleLogic):
    """Scans to the worker, results to the scene. Free of GUI: someone calls `listen` now and then."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.keeper = WorkerKeeper(application.python_of_slicer())
        self.job: Any = None  # the Handover of the scan that the worker has
        self.earlier: list[str] = []  # segmentations of results that were shown before, by id, last last

    def getParameterNode(self) -> ICHSegmentationParameterNode:
        return ICHSegmentationParameterNode(super().getParameterNode())

    # ---- to the worker

    def why_not(self, volume: Any) -> str:
        """Why this volume cannot be segmented now, for a tooltip; empty if it can."""
        if self.job is not None:
            return _("A scan is being segmented.")
        if volume is None:
            return _("Choose a head CT.")
        image = volume.GetImageData()
        if image is None or 0 in image.GetDimensions():
            return _("The chosen volume holds no image.")
        if image.GetNumberOfScalarComponents() != 1:
            return _("The chosen volume is in colour; a CT is wanted.")
        return ""

    def start(self, parameters: ICHSegmentationParameterNode) -> None:
        """Sends the chosen volume to the worker; `listen` brings what comes of it."""
        from ICHSegmentationLib.panel.handover import Handover

        if reason := self.why_not(parameters.inputVolume):
            raise InputError(reason)
        worker = self.keeper.running()
        self.job = Handover(parameters.inputVolume, worker, application.dicom_tag)
        options = {"quality": parameters.quality, "device": parameters.device}
        worker.ask({**self.job.request, "bundle": parameters.bundlePath or None, "options": options})

    def listen(self, parameters: ICHSegmentationParameterNode) -> list[dict[str, Any]]:
        """Messages of the worker since the last call; a result has been put into the scene by then."""
        heard = []
        for message in self.keeper.worker.messages() if self.keeper.worker is not None else ():
            if message["message"] == "result" and self.job is not None:
                try:
                    message = self.delivered(parameters, message)
                except (ICHError, OSError, ValueError, RuntimeError) as error:  # whatever Slicer or the disk refuses
                    message = {"message": "error", "text": str(error), "details": traceback.format_exc()}
            if message["message"] in ("result", "error", "ended"):
                self.end_job()
            if message["message"] == "ended":
                self.keeper.end()
            heard.append(message)
        return heard

    def end_job(self) -> None:
        if self.job is not None:
            self.job.clear()
            self.job = None

    def cancel(self) -> None:
        """Stops a run at once: the worker goes, with its memory, and a new one comes with the next run."""
        self.keeper.end()
        self.end_job()

    def close(self) -> None:
        """Ends the worker."""
        self.cancel()

    # ---- to the scene

    def delivered(self, parameters: ICHSegmentationParameterNode, message: dict[str, Any]) -> dict[str, Any]:
        """Puts a result into the scene, all of it or nothing; the message to hand on."""
        answer = self.job.answer()
        self.choose(parameters, add_result(answer.volume, answer.mask, answer.probability, message["statistics"]))
        return {**message, "seconds": self.job.seconds}

    def result(self, parameters: ICHSegmentationParameterNode) -> SceneResult | None:
        """The result that is chosen; None if there is none, or not any more."""
        return result_of(parameters.parameterNode.GetNodeReference("segmentation"))  # the wrapper holds removed nodes

    def choose(self, parameters: ICHSegmentationParameterNode, result: SceneResult) -> None:
        """Makes a result the one that is shown; Undo goes back to the one before."""
        before, chosen = self.result(parameters), result.segmentation.GetID()
        if before is not None:
            self.earlier.append(before.segmentation.GetID())
        self.earlier = [each for each in self.earlier if each != chosen]
        parameters.segmentation = result.segmentation

    def undo(self, parameters: ICHSegmentationParameterNode) -> None:
        """Removes the chosen result in one step; the one before it, if it is still there, is chosen again."""
        if (result := self.result(parameters)) is not None:
            result.remove()
        parameters.segmentation = None
        while self.earlier and self.result(parameters) is None:
            parameters.segmentation = slicer.mrmlScene.GetNodeByID(self.earlier.pop())


class ICHSegmentationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: ICHSegmentationLogic | None = None
        self.parameters: ICHSegmentationParameterNode | None = None
        self.bound: Any = None  # what binds the parameters to the widgets while the panel is open
        self.batch: Any = None
        self.set_up: Any = None
        self.result: Any = None
        self.run: Any = None

    # ---- life of the panel

    def setup(self) -> None:
        from ICHSegmentationLib.installation import read_requirements
        from ICHSegmentationLib.panel.batch_section import BatchSection
        from ICHSegmentationLib.panel.result_section import ResultSection
        from ICHSegmentationLib.panel.run_section import RunSection
        from ICHSegmentationLib.panel.setup_section import SetupSection

        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/ICHSegmentation.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = ICHSegmentationLogic()
        requirements = read_requirements(Path(self.resourcePath("requirements.txt")))
        self.set_up = SetupSection(self.ui, self.logic.keeper, requirements, self.use_ensemble, self.show_buttons)
        self.run = RunSection(
            self.ui, self.logic, lambda: self.parameters, self.show_buttons, self.on_result, self.set_up.diagnostics
        )
        self.batch = BatchSection(
            self.ui, self.logic.keeper, self.batch_settings, self.show_buttons, self.show_scan, self.show_result
        )
        self.result = ResultSection(self.ui, self.on_undo, self.run.show_problem)
        self.pick_timer = qt.QTimer()
        self.pick_timer.setInterval(PICK_CT_AFTER_MS)
        self.pick_timer.setSingleShot(True)
        self.pick_timer.connect("timeout()", self.pick_ct)
        for name, button in self.window_buttons().items():
            button.connect("clicked()", lambda name=name: application.show_window(self.parameters.inputVolume, name))
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.on_scene_start_close)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.on_scene_end_close)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.on_scene_end_import)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self.on_node_added)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self.on_node_removed)
        self.bind()

    def cleanup(self) -> None:
        self.run.stop()
        self.batch.stop()
        self.set_up.timer.stop()
        self.pick_timer.stop()
        self.logic.close()
        self.forget_parameters()
        self.removeObservers()

    def enter(self) -> None:
        self.bind()

    def exit(self) -> None:
        self.unbind()

    def bind(self) -> None:
        """Ties the widgets to the scene's parameter node."""
        if self.bound is not None:
            return
        self.parameters = self.logic.getParameterNode()
        self.pick_ct()
        named = {widget.property("SlicerParameterName"): widget for widget in vars(self.ui).values()}
        named.pop(None, None)
        self.bound = self.parameters.connectParametersToGui(named)  # connectGui forgets to return its tag
        self.addObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.on_parameters)
        self.look_at_installation()
        self.result.is_open = True
        self.result.show(self.logic.result(self.parameters))

    def unbind(self) -> None:
        """Leaves the widgets as they are; edits of the result are still noticed."""
        if self.bound is not None:
            self.parameters.disconnectGui(self.bound)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.on_parameters)
            self.bound = None
        self.result.is_open = False

    def forget_parameters(self) -> None:
        self.unbind()
        self.result.show(None)
        self.parameters = None

    def on_scene_start_close(self, caller: Any, event: str) -> None:
        self.run.stop()
        self.batch.forget_volumes()
        self.logic.earlier.clear()
        self.forget_parameters()

    def on_scene_end_close(self, caller: Any, event: str) -> None:
        if self.parent.isEntered:
            self.bind()

    def on_scene_end_import(self, caller: Any, event: str) -> None:
        if self.parent.isEntered:  # what was imported may hold a result, and brings other nodes under the same names
            self.forget_parameters()
            self.bind()

    def on_node_added(self, caller: Any, event: str) -> None:
        if self.bound is not None and self.parameters.inputVolume is None:
            self.pick_timer.start()

    def on_node_removed(self, caller: Any, event: str) -> None:
        if self.parameters is not None and self.result.shown is not None and self.logic.result(self.parameters) is None:
            self.result.show(None)

    def pick_ct(self) -> None:
        """Chooses a CT if none is chosen."""
        from ICHSegmentationLib.panel.batch_volumes import first_ct

        if self.parameters is not None and self.parameters.inputVolume is None:
            self.parameters.inputVolume = first_ct()

    def look_at_installation(self) -> None:
        """Looks at what is installed for the ensemble that is chosen."""
        self.set_up.look_again(self.chosen_bundle())
        self.show_buttons()

    def use_ensemble(self, folder: str) -> None:
        self.parameters.bundlePath = folder

    def chosen_bundle(self) -> Path | None:
        return Path(self.parameters.bundlePath) if self.parameters.bundlePath else None

    def batch_settings(self) -> Any:
        from ICHSegmentationLib.batch import Settings

        return Settings(self.chosen_bundle(), {"quality": self.parameters.quality, "device": self.parameters.device})

    # ---- what can be done

    def window_buttons(self) -> dict[str, Any]:
        return {name: getattr(self.ui, f"{name}WindowButton") for name in application.WINDOWS}

    def on_parameters(self, caller: Any = None, event: str = "") -> None:
        if self.chosen_bundle() != self.set_up.bundle:
            self.look_at_installation()
        self.show_buttons()

    def show_buttons(self) -> None:
        """Offers what can be done now, and says why the rest cannot."""
        if self.parameters is None or self.batch is None:
            return
        running, missing = self.run.is_running, self.set_up.installation.why_not
        busy = _("A batch is running.") if self.batch.is_running else missing
        reason = busy or self.logic.why_not(self.parameters.inputVolume)
        self.run.show_state(reason)
        self.batch.show_state(_("A scan is being segmented.") if running else missing)
        for button in self.window_buttons().values():
            button.enabled = self.parameters.inputVolume is not None

    # ---- results

    def on_result(self) -> None:
        self.show_result(self.logic.result(self.parameters))

    def show_scan(self, volume: Any) -> None:
        """Shows a scan in the views, without any overlay of ours, and chooses it."""
        self.parameters.inputVolume = volume
        self.look_at(volume)
        show_alone(None)

    def look_at(self, volume: Any) -> None:
        application.show_volume(volume)
        application.show_window(volume, "blood")

    def show_result(self, result: SceneResult) -> None:
        """Shows a result: its scan and its overlay alone in the views, at the largest lesion; its card."""
        self.logic.choose(self.parameters, result)
        self.look_at(result.scan)
        show_alone(result)
        self.result.show(result)
        self.result.jump_to_largest()

    def on_undo(self) -> None:
        self.logic.undo(self.parameters)
        before = self.logic.result(self.parameters)
        self.result.show(before)
        if before is not None:
            application.show_volume(before.scan)
            show_alone(before)
        self.run.show_progress("")


class ICHSegmentationTest(ScriptedLoadableModuleTest):
    """Runs in a real Slicer: a generated head goes the whole way."""

    def runTest(self) -> None:
        slicer.mrmlScene.Clear()
        try:
            self.test_a_generated_head_is_segmented()
        except unittest.SkipTest as reason:
            self.delayDisplay(_("Skipped: {reason}").format(reason=reason))

    def test_a_generated_head_is_segmented(self) -> None:
        from ICHSegmentationLib.installation import look, read_requirements

        requirements = read_requirements(Path(__file__).parent / "Resources" / "requirements.txt")
        if why_not := look(requirements, None).why_not:
            self.skipTest(why_not)
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Generated head")
        slicer.util.updateVolumeFromArray(volume, ellipsoid_head())
        volume.SetSpacing(1.0, 1.0, 5.0)
        logic = ICHSegmentationLogic()
        parameters = logic.getParameterNode()
        parameters.inputVolume = volume
        parameters.device = "cpu"
        logic.start(parameters)
        until = time.monotonic() + 300
        heard: list[dict[str, Any]] = [{}]
        while heard[-1].get("message") not in ("result", "error", "ended") and time.monotonic() < until:
            heard += logic.listen(parameters)
            slicer.app.processEvents()
            time.sleep(0.05)
        logic.close()
        self.assertEqual(heard[-1].get("message"), "result", heard[-1])
        self.assertIsNotNone(logic.result(parameters))


def ellipsoid_head() -> np.ndarray:
    """Scalp, skull, brain and a ball of blood, [z, y, x] in HU on a grid of 1 x 1 x 5 mm."""
    z, y, x = np.ogrid[-15:15, -110:110, -90:90]
    radius = np.sqrt((x / 72) ** 2 + (y / 88) ** 2 + (5 * z / 70) ** 2)
    hu = np.select([radius < 0.96, radius < 1.06, radius < 1.12], [32, 900, 20], -1000).astype(np.int16)
    hu[(x - 20) ** 2 + (y - 10) ** 2 + (5 * z) ** 2 < 15**2] = 70
    return hu
