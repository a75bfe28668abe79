"""Segmentation end to end with networks whose answer is known: the mask lies on the scan's own voxels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from helpers import BrightnessNetwork, head_hu, head_with_ball, small_info

from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.inference import resample, segment, volume_of, working_grid
from ICHSegmentationLib.patches import INSTANCE2022_TILING
from ICHSegmentationLib.unet import PRESETS, EquivariantUNet

BALL_ML = 4 / 3 * np.pi * 15**3 / 1000


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def placed(matrix: np.ndarray, size: tuple[int, int, int], slice_origins: np.ndarray | None = None) -> Volume:
    """The head with a ball, sampled on a grid of this matrix [3, 3] centred on it, or on these slices."""
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = -matrix @ (np.array(size) - 1) / 2
    volume = Volume(np.zeros(size, np.float32, order="F"), affine, slice_origins)
    return dataclasses.replace(volume, hu=head_hu(volume, (20.0, 10.0, 0.0), 15.0))


def rotation(degrees: float, axis: int) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(3)
    i, j = [other for other in range(3) if other != axis]
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def tilted() -> Volume:
    heights = np.arange(30) * 5.0 - 72.5
    lean = np.tan(np.deg2rad(15))
    origins = np.stack([np.full(30, -90.0), -104.0 + lean * heights, heights], axis=1)
    matrix = np.column_stack([[1.0, 0, 0], [0, 1.0, 0], [0, 5 * lean, 5.0]])
    return placed(matrix, (181, 209, 30), origins)


def uneven() -> Volume:
    heights = np.concatenate([np.arange(-70, -10, 4), np.arange(-9, 75, 6.5)])
    origins = np.stack([np.full(len(heights), -90.0), np.full(len(heights), -104.0), heights], axis=1)
    step = (heights[-1] - heights[0]) / (len(heights) - 1)
    return placed(np.diag([1.0, 1.0, step]), (181, 209, len(heights)), origins)


GRIDS = {
    "axial": lambda: placed(np.diag([1.0, 1.0, 5.0]), (180, 210, 30)),
    "fine pixels": lambda: placed(np.diag([0.5, 0.5, 5.0]), (360, 420, 30)),
    "thin slices": lambda: placed(np.diag([1.0, 1.0, 1.0]), (180, 210, 150)),
    "flipped": lambda: placed(np.diag([-1.0, -1.0, -5.0]), (180, 210, 30)),
    "slices first": lambda: placed(np.array([[0, 0, 1.0], [0, 1.0, 0], [5.0, 0, 0]]), (30, 210, 180)),
    "coronal": lambda: placed(np.array([[1.0, 0, 0], [0, 0, 5.0], [0, 1.0, 0]]), (180, 160, 42)),
    "oblique": lambda: placed(rotation(20, 0) @ rotation(12, 2) @ np.diag([1.0, 1.0, 5.0]), (190, 220, 34)),
    "anisotropic": lambda: placed(np.diag([0.8, 1.3, 4.0]), (225, 165, 38)),
    "tilted": tilted,
    "uneven": uneven,
}


@pytest.mark.parametrize("quality", ["full", "fast"])
@pytest.mark.parametrize("name", GRIDS)
def test_the_mask_lies_on_the_ball_on_any_grid(name: str, quality: str, brightness_ensemble: Ensemble) -> None:
    volume = GRIDS[name]()
    result = segment(volume, brightness_ensemble, quality, device="cpu")
    true = (volume.hu > 60) & (volume.hu < 100)
    assert result.mask.shape == volume.hu.shape
    assert dice(result.mask, true) > 0.93
    assert result.volume_ml == pytest.approx(BALL_ML, rel=0.06)


def test_a_bleed_at_the_border_and_on_the_first_and_last_slice_is_found(brightness_ensemble: Ensemble) -> None:
    """The paper's code could never call the outer 22 pixels or the first and last 2 slices."""
    hu = np.full((200, 180, 20), 35.0, np.float32, order="F")
    hu[:3, :3] = -1000  # a little air, as in any scan
    for edge in ((slice(-4, None), slice(60, 90)), (slice(60, 90), slice(-4, None))):
        hu[edge] = 70
    hu[100:120, 100:120, :2] = 70
    hu[100:120, 40:60, -2:] = 70
    volume = Volume(hu, np.diag([0.5, 0.5, 5.0, 1.0]))
    for tiling in (None, INSTANCE2022_TILING):
        result = segment(volume, brightness_ensemble, "full", device="cpu", tiling=tiling)
        assert np.array_equal(result.mask, hu > 60)


