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
from panel_helpers import BALL_ML, HEAD, LONGEST_WAIT_S, MODULE, add_volume, is_shown

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
    assert panel.ui.batchFailures.rowCount == 1
    assert panel.ui.batchFailures.item(0, 0).text() == "picture"
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


def test_a_folder_is_segmented_into_files_and_failures_are_listed(panel: Any, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    write_image_file(scans / "good.nrrd", HEAD.hu, HEAD.affine, {})
    (scans / "bad.nii.gz").write_bytes(b"")
    run_batch(panel, out, scans)
    assert (out / "good.nrrd" / "segmentation.seg.nrrd").is_file()
    assert [row["state"] for row in rows(out).values()] == ["failed", "done"]
    assert is_shown(panel.ui.batchFailures)
    assert panel.ui.batchFailures.item(0, 1).text() == "bad.nii.gz is empty (0 bytes)."
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
