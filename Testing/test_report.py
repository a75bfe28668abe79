"""What is written is complete, on the scan's own voxels, in words that Slicer and people read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from helpers import head_with_ball
from test_inference import tilted, uneven

from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.image_files import read_image_file
from ICHSegmentationLib.inference import Segmentation, segment
from ICHSegmentationLib.lesions import find_lesions
from ICHSegmentationLib.report import (
    Timing,
    as_seen,
    lesions_csv,
    slices_to_show,
    statistics,
    summary,
    to_json,
    write_files,
    write_statistics,
)
from ICHSegmentationLib.terminology import DISCLAIMER

FILES = ["lesions.csv", "overview.png", "probability.nii.gz", "segmentation.nii.gz", "segmentation.seg.nrrd"]


@pytest.fixture(scope="module")
def done(brightness_ensemble: Ensemble) -> Segmentation:
    return segment(head_with_ball(spacing_mm=(1.5, 1.5, 5.0)), brightness_ensemble, device="cpu")


@pytest.fixture(scope="module")
def empty(brightness_ensemble: Ensemble) -> Segmentation:
    return segment(head_with_ball(spacing_mm=(3.0, 3.0, 8.0), radius_mm=0), brightness_ensemble, device="cpu")


def statistics_of(segmentation: Segmentation, ensemble: Ensemble) -> dict:
    lesions = find_lesions(segmentation.mask, segmentation.volume)
    return statistics(segmentation, lesions, ensemble, Timing(1.0, 2.0, 3.0), 512.0)


def test_the_files_hold_the_mask_and_the_probability_on_the_scans_voxels(done: Segmentation, tmp_path: Path) -> None:
    write_files(tmp_path, done, find_lesions(done.mask, done.volume), "")
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    mask = read_image_file(tmp_path / "segmentation.nii.gz")
    assert np.array_equal(mask.hu, done.mask)
    assert mask.affine == pytest.approx(done.volume.affine, abs=1e-4)
    assert np.array_equal(read_image_file(tmp_path / "probability.nii.gz").hu, done.probability)
    assert set(np.unique(mask.hu)) == {0.0, 1.0}


def test_the_segmentation_says_to_slicer_what_it_is(done: Segmentation, tmp_path: Path) -> None:
    write_files(tmp_path, done, find_lesions(done.mask, done.volume), "")
    image = sitk.ReadImage(str(tmp_path / "segmentation.seg.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, done.mask)
    assert image.GetMetaData("Segment0_Name") == "Hemorrhage"
    assert image.GetMetaData("Segment0_LabelValue") == "1"
    color = [float(value) for value in image.GetMetaData("Segment0_Color").split()]
    assert color == pytest.approx([188 / 255, 65 / 255, 28 / 255], abs=1e-5)
    tags = image.GetMetaData("Segment0_Tags")
    assert "SCT^49755003^Morphologically Altered Structure~SCT^50960005^Hemorrhage" in tags
    assert "DICOM.SegmentAlgorithmType:AUTOMATIC|" in tags
    assert "DICOM.SegmentAlgorithmName:ICHSegmentation|" in tags
    x0, x1, y0, y1, z0, z1 = map(int, image.GetMetaData("Segment0_Extent").split())
    assert done.mask[x0 : x1 + 1, y0 : y1 + 1, z0 : z1 + 1].sum() == done.mask.sum()


@pytest.mark.parametrize("make", [tilted, uneven])
def test_an_irregular_scan_also_gets_a_regular_pair(make, brightness_ensemble: Ensemble, tmp_path: Path) -> None:
    result = segment(make(), brightness_ensemble, device="cpu")
    write_files(tmp_path, result, find_lesions(result.mask, result.volume), "")
    scan, mask = (read_image_file(tmp_path / f"regular_{name}.nii.gz") for name in ("scan", "segmentation"))
    assert scan.is_regular
    assert mask.hu.shape == scan.hu.shape
    assert scan.hu[mask.hu > 0].mean() == pytest.approx(70, abs=3)
    assert float((mask.hu * mask.voxel_volumes_ml).sum()) == pytest.approx(result.volume_ml, rel=0.06)


def test_statistics_hold_all_that_was_promised(done: Segmentation, brightness_ensemble: Ensemble) -> None:
    values = statistics_of(done, brightness_ensemble)
    assert values["disclaimer"] == DISCLAIMER == "Research use only, not for clinical use."
    assert values["result"] == "hemorrhage found"
    assert values["volume_ml"] == pytest.approx(14.1, rel=0.05)
    assert len(values["volume_ml_members"]) == 2
    low, high = values["volume_ml_range"]
    assert low <= values["volume_ml"] <= high
    assert sum(lesion["volume_ml"] for lesion in values["lesions"]) == pytest.approx(values["volume_ml"])
    lesion_names = {
        "volume_ml",
        "centroid_mm_ras",
        "max_diameter_mm",
        "mean_hu",
        "abc2_ml",
        "a_mm",
        "b_mm",
        "c_mm",
        "slices",
    }
    assert lesion_names <= set(values["lesions"][0])
    assert {"dimensions", "spacing_mm", "orientation", "description", "tilt_deg", "slice_gaps_mm"} <= set(
        values["input"]
    )
    assert {"name", "version", "sha256", "members"} <= set(values["bundle"])
    assert set(values["seconds"]) == {"reading", "inference", "writing"}
    assert {"device", "peak_memory_mb", "warnings", "versions"} <= set(values)
    assert values["versions"]["torch"]


def test_statistics_are_written_as_json_that_comes_back(
    done: Segmentation, brightness_ensemble: Ensemble, tmp_path: Path
) -> None:
    values = statistics_of(done, brightness_ensemble)
    write_statistics(tmp_path, values)
    text = (tmp_path / "statistics.json").read_text()
    assert json.loads(text) == json.loads(json.dumps(values))
    assert "[1.5, 1.5, 5.0]" in text


def test_lists_of_numbers_stay_on_one_line() -> None:
    assert to_json({"a": [1, 2.5], "b": [{"c": []}]}) == '{\n "a": [1, 2.5],\n "b": [\n  {\n   "c": []\n  }\n ]\n}'


def test_no_hemorrhage_is_a_result_of_its_own(
    empty: Segmentation, brightness_ensemble: Ensemble, tmp_path: Path
) -> None:
    values = statistics_of(empty, brightness_ensemble)
    assert values["result"] == "no hemorrhage found"
    assert values["lesions"] == []
    assert "No hemorrhage found." in summary(values)
    write_files(tmp_path, empty, [], "")
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert sitk.ReadImage(str(tmp_path / "segmentation.seg.nrrd")).GetMetaData("Segment0_Extent") == "0 -1 0 -1 0 -1"


def test_the_summary_says_volume_range_lesions_time_device_and_warnings(
    done: Segmentation, brightness_ensemble: Ensemble
) -> None:
    values = statistics_of(done, brightness_ensemble)
    values["warnings"] = ["Gantry tilt."]
    text = summary(values)
    for said in ("14.", " mL", "2 members", "Lesions", "ABC/2", "2.0 s inference", "cpu", "Gantry tilt.", DISCLAIMER):
        assert said in text


def test_the_lesion_table_has_a_row_a_lesion(done: Segmentation) -> None:
    lesions = find_lesions(done.mask, done.volume)
    rows = list(csv.DictReader(lesions_csv(lesions).splitlines()))
    assert len(rows) == len(lesions)
    assert float(rows[0]["volume_ml"]) == pytest.approx(lesions[0].volume_ml, abs=1e-3)
    assert float(rows[0]["centroid_x_mm_ras"]) == pytest.approx(lesions[0].centroid_mm_ras[0], abs=1e-3)


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
def test_a_slice_is_shown_with_the_patients_right_on_the_left_and_the_front_up(signs: tuple[int, int, int]) -> None:
    base = np.zeros((6, 8, 3), np.float32)
    base[4, 7, 1] = 1  # in RAS: right of the middle, at the front
    affine = np.diag([*signs, 1.0]).astype(float)
    flips = [axis for axis in range(3) if signs[axis] < 0]
    volume = Volume(np.asfortranarray(np.flip(base, flips)), affine @ np.diag([0.5, 0.5, 4, 1]))
    picture, across, down = as_seen(volume, volume.hu, 1)
    assert picture.shape == (8, 6)
    (row,), (column,) = np.nonzero(picture)
    assert (row, column) == (0, 1)
    assert (across, down) == (0.5, 0.5)


def test_the_slices_shown_hold_the_largest_lesion(done: Segmentation, empty: Segmentation) -> None:
    lesions = find_lesions(done.mask, done.volume)
    assert lesions[0].largest_slice in slices_to_show(done, lesions)
    shown = slices_to_show(empty, [])
    assert shown == sorted(set(shown))
    assert 1 < len(shown) <= 12


def test_json_gathers_numbers_on_a_line_and_leaves_texts_alone() -> None:
    values = {"gaps": [1.0, -2.5e-7, 3], "text": "[ HEAD ]  [\n 1 ]", "names": ["a  b", "c"], "empty": []}
    text = to_json(values)
    assert json.loads(text) == values
    assert '"gaps": [1.0, -2.5e-07, 3]' in text