def test_one_slice_works(brightness_ensemble: Ensemble) -> None:
    volume = placed(np.diag([1.0, 1.0, 5.0]), (180, 210, 1))
    result = segment(volume, brightness_ensemble, device="cpu")
    assert dice(result.mask, (volume.hu > 60) & (volume.hu < 100)) > 0.93
    assert any("One slice only" in warning for warning in result.warnings)


def test_a_thousand_slices_work(brightness_ensemble: Ensemble) -> None:
    volume = placed(np.diag([4.0, 4.0, 0.15]), (46, 54, 1000))
    result = segment(volume, brightness_ensemble, "fast", device="cpu")
    assert result.volume_ml == pytest.approx(BALL_ML, rel=0.15)


def test_no_bleed_gives_an_empty_mask_and_zero(brightness_ensemble: Ensemble) -> None:
    volume = head_with_ball(radius_mm=0.0, spacing_mm=(2.0, 2.0, 5.0))
    result = segment(volume, brightness_ensemble, device="cpu")
    assert not result.mask.any()
    assert result.volume_ml == 0
    assert result.member_volumes_ml == (0, 0)


def test_the_probability_is_the_mean_of_the_members_and_the_mask_its_threshold() -> None:
    sure, unsure = BrightnessNetwork(30.0), BrightnessNetwork(90.0)
    ensemble = Ensemble(small_info(), "0", [sure.eval(), unsure.eval()])
    volume = head_with_ball(spacing_mm=(2.0, 2.0, 5.0))
    result = segment(volume, ensemble, "full", device="cpu", threshold=0.4)
    ball = (volume.hu > 60) & (volume.hu < 100)
    assert result.probability[ball].mean() == pytest.approx(0.5, abs=0.01)
    assert result.mask[ball].all()
    assert not segment(volume, ensemble, "full", device="cpu", threshold=0.6).mask.any()
    assert result.member_volumes_ml[1] == 0 < result.member_volumes_ml[0]


