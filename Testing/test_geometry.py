"""Where voxels lie and what they measure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import ScanInfo, Volume


def volume(size: tuple[int, int, int] = (4, 5, 6), affine: np.ndarray | None = None, **more: object) -> Volume:
    return Volume(
        np.zeros(size, np.float32, order="F"), np.diag([0.5, 0.5, 4.0, 1.0]) if affine is None else affine, **more
    )


def uneven(gaps_mm: list[float], lean_mm: float = 0.0) -> Volume:
    heights = np.concatenate([[0.0], np.cumsum(gaps_mm)])
    origins = np.stack([np.zeros_like(heights), lean_mm * heights, heights], axis=1)
    return volume((4, 5, len(heights)), slice_origins_mm=origins)


def test_a_regular_scan_measures_voxels_by_its_spacing() -> None:
    v = volume()
    assert v.is_regular
    assert v.spacing_mm == pytest.approx((0.5, 0.5, 4.0))
    assert v.voxel_volumes_ml.ravel() == pytest.approx([0.001] * 6)


def test_each_slice_stands_for_half_the_gap_to_each_neighbour() -> None:
    v = uneven([4, 4, 1.08, 7, 7])
    assert v.slice_extents_mm == pytest.approx([4, 4, 2.54, 4.04, 7, 7])
    assert not v.is_evenly_spaced


def test_a_single_slice_stands_for_its_nominal_thickness() -> None:
    v = volume((4, 5, 1), info=ScanInfo("DICOM", slice_thickness_mm=3.0))
    assert v.slice_extents_mm == pytest.approx([3.0])
    assert v.is_regular


def test_the_tilt_is_the_angle_by_which_the_stack_leans() -> None:
    assert uneven([5, 5, 5], lean_mm=np.tan(np.deg2rad(18.5))).tilt_deg == pytest.approx(18.5)
    assert uneven([5, 5, 5]).tilt_deg == 0


def test_a_sheared_affine_is_a_tilt() -> None:
    affine = np.diag([0.5, 0.5, 4.0, 1.0])
    affine[1, 2] = 4.0 * np.tan(np.deg2rad(10))
    v = volume(affine=affine)
    assert v.stack_axis == 2
    assert v.tilt_deg == pytest.approx(10)
    assert v.spacing_mm == pytest.approx((0.5, 0.5, 4.0))


def test_a_sheared_stack_may_lie_along_any_axis() -> None:
    affine = np.diag([4.0, 0.5, 0.5, 1.0])
    affine[1, 0] = 1.0
    assert volume(affine=affine).stack_axis == 0


@pytest.mark.parametrize(
    ("diagonal", "axis"), [((0.5, 0.5, 5), 2), ((5, 0.5, 0.5), 0), ((0.5, 5, 0.5), 1), ((1, 1, 1), 2)]
)
def test_slices_are_stacked_along_the_coarsest_axis(diagonal: tuple[float, ...], axis: int) -> None:
    assert volume(affine=np.diag([*diagonal, 1.0])).stack_axis == axis


@pytest.mark.parametrize(("signs", "orientation"), [((1, 1, 1), "RAS"), ((-1, -1, 1), "LPS"), ((-1, 1, -1), "LAI")])
def test_the_orientation_is_named_by_where_the_axes_point(signs: tuple[int, ...], orientation: str) -> None:
    assert volume(affine=np.diag([*signs, 1]).astype(float)).orientation == orientation


def test_the_normal_points_along_the_stack() -> None:
    affine = np.diag([0.5, 0.5, -4.0, 1.0])
    assert volume(affine=affine).normal == pytest.approx([0, 0, -1])


def test_indices_between_uneven_slices_are_placed_between_them() -> None:
    v = uneven([4, 8])
    assert v.to_ras_mm(np.array([[1, 2, 1.5]]))[0] == pytest.approx([0.5, 1.0, 8.0])


@pytest.mark.parametrize(
    "affine",
    [
        np.zeros((4, 4)),
        np.diag([1.0, 1.0, 0.0, 1.0]),
        np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    ],
)
def test_axes_that_span_no_volume_are_refused(affine: np.ndarray) -> None:
    with pytest.raises(InputError, match="do not span a volume"):
        volume(affine=affine)


def test_a_geometry_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        volume(affine=np.full((4, 4), np.nan))


def test_an_empty_axis_is_refused() -> None:
    with pytest.raises(InputError, match="none empty"):
        volume((4, 0, 3))


def test_a_grid_that_leans_in_two_directions_is_refused() -> None:
    affine = np.eye(4)
    affine[0, 1] = affine[1, 2] = affine[0, 2] = 0.4
    with pytest.raises(InputError, match="more than one direction"):
        _ = volume(affine=affine).stack_axis


def test_a_volume_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        volume().affine = np.eye(4)  # type: ignore[misc]


def test_a_jump_sideways_in_the_midst_of_a_stack_is_noticed() -> None:
    origins = np.stack([np.zeros(20), np.zeros(20), 5.0 * np.arange(20)], axis=1)
    assert volume((4, 5, 20), slice_origins_mm=origins).is_regular
    origins[8:14, 0] += 15.0
    v = volume((4, 5, 20), slice_origins_mm=origins)
    assert v.tilt_deg == 0
    assert not v.is_straight
    assert not v.is_regular
    assert v.sideways_mm.max() == pytest.approx(15.0)
