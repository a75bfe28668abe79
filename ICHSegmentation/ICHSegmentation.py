"""The Slicer module: the widget shows, the logic starts and wires, the library (ICHSegmentationLib) does.

Loads without torch. Nothing but the standard library, numpy, vtk, qt, ctk and slicer is imported at file scope.
"""

import json
import sys
import time
import traceback
import unittest
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
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
    from ICHSegmentationLib.errors import ICHError, InputError, sentence
except ImportError:  # run from the source tree: Slicer knows this file's folder only
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from ICHSegmentationLib.errors import ICHError, InputError, sentence
from ICHSegmentationLib.finding import Finding, card_html, lesion_line, report_csv, report_text
from ICHSegmentationLib.panel import application
from ICHSegmentationLib.terminology import DISCLAIMER
from ICHSegmentationLib.worker_keeper import WorkerKeeper

POLL_MS = 50
MEASURE_AFTER_EDIT_MS = 400
PICK_CT_AFTER_MS = 200  # a volume gets its image some time after it comes
LESIONS_SHOWN = 6  # the others by scrolling


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
    threshold: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    bundlePath: str = ""
    segmentation: slicer.vtkMRMLSegmentationNode
    probability: slicer.vtkMRMLScalarVolumeNode
    table: slicer.vtkMRMLTableNode
    scan: slicer.vtkMRMLScalarVolumeNode  # that the result belongs to
    statistics: str = ""  # of the run that made the result, JSON
    edited: bool = False


@dataclass(frozen=True)
class Result:
    """The nodes and numbers of one run, by their ids: what Undo brings back when it takes back the run after it."""

    node_ids: dict[str, str]
    values: dict[str, Any]


RESULT_NODES = ("segmentation", "probability", "table", "scan")
RESULT_VALUES = ("statistics", "threshold", "edited")


