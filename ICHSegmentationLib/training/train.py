"""One member of the e3nn ensemble: its configuration, and what the loop is handed to train it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.averaging import WeightAverage
from ICHSegmentationLib.training.checkpoint import Run, System
from ICHSegmentationLib.training.loop import UNTIL_DONE, LoopConfig, Sitting, train_system
from ICHSegmentationLib.training.loss import LOSSES
from ICHSegmentationLib.training.patches import Batch, draw_patches
from ICHSegmentationLib.training.pool import case_folders, read_case
from ICHSegmentationLib.unet import EquivariantUNet, UNetConfig


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a member but the cases. JSON values only.

    The defaults are the paper's (Geiger et al. 2022) where it gives them.

    Attributes:
        network: the network's configuration.
        member: which of the ensemble; seeds the weights, the order and the subset of cases.
        seed: of the whole ensemble.
        steps: optimiser steps.
        learning_rate: Adam's.
        decay: let the learning rate fall to 0 over the steps as a half cosine.
        gradient_clip: largest norm of the gradient; larger ones are scaled down to it.
        average_epsilon: of the weight average.
        loss: a name of `loss.LOSSES`.
        patch_sizes: voxels along x, y, z, at most; one of them is drawn for each step.
        patches_per_step: drawn from one case, so that they share its spacing.
        bleed_share: share of patches centred on bleed.
        subset: share of the cases this member sees.
        batches_per_step, precision: see `loop.LoopConfig`.
    """

    network: UNetConfig
    member: int = 0
    seed: int = 0
    steps: int = 200_000
    learning_rate: float = 1e-3
    decay: bool = False
    gradient_clip: float = 1e9
    average_epsilon: float = 5e-5
    loss: str = "cross_entropy"
    patch_sizes: tuple[tuple[int, int, int], ...] = ((128, 128, 12),)
    patches_per_step: int = 1
    bleed_share: float = 0.5
    subset: float = 0.8
    batches_per_step: int = 1
    precision: str = "float32"

    def loop(self) -> LoopConfig:
        return LoopConfig(
            steps=self.steps,
            seed=(self.seed, self.member),
            batches_per_step=self.batches_per_step,
            gradient_clip=self.gradient_clip,
            precision=self.precision,
        )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainingConfig:
        network = UNetConfig.from_json(values["network"])
        patch_sizes = tuple((x, y, z) for x, y, z in values["patch_sizes"])
        return cls(**{**values, "network": network, "patch_sizes": patch_sizes})

    def learning_rate_at(self, step: int) -> float:
        share = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps))) if self.decay else 1.0
        return self.learning_rate * share


def train(
    config: TrainingConfig, pool: Path, out: Path, device: torch.device | str = "cpu", sitting: Sitting = UNTIL_DONE
) -> Run:
    """Trains one member on a pool of cases; see `loop.train_system` for when it stops and what it leaves in `out`.

    Patches depend on seed, member and the batch's number alone, so on the same pool a resumed run ends the same as
    one that was never stopped.
    """
    system = equivariant_system(config, member_cases(pool, config), torch.device(device))
    return train_system(system, config.loop(), config.to_json(), out, sitting)


def equivariant_system(config: TrainingConfig, cases: list[Path], device: torch.device) -> System:
    """The member's network, what it sees and what it is asked to minimise."""
    torch.manual_seed(config.seed * 1000 + config.member)
    network = EquivariantUNet(config.network).to(device)
    loss_of = LOSSES[config.loss]

    def batch(number: int) -> Batch:
        rng = np.random.default_rng((config.seed, config.member, number))
        case = read_case(cases[int(rng.integers(len(cases)))])
        patch_size = config.patch_sizes[int(rng.integers(len(config.patch_sizes)))]
        return draw_patches(case, patch_size, config.patches_per_step, config.bleed_share, rng, device)

    def loss(batch: Batch) -> torch.Tensor:
        return loss_of(network(batch.channels, batch.spacing_mm), batch.bleed, batch.counted)

    return System(
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), config.learning_rate),
        batch=batch,
        loss=loss,
        learning_rate=config.learning_rate_at,
        average=WeightAverage(network, config.average_epsilon),
    )


def member_cases(pool: Path, config: TrainingConfig) -> list[Path]:
    """The member's own share of the pool: whether a case belongs to it depends on the case's number alone."""
    chosen = [
        folder
        for folder in case_folders(pool)
        if np.random.default_rng((config.seed, config.member, int(folder.name.split("_")[1]))).random() < config.subset
    ]
    if not chosen:
        raise InputError(f"{pool} holds no complete case for this member; simulate more first.")
    return chosen
