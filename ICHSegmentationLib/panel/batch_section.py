"""The part of the panel that segments many scans. Imports qt and slicer, not torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ICHSegmentationLib.batch import Batch, Case, Row, Settings
from ICHSegmentationLib.batch_files import find_cases
from ICHSegmentationLib.errors import ICHError, InputError, sentence
from ICHSegmentationLib.panel.application import dicom_tag
from ICHSegmentationLib.panel.batch_volumes import VolumeCase, volume_cases
from ICHSegmentationLib.panel.scene_result import SceneResult
from ICHSegmentationLib.panel.wording import batch_line, batch_result_line, batch_row_line
from ICHSegmentationLib.worker_keeper import WorkerKeeper

POLL_MS = 50


class BatchSection:
    """Drives a `Batch` from the panel's widgets.

    Attributes:
        batch: the one that runs, or ran last; None before the first.
        of_volumes: whether its scans are volumes of the scene.
    """

    def __init__(
        self,
        ui: Any,
        keeper: WorkerKeeper,
        settings: Callable[[], Settings],
        on_change: Callable[[], None],
        show_scan: Callable[[Any], None],
        show_result: Callable[[SceneResult], None],
    ) -> None:
        """Ties the section to its widgets.

        Args:
            ui: the panel's widgets by name.
            keeper: of the worker that single scans are segmented with too.
            settings: what the panel is set to.
            on_change: is called when a batch begins or ends, and when other inputs are chosen.
            show_scan: shows a volume node in the views.
            show_result: shows a result in the views, and its card.
        """
        self.ui, self.keeper, self.settings, self.on_change = ui, keeper, settings, on_change
        self.show_scan, self.show_result = show_scan, show_result
        self.batch: Batch | None = None
        self.cases: list[Case] = []  # of the batch, in its order, as are the rows of the table
        self.of_volumes = True
        self.left_out: list[str] = []
        self.told = ""  # of the row that was clicked last
        self.timer = qt.QTimer()
        self.timer.setInterval(POLL_MS)
        self.timer.connect("timeout()", self.on_timer)
        ui.batchRunButton.connect("clicked()", self.on_run_or_cancel)
        ui.batchCopyButton.connect("clicked()", self.on_copy)
        ui.batchFolderRadio.connect("toggled(bool)", self.on_source)
        for edit in (ui.batchInputEdit, ui.batchOutputEdit):
            edit.connect("currentPathChanged(QString)", lambda path: self.on_change())
        ui.batchTable.setHorizontalHeaderLabels([_("Scan"), _("Result")])
        for signal in ("cellClicked(int,int)", "cellActivated(int,int)"):  # the second is that of the keyboard
            ui.batchTable.connect(signal, lambda row, column: self.on_row(row))
        self.on_source(ui.batchFolderRadio.checked)

    @property
    def is_running(self) -> bool:
        return self.batch is not None and not self.batch.is_over

    # ---- a run

    def on_run_or_cancel(self) -> None:
        if self.batch is not None and self.is_running:
            self.stop()
            self.show_line(_("Cancelled; what is done is kept. ") + batch_result_line(self.batch))
            return
        self.show_rows([])
        self.told = ""
        try:
            self.cases = self.chosen_cases()
            out = Path(self.ui.batchOutputEdit.currentPath)
            self.batch = Batch(self.cases, out, self.settings(), self.keeper.running, self.ui.batchResumeBox.checked)
        except ICHError as error:
            self.show_line(sentence(str(error)))
            return
        self.ui.batchProgressBar.visible = True
        self.timer.start()
        self.show(self.batch)
        self.on_change()

    def chosen_cases(self) -> list[Case]:
        """The scans that were chosen."""
        self.of_volumes, self.left_out = self.ui.batchVolumesRadio.checked, []
        if self.of_volumes:
            cases, self.left_out = volume_cases(dicom_tag)
            if not cases:
                raise InputError(_("no CT is loaded; load one, or choose a folder."))
            return list(cases)
        return list(find_cases([Path(self.ui.batchInputEdit.currentPath)], Path(self.ui.batchOutputEdit.currentPath)))

    def why_not(self) -> str:
        """What is still to be chosen; empty if all is."""
        if self.ui.batchFolderRadio.checked and not self.ui.batchInputEdit.currentPath:
            return _("Choose the folder with the scans.")
        if not self.ui.batchOutputEdit.currentPath:
            return _("Choose a folder for the table and the results.")
        return ""

    def on_timer(self) -> None:
        batch = self.batch
        assert batch is not None
        try:
            batch.listen()
        except ICHError as error:  # the table cannot be written: nothing that comes could be kept
            self.stop()
            self.show_line(sentence(str(error)))
            return
        self.show(batch)
        if batch.is_over:
            self.stop()
            if self.of_volumes and len(batch.failures) < len(batch.rows) and not self.told:
                self.tell(_("Click a scan to see it."))

    def stop(self) -> None:
        """Ends a batch, if one runs; the worker ends with a scan that it has."""
        self.timer.stop()
        if self.batch is not None and self.is_running:
            self.batch.stop()
            self.keeper.end()
        self.ui.batchProgressBar.visible = False
        self.on_change()

    def forget_volumes(self) -> None:
        """Ends a batch of volumes and its table: the scene goes, and another may give their names to others."""
        if self.of_volumes:
            self.stop()
            self.cases, self.told = [], ""
            self.show_rows([])

    # ---- what is shown

    def show(self, batch: Batch) -> None:
        self.ui.batchProgressBar.value = round(1000 * batch.fraction)
        self.show_line(batch_line(batch))
        self.show_rows(batch.rows.values())

    def show_line(self, line: str) -> None:
        if self.left_out:
            line += " " + _("Left out, as they are no CT: {names}.").format(names=", ".join(self.left_out))
        if self.told:
            line += "\n" + self.told
        self.ui.batchLabel.text = line
        self.ui.batchLabel.visible = bool(line)
        self.ui.batchCopyButton.visible = self.batch is not None

    def show_rows(self, rows: Iterable[Row]) -> None:
        """A line a scan, as they come; those of a new batch take the place of the last one's."""
        table, rows = self.ui.batchTable, list(rows)
        if len(rows) < table.rowCount:
            table.setRowCount(0)
        for number in range(table.rowCount, len(rows)):
            row = rows[number]
            table.setRowCount(number + 1)
            for column, text in enumerate((row.scan, batch_row_line(row))):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                font = item.font()
                font.setBold(row.state == "failed")
                item.setFont(font)
                table.setItem(number, column, item)
            table.resizeRowToContents(number)
        table.visible = bool(rows)

    def on_row(self, number: int) -> None:
        """Shows a scan that is through: in the views, and its result as if it had been segmented alone."""
        if self.batch is None or number >= len(self.cases):
            return
        case, row = self.cases[number], self.batch.rows[self.cases[number].name]
        told = f"{row.scan}: {sentence(row.problem)}" if row.state == "failed" else ""
        try:
            if isinstance(case, VolumeCase):
                self.show_scan(case.node())
                if row.state == "done":
                    self.show_result(case.result())
            elif row.state == "done":
                told = _("The results of {name} are files, in {folder}.")
                told = told.format(name=row.scan, folder=self.batch.folder / row.scan)
        except ICHError as error:
            told = sentence(str(error))
        self.tell(told)

    def tell(self, text: str) -> None:
        """Says something about the rows, behind where the batch stands."""
        self.told = text
        if self.batch is not None:
            self.show_line(batch_line(self.batch))

    def show_state(self, why_not: str) -> None:
        """Offers the run, or says why it is not to be had: for another reason, or because something is to be chosen."""
        reason = why_not or self.why_not()
        button = self.ui.batchRunButton
        button.text = _("Cancel batch") if self.is_running else _("Run batch")
        button.enabled = self.is_running or not reason
        button.toolTip = _("Stops; scans that are done are kept") if self.is_running else reason or _("Segments all")
        for widget in (
            self.ui.batchVolumesRadio,
            self.ui.batchFolderRadio,
            self.ui.batchInputEdit,
            self.ui.batchOutputEdit,
            self.ui.batchResumeBox,
        ):
            widget.enabled = not self.is_running

    def on_source(self, is_folder: bool) -> None:
        self.ui.batchInputEdit.visible = is_folder
        self.ui.batchInputLabel.visible = is_folder
        self.on_change()

    def on_copy(self) -> None:
        if self.batch is not None:
            slicer.app.clipboard().setText(self.batch.table())
