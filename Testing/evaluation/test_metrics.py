"""The challenge's metrics, on cases that can be worked out by hand and against packages of other people."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.distance import cdist

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.metrics import (
    SurfaceDistances,
    dice,
    false_lesions,
    lesions_found,
    measure,
    relative_volume_difference,
    surface_distances,
)

pytest.importorskip("surface_distance", reason="surface-distance is not installed (pip install '.[evaluate]')")

EMPTY = np.zeros((6, 6, 4), bool)
SPACING = (0.45, 0.5, 5.0)


def with_voxels(*voxels: tuple[int, int, int]) -> np.ndarray:
    mask = EMPTY.copy()
    mask[tuple(np.array(voxels).T)] = True
    return mask


def random_masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two blobs of noise that overlap, some touching the border."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((20, 17, 9))
    fields = [ndimage.gaussian_filter(common + 0.7 * rng.standard_normal(common.shape), 1.2) for _ in range(2)]
    first, second = (field > np.quantile(field, 0.8) for field in fields)
    return first, second


def test_dice_of_half_overlapping_masks_is_a_half() -> None:
    first, second = with_voxels((1, 1, 1), (2, 1, 1)), with_voxels((2, 1, 1), (3, 1, 1))
    assert dice(first, second) == pytest.approx((2 + 1e-5) / (4 + 1e-5), abs=1e-12)


def test_volume_difference_is_a_share_of_the_reference_and_has_no_sign() -> None:
    one, three = with_voxels((1, 1, 1)), with_voxels((1, 1, 1), (2, 1, 1), (3, 1, 1))
    assert relative_volume_difference(one, three) == pytest.approx(2 / 3)
    assert relative_volume_difference(three, one) == pytest.approx(2)


def test_two_voxels_three_slices_apart_are_that_far() -> None:
    """Surface points lie at the voxels' corners, so both surfaces have the same shape, shifted by 2 x 5 mm."""
    result = measure(with_voxels((2, 2, 0)), with_voxels((2, 2, 2)), SPACING)
    assert result.hausdorff_mm == pytest.approx(10.0, abs=1e-9)
    assert result.hausdorff95_mm == pytest.approx(10.0, abs=1e-9)
    assert result.surface_dice == 0
    assert result.dice == pytest.approx(1e-5 / (2 + 1e-5))


def test_a_shift_by_one_voxel_is_within_the_tolerance_only_if_the_voxel_is_smaller() -> None:
    first, second = with_voxels((2, 2, 1)), with_voxels((3, 2, 1))
    assert measure(first, second, (0.42, 1.0, 1.0)).surface_dice == pytest.approx(1.0)
    # four of the eight corners of each voxel are corners of the other; by symmetry they hold half of the surface
    assert measure(first, second, (0.43, 1.0, 1.0)).surface_dice == pytest.approx(0.5)
    assert measure(first, second, (0.43, 1.0, 1.0)).hausdorff_mm == pytest.approx(0.43)


def test_the_95th_percentile_leaves_out_a_twentieth_of_the_area() -> None:
    areas = np.array([90.0, 4.0, 6.0])
    surfaces = SurfaceDistances(np.array([0.0, 1.0, 7.0]), np.array([0.0]), areas, np.array([100.0]))
    assert surfaces.hausdorff_mm(100) == 7
    assert surfaces.hausdorff_mm(95) == 7
    assert surfaces.hausdorff_mm(94) == 1
    assert surfaces.dice(1.0) == pytest.approx(194 / 200)


def test_empty_masks_are_defined() -> None:
    one = with_voxels((1, 2, 3))
    neither, nothing_found, false_alarm = measure(EMPTY, EMPTY, SPACING), measure(EMPTY, one, SPACING), None
    false_alarm = measure(one, EMPTY, SPACING)
    assert (neither.dice, neither.surface_dice, neither.hausdorff_mm, neither.hausdorff95_mm) == (1, 1, 0, 0)
    assert math.isnan(neither.relative_volume_difference)
    assert (neither.lesions, neither.lesions_found, neither.false_lesions) == (0, 0, 0)
    for result in (nothing_found, false_alarm):
        assert result.dice == pytest.approx(1e-5, rel=1e-3)
        assert (result.surface_dice, result.hausdorff_mm, result.hausdorff95_mm) == (0, math.inf, math.inf)
    assert nothing_found.relative_volume_difference == 1
    assert math.isnan(false_alarm.relative_volume_difference)
    assert (nothing_found.lesions, nothing_found.lesions_found, nothing_found.false_lesions) == (1, 0, 0)
    assert (false_alarm.lesions, false_alarm.lesions_found, false_alarm.false_lesions) == (0, 0, 1)


