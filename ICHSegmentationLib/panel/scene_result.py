"""One result in Slicer's scene: a segmentation node, and on it all that belongs to it. Imports slicer, not torch.

Scan, probability and table hang on the segmentation as node references, the numbers of its run as attributes: a result
is saved, loaded and removed as one thing, and there can be as many in a scene as there were runs.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import slicer
import slicer.util
from slicer.i18n import tr as _

from ICHSegmentationLib.finding import Finding
from ICHSegmentationLib.mrml import (
    add_probability,
    add_segmentation,
    add_table,
    bleed_segments,
    fill_table,
    mask_of,
    set_edited,
    set_mask,
    volume_of_node,
)
from ICHSegmentationLib.panel.application import dicom_tag

SCAN, PROBABILITY, TABLE = (f"ICHSegmentation.{name}" for name in ("Scan", "Probability", "Table"))  # references
STATISTICS, THRESHOLD, EDITED = (f"ICHSegmentation.{name}" for name in ("Statistics", "Threshold", "Edited"))


class SceneResult:
    """What one run found on one scan, as it stands in the scene.

    Attributes:
        segmentation: vtkMRMLSegmentationNode.
    """

    def __init__(self, segmentation: Any) -> None:
        """Of a segmentation node that `add_result` made; `result_of` looks whether it is one."""
        self.segmentation = segmentation

    @property
    def scan(self) -> Any:
        """The volume node that was segmented; None if it was removed."""
        return self.segmentation.GetNodeReference(SCAN)

    @property
    def probability(self) -> Any:
        """The hidden volume node with the members' mean; None if it was removed."""
        return self.segmentation.GetNodeReference(PROBABILITY)

    @property
    def table(self) -> Any:
        """The table node with the lesions; None if it was removed."""
        return self.segmentation.GetNodeReference(TABLE)

    @property
    def statistics(self) -> dict[str, Any]:
        """Of the run, the content of its `statistics.json`."""
        return json.loads(self.segmentation.GetAttribute(STATISTICS))

    @property
    def threshold(self) -> float:
        """The probability at which the mask is cut now."""
        return float(self.segmentation.GetAttribute(THRESHOLD))

    @property
    def edited(self) -> bool:
        """Whether a hand has changed the mask."""
        return self.segmentation.GetAttribute(EDITED) is not None

    def mark_edited(self, edited: bool) -> None:
        """Notes whether a hand has changed the mask; DICOM SEG says so too."""
        if edited:
            self.segmentation.SetAttribute(EDITED, "yes")
        else:
            self.segmentation.RemoveAttribute(EDITED)
        set_edited(self.segmentation, edited)

    def notice_edits(self) -> None:
        """Marks the result as edited if its mask is not the one that was cut: a hand can draw while nobody looks."""
        if self.edited or self.probability is None:
            return
        if not np.array_equal(mask_of(self.segmentation, self.scan), self.cut(self.threshold)):
            self.mark_edited(True)

    def cut_at(self, threshold: float) -> None:
        """Cuts the probability anew; what was drawn in the program's segment since the run is lost."""
        self.segmentation.SetAttribute(THRESHOLD, repr(threshold))
        set_mask(self.segmentation, self.scan, self.cut(threshold))
        self.mark_edited(len(bleed_segments(self.segmentation)) > 1)  # the others stay as drawn

    def cut(self, threshold: float) -> np.ndarray:
        """The mask [z, y, x] that the probability gives at a threshold, as a run would."""
        from ICHSegmentationLib.lesions import without_specks

        mask = slicer.util.arrayFromVolume(self.probability) >= threshold
        return without_specks(mask.T, volume_of_node(self.scan, dicom_tag)).T

    def finding(self) -> Finding:
        """The result as it stands; measured anew where threshold or hand have changed it. Fills the table."""
        finding = replace(
            Finding.of_run(self.statistics),
            threshold=self.threshold,
            edited=self.edited,
            segments=tuple(bleed_segments(self.segmentation).values()),
        )
        if not finding.is_of_run:
            finding = replace(finding, lesions=self.measured())
        if self.table is not None:
            fill_table(self.table, finding.lesions)
        return finding

    def measured(self) -> list[dict[str, Any]]:
        """The lesions of the mask as it is in the scene now."""
        from ICHSegmentationLib.lesions import find_lesions

        mask = mask_of(self.segmentation, self.scan)
        return [asdict(lesion) for lesion in find_lesions(mask.T, volume_of_node(self.scan, dicom_tag))]

    def remove(self) -> None:
        """Takes segmentation, probability and table out of the scene."""
        for node in (self.probability, self.table, self.segmentation):
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)


def add_result(scan: Any, mask: np.ndarray, probability: np.ndarray, statistics: dict[str, Any]) -> SceneResult:
    """Puts a result into the scene, all of it or nothing.

    Args:
        scan: the volume node that was segmented.
        mask: [z, y, x] on its voxels.
        probability: [z, y, x] on its voxels.
        statistics: of the run.

    Raises:
        RuntimeError: Slicer did not take the mask.
    """
    name = scan.GetName()
    with ExitStack() as unfinished:

        def made(node: Any) -> Any:
            unfinished.callback(slicer.mrmlScene.RemoveNode, node)
            return node

        segmentation = made(add_segmentation(scan, mask, _("{name} hemorrhage").format(name=name)))
        beside = {
            SCAN: scan,
            PROBABILITY: made(add_probability(scan, probability, _("{name} probability").format(name=name))),
            TABLE: made(add_table(scan, statistics["lesions"], _("{name} hemorrhage table").format(name=name))),
        }
        unfinished.pop_all()
    for role, node in beside.items():
        segmentation.SetNodeReferenceID(role, node.GetID())
    segmentation.SetAttribute(STATISTICS, json.dumps(statistics))
    segmentation.SetAttribute(THRESHOLD, repr(statistics["threshold"]))
    return SceneResult(segmentation)


def result_of(segmentation: Any) -> SceneResult | None:
    """A segmentation node as a result; None if there is none, it is not ours, or its scan is gone."""
    if segmentation is None or segmentation.GetScene() is None or segmentation.GetAttribute(STATISTICS) is None:
        return None
    result = SceneResult(segmentation)
    return result if result.scan is not None else None


def all_results() -> list[SceneResult]:
    """The results in the scene."""
    found = (result_of(node) for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))
    return [result for result in found if result is not None]


def show_alone(shown: SceneResult | None) -> None:
    """Shows this result, or none, in the views and hides the others: heads of several patients lie in one place."""
    wanted = shown.segmentation.GetID() if shown is not None else None
    for result in all_results():
        result.segmentation.SetDisplayVisibility(result.segmentation.GetID() == wanted)
