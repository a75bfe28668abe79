"""The part of the panel that shows a result and what can be done with it. Imports qt and slicer, not torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ICHSegmentationLib.errors import ICHError
from ICHSegmentationLib.finding import Finding, report_csv
from ICHSegmentationLib.panel import application
from ICHSegmentationLib.panel.finding_wording import card_html, lesion_line, report_text
from ICHSegmentationLib.panel.scene_result import SceneResult

MEASURE_AFTER_EDIT_MS = 400
LESIONS_SHOWN = 6  # the others by scrolling


class ResultSection(VTKObservationMixin):
    """Card, lesions, threshold, edits, report, export of one result.

    Attributes:
        shown: the result; None if there is none to show.
        found: what the card says of it.
        is_open: whether the panel is; in a closed one edits are noted, and measured when it is opened.
        edit_timer: runs until a hand that draws has rested.
    """

    def __init__(self, ui: Any, undo: Callable[[], None], tell_problem: Callable[[str], None]) -> None:
        """Ties the section to its widgets.

        Args:
            ui: the panel's widgets by name.
            undo: takes the shown result back; is called once the user has agreed.
            tell_problem: shows a sentence; an empty one takes the last away.
        """
        VTKObservationMixin.__init__(self)
        self.ui, self.undo, self.tell_problem = ui, undo, tell_problem
        self.shown: SceneResult | None = None
        self.found: Finding | None = None
        self.is_open = False
        self.quiet = False  # while the section itself changes mask or widgets
        self.edit_timer = qt.QTimer()
        self.edit_timer.setInterval(MEASURE_AFTER_EDIT_MS)
        self.edit_timer.setSingleShot(True)
        self.edit_timer.connect("timeout()", self.measure)
        for button, act in (
            (ui.editButton, self.on_edit),
            (ui.copyTextButton, lambda: self.copy(report_text)),
            (ui.copyTableButton, lambda: self.copy(report_csv)),
            (ui.exportButton, self.on_export),
            (ui.undoButton, self.on_undo),
        ):
            button.connect("clicked()", act)
        ui.show3DButton.connect("toggled(bool)", self.on_show_3d)
        ui.lesionList.connect("currentRowChanged(int)", self.on_lesion)
        ui.lesionList.connect("clicked(QModelIndex)", lambda index: self.on_lesion(index.row()))
        ui.thresholdSlider.connect("valueChanged(double)", self.on_threshold)

    # ---- what is shown

    def show(self, result: SceneResult | None) -> None:
        """Shows a result as it stands, or none."""
        self.edit_timer.stop()
        watched = self.shown.segmentation if self.shown is not None else None
        self.removeObservers()
        self.shown, self.found = result, None
        self.ui.resultBox.visible = result is not None
        if result is None:
            return
        if watched is None or watched.GetID() != result.segmentation.GetID():
            result.notice_edits()
        kinds = slicer.vtkSegmentation
        for event in (kinds.SourceRepresentationModified, kinds.SegmentAdded, kinds.SegmentRemoved):
            self.addObserver(result.segmentation.GetSegmentation(), event, self.on_mask_changed)
        self.measure()

    def measure(self) -> None:
        """Measures the shown result and fills the widgets."""
        if self.shown is None:
            return
        self.found = self.shown.finding()
        self.quiet = True
        self.ui.thresholdSlider.value = self.shown.threshold
        self.ui.thresholdSlider.enabled = self.shown.probability is not None
        self.ui.show3DButton.checked = application.is_shown_3d(self.shown.segmentation)
        self.ui.lesionList.clear()
        for number, lesion in enumerate(self.found.lesions, 1):
            self.ui.lesionList.addItem(lesion_line(number, lesion))
        rows = min(len(self.found.lesions), LESIONS_SHOWN)
        self.ui.lesionList.maximumHeight = rows * self.ui.lesionList.sizeHintForRow(0) + 6 if rows else 0
        self.quiet = False
        self.ui.lesionList.visible = bool(self.found.lesions)
        self.ui.scanLabel.text = self.shown.scan.GetName()
        self.ui.cardLabel.text = card_html(self.found)
        self.ui.warningsLabel.text = "\n".join(f"• {warning}" for warning in self.found.statistics["warnings"])
        self.ui.warningsLabel.visible = bool(self.found.statistics["warnings"])

    def jump_to_largest(self) -> None:
        """Centres all views on the largest lesion, if there is one."""
        self.on_lesion(0)

    def on_lesion(self, row: int) -> None:
        if not self.quiet and self.found is not None and 0 <= row < len(self.found.lesions):
            application.jump_to(self.found.lesions[row]["centroid_mm_ras"])

    # ---- changes

    def on_threshold(self, value: float) -> None:
        if self.quiet or self.shown is None:
            return
        self.quiet = True
        if self.may_lose_edits(_("Cutting at another threshold drops what was edited by hand. Go on?")):
            self.shown.cut_at(round(value, 2))
            self.edit_timer.start()
        else:
            self.ui.thresholdSlider.value = self.shown.threshold
        self.quiet = False

    def on_undo(self) -> None:
        if self.shown is not None and self.may_lose_edits(_("Undo also removes what was edited by hand. Go on?")):
            self.undo()

    def may_lose_edits(self, question: str) -> bool:
        """Asks, if there are any."""
        assert self.shown is not None
        return not self.shown.edited or slicer.util.confirmOkCancelDisplay(question, _("Edited by hand"))

    def on_mask_changed(self, caller: Any, event: str) -> None:
        if not self.quiet and self.shown is not None:
            self.shown.mark_edited(True)
            if self.is_open:
                self.edit_timer.start()

    # ---- away from here

    def on_edit(self) -> None:
        if self.shown is not None:
            application.open_in_segment_editor(self.shown.segmentation, self.shown.scan)

    def on_show_3d(self, shown: bool) -> None:
        if not self.quiet and self.shown is not None:
            application.show_3d(self.shown.segmentation, shown)

    def on_export(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self.ui.resultBox, _("Folder for the DICOM SEG file"))
        if not folder or self.shown is None:
            return
        self.tell_problem("")
        with slicer.util.tryWithErrorDisplay(_("DICOM SEG could not be written."), waitCursor=True):
            try:
                application.export_dicom_seg(self.shown.segmentation, self.shown.scan, Path(folder))
            except ICHError as error:
                self.tell_problem(str(error))

    def copy(self, report: Callable[[Finding, str], str]) -> None:
        """Copies a report of what is shown; measures first what was edited a moment ago."""
        if self.shown is None:
            return
        if self.edit_timer.active:
            self.edit_timer.stop()
            self.measure()
        assert self.found is not None
        slicer.app.clipboard().setText(report(self.found, self.shown.scan.GetName()))