class ICHSegmentationLogic(ScriptedLoadableModuleLogic):
    """Scans to the worker, results to the scene. Free of GUI: someone calls `listen` now and then."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.keeper = WorkerKeeper(application.python_of_slicer())
        self.job: Any = None  # the Handover of the scan that the worker has
        self.earlier: list[Result] = []  # than the one in the parameters, last last

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
        from ICHSegmentationLib.mrml import add_probability, add_segmentation, add_table

        answer, statistics = self.job.answer(), message["statistics"]
        volume, name = answer.volume, answer.volume.GetName()
        with ExitStack() as unfinished:

            def made(node: Any) -> Any:
                unfinished.callback(slicer.mrmlScene.RemoveNode, node)
                return node

            segmentation = made(add_segmentation(volume, answer.mask, _("{name} hemorrhage").format(name=name)))
            probability = made(add_probability(volume, answer.probability, _("{name} probability").format(name=name)))
            table = made(add_table(volume, statistics["lesions"], _("{name} hemorrhage table").format(name=name)))
            unfinished.pop_all()
        if self.has_result(parameters):
            self.earlier.append(self.result_of(parameters))
        parameters.segmentation, parameters.probability, parameters.table = segmentation, probability, table
        parameters.scan = volume
        parameters.statistics = json.dumps(statistics)
        parameters.threshold = statistics["threshold"]
        parameters.edited = False
        return {**message, "seconds": self.job.seconds}

    def has_result(self, parameters: ICHSegmentationParameterNode) -> bool:
        node = parameters.parameterNode  # while a node is removed, the wrapper still holds it
        there = all(node.GetNodeReference(name) is not None for name in ("segmentation", "scan"))
        return there and bool(parameters.statistics)

    def result_of(self, parameters: ICHSegmentationParameterNode) -> Result:
        nodes = {name: getattr(parameters, name) for name in RESULT_NODES}
        ids = {name: node.GetID() for name, node in nodes.items() if node is not None}
        return Result(ids, {name: getattr(parameters, name) for name in RESULT_VALUES})

    def undo(self, parameters: ICHSegmentationParameterNode) -> None:
        """Takes back the last run in one step; the run before it, if it is still there, is the result again."""
        for node in (parameters.segmentation, parameters.probability, parameters.table):
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)
        parameters.statistics = ""
        parameters.edited = False
        while self.earlier and not self.has_result(parameters):
            before = self.earlier.pop()
            for name in RESULT_NODES:
                setattr(parameters, name, slicer.mrmlScene.GetNodeByID(before.node_ids.get(name, "")))
            for name in RESULT_VALUES:
                setattr(parameters, name, before.values[name])

    # ---- after a run

    def recut(self, parameters: ICHSegmentationParameterNode) -> None:
        """Cuts the probability at the threshold anew; what was drawn in the program's segment since the run is lost."""
        from ICHSegmentationLib.mrml import bleed_segments, set_mask

        probability = slicer.util.arrayFromVolume(parameters.probability)
        set_mask(parameters.segmentation, parameters.scan, probability >= parameters.threshold)
        self.mark_edited(parameters, len(bleed_segments(parameters.segmentation)) > 1)  # the others stay as drawn

    def mark_edited(self, parameters: ICHSegmentationParameterNode, edited: bool) -> None:
        """Notes whether a hand has changed the mask; DICOM SEG says so too."""
        from ICHSegmentationLib.mrml import set_edited

        parameters.edited = edited
        set_edited(parameters.segmentation, edited)

    def finding(self, parameters: ICHSegmentationParameterNode) -> Finding:
        """The result as it stands; measured anew where threshold or hand have changed it. Fills the table."""
        from ICHSegmentationLib.mrml import bleed_segments, fill_table

        finding = replace(
            Finding.of_run(json.loads(parameters.statistics)),
            threshold=parameters.threshold,
            edited=parameters.edited,
            segments=tuple(bleed_segments(parameters.segmentation).values()),
        )
        if not finding.is_of_run:
            finding = replace(finding, lesions=self.measured(parameters))
        if parameters.table is not None:
            fill_table(parameters.table, finding.lesions)
        return finding

    def measured(self, parameters: ICHSegmentationParameterNode) -> list[dict[str, Any]]:
        """The lesions of the mask as it is in the scene now."""
        from ICHSegmentationLib.lesions import find_lesions
        from ICHSegmentationLib.mrml import mask_of, volume_of_node

        volume = volume_of_node(parameters.scan, application.dicom_tag)
        mask = mask_of(parameters.segmentation, parameters.scan)
        return [asdict(lesion) for lesion in find_lesions(mask.T, volume)]


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
        self.found: Finding | None = None
        self.details = ""  # of the problem that is shown
        self.quiet = False  # while the panel itself changes mask or slider

    # ---- life of the panel

    def setup(self) -> None:
        from ICHSegmentationLib.installation import read_requirements
        from ICHSegmentationLib.panel.batch_section import BatchSection
        from ICHSegmentationLib.panel.setup_section import SetupSection

        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/ICHSegmentation.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = ICHSegmentationLogic()
        requirements = read_requirements(Path(self.resourcePath("requirements.txt")))
        self.set_up = SetupSection(self.ui, self.logic.keeper, requirements, self.use_ensemble, self.show_buttons)
        self.batch = BatchSection(self.ui, self.logic.keeper, self.batch_settings, self.show_buttons)
        self.timer = self.new_timer(POLL_MS, self.on_timer)
        self.edit_timer = self.new_timer(MEASURE_AFTER_EDIT_MS, self.show_finding)
        self.pick_timer = self.new_timer(PICK_CT_AFTER_MS, self.pick_ct)
        for timer in (self.edit_timer, self.pick_timer):
            timer.setSingleShot(True)
        for button, act in (
            (self.ui.segmentButton, self.on_segment_or_cancel),
            (self.ui.brainWindowButton, lambda: self.show_window("brain")),
            (self.ui.bloodWindowButton, lambda: self.show_window("blood")),
            (self.ui.subduralWindowButton, lambda: self.show_window("subdural")),
            (self.ui.editButton, self.on_edit),
            (self.ui.copyTextButton, lambda: self.copy(report_text(self.found, self.scan_name()))),
            (self.ui.copyTableButton, lambda: self.copy(report_csv(self.found, self.scan_name()))),
            (self.ui.copyDiagnosisButton, self.on_copy_diagnosis),
            (self.ui.exportButton, self.on_export),
            (self.ui.undoButton, self.on_undo),
        ):
            button.connect("clicked()", act)
        self.ui.show3DButton.connect("toggled(bool)", self.on_show_3d)
        self.ui.lesionList.connect("currentRowChanged(int)", self.on_lesion)
        self.ui.lesionList.connect("clicked(QModelIndex)", lambda index: self.on_lesion(index.row()))
        self.ui.thresholdSlider.connect("valueChanged(double)", self.on_threshold)
        self.ui.disclaimerLabel.text = DISCLAIMER
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.on_scene_start_close)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.on_scene_end_close)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.on_scene_end_import)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self.on_node_added)
        self.bind()

    def new_timer(self, milliseconds: int, act: Any) -> Any:
        timer = qt.QTimer()
        timer.setInterval(milliseconds)
        timer.connect("timeout()", act)
        return timer

    def cleanup(self) -> None:
        self.stop()
        self.batch.stop()
        self.set_up.timer.stop()
        self.edit_timer.stop()
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
        self.show_finding()

    def unbind(self) -> None:
        """Leaves the widgets as they are; edits of the result are still noticed."""
        if self.bound is not None:
            self.parameters.disconnectGui(self.bound)
            self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self.on_parameters)
            self.bound = None

    def forget_parameters(self) -> None:
        self.unbind()
        self.observe_edits(None)
        self.parameters = None

    def on_scene_start_close(self, caller: Any, event: str) -> None:
        self.stop()
        if self.batch.of_volumes:
            self.batch.stop()
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

    # ---- a run

    def on_parameters(self, caller: Any = None, event: str = "") -> None:
        if self.chosen_bundle() != self.set_up.bundle:
            self.look_at_installation()
        if self.found is not None and not self.logic.has_result(self.parameters):  # its nodes were removed
            self.show_finding()
        self.show_buttons()

    def show_buttons(self) -> None:
        """Offers what can be done now, and says why the rest cannot."""
        if self.parameters is None or self.batch is None:
            return
        running, missing = self.logic.job is not None, self.set_up.installation.why_not
        busy = _("A batch is running.") if self.batch.is_running else missing
        reason = busy or self.logic.why_not(self.parameters.inputVolume)
        self.ui.segmentButton.text = _("Cancel") if running else _("Segment")
        self.ui.segmentButton.enabled = running or not reason
        self.ui.segmentButton.toolTip = _("Stops the run") if running else reason or _("Finds and measures hemorrhage")
        self.batch.show_state(_("A scan is being segmented.") if running else missing)
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
        self.show_buttons()

    def stop(self) -> None:
        """Ends a run, if there is one."""
        self.timer.stop()
        if self.logic.job is not None:
            self.logic.cancel()
        self.ui.progressBar.visible = False
        self.show_buttons()

    def on_timer(self) -> None:
        from ICHSegmentationLib.panel.wording import progress_line

        for message in self.logic.listen(self.parameters):
            kind = message["message"]
            if kind == "progress":
                self.ui.progressBar.value = round(1000 * message["fraction"])
                self.show_progress(progress_line(message))
            elif kind == "result":
                self.on_result(message)
            elif kind == "error":
                self.show_progress("")
                self.show_problem(message["text"], message.get("details", ""))
            elif kind == "ended":
                text = _("The program that segments ended unexpectedly (exit code {code}).")
                self.show_progress("")
                self.show_problem(text.format(code=message["exit_code"]), "\n".join(message["last_lines"]))
        if self.logic.job is None:
            self.stop()

    def on_result(self, message: dict[str, Any]) -> None:
        self.show_progress(_("Done in {seconds:.0f} s.").format(seconds=message["seconds"]))
        application.show_volume(self.parameters.scan)
        application.show_window(self.parameters.scan, "blood")
        self.show_finding()
        if self.found.lesions:
            application.jump_to(self.found.lesions[0]["centroid_mm_ras"])

    # ---- what is shown

    def show_progress(self, line: str) -> None:
        self.ui.progressLabel.text = line
        self.ui.progressLabel.visible = bool(line)

    def show_problem(self, text: str, details: str = "") -> None:
        self.details = details
        self.ui.problemLabel.text = sentence(text)
        self.ui.problemLabel.visible = bool(text)
        self.ui.copyDiagnosisButton.visible = bool(text)

    def on_copy_diagnosis(self) -> None:
        self.copy(self.set_up.diagnostics([self.ui.problemLabel.text, self.details]))

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
        self.ui.show3DButton.checked = application.is_shown_3d(self.parameters.segmentation)
        self.ui.lesionList.clear()
        for number, lesion in enumerate(self.found.lesions, 1):
            self.ui.lesionList.addItem(lesion_line(number, lesion))
        rows = min(len(self.found.lesions), LESIONS_SHOWN)
        self.ui.lesionList.maximumHeight = rows * self.ui.lesionList.sizeHintForRow(0) + 6 if rows else 0
        self.quiet = False
        self.ui.lesionList.visible = bool(self.found.lesions)
        self.ui.scanLabel.text = self.scan_name()
        self.ui.cardLabel.text = card_html(self.found)
        self.ui.warningsLabel.text = "\n".join(f"• {warning}" for warning in self.found.statistics["warnings"])
        self.ui.warningsLabel.visible = bool(self.found.statistics["warnings"])

    def show_window(self, name: str) -> None:
        application.show_window(self.parameters.inputVolume, name)

    def scan_name(self) -> str:
        return self.parameters.scan.GetName()

    # ---- after a run

    def on_lesion(self, row: int) -> None:
        if not self.quiet and self.found is not None and 0 <= row < len(self.found.lesions):
            application.jump_to(self.found.lesions[row]["centroid_mm_ras"])

    def on_threshold(self, value: float) -> None:
        if self.quiet or self.parameters is None or not self.logic.has_result(self.parameters):
            return
        self.quiet = True
        if self.parameters.edited and not self.may_drop_edits():
            self.ui.thresholdSlider.value = self.parameters.threshold
        else:
            self.parameters.threshold = round(value, 2)
            self.logic.recut(self.parameters)
            self.edit_timer.start()
        self.quiet = False

    def may_drop_edits(self) -> bool:
        text = _("Cutting at another threshold drops what was edited by hand. Go on?")
        return slicer.util.confirmOkCancelDisplay(text, _("Threshold"))

    def may_remove_edits(self) -> bool:
        text = _("Undo also removes what was edited by hand. Go on?")
        return slicer.util.confirmOkCancelDisplay(text, _("Undo"))

    def observe_edits(self, segmentation: Any) -> None:
        """Listens to changes of one segmentation's mask, and to no other."""
        for obj, event, method, *_rest in list(self.Observations):
            if method == self.on_mask_changed:
                self.removeObserver(obj, event, method)
        if segmentation is not None:
            kinds = slicer.vtkSegmentation
            for event in (kinds.SourceRepresentationModified, kinds.SegmentAdded, kinds.SegmentRemoved):
                self.addObserver(segmentation.GetSegmentation(), event, self.on_mask_changed)

    def on_mask_changed(self, caller: Any, event: str) -> None:
        if not self.quiet and self.parameters is not None:
            self.logic.mark_edited(self.parameters, True)
            if self.bound is not None:  # else the panel is closed, and measures when it is opened
                self.edit_timer.start()  # once the hand rests

    def on_edit(self) -> None:
        application.open_in_segment_editor(self.parameters.segmentation, self.parameters.scan)

    def on_show_3d(self, shown: bool) -> None:
        if not self.quiet:
            application.show_3d(self.parameters.segmentation, shown)

    def on_undo(self) -> None:
        if self.parameters.edited and not self.may_remove_edits():
            return
        self.quiet = True
        self.logic.undo(self.parameters)
        self.quiet = False
        self.show_finding()
        self.show_progress("")

    def on_export(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self.parent, _("Folder for the DICOM SEG file"))
        if not folder:
            return
        self.show_problem("")
        try:
            application.export_dicom_seg(self.parameters.segmentation, self.parameters.scan, Path(folder))
        except ICHError as error:
            self.show_problem(str(error))

    def copy(self, text: str) -> None:
        slicer.app.clipboard().setText(text)


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
        self.assertTrue(logic.has_result(parameters))


def ellipsoid_head() -> np.ndarray:
    """Scalp, skull, brain and a ball of blood, [z, y, x] in HU on a grid of 1 x 1 x 5 mm."""
    z, y, x = np.ogrid[-15:15, -110:110, -90:90]
    radius = np.sqrt((x / 72) ** 2 + (y / 88) ** 2 + (5 * z / 70) ** 2)
    hu = np.select([radius < 0.96, radius < 1.06, radius < 1.12], [32, 900, 20], -1000).astype(np.int16)
    hu[(x - 20) ** 2 + (y - 10) ** 2 + (5 * z) ** 2 < 15**2] = 70
    return hu