def test_specks_are_not_counted_but_told() -> None:
    ensemble = Ensemble(small_info(), "0", [BrightnessNetwork(60.0).eval()])
    volume = head_with_ball(spacing_mm=(2.0, 2.0, 5.0))
    plain = segment(volume, ensemble, "full", device="cpu")
    hu = volume.hu.copy()
    middle = tuple(side // 2 for side in hu.shape)
    assert not plain.mask[middle]
    hu[middle] = 80.0
    specked = segment(dataclasses.replace(volume, hu=hu), ensemble, "full", device="cpu")
    assert specked.probability[middle] > specked.threshold
    assert specked.specks_ml == pytest.approx(plain.specks_ml + 0.02)
    assert specked.volume_ml == pytest.approx(plain.volume_ml)
    assert specked.member_volumes_ml == pytest.approx(plain.member_volumes_ml)


def test_fewer_members_may_be_asked_for(brightness_ensemble: Ensemble) -> None:
    volume = head_with_ball(spacing_mm=(3.0, 3.0, 8.0))
    assert len(segment(volume, brightness_ensemble, members=1, device="cpu").member_volumes_ml) == 1


def test_the_same_scan_gives_the_same_answer_twice(small_ensemble: Ensemble) -> None:
    volume = head_with_ball(spacing_mm=(3.0, 3.0, 8.0))
    first, second = (segment(volume, small_ensemble, device="cpu") for _ in range(2))
    assert np.array_equal(first.probability, second.probability)


def test_on_a_cpu_auto_is_fast_and_says_what_full_would_cost(small_ensemble: Ensemble) -> None:
    result = segment(head_with_ball(spacing_mm=(0.5, 0.5, 5.0), extent_mm=(180, 210, 10)), small_ensemble, device="cpu")
    assert result.quality == "fast"
    assert any("the full quality would take about" in warning for warning in result.warnings)


def test_nothing_is_said_of_full_where_fast_is_the_same(small_ensemble: Ensemble) -> None:
    result = segment(head_with_ball(spacing_mm=(1.0, 1.0, 5.0), extent_mm=(180, 210, 10)), small_ensemble, device="cpu")
    assert not any("full quality" in warning for warning in result.warnings)


def test_progress_is_reported_to_the_end(small_ensemble: Ensemble) -> None:
    seen: list[float] = []
    volume = head_with_ball(spacing_mm=(3.0, 3.0, 8.0))
    segment(volume, small_ensemble, device="cpu", on_progress=lambda progress: seen.append(progress.fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_wrong_wishes_are_refused(small_ensemble: Ensemble) -> None:
    volume = head_with_ball(spacing_mm=(3.0, 3.0, 8.0))
    for wish in ({"threshold": 0.0}, {"members": 0}, {"quality_level": "best"}):
        with pytest.raises(InputError, match="found"):
            segment(volume, small_ensemble, device="cpu", **wish)


def test_the_working_grid_covers_the_same_extent() -> None:
    hu = torch.zeros(437, 512, 301)
    fast, spacing = working_grid(hu, (0.45, 0.41, 0.6), "fast")
    assert spacing == pytest.approx((1.0, 1.0, 2.5), rel=0.02)
    for axis in range(3):
        assert fast.shape[axis] * spacing[axis] == pytest.approx(hu.shape[axis] * (0.45, 0.41, 0.6)[axis])
    assert working_grid(hu, (0.45, 0.41, 0.6), "full")[0] is hu
    assert working_grid(torch.zeros(9, 9, 9), (0.9, 0.95, 2.0), "fast")[1] == pytest.approx((0.9, 0.95, 2.0))


def test_resampling_keeps_places_and_means() -> None:
    x = torch.linspace(0, 1, 90)[:, None, None].expand(90, 40, 30)
    small = resample(x, (40, 20, 10))
    expected = (torch.arange(40) + 0.5) / 40
    assert torch.allclose(small[2:-2, 5, 5], expected[2:-2], atol=0.01)
    back = resample(small, (90, 40, 30))
    assert torch.allclose(back[5:-5], x[5:-5], atol=0.01)


def test_volume_counts_each_slice_with_its_own_extent() -> None:
    volume = uneven()
    mask = np.zeros(volume.hu.shape, bool)
    mask[:, :, 3] = True
    expected = 181 * 209 * volume.slice_extents_mm[3] / 1000
    assert volume_of(mask, volume) == pytest.approx(expected)


def test_fast_costs_about_the_same_however_fine_the_pixels_are() -> None:
    """Some pixel sizes do not divide into the network's levels: 0.8 mm would cost four times as much as 1 mm."""
    network = EquivariantUNet(PRESETS["compact"])
    costs = []
    for pixel_mm in (0.35, 0.45, 0.6, 0.7, 0.75, 0.8, 0.85, 0.95, 1.05):
        fast, spacing = working_grid(
            torch.zeros(round(200 / pixel_mm), round(180 / pixel_mm), 4), (pixel_mm, pixel_mm, 5.0), "fast"
        )
        costs.append(network.multiply_adds(tuple(fast.shape), spacing))
    assert max(costs) < 1.4 * min(costs)
