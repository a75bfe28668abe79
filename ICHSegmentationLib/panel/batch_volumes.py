"""The volumes of Slicer's scene, as cases of a batch. Imports slicer, not torch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import slicer
import slicer.util

from ICHSegmentationLib.batch import Request
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.mrml import TagValue, add_segmentation
from ICHSegmentationLib.panel.handover import Handover, fingerprint_of
from ICHSegmentationLib.worker_process import WorkerProcess

INPUT_ATTRIBUTE = "ICHSegmentation.Input"  # of a segmentation: the fingerprint of the volume it was made from
AIR_HU = -200.0  # a CT of a head shows air around it


class VolumeCase:
    """A volume node; its result is a segmentation node beside it. (A result is of the volume as it was sent.)"""

    def __init__(self, name: str, node: Any, tag_value: TagValue | None) -> None:
        self.name, self.volume_id, self.tag_value = name, node.GetID(), tag_value
        self.handover: Handover | None = None

    def node(self) -> Any:
        found = slicer.mrmlScene.GetNodeByID(self.volume_id)
        if found is None:
            raise InputError("the volume was removed from the scene before its turn came.")
        return found

    def fingerprint(self) -> str:
        return fingerprint_of(self.node())

    def has_result(self, fingerprint: str) -> bool:
        role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
        return any(
            node.GetAttribute(INPUT_ATTRIBUTE) == fingerprint and node.GetNodeReferenceID(role) == self.volume_id
            for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        )

    def request(self, worker: WorkerProcess) -> Request:
        self.handover = Handover(self.node(), worker, self.tag_value)
        return self.handover.request

    def take(self, statistics: dict[str, Any]) -> None:
        assert self.handover is not None
        answer = self.handover.answer()
        node = add_segmentation(answer.volume, answer.mask, f"{answer.volume.GetName()} hemorrhage")
        node.SetAttribute(INPUT_ATTRIBUTE, self.handover.fingerprint)

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
