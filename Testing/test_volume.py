"""A scan from whatever the user has. (Kinds of file: test_image_files, test_dicom; what is refused: test_bad_input.)"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_files import axial_origins, write_series

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.volume import as_volume, read_volume

HU = np.random.default_rng(0).integers(-1000, 1500, (8, 9, 4)).astype(np.float32)


def test_a_folder_may_hold_dicom_in_subfolders_beside_other_files(tmp_path: Path) -> None:
    write_series(tmp_path / "exam" / "series", HU, axial_origins(4))
    (tmp_path / "exam" / "readme.txt").write_text("from the archive")
    assert np.array_equal(read_volume(tmp_path).hu, HU)


def test_a_zip_gives_what_its_folder_gives_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    write_series(tmp_path / "series", HU, axial_origins(4))
    with zipfile.ZipFile(tmp_path / "exam.zip", "w") as archive:
        for file in (tmp_path / "series").iterdir():
            archive.write(file, f"deep/down/{file.name}")
    assert np.array_equal(read_volume(tmp_path / "exam.zip").hu, HU)
    assert list(temporary.iterdir()) == []


def test_a_folder_with_one_image_file_stands_for_it(tmp_path: Path) -> None:
    volume = as_volume(HU, (0.5, 0.5, 5.0))
    write_image_file(tmp_path / "scan.nrrd", volume.hu, volume.affine, {})
    assert np.array_equal(read_volume(tmp_path).hu, HU)
    with pytest.raises(InputError, match="there is no file or folder"):
        read_volume(tmp_path / "other.nrrd")


def test_reading_dicom_tells_how_far_it_is(tmp_path: Path) -> None:
    write_series(tmp_path, HU, axial_origins(4))
    told: list[tuple[int, int]] = []
    read_volume(tmp_path, on_slice=lambda done, slices: told.append((done, slices)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_an_array_becomes_a_volume_about_the_origin() -> None:
    volume = as_volume(HU, (0.5, 0.7, 5.0))
    assert volume.spacing_mm == pytest.approx((0.5, 0.7, 5.0))
    assert volume.orientation == "RAS"
    corners = volume.to_ras_mm(np.array([[0, 0, 0], [7, 8, 3]]))
    assert corners.sum(axis=0) == pytest.approx([0, 0, 0])
