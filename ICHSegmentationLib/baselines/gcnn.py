"""The group-convolutional U-Net that Diaz et al. (MELBA 2024, section 5.2.5) compare with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ICHSegmentationLib.baselines.group_unet import GroupUNet
from ICHSegmentationLib.baselines.patch_system import PatchSystem, PatchTraining, Recipe
from ICHSegmentationLib.baselines.splits import random_subset
from ICHSegmentationLib.baselines.steerable import MELBA_TILING, MELBA_TRAINING, WindowedNetwork, Windows
from ICHSegmentationLib.patches import Tiling
from ICHSegmentationLib.windowing import WINDOWS_HU


@dataclass(frozen=True)
class GroupSettings:
    """As `steerable.SteerableSettings`, whose training conditions the paper keeps. JSON values only.

    Attributes:
        width: features at the top, each four-fold on the group: the paper's "G-CNN 8" (it also tried 30).
        levels: of the U-Net.
        diameter: of the kernels, in voxels.
        training, validation_share, windows_hu, tiling: as those of the steerable system.
    """

    width: int = 8
    levels: int = 4
    diameter: int = 5
    training: PatchTraining = MELBA_TRAINING
    validation_share: float = 0.2
    windows_hu: Windows = WINDOWS_HU
    tiling: Tiling = MELBA_TILING


def group_recipe(settings: GroupSettings) -> Recipe:
    def network() -> WindowedNetwork:
        unet = GroupUNet(len(settings.windows_hu), settings.width, settings.levels, settings.diameter)
        return WindowedNetwork(unet, settings.windows_hu)

    return Recipe(
        network=network,
        split=partial(random_subset, share=1 - settings.validation_share),
        tiling=settings.tiling,
    )


def gcnn(settings: GroupSettings | None = None) -> PatchSystem:
    """A group of four: no rotation, and half a turn about each axis."""
    return PatchSystem(
        "gcnn",
        "Group-convolutional U-Net",
        "Diaz et al., MELBA 2024, after Kuipers and Bekkers 2023",
        settings or GroupSettings(),
        group_recipe,
    )
