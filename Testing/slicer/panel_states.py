"""The states a panel can be in, put up without a worker: for pictures and for what holds in all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from panel_helpers import HEAD

from ICHSegmentationLib.batch import Row
from ICHSegmentationLib.installation import look
from ICHSegmentationLib.lesions import find_lesions

WARNINGS = [
    "Gantry tilt of 18.5 degrees: slices were moved to where they belong.",
    "On the CPU the fast quality was chosen; the full quality would take about 35 s instead of 9 s.",
]


def start(panel: Any) -> None:
    """As it opens."""


def result(panel: Any) -> None:
    """Two bleeds, with their true numbers."""
    from dataclasses import asdict

    from ICHSegmentationLib.panel.scene_result import add_result

    bleed = HEAD.hu == 70
    bleed[10:16, 30:40, 8:11] = True
    lesions = [asdict(lesion) for lesion in find_lesions(bleed, HEAD)]
    volume_ml = sum(lesion["volume_ml"] for lesion in lesions)
    bundle = {"name": "ICH compact", "version": "0.1", "sha256": "9" * 64, "members": 3}
    statistics = {
        "volume_ml": volume_ml,
        "volume_ml_range": [volume_ml - 2, volume_ml + 3],
        "lesions": lesions,
        "threshold": 0.5,
        "quality": "fast",
        "device": "cpu",
        "warnings": WARNINGS,
        "bundle": bundle,
    }
    panel.show_result(add_result(panel.parameters.inputVolume, bleed.T, bleed.T.astype(np.float32), statistics))
    panel.run.show_progress("Done in 9 s.")


def edited(panel: Any) -> None:
    """A result that a hand has changed."""
    result(panel)
    panel.result.shown.mark_edited(True)
    panel.result.measure()


def running(panel: Any) -> None:
    """In the midst of a run."""
    panel.ui.progressBar.visible = True
    panel.ui.progressBar.value = 420
    panel.ui.segmentButton.text = "Cancel"
    panel.run.show_progress("Segmenting: member 2 of 3, tile 1 of 2, 12 s left")


def problem(panel: Any) -> None:
    """After a run that failed."""
    panel.run.show_problem(
        "the scan's values lie between 0 and 255: an 8-bit picture, not Hounsfield units, was found."
    )


def batch(panel: Any) -> None:
    """A batch over a folder, with failures."""
    panel.ui.batchButton.collapsed = False
    panel.ui.batchFolderRadio.checked = True
    panel.ui.batchInputEdit.currentPath = "/data/head CTs"
    panel.ui.batchOutputEdit.currentPath = "/data/results"
    panel.ui.batchProgressBar.visible = True
    panel.ui.batchProgressBar.value = 600
    panel.ui.batchRunButton.text = "Cancel batch"
    panel.batch.told = "exam 04.zip: The zip is damaged, encrypted or packed in an unknown way."
    panel.batch.show_line("Scan 13 of 20: follow-up/exam 13, 70 s left")
    failures = {
        "exam 04.zip": "the zip is damaged, encrypted or packed in an unknown way.",
        "exam 07": "none of the 3 files in the folder is a scan; wanted is DICOM or .nii, .nii.gz, .nrrd.",
    }
    rows = [Row(f"exam {number:02}", "done", volume_ml=3.7 * number, lesions=1) for number in (1, 2)]
    rows += [Row("exam 03", "done", volume_ml=0.0, lesions=0)]
    panel.batch.show_rows([*rows, *(Row(name, "failed", problem=text) for name, text in failures.items())])


def settings(panel: Any) -> None:
    """Settings and Set-up open, all installed."""
    panel.ui.settingsButton.collapsed = False
    panel.ui.setupButton.collapsed = False


def no_torch(panel: Any) -> None:
    """A Slicer that has nothing yet."""
    panel.set_up.installation = look(panel.set_up.requirements, None, lambda name: None)
    panel.ui.setupButton.collapsed = False
    panel.set_up.show()
    panel.show_buttons()


STATES: dict[str, Callable[[Any], None]] = {
    state.__name__: state for state in (start, result, edited, running, problem, batch, settings, no_torch)
}
