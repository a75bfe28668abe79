"""Losses."""

from __future__ import annotations

import math

import pytest
import torch

from ICHSegmentationLib.training.loss import cross_entropy, cross_entropy_and_dice, soft_dice


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
