"""Girona's preprocessing, sampling, loss and post-processing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import head_with_ball

from ICHSegmentationLib.baselines.cases import TrainingCase
from ICHSegmentationLib.baselines.mirror import left_right_axis, mirrored_onto_itself
from ICHSegmentationLib.baselines.patches import Entry, Patch, draw_batch, unchanged
from ICHSegmentationLib.baselines.preparation import restored
from ICHSegmentationLib.baselines.se_system import (
    GironaSettings,
    dice_and_cross_entropy,
    flipped_and_turned,
    se_unet,
    smallest_bleeds,
    stripped,
    without_small_lesions,
)
from ICHSegmentationLib.baselines.splits import fold, random_subset
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.regular import RegularGrid
from ICHSegmentationLib.volume import as_volume, read_volume

SPACING_MM = (4.0, 4.0, 8.0)


def case(bleed_ml: float = 1.0, name: str = "case") -> TrainingCase:
    """A case whose inputs tell where they lie."""
    label = np.zeros((40, 30, 8), np.uint8)
    label[5:10, 5:10, 2:4] = 1
    inputs = np.arange(label.size, dtype=np.float32).reshape(1, *label.shape)
    brain = np.zeros(label.shape, bool)
    brain[20:35, 10:25, 3:6] = True
    bleed, inside = (np.flatnonzero(mask).astype(np.int32) for mask in (label == 1, brain))
    return TrainingCase(name, inputs, label, bleed, inside, SPACING_MM, -5.0, bleed_ml, name, [])


def test_half_of_the_patches_are_centred_on_bleed_and_half_in_the_brain() -> None:
    batch = draw_batch([Entry(case())], (9, 9, 3), 8, 0.5, unchanged, np.random.default_rng(0), torch.device("cpu"))
    assert batch.inputs.shape == (8, 1, 9, 9, 3)
    centres = batch.inputs[:, 0, 4, 4, 1].long().numpy()
    x, y, z = np.unravel_index(centres, (40, 30, 8))
    on_bleed = (x >= 5) & (x < 10) & (y >= 5) & (y < 10)
    assert on_bleed.tolist() == [True] * 4 + [False] * 4
    assert (x[4:] >= 20).all()
    assert (z[4:] >= 3).all()


def test_patches_wider_than_their_case_are_padded_and_the_padding_does_not_count() -> None:
    batch = draw_batch([Entry(case())], (9, 9, 16), 2, 0.5, unchanged, np.random.default_rng(0), torch.device("cpu"))
    assert (batch.inputs[..., 8:] == -5.0).all()
    assert (batch.counted[..., :8] == 1).all()
    assert (batch.counted[..., 8:] == 0).all()


def test_normalisation_is_by_the_brains_percentiles() -> None:
    volume = head_with_ball(SPACING_MM)
    prepared = stripped(volume)
    values = prepared.inputs[0][prepared.inside]
    assert values.mean() == pytest.approx(0, abs=1e-3)
    assert values.std() == pytest.approx(1, abs=1e-3)
    assert (prepared.inputs[0][~prepared.inside] == prepared.inputs.min()).all()
    assert prepared.outside == pytest.approx(float(prepared.inputs.min()))


def test_hard_cases_are_the_smallest_bleeds_and_seen_in_other_poses() -> None:
    cases = [case(ml, f"case_{ml}") for ml in (5.0, 0.0, 1.0, 20.0, 3.0)]
    assert [one.bleed_ml for one in smallest_bleeds(cases, 0.5)] == [1.0, 3.0]  # none without bleed
    patch = Patch(np.arange(32.0, dtype=np.float32).reshape(1, 4, 4, 2), np.zeros((4, 4, 2), np.uint8))
    rng = np.random.default_rng(0)
    assert flipped_and_turned(patch, Entry(case()), rng) is patch
    poses = {flipped_and_turned(patch, Entry(case(), again=True), rng).inputs.tobytes() for _ in range(100)}
    assert len(poses) == 8


def test_inputs_and_labels_turn_together() -> None:
    label = np.random.default_rng(0).integers(0, 2, (6, 6, 3)).astype(np.uint8)
    patch = Patch(label[None].astype(np.float32), label)
    for seed in range(8):
        turned = flipped_and_turned(patch, Entry(case(), again=True), np.random.default_rng(seed))
        np.testing.assert_array_equal(turned.inputs[0], turned.label)


def test_a_missed_bleed_costs_twice_a_false_one() -> None:
    wrong = torch.full((1, 1, 2, 2, 2), 20.0)
    target, counted = torch.zeros_like(wrong), torch.ones_like(wrong)
    target[..., 0] = 1
    logits = torch.where(target == 1, 20.0, -20.0)
    missed, false = logits.clone(), logits.clone()
    missed[0, 0, 0, 0, 0] = -20.0
    false[0, 0, 0, 0, 1] = 20.0
    weight = 4 * 2 + 4  # of all voxels
    dice = [1 - (2 * overlap + 50) / (total + 50) for overlap, total in ((3, 7), (4, 9))]
    assert float(dice_and_cross_entropy(missed, target, counted)) == pytest.approx(dice[0] + 2 * 20 / weight, abs=1e-4)
    assert float(dice_and_cross_entropy(false, target, counted)) == pytest.approx(dice[1] + 20 / weight, abs=1e-4)


def boxes(*sides: int) -> tuple[np.ndarray, Volume]:
    """Bars of one voxel's width and given lengths, far apart."""
    mask = np.zeros((50, 20, 6), bool)
    for index, side in enumerate(sides):
        mask[:side, 4 * index, 2] = True
    return mask, as_volume(np.zeros(mask.shape), (1.0, 1.0, 5.0))


