"""Validation: Dice on patches that stay the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import BrightnessNetwork

from ICHSegmentationLib.training.loss import bleed_logit
from ICHSegmentationLib.training.pool import StoredCase
from ICHSegmentationLib.training.validation import Validation

CPU = torch.device("cpu")
SIZE = (24, 24, 8)


def test_the_score_is_the_dice_over_what_counts(case: StoredCase) -> None:
    validation = Validation.draw([case], SIZE, CPU)
    network = BrightnessNetwork(50.0)
    (batch,) = validation.batches
    found = (bleed_logit(network(batch.channels, batch.spacing_mm)) >= 0).float() * batch.counted
    dice = float(2 * (found * batch.bleed).sum() / (found.sum() + batch.bleed.sum()))
    assert validation.score(network) == pytest.approx(dice)
    assert dice > 0.9
    assert validation.score(BrightnessNetwork(500.0)) == 0.0


def test_nothing_to_find_and_nothing_found_is_perfect(case: StoredCase) -> None:
    empty = StoredCase(case.hu, np.zeros_like(case.label), case.spacing_mm, case.name)
    assert Validation.draw([empty], SIZE, CPU).score(BrightnessNetwork(500.0)) == 1.0


def test_patches_are_the_same_each_time(case: StoredCase) -> None:
    first, second = (Validation.draw([case, case], SIZE, CPU) for _ in range(2))
    for one, other in zip(first.batches, second.batches, strict=True):
        assert torch.equal(one.channels, other.channels)


def test_a_picture_shows_what_is_bleed_and_what_is_called_bleed(case: StoredCase) -> None:
    picture = Validation.draw([case, case], SIZE, CPU).picture(BrightnessNetwork(50.0))
    assert picture.shape == (24, 2 * (24 + 2), 3)
    assert picture.dtype == np.uint8
    red, green, blue = picture[:, :, 0].astype(int), picture[:, :, 1].astype(int), picture[:, :, 2].astype(int)
    assert ((red > blue + 50) & (green > blue + 50)).any()  # both
    missed = Validation.draw([case], SIZE, CPU).picture(BrightnessNetwork(500.0)).astype(int)
    assert (missed[:, :, 1] > missed[:, :, 0] + 50).any()
    assert not (missed[:, :, 0] > missed[:, :, 2] + 50).any()


def test_several_classes_become_one_logit_of_not_being_background() -> None:
    logits = torch.randn(2, 6, 3, 3, 3)
    found = torch.sigmoid(bleed_logit(logits))
    assert torch.allclose(found[:, 0], 1 - torch.softmax(logits, dim=1)[:, 0], atol=1e-6)
    assert torch.equal(bleed_logit(logits[:, :1]), logits[:, :1])
