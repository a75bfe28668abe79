"""The two steerable systems: presets, windows, augmentation, discarded rims."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from helpers import SMALL, small_network

from ICHSegmentationLib.baselines.patch_system import PatchSystem
from ICHSegmentationLib.baselines.patches import Patch
from ICHSegmentationLib.baselines.steerable import (
    WindowedNetwork,
    baked,
    diffeomorphism,
    one_logit,
    scan_e3nn,
    so3_steerable,
    without_rims,
)
from ICHSegmentationLib.training.beginning import RARE
from ICHSegmentationLib.unet import PRESETS
from ICHSegmentationLib.volume import as_volume

SPACING_MM = (1.0, 1.0, 5.0)


def test_scans_recipe_is_the_papers() -> None:
    settings = scan_e3nn().settings
    training = settings.training
    assert settings.network == PRESETS["instance2022"]
    assert settings.windows_hu == ((0.0, 1000.0), (0.0, 80.0), (-50.0, 220.0))
    assert (training.networks, training.steps, training.learning_rate) == (8, 200_000, 1e-3)
    assert (training.patches_per_step, training.average_epsilon, training.patience) == (1, 5e-5, None)
    assert (settings.tiling.patch, settings.tiling.margin) == ((144, 144, 13), (22, 22, 2))
    recipe = scan_e3nn().recipe_of(settings)
    assert [len(part) for part in recipe.split([str(case) for case in range(100)], 3, 0)] == [80, 20]
    assert recipe.optimizer is torch.optim.Adam


def test_the_melba_recipe_is_the_papers() -> None:
    settings = so3_steerable().settings
    assert settings.network == PRESETS["melba2024"]
    assert (settings.training.learning_rate, settings.training.patience) == (5e-3, 25)
    assert settings.training.patch == settings.tiling.patch == (128, 128, 128)
    assert settings.tiling.gaussian


@pytest.mark.parametrize("system", [scan_e3nn(), so3_steerable()])
def test_both_begin_with_bleed_for_rare(system: PatchSystem) -> None:
    narrow = dataclasses.replace(SMALL, irreps_out=system.settings.network.irreps_out)
    torch.manual_seed(0)
    network = system.recipe_of(dataclasses.replace(system.settings, network=narrow)).network().eval()
    with torch.no_grad():
        answer = network(100 * torch.rand(1, 1, 16, 16, 8), SPACING_MM).sigmoid()
    assert RARE / 3 < answer.median() < 3 * RARE


def test_the_network_sees_windows() -> None:
    seen = []

    class Looking(torch.nn.Module):
        def forward(self, x: torch.Tensor, spacing_mm: tuple[float, float, float]) -> torch.Tensor:
            seen.append(x)
            return x[:, :1]

    WindowedNetwork(Looking(), ((0.0, 1000.0), (0.0, 80.0)))(torch.full((1, 1, 2, 2, 2), 40.0), SPACING_MM)
    assert seen[0].shape == (1, 2, 2, 2, 2)
    assert seen[0][0, :, 0, 0, 0].tolist() == pytest.approx([0.04, 0.5])


def test_two_outputs_are_one_logit_of_the_same_probability() -> None:
    logits = torch.randn(2, 2, 3, 3, 3)
    assert torch.allclose(torch.sigmoid(one_logit(logits))[:, 0], torch.softmax(logits, dim=1)[:, 1], atol=1e-6)
    assert one_logit(logits[:, :1]) is not None
    assert torch.equal(one_logit(logits[:, :1]), logits[:, :1])


def test_at_one_spacing_the_network_is_the_same() -> None:
    network = WindowedNetwork(small_network(0), scan_e3nn().settings.windows_hu).eval()
    hu = torch.linspace(-100, 200, 8 * 8 * 3).view(1, 1, 8, 8, 3)
    with torch.no_grad():
        assert torch.allclose(baked(network, SPACING_MM)(hu), network(hu, SPACING_MM), atol=1e-5)


def test_augmentation_moves_voxels_in_the_plane_and_changes_no_density() -> None:
    inputs = np.zeros((1, 32, 32, 4), np.float32)
    inputs[0, 10:20, 10:20] = 70
    patch = Patch(inputs, (inputs[0] > 35).astype(np.uint8))
    changed = diffeomorphism(patch, None, np.random.default_rng(1))  # type: ignore[arg-type]
    assert not np.array_equal(changed.label, patch.label)
    assert (changed.inputs.min(), changed.inputs.max()) == pytest.approx((0, 70), abs=1e-3)
    assert all(np.array_equal(changed.label[:, :, z], changed.label[:, :, 0]) for z in range(4))
    np.testing.assert_array_equal(changed.label[:1], patch.label[:1])  # the border stays


def test_discarded_rims_are_never_bleed() -> None:
    mask = np.ones((60, 50, 6), bool)
    kept = without_rims(mask, as_volume(np.zeros(mask.shape), SPACING_MM), (22, 22, 2))
    assert kept.sum() == (60 - 44) * (50 - 44) * (6 - 4)
    assert kept[22:38, 22:28, 2:4].all()
    assert not without_rims(np.ones((4, 50, 6), bool), as_volume(np.zeros((4, 50, 6)), SPACING_MM), (22, 22, 2)).any()
