"""DICOM series: chosen with reason, every slice where its header says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import NAME, axial_origins, write_multiframe, write_series
from helpers import head_with_ball

from ICHSegmentationLib.dicom import SHARP_KERNELS, Series, Slice, choose_series, find_series
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


def test_one_file_stands_for_its_whole_series(tmp_path: Path) -> None:
    paths = write_series(tmp_path, hu(), axial_origins(4))
    write_series(tmp_path, hu(2), axial_origins(2), SeriesNumber=9)
    assert read_volume(paths[1]).hu.shape[2] == 4


def test_the_thinnest_soft_tissue_axial_series_is_taken_and_the_others_are_named(tmp_path: Path) -> None:
    write_series(tmp_path / "thick", hu(5), axial_origins(5), SeriesNumber=1, SeriesDescription="thick")
    write_series(
        tmp_path / "thin", hu(9), axial_origins(9, 1.0), SeriesNumber=2, SeriesDescription="thin", SliceThickness=1
    )
    write_series(
        tmp_path / "bone", hu(9), axial_origins(9, 1.0), SeriesNumber=3, ConvolutionKernel="BONE", SliceThickness=0.6
    )
    write_series(
        tmp_path / "scout", hu(1), axial_origins(1), SeriesNumber=4, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    coronal = {"row": (1, 0, 0), "column": (0, 0, -1)}
    write_series(
        tmp_path / "coronal", hu(9), axial_origins(9)[:, [0, 2, 1]], **coronal, SeriesNumber=5, SliceThickness=0.6
    )
    volume = read_volume(tmp_path)
    assert volume.info.description == "thin"
    (note,) = volume.info.notes
    assert "series 2 'thin'" in note
    assert all(f"series {number}" in note for number in (1, 3, 4, 5))


def test_a_series_of_the_head_goes_before_a_thinner_one_of_the_neck(tmp_path: Path) -> None:
    write_series(tmp_path / "a", hu(5), axial_origins(5), BodyPartExamined="HEAD", SeriesDescription="head")
    write_series(tmp_path / "b", hu(9), axial_origins(9), BodyPartExamined="NECK", SliceThickness=0.6, SeriesNumber=3)
    assert read_volume(tmp_path).info.description == "head"
    assert any("body part NECK" in note for note in read_volume(tmp_path / "b").info.notes)


@pytest.mark.parametrize(
    ("tags", "said"),
    [({"PhotometricInterpretation": "MONOCHROME1"}, "inverted"), ({"RescaleIntercept": None}, "taken as they are")],
)
def test_a_header_that_should_make_one_look_twice_is_said(tmp_path: Path, tags: dict, said: str) -> None:
    write_series(tmp_path, hu(), axial_origins(4), **tags)
    assert any(said in note for note in read_volume(tmp_path).info.notes)


def test_the_user_may_choose_a_series_by_its_number(tmp_path: Path) -> None:
    write_series(tmp_path / "a", hu(5), axial_origins(5), SeriesNumber=1, SeriesDescription="thick")
    write_series(tmp_path / "b", hu(9), axial_origins(9, 1.0), SeriesNumber=2, SliceThickness=1)
    assert read_volume(tmp_path, series="1").info.description == "thick"
    with pytest.raises(InputError, match="0 series match '7'"):
        read_volume(tmp_path, series="7")


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


def test_the_patient_is_nowhere_in_what_is_kept(tmp_path: Path) -> None:
    write_series(tmp_path, hu(), axial_origins(4), SeriesDescription="Head ERIKA Mustermann 4711")
    info = read_volume(tmp_path).info
    assert not any(part.lower() in repr(info).lower() for part in [*NAME.split("^"), "4711"])
    assert info.description.startswith("Head")


def test_scans_of_two_patients_are_not_chosen_between(tmp_path: Path) -> None:
    write_series(tmp_path / "a", hu(), axial_origins(4))
    write_series(tmp_path / "b", hu(), axial_origins(4), PatientID="4712", SeriesNumber=3)
    with pytest.raises(InputError, match="2 patients"):
        read_volume(tmp_path)


@pytest.mark.parametrize("kernel", ["BONE", "BONEPLUS", "EDGE", "H60s", "J70h", "Hr59", "FC30", "FC81", "YD"])
def test_sharp_kernels_are_known(kernel: str) -> None:
    assert SHARP_KERNELS.search(kernel)


@pytest.mark.parametrize("kernel", ["STANDARD", "SOFT", "STD+", "H30s", "J37s", "Hr40", "FC21", "FC68", "UB", "B", ""])
def test_soft_kernels_are_not_called_sharp(kernel: str) -> None:
    assert not SHARP_KERNELS.search(kernel)


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


def test_choosing_names_every_series_when_none_will_do(tmp_path: Path) -> None:
    write_series(tmp_path, hu(), axial_origins(4), Modality="MR")
    series = find_series(sorted(tmp_path.iterdir()))
    assert isinstance(series[0], Series)
    assert isinstance(series[0].slices[0], Slice)
    with pytest.raises(InputError, match="is MR, not CT"):
        choose_series(series, None)


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


@pytest.mark.parametrize(
    "tags",
    [
        {"ContrastBolusAgent": "Iohexol"},
        {"SeriesDescription": "CTA Head"},
        {"SeriesDescription": "Angio 0.6"},
        {"SeriesDescription": "Head with contrast"},
        {"SeriesDescription": "HEAD C+"},
    ],
)
def test_the_plain_scan_goes_before_a_thinner_one_with_contrast(tmp_path: Path, tags: dict) -> None:
    write_series(tmp_path / "a", hu(5), axial_origins(5), SeriesDescription="Head without contrast")
    write_series(tmp_path / "b", hu(9), axial_origins(9), SliceThickness=0.6, SeriesNumber=3, **tags)
    assert read_volume(tmp_path).info.description == "Head without contrast"


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


def test_a_spacing_of_one_value_is_refused_in_words(tmp_path: Path) -> None:
    write_series(tmp_path, hu(), axial_origins(4), PixelSpacing="1.0")
    with pytest.raises(InputError, match="PixelSpacing missing"):
        read_volume(tmp_path)


def test_an_assumed_thickness_is_said(tmp_path: Path) -> None:
    write_series(tmp_path, hu(1), axial_origins(1), SliceThickness=None)
    assert any("1 mm was assumed" in note for note in read_volume(tmp_path).info.notes)


@pytest.mark.parametrize(
    ("name", "number", "description"),
    [
        ("Müller^Jörg", "1", "MUELLER Head JOERG"),
        ("Müller^Jörg", "1", "Muller_Head jorg"),
        ("A^B", "00123456", "Head 123456"),
        ("Bone^James", "7", "BONE Head"),
    ],
)
def test_a_name_is_hidden_however_it_is_written(tmp_path: Path, name: str, number: str, description: str) -> None:
    tags = {
        "PatientName": name,
        "PatientID": number,
        "SeriesDescription": description,
        "SpecificCharacterSet": "ISO_IR 192",
    }
    write_series(tmp_path, hu(), axial_origins(4), **tags)
    shown = read_volume(tmp_path).info.description
    assert "Head" in shown
    assert not set(shown.replace("_", " ").split()) & (set(description.replace("_", " ").split()) - {"Head"})


def test_a_patient_called_bone_does_not_make_a_sharp_series_soft(tmp_path: Path) -> None:
    write_series(tmp_path, hu(), axial_origins(4), PatientName="Bone^James", SeriesDescription="BONE")
    (series,) = find_series(tmp_path.iterdir())
    assert series.is_sharp
