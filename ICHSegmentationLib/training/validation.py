"""Validation on cases that a member does not train on: Dice over patches that are the same each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ICHSegmentationLib.training.loss import bleed_logit
from ICHSegmentationLib.training.patches import Batch, Size, take_patches
from ICHSegmentationLib.training.pool import StoredCase

PICTURE_SLICES = 4


@dataclass(frozen=True)
class Validation:
    """Fixed patches of some cases: of each case one on bleed, if it has any, and one anywhere."""

    batches: tuple[Batch, ...]

    @classmethod
    def draw(cls, cases: Sequence[StoredCase], size: Size, device: torch.device) -> Validation:
        batches = []
        for number, case in enumerate(cases):
            rng = np.random.default_rng(number)
            batches.append(take_patches(case, size, (True, False), rng, device))
        return cls(tuple(batches))

    def score(self, network: nn.Module) -> float:
        """Dice of all patches taken as one, at a probability of a half; 1 where neither has any bleed."""
        overlap = total = 0.0
        for batch in self.batches:
            found = (bleed_logit(network(batch.channels, batch.spacing_mm)) >= 0) & (batch.counted > 0)
            overlap += float((found * batch.bleed).sum())
            total += float(found.sum() + batch.bleed.sum())
        return 2 * overlap / total if total else 1.0

    def picture(self, network: nn.Module) -> np.ndarray:
        """The slice with most bleed of some cases, side by side: red is called bleed, green is bleed, yellow both.

        Returns [height, width, 3] uint8.
        """
        panels = []
        for batch in self.batches[:PICTURE_SLICES]:
            level = int(batch.bleed[0, 0].sum(dim=(0, 1)).argmax())
            logits = bleed_logit(network(batch.channels[:1], batch.spacing_mm))
            found, truth = (one[0, 0, :, :, level].cpu().numpy() > 0 for one in (logits, batch.bleed))
            grey = batch.channels[0, 1, :, :, level].float().cpu().numpy()  # the window 0..80 HU
            colour = np.stack([grey] * 3, axis=-1)
            colour[..., 0] = np.where(found, 0.5 + grey / 2, np.where(truth, grey / 2, grey))
            colour[..., 1] = np.where(truth, 0.5 + grey / 2, np.where(found, grey / 2, grey))
            colour[..., 2] = np.where(found | truth, grey / 2, grey)
            panels.append(np.flipud(colour.transpose(1, 0, 2)))  # rows from front to back
        height = max(panel.shape[0] for panel in panels)
        filled = [np.pad(panel, ((0, height - panel.shape[0]), (0, 2), (0, 0))) for panel in panels]
        return (np.concatenate(filled, axis=1) * 255).astype(np.uint8)
