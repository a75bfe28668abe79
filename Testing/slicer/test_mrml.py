"""Volumes out of Slicer's scene and results into it, voxel by voxel, on Slicer's own MRML code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from host import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

import slicer
import slicer.util
import vtk
from scenes import DIRECTIONS, TURN, put_under

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.mrml import (
    add_probability,
    add_segmentation,
    add_table,
    fill_table,
    mask_of,
    set_mask,
    volume_of_node,
)
from ICHSegmentationLib.terminology import SEGMENT_ID, SEGMENT_TAGS

pytestmark = pytest.mark.usefixtures("application")

SPACING_MM = np.array([0.5, 0.7, 5.0])
LESION = {
    "volume_ml": 12.345, "abc2_ml": 13.0, "a_mm": 40.0, "b_mm": 26.0, "c_mm": 25.0, "max_diameter_mm": 44.0,
    "mean_hu": 61.2, "slices": 5, "centroid_mm_ras": [1.0, 2.0, 3.0],
}  # fmt: skip


def affine(name: str) -> np.ndarray:
    values = np.eye(4)
    values[:3, :3] = DIRECTIONS[name] * SPACING_MM
    values[:3, 3] = (-20.0, 30.0, 11.0)
    return values


def volume_node(name: str = "axial") -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    array = np.random.default_rng(0).integers(-1000, 1000, (8, 20, 24)).astype(np.int16)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine(name)))
    return node


def mask() -> np.ndarray:
    drawn = np.zeros((8, 20, 24), np.uint8)
    drawn[2:5, 5:11, 3:9] = 1
    drawn[7, 4, 20] = 1
    drawn[0, 0, 0] = 1
    return drawn


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_volume_comes_out_with_its_values_and_its_place(name: str) -> None:
    node = volume_node(name)
    volume = volume_of_node(node)
    assert np.array_equal(volume.hu, slicer.util.arrayFromVolume(node).T)
    assert volume.affine == pytest.approx(affine(name))
    assert volume.slice_origins_mm is None


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_mask_lies_on_the_very_voxels_of_the_volume(name: str) -> None:
    node = volume_node(name)
    segmentation = add_segmentation(node, mask(), "bleed")
    assert np.array_equal(mask_of(segmentation, node), mask() > 0)
    other = np.roll(mask(), 3, axis=2)
    set_mask(segmentation, node, other)
    assert np.array_equal(mask_of(segmentation, node), other > 0)
    set_mask(segmentation, node, np.zeros_like(other))
    assert not mask_of(segmentation, node).any()


def test_a_volume_under_a_transform_is_measured_where_it_lies_and_its_mask_moves_with_it() -> None:
    node = volume_node()
    moved = np.eye(4)
    moved[:3, :3] = TURN * 1.1  # a registration with scale
    moved[:3, 3] = (5.0, -3.0, 40.0)
    transform = put_under(node, moved)
    volume = volume_of_node(node)
    assert volume.affine == pytest.approx(moved @ affine("axial"))
    assert volume.spacing_mm == pytest.approx(1.1 * SPACING_MM)
    segmentation = add_segmentation(node, mask(), "bleed")
    assert segmentation.GetTransformNodeID() == transform.GetID()
    assert np.array_equal(mask_of(segmentation, node), mask() > 0)


def test_a_non_linear_transform_is_said() -> None:
    node = volume_node()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    bent = vtk.vtkThinPlateSplineTransform()
    bent.SetBasisToR()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (50, 50, 50)):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point[0], point[1], point[2] + 0.01 * point[0] * point[1])
    bent.SetSourceLandmarks(source)
    bent.SetTargetLandmarks(target)
    transform.SetAndObserveTransformToParent(bent)
    node.SetAndObserveTransformNodeID(transform.GetID())
    volume = volume_of_node(node)
    assert volume.affine == pytest.approx(affine("axial"))
    assert "non-linear transform" in volume.info.notes[0]


def dicom(node: Any, origins_lps: np.ndarray) -> Any:
    """What Slicer's DICOM database would say of a node's files, listed in an order of their own."""
    uids = [f"1.2.{number}" for number in range(len(origins_lps))]
    shuffled = [3, 0, 7, 1, 6, 2, 5, 4]
    node.SetAttribute("DICOM.instanceUIDs", " ".join(uids[k] for k in shuffled))
    texts = {uid: "\\".join(f"{v:.6f}" for v in origin) for uid, origin in zip(uids, origins_lps, strict=True)}
    return lambda uid, tag: texts[uid] if tag == "0020,0032" else ""


@pytest.mark.parametrize("name", DIRECTIONS)
def test_tilt_and_uneven_slices_are_known_from_the_dicom_headers(name: str) -> None:
    node = volume_node(name)
    step = affine(name)[:3, 2]
    aside = affine(name)[:3, 1]
    origins = affine(name)[:3, 3] + np.arange(8)[:, None] * (step + 2 * aside)
    origins[5:] += 0.4 * step
    volume = volume_of_node(node, dicom(node, origins * [-1, -1, 1]))
    assert volume.slice_origins_mm == pytest.approx(origins, abs=1e-5)
    assert not volume.is_evenly_spaced
    assert volume.tilt_deg > 10


def test_headers_that_say_what_the_matrix_says_add_nothing() -> None:
    node = volume_node()
    origins = affine("axial")[:3, 3] + np.arange(8)[:, None] * affine("axial")[:3, 2]
    assert volume_of_node(node, dicom(node, origins * [-1, -1, 1])).slice_origins_mm is None


@pytest.mark.parametrize("wrong", ["another place", "no positions", "too few files"])
def test_headers_that_do_not_belong_to_the_volume_are_left_alone(wrong: str) -> None:
    node = volume_node()
    origins = affine("axial")[:3, 3] + np.arange(8)[:, None] * affine("axial")[:3, 2] * 1.3
    tags = dicom(node, (origins + (wrong == "another place") * 9.0) * [-1, -1, 1])
    if wrong == "no positions":
        tags = lambda uid, tag: ""  # noqa: E731
    if wrong == "too few files":
        node.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    assert volume_of_node(node, tags).slice_origins_mm is None


def test_an_empty_or_coloured_volume_is_refused_in_words() -> None:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing")
    with pytest.raises(InputError, match="holds no image"):
        volume_of_node(node)
    colour = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "picture")
    slicer.util.updateVolumeFromArray(colour, np.zeros((4, 5, 6, 3), np.uint8))
    with pytest.raises(InputError, match="3 values a voxel"):
        volume_of_node(colour)


def test_the_segment_has_name_colour_and_meaning() -> None:
    segmentation = add_segmentation(volume_node(), mask(), "bleed")
    segment = segmentation.GetSegmentation().GetSegment(SEGMENT_ID)
    assert segment.GetName() == "Hemorrhage"
    for tag, expected in SEGMENT_TAGS.items():
        found = vtk.reference("")
        assert segment.GetTag(tag, found)
        assert str(found) == expected


def test_results_lie_in_the_study_of_the_scan() -> None:
    node = volume_node()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    for made in (add_segmentation(node, mask(), "bleed"), add_table(node, [LESION], "table")):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(made)) == study


def test_the_probability_is_hidden_and_lies_on_the_scan() -> None:
    node = volume_node("oblique")
    transform = put_under(node, affine("flipped"))
    values = np.random.default_rng(1).random((8, 20, 24)).astype(np.float32)
    made = add_probability(node, values, "probability")
    assert made.GetHideFromEditors()
    assert np.array_equal(slicer.util.arrayFromVolume(made), values)
    assert volume_of_node(made).affine == pytest.approx(volume_of_node(node).affine)
    assert made.GetTransformNodeID() == transform.GetID()


def test_the_table_has_a_row_for_all_and_one_a_lesion() -> None:
    table = add_table(volume_node(), [LESION, {**LESION, "volume_ml": 0.5}], "table")
    assert [table.GetCellText(row, 0) for row in range(table.GetNumberOfRows())] == ["all", "1", "2"]
    assert slicer.util.arrayFromTableColumn(table, "volume_ml") == pytest.approx([12.85, 12.35, 0.5], abs=0.006)
    assert table.GetColumnUnitLabel("volume_ml") == "mL"
    fill_table(table, [])
    assert table.GetNumberOfRows() == 1
    assert slicer.util.arrayFromTableColumn(table, "volume_ml") == pytest.approx([0.0])


def test_a_second_run_makes_nodes_of_its_own() -> None:
    node = volume_node()
    first, second = (add_segmentation(node, mask(), "bleed") for _ in range(2))
    assert first.GetID() != second.GetID()
    assert first.GetName() != second.GetName()


def test_the_scene_survives_saving_and_loading(tmp_path: Any) -> None:
    node = volume_node("oblique")
    add_segmentation(node, mask(), "bleed")
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    slicer.mrmlScene.Clear()
    assert slicer.mrmlScene.ReadFromMRB(path)
    loaded = slicer.util.getNode("CT")
    assert np.array_equal(mask_of(slicer.util.getNode("bleed"), loaded), mask() > 0)
