"""The volumes of Slicer's scene, as cases of a batch. Imports slicer, not torch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import slicer
import slicer.util

from ICHSegmentationLib.batch import Request
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.mrml import TagValue
from ICHSegmentationLib.panel.handover import Handover, fingerprint_of
from ICHSegmentationLib.panel.scene_result import SceneResult, add_result, all_results, result_of
from ICHSegmentationLib.worker_process import WorkerProcess

INPUT_ATTRIBUTE = "ICHSegmentation.Input"  # of a segmentation: the fingerprint of the volume it was made from
AIR_HU = -200.0  # a CT of a head shows air around it


class VolumeCase:
    """A volume node; its result goes into the scene beside it. (A result is of the volume as it was sent.)"""

    def __init__(self, name: str, node: Any, tag_value: TagValue | None) -> None:
        self.name, self.volume_id, self.tag_value = name, node.GetID(), tag_value
        self.handover: Handover | None = None
        self.segmentation_id = ""  # of the result, once this batch has made it

    def node(self) -> Any:
        found = slicer.mrmlScene.GetNodeByID(self.volume_id)
        if found is None:
            raise InputError("the volume was removed from the scene.")
        return found

    def fingerprint(self) -> str:
        return fingerprint_of(self.node())

    def has_result(self, fingerprint: str) -> bool:
        return self.earlier_result(fingerprint) is not None

    def earlier_result(self, fingerprint: str) -> SceneResult | None:
        """What an earlier batch found on this volume as it was then."""
        for result in all_results():
            segmentation = result.segmentation
            if segmentation.GetAttribute(INPUT_ATTRIBUTE) == fingerprint and result.scan.GetID() == self.volume_id:
                return result
        return None

    def result(self) -> SceneResult:
        """The result, of this batch or of the one that it passed the volume over for.

        Raises:
            InputError: result or volume were removed from the scene.
        """
        if self.segmentation_id:
            found = result_of(slicer.mrmlScene.GetNodeByID(self.segmentation_id))
        else:
            found = self.earlier_result(self.fingerprint())
        if found is None:
            raise InputError("the result was removed from the scene; run the batch again.")
        return found

    def request(self, worker: WorkerProcess) -> Request:
        self.handover = Handover(self.node(), worker, self.tag_value)
        return self.handover.request

    def take(self, statistics: dict[str, Any]) -> None:
        assert self.handover is not None
        answer = self.handover.answer()
        result = add_result(answer.volume, answer.mask, answer.probability, statistics)
        result.segmentation.SetAttribute(INPUT_ATTRIBUTE, self.handover.fingerprint)
        result.segmentation.SetDisplayVisibility(False)  # until it is chosen: the views show another head
        self.segmentation_id = result.segmentation.GetID()

    def clear(self) -> None:
        if self.handover is not None:
            self.handover.clear()
            self.handover = None


def volume_cases(tag_value: TagValue | None) -> tuple[list[VolumeCase], list[str]]:
    """The CTs of the scene by the names that the user sees, and the names of the volumes that are none."""
    nodes = shown_volumes()
    cases, others = [], []
    seen: Counter[str] = Counter()
    for node in nodes:
        if modality_of(node) not in ("", "CT"):
            others.append(node.GetName())
            continue
        seen[node.GetName()] += 1
        number = seen[node.GetName()]
        cases.append(VolumeCase(node.GetName() if number == 1 else f"{node.GetName()} ({number})", node, tag_value))
    return cases, others


def first_ct() -> Any:
    """The volume that is most likely wanted: one that says it is a CT, else one that shows air, else any; or None."""
    nodes = shown_volumes()
    says = [node for node in nodes if modality_of(node) == "CT"]
    looks = [node for node in nodes if not modality_of(node) and node.GetImageData().GetScalarRange()[0] < AIR_HU]
    return next(iter([*says, *looks, *nodes]), None)


def shown_volumes() -> list[Any]:
    """The scalar volumes with an image that the user's lists show; no label maps, no colour pictures."""
    return [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not node.GetHideFromEditors()
        and node.GetImageData() is not None
    ]


def modality_of(node: Any) -> str:
    """The DICOM modality of a volume, "CT" or another; empty where nobody knows."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node)
    attribute = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return hierarchy.GetItemAttribute(item, attribute) if item else ""
