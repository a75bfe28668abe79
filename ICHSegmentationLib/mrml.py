"""Volumes and segmentations to and from Slicer's scene. Imports slicer and vtk, not torch.

Slicer's arrays are [z, y, x]; this library's are [x, y, z] with the same voxel indices. A scan is read with the
geometry that it has in the world, that is with the linear transforms above it; results are put under the same
transforms as the scan, so that they lie on its voxels whatever the transforms are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import ScanInfo, Volume
from ICHSegmentationLib.terminology import (
    ALGORITHM_TYPE_TAG,
    AUTOMATIC,
    SEGMENT_COLOR_RGB,
    SEGMENT_ID,
    SEGMENT_NAME,
    SEGMENT_TAGS,
    SEMIAUTOMATIC,
    TYPE_HEMORRHAGE,
    TYPE_TISSUE,
)

IMAGE_POSITION = "0020,0032"
RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])
SAME_PLACE_MM = 0.01
SAME_SLICE_MM = 0.5

TagValue = Callable[[str, str], str]  # (SOP instance UID, "gggg,eeee") -> text, as of Slicer's DICOM database
MEASURES = {  # column of the table -> (unit, digits)
    "volume_ml": ("mL", 2),
    "abc2_ml": ("mL", 2),
    "a_mm": ("mm", 1),
    "b_mm": ("mm", 1),
    "c_mm": ("mm", 1),
    "max_diameter_mm": ("mm", 1),
    "mean_hu": ("HU", 1),
    "slices": ("", 0),
}


def volume_of_node(node: Any, tag_value: TagValue | None = None) -> Volume:
    """A volume node as a scan.

    Args:
        node: vtkMRMLScalarVolumeNode; of a sequence, the frame that is shown.
        tag_value: reads tags of the DICOM files that the node was loaded from; with it, gantry tilt and uneven
            slices, which a node's own matrix cannot hold, are known.

    Raises:
        InputError: the node holds no three-dimensional image of one value a voxel.
    """
    image = node.GetImageData()
    if image is None or 0 in image.GetDimensions():
        raise InputError(f"the volume {node.GetName()} holds no image.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(
            f"the volume {node.GetName()} has {image.GetNumberOfScalarComponents()} values a voxel; a CT is wanted."
        )
    hu = np.asfortranarray(slicer.util.arrayFromVolume(node).T, np.float32)
    local = matrix_of(node.GetIJKToRASMatrix)
    to_world = linear_transform_to_world(node)
    origins = slice_origins_mm(node, tag_value) if tag_value is not None else None
    notes: tuple[str, ...] = ()
    if to_world is None:
        to_world = np.eye(4)
        if origins is None:
            notes = ("The scan lies under a non-linear transform: it is measured as it was before that transform.",)
    if origins is not None:
        origins = origins @ to_world[:3, :3].T + to_world[:3, 3]
    return Volume(hu, to_world @ local, origins, ScanInfo("Slicer", modality="CT", notes=notes))


def matrix_of(get: Callable[[vtk.vtkMatrix4x4], Any]) -> np.ndarray:
    """What a getter writes into a vtkMatrix4x4, as [4, 4]."""
    matrix = vtk.vtkMatrix4x4()
    get(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def linear_transform_to_world(node: Any) -> np.ndarray | None:
    """The transforms above a node as one matrix [4, 4]; None if one of them is not linear."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        return None
    return matrix_of(parent.GetMatrixTransformToWorld)


def slice_origins_mm(node: Any, tag_value: TagValue) -> np.ndarray | None:
    """Where the slices of a node loaded from DICOM lie by their own headers, RAS [z, 3], before any transform.

    None where the node's own matrix says the same, where it was not loaded from DICOM, or where files and slices
    cannot be matched.
    """
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split()
    slices = node.GetImageData().GetDimensions()[2]
    if len(uids) != slices or slices < 2:
        return None
    texts = [tag_value(uid, IMAGE_POSITION) for uid in uids]
    if any(text.count("\\") != 2 for text in texts):
        return None
    found = np.array([[float(part) for part in text.split("\\")] for text in texts]) * RAS_FROM_LPS
    matrix = matrix_of(node.GetIJKToRASMatrix)
    normal = np.cross(matrix[:3, 0], matrix[:3, 1])
    normal *= np.sign(normal @ matrix[:3, 2]) / np.linalg.norm(normal)
    found = found[np.argsort(found @ normal)]
    if np.linalg.norm(found[0] - matrix[:3, 3]) > SAME_SLICE_MM:
        return None
    regular = matrix[:3, 3] + np.arange(slices)[:, None] * matrix[:3, 2]
    return None if np.abs(found - regular).max() < SAME_PLACE_MM else found


