"""The brain in a head: of a known head of ellipsoids, and of the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import head_with_ball

from ICHSegmentationLib.baselines.skull_strip import brain_mask, follow_slices, head_mask
from ICHSegmentationLib.regular import RegularGrid
from ICHSegmentationLib.volume import read_volume

SPACING_MM = (2.0, 2.0, 5.0)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_the_brain_of_a_known_head_is_found_with_its_bleed() -> None:
    volume = head_with_ball(
        SPACING_MM, centre_mm=(60.0, 0.0, 0.0), radius_mm=12.0, extent_mm=(180.0, 210.0, 80.0)
    )  # at the skull's inner wall
    truth = np.isin(volume.hu, (32, 70))
    found = brain_mask(volume.hu, SPACING_MM, z_is_up=True)
    assert dice(found, truth) > 0.97
    assert found[volume.hu == 70].mean() > 0.95


def test_a_table_beside_the_head_is_removed() -> None:
    hu = head_with_ball(SPACING_MM, extent_mm=(180.0, 240.0, 50.0)).hu.copy()
    hu[:, 1:3] = 150  # a table, 4 mm thick
    hu[44:46, 3:12] = 150  # and what it is fixed to the head with
    head = head_mask(hu, SPACING_MM)
    assert not head[:, :6].any()
    assert head[45, 60, 5]


def test_below_the_largest_slice_brain_stays_under_the_slice_above() -> None:
    mask = np.zeros((10, 10, 4), bool)
    mask[2:8, 2:8, 2] = True  # the largest
    mask[2:4, 2:4, 3] = mask[6:8, 5:8, 3] = True  # above: two pieces, of 4 and 6
    mask[0:5, 2:8, 1] = True
    mask[0:3, 2:8, 0] = True
    followed = follow_slices(mask, z_is_up=True)
    assert followed[:, :, 3].sum() == 6
    assert followed[:, :, 1].sum() == 3 * 6  # columns 2 to 4 of 0 to 4
    assert followed[:, :, 0].sum() == 1 * 6
    upside_down = follow_slices(mask[:, :, ::-1], z_is_up=False)[:, :, ::-1]
    np.testing.assert_array_equal(upside_down, followed)


@pytest.mark.parametrize("hu", [np.full((20, 20, 5), -1000.0), np.full((20, 20, 5), 40.0)])
def test_no_head_is_no_brain(hu: np.ndarray) -> None:
    assert not brain_mask(hu.astype(np.float32), SPACING_MM, z_is_up=True).any()


def test_the_real_head_has_a_brain_of_a_brains_volume(shared_data: Path) -> None:
    volume = read_volume(shared_data / "head-ct-dicom")
    grid = RegularGrid(volume)
    hu = grid.forward(volume.hu)[::2, ::2]
    spacing_mm = (grid.spacing_mm[0] * 2, grid.spacing_mm[1] * 2, grid.spacing_mm[2])
    brain = brain_mask(hu, spacing_mm, z_is_up=bool(grid.affine[2, 2] > 0))
    litres = brain.sum() * np.prod(spacing_mm) / 1e6
    assert 1.0 < litres < 1.7
    assert hu[brain].min() > -300
    assert np.percentile(hu[brain], 99) < 120  # hardly any bone
