"""What is unusual is said, what can be mended is mended, what is no CT is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers import head_with_ball

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import ScanInfo, Volume
from ICHSegmentationLib.head import find_head
from ICHSegmentationLib.quality import mended_values, warnings_of
from ICHSegmentationLib.regular import RegularGrid
from ICHSegmentationLib.volume import read_volume

SPACING = (1.25, 1.25, 5.0)


@pytest.fixture(scope="module")
def head() -> Volume:
    return head_with_ball(spacing_mm=SPACING, extent_mm=(180.0, 220.0, 165.0))


def with_values(volume: Volume, hu: np.ndarray) -> Volume:
    return dataclasses.replace(volume, hu=np.asfortranarray(hu, np.float32))


def said(volume: Volume) -> str:
    grid = RegularGrid(volume)
    return " ".join(warnings_of(volume, find_head(grid.forward(volume.hu), grid.spacing_mm)))


def test_an_ordinary_scan_raises_no_eyebrow(head: Volume) -> None:
    assert said(mended_values(head)) == ""


@pytest.mark.parametrize("padding", [-1500, -2000, -3024])
def test_padding_becomes_air(head: Volume, padding: float) -> None:
    padded = head.hu.copy()
    padded[:4] = padding
    assert mended_values(with_values(head, padded)).hu.min() == -1024


def test_raw_values_are_moved_by_1024_and_said(head: Volume) -> None:
    mended = mended_values(with_values(head, head.hu + 1024))
    assert np.allclose(mended.hu, head.hu)
    assert "1024 was taken off" in said(mended)


def test_a_few_voxels_that_are_no_numbers_are_taken_as_outside_and_said(head: Volume) -> None:
    hu = head.hu.copy()
    hu[:3] = np.nan
    mended = mended_values(with_values(head, hu))
    assert mended.hu[:3].max() == -1024
    assert "not numbers" in said(mended)


def test_the_scan_itself_is_left_as_it_was(head: Volume) -> None:
    before = head.hu.copy()
    mended_values(with_values(head, head.hu + 1024))
    assert np.array_equal(head.hu, before)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda hu: (hu + 1000) / 2000, "a normalised image"),
        (lambda hu: np.clip((hu + 20) * 2, 0, 255), "an 8-bit picture"),
        (lambda hu: np.clip(hu, -40, 80) * 10 + 400, "not Hounsfield units"),
        (lambda hu: np.full_like(hu, 40), "all voxels have the value 40"),
        (lambda hu: np.full_like(hu, np.nan), "not numbers"),
        (lambda hu: np.where(hu > 500, hu, -1000), "hardly any voxel"),
    ],
)
def test_what_is_no_ct_is_refused_with_what_was_found(head: Volume, change, said: str) -> None:
    with pytest.raises(InputError, match=said):
        mended_values(with_values(head, change(head.hu)))


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (ScanInfo("DICOM", contrast_agent="Iomeron"), "contrast-enhanced"),
        (ScanInfo("DICOM", kernel="BONEPLUS"), "sharp reconstruction kernel"),
        (ScanInfo("DICOM", notes=("A slice seems to be missing.",)), "A slice seems to be missing."),
    ],
)
def test_what_the_header_says_is_passed_on(head: Volume, info: ScanInfo, expected: str) -> None:
    assert expected in said(dataclasses.replace(head, info=info))


def test_thick_slices_and_coarse_pixels_are_said() -> None:
    warnings = said(head_with_ball(spacing_mm=(1.5, 1.5, 10.0), extent_mm=(180.0, 220.0, 165.0)))
    assert "Thick slices" in warnings
    assert "Coarse pixels" in warnings


def test_a_scan_that_ends_within_the_brain_is_said() -> None:
    volume = head_with_ball(spacing_mm=SPACING, extent_mm=(180.0, 220.0, 165.0))
    lower = Volume(np.asfortranarray(volume.hu[:, :, 16:]), volume.affine)
    assert "ends within the brain (below)" in said(lower)
    flipped = Volume(np.asfortranarray(lower.hu[:, :, ::-1]), volume.affine @ np.diag([1, 1, -1, 1.0]))
    assert "ends within the brain (below)" in said(flipped)


def test_a_head_without_a_skull_is_said(head: Volume) -> None:
    assert "No cranial cavity" in said(with_values(head, np.where(head.hu > 500, 40, head.hu)))


def test_a_single_slice_is_said(head: Volume) -> None:
    one = Volume(np.asfortranarray(head.hu[:, :, 16:17]), head.affine)
    assert "One slice only" in said(one)


def test_tilt_and_uneven_gaps_of_the_real_head_are_said(shared_data: Path) -> None:
    warnings = said(mended_values(read_volume(shared_data / "head-ct-dicom")))
    assert "Gantry tilt of 18.5 degrees" in warnings
    assert "unevenly spaced (1.08 to 7.00 mm)" in warnings


@pytest.mark.parametrize("padding", [-2000, -1024, -500])
def test_raw_values_are_known_in_spite_of_padding(head: Volume, padding: int) -> None:
    raw = np.rint(np.random.default_rng(0).normal(head.hu + 1024, 4)).clip(min=0)
    raw[:12, :12] = padding
    mended = mended_values(with_values(head, raw))
    assert "1024 was taken off" in " ".join(mended.info.notes)
    brain = mended.hu[head.hu == 32]
    assert float(np.median(brain)) == pytest.approx(32, abs=2)


def test_a_head_without_its_surroundings_is_not_called_raw(head: Volume) -> None:
    cut = np.where(np.abs(head.hu - 45) < 60, head.hu, -1024)
    assert "1024 was taken off" not in " ".join(mended_values(with_values(head, cut)).info.notes)


def test_a_sideways_jump_is_said(head: Volume) -> None:
    origins = head.origins_mm.copy()
    origins[8:14, 0] += 15.0
    assert "jump sideways by up to 15 mm" in said(dataclasses.replace(head, slice_origins_mm=origins))
