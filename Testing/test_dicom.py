"""Every slice of a DICOM series where its header says. (Which series is taken: test_dicom_series.py.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import axial_origins, write_multiframe, write_series
from helpers import head_with_ball

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.volume import read_volume


def hu(slices: int = 4, size: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, (size, size + 2, slices)).astype(np.float32)


def test_a_series_is_read_with_its_values_and_its_place(tmp_path: Path) -> None:
    origins = axial_origins(4) + np.array([-30, -40, 100])
    write_series(tmp_path, hu(), origins, pixel_mm=0.5)
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.hu, hu())
    assert volume.spacing_mm == pytest.approx((0.5, 0.5, 5.0))
    assert volume.orientation == "LPS"
    assert volume.to_ras_mm(np.array([[2, 3, 1]]))[0] == pytest.approx([29, 38.5, 105])
    assert volume.is_regular


def test_slices_are_sorted_by_place_and_not_by_name_or_number(tmp_path: Path) -> None:
    order = [2, 0, 3, 1]
    write_series(tmp_path, hu()[:, :, order], axial_origins(4)[order])
    assert np.array_equal(read_volume(tmp_path).hu, hu())


def test_rescaling_is_applied_slice_by_slice(tmp_path: Path) -> None:
    uid = "1.2.3.4.5.6"
    write_series(tmp_path, hu()[:, :, :2] + 1024, axial_origins(4)[:2], series_uid=uid, RescaleIntercept=-1024)
    write_series(tmp_path / "b", hu()[:, :, 2:] / 2, axial_origins(4)[2:], series_uid=uid, RescaleSlope=2)
    assert np.abs(read_volume(tmp_path).hu - hu()).max() <= 1


def test_oblique_slices_keep_their_directions(tmp_path: Path) -> None:
    row, column = (0.8, 0.6, 0.0), (-0.6 * 0.9, 0.8 * 0.9, np.sqrt(1 - 0.81))
    normal = np.cross(row, column)
    write_series(tmp_path, hu(), np.arange(4)[:, None] * 3 * normal, row, column)
    volume = read_volume(tmp_path)
    assert volume.is_regular
    assert volume.affine[:3, 0] == pytest.approx([-0.8, -0.6, 0])
    assert volume.spacing_mm[2] == pytest.approx(3.0, abs=1e-4)


def test_the_real_head_is_read_with_its_tilt_and_its_gaps(shared_data: Path) -> None:
    volume = read_volume(shared_data / "head-ct-dicom")
    assert volume.hu.shape == (512, 512, 28)
    assert volume.tilt_deg == pytest.approx(18.5, abs=0.01)
    gaps = np.diff(volume.slice_positions_mm)
    assert gaps[:13] == pytest.approx([4.0] * 13, abs=0.01)
    assert gaps[13] == pytest.approx(1.08, abs=0.01)
    assert gaps[14:] == pytest.approx([7.0] * 13, abs=0.01)


def test_a_missing_slice_is_noticed_and_its_neighbours_stand_for_it(tmp_path: Path) -> None:
    keep = [0, 1, 2, 4, 5, 6]
    write_series(tmp_path, hu(6), axial_origins(7)[keep])
    volume = read_volume(tmp_path)
    assert any("slice seems to be missing between slices 3 and 4" in note for note in volume.info.notes)
    assert volume.slice_extents_mm == pytest.approx([5, 5, 7.5, 7.5, 5, 5])


def test_a_change_of_slice_thickness_is_no_missing_slice(tmp_path: Path) -> None:
    heights = np.array([0, 4, 8, 12, 19, 26, 33.0])
    write_series(tmp_path, hu(7), np.stack([heights * 0, heights * 0, heights], axis=1))
    assert read_volume(tmp_path).info.notes == ()


def test_repeated_positions_are_taken_once_and_said(tmp_path: Path) -> None:
    uid = "1.2.3.4.5.7"
    write_series(tmp_path / "a", hu(), axial_origins(4), series_uid=uid, AcquisitionNumber=1)
    write_series(tmp_path / "b", hu() + 100, axial_origins(4), series_uid=uid, AcquisitionNumber=2)
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.hu, hu())
    assert any("4 images lie where another one does" in note for note in volume.info.notes)


def test_images_of_another_size_in_the_series_are_left_out_and_said(tmp_path: Path) -> None:
    uid = "1.2.3.4.5.8"
    write_series(tmp_path / "a", hu(), axial_origins(4), series_uid=uid)
    write_series(tmp_path / "b", hu(1, 20), axial_origins(1) + np.array([0, 0, 50]), series_uid=uid)
    volume = read_volume(tmp_path)
    assert volume.hu.shape[2] == 4
    assert any("1 of 5 images" in note for note in volume.info.notes)


def test_a_thousand_slices_are_no_trouble(tmp_path: Path) -> None:
    write_series(tmp_path, np.zeros((4, 4, 1000)) - 1000, axial_origins(1000, 0.2))
    seen: list[tuple[int, int]] = []
    volume = read_volume(tmp_path, on_slice=lambda done, slices: seen.append((done, slices)))
    assert volume.hu.shape == (4, 4, 1000)
    assert seen[-1] == (1000, 1000)


def test_a_scan_written_as_dicom_and_as_nifti_is_the_same_scan(tmp_path: Path) -> None:
    from ICHSegmentationLib.image_files import write_image_file

    head = head_with_ball(spacing_mm=(6.0, 6.0, 10.0))
    origins = head.origins_mm * [-1, -1, 1]
    # rows towards the patient's right and front, as the array runs
    write_series(tmp_path / "dicom", head.hu, origins, (-1, 0, 0), (0, -1, 0), pixel_mm=6.0)
    write_image_file(tmp_path / "head.nii.gz", head.hu, head.affine, {})
    a, b = read_volume(tmp_path / "dicom"), read_volume(tmp_path / "head.nii.gz")
    assert np.array_equal(a.hu, b.hu)
    assert a.affine == pytest.approx(b.affine, abs=1e-4)


def test_frames_of_an_enhanced_ct_lie_where_their_own_headers_say(tmp_path: Path) -> None:
    """In any order in the file, with uneven gaps, rescaled by the functional groups."""
    values = hu(6)
    origins = axial_origins(6)
    origins[3:, 2] += 2.0
    order = [4, 0, 5, 2, 1, 3]
    write_multiframe(tmp_path / "enhanced.dcm", values[:, :, order], origins[order], pixel_mm=0.5)
    volume = read_volume(tmp_path)
    assert np.array_equal(volume.hu, values)
    assert volume.in_plane_spacing_mm == pytest.approx((0.5, 0.5))
    assert np.diff(volume.slice_positions_mm) == pytest.approx([5, 5, 7, 5, 5])
    assert volume.info.slice_thickness_mm == 5.0


def test_a_multiframe_file_that_does_not_say_where_its_frames_lie_is_refused(tmp_path: Path) -> None:
    write_multiframe(tmp_path / "capture.dcm", hu(6), axial_origins(6), placed=False)
    with pytest.raises(InputError, match="does not say where its slices lie"):
        read_volume(tmp_path)


def test_one_odd_image_does_not_spoil_a_series(tmp_path: Path) -> None:
    uid = "1.2.3.4.5"
    write_series(tmp_path / "a scout", hu(1), axial_origins(1), series_uid=uid, ImageType=["ORIGINAL", "LOCALIZER"])
    write_series(tmp_path / "b", hu(5), axial_origins(5), series_uid=uid)
    write_series(tmp_path / "c", hu(1), axial_origins(1), series_uid=uid, ImagePositionPatient=None)
    write_series(tmp_path / "d", hu(1), axial_origins(1), series_uid=uid, PixelSpacing="1.0")
    volume = read_volume(tmp_path)
    assert volume.hu.shape[2] == 5
    assert any("3 of 8 images" in note for note in volume.info.notes)


def test_directions_that_differ_by_rounding_are_the_same(tmp_path: Path) -> None:
    uid = "1.2.3.4.6"
    for name, lean, part in (("a", 0.0044, slice(0, 3)), ("b", 0.0046, slice(3, 6))):
        turned = (np.cos(lean), np.sin(lean), 0.0), (-np.sin(lean), np.cos(lean), 0.0)
        write_series(tmp_path / name, hu(6)[:, :, part], axial_origins(6)[part], *turned, series_uid=uid)
    assert read_volume(tmp_path).hu.shape[2] == 6


def test_an_assumed_thickness_is_said(tmp_path: Path) -> None:
    write_series(tmp_path, hu(1), axial_origins(1), SliceThickness=None)
    assert any("1 mm was assumed" in note for note in read_volume(tmp_path).info.notes)
