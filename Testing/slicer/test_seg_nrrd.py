"""`segmentation.seg.nrrd` as Slicer's own code reads it (slicer-core from PyPI: MRML without the application)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from host import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.report import segment_tags
from ICHSegmentationLib.terminology import SEGMENT_COLOR_RGB, SEGMENT_TAGS

SPACING_MM = np.array([0.5, 0.7, 5.0])
TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
ROLL = np.array([[1.0, 0.0, 0.0], [0.0, 0.96, -0.28], [0.0, 0.28, 0.96]])


def affine(directions: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = directions * SPACING_MM
    matrix[:3, 3] = (-20.0, 30.0, 11.0)
    return matrix


def mask() -> np.ndarray:
    drawn = np.zeros((24, 20, 8), np.uint8)
    drawn[3:9, 5:11, 2:5] = 1
    drawn[20, 4, 7] = 1
    return drawn


GRIDS = {
    "RAS": affine(np.eye(3)),
    "LPS": affine(np.diag([-1.0, -1.0, 1.0])),
    "flipped": affine(np.diag([1.0, -1.0, -1.0])),
    "oblique": affine(TURN @ ROLL),
    "sagittal": affine(np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])),
}


def read_by_slicer(path: Path) -> tuple[object, object]:
    """The scene (which owns the nodes) and the segmentation node."""
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "read")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    return scene, node


def voxels_ras_mm(node: object, segment: str) -> np.ndarray:
    """Centres of the segment's voxels in RAS, sorted, as Slicer places them."""
    image = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation(segment, image)
    x0, x1, y0, y1, z0, z1 = image.GetExtent()
    values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(z1 - z0 + 1, y1 - y0 + 1, x1 - x0 + 1)
    z, y, x = np.nonzero(values)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_ras = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    index = np.stack([x + x0, y + y0, z + z0, np.ones(len(x))])
    return sorted_points((to_ras @ index)[:3].T)


def sorted_points(points: np.ndarray) -> np.ndarray:
    return np.array(sorted(map(tuple, points.round(3) + 0.0)))


@pytest.mark.parametrize("name", GRIDS)
def test_slicer_finds_every_voxel_at_its_place(name: str, tmp_path: Path) -> None:
    path = tmp_path / "segmentation.seg.nrrd"
    write_image_file(path, mask(), GRIDS[name], segment_tags(mask()))
    _scene, node = read_by_slicer(path)
    index = np.concatenate([np.argwhere(mask()), np.ones((int(mask().sum()), 1))], axis=1)
    expected = sorted_points((GRIDS[name] @ index.T)[:3].T)
    assert voxels_ras_mm(node, node.GetSegmentation().GetNthSegmentID(0)) == pytest.approx(expected, abs=2e-3)


def test_slicer_finds_name_colour_terminology_and_algorithm(tmp_path: Path) -> None:
    path = tmp_path / "segmentation.seg.nrrd"
    write_image_file(path, mask(), GRIDS["LPS"], segment_tags(mask()))
    _scene, node = read_by_slicer(path)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    segment = segmentation.GetNthSegment(0)
    assert segment.GetName() == "Hemorrhage"
    assert segment.GetColor() == pytest.approx([part / 255 for part in SEGMENT_COLOR_RGB], abs=1e-4)
    for tag, expected in SEGMENT_TAGS.items():
        found = vtk.reference("")
        assert segment.GetTag(tag, found), tag
        assert str(found) == expected


def test_an_empty_mask_is_a_segmentation_with_an_empty_segment(tmp_path: Path) -> None:
    path = tmp_path / "segmentation.seg.nrrd"
    nothing = np.zeros_like(mask())
    write_image_file(path, nothing, GRIDS["LPS"], segment_tags(nothing))
    _scene, node = read_by_slicer(path)
    assert node.GetSegmentation().GetNumberOfSegments() == 1
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(node.GetSegmentation().GetNthSegmentID(0), image)
    if image.GetNumberOfPoints():
        assert not vtk_to_numpy(image.GetPointData().GetScalars()).any()
