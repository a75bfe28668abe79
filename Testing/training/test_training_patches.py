"""Patches: within the case, half of them on bleed."""

from __future__ import annotations

import dataclasses

import numpy as np

from ICHSegmentationLib.training.patches import draw_patches, patch_corner
from ICHSegmentationLib.training.pool import StoredCase

RNG = np.random.default_rng


def test_patches_on_bleed_hold_bleed_at_their_centre(case: StoredCase) -> None:
    for seed in range(20):
        corner = patch_corner(case, (9, 9, 3), True, RNG(seed))
        centre = tuple(start + side // 2 for start, side in zip(corner, (9, 9, 3), strict=True))
        box = tuple(slice(start, start + side) for start, side in zip(corner, (9, 9, 3), strict=True))
        assert (case.label[box] == 1).any()
        assert case.label[centre] > 0 or 0 in corner


def test_a_small_bleed_is_drawn_as_often_as_a_large_one_of_another_kind(case: StoredCase) -> None:
    label = np.array(case.label)
    label[label == 1] = 0
    label[:8, :8, :4] = 1
    label[14, 14, 4] = 2
    two = dataclasses.replace(case, label=label)
    small = 0
    for seed in range(60):
        corner = patch_corner(two, (3, 3, 1), True, RNG(seed))
        small += corner == (13, 13, 4)
    assert 15 < small < 45


def test_a_draw_depends_on_the_voxels_alone_and_not_on_how_they_lie_in_memory(case: StoredCase) -> None:
    label = np.where(case.label == 1, 3, case.label).astype(np.uint8)
    label[:4, :4, :2] = 5
    for seed in range(10):
        rng = RNG(seed)
        kind = (3, 5)[int(rng.integers(2))]
        x, y, z = np.argwhere(label == kind)[rng.integers((label == kind).sum())]
        for order in ("C", "F"):
            laid = dataclasses.replace(case, label=np.array(label, order=order))
            assert patch_corner(laid, (1, 1, 1), True, RNG(seed)) == (x, y, z)


def test_patches_lie_within_the_case_and_may_be_larger_than_it(case: StoredCase) -> None:
    for seed in range(30):
        for size in ((16, 16, 4), (64, 16, 20)):
            corner = patch_corner(case, size, seed % 2 == 0, RNG(seed))
            assert all(0 <= start < full for start, full in zip(corner, case.hu.shape, strict=True))
            fits = [
                min(side, full) + start <= full for start, side, full in zip(corner, size, case.hu.shape, strict=True)
            ]
            assert all(fits)


def test_a_batch_has_windows_bleed_and_what_counts(case: StoredCase) -> None:
    batch = draw_patches(case, (20, 20, 6), 2, 1.0, RNG(0))
    assert batch.channels.shape == (2, 3, 20, 20, 6)
    assert batch.bleed.shape == batch.counted.shape == (2, 1, 20, 20, 6)
    assert set(batch.bleed.unique().tolist()) == {0.0, 1.0}
    assert float((1 - batch.counted).sum()) > 0
    assert float((batch.bleed * (1 - batch.counted)).sum()) == 0