def add_segmentation(volume_node: Any, mask: np.ndarray, name: str) -> Any:
    """A segmentation node with one segment on the voxels of a volume node; mask [z, y, x]."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", slicer.mrmlScene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    try:
        set_mask(node, volume_node, mask)
    except RuntimeError:
        slicer.mrmlScene.RemoveNode(node)
        raise
    place_beside(volume_node, node)
    return node


def add_segment(segmentation_node: Any) -> None:
    """Adds the segment of the bleed, empty, with its name, colour and tags."""
    segment = slicer.vtkSegment()
    segment.SetName(SEGMENT_NAME)
    segment.SetColor([part / 255 for part in SEGMENT_COLOR_RGB])
    for tag, value in SEGMENT_TAGS.items():
        segment.SetTag(tag, value)
    segmentation_node.GetSegmentation().AddSegment(segment, SEGMENT_ID)


def set_edited(segmentation_node: Any, edited: bool) -> None:
    """Says in the segment's DICOM tags whether a hand has changed what the program found."""
    segment = segmentation_node.GetSegmentation().GetSegment(SEGMENT_ID)
    if segment is not None:
        segment.SetTag(ALGORITHM_TYPE_TAG, SEMIAUTOMATIC if edited else AUTOMATIC)


def set_mask(segmentation_node: Any, volume_node: Any, mask: np.ndarray) -> None:
    """Replaces the bleed of a segmentation node by a mask [z, y, x] on the voxels of a volume node.

    The segment is added if it is not there, or not any more.
    """
    if segmentation_node.GetSegmentation().GetSegment(SEGMENT_ID) is None:
        add_segment(segmentation_node)
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*mask.shape[::-1])
    values = numpy_to_vtk(np.ascontiguousarray(mask, np.uint8).ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    image.GetPointData().SetScalars(values)
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    done = slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        image, segmentation_node, SEGMENT_ID, slicer.vtkSlicerSegmentationsModuleLogic.MODE_REPLACE
    )
    if not done:
        raise RuntimeError("Slicer did not take the mask into the segmentation.")


def bleed_segments(segmentation_node: Any) -> dict[str, str]:
    """The segments that count as bleed, names by id: all but those whose terminology says that they are another thing.

    A segment that the user adds is called "Tissue" by Slicer until its type is chosen, and counts.
    """
    segmentation = segmentation_node.GetSegmentation()
    found = {}
    for index in range(segmentation.GetNumberOfSegments()):
        identifier = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(identifier)
        entry = vtk.mutable("")
        segment.GetTag(segment.GetTerminologyEntryTagName(), entry)
        parts = str(entry).split("~")  # context, category, type, modifier, ...
        code = parts[2].split("^")[1] if len(parts) > 2 and "^" in parts[2] else ""
        if code in ("", TYPE_TISSUE, TYPE_HEMORRHAGE):
            found[identifier] = segment.GetName()
    return found


def mask_of(segmentation_node: Any, volume_node: Any) -> np.ndarray:
    """The `bleed_segments` of a segmentation node together on the voxels of a volume node, bool [z, y, x]."""
    shape = volume_node.GetImageData().GetDimensions()[::-1]
    mask = np.zeros(shape, bool)
    for segment in bleed_segments(segmentation_node):
        mask |= slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment, volume_node) > 0
    return mask


def add_probability(volume_node: Any, probability: np.ndarray, name: str) -> Any:
    """The probability [z, y, x] as a scalar volume that the user's lists do not show."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", slicer.mrmlScene.GenerateUniqueName(name))
    node.SetHideFromEditors(True)
    node.CopyOrientation(volume_node)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(probability, np.float32))
    return node


def add_table(volume_node: Any, lesions: list[Any], name: str) -> Any:
    """A table node with a row for all bleed together and one for each lesion."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", slicer.mrmlScene.GenerateUniqueName(name))
    fill_table(node, lesions)
    place_beside(volume_node, node)
    return node


def fill_table(node: Any, lesions: list[Any]) -> None:
    """Replaces the content of a table node by these lesions (`lesions.Lesion` or its JSON)."""
    rows = [lesion if isinstance(lesion, dict) else asdict(lesion) for lesion in lesions]
    modified = node.StartModify()
    node.RemoveAllColumns()
    names = vtk.vtkStringArray()
    names.SetName("lesion")
    for text in ("all", *(str(number) for number in range(1, len(rows) + 1))):
        names.InsertNextValue(text)
    node.AddColumn(names)
    for measure, (unit, digits) in MEASURES.items():
        column = vtk.vtkDoubleArray()
        column.SetName(measure)
        column.InsertNextValue(round(sum(row[measure] for row in rows), digits) if measure == "volume_ml" else np.nan)
        for row in rows:
            column.InsertNextValue(round(row[measure], digits))
        node.AddColumn(column)
        if unit:
            node.SetColumnUnitLabel(measure, unit)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.EndModify(modified)


def place_beside(volume_node: Any, node: Any) -> None:
    """Puts a node into the study of a volume node, in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    volume_item, item = (hierarchy.GetItemByDataNode(each) for each in (volume_node, node))
    if volume_item and item:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(volume_item))
