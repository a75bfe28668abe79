"""A training step of the compact network beside one with e3nn's own convolution, in one run. Part of `make bench`.

Then how long training waits for its data: patches cut from volumes of a scan's size, augmented, drawn ahead.
"""

from __future__ import annotations

import copy
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from e3nn import o3
from e3nn.nn.models.v2104.voxel_convolution import Convolution
from torch import nn

from ICHSegmentationLib.convolution import Spacing, VoxelConvolution
from ICHSegmentationLib.training.averaging import WeightAverage
from ICHSegmentationLib.training.cases import TrainingCases
from ICHSegmentationLib.training.loop import Progress, Sitting
from ICHSegmentationLib.training.loss import cross_entropy
from ICHSegmentationLib.training.train import TrainingConfig, train
from ICHSegmentationLib.unet import PRESETS, EquivariantUNet

SPACING_MM = (0.8, 0.8, 5.0)
PATCH = (128, 128, 12)  # the default's
STEPS = 4
LEAST_RATIO = 2.0
MOST_WAITING = 0.02


class TheirConvolution(nn.Module):
    """e3nn's voxel convolution at one spacing, called as ours is."""

    def __init__(self, ours: VoxelConvolution, spacing_mm: Spacing) -> None:
        super().__init__()
        self.convolution = Convolution(
            ours.irreps_in,
            ours.irreps_out,
            o3.Irreps(ours.irreps_sh),
            ours.shape.diameter_mm,
            ours.shape.num_radial_basis,
            steps=spacing_mm,
        )

    def forward(self, x: torch.Tensor, spacing_mm: Spacing) -> torch.Tensor:
        return self.convolution(x)


def with_their_convolution(network: EquivariantUNet, spacing_mm: Spacing) -> EquivariantUNet:
    """The same network, its steerable convolutions replaced."""
    theirs = copy.deepcopy(network)
    spacings = network.config.level_spacings_mm(spacing_mm)
    for levels in (theirs.encoder, theirs.decoder):
        for blocks, spacing in zip(levels, spacings, strict=False):
            for block in blocks:
                block.add_module("convolution", TheirConvolution(block.convolution, spacing))
    return theirs


def seconds_per_step(network: EquivariantUNet) -> float:
    """Best of a few whole steps: forward, backward, Adam, weight average."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    average = WeightAverage(network, 5e-5)
    x = torch.rand(1, 3, *PATCH)
    target = (torch.rand(1, 1, *PATCH) > 0.9).float()
    times = []
    for _ in range(STEPS):
        started = time.perf_counter()
        optimizer.zero_grad()
        cross_entropy(network(x, SPACING_MM), target, torch.ones_like(target)).backward()
        optimizer.step()
        average.update(network)
        times.append(time.perf_counter() - started)
    return min(times[1:])  # the first one compiles and builds what is kept


def write_pool(folder: Path, cases: int) -> list[Path]:
    """Cases of a scan's size: noise, with a ball that is labelled."""
    rng = np.random.default_rng(0)
    x, y, z = np.ogrid[:512, :512, :30]
    for number in range(cases):
        ball = (x - 250) ** 2 + (y - 200 - 40 * number) ** 2 + (10 * (z - 15)) ** 2 < 1600
        case = folder / f"case_{number:06d}"
        case.mkdir()
        np.save(case / "hu.npy", (30 + 40 * ball + rng.normal(0, 4, ball.shape)).astype(np.int16))
        np.save(case / "label.npy", ball.astype(np.uint8))
        (case / "case.json").write_text(json.dumps({"spacing_mm": SPACING_MM}))
    return sorted(folder.iterdir())


def waiting_share() -> float:
    """Of a short training of the compact network with the default recipe."""
    told: list[Progress] = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pool").mkdir()
        cases = TrainingCases(tuple(write_pool(Path(folder) / "pool", 3)))
        config = TrainingConfig(PRESETS["compact"], steps=10)
        train(config, cases, Path(folder) / "run", sitting=Sitting(on_step=told.append))
    return told[-1].waiting_share


def main() -> None:
    torch.manual_seed(0)
    network = EquivariantUNet(PRESETS["compact"])
    ours = seconds_per_step(network)
    theirs = seconds_per_step(with_their_convolution(network, SPACING_MM))
    print(f"a training step of compact, {PATCH} voxels of {SPACING_MM} mm: {ours:.2f} s")
    print(f"the same with e3nn's convolution: {theirs:.2f} s, {theirs / ours:.1f} times ours (at least {LEAST_RATIO})")
    print(f"time spent waiting for data: {waiting_share():.1%} (limit {MOST_WAITING:.0%})")


if __name__ == "__main__":
    main()
