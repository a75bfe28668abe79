"""One button: what it takes, what it gives, and what happens when the world changes while it works.

The panel is driven by its widgets, with a real worker, trained weights and the real scene.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

import slicer
import slicer.util
from panel_helpers import (
    BALL_ML,
    HEAD,
    LONGEST_WAIT_S,
    MODULE,
    VOXEL_ML,
    add_volume,
    is_shown,
    mask,
    put_under,
    run,
    wait_for_end,
    wait_until_computing,
)

from ICHSegmentationLib.terminology import DISCLAIMER


def test_the_panel_opens_on_the_ct_in_the_scene(panel: Any, ct: Any) -> None:
    assert panel.ui.inputSelector.currentNode() is ct
    assert panel.ui.segmentButton.enabled
    assert panel.ui.segmentButton.text == "Segment"
    assert not is_shown(panel.ui.resultBox)
    assert panel.ui.disclaimerLabel.text == DISCLAIMER
    assert is_shown(panel.ui.disclaimerLabel)


def test_of_several_volumes_the_ct_is_picked(application: Any, load: Callable[[Path], Any]) -> None:
    add_volume("an MR scan, nowhere below zero", np.abs(HEAD.hu))
    hidden = add_volume("hidden")
    hidden.SetHideFromEditors(True)
    looks = add_volume("shows air")
    assert load(MODULE).widget.ui.inputSelector.currentNode() is looks


def test_a_volume_that_says_it_is_a_ct_is_picked_first(application: Any, load: Callable[[Path], Any]) -> None:
    add_volume("shows air")
    says = add_volume("from DICOM")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    attribute = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(says), attribute, "CT")
    assert load(MODULE).widget.ui.inputSelector.currentNode() is says


def test_without_a_volume_the_button_says_what_is_missing(application: Any, load: Callable[[Path], Any]) -> None:
    panel = load(MODULE).widget
    assert not panel.ui.segmentButton.enabled
    assert panel.ui.segmentButton.toolTip == "Choose a head CT."
    panel.ui.inputSelector.setCurrentNode(add_volume("late"))
    assert panel.ui.segmentButton.enabled


def test_segment_gives_a_segmentation_a_table_and_a_card(panel: Any, ct: Any) -> None:
    panel.ui.bundleEdit.text = ""  # the bundled ensemble
    run(panel)
    statistics = panel.result.shown.statistics
    assert statistics["volume_ml"] == pytest.approx(BALL_ML, rel=0.25)
    assert panel.ui.cardLabel.text.count(f"{statistics['volume_ml']:.1f} mL") >= 1
    assert f"over {statistics['bundle']['members']} members<br>" in panel.ui.cardLabel.text
    assert mask(panel).sum() * VOXEL_ML == pytest.approx(statistics["volume_ml"])
    table = panel.result.shown.table
    assert slicer.util.arrayFromTableColumn(table, "volume_ml")[0] == pytest.approx(statistics["volume_ml"], abs=0.02)
    assert panel.result.shown.probability.GetHideFromEditors()
    assert panel.ui.inputSelector.currentNode() is ct
    assert is_shown(panel.ui.resultBox)
    assert not is_shown(panel.ui.progressBar)
    assert panel.ui.segmentButton.text == "Segment"
    assert panel.ui.progressLabel.text.startswith("Done in")


def test_a_run_shows_stage_member_and_time_left_and_can_be_cancelled(panel: Any) -> None:
    """Cancelled within two seconds; the scene is as it was, nothing is left on the disk, the next click works."""
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.qualityBox.setCurrentText("full")
    panel.ui.inputSelector.setCurrentNode(big_volume())
    panel.ui.segmentButton.click()
    assert is_shown(panel.ui.progressBar)
    slicer.app.wait_until(lambda: "s left" in panel.ui.progressLabel.text, LONGEST_WAIT_S)
    assert "Segmenting: member 1 of 1, tile" in panel.ui.progressLabel.text
    process, folder = panel.logic.keeper.worker.process, panel.logic.keeper.worker.folder
    assert panel.ui.segmentButton.text == "Cancel"
    started = time.monotonic()
    panel.ui.segmentButton.click()
    assert time.monotonic() - started < 2.0
    assert process.poll() is not None
    assert not folder.exists()
    assert slicer.mrmlScene.GetNumberOfNodes() == before + 2  # the big volume and its display
    assert panel.ui.segmentButton.text == "Segment"
    assert panel.ui.progressLabel.text == "Cancelled."
    panel.ui.inputSelector.setCurrentNode(slicer.util.getNode("CT head"))
    run(panel)
    assert panel.result.shown is not None


def big_volume() -> Any:
    """The head on a grid that takes several tiles."""
    node = add_volume("big", np.repeat(np.repeat(HEAD.hu, 8, axis=0), 8, axis=1))
    node.SetSpacing(3.0 / 8, 3.0 / 8, 5.0)
    node.CreateDefaultDisplayNodes()
    return node


def test_nothing_of_a_scan_is_left_in_the_workers_folder(segmented: Any) -> None:
    assert [path for path in segmented.logic.keeper.worker.folder.rglob("*") if path.is_file()] == []


def test_a_second_run_makes_a_second_result_with_the_same_worker(segmented: Any) -> None:
    first, process = segmented.parameters.segmentation, segmented.logic.keeper.worker.process.pid
    run(segmented)
    assert segmented.parameters.segmentation is not first
    assert slicer.mrmlScene.IsNodePresent(first)
    assert first.GetName() != segmented.parameters.segmentation.GetName()
    assert segmented.logic.keeper.worker.process.pid == process


def test_a_crash_is_told_with_a_diagnosis_and_the_next_click_works(panel: Any) -> None:
    panel.ui.segmentButton.click()
    worker = panel.logic.keeper.worker
    worker.last_lines.extend(["<b>first</b>", "the last thing it said"])
    worker.process.kill()
    wait_for_end(panel)
    assert "ended unexpectedly" in panel.ui.problemLabel.text
    assert panel.ui.problemLabel.text.endswith("\nthe last thing it said")
    assert "<b>first</b>\n" in panel.ui.problemLabel.toolTip
    panel.ui.copyDiagnosisButton.click()
    copied = slicer.app.clipboard().text()
    assert "ended unexpectedly" in copied
    assert "Python" in copied
    assert "torch" in copied
    assert "CT head" not in copied
    run(panel)
    assert not is_shown(panel.ui.problemLabel)
    assert panel.result.shown is not None


@pytest.mark.parametrize(
    ("hu", "told"),
    [
        (np.random.default_rng(0).integers(0, 255, HEAD.hu.shape).astype(np.float32), "8-bit picture"),
        (np.zeros((30, 30, 5)), "H"),
    ],
)
def test_what_is_not_a_ct_is_refused_in_words(panel: Any, hu: np.ndarray, told: str) -> None:
    panel.ui.inputSelector.setCurrentNode(add_volume("picture", hu))
    run(panel)
    assert told in panel.ui.problemLabel.text
    assert panel.result.shown is None
    assert not is_shown(panel.ui.resultBox)


def test_a_volume_without_an_image_is_refused_by_the_button(panel: Any) -> None:
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    panel.ui.inputSelector.setCurrentNode(empty)
    assert not panel.ui.segmentButton.enabled
    assert "holds no image" in panel.ui.segmentButton.toolTip


def test_a_volume_that_is_removed_meanwhile_leaves_no_result(panel: Any, ct: Any) -> None:
    panel.ui.segmentButton.click()
    slicer.mrmlScene.RemoveNode(ct)
    wait_for_end(panel)
    assert "removed while it was segmented" in panel.ui.problemLabel.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_volume_that_is_changed_meanwhile_gets_no_result_of_what_it_was(panel: Any, ct: Any) -> None:
    panel.ui.segmentButton.click()
    slicer.util.updateVolumeFromArray(ct, slicer.util.arrayFromVolume(ct) + 1)
    wait_for_end(panel)
    assert "changed while it was segmented" in panel.ui.problemLabel.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_another_choice_meanwhile_does_not_move_the_result(panel: Any, ct: Any) -> None:
    panel.ui.segmentButton.click()
    other = add_volume("other")
    panel.ui.inputSelector.setCurrentNode(other)
    wait_for_end(panel)
    assert panel.result.shown.scan is ct
    assert panel.ui.scanLabel.text == "CT head"
    assert other.GetDisplayNode() is None  # the blood window is the scan's


def test_a_scene_that_is_closed_meanwhile_ends_the_run(panel: Any, quick_bundle: Path) -> None:
    panel.ui.segmentButton.click()
    wait_until_computing(panel)
    process = panel.logic.keeper.worker.process
    slicer.mrmlScene.Clear()
    assert process.poll() is not None
    assert panel.logic.job is None
    panel.ui.inputSelector.setCurrentNode(add_volume("next"))
    panel.ui.bundleEdit.text = str(quick_bundle)
    run(panel)
    assert panel.result.shown is not None


def test_a_panel_that_is_left_meanwhile_has_the_result_when_one_comes_back(panel: Any) -> None:
    panel.ui.segmentButton.click()
    panel.exit()
    wait_for_end(panel)
    panel.enter()
    assert panel.result.shown is not None
    assert is_shown(panel.ui.resultBox)


def test_a_volume_under_a_transform_is_measured_where_it_lies(panel: Any, ct: Any) -> None:
    moved = np.diag([1.1, 1.1, 1.1, 1.0])
    moved[:3, 3] = (5.0, -30.0, 12.0)
    transform = put_under(ct, moved)
    run(panel)
    assert panel.result.found.volume_ml == pytest.approx(mask(panel).sum() * VOXEL_ML * 1.1**3)
    assert panel.result.found.lesions[0]["centroid_mm_ras"] == pytest.approx(
        np.array([20, 10, 0]) * 1.1 + moved[:3, 3], abs=4
    )
    assert panel.parameters.segmentation.GetTransformNodeID() == transform.GetID()
    assert panel.result.shown.probability.GetTransformNodeID() == transform.GetID()


def test_of_a_sequence_the_frame_that_is_shown_is_segmented(panel: Any) -> None:
    without, browser = HEAD.hu.copy(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    without[without == 70] = 32
    frames = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "frames")
    for number, hu in enumerate((without, HEAD.hu)):
        frame = add_volume("frame", hu)
        frames.SetDataNodeAtValue(frame, str(number))
        slicer.mrmlScene.RemoveNode(frame)
    browser.SetAndObserveMasterSequenceNodeID(frames.GetID())
    browser.SetSelectedItemNumber(1)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    shown = browser.GetProxyNode(frames)
    panel.ui.inputSelector.setCurrentNode(shown)
    panel.ui.segmentButton.click()
    wait_for_end(panel)
    assert panel.result.found.volume_ml == pytest.approx(BALL_ML, rel=0.25)
    panel.ui.segmentButton.click()
    browser.SetSelectedItemNumber(0)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    wait_for_end(panel)
    assert "changed while it was segmented" in panel.ui.problemLabel.text


def test_a_scene_that_is_loaded_while_the_panel_is_open_brings_its_card_back(segmented: Any, tmp_path: Path) -> None:
    found = segmented.result.found.volume_ml
    scene = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(scene)
    slicer.mrmlScene.Clear()
    assert not is_shown(segmented.ui.resultBox)
    slicer.mrmlScene.ReadFromMRB(scene)
    assert is_shown(segmented.ui.resultBox)
    assert segmented.result.found.volume_ml == pytest.approx(found, abs=0.01)
    assert segmented.ui.segmentButton.enabled, segmented.ui.segmentButton.toolTip


def test_a_ct_that_comes_while_the_panel_is_open_is_chosen(panel: Any) -> None:
    slicer.mrmlScene.Clear()
    assert panel.parameters.inputVolume is None
    volume = add_volume("late")
    slicer.app.wait_until(lambda: panel.parameters.inputVolume is volume, 10)
    assert panel.ui.segmentButton.enabled, panel.ui.segmentButton.toolTip


def test_a_result_that_slicer_does_not_take_is_told_and_leaves_the_scene_as_it_was(
    panel: Any, ct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*arguments: Any) -> None:
        raise RuntimeError("Slicer did not take the mask into the segmentation.")

    monkeypatch.setattr("ICHSegmentationLib.mrml.set_mask", refuses)
    before = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    run(panel)
    assert "did not take the mask" in panel.ui.problemLabel.text
    assert "Traceback" in panel.run.details
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == before
    assert panel.parameters.segmentation is None
    assert panel.ui.segmentButton.text == "Segment"


def test_the_self_test_that_ships_passes_and_says_so_where_it_cannot_run(
    application: Any, load: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ICHSegmentationLib import installation

    module = load(MODULE).module
    module.runTest()
    assert slicer.app.shown("delayDisplay") == []
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    monkeypatch.setattr(installation, "installed_version", lambda name: None)
    module.runTest()
    assert slicer.app.shown("delayDisplay") == ["Skipped: PyTorch is not installed; open Set-up and click Install."]
