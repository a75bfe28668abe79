"""Girona's system at INSTANCE 2022: a squeeze-and-excitation U-Net on stripped brains (Abramova et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from ICHSegmentationLib.baselines.cases import TrainingCase
from ICHSegmentationLib.baselines.mirror import left_right_axis, mirrored_onto_itself
from ICHSegmentationLib.baselines.patch_system import PatchSystem, PatchTraining, Recipe
from ICHSegmentationLib.baselines.patches import Entry, Patch
from ICHSegmentationLib.baselines.preparation import Prepared
from ICHSegmentationLib.baselines.se_unet import SqueezeExcitationUNet
from ICHSegmentationLib.baselines.skull_strip import brain_mask
from ICHSegmentationLib.baselines.splits import fold
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.patches import Tiling
from ICHSegmentationLib.quality import mended_values
from ICHSegmentationLib.regular import RegularGrid
from ICHSegmentationLib.training.loss import soft_dice

PERCENTILES = (0.5, 99.5)  # of the brain's densities, where they are clipped
LESION_WEIGHT = 2.0  # in the cross entropy
SMALLEST_SHARE = 0.1  # of the largest lesion; smaller ones are dropped

GIRONA_TRAINING = PatchTraining(
    networks=5,
    learning_rate=1.0,
    patch=(48, 48, 16),
    patches_per_step=16,
    patches_per_case=3000,
    patience=10,
    validation_patches=320,
)
GIRONA_TILING = Tiling((48, 48, 16), overlap=(24, 24, 8))


@dataclass(frozen=True)
class GironaSettings:
    """Girona's recipe. JSON values only.

    Attributes:
        width, levels, reduction, dropout: of the network, see `se_unet.SqueezeExcitationUNet`.
        training: 3000 patches of each case an epoch, patience 10, five folds. The paper gives no batch size (16
            here) and no learning rate for Adadelta (1, as in its own paper).
        hard_share: of the training cases, those of the smallest bleeds are seen once more, flipped and turned. The
            paper does not say which cases it found difficult; small bleeds are the ones with low Dice.
        symmetric: a second channel, the scan mirrored and laid onto itself. The paper tried it and left it out.
        tiling: of prediction; the paper says nothing, half overlaps here, evenly weighted.
    """

    width: int = 32
    levels: int = 4
    reduction: int = 8
    dropout: float = 0.2
    training: PatchTraining = GIRONA_TRAINING
    hard_share: float = 0.25
    symmetric: bool = False
    tiling: Tiling = GIRONA_TILING


def stripped(volume: Volume, symmetric: bool = False) -> Prepared:
    """The brain on the regular grid, clipped at percentiles of its densities, mean 0 and deviation 1 within it.

    Beyond the brain lies the lower clip value. Channels: the scan; with `symmetric` also its mirror image.

    Raises:
        InputError: no Hounsfield units.
    """
    volume = mended_values(volume)
    grid = RegularGrid(volume)
    hu = grid.forward(volume.hu)
    brain = brain_mask(hu, grid.spacing_mm, bool(grid.affine[2, 2] >= 0))
    channels = [hu]
    if symmetric:
        channels.append(mirrored_onto_itself(hu, grid.spacing_mm, left_right_axis(grid.affine)))
    if not brain.any():  # no head: nothing to normalise by and nothing to find
        return Prepared(np.zeros((len(channels), *hu.shape), np.float32), brain, grid.spacing_mm, 0.0)
    low, high = (float(value) for value in np.percentile(hu[brain], PERCENTILES))
    within = hu[brain].clip(low, high)
    mean, deviation = float(within.mean()), max(float(within.std()), 1e-3)
    normalised = [(np.where(brain, channel, low).clip(low, high) - mean) / deviation for channel in channels]
    return Prepared(np.stack(normalised).astype(np.float32), brain, grid.spacing_mm, (low - mean) / deviation)


def dice_and_cross_entropy(logits: torch.Tensor, target: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """1 - soft Dice, plus cross entropy in which bleed weighs twice."""
    weight = counted * (1 + (LESION_WEIGHT - 1) * target)
    each = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return soft_dice(logits, target, counted) + (each * weight).sum() / weight.sum().clamp_min(1)


def smallest_bleeds(cases: Sequence[TrainingCase], share: float) -> list[TrainingCase]:
    """A share, rounded, of the cases with bleed: those of the smallest volume."""
    bleeding = sorted((case for case in cases if case.bleed_ml > 0), key=lambda case: (case.bleed_ml, case.name))
    return bleeding[: round(share * len(bleeding))]


def flipped_and_turned(patch: Patch, entry: Entry, rng: np.random.Generator) -> Patch:
    """Patches of repeated cases, in one of eight poses in the plane; others as they are."""
    if not entry.again:
        return patch
    turns = int(rng.integers(4))
    inputs, label = np.rot90(patch.inputs, turns, axes=(1, 2)), np.rot90(patch.label, turns, axes=(0, 1))
    if rng.random() < 0.5:
        inputs, label = inputs[:, ::-1], label[::-1]
    return Patch(np.ascontiguousarray(inputs), np.ascontiguousarray(label))


def without_small_lesions(mask: np.ndarray, volume: Volume) -> np.ndarray:
    """The mask without lesions (26 neighbours) of less than a tenth of the largest one's volume."""
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count == 0:
        return mask
    voxels_ml = np.broadcast_to(volume.voxel_volumes_ml, mask.shape)
    volumes_ml = np.bincount(pieces.ravel(), weights=voxels_ml.ravel(), minlength=count + 1)
    kept = volumes_ml >= SMALLEST_SHARE * volumes_ml[1:].max() * (1 - 1e-9)  # a tenth itself stays
    kept[0] = False
    return kept[pieces]


def girona_recipe(settings: GironaSettings) -> Recipe:
    return Recipe(
        prepare=partial(stripped, symmetric=settings.symmetric),
        network=lambda: SqueezeExcitationUNet(
            1 + settings.symmetric, settings.width, settings.levels, settings.reduction, settings.dropout
        ),
        optimizer=torch.optim.Adadelta,
        loss=dice_and_cross_entropy,
        split=partial(fold, folds=settings.training.networks),
        hard=partial(smallest_bleeds, share=settings.hard_share),
        change=flipped_and_turned,
        tiling=settings.tiling,
        clean=without_small_lesions,
    )


def se_unet(settings: GironaSettings | None = None) -> PatchSystem:
    """The recipe of Abramova et al. (INSTANCE 2022)."""
    return PatchSystem(
        "se-unet",
        "Squeeze-and-excitation U-Net",
        "Abramova et al., INSTANCE 2022",
        settings or GironaSettings(),
        girona_recipe,
    )
