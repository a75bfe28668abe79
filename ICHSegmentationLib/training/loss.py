"""What the network is asked to minimise. Voxels labelled IGNORED count for nothing."""

from __future__ import annotations

import torch
from torch.nn import functional


def cross_entropy(logits: torch.Tensor, target: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Mean binary cross entropy over the counted voxels; all arguments of one shape."""
    each = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (each * counted).sum() / counted.sum().clamp_min(1)


def soft_dice(logits: torch.Tensor, target: torch.Tensor, counted: torch.Tensor, smooth: float = 50.0) -> torch.Tensor:
    """1 - soft Dice over the counted voxels; `smooth` voxels keep patches with little or no bleed calm."""
    probability = torch.sigmoid(logits) * counted
    overlap = (probability * target).sum()
    total = probability.sum() + (target * counted).sum()
    return 1 - (2 * overlap + smooth) / (total + smooth)


def cross_entropy_and_dice(logits: torch.Tensor, target: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits, target, counted) + soft_dice(logits, target, counted)


def tversky(
    logits: torch.Tensor, target: torch.Tensor, counted: torch.Tensor, missed: float = 0.7, smooth: float = 20.0
) -> torch.Tensor:
    """1 - Tversky index: Dice in which missed bleed weighs `missed`, false bleed the rest (Salehi et al. 2017)."""
    probability = torch.sigmoid(logits)
    overlap = (probability * target * counted).sum()
    false_bleed = (probability * (1 - target) * counted).sum()
    missed_bleed = ((1 - probability) * target * counted).sum()
    return 1 - (overlap + smooth) / (overlap + (1 - missed) * false_bleed + missed * missed_bleed + smooth)


def cross_entropy_and_tversky(logits: torch.Tensor, target: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits, target, counted) + tversky(logits, target, counted)


def bleed_logit(logits: torch.Tensor) -> torch.Tensor:
    """[batch, classes, x, y, z] -> [batch, 1, x, y, z]: the logit of not being background.

    Of one class its own logit; of several, the first of them background, that of 1 - softmax(background).
    """
    if logits.shape[1] == 1:
        return logits
    return logits[:, 1:].logsumexp(dim=1, keepdim=True) - logits[:, :1]


def subtype_cross_entropy(
    logits: torch.Tensor, subtype: torch.Tensor, counted: torch.Tensor, smooth: float = 20.0
) -> torch.Tensor:
    """Mean cross entropy among the subtypes over the bleed whose subtype is told; `smooth` voxels keep specks calm.

    A sum over it divided by all counted voxels, the cross entropy of all classes, was tried: bleed is one voxel in a
    hundred, and after 900 steps the network told nothing apart. What this costs: see the model card.

    Args:
        logits: [batch, classes, x, y, z], background first.
        subtype: [batch, 1, x, y, z] whole numbers from 1 on, 0 where none is told.
        counted: [batch, 1, x, y, z], 0 where nothing counts.
    """
    told = (subtype > 0) * counted
    target = subtype.long().sub(1).clamp_min(0)
    surprise = -logits[:, 1:].log_softmax(dim=1).gather(1, target)
    return (surprise * told).sum() / (told.sum() + smooth)


LOSSES = {
    "cross_entropy": cross_entropy,
    "cross_entropy_and_dice": cross_entropy_and_dice,
    "cross_entropy_and_tversky": cross_entropy_and_tversky,
}
