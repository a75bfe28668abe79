"""The Slicer module: the widget shows, the logic starts and wires, the library (ICHSegmentationLib) does.

Loads without torch. Nothing but the standard library, numpy, vtk, qt, ctk and slicer is imported at file scope.
"""

import json
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
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
from ICHSegmentationLib.finding import Finding, card_html, lesion_line, report_csv, report_text
from ICHSegmentationLib.terminology import DISCLAIMER
from ICHSegmentationLib.worker_process import WorkerProcess

WINDOWS = {"brain": (80, 40), "blood": (80, 55), "subdural": (200, 75)}  # width, level in HU
POLL_MS = 50
MEASURE_AFTER_EDIT_MS = 400


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
        from ICHSegmentationLib.sample_data import register

        register(Path(self.resourcePath("Icons")))


@parameterNodeWrapper
class ICHSegmentationParameterNode:
    """What the panel remembers with the scene."""

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    quality: Annotated[str, Choice(["auto", "full", "fast"])] = "auto"
    device: str = "auto"
    threshold: Annotated[float, WithinRange(0.01, 0.99)] = 0.5
    bundlePath: str = ""
    segmentation: slicer.vtkMRMLSegmentationNode
    probability: slicer.vtkMRMLScalarVolumeNode
    table: slicer.vtkMRMLTableNode
    scan: slicer.vtkMRMLScalarVolumeNode  # that the result belongs to
    statistics: str = ""  # of the run that made the result, JSON
    edited: bool = False


@dataclass
class Job:
    """A scan on its way through the worker."""

    volume_id: str
    out: Path
    started: float


