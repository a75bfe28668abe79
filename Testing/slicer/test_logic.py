"""A scan's way through the module: scene, worker, library, scene. What arrives is the library's answer to the voxel."""

from __future__ import annotations

import dataclasses
import sys
import time
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
import vtk
from helpers import small_info, small_network
from scenes import (
    DIRECTIONS,
    SPACING_MM,
    DicomDatabase,
    affine_of,
    head_on,
    matrix_of,
    node_of,
    node_of_dicom,
    put_under,
    regularize,
)

from ICHSegmentationLib.ensemble import Ensemble, load_bundle, save_bundle
from ICHSegmentationLib.errors import OutputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.image_files import read_image_file
from ICHSegmentationLib.inference import Segmentation, segment
from ICHSegmentationLib.mrml import MEASURES, mask_of, volume_of_node
from ICHSegmentationLib.terminology import SEGMENT_ID, SEGMENT_TAGS
from ICHSegmentationLib.volume import read_volume
from ICHSegmentationLib.worker_process import WorkerProcess

MODULE = Path(__file__).resolve().parents[2] / "ICHSegmentation" / "ICHSegmentation.py"
LONGEST_WAIT_S = 120.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small networks with random weights, cut where they call a sixteenth of a head bleed: more than specks."""
    folder = tmp_path_factory.mktemp("bundle")
    networks = [small_network(seed) for seed in (1, 2)]
    found = segment(head_on(affine_of("axial")), Ensemble(small_info(), "0" * 64, networks), "fast", "cpu")
    threshold = float(np.quantile(found.probability, 0.94))
    save_bundle(folder, small_info(threshold=threshold), [network.state_dict() for network in networks])
    return folder


@pytest.fixture(scope="module")
def ensemble(bundle: Path) -> Ensemble:
    return load_bundle(bundle)


@pytest.fixture
def logic(load: Callable[[Path], Any], warm: list[WorkerProcess]) -> Iterator[Any]:
    found = load(MODULE).widget.logic
    found.keeper.worker = warm.pop() if warm else None
    yield found
    if found.keeper.worker is not None and found.job is None:
        warm.append(found.keeper.worker)
        found.keeper.worker = None


@pytest.fixture
def parameters(logic: Any, bundle: Path) -> Any:
    found = logic.getParameterNode()
    found.bundlePath, found.device, found.quality = str(bundle), "cpu", "fast"
    return found


def run(logic: Any, parameters: Any, node: Any) -> dict[str, Any]:
    """Sends a scan through; the last message."""
    parameters.inputVolume = node
    logic.start(parameters)
    return last_message(logic, parameters)


def last_message(logic: Any, parameters: Any) -> dict[str, Any]:
    until = time.monotonic() + LONGEST_WAIT_S
    heard: list[dict[str, Any]] = []
    while logic.job is not None:
        assert time.monotonic() < until, heard
        heard += logic.listen(parameters)
        time.sleep(0.01)
    return heard[-1]


def result(parameters: Any) -> Any:
    """The SceneResult that is chosen."""
    from ICHSegmentationLib.panel.scene_result import result_of

    return result_of(parameters.segmentation)


def assert_is(parameters: Any, node: Any, message: dict[str, Any], expected: Segmentation) -> None:
    """What lies in the scene is the library's answer, to the voxel."""
    assert message["message"] == "result", message
    assert 0 < expected.mask.mean() < 0.5
    assert np.array_equal(mask_of(parameters.segmentation, node), expected.mask.T)
    assert np.array_equal(slicer.util.arrayFromVolume(result(parameters).probability), expected.probability.T)
    assert message["statistics"]["volume_ml"] == pytest.approx(expected.volume_ml)


def as_stored(volume: Volume) -> Volume:
    """The scan as a node of 16-bit integers holds it."""
    return dataclasses.replace(volume, hu=np.asfortranarray(volume.hu.astype(np.int16), np.float32))