@pytest.mark.parametrize(
    ("sides", "left"), [((40, 3, 4, 20), [40, 0, 4, 20]), ((1,), [1]), ((), []), ((50, 5), [50, 5]), ((41, 4), [41, 0])]
)
def test_lesions_under_a_tenth_of_the_largest_are_dropped(sides: tuple[int, ...], left: list[int]) -> None:
    mask, volume = boxes(*sides)
    kept = without_small_lesions(mask, volume)
    assert [int(kept[:, 4 * index].sum()) for index in range(len(sides))] == left
    assert kept.sum() == sum(left)


def test_the_tenth_is_of_volume_where_slices_are_uneven() -> None:
    mask = np.zeros((30, 5, 3), bool)
    mask[:20, 0, 0] = True  # 20 voxels of the first slice, which stands for 1 mm
    mask[:2, 4, 2] = True  # 2 voxels of the last, which stands for 9 mm: 18 of them to 20
    origins = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 10.0]])
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    volume = Volume(np.zeros(mask.shape, np.float32), affine, origins)
    assert without_small_lesions(mask, volume)[:2, 4, 2].all()
    mask[1, 4, 2] = False
    mask[:20, 0, 1] = True
    assert not without_small_lesions(mask, volume)[0, 4, 2]


def test_every_case_is_validated_on_once() -> None:
    for cases, folds in ((11, 5), (3, 5)):
        groups = [str(index) for index in range(cases)]
        held_out = [fold(groups, member, 0, folds)[1] for member in range(min(cases, folds))]
        assert sorted(index for out in held_out for index in out) == list(range(cases))
        assert all(len(seen) + len(out) == cases for seen, out in (fold(groups, m, 0, folds) for m in range(folds)))


def test_members_see_a_random_share_of_the_cases() -> None:
    groups = [str(index) for index in range(100)]
    seen, left = random_subset(groups, 3, 0, 0.8)
    assert (len(seen), len(left)) == (80, 20)
    assert sorted(seen + left) == list(range(100))
    assert random_subset(groups, 4, 0, 0.8)[0] != seen
    assert random_subset(groups, 3, 0, 0.8)[0] == seen


def test_no_split_parts_a_head() -> None:
    heads = [f"head {index % 4}" for index in range(14)]
    for seen, left in (*(fold(heads, member, 0, 5) for member in range(5)), random_subset(heads, 0, 0, 0.8)):
        assert sorted(seen + left) == list(range(14))
        assert {heads[index] for index in seen}.isdisjoint(heads[index] for index in left)
        assert seen
        assert left


def test_the_mirror_image_is_laid_onto_the_scan() -> None:
    shifted = head_with_ball((3.0, 3.0, 6.0), centre_mm=(30.0, 0.0, 0.0)).hu
    shifted = np.roll(shifted, 4, axis=0)  # 12 mm aside: reversing alone would put it 24 mm off
    laid = mirrored_onto_itself(shifted, (3.0, 3.0, 6.0), 0)
    assert laid.shape == shifted.shape
    bone, reversed_bone, laid_bone = shifted > 500, shifted[::-1] > 500, laid > 500

    def overlap(one: np.ndarray) -> float:
        return float(2 * (one & bone).sum() / (one.sum() + bone.sum()))

    assert overlap(reversed_bone) < 0.6
    assert overlap(laid_bone) > 0.85
    ball = laid[(shifted > 60) & (shifted < 80)]
    assert np.median(ball) == pytest.approx(32, abs=3)  # opposite the bleed lies brain


def test_a_real_head_that_lies_askew_is_laid_onto_itself(shared_data: Path) -> None:
    grid = RegularGrid(read_volume(shared_data / "head-ct-dicom"))
    hu = grid.forward(grid.volume.hu)[::2, ::2]
    laid = mirrored_onto_itself(hu, (2 * grid.spacing_mm[0], 2 * grid.spacing_mm[1], grid.spacing_mm[2]), 0)
    bone, before, after = (image > 300 for image in (hu, hu[::-1], laid))
    dice = [2 * (bone & other).sum() / (bone.sum() + other.sum()) for other in (before, after)]
    assert dice[0] < 0.6
    assert dice[1] > 0.75


def test_left_meets_right_whatever_the_order_of_the_axes_in_the_file() -> None:
    volume = head_with_ball((6.0, 5.0, 10.0), centre_mm=(30.0, 20.0, 0.0))
    swapped = Volume(np.asfortranarray(volume.hu.transpose(1, 0, 2)), volume.affine[:, [1, 0, 2, 3]])
    mirrors = []
    for each in (volume, swapped):
        grid = RegularGrid(each)
        mirrors.append(restored(stripped(each, symmetric=True).inputs[1], each))
        assert left_right_axis(grid.affine) == (0 if each is volume else 1)
    apart = np.abs(mirrors[1].transpose(1, 0, 2) - mirrors[0])
    assert np.quantile(apart, 0.95) < 0.5
    assert apart.mean() < 0.1


def test_the_mirror_image_is_a_second_channel() -> None:
    volume = head_with_ball((5.0, 5.0, 10.0))
    assert stripped(volume, symmetric=True).inputs.shape[0] == 2
    recipe = se_unet().recipe_of(dataclasses.replace(GironaSettings(), symmetric=True))
    assert recipe.network().encoder[0].in_channels == 2


def test_a_real_head_is_prepared(shared_data: Path) -> None:
    volume = read_volume(shared_data / "head-ct-dicom")
    coarse = as_volume(volume.hu[::4, ::4], (1.95, 1.95, 4.3))
    prepared = stripped(coarse)
    assert 0.8 < prepared.inside.sum() * np.prod(prepared.spacing_mm) / 1e6 < 1.8
    assert np.abs(prepared.inputs).max() < 10