class ICHSegmentationLogic(ScriptedLoadableModuleLogic):
    """Scans to the worker, results to the scene. Free of GUI: someone calls `listen` now and then."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.worker: WorkerProcess | None = None
        self.job: Job | None = None

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

    def first_scan(self) -> Any:
        """The first volume that the user's lists show; None if there is none."""
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return next((volume for volume in volumes if not volume.GetHideFromEditors()), None)

    def start(self, parameters: ICHSegmentationParameterNode) -> None:
        """Sends the chosen volume to the worker; `listen` brings what comes of it."""
        from ICHSegmentationLib.image_files import write_image_file
        from ICHSegmentationLib.mrml import volume_of_node

        node = parameters.inputVolume
        if reason := self.why_not(node):
            raise InputError(reason)
        volume = volume_of_node(node, dicom_tag)
        worker = self.running_worker()
        number = f"{time.monotonic_ns()}"
        scan, out = worker.folder / f"{number}.nrrd", worker.folder / number
        write_image_file(scan, volume.hu, volume.affine, {}, compressed=False)
        origins = None if volume.slice_origins_mm is None else volume.slice_origins_mm.tolist()
        self.job = Job(node.GetID(), out, time.monotonic())
        worker.ask(
            {
                "scan": str(scan),
                "out": str(out),
                "arrays": True,
                "bundle": parameters.bundlePath or None,
                "options": {"quality": parameters.quality, "device": parameters.device},
                "scan_info": {"slice_origins_mm": origins, "notes": list(volume.info.notes)},
            }
        )

    def running_worker(self) -> WorkerProcess:
        """The worker, started if there is none."""
        if self.worker is not None and not self.worker.is_running:
            self.close()
        if self.worker is None:
            self.worker = WorkerProcess(python_of_slicer())
        return self.worker

    def listen(self, parameters: ICHSegmentationParameterNode) -> list[dict[str, Any]]:
        """Messages of the worker since the last call; a result has been put into the scene by then."""
        if self.worker is None:
            return []
        heard = []
        for message in self.worker.messages():
            if message["message"] == "result" and self.job is not None:
                message = self.delivered(parameters, message)
            if message["message"] in ("result", "error", "ended"):
                self.job = None
            if message["message"] == "ended":
                self.close()
            heard.append(message)
        return heard

    def cancel(self) -> None:
        """Stops a run at once: the worker goes, with its memory, and a new one comes with the next run."""
        self.job = None
        self.close()

    def close(self) -> None:
        """Ends the worker."""
        if self.worker is not None:
            self.worker.end()
            self.worker = None

    # ---- to the scene

    def delivered(self, parameters: ICHSegmentationParameterNode, message: dict[str, Any]) -> dict[str, Any]:
        """Puts a result into the scene; the message to hand on."""
        from ICHSegmentationLib.mrml import add_probability, add_segmentation, add_table

        volume = slicer.mrmlScene.GetNodeByID(self.job.volume_id)
        if volume is None:
            text = _("The volume was removed while it was segmented: there is nowhere to put the result.")
            return {"message": "error", "text": text}
        mask, probability = (np.load(self.job.out / f"{name}.npy") for name in ("mask", "probability"))
        shutil.rmtree(self.job.out, ignore_errors=True)
        if mask.shape != volume.GetImageData().GetDimensions()[::-1]:
            return {"message": "error", "text": _("The volume was changed while it was segmented: run it again.")}
        statistics = message["statistics"]
        name = volume.GetName()
        parameters.segmentation = add_segmentation(volume, mask, _("{name} hemorrhage").format(name=name))
        parameters.probability = add_probability(volume, probability, _("{name} probability").format(name=name))
        parameters.table = add_table(volume, statistics["lesions"], _("{name} hemorrhage table").format(name=name))
        parameters.scan = volume
        parameters.statistics = json.dumps(statistics)
        parameters.threshold = statistics["threshold"]
        parameters.edited = False
        return {**message, "seconds": time.monotonic() - self.job.started}

    def remove_result(self, parameters: ICHSegmentationParameterNode) -> None:
        """Takes back the last run in one step."""
        for node in (parameters.segmentation, parameters.probability, parameters.table):
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)
        parameters.statistics = ""
        parameters.edited = False

    def has_result(self, parameters: ICHSegmentationParameterNode) -> bool:
        return bool(parameters.statistics) and parameters.segmentation is not None and parameters.scan is not None

    # ---- after a run

    def recut(self, parameters: ICHSegmentationParameterNode) -> None:
        """Cuts the probability at the threshold anew; what was drawn by hand since the run is lost."""
        from ICHSegmentationLib.mrml import set_mask

        probability = slicer.util.arrayFromVolume(parameters.probability)
        set_mask(parameters.segmentation, parameters.scan, probability >= parameters.threshold)
        parameters.edited = False

    def finding(self, parameters: ICHSegmentationParameterNode) -> Finding:
        """The result as it stands; measured anew where threshold or hand have changed it. Fills the table."""
        from ICHSegmentationLib.mrml import fill_table

        finding = replace(
            Finding.of_run(json.loads(parameters.statistics)),
            threshold=parameters.threshold,
            edited=parameters.edited,
        )
        if not finding.is_of_run:
            finding = replace(finding, lesions=self.measured(parameters))
        if parameters.table is not None:
            fill_table(parameters.table, finding.lesions)
        return finding

    def measured(self, parameters: ICHSegmentationParameterNode) -> list[dict[str, Any]]:
        """The lesions of the mask as it is in the scene now."""
        from dataclasses import asdict

        from ICHSegmentationLib.lesions import find_lesions
        from ICHSegmentationLib.mrml import mask_of, volume_of_node

        volume = volume_of_node(parameters.scan, dicom_tag)
        mask = mask_of(parameters.segmentation, parameters.scan)
        return [asdict(lesion) for lesion in find_lesions(mask.T, volume)]

    def show_window(self, volume: Any, name: str) -> None:
        width, level = WINDOWS[name]
        volume.CreateDefaultDisplayNodes()
        display = volume.GetDisplayNode()
        display.AutoWindowLevelOff()
        display.SetWindowLevel(width, level)

    def jump_to(self, position_mm_ras: list[float]) -> None:
        """Centres all slice views on a place."""
        slicer.modules.markups.logic().JumpSlicesToLocation(*position_mm_ras, True)

    def show_3d(self, parameters: ICHSegmentationParameterNode, shown: bool) -> None:
        if shown:
            parameters.segmentation.CreateClosedSurfaceRepresentation()
        parameters.segmentation.GetDisplayNode().SetVisibility3D(shown)

    def export_dicom_seg(self, parameters: ICHSegmentationParameterNode, folder: str) -> None:
        """Writes the segmentation as DICOM SEG with the plugin of Slicer's QuantitativeReporting extension."""
        plugins = getattr(slicer.modules, "dicomPlugins", {})
        if "DICOMSegmentationPlugin" not in plugins:
            raise InputError(_("DICOM SEG export needs the extension QuantitativeReporting; install it first."))
        plugin = plugins["DICOMSegmentationPlugin"]()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        exportables = plugin.examineForExport(hierarchy.GetItemByDataNode(parameters.segmentation))
        if not exportables:
            raise InputError(_("DICOM SEG refers to the CT's DICOM images; this volume was not loaded from DICOM."))
        for exportable in exportables:
            exportable.directory = folder
        if problem := plugin.export(exportables):
            raise InputError(problem)


