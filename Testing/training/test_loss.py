"""Losses."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from ICHSegmentationLib.training.loss import (
    cross_entropy,
    cross_entropy_and_dice,
    soft_dice,
    subtype_cross_entropy,
    tversky,
)


def test_cross_entropy_counts_only_what_counts() -> None:
    logits, target = torch.tensor([0.0, 9.0]), torch.tensor([1.0, 0.0])
    assert float(cross_entropy(logits, target, torch.tensor([1.0, 0.0]))) == pytest.approx(math.log(2))


def test_soft_dice_is_small_for_a_perfect_answer_and_calm_without_bleed() -> None:
    target = torch.zeros(1000)
    target[:300] = 1
    counted = torch.ones(1000)
    assert float(soft_dice(target * 40 - 20, target, counted)) < 1e-3
    assert float(soft_dice(-(target * 40 - 20), target, counted)) > 0.9
    nothing = torch.zeros(1000)
    assert float(soft_dice(nothing - 20, nothing, counted)) < 1e-3
    both = cross_entropy_and_dice(target * 40 - 20, target, counted)
    assert float(both) == pytest.approx(0, abs=1e-3)


def test_the_tversky_loss_minds_missed_bleed_more_than_as_much_false_bleed() -> None:
    target, counted = torch.zeros(1000), torch.ones(1000)
    target[:300] = 1
    less, more = torch.zeros(1000), torch.zeros(1000)
    less[:200], more[:400] = 1, 1
    misses, overcalls = (float(tversky(answer * 40 - 20, target, counted)) for answer in (less, more))
    assert misses > overcalls > 0.05
    assert float(tversky(target * 40 - 20, target, counted)) < 1e-3
    assert float(tversky(more * 40 - 20, target, (target == more).float())) < 1e-3


def test_subtypes_are_told_apart_in_bleed_whose_subtype_is_told_and_nowhere_else() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 6, 4, 4, 4, generator=generator)
    label = torch.randint(0, 6, (2, 1, 4, 4, 4), generator=generator)
    counted = (torch.rand(2, 1, 4, 4, 4, generator=generator) < 0.8).float()
    found = float(subtype_cross_entropy(logits, label.to(torch.uint8), counted, smooth=0.0))
    told = (label[:, 0] > 0) & (counted[:, 0] > 0)
    by_hand = functional.cross_entropy(logits[:, 1:].movedim(1, -1)[told], label[:, 0][told] - 1)
    assert found == pytest.approx(float(by_hand), rel=1e-5)
    assert float(subtype_cross_entropy(logits, torch.zeros_like(label, dtype=torch.uint8), counted)) == 0
