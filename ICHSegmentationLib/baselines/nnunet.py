"""Shantou's system at INSTANCE 2022: nnU-Net (Isensee et al. 2021; Zhang and Ma, INSTANCE 2022), the real package.

nnU-Net v2 plans, preprocesses, augments, builds the network, gives loss and optimiser, tiles and mirrors. Around them
is our own loop in place of its trainer's: that can be stopped at any step and resumed with the same result, and keeps
no pickles.

The paper describes two nnU-Nets: its text repeats the 2018 one (Adam 3e-4, learning rate lowered on plateaus of the
loss), its runs are nnU-Net as it was distributed in 2022 (stochastic gradient descent with momentum 0.99 and a
polynomially falling learning rate from 1e-2, 1000 epochs of 250 batches). Here it is the latter, as nnU-Net v2 has it.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ICHSegmentationLib.baselines.cases import TrainingCase, prepare_cases, trainable
from ICHSegmentationLib.baselines.nnunet_files import (
    CONFIGURATION,
    Plans,
    PlanSettings,
    nnunet_folders,
    prepare_nnunet,
    read_plans,
    require_nnunet,
)
from ICHSegmentationLib.baselines.preparation import densities, restored
from ICHSegmentationLib.baselines.runs import Shares, begin_run, read_settings, refuse_to_go_on, trained_networks
from ICHSegmentationLib.baselines.splits import fold
from ICHSegmentationLib.baselines.system import Budget
from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.training.checkpoint import Run, kept_weights
from ICHSegmentationLib.training.checkpoint import System as Trained
from ICHSegmentationLib.training.loop import LoopConfig, Sitting, seed_of, train_system

EPOCH = 250  # batches
LEARNING_RATE_EXPONENT = 0.9
LARGEST_GRADIENT = 12.0
FILES = "nnunet"


@dataclass(frozen=True)
class NnUNetSettings:
    """JSON values only.

    Attributes:
        networks: folds.
        epochs: of 250 batches each.
        plan: of the network.
        mirror: average over the eight mirror images in prediction.
    """

    networks: int = 5
    epochs: int = 1000
    plan: PlanSettings = PlanSettings()  # noqa: RUF009 (frozen)
    mirror: bool = True


@dataclass(frozen=True)
class NnUNet:
    """A `system.System`; see there."""

    settings: NnUNetSettings = NnUNetSettings()
    name: str = "nnunet"
    title: str = "nnU-Net"
    paper: str = "Zhang and Ma, INSTANCE 2022"

    def check(self, budget: Budget) -> None:
        """Raises for a package that lacks, or minutes alone; see `system.System.check`."""
        require_nnunet()
        refuse_minutes_alone(budget)

    def train(self, data: Path, out: Path, budget: Budget, device: torch.device, seed: int) -> None:
        """Trains the folds one after the other in `out/network_K`; see `system.System.train`."""
        self.check(budget)
        dataset = trainable(data)
        begin_run(out, self.name, self.settings, seed, budget.networks or self.settings.networks)
        cases = prepare_cases(dataset, out / "cases", densities)
        groups = [case.group for case in cases]
        folds = [fold(groups, member, seed, self.settings.networks) for member in range(self.settings.networks)]
        plans = prepare_nnunet(cases, [], folds, out / FILES, self.settings.plan)
        train_folds(plans, cases, self.settings, out, budget, Shares(budget.minutes, out), device, seed)

    def load(self, run: Path, device: torch.device) -> NnUNetPredictor:
        """The run's folds; see `system.System.load`."""
        require_nnunet()
        settings = read_settings(run, self.name, NnUNetSettings)
        weights = [kept_weights(folder)[0] for folder in trained_networks(run)]
        return NnUNetPredictor(FoldEnsemble(read_plans(run / FILES), weights, settings.mirror, device))


def refuse_minutes_alone(budget: Budget) -> None:
    """Raises an InputError for minutes without steps: the learning rate falls over a number that nobody gave."""
    if math.isfinite(budget.minutes) and budget.steps is None:
        raise InputError(
            f"nnU-Net's learning rate falls to 0 over its steps, and {budget.minutes:g} minutes tell no number of "
            "them: give --steps as well, about as many as will be done in the minutes."
        )


def train_folds(
    plans: Plans,
    cases: Sequence[TrainingCase],
    settings: NnUNetSettings,
    out: Path,
    budget: Budget,
    shares: Shares,
    device: torch.device,
    seed: int,
) -> None:
    """Trains or goes on with the folds, each for its share of the minutes, on the cases that were planned for."""
    count = budget.networks or settings.networks
    steps = budget.steps or settings.epochs * EPOCH
    for member in range(count):
        sitting = Sitting(resume=True, minutes=shares.next(member, count), threads=0, on_save=shares.note)
        described = dataclasses.asdict(settings) | {"fold": member, "seed": seed, "steps": steps}
        described["cases"] = [case.name for case in cases]
        with nnunet_folders(out / FILES, drawing_processes=0):  # in this process: a seed gives the same batches
            run = train_fold(
                plans, member, settings.networks, steps, described, out / f"network_{member}", sitting, device, seed
            )
        refuse_to_go_on(run, out / f"network_{member}")