def dicom_tag(uid: str, tag: str) -> str:
    """A tag of a DICOM file that Slicer has loaded; empty where its database does not know it."""
    database = getattr(slicer, "dicomDatabase", None)
    return database.instanceValue(uid, tag) if database is not None else ""


def python_of_slicer() -> str:
    """The interpreter that has Slicer's packages; in Slicer, `sys.executable` is the application."""
    return shutil.which("PythonSlicer") or sys.executable


class ICHSegmentationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: ICHSegmentationLogic | None = None
        self.parameters: ICHSegmentationParameterNode | None = None
        self.bound: Any = None  # what binds the parameters to the widgets
        self.found: Finding | None = None
        self.diagnosis = ""
        self.quiet = False  # while the panel itself changes mask or slider

    # ---- life of the panel

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/ICHSegmentation.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = ICHSegmentationLogic()
        self.timer = qt.QTimer()
        self.timer.setInterval(POLL_MS)
        self.timer.connect("timeout()", self.on_timer)
        self.edit_timer = qt.QTimer()
        self.edit_timer.setSingleShot(True)
        self.edit_timer.setInterval(MEASURE_AFTER_EDIT_MS)
        self.edit_timer.connect("timeout()", self.show_finding)
        for button, act in (
            (self.ui.segmentButton, self.on_segment_or_cancel),
            (self.ui.brainWindowButton, lambda: self.show_window("brain")),
            (self.ui.bloodWindowButton, lambda: self.show_window("blood")),
            (self.ui.subduralWindowButton, lambda: self.show_window("subdural")),
            (self.ui.editButton, self.on_edit),
            (self.ui.copyTextButton, lambda: self.copy(report_text(self.found, self.scan_name()))),
            (self.ui.copyTableButton, lambda: self.copy(report_csv(self.found, self.scan_name()))),
            (self.ui.copyDiagnosisButton, lambda: self.copy(self.diagnosis)),
            (self.ui.exportButton, self.on_export),
            (self.ui.undoButton, self.on_undo),
        ):
            button.connect("clicked()", act)
        self.ui.show3DButton.connect("toggled(bool)", self.on_show_3d)
        self.ui.lesionList.connect("currentRowChanged(int)", self.on_lesion)
        self.ui.thresholdSlider.connect("valueChanged(double)", self.on_threshold)
        self.ui.disclaimerLabel.text = DISCLAIMER
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.on_scene_start_close)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.on_scene_end_close)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self.on_node_removed)
        self.bind()

    def cleanup(self) -> None:
        self.timer.stop()
        self.edit_timer.stop()
        self.logic.close()
        self.unbind()
        self.removeObservers()

    def enter(self) -> None:
        self.bind()

    def exit(self) -> None:
        self.unbind()

    def bind(self) -> None:
        """Ties the panel to the scene's parameter node."""
        if self.parameters is not None:
            return
        self.parameters = self.logic.getParameterNode()
        if self.parameters.inputVolume is None:
            self.parameters.inputVolume = self.logic.first_scan()
        self.bound = self.parameters.connectGui(self.ui)
        self.addObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.on_parameters)
        self.on_parameters()
        self.show_finding()

    def unbind(self) -> None:
        if self.parameters is None:
            return
        self.parameters.disconnectGui(self.bound)
        self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.on_parameters)
        self.observe_edits(None)
        self.parameters = None

    def on_scene_start_close(self, caller: Any, event: str) -> None:
        self.stop()
        self.unbind()

    def on_scene_end_close(self, caller: Any, event: str) -> None:
        if self.parent.isEntered:
            self.bind()

    def on_node_removed(self, caller: Any, event: str) -> None:
        if self.parameters is not None and self.found is not None and not self.logic.has_result(self.parameters):
            self.show_finding()

    # ---- a run

    def on_parameters(self, caller: Any = None, event: str = "") -> None:
        running = self.logic.job is not None
        reason = self.logic.why_not(self.parameters.inputVolume)
        self.ui.segmentButton.text = _("Cancel") if running else _("Segment")
        self.ui.segmentButton.enabled = running or not reason
        self.ui.segmentButton.toolTip = _("Stops the run") if running else reason or _("Finds and measures hemorrhage")
        for button in (self.ui.brainWindowButton, self.ui.bloodWindowButton, self.ui.subduralWindowButton):
            button.enabled = self.parameters.inputVolume is not None

    def on_segment_or_cancel(self) -> None:
        if self.logic.job is not None:
            self.stop()
            self.show_progress(_("Cancelled."))
            return
        self.show_problem("")
        try:
            self.logic.start(self.parameters)
        except ICHError as error:
            self.show_problem(str(error))
            return
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = True
        self.show_progress(_("Starting ..."))
        self.timer.start()
        self.on_parameters()

    def stop(self) -> None:
        """Ends a run, if there is one."""
        self.timer.stop()
        if self.logic.job is not None:
            self.logic.cancel()
        self.ui.progressBar.visible = False
        if self.parameters is not None:
            self.on_parameters()

    def on_timer(self) -> None:
        for message in self.logic.listen(self.parameters):
            kind = message["message"]
            if kind == "progress":
                self.ui.progressBar.value = round(1000 * message["fraction"])
                self.show_progress(progress_line(message))
            elif kind == "result":
                self.on_result(message)
            elif kind == "error":
                self.on_error(message["text"], message.get("details", ""))
            elif kind == "ended":
                lines = "\n".join(message["last_lines"])
                text = _("The program that segments ended unexpectedly (exit code {code}).")
                self.on_error(text.format(code=message["exit_code"]), lines)
        if self.logic.job is None:
            self.stop()

    def on_result(self, message: dict[str, Any]) -> None:
        self.show_progress(_("Done in {seconds:.0f} s.").format(seconds=message["seconds"]))
        self.show_window("blood")
        self.show_finding()
        if self.found is not None and self.found.lesions:
            self.logic.jump_to(self.found.lesions[0]["centroid_mm_ras"])

    def on_error(self, text: str, details: str) -> None:
        self.show_progress("")
        self.show_problem(text[:1].upper() + text[1:], details)

    # ---- what is shown

    def show_progress(self, line: str) -> None:
        self.ui.progressLabel.text = line
        self.ui.progressLabel.visible = bool(line)

    def show_problem(self, text: str, details: str = "") -> None:
        self.diagnosis = diagnosis(text, details) if text else ""
        self.ui.problemLabel.text = text
        self.ui.problemLabel.visible = bool(text)
        self.ui.copyDiagnosisButton.visible = bool(text)

    def show_finding(self) -> None:
        """Shows the result as it stands, or none."""
        shown = self.parameters is not None and self.logic.has_result(self.parameters)
        self.ui.resultBox.visible = shown
        self.observe_edits(self.parameters.segmentation if shown else None)
        if not shown:
            self.found = None
            return
        self.found = self.logic.finding(self.parameters)
        self.quiet = True
        self.ui.thresholdSlider.value = self.parameters.threshold
        self.ui.thresholdSlider.enabled = self.parameters.probability is not None
        self.ui.lesionList.clear()
        for number, lesion in enumerate(self.found.lesions, 1):
            self.ui.lesionList.addItem(lesion_line(number, lesion))
        self.quiet = False
        self.ui.cardLabel.text = card_html(self.found)
        self.ui.warningsLabel.text = "\n".join(self.found.statistics["warnings"])
        self.ui.warningsLabel.visible = bool(self.found.statistics["warnings"])

    def show_window(self, name: str) -> None:
        if self.parameters.inputVolume is not None:
            self.logic.show_window(self.parameters.inputVolume, name)

    def scan_name(self) -> str:
        return self.parameters.scan.GetName()

    # ---- after a run

    def on_lesion(self, row: int) -> None:
        if not self.quiet and self.found is not None and 0 <= row < len(self.found.lesions):
            self.logic.jump_to(self.found.lesions[row]["centroid_mm_ras"])

    def on_threshold(self, value: float) -> None:
        if self.quiet or self.parameters is None or not self.logic.has_result(self.parameters):
            return
        self.parameters.threshold = round(value, 2)
        self.quiet = True
        self.logic.recut(self.parameters)
        self.quiet = False
        self.edit_timer.start()

    def observe_edits(self, segmentation: Any) -> None:
        """Listens to changes of one segmentation's mask, and to no other."""
        for obj, event, method, *_rest in list(self.Observations):
            if method == self.on_mask_changed:
                self.removeObserver(obj, event, method)
        if segmentation is not None:
            modified = slicer.vtkSegmentation.SourceRepresentationModified
            self.addObserver(segmentation.GetSegmentation(), modified, self.on_mask_changed)

    def on_mask_changed(self, caller: Any, event: str) -> None:
        if not self.quiet and self.parameters is not None:
            self.parameters.edited = True
            self.edit_timer.start()  # once the hand rests

    def on_edit(self) -> None:
        slicer.util.selectModule("SegmentEditor")
        editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
        editor.setSegmentationNode(self.parameters.segmentation)
        editor.setSourceVolumeNode(self.parameters.scan)

    def on_show_3d(self, shown: bool) -> None:
        if self.logic.has_result(self.parameters):
            self.logic.show_3d(self.parameters, shown)

    def on_undo(self) -> None:
        self.logic.remove_result(self.parameters)
        self.show_finding()
        self.show_progress("")

    def on_export(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self.parent, _("Folder for the DICOM SEG file"))
        if not folder:
            return
        try:
            self.logic.export_dicom_seg(self.parameters, folder)
        except ICHError as error:
            self.show_problem(str(error))

    def copy(self, text: str) -> None:
        slicer.app.clipboard().setText(text)


