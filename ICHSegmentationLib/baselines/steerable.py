"""The two systems of steerable convolutions: SCAN's at INSTANCE 2022, and that of Diaz et al. (MELBA 2024)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from ICHSegmentationLib.baselines.patch_system import PatchSystem, PatchTraining, Recipe
from ICHSegmentationLib.baselines.patches import Entry, Patch
from ICHSegmentationLib.baselines.splits import random_subset
from ICHSegmentationLib.baselines.tiled import Answer, uncleaned
from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.patches import INSTANCE2022_TILING, Tiling
from ICHSegmentationLib.training.augmentation import HIGHEST_TEMPERATURE, Augmentation, deform_in_plane
from ICHSegmentationLib.training.beginning import untrained_network
from ICHSegmentationLib.unet import PRESETS, EquivariantUNet, UNetConfig
from ICHSegmentationLib.windowing import WINDOWS_HU, window_channels

Windows = tuple[tuple[float, float], ...]

SCAN_TRAINING = PatchTraining(networks=8, learning_rate=1e-3, patch=(144, 144, 13), steps=200_000, average_epsilon=5e-5)
SCAN_TILING = dataclasses.replace(INSTANCE2022_TILING, pad=False)
MELBA_TRAINING = PatchTraining(networks=1, learning_rate=5e-3, patch=(128, 128, 128), patience=25)
MELBA_TILING = Tiling((128, 128, 128), overlap=(64, 64, 64), gaussian=True)


class WindowedNetwork(nn.Module):
    """A network behind CT windows: Hounsfield units [batch, 1, x, y, z] -> logit of bleed [batch, 1, x, y, z].

    Of a network with two outputs the logit is their difference, whose sigmoid is the softmax of the two.
    """

    def __init__(self, network: nn.Module, windows_hu: Windows) -> None:
        super().__init__()
        self.network, self.windows_hu = network, windows_hu

    def forward(self, hu: torch.Tensor, spacing_mm: Spacing) -> torch.Tensor:
        return one_logit(self.network(window_channels(hu[:, 0], self.windows_hu), spacing_mm))


def one_logit(logits: torch.Tensor) -> torch.Tensor:
    """[batch, 1 or 2, x, y, z] -> [batch, 1, x, y, z]."""
    return logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]


def baked(network: nn.Module, spacing_mm: Spacing) -> Answer:
    """The steerable network as an ordinary CNN: its kernels are sampled once and not for every tile."""
    assert isinstance(network, WindowedNetwork)
    assert isinstance(network.network, EquivariantUNet)
    cnn, windows_hu = network.network.bake(spacing_mm).eval(), network.windows_hu
    return lambda hu: one_logit(cnn(window_channels(hu[:, 0], windows_hu)))


@dataclass(frozen=True)
class ScanSettings:
    """SCAN's recipe. JSON values only.

    Attributes:
        network: of each member.
        training: eight members of 200 000 steps. Their weight average is not quite the paper's, whose e is 5e-5
            throughout: ours forgets faster, see `averaging.WeightAverage`.
        subset: share of the cases that each member sees; the paper drew 80 of 100.
        windows_hu: of the input channels.
        tiling: the paper's 144x144x13 less 22x22x2 on every side, overlapping by 26, Gaussian. "26 pixels" is taken
            to mean the plane; with 9 slices kept, 2 overlap. At a scan's border nothing is discarded, so that bleed
            can be found there, and nothing padded, as in training.
        discard_rims: answer "no bleed" in the outer 22 pixels and 2 slices of a scan, as the paper's program did.
    """

    network: UNetConfig = PRESETS["instance2022"]
    training: PatchTraining = SCAN_TRAINING
    subset: float = 0.8
    windows_hu: Windows = WINDOWS_HU
    tiling: Tiling = SCAN_TILING
    discard_rims: bool = False


def refuse_several_patches(training: PatchTraining) -> None:
    """Raises an InputError for batches of several cases: kernels are in mm, and the cases may differ in spacing."""
    if training.patches_per_step > 1:
        raise InputError(
            f"steerable kernels need one spacing a batch, so patches_per_step must be 1; found "
            f"{training.patches_per_step}. Set batches_per_step to {training.patches_per_step} instead."
        )


def scan_recipe(settings: ScanSettings) -> Recipe:
    """The patch in training is the tile of prediction, whose size is the only one the paper gives."""
    refuse_several_patches(settings.training)
    return Recipe(
        network=lambda: WindowedNetwork(untrained_network(settings.network), settings.windows_hu),
        split=partial(random_subset, share=settings.subset),
        change=diffeomorphism,
        tiling=settings.tiling,
        at_spacing=baked,
        clean=partial(without_rims, rims=settings.tiling.margin) if settings.discard_rims else uncleaned,
    )


def diffeomorphism(patch: Patch, entry: Entry, rng: np.random.Generator) -> Patch:
    """The paper's only augmentation: no rotations, and no change of densities."""
    temperature, seed = float(rng.uniform(0, HIGHEST_TEMPERATURE)), int(rng.integers(2**31))
    drawn = Augmentation(temperature, shift_hu=0.0, contrast=1.0, noise_hu=0.0, seed=seed)
    hu, label = deform_in_plane(torch.from_numpy(patch.inputs[0]), torch.from_numpy(patch.label), drawn)
    return Patch(hu.numpy()[None], label.numpy())