def train_fold(
    plans: Plans,
    member: int,
    folds: int,
    steps: int,
    described: dict[str, Any],
    folder: Path,
    sitting: Sitting,
    device: torch.device,
    seed: int,
) -> Run:
    """One fold, with nnU-Net's network, batches, loss, optimiser and learning rates."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    seed_everything(seed_of((seed, member), 0))
    trainer = nnUNetTrainer(
        plans=copy.deepcopy(plans.plans) | {"continue_training": False},
        configuration=CONFIGURATION,
        fold=member % folds,
        dataset_json=copy.deepcopy(plans.dataset),
        device=device,
    )
    trainer.initialize()
    batches, _ = trainer.get_dataloaders()
    make_blur_reproducible(batches.data_loader.transforms)
    trainer.set_deep_supervision_enabled(True)

    def batch(number: int) -> dict[str, Any]:
        seed_everything(seed_of((seed, member, 1), number))
        return next(batches)

    def loss(drawn: dict[str, Any]) -> torch.Tensor:
        target = [each.to(device) for each in drawn["target"]]
        return trainer.loss(trainer.network(drawn["data"].to(device)), target)

    epoch = max(1, min(EPOCH, steps // 1000))  # a short training's learning rate falls as smoothly as a whole one's

    def learning_rate(step: int) -> float:
        return float(trainer.initial_lr * (1 - step // epoch * epoch / steps) ** LEARNING_RATE_EXPONENT)

    trained = Trained(trainer.network, trainer.optimizer, batch, loss, learning_rate)
    precision = "bfloat16" if device.type == "cuda" else "float32"  # nnU-Net: float16 on CUDA, float32 elsewhere
    config = LoopConfig(steps, (seed, member), gradient_clip=LARGEST_GRADIENT, precision=precision)
    return train_system(trained, config, described, folder, sitting)


def seed_everything(seed: int) -> None:
    """nnU-Net draws from the global generators of torch, numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)


def make_blur_reproducible(transforms: Any) -> None:
    """nnU-Net's blur clocks two ways of computing and takes the faster; the slower would differ in the last digits."""
    for transform in transforms.transforms:
        inner = getattr(transform, "transform", transform)
        if hasattr(inner, "benchmark"):
            inner.benchmark = False


class FoldEnsemble:
    """nnU-Net's prediction by several folds: resampling, tiles, mirror images and the mean of the folds' logits."""

    def __init__(
        self, plans: Plans, weights: Sequence[dict[str, torch.Tensor]], mirror: bool, device: torch.device
    ) -> None:
        self.plans, self.weights, self.mirror, self.device = plans, list(weights), mirror, device

    @cached_property
    def predictor(self) -> Any:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
        from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        manager = PlansManager(copy.deepcopy(self.plans.plans))
        configuration = manager.get_configuration(CONFIGURATION)
        network: nn.Module = nnUNetTrainer.build_network_architecture(
            manager,
            configuration,
            determine_num_input_channels(manager, configuration, self.plans.dataset),
            manager.get_label_manager(self.plans.dataset).num_segmentation_heads,
            enable_deep_supervision=False,
        )
        predictor = nnUNetPredictor(use_mirroring=self.mirror, device=self.device, allow_tqdm=False)
        axes = (0, 1, 2) if self.mirror else None
        network.load_state_dict(self.weights[0])
        network.to(self.device).eval()
        predictor.manual_initialization(
            network, manager, configuration, self.weights, self.plans.dataset, "nnUNetTrainer", axes
        )
        return predictor

    @property
    def parameters(self) -> int:
        """Trained numbers of all folds; in a state, by contrast, some have two names, a block's and a convolution's."""
        return len(self.weights) * sum(value.numel() for value in self.predictor.network.parameters())

    def probability(self, inputs: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
        """[channel, x, y, z] on a regular grid -> probability of bleed [x, y, z] float32."""
        images = np.ascontiguousarray(inputs.transpose(0, 3, 2, 1), np.float32)  # nnU-Net's order: [channel, z, y, x]
        with nnunet_folders(Path("unused")):
            _, probabilities = self.predictor.predict_single_npy_array(
                images, {"spacing": [float(step) for step in spacing_mm[::-1]]}, save_or_return_probabilities=True
            )
        return np.ascontiguousarray(np.asarray(probabilities[1], np.float32).transpose(2, 1, 0))


class NnUNetPredictor:
    """A `system.Predictor`; see there."""

    threshold = 0.5

    def __init__(self, folds: FoldEnsemble) -> None:
        self.folds = folds

    @property
    def parameters(self) -> int:
        return self.folds.parameters

    def probability(self, volume: Volume) -> np.ndarray:
        """[x, y, z] float32, 0..1, on the volume's own grid."""
        prepared = densities(volume)
        return restored(self.folds.probability(prepared.inputs, prepared.spacing_mm), volume).clip(0, 1)

    def mask(self, volume: Volume, probability: np.ndarray | None = None) -> np.ndarray:
        """[x, y, z] bool on the volume's own grid; nnU-Net's post-processing is chosen by hand and none is used."""
        return (self.probability(volume) if probability is None else probability) >= self.threshold