def test_full_masks_and_equal_masks_agree_perfectly() -> None:
    for mask in (~EMPTY, with_voxels((0, 0, 0)), random_masks(3)[0]):
        result = measure(mask, mask, SPACING)
        assert (result.dice, result.relative_volume_difference) == (1, 0)
        assert (result.surface_dice, result.hausdorff_mm, result.hausdorff95_mm) == (1, 0, 0)


def test_volumes_are_in_millilitres() -> None:
    result = measure(with_voxels((1, 1, 1), (2, 1, 1)), with_voxels((1, 1, 1)), (0.5, 0.5, 4.0))
    assert result.reference_ml == pytest.approx(0.001)
    assert result.predicted_ml == pytest.approx(0.002)
    assert result.volume_error_ml == pytest.approx(0.001)


def test_a_lesion_is_found_from_a_tenth_of_it_and_false_if_it_touches_no_bleed() -> None:
    reference, prediction = np.zeros((30, 5, 3), bool), np.zeros((30, 5, 3), bool)
    reference[0:10, 0, 0] = reference[14:25, 0, 0] = reference[28, 4, 2] = True
    prediction[9, 0, 0] = prediction[14, 0, 0] = True  # a tenth of the first, an eleventh of the second
    prediction[12, 4, 2] = True  # touches neither
    assert lesions_found(prediction, reference) == (3, 1)
    assert false_lesions(prediction, reference) == 1
    assert false_lesions(reference, reference) == 0


@pytest.mark.parametrize("seed", range(4))
def test_dice_and_volumes_agree_with_simpleitk(seed: int) -> None:
    prediction, reference = random_masks(seed)
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (prediction, reference)]
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(images[0], images[1])
    assert dice(prediction, reference) == pytest.approx(overlap.GetDiceCoefficient(1), abs=1e-6)
    similarity = 2 * (prediction.sum() - reference.sum()) / (prediction.sum() + reference.sum())
    assert overlap.GetVolumeSimilarity(1) == pytest.approx(similarity)  # so the counts are the same


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's to itself
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.41, 0.43, 5.0), (3.0, 0.9, 1.3)])
def test_surface_dice_agrees_with_monai(seed: int, spacing: tuple[float, float, float]) -> None:
    monai = pytest.importorskip("monai.metrics", reason="MONAI is not installed (pip install '.[dev]')")
    torch = pytest.importorskip("torch")
    prediction, reference = random_masks(seed)
    batches = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    for tolerance_mm in (0.42, 2.0):
        theirs = monai.compute_surface_dice(
            *batches, [tolerance_mm], include_background=True, spacing=spacing, use_subvoxels=True
        )
        ours = surface_distances(prediction, reference, spacing).dice(tolerance_mm)
        assert ours == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.41, 0.43, 5.0), (3.0, 0.9, 1.3)])
def test_the_largest_distance_agrees_with_all_pairs_of_surface_points(
    seed: int, spacing: tuple[float, float, float]
) -> None:
    """By the definition: corners of voxels that have both bleed and none around them, all against all."""
    masks = random_masks(seed)
    points = []
    for mask in masks:
        around = sum(
            np.pad(mask.astype(int), [(i, 1 - i), (j, 1 - j), (k, 1 - k)])
            for i in (0, 1)
            for j in (0, 1)
            for k in (0, 1)
        )
        points.append(np.argwhere((around > 0) & (around < 8)) * spacing)
    distances = cdist(*points)
    expected = max(distances.min(axis=1).max(), distances.min(axis=0).max())
    assert surface_distances(*masks, spacing).hausdorff_mm(100) == pytest.approx(expected, abs=1e-6)


def test_masks_of_different_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[6, 6, 4\] voxels and the reference \[3, 6, 4\]"):
        measure(EMPTY, EMPTY[:3], SPACING)


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "surface_distance", None)
    with pytest.raises(InputError, match="surface-distance, which is not installed"):
        surface_distances(~EMPTY, ~EMPTY, SPACING)
