"""Dolphins' two stages: the dense network, its size and augmentation, and that its mask reaches the fine network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import head_with_ball
from torch import nn

from ICHSegmentationLib.baselines.coarse_fine import (
    COARSE_TRAINING,
    CoarseFine,
    CoarseFinePredictor,
    CoarseFineSettings,
    CoarseSettings,
    coarse_system,
    flips_and_gamma,
    halves,
    shrunk,
)
from ICHSegmentationLib.baselines.dense_unet import DenseUNet
from ICHSegmentationLib.baselines.nnunet import NnUNetSettings
from ICHSegmentationLib.baselines.nnunet_files import PlanSettings
from ICHSegmentationLib.baselines.patches import Patch
from ICHSegmentationLib.baselines.system import Budget
from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.data.nnunet import LabelledScan

CPU = torch.device("cpu")
SIZE = (32, 32, 8)
SMALL = CoarseSettings(4, 2, 2, 2, dataclasses.replace(COARSE_TRAINING, patch=SIZE, networks=2, learning_rate=4e-3))
SPACING_MM = (1.0, 1.0, 5.0)


def test_the_papers_network_has_five_dense_blocks_of_six_layers() -> None:
    network = DenseUNet()
    assert [len(block) for block in network.dense] == [6] * 5
    assert len(network.transitions) == len(network.decoder) == 5
    first = network.dense[0][0].layers
    assert [layer.kernel_size for layer in first if isinstance(layer, nn.Conv2d)] == [(1, 1), (3, 3)]
    assert [type(layer) for layer in first[:2]] == [nn.BatchNorm2d, nn.ReLU]


def test_slices_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    network = DenseUNet(width=4, growth=2, blocks=2, layers_per_block=2).eval()
    x = torch.randn(2, 1, 16, 8, 3)
    with torch.no_grad():
        answer = network(x, SPACING_MM)
        other = network(torch.cat([x[..., :2], torch.zeros_like(x[..., 2:])], dim=-1), SPACING_MM)
    assert answer.shape == x.shape
    assert torch.allclose(answer[..., :2], other[..., :2], atol=1e-6)
    assert not torch.allclose(answer[..., 2], other[..., 2], atol=1e-3)


def test_a_scan_is_brought_to_one_size_between_0_and_1() -> None:
    volume = head_with_ball((4.0, 5.0, 9.0))
    prepared = shrunk(volume, SIZE)
    assert prepared.inputs.shape == (1, *SIZE)
    assert (prepared.inputs.min(), prepared.inputs.max()) == (0.0, 1.0)
    extent = [step * side for step, side in zip((4.0, 5.0, 9.0), volume.hu.shape, strict=True)]
    assert [step * side for step, side in zip(prepared.spacing_mm, SIZE, strict=True)] == pytest.approx(extent)


def test_flips_turn_inputs_and_label_together_and_gamma_keeps_the_range() -> None:
    label = np.random.default_rng(0).integers(0, 2, (6, 5, 3)).astype(np.uint8)
    patch = Patch(0.25 + 0.5 * label[None].astype(np.float32), label)
    seen = set()
    for seed in range(40):
        changed = flips_and_gamma(patch, None, np.random.default_rng(seed))  # type: ignore[arg-type]
        np.testing.assert_array_equal(changed.inputs[0] > 0.5, changed.label == 1)
        seen.add((changed.label.tobytes(), float(changed.inputs.max()) == 0.75))
    assert len(seen) > 4  # four poses, with gamma and without


@pytest.mark.parametrize(("steps", "expected"), [(10, (5, 5)), (7, (4, 3)), (1, (1, 1)), (None, (None, None))])
def test_the_two_stages_share_what_others_have_for_one(steps: int | None, expected: tuple) -> None:
    coarse, fine = halves(Budget(steps=steps, minutes=8.0, networks=3))
    assert (coarse.steps, fine.steps) == expected
    assert (coarse.minutes, fine.minutes, coarse.networks, fine.networks) == (4.0, 4.0, 3, 3)


class Bright(nn.Module):
    """A coarse network whose answer is known: bleed is what is brighter than brain and darker than bone."""

    def forward(self, inputs: torch.Tensor, spacing_mm: Spacing) -> torch.Tensor:
        hu = inputs * (900 + 1000) - 1000
        return torch.where((hu > 50) & (hu < 90), 9.0, -9.0)


class Passing:
    """A fine stage that answers with its second channel, and keeps the first."""

    parameters = 0

    def probability(self, inputs: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
        self.densities = inputs[0]
        return inputs[1].astype(np.float32)


def test_the_coarse_mask_reaches_the_fine_network_on_the_scans_own_grid() -> None:
    volume = head_with_ball((4.0, 5.0, 9.0), radius_mm=25.0)
    fine = Passing()
    recipe = coarse_system(
        dataclasses.replace(SMALL, training=dataclasses.replace(COARSE_TRAINING, patch=(64, 64, 24)))
    )
    predictor = CoarseFinePredictor([Bright()], recipe.recipe_of(recipe.settings).prepare, fine, CPU)  # type: ignore[arg-type]
    mask, ball = predictor.mask(volume), volume.hu == 70
    assert mask.shape == volume.hu.shape
    assert 2 * (mask & ball).sum() / (mask.sum() + ball.sum()) > 0.8
    np.testing.assert_allclose(fine.densities, volume.hu)


def test_the_coarse_stage_trains_and_its_best_weights_are_kept(raw: Path, tmp_path: Path) -> None:
    system = coarse_system(SMALL)
    system.train(raw, tmp_path, Budget(steps=6, networks=1), CPU, seed=0)
    state = json.loads((tmp_path / "network_0/config.json").read_text())
    assert state["training"]["patch"] == list(SIZE)
    assert "score" in (tmp_path / "network_0/log.csv").read_text()
    assert system.load(tmp_path, CPU).parameters > 0


@pytest.mark.usefixtures("nnunet_installed")
def test_both_stages_train_and_the_fine_one_heeds_the_mask(
    raw: Path, scans: list[LabelledScan], tmp_path: Path
) -> None:
    fine = NnUNetSettings(networks=2, plan=PlanSettings(features=2, most_features=4), mirror=False)
    system = CoarseFine(CoarseFineSettings(SMALL, fine))
    system.train(raw, tmp_path, Budget(steps=2, networks=2), CPU, seed=0)
    assert len(json.loads((tmp_path / "best_fold.json").read_text())["dice"]) == 2
    predictor, volume = system.load(tmp_path, CPU), scans[1].volume
    prepared = predictor.channels(volume)
    assert prepared.inputs.shape == (2, *volume.hu.shape)
    probability = predictor.fine.probability(prepared.inputs, prepared.spacing_mm)
    marked = np.stack([prepared.inputs[0], 1 - prepared.inputs[1]])
    assert np.abs(predictor.fine.probability(marked, prepared.spacing_mm) - probability).max() > 1e-4
    assert predictor.probability(volume).shape == volume.hu.shape
