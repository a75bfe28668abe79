"""Augmentation: seeded, and labels stay labels."""

from __future__ import annotations

import numpy as np
import torch

from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.training.augmentation import Augmentation, augment, deform_in_plane
from ICHSegmentationLib.training.pool import StoredCase

RNG = np.random.default_rng


def test_augmentation_follows_its_seed_and_leaves_labels_whole(case: StoredCase) -> None:
    hu, label = torch.from_numpy(case.hu.astype(np.float32)), torch.from_numpy(case.label)
    drawn = Augmentation.draw(RNG(1))
    first, second = augment(hu, label, drawn), augment(hu, label, drawn)
    assert torch.equal(first[0], second[0])
    assert set(first[1].unique().tolist()) <= {0, 1, IGNORED}


def test_a_deformation_of_no_temperature_changes_nothing(case: StoredCase) -> None:
    hu, label = torch.from_numpy(case.hu.astype(np.float32)), torch.from_numpy(case.label)
    still = Augmentation(0.0, 0.0, 1.0, 0.0, 3)
    deformed = deform_in_plane(hu, label, still)
    assert torch.allclose(deformed[0], hu, atol=1e-3)
    assert torch.equal(deformed[1], label)


def test_a_hot_deformation_moves_the_middle_of_all_slices_alike_and_keeps_the_border() -> None:
    ramp = torch.arange(64.0)[:, None, None].expand(64, 64, 3).contiguous()
    hot = Augmentation(5e-4, 0.0, 1.0, 0.0, 3)
    moved, _ = deform_in_plane(ramp, torch.zeros(64, 64, 3, dtype=torch.uint8), hot)
    assert float((moved - ramp)[20:44, 20:44].abs().max()) > 0.5
    assert float((moved - ramp)[[0, -1]].abs().max()) < 1.0
    assert torch.allclose(moved[:, :, 0], moved[:, :, 2])
