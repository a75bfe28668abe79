"""The result as a radiologist works with it: card, lesions, windows, warnings, threshold, edits, report, export."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from helpers import small_info, small_network
from host import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

import slicer
import slicer.util
import vtk
from panel_helpers import HEAD, SPACING_MM, VOXEL_ML, add_volume, is_shown, mask, run, settle

from ICHSegmentationLib.ensemble import save_bundle
from ICHSegmentationLib.lesions import without_specks
from ICHSegmentationLib.mrml import mask_of, set_mask
from ICHSegmentationLib.terminology import ALGORITHM_TYPE_TAG, DISCLAIMER, SEGMENT_COLOR_RGB, SEGMENT_TAGS
from ICHSegmentationLib.volume import as_volume


@pytest.fixture(scope="module")
def blind_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights at a threshold that none of their answers reaches."""
    folder = tmp_path_factory.mktemp("blind")
    save_bundle(folder, small_info(threshold=0.995), [small_network(1).state_dict()])
    return folder


def smaller(panel: Any) -> np.ndarray:
    """Draws over half of the bleed, as a hand would; the mask that is left."""
    left = mask(panel).astype(np.uint8)
    left[: left.shape[0] // 2] = 0
    set_mask(panel.parameters.segmentation, panel.result.shown.scan, left)
    return left


def algorithm_type(panel: Any) -> str:
    """What DICOM SEG would say of who made the segment."""
    found = vtk.mutable("")
    panel.parameters.segmentation.GetSegmentation().GetSegment("Hemorrhage").GetTag(ALGORITHM_TYPE_TAG, found)
    return str(found)


def distances_mm(place_mm_ras: list[float]) -> list[float]:
    """How far the three slice views are from a place."""
    found = []
    for name in ("Red", "Yellow", "Green"):
        node = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
        matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        found.append(abs(matrix[:3, 2] @ (np.array(place_mm_ras) - matrix[:3, 3])))
    return found


def test_the_card_says_volume_range_lesions_and_abc2_with_its_parts(segmented: Any) -> None:
    lesion, text = segmented.result.found.lesions[0], segmented.ui.cardLabel.text
    low, high = segmented.result.found.statistics["volume_ml_range"]
    count = len(segmented.result.found.lesions)
    assert f"{segmented.result.found.volume_ml:.1f} mL" in text
    assert f"{low:.1f} to {high:.1f} mL over 1 member" in text
    assert (f"{count} lesions, the largest {lesion['volume_ml']:.1f} mL" if count > 1 else "<br>1 lesion<br>") in text
    for part in ("abc2_ml", "a_mm", "b_mm", "c_mm"):
        assert f"{lesion[part]:.{int(part == 'abc2_ml')}f}" in text
    assert f"{lesion['slices']} slices" in text
    assert segmented.ui.scanLabel.text == "CT head"


def test_all_views_jump_to_the_largest_bleed_and_to_a_clicked_lesion(segmented: Any) -> None:
    from ICHSegmentationLib.panel.application import jump_to

    place = segmented.result.found.lesions[0]["centroid_mm_ras"]
    assert max(distances_mm(place)) < 3.0
    assert segmented.ui.lesionList.count == len(segmented.result.found.lesions)
    segmented.ui.lesionList.setCurrentRow(0)
    jump_to([0.0, 0.0, -40.0])
    assert max(distances_mm(place)) > 10.0
    segmented.ui.lesionList.clicked.emit(segmented.ui.lesionList.currentIndex())  # of the row that is current already
    assert max(distances_mm(place)) < 3.0


def test_the_scan_is_shown_in_the_blood_window_whatever_was_shown_before(segmented: Any, ct: Any) -> None:
    assert (ct.GetDisplayNode().GetWindow(), ct.GetDisplayNode().GetLevel()) == (80, 55)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {node.GetBackgroundVolumeID() for node in composites} == {ct.GetID()}


def test_the_windows_are_those_of_the_buttons(panel: Any, ct: Any) -> None:
    for button, width, level in (("brain", 80, 40), ("blood", 80, 55), ("subdural", 200, 75)):
        getattr(panel.ui, f"{button}WindowButton").click()
        assert (ct.GetDisplayNode().GetWindow(), ct.GetDisplayNode().GetLevel()) == (width, level)


def test_no_hemorrhage_is_said_as_such_and_what_is_odd_of_the_scan_warns(panel: Any, blind_bundle: Path) -> None:
    panel.ui.bundleEdit.text = str(blind_bundle)
    upper = add_volume("upper half", HEAD.hu[:, :, 15:])
    upper.SetSpacing(3.0, 3.0, 9.0)
    panel.ui.inputSelector.setCurrentNode(upper)
    run(panel)
    assert "No hemorrhage found" in panel.ui.cardLabel.text
    assert is_shown(panel.ui.resultBox)
    assert not is_shown(panel.ui.lesionList)
    assert not mask(panel).any()
    assert "Thick slices (up to 9.0 mm)" in panel.ui.warningsLabel.text
    assert is_shown(panel.ui.warningsLabel)


def test_the_threshold_cuts_the_stored_probability_at_once(segmented: Any) -> None:
    probability = slicer.util.arrayFromVolume(segmented.result.shown.probability)
    before = segmented.result.found.volume_ml
    segmented.ui.thresholdSlider.value = 0.2
    expected = without_specks(probability.T >= 0.2, as_volume(np.zeros(probability.T.shape), SPACING_MM)).T
    assert np.array_equal(mask(segmented), expected)
    settle(segmented)
    assert segmented.result.found.volume_ml > before
    threshold = segmented.result.found.statistics["threshold"]
    assert f"cut at 0.20 instead of {threshold:.2f}" in segmented.ui.cardLabel.text
    assert not segmented.result.shown.edited
    segmented.ui.thresholdSlider.value = threshold
    settle(segmented)
    assert "over 1 member" in segmented.ui.cardLabel.text


def test_an_edit_is_measured_and_said(segmented: Any) -> None:
    left = smaller(segmented)
    settle(segmented)
    assert segmented.result.shown.edited
    assert "edited by hand" in segmented.ui.cardLabel.text
    assert segmented.result.found.volume_ml == pytest.approx(left.sum() * VOXEL_ML)
    assert algorithm_type(segmented) == "SEMIAUTOMATIC"
    table = slicer.util.arrayFromTableColumn(segmented.result.shown.table, "volume_ml")
    assert table[0] == pytest.approx(left.sum() * VOXEL_ML, abs=0.01)
    segmented.ui.copyTextButton.click()
    assert "edited by hand" in slicer.app.clipboard().text()


def test_an_edit_in_another_module_is_said_when_one_comes_back(segmented: Any) -> None:
    segmented.ui.editButton.click()
    segmented.exit()
    left = smaller(segmented)
    segmented.enter()
    assert "edited by hand" in segmented.ui.cardLabel.text
    assert segmented.result.found.volume_ml == pytest.approx(left.sum() * VOXEL_ML)


def test_a_segment_that_is_taken_away_or_drawn_beside_is_an_edit(segmented: Any) -> None:
    segmentation = segmented.parameters.segmentation.GetSegmentation()
    segmentation.RemoveSegment("Hemorrhage")
    settle(segmented)
    assert "No hemorrhage found" in segmented.ui.cardLabel.text
    assert "edited by hand" in segmented.ui.cardLabel.text
    slicer.app.answers["confirmOkCancelDisplay"] = True
    segmented.ui.thresholdSlider.value = 0.3
    settle(segmented)
    assert segmented.result.found.volume_ml > 0


def test_the_threshold_drops_edits_only_if_the_user_agrees(segmented: Any) -> None:
    threshold = segmented.result.shown.threshold
    left = smaller(segmented)
    slicer.app.answers["confirmOkCancelDisplay"] = False
    segmented.ui.thresholdSlider.value = 0.2
    assert np.array_equal(mask(segmented), left > 0)
    assert segmented.ui.thresholdSlider.value == threshold
    slicer.app.answers["confirmOkCancelDisplay"] = True
    segmented.ui.thresholdSlider.value = 0.2
    assert np.array_equal(mask(segmented), slicer.util.arrayFromVolume(segmented.result.shown.probability) >= 0.2)
    assert not segmented.result.shown.edited
    assert algorithm_type(segmented) == "AUTOMATIC"


def test_open_in_segment_editor_hands_over_segmentation_and_ct(segmented: Any, ct: Any) -> None:
    segmented.ui.editButton.click()
    assert slicer.app.shown("selectModule") == ["SegmentEditor"]
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    assert editor.segmentationNode() is segmented.parameters.segmentation
    assert editor.sourceVolumeNode() is ct


def test_the_report_can_be_copied_as_text_and_as_a_table(segmented: Any) -> None:
    segmented.ui.copyTextButton.click()
    text = slicer.app.clipboard().text()
    statistics = segmented.result.found.statistics
    bundle = statistics["bundle"]
    for said in ("CT head", DISCLAIMER, bundle["version"], bundle["sha256"], statistics["device"]):
        assert said in text
    assert all(warning in text for warning in statistics["warnings"])
    segmented.ui.copyTableButton.click()
    assert slicer.app.clipboard().text().startswith("scan,lesion,volume_ml")


def test_undo_takes_the_last_run_back_in_one_step(segmented: Any, ct: Any) -> None:
    first = segmented.parameters.segmentation
    run(segmented)
    smaller(segmented)
    made = [segmented.parameters.segmentation, segmented.result.shown.table, segmented.result.shown.probability]
    slicer.app.answers["confirmOkCancelDisplay"] = True
    segmented.ui.undoButton.click()
    assert not any(slicer.mrmlScene.IsNodePresent(node) for node in made)
    assert segmented.parameters.segmentation is first
    assert "over 1 member" in segmented.ui.cardLabel.text
    segmented.ui.undoButton.click()
    assert not slicer.mrmlScene.IsNodePresent(first)
    assert slicer.mrmlScene.IsNodePresent(ct)
    assert not is_shown(segmented.ui.resultBox)


def test_results_that_the_user_removes_are_shown_no_more(segmented: Any) -> None:
    slicer.mrmlScene.RemoveNode(segmented.parameters.segmentation)
    assert not is_shown(segmented.ui.resultBox)


def test_a_surface_is_made_only_when_it_is_wanted(segmented: Any) -> None:
    node = segmented.parameters.segmentation
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")
    segmented.ui.show3DButton.checked = True
    assert node.GetDisplayNode().GetVisibility3D()
    surface = slicer.vtkMRMLSegmentationNode.GetClosedSurfaceInternalRepresentation
    assert surface(node, "Hemorrhage").GetNumberOfPoints() > 100
    segmented.ui.show3DButton.checked = False
    assert not node.GetDisplayNode().GetVisibility3D()


def test_an_edit_that_nobody_watched_is_noticed_when_the_result_is_shown_again(segmented: Any) -> None:
    """A scene can be loaded and edited before this module is opened."""
    left, result = mask(segmented).astype(np.uint8), segmented.result.shown
    left[: left.shape[0] // 2] = 0
    segmented.result.show(None)
    set_mask(result.segmentation, result.scan, left)
    assert not result.edited
    segmented.exit()
    segmented.enter()
    assert "edited by hand" in segmented.ui.cardLabel.text
    assert segmented.result.found.volume_ml == pytest.approx(left.sum() * VOXEL_ML)
    assert algorithm_type(segmented) == "SEMIAUTOMATIC"


def test_a_report_that_is_copied_at_once_after_an_edit_says_what_is_there(segmented: Any) -> None:
    left = smaller(segmented)
    segmented.ui.copyTextButton.click()
    assert "edited by hand" in slicer.app.clipboard().text()
    volume_ml = segmented.result.found.volume_ml
    assert volume_ml == pytest.approx(left.sum() * VOXEL_ML)
    assert f"Result: {volume_ml:.1f} mL" in slicer.app.clipboard().text()


def test_of_two_results_the_one_of_the_card_is_seen_alone(segmented: Any) -> None:
    """Heads of two patients lie in the same place: the bleed of one must not be drawn on the other."""
    first = segmented.parameters.segmentation
    other = add_volume("other head")
    segmented.ui.inputSelector.setCurrentNode(other)
    run(segmented)
    second = segmented.parameters.segmentation
    assert [bool(node.GetDisplayVisibility()) for node in (first, second)] == [False, True]
    segmented.ui.undoButton.click()
    assert bool(first.GetDisplayVisibility())
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {node.GetBackgroundVolumeID() for node in composites} == {segmented.result.shown.scan.GetID()}
    assert segmented.ui.scanLabel.text == "CT head"


# ---- DICOM SEG


class Plugin:
    """What the panel tells QuantitativeReporting's plugin (the real one needs a real Slicer)."""

    exported: ClassVar[list[Any]] = []
    answer = ""

    def examineForExport(self, item: int) -> list[Any]:
        return [types.SimpleNamespace(subjectHierarchyItemID=item, directory=None)]

    def export(self, exportables: list[Any]) -> str:
        Plugin.exported = exportables
        return self.answer


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> type[Plugin]:
    Plugin.exported, Plugin.answer = [], ""
    monkeypatch.setattr(slicer.modules, "dicomPlugins", {"DICOMSegmentationPlugin": Plugin}, raising=False)
    return Plugin


def export(panel: Any, folder: str) -> str:
    slicer.app.answers["QFileDialog.getExistingDirectory"] = folder
    panel.ui.exportButton.click()
    return panel.ui.problemLabel.text


def test_dicom_seg_goes_through_slicers_own_plugin(segmented: Any, ct: Any, plugin: Any, tmp_path: Path) -> None:
    ct.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    assert export(segmented, str(tmp_path)) == ""
    (exportable,) = plugin.exported
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert hierarchy.GetItemDataNode(exportable.subjectHierarchyItemID) is segmented.parameters.segmentation
    assert exportable.directory == str(tmp_path)
    plugin.answer = "The plugin's own words."
    assert export(segmented, str(tmp_path)) == "The plugin's own words."
    plugin.exported = []
    assert export(segmented, "") == "The plugin's own words."  # no folder was chosen: nothing happens
    assert plugin.exported == []


def test_what_dicom_seg_lacks_is_said(segmented: Any, plugin: Any, tmp_path: Path) -> None:
    assert "was not loaded from DICOM" in export(segmented, str(tmp_path))
    del slicer.modules.dicomPlugins["DICOMSegmentationPlugin"]
    assert "needs the extension QuantitativeReporting" in export(segmented, str(tmp_path))
    assert plugin.exported == []


def test_the_segment_says_what_it_is_and_that_a_program_made_it(segmented: Any) -> None:
    segment = segmented.parameters.segmentation.GetSegmentation().GetSegment("Hemorrhage")
    for tag, value in SEGMENT_TAGS.items():
        found = vtk.mutable("")
        assert segment.GetTag(tag, found)
        assert str(found) == value
    assert [round(255 * part) for part in segment.GetColor()] == list(SEGMENT_COLOR_RGB)
    reference = segmented.parameters.segmentation.GetNodeReference(
        slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    )
    assert reference is segmented.result.shown.scan
    assert mask_of(segmented.parameters.segmentation, segmented.result.shown.scan).any()


EDEMA = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^79654002^Edema~^^~^^~^^"
)


def draw_segment(panel: Any, name: str, terminology: str, drawn: np.ndarray) -> None:
    """A second segment, as a reader would add it in the Segment Editor."""
    segmentation = panel.parameters.segmentation
    identifier = segmentation.GetSegmentation().AddEmptySegment(name, name)
    if terminology:
        segmentation.GetSegmentation().GetSegment(identifier).SetTag("TerminologyEntry", terminology)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        drawn.astype(np.uint8), segmentation, identifier, panel.result.shown.scan
    )


