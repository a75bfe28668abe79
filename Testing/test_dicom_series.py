"""The series that is taken, and why; names that are not told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import NAME, axial_origins, write_series

from ICHSegmentationLib.dicom_series import SHARP_KERNELS, Series, Slice, choose_series, find_series
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.volume import read_volume


def hu(slices: int = 4, size: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1500, (size, size + 2, slices)).astype(np.float32)


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


def test_choosing_names_every_series_when_none_will_do(tmp_path: Path) -> None:
    write_series(tmp_path, hu(), axial_origins(4), Modality="MR")
    series = find_series(sorted(tmp_path.iterdir()))
    assert isinstance(series[0], Series)
    assert isinstance(series[0].slices[0], Slice)
    with pytest.raises(InputError, match="is MR, not CT"):
        choose_series(series, None)


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


def test_a_spacing_of_one_value_is_refused_in_words(tmp_path: Path) -> None:
    write_series(tmp_path, hu(), axial_origins(4), PixelSpacing="1.0")
    with pytest.raises(InputError, match="PixelSpacing missing"):
        read_volume(tmp_path)


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
