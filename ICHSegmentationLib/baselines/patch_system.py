"""A system of several networks, each trained on patches of prepared cases; what makes it a certain one is handed in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ICHSegmentationLib.baselines.cases import Prepare, TrainingCase, prepare_cases, trainable
from ICHSegmentationLib.baselines.patches import Change, Entry, PatchBatch, draw_batch, unchanged
from ICHSegmentationLib.baselines.preparation import densities
from ICHSegmentationLib.baselines.runs import (
    Shares,
    begin_run,
    in_turn,
    read_settings,
    refuse_to_go_on,
    trained_networks,
)
from ICHSegmentationLib.baselines.splits import Split
from ICHSegmentationLib.baselines.system import Budget
from ICHSegmentationLib.baselines.tiled import Answer, TiledPredictor, at_any_spacing, uncleaned
from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.data.nnunet import RawDataset
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.patches import Tiling
from ICHSegmentationLib.training.averaging import WeightAverage
from ICHSegmentationLib.training.checkpoint import System as Trained
from ICHSegmentationLib.training.checkpoint import kept_weights
from ICHSegmentationLib.training.loop import LoopConfig, Sitting, train_system
from ICHSegmentationLib.training.loss import cross_entropy
from ICHSegmentationLib.training.patches import Size
from ICHSegmentationLib.training.processes import joined_processes

VALIDATION = 1  # last number of the seeds of validation patches
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]  # logits, target, counted


@dataclass(frozen=True)
class PatchTraining:
    """How long and on what the networks are trained. JSON values only.

    Attributes:
        networks: members or folds.
        epochs: passes; one is `patches_per_case` patches of each case.
        steps: optimiser steps in place of the epochs.
        learning_rate: of the optimiser.
        patch: voxels along x, y, z.
        patches_per_step: of a batch, drawn from any of the cases.
        batches_per_step: of so many patches each, shared by the processes of torchrun.
        patches_per_case: in an epoch.
        bleed_share: share of patches centred on bleed.
        patience: epochs without a better loss on the validation cases until training stops and the best weights are
            kept; None: no validation.
        validation_patches: of each validation case.
        average_epsilon: of the weight average; None: none.
    """

    networks: int
    learning_rate: float
    patch: Size
    epochs: int = 1000
    steps: int | None = None
    patches_per_step: int = 1
    batches_per_step: int = 1
    patches_per_case: int = 1
    bleed_share: float = 0.5
    patience: int | None = None
    validation_patches: int = 4
    average_epsilon: float | None = None


def none_again(cases: Sequence[TrainingCase]) -> list[TrainingCase]:
    """No case is seen more often than others."""
    return []


@dataclass(frozen=True)
class Recipe:
    """What makes a system a certain one; the defaults do nothing that a paper would have to name.

    Attributes:
        network: () -> network with random weights; called with inputs [batch, channel, x, y, z] and the spacing in
            mm it gives the logit of bleed [batch, 1, x, y, z].
        split: group of each case, member, seed -> which are trained and which validated on.
        tiling: of prediction.
        prepare: scan -> what the networks see.
        optimizer: parameters and learning rate -> optimiser.
        loss: of logits, target and counted, all [batch, 1, x, y, z].
        hard: training cases -> those to see once more.
        change: augmentation.
        at_spacing: network and spacing -> the same, for one spacing, as fast as it can be.
        clean: mask and volume -> the mask after the paper's post-processing.
    """

    network: Callable[[], nn.Module]
    split: Callable[[Sequence[str], int, int], Split]
    tiling: Tiling
    prepare: Prepare = densities
    optimizer: Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer] = torch.optim.Adam
    loss: Loss = cross_entropy
    hard: Callable[[Sequence[TrainingCase]], list[TrainingCase]] = none_again
    change: Change = unchanged
    at_spacing: Callable[[nn.Module, Spacing], Answer] = at_any_spacing
    clean: Callable[[np.ndarray, Volume], np.ndarray] = uncleaned


@dataclass(frozen=True)
class PatchSystem:
    """A `system.System` of patch-trained networks.

    Attributes:
        name, title, paper: see `system.System`.
        settings: a frozen dataclass of JSON values with a field `training`, a `PatchTraining`.
        recipe_of: settings -> recipe.
    """

    name: str
    title: str
    paper: str
    settings: Any
    recipe_of: Callable[[Any], Recipe]

    def check(self, budget: Budget) -> None:
        """Any budget will do; see `system.System.check`."""

    def train(self, data: Path, out: Path, budget: Budget, device: torch.device, seed: int) -> None:
        """Trains the networks one after the other in `out/network_K`; see `system.System.train`."""
        dataset = trainable(data)
        with joined_processes(device) as processes:
            count = budget.networks or self.settings.training.networks
            in_turn(processes, lambda: begin_run(out, self.name, self.settings, seed, count))
            self.train_networks(dataset, out, budget, device, seed)

    def train_networks(self, dataset: RawDataset, out: Path, budget: Budget, device: torch.device, seed: int) -> None:
        """Trains or goes on with the networks, each for its share of the minutes that begin when cases are ready."""
        recipe, training = self.recipe_of(self.settings), self.settings.training
        with joined_processes(device) as processes:
            cases = in_turn(processes, lambda: prepare_cases(dataset, out / "cases", recipe.prepare))
        count = budget.networks or training.networks
        shares = Shares(budget.minutes, out)
        for member in range(count):
            sitting = Sitting(resume=True, minutes=shares.next(member, count), on_save=shares.note)
            described = dataclasses.asdict(self.settings) | {"system": self.name, "member": member, "seed": seed}
            job = Job(recipe, training, cases, member, seed, device)
            job.run(described, budget.steps, out / f"network_{member}", sitting)

    def load(self, run: Path, device: torch.device) -> TiledPredictor:
        """The mean of the run's networks, with the run's own settings; see `system.System.load`."""
        recipe = self.recipe_of(read_settings(run, self.name, type(self.settings)))
        networks = []
        for folder in trained_networks(run):
            network = recipe.network()
            network.load_state_dict(kept_weights(folder)[0])
            networks.append(network.to(device).eval())
        return TiledPredictor(networks, recipe.prepare, recipe.tiling, recipe.at_spacing, recipe.clean, device)


@dataclass(frozen=True)
class Job:
    """The training of one network."""

    recipe: Recipe
    training: PatchTraining
    cases: list[TrainingCase]
    member: int
    seed: int
    device: torch.device

    def run(self, described: dict[str, Any], steps: int | None, folder: Path, sitting: Sitting) -> None:
        """Trains for so many steps (None: the settings'), or goes on."""
        seen, validated = self.recipe.split([case.group for case in self.cases], self.member, self.seed)
        chosen = [self.cases[index] for index in seen]
        entries = [Entry(case) for case in chosen] + [Entry(case, again=True) for case in self.recipe.hard(chosen)]
        patches_per_step = self.training.patches_per_step * self.training.batches_per_step
        epoch = math.ceil(len(entries) * self.training.patches_per_case / patches_per_step)
        steps = steps or self.training.steps or self.training.epochs * epoch
        config = LoopConfig(
            steps,
            (self.seed, self.member),
            batches_per_step=self.training.batches_per_step,
            validate_every=epoch,
            patience=self.training.patience,
        )
        described = described | {"cases": [case.name for case in chosen], "steps": steps}
        refuse_to_go_on(train_system(self.trained(entries, validated), config, described, folder, sitting), folder)

    def trained(self, entries: list[Entry], validated: list[int]) -> Trained:
        torch.manual_seed(int(np.random.SeedSequence((self.seed, self.member)).generate_state(1)[0]))
        network = self.recipe.network().to(self.device)
        epsilon = self.training.average_epsilon
        return Trained(
            network=network,
            optimizer=self.recipe.optimizer(network.parameters(), self.training.learning_rate),
            batch=lambda number: self.batch(entries, (self.seed, self.member, number), self.recipe.change),
            loss=lambda batch: self.loss(network, batch),
            average=None if epsilon is None else WeightAverage(network, epsilon),
            validate=None if self.training.patience is None else partial(self.score, validated),
        )

    def batch(self, entries: list[Entry], seed: tuple[int, ...], change: Change) -> PatchBatch:
        training = self.training
        rng = np.random.default_rng(seed)
        return draw_batch(
            entries,
            training.patch,
            training.patches_per_step,
            training.bleed_share,
            change,
            rng,
            self.device,
        )

    def loss(self, network: nn.Module, batch: PatchBatch) -> torch.Tensor:
        return self.recipe.loss(network(batch.inputs, batch.spacing_mm), batch.bleed, batch.counted)

    def score(self, validated: list[int], network: nn.Module) -> float:
        """Minus the mean loss on patches of the validation cases, the same ones every time."""
        losses = []
        for index in validated:
            for number in range(math.ceil(self.training.validation_patches / self.training.patches_per_step)):
                seed = (self.seed, self.member, index, number, VALIDATION)
                losses.append(float(self.loss(network, self.batch([Entry(self.cases[index])], seed, unchanged))))
        return -float(np.mean(losses))
