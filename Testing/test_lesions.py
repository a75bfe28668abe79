"""Lesions measure what a ruler would."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.lesions import SMALLEST_ML, diameters, find_lesions, largest_distance, without_specks
from ICHSegmentationLib.volume import as_volume


def ellipsoid(
    half_axes_mm: tuple[float, float, float], spacing: tuple[float, float, float]
) -> tuple[np.ndarray, Volume]:
    size = tuple(int(2 * (h + 6) / s) for h, s in zip(half_axes_mm, spacing, strict=True))
    volume = as_volume(np.full(size, 60.0), spacing)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1).reshape(-1, 3)
    inside = ((volume.to_ras_mm(index) / half_axes_mm) ** 2).sum(1) < 1
    return inside.reshape(size), volume


def test_an_ellipsoid_has_its_volume_its_axes_and_its_abc2() -> None:
    mask, volume = ellipsoid((25.0, 15.0, 20.0), (0.5, 0.5, 2.0))
    (lesion,) = find_lesions(mask, volume)
    assert lesion.volume_ml == pytest.approx(4 / 3 * np.pi * 25 * 15 * 20 / 1000, rel=0.02)
    assert lesion.centroid_mm_ras == pytest.approx((0, 0, 0), abs=0.3)
    assert lesion.max_diameter_mm == pytest.approx(50, abs=1)
    assert lesion.a_mm == pytest.approx(50, abs=1)
    assert lesion.b_mm == pytest.approx(30, abs=1)
    # slices of at least 75 % of the largest area count whole, to 25 % half: 0.5 * 40 mm + 0.5 * (34.6 - 20) mm
    assert lesion.c_mm == pytest.approx(20 + 0.5 * (np.sqrt(0.75) * 40 - 20), abs=2.5)
    assert lesion.abc2_ml == pytest.approx(lesion.a_mm * lesion.b_mm * lesion.c_mm / 2000)
    assert lesion.mean_hu == pytest.approx(60)
    assert lesion.slices == 20


def test_lesions_are_told_apart_and_sorted_by_volume() -> None:
    mask = np.zeros((30, 30, 10), bool)
    mask[2:4, 2:4, 2] = True
    mask[10:20, 10:20, 5:8] = True
    mask[4, 4, 3] = True  # touches the first at a corner: the same lesion
    large, small = find_lesions(mask, as_volume(np.zeros(mask.shape), (1, 1, 5)))
    assert large.volume_ml == pytest.approx(1.5)
    assert small.volume_ml == pytest.approx(0.025)
    assert large.largest_slice == 5


def test_specks_are_cleared_and_nothing_else_is() -> None:
    mask = np.zeros((30, 30, 10), bool)
    mask[2:4, 2:4, 2:4] = True  # 0.04 mL
    mask[10:15, 10, 5] = True  # 0.025 mL, and 0.03 mL more at a corner of it: one piece
    mask[15:21, 11, 6] = True
    mask[25, 25, 9] = True
    volume = as_volume(np.zeros(mask.shape), (1, 1, 5))
    kept = without_specks(mask, volume)
    assert (kept <= mask).all()
    assert [lesion.volume_ml for lesion in find_lesions(kept, volume)] == [pytest.approx(0.055)]
    assert 0.04 < SMALLEST_ML < 0.055
    assert np.array_equal(without_specks(kept, volume), kept)


@pytest.mark.parametrize("value", [False, True])
def test_of_an_empty_and_of_a_full_mask_nothing_is_cleared(value: bool) -> None:
    mask = np.full((4, 5, 6), value)
    assert np.array_equal(without_specks(mask, as_volume(np.zeros(mask.shape), (1, 1, 5))), mask)


def test_specks_are_told_by_the_extents_of_their_own_slices() -> None:
    volume = as_volume(np.zeros((8, 8, 6)), (1.5, 1.5, 2.0))
    origins = volume.origins_mm.copy()
    origins[3:, 2] += np.arange(1, 4) * 4
    uneven = dataclasses.replace(volume, slice_origins_mm=origins)
    mask = np.zeros(volume.hu.shape, bool)
    mask[1, 1:6, 0] = mask[5, 1:6, 4] = True  # of slices 2 and 6 mm thick
    kept = without_specks(mask, uneven)
    assert kept[5, 1:6, 4].all()
    assert not kept[1].any()
    assert not without_specks(mask, volume).any()


def test_one_voxel_is_a_lesion_of_one_voxel() -> None:
    mask = np.zeros((5, 5, 3), bool)
    mask[2, 3, 1] = True
    (lesion,) = find_lesions(mask, as_volume(np.full(mask.shape, 50.0), (0.5, 0.5, 5.0)))
    assert lesion.volume_ml == pytest.approx(0.00125)
    assert lesion.max_diameter_mm == pytest.approx(0.5)
    assert lesion.a_mm == pytest.approx(np.sqrt(0.5))
    assert lesion.slices == 1


@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1), (1, 1, 6), (6, 6, 1), (8, 8, 8)])
def test_lines_planes_and_full_masks_are_measured(shape: tuple[int, int, int]) -> None:
    (lesion,) = find_lesions(np.ones(shape, bool), as_volume(np.zeros(shape), (1, 1, 1)))
    assert lesion.volume_ml == pytest.approx(np.prod(shape) / 1000)
    assert lesion.max_diameter_mm == pytest.approx(np.linalg.norm(np.array(shape) - 1) + 1)


def test_an_empty_mask_has_no_lesions() -> None:
    assert find_lesions(np.zeros((4, 4, 4), bool), as_volume(np.zeros((4, 4, 4)), (1, 1, 1))) == []


def test_slices_count_with_their_own_extent() -> None:
    heights = np.array([0, 2, 4, 10, 16.0])
    origins = np.stack([heights * 0, heights * 0, heights], axis=1)
    volume = Volume(np.zeros((4, 4, 5), np.float32, order="F"), np.diag([1, 1, 4.0, 1]), origins)
    mask = np.zeros((4, 4, 5), bool)
    mask[:2, :2, 2:4] = True
    (lesion,) = find_lesions(mask, volume)
    assert lesion.volume_ml == pytest.approx(4 * (4 + 6) / 1000)
    assert lesion.c_mm == pytest.approx(10)
    assert lesion.centroid_mm_ras[2] == pytest.approx((4 * 4 + 10 * 6) / 10)


def test_slices_may_be_stacked_along_any_axis() -> None:
    mask, volume = ellipsoid((10.0, 8.0, 12.0), (1.0, 1.0, 4.0))
    (expected,) = find_lesions(mask, volume)
    affine = volume.affine[:, [2, 0, 1, 3]]
    turned = dataclasses.replace(volume, hu=np.asfortranarray(volume.hu.transpose(2, 0, 1)), affine=affine)
    (found,) = find_lesions(mask.transpose(2, 0, 1), turned)
    for name, value in dataclasses.asdict(expected).items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-6)


def test_diameters_of_a_rectangle_are_its_diagonal_and_the_width_across_it() -> None:
    a, b = diameters(np.ones((30, 40), bool), (1.0, 1.0))
    assert a == pytest.approx(50)
    assert b == pytest.approx(2 * 30 * 40 / 50)


def test_the_largest_distance_of_many_points_is_found() -> None:
    points = np.random.default_rng(0).normal(size=(500, 3))
    expected = max(np.linalg.norm(points - p, axis=1).max() for p in points)
    assert largest_distance(points) == pytest.approx(expected)
