"""Which scans a folder holds, and what they and their results are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from ICHSegmentationLib.batch import STATE
from ICHSegmentationLib.batch_files import find_cases
from ICHSegmentationLib.errors import InputError

DICOM = bytes(128) + b"DICM"


def make(root: Path, *names: str, content: bytes = b"") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def names(*inputs: Path, out: Path = Path("/elsewhere")) -> list[str]:
    return [case.name for case in find_cases(inputs, out)]


def test_image_files_and_zips_are_scans_wherever_they_lie(tmp_path: Path) -> None:
    make(tmp_path, "a.nii.gz", "B.NRRD", "deep/er/c.mha", "d.zip", "deep/notes.txt", ".hidden.nii", "e.raw")
    assert names(tmp_path) == ["B.NRRD", "a.nii.gz", "d.zip", "deep/er/c.mha"]


def test_a_folder_with_dicom_below_is_one_scan(tmp_path: Path) -> None:
    make(tmp_path, "patient 1/DICOMDIR", "patient 1/ST0/SE0/IM0", "patient 1/ST0/SE1/IM0", content=DICOM)
    make(tmp_path, "patient 2/ST0/SE0/IM0.dcm", "patient 2/report.nii.gz")
    assert names(tmp_path) == ["patient 1", "patient 2"]


def test_a_folder_that_holds_dicom_itself_is_one_scan_by_its_own_name(tmp_path: Path) -> None:
    make(tmp_path / "exam", "IM0", "more/IM1", content=DICOM)
    assert names(tmp_path / "exam") == ["exam"]
    (case,) = find_cases([tmp_path / "exam"], tmp_path / "out")
    assert (case.scan, case.out) == (tmp_path / "exam", tmp_path / "out" / "exam")


def test_several_inputs_are_called_by_what_they_do_not_share(tmp_path: Path) -> None:
    make(tmp_path, "x/head.nii", "y/head.nii")
    assert names(tmp_path / "x" / "head.nii", tmp_path / "y" / "head.nii") == ["x/head.nii", "y/head.nii"]
    assert names(tmp_path / "x" / "head.nii") == ["head.nii"]
    assert names(tmp_path / "x" / "head.nii", tmp_path / "x") == ["x/head.nii"]


def test_results_of_a_batch_are_no_scans(tmp_path: Path) -> None:
    make(tmp_path, "a.nii.gz", f"old/{STATE}", "old/a.nii.gz/segmentation.nii.gz", "out/b.nii.gz/segmentation.nii.gz")
    assert names(tmp_path, out=tmp_path / "out") == ["a.nii.gz"]


def test_a_folder_of_other_files_is_kept_so_that_it_is_told(tmp_path: Path) -> None:
    make(tmp_path, "a.nii.gz", "notes/readme.txt")
    assert names(tmp_path) == ["a.nii.gz", "notes"]


def test_what_holds_no_scan_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file or folder"):
        names(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no scan"):
        names(tmp_path / "empty")


def test_results_may_not_lie_within_a_scan(tmp_path: Path) -> None:
    make(tmp_path / "exam", "IM0", content=DICOM)
    with pytest.raises(InputError, match="lies within the scan"):
        names(tmp_path / "exam", out=tmp_path / "exam" / "results")


def test_a_fingerprint_is_of_all_files_of_a_scan(tmp_path: Path) -> None:
    make(tmp_path / "exam", "IM0", "IM1", content=DICOM)
    (case,) = find_cases([tmp_path / "exam"], tmp_path / "out")
    first = case.fingerprint()
    assert case.fingerprint() == first
    make(tmp_path / "exam", "IM2", content=DICOM)
    assert case.fingerprint() != first
    (tmp_path / "exam" / "IM2").unlink()
    assert case.fingerprint() == first


def test_a_scan_that_went_away_is_told(tmp_path: Path) -> None:
    make(tmp_path, "a.nii.gz")
    (case,) = find_cases([tmp_path], tmp_path / "out")
    (tmp_path / "a.nii.gz").unlink()
    with pytest.raises(InputError, match=r"a\.nii\.gz cannot be read"):
        case.fingerprint()
