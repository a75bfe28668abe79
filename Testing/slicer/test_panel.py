"""The panel as a user meets it: driven by its widgets, with a real worker, the bundled ensemble and the real scene."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

import slicer
import slicer.util
from helpers import head_with_ball

from ICHSegmentationLib.mrml import mask_of, set_mask
from ICHSegmentationLib.terminology import DISCLAIMER
from ICHSegmentationLib.worker_process import WorkerProcess

MODULE = Path(__file__).resolve().parents[2] / "ICHSegmentation" / "ICHSegmentation.py"
HEAD = head_with_ball(spacing_mm=(1.5, 1.5, 5.0), radius_mm=18.0)
LONGEST_WAIT_S = 120.0


def add_volume(name: str, hu: np.ndarray) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(hu.T.astype(np.int16)))
    node.SetSpacing(*HEAD.spacing_mm)
    node.SetOrigin(*HEAD.affine[:3, 3])
    return node


@pytest.fixture
def ct(application: Any) -> Any:
    return add_volume("CT head", HEAD.hu)


@pytest.fixture(scope="module")
def warm() -> Iterator[list[WorkerProcess]]:
    """The worker of the test before, if it lives: starting one takes longer than most tests."""
    kept: list[WorkerProcess] = []
    yield kept
    for worker in kept:
        worker.end()


@pytest.fixture
def panel(ct: Any, load: Callable[[Path], Any], warm: list[WorkerProcess]) -> Iterator[Any]:
    widget = load(MODULE).widget
    widget.ui.deviceEdit.text = "cpu"
    widget.logic.worker = warm.pop() if warm else None
    yield widget
    if widget.logic.worker is not None and widget.logic.job is None:
        warm.append(widget.logic.worker)
        widget.logic.worker = None


@pytest.fixture
def segmented(panel: Any) -> Any:
    run(panel)
    assert panel.ui.problemLabel.text == ""
    return panel


def run(panel: Any) -> None:
    panel.ui.segmentButton.click()
    assert panel.logic.job is not None, panel.ui.problemLabel.text
    slicer.app.wait_until(lambda: panel.logic.job is None, LONGEST_WAIT_S)


def settle(panel: Any) -> None:
    """Waits until an edit or a new threshold has been measured."""
    slicer.app.wait_until(lambda: not panel.edit_timer.active, LONGEST_WAIT_S)


def is_shown(widget: Any) -> bool:
    """Whether a widget would be seen if the window were open."""
    return not widget.isHidden()


def mask(panel: Any) -> np.ndarray:
    return mask_of(panel.parameters.segmentation, panel.parameters.scan)


def test_the_panel_opens_on_the_ct_in_the_scene(panel: Any, ct: Any) -> None:
    assert panel.ui.inputSelector.currentNode() is ct
    assert panel.ui.segmentButton.enabled
    assert panel.ui.segmentButton.text == "Segment"
    assert not is_shown(panel.ui.resultBox)
    assert panel.ui.disclaimerLabel.text == DISCLAIMER


def test_without_a_volume_the_button_says_what_is_missing(application: Any, load: Callable[[Path], Any]) -> None:
    panel = load(MODULE).widget
    assert not panel.ui.segmentButton.enabled
    assert panel.ui.segmentButton.toolTip == "Choose a head CT."
    volume = add_volume("late", HEAD.hu)
    panel.ui.inputSelector.setCurrentNode(volume)
    assert panel.ui.segmentButton.enabled


def test_segment_gives_a_segmentation_a_table_and_a_card(segmented: Any, ct: Any) -> None:
    statistics = json.loads(segmented.parameters.statistics)
    true_ml = 4 / 3 * np.pi * 1.8**3
    assert statistics["volume_ml"] == pytest.approx(true_ml, rel=0.25)
    assert segmented.ui.cardLabel.text.count(f"{statistics['volume_ml']:.1f} mL") >= 1
    assert mask(segmented).sum() * 1.5 * 1.5 * 5.0 / 1000 == pytest.approx(statistics["volume_ml"])
    table = segmented.parameters.table
    assert slicer.util.arrayFromTableColumn(table, "volume_ml")[0] == pytest.approx(statistics["volume_ml"], abs=0.02)
    assert segmented.ui.lesionList.count == len(statistics["lesions"])
    assert segmented.parameters.probability.GetHideFromEditors()
    assert segmented.ui.inputSelector.currentNode() is ct
    assert is_shown(segmented.ui.resultBox)
    assert not is_shown(segmented.ui.progressBar)
    assert segmented.ui.segmentButton.text == "Segment"
    assert segmented.ui.progressLabel.text.startswith("Done in")


def test_the_views_jump_to_the_largest_bleed_and_to_a_clicked_lesion(segmented: Any) -> None:
    centroid = segmented.found.lesions[0]["centroid_mm_ras"]
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    assert red.GetSliceOffset() == pytest.approx(centroid[2], abs=2.6)
    segmented.logic.jump_to([0.0, 0.0, -40.0])
    segmented.ui.lesionList.setCurrentRow(-1)
    segmented.ui.lesionList.setCurrentRow(0)
    assert red.GetSliceOffset() == pytest.approx(centroid[2], abs=2.6)


def test_the_windows_are_those_of_the_buttons(panel: Any, ct: Any) -> None:
    for button, width, level in (("brain", 80, 40), ("blood", 80, 55), ("subdural", 200, 75)):
        getattr(panel.ui, f"{button}WindowButton").click()
        assert (ct.GetDisplayNode().GetWindow(), ct.GetDisplayNode().GetLevel()) == (width, level)


def test_the_threshold_cuts_the_stored_probability_at_once(segmented: Any) -> None:
    probability = slicer.util.arrayFromVolume(segmented.parameters.probability)
    before = segmented.found.volume_ml
    segmented.ui.thresholdSlider.value = 0.2
    assert np.array_equal(mask(segmented), probability >= 0.2)
    settle(segmented)
    assert segmented.found.volume_ml > before
    threshold = segmented.found.statistics["threshold"]
    assert f"cut at 0.20 instead of {threshold:.2f}" in segmented.ui.cardLabel.text
    assert not segmented.parameters.edited
    segmented.ui.thresholdSlider.value = threshold
    settle(segmented)
    assert f"over {segmented.found.statistics['bundle']['members']} members" in segmented.ui.cardLabel.text


def test_an_edit_is_measured_and_said(segmented: Any) -> None:
    smaller = mask(segmented).astype(np.uint8)
    smaller[: smaller.shape[0] // 2] = 0
    set_mask(segmented.parameters.segmentation, segmented.parameters.scan, smaller)
    settle(segmented)
    assert segmented.parameters.edited
    assert "edited by hand" in segmented.ui.cardLabel.text
    assert segmented.found.volume_ml == pytest.approx(smaller.sum() * 1.5 * 1.5 * 5.0 / 1000)
    segmented.ui.copyTextButton.click()
    assert "edited by hand" in slicer.app.clipboard().text()


def test_the_report_can_be_copied_as_text_and_as_a_table(segmented: Any) -> None:
    segmented.ui.copyTextButton.click()
    text = slicer.app.clipboard().text()
    assert "CT head" in text
    assert DISCLAIMER in text
    assert segmented.found.statistics["bundle"]["sha256"] in text
    segmented.ui.copyTableButton.click()
    assert slicer.app.clipboard().text().startswith("scan,lesion,volume_ml")


def test_undo_takes_the_result_back_in_one_step(segmented: Any, ct: Any) -> None:
    made = [segmented.parameters.segmentation, segmented.parameters.table, segmented.parameters.probability]
    segmented.ui.undoButton.click()
    assert not any(slicer.mrmlScene.IsNodePresent(node) for node in made)
    assert slicer.mrmlScene.IsNodePresent(ct)
    assert not is_shown(segmented.ui.resultBox)


def test_the_bleed_can_be_shown_in_3d(segmented: Any) -> None:
    display = segmented.parameters.segmentation.GetDisplayNode()
    segmented.ui.show3DButton.checked = True
    assert display.GetVisibility3D()
    surface = slicer.vtkMRMLSegmentationNode.GetClosedSurfaceInternalRepresentation
    assert surface(segmented.parameters.segmentation, "Hemorrhage").GetNumberOfPoints() > 100
    segmented.ui.show3DButton.checked = False
    assert not display.GetVisibility3D()


def test_a_second_run_makes_a_second_result_with_a_warm_worker(segmented: Any) -> None:
    first, process = segmented.parameters.segmentation, segmented.logic.worker.process.pid
    run(segmented)
    assert segmented.parameters.segmentation is not first
    assert slicer.mrmlScene.IsNodePresent(first)
    assert segmented.logic.worker.process.pid == process


def test_no_hemorrhage_is_said_as_such(panel: Any) -> None:
    plain = head_with_ball(spacing_mm=(1.5, 1.5, 5.0), radius_mm=0.0)
    panel.ui.inputSelector.setCurrentNode(add_volume("without bleed", plain.hu))
    run(panel)
    assert is_shown(panel.ui.resultBox)
    if panel.found.lesions:
        assert panel.found.volume_ml < 1.0  # the ensemble may err; what is shown must follow it
    else:
        assert "No hemorrhage found" in panel.ui.cardLabel.text
        assert panel.ui.lesionList.count == 0


def test_cancel_stops_within_two_seconds_and_leaves_the_scene_as_it_was(panel: Any) -> None:
    import time

    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.segmentButton.click()
    slicer.app.wait_until(lambda: "member" in panel.ui.progressLabel.text, LONGEST_WAIT_S)
    process, folder = panel.logic.worker.process, panel.logic.worker.folder
    assert panel.ui.segmentButton.text == "Cancel"
    started = time.monotonic()
    panel.ui.segmentButton.click()
    assert time.monotonic() - started < 2.0
    assert process.poll() is not None
    assert not folder.exists()
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert panel.ui.segmentButton.text == "Segment"
    run(panel)
    assert panel.logic.has_result(panel.parameters)


def test_a_crash_is_told_with_a_diagnosis_and_the_next_click_works(panel: Any) -> None:
    panel.ui.segmentButton.click()
    panel.logic.worker.process.kill()
    slicer.app.wait_until(lambda: panel.logic.job is None, LONGEST_WAIT_S)
    assert "ended unexpectedly" in panel.ui.problemLabel.text
    panel.ui.copyDiagnosisButton.click()
    assert "Python" in slicer.app.clipboard().text()
    assert "CT head" not in slicer.app.clipboard().text()
    run(panel)
    assert not is_shown(panel.ui.problemLabel)
    assert panel.logic.has_result(panel.parameters)


def test_what_is_not_a_ct_is_refused_in_words(panel: Any) -> None:
    picture = np.random.default_rng(0).integers(0, 255, HEAD.hu.shape).astype(np.float32)
    panel.ui.inputSelector.setCurrentNode(add_volume("picture", picture))
    run(panel)
    assert "8-bit picture" in panel.ui.problemLabel.text
    assert not panel.logic.has_result(panel.parameters)


def test_an_ensemble_that_is_not_there_is_said(panel: Any) -> None:
    panel.ui.bundleEdit.text = "/nonexistent"
    run(panel)
    assert "is no bundle" in panel.ui.problemLabel.text


def test_a_volume_that_is_removed_meanwhile_leaves_no_result(panel: Any, ct: Any) -> None:
    panel.ui.segmentButton.click()
    slicer.mrmlScene.RemoveNode(ct)
    slicer.app.wait_until(lambda: panel.logic.job is None, LONGEST_WAIT_S)
    assert "removed while it was segmented" in panel.ui.problemLabel.text
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_scene_that_is_closed_meanwhile_ends_the_run(panel: Any) -> None:
    panel.ui.segmentButton.click()
    slicer.app.wait_until(lambda: "member" in panel.ui.progressLabel.text, LONGEST_WAIT_S)
    process = panel.logic.worker.process
    slicer.mrmlScene.Clear()
    assert process.poll() is not None
    assert panel.logic.job is None
    panel.ui.inputSelector.setCurrentNode(add_volume("next", HEAD.hu))
    run(panel)
    assert panel.logic.has_result(panel.parameters)


def test_results_that_the_user_removes_are_shown_no_more(segmented: Any) -> None:
    slicer.mrmlScene.RemoveNode(segmented.parameters.segmentation)
    assert not is_shown(segmented.ui.resultBox)


def test_open_in_segment_editor_hands_over_segmentation_and_ct(segmented: Any, ct: Any) -> None:
    segmented.ui.editButton.click()
    assert slicer.app.shown("selectModule") == ["SegmentEditor"]
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    assert editor.segmentationNode() is segmented.parameters.segmentation
    assert editor.sourceVolumeNode() is ct


def test_leaving_and_coming_back_keeps_the_result(segmented: Any) -> None:
    segmented.exit()
    segmented.enter()
    assert is_shown(segmented.ui.resultBox)
    assert segmented.found is not None
