"""Many scans from the panel: what is loaded, or a folder; told, kept, cancelled, gone on with."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from host import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

import slicer
import slicer.util
from panel_helpers import BALL_ML, HEAD, LONGEST_WAIT_S, MODULE, add_volume, is_shown, settle

from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.mrml import mask_of


def start_batch(panel: Any, out: Path, scans: Path | None = None) -> None:
    panel.ui.batchFolderRadio.checked = scans is not None
    panel.ui.batchVolumesRadio.checked = scans is None
    if scans is not None:
        panel.ui.batchInputEdit.currentPath = str(scans)
    panel.ui.batchOutputEdit.currentPath = str(out)
    panel.ui.batchRunButton.click()


def run_batch(panel: Any, out: Path, scans: Path | None = None) -> None:
    start_batch(panel, out, scans)
    assert panel.batch.is_running, panel.ui.batchLabel.text
    slicer.app.wait_until(lambda: not panel.batch.is_running, LONGEST_WAIT_S)


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "batch.csv").open(encoding="utf-8", newline="") as file:
        return {row["scan"]: row for row in csv.DictReader(file)}


def texts(panel: Any) -> list[tuple[str, str]]:
    table = panel.ui.batchTable
    return [(table.item(row, 0).text(), table.item(row, 1).text()) for row in range(table.rowCount)]


def click(panel: Any, row: int) -> None:
    panel.ui.batchTable.cellClicked.emit(row, 0)


def in_the_views() -> set[str]:
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return {slicer.mrmlScene.GetNodeByID(node.GetBackgroundVolumeID()).GetName() for node in nodes}


def segmentations() -> list[Any]:
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def test_the_button_says_what_is_still_to_be_chosen(panel: Any, tmp_path: Path) -> None:
    button = panel.ui.batchRunButton
    assert not button.enabled
    assert "folder for the table" in button.toolTip
    panel.ui.batchOutputEdit.currentPath = str(tmp_path)
    assert button.enabled
    assert not is_shown(panel.ui.batchInputEdit)
    panel.ui.batchFolderRadio.checked = True
    assert is_shown(panel.ui.batchInputEdit)
    assert not button.enabled
    assert "folder with the scans" in button.toolTip


def test_loaded_cts_get_a_segmentation_each_and_one_table(panel: Any, ct: Any, tmp_path: Path) -> None:
    twin, picture = add_volume("CT head"), add_volume("picture", abs(HEAD.hu) % 200)
    mr = add_volume("MR")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    attribute = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(mr), attribute, "MR")
    run_batch(panel, tmp_path)
    found = rows(tmp_path)
    assert list(found) == ["CT head", "CT head (2)", "picture"]
    assert [row["state"] for row in found.values()] == ["done", "done", "failed"]
    assert float(found["CT head"]["volume_ml"]) == pytest.approx(BALL_ML, rel=0.25)
    assert found["CT head"]["sha256"] == panel.set_up.installation.bundle.sha256
    first, second = segmentations()
    for node, volume in ((first, ct), (second, twin)):
        assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
        assert mask_of(node, volume).any()
    volume_ml = float(found["CT head"]["volume_ml"])
    assert texts(panel)[:2] == [(name, f"{volume_ml:.1f} mL") for name in ("CT head", "CT head (2)")]
    assert texts(panel)[2][0] == "picture"
    assert "Hounsfield" in texts(panel)[2][1]
    assert [panel.ui.batchTable.item(row, 0).font().bold() for row in range(3)] == [False, False, True]
    assert "2 of 3 scans are done, 1 failed" in panel.ui.batchLabel.text
    assert "Left out, as they are no CT: MR." in panel.ui.batchLabel.text
    assert picture.GetDisplayNode() is None
    panel.ui.batchCopyButton.click()
    copied = list(csv.DictReader(io.StringIO(slicer.app.clipboard().text())))
    assert [row["scan"] for row in copied] == list(found)
    # once more: what is done stays; what was taken away, or has changed, is done again
    slicer.mrmlScene.RemoveNode(second)
    slicer.mrmlScene.RemoveNode(picture)
    run_batch(panel, tmp_path)
    assert panel.batch.batch.skipped == ["CT head"]
    assert len(segmentations()) == 2


def test_a_click_on_a_finished_scan_shows_it_as_if_it_had_been_segmented_alone(panel: Any, tmp_path: Path) -> None:
    without = HEAD.hu.copy()
    without[without == 70] = 32
    none, bad = add_volume("no bleed", without), add_volume("picture", abs(HEAD.hu) % 200)
    run_batch(panel, tmp_path)
    first, second = segmentations()
    assert not any(node.GetDisplayVisibility() for node in (first, second))  # the views show who knows which head
    assert not is_shown(panel.ui.resultBox)
    assert "Click a scan to see it." in panel.ui.batchLabel.text
    click(panel, 0)
    assert "Click a scan" not in panel.ui.batchLabel.text
    assert panel.ui.scanLabel.text == "CT head"
    assert f"{panel.result.found.volume_ml:.1f} mL" == texts(panel)[0][1]
    assert in_the_views() == {"CT head"}
    assert [bool(node.GetDisplayVisibility()) for node in (first, second)] == [True, False]
    panel.ui.thresholdSlider.value = 0.2
    settle(panel)
    assert "cut at 0.20" in panel.ui.cardLabel.text
    click(panel, 1)
    assert panel.ui.inputSelector.currentNode() is none
    assert panel.result.found.statistics["threshold"] == panel.ui.thresholdSlider.value
    assert [bool(node.GetDisplayVisibility()) for node in (first, second)] == [False, True]
    click(panel, 2)  # failed: to be looked at
    assert in_the_views() == {"picture"}
    assert panel.ui.inputSelector.currentNode() is bad
    assert panel.ui.scanLabel.text == "no bleed"
    assert not any(node.GetDisplayVisibility() for node in (first, second))
    click(panel, 0)
    assert "cut at 0.20" in panel.ui.cardLabel.text  # as it was left


def test_a_click_on_a_scan_that_was_passed_over_shows_what_the_earlier_batch_found(panel: Any, tmp_path: Path) -> None:
    run_batch(panel, tmp_path)
    scene = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(scene)
    options = (panel.ui.deviceEdit.text, panel.ui.bundleEdit.text)
    slicer.mrmlScene.Clear()
    assert not is_shown(panel.ui.batchTable)
    slicer.mrmlScene.ReadFromMRB(scene)
    panel.ui.deviceEdit.text, panel.ui.bundleEdit.text = options
    run_batch(panel, tmp_path)
    assert panel.batch.batch.skipped == ["CT head"]
    click(panel, 0)
    assert f"{panel.result.found.volume_ml:.1f} mL" == texts(panel)[0][1]
    assert panel.ui.thresholdSlider.enabled


def test_a_result_of_a_batch_that_was_removed_is_said_to_be_gone(panel: Any, ct: Any, tmp_path: Path) -> None:
    run_batch(panel, tmp_path)
    click(panel, 0)
    panel.ui.undoButton.click()
    assert segmentations() == []
    click(panel, 0)
    assert "The result was removed from the scene; run the batch again." in panel.ui.batchLabel.text
    slicer.mrmlScene.RemoveNode(ct)
    click(panel, 0)
    assert "The volume was removed from the scene." in panel.ui.batchLabel.text


def test_a_folder_is_segmented_into_files_and_failures_are_listed(panel: Any, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    write_image_file(scans / "good.nrrd", HEAD.hu, HEAD.affine, {})
    (scans / "bad.nii.gz").write_bytes(b"")
    run_batch(panel, out, scans)
    assert (out / "good.nrrd" / "segmentation.seg.nrrd").is_file()
    assert [row["state"] for row in rows(out).values()] == ["failed", "done"]
    assert is_shown(panel.ui.batchTable)
    assert texts(panel)[0] == ("bad.nii.gz", "bad.nii.gz is empty (0 bytes).")
    click(panel, 0)
    assert "bad.nii.gz: bad.nii.gz is empty (0 bytes)." in panel.ui.batchLabel.text
    click(panel, 1)
    assert f"The results of good.nrrd are files, in {out / 'good.nrrd'}." in panel.ui.batchLabel.text
    assert segmentations() == []
    assert not is_shown(panel.ui.batchProgressBar)


def test_while_a_batch_runs_no_single_scan_does_and_cancel_keeps_what_is_done(panel: Any, tmp_path: Path) -> None:
    add_volume("second")
    start_batch(panel, tmp_path)
    assert not panel.ui.segmentButton.enabled
    assert panel.ui.segmentButton.toolTip == "A batch is running."
    assert not panel.ui.batchOutputEdit.enabled
    assert panel.ui.batchRunButton.text == "Cancel batch"
    assert is_shown(panel.ui.batchProgressBar)
    slicer.app.wait_until(lambda: len(panel.batch.batch.rows) == 1, LONGEST_WAIT_S)
    assert "Scan 2 of 2: second" in panel.ui.batchLabel.text
    click(panel, 0)  # what is done can be looked at meanwhile
    assert panel.ui.scanLabel.text == "CT head"
    assert panel.batch.is_running
    process = panel.logic.keeper.worker.process
    panel.ui.batchRunButton.click()
    assert process.poll() is not None
    assert "Cancelled; what is done is kept." in panel.ui.batchLabel.text
    assert panel.ui.segmentButton.enabled
    assert list(rows(tmp_path)) == ["CT head"]
    assert len(segmentations()) == 1
    run_batch(panel, tmp_path)
    assert panel.batch.batch.skipped == ["CT head"]
    assert list(rows(tmp_path)) == ["CT head", "second"]


def test_while_a_scan_is_segmented_no_batch_starts(panel: Any, tmp_path: Path) -> None:
    panel.ui.batchOutputEdit.currentPath = str(tmp_path)
    panel.ui.segmentButton.click()
    assert not panel.ui.batchRunButton.enabled
    assert panel.ui.batchRunButton.toolTip == "A scan is being segmented."
    panel.ui.segmentButton.click()
    assert panel.ui.batchRunButton.enabled


def test_a_scene_that_is_closed_ends_a_batch_of_its_volumes(panel: Any, tmp_path: Path) -> None:
    start_batch(panel, tmp_path)
    slicer.mrmlScene.Clear()
    assert not panel.batch.is_running
    assert segmentations() == []


def test_what_cannot_be_started_is_said(
    application: Any, load: Callable[[Path], Any], quick_bundle: Path, tmp_path: Path
) -> None:
    panel = load(MODULE).widget
    panel.ui.bundleEdit.text = str(quick_bundle)
    start_batch(panel, tmp_path / "out")
    assert panel.ui.batchLabel.text == "No CT is loaded; load one, or choose a folder."
    start_batch(panel, tmp_path / "out", tmp_path / "nowhere")
    assert "There is no file or folder" in panel.ui.batchLabel.text
    (tmp_path / "a file").touch()
    add_volume("CT")
    start_batch(panel, tmp_path / "a file")
    assert "cannot be written" in panel.ui.batchLabel.text