@pytest.mark.parametrize("quality", ["fast", "full"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_scan_on_any_grid_gets_the_librarys_mask(
    name: str, quality: str, logic: Any, parameters: Any, ensemble: Ensemble
) -> None:
    volume = as_stored(head_on(affine_of(name)))
    node = node_of(volume.hu, volume.affine)
    parameters.quality = quality
    assert_is(parameters, node, run(logic, parameters, node), segment(volume, ensemble, quality, "cpu"))


@pytest.mark.parametrize("spacing_mm", [(0.9, 2.4, 3.0), (3.0, 3.0, 3.0), (1.0, 1.2, 8.0)])
def test_a_scan_of_any_spacing_gets_the_librarys_mask(
    spacing_mm: tuple[float, float, float], logic: Any, parameters: Any, ensemble: Ensemble
) -> None:
    affine = affine_of("oblique") @ np.diag([*(np.array(spacing_mm) / SPACING_MM), 1.0])
    volume = as_stored(head_on(affine))
    node = node_of(volume.hu, affine)
    assert_is(parameters, node, run(logic, parameters, node), segment(volume, ensemble, "fast", "cpu"))


def test_a_scan_under_a_transform_gets_the_mask_of_where_it_lies(
    logic: Any, parameters: Any, ensemble: Ensemble
) -> None:
    volume = as_stored(head_on(affine_of("as DICOM")))
    node = node_of(volume.hu, volume.affine)
    moved = np.eye(4)
    moved[:3, :3] = DIRECTIONS["oblique"] * 1.05
    moved[:3, 3] = (30.0, -4.0, 11.0)
    transform = put_under(node, moved)
    lying = dataclasses.replace(volume, affine=moved @ volume.affine)
    assert_is(parameters, node, run(logic, parameters, node), segment(lying, ensemble, "fast", "cpu"))
    assert parameters.segmentation.GetTransformNodeID() == transform.GetID()


@pytest.fixture
def real_head(shared_data: Path, application: Any) -> Iterator[Any]:
    """The tilted, uneven head as Slicer's DICOM module loads it."""
    files = sorted((shared_data / "head-ct-dicom").glob("*.dcm"))
    slicer.dicomDatabase = DicomDatabase(files)
    yield node_of_dicom(files)
    del slicer.dicomDatabase


@pytest.fixture(scope="module")
def expected_of_real_head(shared_data: Path, ensemble: Ensemble) -> Segmentation:
    return segment(read_volume(shared_data / "head-ct-dicom"), ensemble, "fast", "cpu")


@pytest.mark.parametrize("regularized", [False, True], ids=["as read", "under the acquisition transform"])
def test_the_real_head_from_dicom_gets_the_librarys_mask_and_volume(
    regularized: bool, logic: Any, parameters: Any, real_head: Any, expected_of_real_head: Segmentation
) -> None:
    """With Slicer's setting "acquisition geometry regularization" the volume lies under a displacement field."""
    if regularized:
        regularize(real_head, expected_of_real_head.volume.origins_mm)
    message = run(logic, parameters, real_head)
    assert_is(parameters, real_head, message, expected_of_real_head)
    assert message["statistics"]["input"]["tilt_deg"] == pytest.approx(18.5, abs=0.05)
    assert not message["statistics"]["input"]["evenly_spaced"]
    finding = logic.result(parameters).finding()
    assert finding.volume_ml == pytest.approx(expected_of_real_head.volume_ml)
    logic.result(parameters).mark_edited(True)  # measured anew, from the scene
    assert logic.result(parameters).finding().volume_ml == pytest.approx(expected_of_real_head.volume_ml)


def test_the_real_head_as_a_plain_volume_gets_the_mask_of_its_own_matrix(
    logic: Any, parameters: Any, real_head: Any, ensemble: Ensemble
) -> None:
    """A volume that was saved and loaded as a file knows of its slices no more than its matrix holds."""
    real_head.RemoveAttribute("DICOM.instanceUIDs")
    hu = np.asfortranarray(slicer.util.arrayFromVolume(real_head).T, np.float32)
    plain = Volume(hu, slicer.util.arrayFromVTKMatrix(matrix_of(real_head)))
    message = run(logic, parameters, real_head)
    assert_is(parameters, real_head, message, segment(plain, ensemble, "fast", "cpu"))


@pytest.fixture
def done(logic: Any, parameters: Any) -> dict[str, Any]:
    """The last message of a run on an oblique head."""
    volume = head_on(affine_of("oblique"))
    return run(logic, parameters, node_of(volume.hu, volume.affine))


def test_the_table_says_what_the_statistics_say(parameters: Any, done: dict[str, Any]) -> None:
    lesions = done["statistics"]["lesions"]
    assert lesions
    assert_table(result(parameters).table, lesions, done["statistics"]["volume_ml"])


def assert_table(table: Any, lesions: list[dict[str, Any]], volume_ml: float) -> None:
    for measure, (unit, digits) in MEASURES.items():
        column = slicer.util.arrayFromTableColumn(table, measure)
        assert column[1:] == pytest.approx([lesion[measure] for lesion in lesions], abs=0.51 * 10**-digits)
        assert table.GetColumnUnitLabel(measure) == unit
    assert slicer.util.arrayFromTableColumn(table, "volume_ml")[0] == pytest.approx(volume_ml, abs=0.006)


def test_a_seg_nrrd_of_slicer_is_read_by_the_library_and_by_slicer(
    tmp_path: Path, parameters: Any, done: dict[str, Any]
) -> None:
    path = tmp_path / "bleed é.seg.nrrd"
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    storage.SetCropToMinimumExtent(False)
    assert storage.WriteData(parameters.segmentation)
    mask = mask_of(parameters.segmentation, result(parameters).scan)
    read = read_image_file(path)
    voxels = read.to_ras_mm(np.argwhere(read.hu > 0))
    expected = volume_of_node(result(parameters).scan).to_ras_mm(np.argwhere(mask.T))
    assert sorted_rows(voxels) == pytest.approx(sorted_rows(expected), abs=2e-3)
    again = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "again")
    assert storage.ReadData(again)
    assert np.array_equal(mask_of(again, result(parameters).scan), mask)
    assert tags_of(again) == SEGMENT_TAGS


def sorted_rows(points: np.ndarray) -> np.ndarray:
    rounded = points.round(2) + 0.0
    return points[np.lexsort(rounded.T)]


def tags_of(segmentation: Any) -> dict[str, str]:
    """Of the tags that a segment has, ours."""
    segment = segmentation.GetSegmentation().GetSegment(SEGMENT_ID)
    found = {}
    for tag in SEGMENT_TAGS:
        value = vtk.reference("")
        if segment.GetTag(tag, value):
            found[tag] = str(value)
    return found


def test_a_saved_scene_brings_the_whole_result_back(
    tmp_path: Path, logic: Any, parameters: Any, real_head: Any, expected_of_real_head: Segmentation
) -> None:
    regularize(real_head, expected_of_real_head.volume.origins_mm)
    statistics = run(logic, parameters, real_head)["statistics"]
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    slicer.mrmlScene.Clear()
    assert slicer.mrmlScene.ReadFromMRB(path)
    node = slicer.util.getNode("head CT")
    segmentation, table, probability = (
        slicer.util.getNode(f"head CT {name}") for name in ("hemorrhage", "hemorrhage table", "probability")
    )
    assert np.array_equal(mask_of(segmentation, node), expected_of_real_head.mask.T)
    assert tags_of(segmentation) == SEGMENT_TAGS
    assert_table(table, statistics["lesions"], statistics["volume_ml"])
    assert np.array_equal(slicer.util.arrayFromVolume(probability), expected_of_real_head.probability.T)
    assert probability.GetHideFromEditors()
    assert node.GetParentTransformNode().GetName() == "acquisition transform"
    tag_value = slicer.dicomDatabase.instanceValue
    assert volume_of_node(node, tag_value).tilt_deg == pytest.approx(18.5, abs=0.05)
    loaded = logic.getParameterNode()
    assert logic.result(loaded) is not None
    assert loaded.segmentation.GetID() == segmentation.GetID()
    assert logic.result(loaded).finding().volume_ml == pytest.approx(expected_of_real_head.volume_ml)


def test_two_runs_give_the_same_voxels_in_nodes_of_their_own(logic: Any, parameters: Any, done: dict[str, Any]) -> None:
    first, statistics = parameters.segmentation, done["statistics"]
    again = run(logic, parameters, result(parameters).scan)["statistics"]
    assert parameters.segmentation.GetID() != first.GetID()
    assert np.array_equal(*(mask_of(node, result(parameters).scan) for node in (first, parameters.segmentation)))
    assert again["lesions"] == statistics["lesions"]


def test_a_scene_that_is_closed_meanwhile_gets_no_result_and_the_next_run_works(
    logic: Any, parameters: Any, bundle: Path
) -> None:
    volume = head_on(affine_of("axial"))
    parameters.inputVolume = node_of(volume.hu, volume.affine)
    logic.start(parameters)
    slicer.mrmlScene.Clear()
    assert logic.job is None
    after = logic.getParameterNode()
    assert logic.listen(after) == []
    after.bundlePath, after.device, after.quality = str(bundle), "cpu", "fast"
    assert run(logic, after, node_of(volume.hu, volume.affine))["message"] == "result"


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits are set with RLIMIT_FSIZE")
def test_a_full_disk_is_said_before_a_run_starts_and_leaves_nothing(logic: Any, parameters: Any) -> None:
    import resource

    volume = head_on(affine_of("axial"))
    parameters.inputVolume = node_of(volume.hu, volume.affine)
    worker = logic.keeper.running()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OutputError, match="could not be written"):
            logic.start(parameters)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert logic.job is None
    assert list(worker.folder.iterdir()) == []
    logic.start(parameters)
    assert last_message(logic, parameters)["message"] == "result"
