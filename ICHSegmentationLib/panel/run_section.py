"""The part of the panel that segments one scan: button, progress, what went wrong. Imports qt and slicer, not torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ICHSegmentationLib.errors import ICHError, sentence
from ICHSegmentationLib.panel.wording import progress_line

POLL_MS = 50
LONGEST_LINE = 160  # characters of what the worker said last


class RunSection:
    """Starts, follows and cancels the run of one scan.

    Attributes:
        problem: the sentence that is shown, if something went wrong.
        details: of it, for a bug report.
    """

    def __init__(
        self,
        ui: Any,
        logic: Any,
        parameters: Callable[[], Any],
        on_change: Callable[[], None],
        on_result: Callable[[], None],
        diagnosis: Callable[[list[str]], str],
    ) -> None:
        """Ties the section to its widgets.

        Args:
            ui: the panel's widgets by name.
            logic: ICHSegmentationLogic, which has the worker.
            parameters: gives the parameter node of the scene.
            on_change: is called when a run begins or ends.
            on_result: is called when a result has come into the scene.
            diagnosis: words a bug report about these lines.
        """
        self.ui, self.logic, self.parameters = ui, logic, parameters
        self.on_change, self.on_result, self.diagnosis = on_change, on_result, diagnosis
        self.problem = self.details = ""
        self.timer = qt.QTimer()
        self.timer.setInterval(POLL_MS)
        self.timer.connect("timeout()", self.on_timer)
        ui.segmentButton.connect("clicked()", self.on_segment_or_cancel)
        ui.copyDiagnosisButton.connect("clicked()", self.on_copy_diagnosis)

    @property
    def is_running(self) -> bool:
        return self.logic.job is not None

    def on_segment_or_cancel(self) -> None:
        if self.is_running:
            self.stop()
            self.show_progress(_("Cancelled."))
            return
        self.show_problem("")
        try:
            self.logic.start(self.parameters())
        except ICHError as error:
            self.show_problem(str(error))
            return
        self.ui.progressBar.value = 0
        self.ui.progressBar.visible = True
        self.show_progress(_("Starting ..."))
        self.timer.start()
        self.on_change()

    def stop(self) -> None:
        """Ends a run, if there is one."""
        self.timer.stop()
        if self.is_running:
            self.logic.cancel()
        self.ui.progressBar.visible = False
        self.on_change()

    def on_timer(self) -> None:
        for message in self.logic.listen(self.parameters()):
            kind = message["message"]
            if kind == "progress":
                self.ui.progressBar.value = round(1000 * message["fraction"])
                self.show_progress(progress_line(message))
            elif kind == "result":
                self.show_progress(_("Done in {seconds:.0f} s.").format(seconds=message["seconds"]))
                self.on_result()
            elif kind == "error":
                self.show_progress("")
                self.show_problem(message["text"], message.get("details", ""))
            elif kind == "ended":
                text = _("The program that segments ended unexpectedly (exit code {code}).")
                self.show_progress("")
                self.show_problem(text.format(code=message["exit_code"]), "\n".join(message["last_lines"]))
        if not self.is_running:
            self.stop()

    # ---- what is shown

    def show_state(self, why_not: str) -> None:
        """Offers the run or its end, or says why it is not to be had."""
        running = self.is_running
        self.ui.segmentButton.text = _("Cancel") if running else _("Segment")
        self.ui.segmentButton.enabled = running or not why_not
        self.ui.segmentButton.toolTip = _("Stops the run") if running else why_not or _("Finds and measures hemorrhage")

    def show_progress(self, line: str) -> None:
        self.ui.progressLabel.text = line
        self.ui.progressLabel.visible = bool(line)

    def show_problem(self, text: str, details: str = "") -> None:
        """Shows a sentence, and below it the last line of the details; the others where the mouse rests."""
        self.problem, self.details = sentence(text), details
        last = (details.strip().splitlines() or [""])[-1].strip()[:LONGEST_LINE]
        self.ui.problemLabel.text = "\n".join(part for part in (self.problem, last if text not in last else "") if part)
        self.ui.problemLabel.toolTip = details
        self.ui.problemLabel.visible = bool(text)
        self.ui.copyDiagnosisButton.visible = bool(text)

    def on_copy_diagnosis(self) -> None:
        slicer.app.clipboard().setText(self.diagnosis([self.problem, self.details]))
