"""A training step of the compact network beside one with e3nn's own convolution, in one run. Part of `make bench`.

The compact network integrates its kernels over voxels: on coarse voxels they have more taps than e3nn's, which are
sampled, and cost more. In bfloat16, which e3nn's convolution does not compute in, it makes up for that.

Then how long training waits for its data: patches cut from volumes of a scan's size, augmented, drawn ahead.
"""

from __future__ import annotations

import copy
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from e3nn import o3
from e3nn.nn.models.v2104.voxel_convolution import Convolution
from torch import nn

from ICHSegmentationLib.convolution import Spacing, VoxelConvolution
from ICHSegmentationLib.devices import fastest_dtype
from ICHSegmentationLib.memory import settle_memory
from ICHSegmentationLib.training.averaging import WeightAverage
from ICHSegmentationLib.training.cases import TrainingCases
from ICHSegmentationLib.training.loop import Progress, Sitting
from ICHSegmentationLib.training.loss import cross_entropy
from ICHSegmentationLib.training.train import TrainingConfig, train
from ICHSegmentationLib.unet import PRESETS, EquivariantUNet

SPACINGS_MM = ((0.43, 0.43, 5.0), (0.8, 0.8, 5.0))  # of INSTANCE 2022, and a coarser one
PATCH = (128, 128, 12)  # the default's
STEPS = 3
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


@dataclass
class Contender:
    """A network that is trained, with its times."""

    name: str
    network: EquivariantUNet
    dtype: torch.dtype
    seconds: list[float] = field(default_factory=list)

    def step(self, x: torch.Tensor, target: torch.Tensor, spacing_mm: Spacing) -> None:
        """One whole step: forward, backward, Adam, weight average."""
        optimizer, average = torch.optim.Adam(self.network.parameters(), 1e-3), WeightAverage(self.network, 5e-5)
        started = time.process_time()
        optimizer.zero_grad()
        logits = self.network(x.to(self.dtype), spacing_mm).float()
        cross_entropy(logits, target, torch.ones_like(target)).backward()
        optimizer.step()
        average.update(self.network)
        self.seconds.append(time.process_time() - started)

    @property
    def best(self) -> float:
        return min(self.seconds[1:])  # the first step compiles and builds what is kept


def compare(spacing_mm: Spacing) -> None:
    """Prints seconds of CPU, all threads together, of steps done in turn: other work on the machine does not matter."""
    network = EquivariantUNet(PRESETS["compact"])
    theirs = Contender("e3nn's convolution, float32", with_their_convolution(network, spacing_mm), torch.float32)
    ours = [Contender("ours, float32", network, torch.float32)]
    if fastest_dtype(torch.device("cpu")) == torch.bfloat16:
        ours.append(Contender("ours, bfloat16", copy.deepcopy(network), torch.bfloat16))
    x, target = torch.rand(1, 3, *PATCH), (torch.rand(1, 1, *PATCH) > 0.9).float()
    for _ in range(STEPS):
        for contender in (theirs, *ours):
            contender.step(x, target, spacing_mm)
    print(f"a training step of compact, {PATCH} voxels of {spacing_mm} mm: {theirs.name} {theirs.best:.2f} s of CPU")
    for contender in ours:
        ratio = theirs.best / contender.best
        print(
            f"  {contender.name} {contender.best:.2f} s: {ratio:.1f} times faster (wanted: {LEAST_RATIO})", flush=True
        )


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
        (case / "case.json").write_text(json.dumps({"spacing_mm": SPACINGS_MM[1]}))
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
    settle_memory()  # as the command line does
    torch.manual_seed(0)
    for spacing_mm in SPACINGS_MM:
        compare(spacing_mm)
    print(f"time spent waiting for data: {waiting_share():.1%} (limit {MOST_WAITING:.0%})")


if __name__ == "__main__":
    main()