def far_block(panel: Any) -> np.ndarray:
    drawn = np.zeros(mask(panel).shape, bool)
    drawn[2:6, 20:24, 20:24] = True
    return drawn & ~mask(panel)


def test_a_segment_that_says_it_is_something_else_is_not_counted_as_bleed(segmented: Any) -> None:
    before = segmented.result.found.volume_ml
    draw_segment(segmented, "Edema", EDEMA, far_block(segmented))
    settle(segmented)
    assert segmented.result.found.volume_ml == pytest.approx(before, abs=0.01)


def test_a_second_segment_of_bleed_is_counted_named_and_stays_when_the_threshold_moves(segmented: Any) -> None:
    before, block = segmented.result.found.volume_ml, far_block(segmented)
    draw_segment(segmented, "Left one", "", block)
    settle(segmented)
    assert segmented.result.found.volume_ml == pytest.approx(before + block.sum() * VOXEL_ML, rel=1e-3)
    assert "2 segments together: Hemorrhage, Left one" in segmented.ui.cardLabel.text
    slicer.app.answers["confirmOkCancelDisplay"] = True
    threshold = segmented.result.shown.threshold
    for value in (0.3, threshold):
        segmented.ui.thresholdSlider.value = value
        settle(segmented)
        assert "edited by hand" in segmented.ui.cardLabel.text
    assert segmented.result.found.volume_ml == pytest.approx(before + block.sum() * VOXEL_ML, rel=1e-3)


def test_undo_asks_before_it_removes_what_was_drawn_by_hand(segmented: Any) -> None:
    smaller(segmented)
    settle(segmented)
    slicer.app.answers["confirmOkCancelDisplay"] = False
    segmented.ui.undoButton.click()
    assert segmented.parameters.segmentation is not None
    slicer.app.answers["confirmOkCancelDisplay"] = True
    segmented.ui.undoButton.click()
    assert segmented.parameters.segmentation is None


def test_what_the_plugin_did_not_expect_is_told_in_a_window(
    segmented: Any, plugin: Any, ct: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(self: Any, exportables: list[Any]) -> str:
        raise KeyError("no such tag")

    ct.SetAttribute("DICOM.instanceUIDs", "1.2.3")
    monkeypatch.setattr(plugin, "export", breaks)
    export(segmented, str(tmp_path))
    assert "DICOM SEG could not be written." in slicer.app.shown("errorDisplay")[0]
    assert isinstance(slicer.app.errors.pop(), KeyError)  # the console has it too
