"""The way to the regular grid and back: nothing moves that should not, and a millilitre is a millilitre."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from helpers import head_with_ball

from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.regular import RegularGrid

BALL_ML = 4 / 3 * np.pi * 15**3 / 1000


def stack(origins: np.ndarray, size: tuple[int, int], pixel_mm: float) -> Volume:
    """Slices with rows along x and columns along y, with a ball of radius 15 mm about the origin as 1."""
    step = (origins[-1] - origins[0]) / (len(origins) - 1)
    affine = np.eye(4)
    affine[:3] = np.column_stack([[pixel_mm, 0, 0], [0, pixel_mm, 0], step, origins[0]])
    volume = Volume(np.zeros((*size, len(origins)), np.float32, order="F"), affine, origins)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.hu.shape], indexing="ij"), -1).reshape(-1, 3)
    inside = np.linalg.norm(volume.to_ras_mm(index), axis=1) < 15
    return dataclasses.replace(volume, hu=np.asfortranarray(inside.reshape(volume.hu.shape), np.float32))


def tilted_and_uneven() -> Volume:
    """A stack that leans by 18.5 degrees, with gaps of 4, 1.08 and 7 mm, like the real scan in the shared data."""
    heights = np.cumsum([0, *[2.0] * 12, 1.08, *[3.5] * 6]) - 24.0
    lean = np.tan(np.deg2rad(18.5))
    origins = np.stack([np.full_like(heights, -25.0), -40.0 + lean * heights, heights], axis=1)
    return stack(origins, (100, 160), 0.5)


def test_a_sheared_ball_is_round_again_and_keeps_its_volume() -> None:
    """The proof of the method: a ball sampled on leaning, uneven slices becomes a ball on the regular grid."""
    volume = tilted_and_uneven()
    assert not volume.is_regular
    measured = float((volume.hu * volume.voxel_volumes_ml).sum())
    assert measured == pytest.approx(BALL_ML, rel=0.02)

    grid = RegularGrid(volume)
    regular = grid.forward(volume.hu, outside=0) >= 0.5
    assert regular.sum() * np.prod(grid.spacing_mm) / 1000 == pytest.approx(BALL_ML, rel=0.03)
    centres = np.argwhere(regular) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    assert centres.mean(axis=0) == pytest.approx([0, 0, 0], abs=0.5)
    assert np.linalg.norm(centres, axis=1).max() < 15 + grid.spacing_mm[2] / 2 + 0.5
    # as wide along y as along x on every height: the lean is gone
    for axis in (0, 1):
        assert np.ptp(centres[:, axis]) == pytest.approx(30, abs=1.5)


def test_what_lies_on_the_regular_grid_comes_back_to_the_slices_it_came_from() -> None:
    volume = tilted_and_uneven()
    grid = RegularGrid(volume)
    back = grid.back(grid.forward(volume.hu, outside=0)) >= 0.5
    true = volume.hu > 0
    assert 2 * (back & true).sum() / (back.sum() + true.sum()) > 0.95
    assert float((back * volume.voxel_volumes_ml).sum()) == pytest.approx(BALL_ML, rel=0.05)


def test_an_evenly_tilted_scan_comes_back_exactly() -> None:
    heights = np.arange(12) * 3.0
    origins = np.stack([np.zeros(12), 0.31 * heights, heights], axis=1)
    volume = stack(origins, (40, 50), 0.5)
    values = np.asfortranarray(np.random.default_rng(0).normal(size=volume.hu.shape), np.float32)
    grid = RegularGrid(volume)
    assert np.array_equal(grid.back(grid.forward(values)), values)


@pytest.mark.parametrize(
    ("order", "signs"),
    list(itertools.product(itertools.permutations(range(3)), [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])),
)
def test_any_axis_order_and_direction_comes_back_exactly(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    base = head_with_ball(spacing_mm=(4.0, 4.0, 10.0))
    matrix = np.zeros((3, 3))
    hu = base.hu.transpose(order)
    for axis, source in enumerate(order):
        matrix[source, axis] = signs[axis]
        if signs[axis] < 0:
            hu = np.flip(hu, axis)
    affine = np.eye(4)
    affine[:3, :3] = matrix * np.array([base.spacing_mm[source] for source in order])
    volume = Volume(np.asfortranarray(hu), affine)
    grid = RegularGrid(volume)
    regular = grid.forward(volume.hu)
    assert np.array_equal(grid.back(regular), volume.hu)
    assert grid.spacing_mm == pytest.approx((4.0, 4.0, 10.0))
    assert np.linalg.det(grid.affine[:3, :3]) > 0


def test_the_affine_of_the_regular_grid_places_every_voxel_where_the_scan_does() -> None:
    base = head_with_ball(spacing_mm=(4.0, 4.0, 10.0))
    affine = base.affine @ np.diag([-1.0, 1.0, 1.0, 1.0])  # left-handed: x runs the other way
    affine[0, 3] = 77.0
    volume = Volume(base.hu, affine)
    grid = RegularGrid(volume)
    index = np.zeros(volume.hu.shape, np.float32, order="F")
    index[3, 5, 2] = 1
    (where,) = np.argwhere(grid.forward(index, outside=0) == 1)
    expected = volume.to_ras_mm(np.array([[3, 5, 2]]))[0]
    assert (grid.affine @ [*where, 1])[:3] == pytest.approx(expected)


def test_one_slice_is_a_regular_grid() -> None:
    volume = head_with_ball(spacing_mm=(4.0, 4.0, 5.0), extent_mm=(180.0, 210.0, 5.0))
    grid = RegularGrid(volume)
    assert np.array_equal(grid.back(grid.forward(volume.hu)), volume.hu)


def test_a_tilt_moves_pixels_and_mixes_none() -> None:
    heights = np.arange(5) * 5.0
    origins = np.stack([np.zeros(5), 0.33 * heights, heights], axis=1)
    volume = stack(origins, (20, 30), 0.5)
    values = np.asfortranarray(np.arange(volume.hu.size, dtype=np.float32).reshape(volume.hu.shape))
    regular = RegularGrid(volume).forward(values, outside=-1)
    assert set(np.unique(regular)) - {-1.0} == set(np.unique(values))


def test_a_bleed_on_thin_slices_of_an_uneven_scan_is_seen() -> None:
    heights = np.concatenate([np.arange(12) * 1.0, 11 + 5.0 * np.arange(1, 21)])
    origins = np.stack([np.zeros(32), np.zeros(32), heights], axis=1)
    hu = np.zeros((8, 8, 32), np.float32)
    hu[3:5, 3:5, 3:6] = 70
    grid = RegularGrid(Volume(np.asfortranarray(hu), np.diag([1.0, 1.0, 3.4, 1.0]), origins))
    assert grid.spacing_mm[2] == pytest.approx(1.0)
    assert grid.forward(hu).max() == 70
    assert np.array_equal(grid.back(grid.forward(hu)), hu)


def test_slices_that_jumped_sideways_are_moved_back() -> None:
    origins = np.stack([np.zeros(20), np.zeros(20), 5.0 * np.arange(20)], axis=1)
    origins[8:14, 0] += 15.0
    hu = np.zeros((40, 8, 20), np.float32)
    hu[20, 4, :] = 70  # a rod along the stack as the scanner saw it ...
    hu[:, :, 8:14] = np.roll(hu[:, :, 8:14], -15, axis=0)
    grid = RegularGrid(Volume(np.asfortranarray(hu), np.diag([1.0, 1.0, 5.0, 1.0]), origins))
    straight = grid.forward(hu)
    assert len({tuple(place) for place in np.argwhere(straight == 70)[:, :2].tolist()}) == 1  # ... is straight again
    assert np.array_equal(grid.back(straight), hu)