def progress_line(message: dict[str, Any]) -> str:
    """Stage, detail and time left, in words."""
    left = message["seconds_left"]
    rest = "" if left is None else _(", {seconds:.0f} s left").format(seconds=left)
    return f"{message['stage'].capitalize()}: {message['detail']}{rest}" if message["detail"] else message["stage"]


def diagnosis(text: str, details: str) -> str:
    """What a bug report needs; no name of a patient or scan."""
    application = f"Slicer {slicer.app.applicationVersion}" if hasattr(slicer.app, "applicationVersion") else "Slicer"
    return "\n".join([text, f"{application}, Python {sys.version.split()[0]}, {sys.platform}", details]).strip() + "\n"


class ICHSegmentationTest(ScriptedLoadableModuleTest):
    """Runs in a real Slicer: a generated head goes the whole way."""

    def runTest(self) -> None:
        slicer.mrmlScene.Clear()
        self.test_a_generated_head_is_segmented()

    def test_a_generated_head_is_segmented(self) -> None:
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Generated head")
        slicer.util.updateVolumeFromArray(volume, ellipsoid_head())
        volume.SetSpacing(1.0, 1.0, 5.0)
        logic = ICHSegmentationLogic()
        parameters = logic.getParameterNode()
        parameters.inputVolume = volume
        parameters.device = "cpu"
        logic.start(parameters)
        until = time.monotonic() + 300
        kinds: list[str] = []
        while not {"result", "error", "ended"} & set(kinds) and time.monotonic() < until:
            kinds += [message["message"] for message in logic.listen(parameters)]
            slicer.app.processEvents()
            time.sleep(0.05)
        logic.close()
        self.assertIn("result", kinds)
        self.assertTrue(logic.has_result(parameters))


def ellipsoid_head() -> np.ndarray:
    """Scalp, skull, brain and a ball of blood, [z, y, x] in HU on a grid of 1 x 1 x 5 mm."""
    z, y, x = np.ogrid[-15:15, -110:110, -90:90]
    radius = np.sqrt((x / 72) ** 2 + (y / 88) ** 2 + (5 * z / 70) ** 2)
    hu = np.select([radius < 0.96, radius < 1.06, radius < 1.12], [32, 900, 20], -1000).astype(np.int16)
    hu[(x - 20) ** 2 + (y - 10) ** 2 + (5 * z) ** 2 < 15**2] = 70
    return hu