def without_rims(mask: np.ndarray, volume: Volume, rims: tuple[int, ...]) -> np.ndarray:
    """A mask that is empty in the outer voxels along each array axis."""
    kept = np.zeros_like(mask)
    box = tuple(slice(rim, max(rim, side - rim)) for rim, side in zip(rims, mask.shape, strict=True))
    kept[box] = mask[box]
    return kept


def scan_e3nn(settings: ScanSettings | None = None) -> PatchSystem:
    """The recipe of Geiger et al. (INSTANCE 2022)."""
    return PatchSystem(
        "scan-e3nn", "E(3) U-Net (SCAN)", "Geiger et al., INSTANCE 2022", settings or ScanSettings(), scan_recipe
    )


@dataclass(frozen=True)
class SteerableSettings:
    """The recipe of Diaz et al. JSON values only.

    Attributes:
        network: 8x0e+4x1e+2x2e at the top, SE(3).
        training: patience 25, the smaller of the paper's two (of 25 and 150 epochs, by task); an epoch is a patch of
            each case. The paper gives no batch size (1 here) and no share of patches on the target (half here, as
            SCAN's: else most patches would show no bleed).
        validation_share: of the cases, for early stopping; the paper's sets are fixed ones.
        windows_hu: the paper's input is magnetic resonance; CT gets SCAN's windows.
        overlap: of tiles in prediction, in voxels; the paper says "overlapping", nnU-Net, which it cites, a half.
    """

    network: UNetConfig = PRESETS["melba2024"]
    training: PatchTraining = MELBA_TRAINING
    validation_share: float = 0.2
    windows_hu: Windows = WINDOWS_HU
    tiling: Tiling = MELBA_TILING


def steerable_recipe(settings: SteerableSettings) -> Recipe:
    refuse_several_patches(settings.training)
    return Recipe(
        network=lambda: WindowedNetwork(untrained_network(settings.network), settings.windows_hu),
        split=partial(random_subset, share=1 - settings.validation_share),
        tiling=settings.tiling,
        at_spacing=baked,
    )


def so3_steerable(settings: SteerableSettings | None = None) -> PatchSystem:
    """The recipe of Diaz et al. (MELBA 2024)."""
    return PatchSystem(
        "so3-steerable", "SO(3) U-Net", "Diaz et al., MELBA 2024", settings or SteerableSettings(), steerable_recipe
    )
