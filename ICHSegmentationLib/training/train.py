"""One member of the e3nn ensemble: its configuration, and what the loop is handed to train it."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch
from torch import nn

from ICHSegmentationLib.errors import InputError, require_at_least
from ICHSegmentationLib.layers import MEASURED, measured_norms
from ICHSegmentationLib.staging import write_json
from ICHSegmentationLib.training.averaging import WeightAverage
from ICHSegmentationLib.training.beginning import untrained_network
from ICHSegmentationLib.training.cases import BATCHES_PER_NEW_CASE, TrainingCases
from ICHSegmentationLib.training.checkpoint import CHECKPOINT, Run, System
from ICHSegmentationLib.training.loop import UNTIL_DONE, LoopConfig, Sitting, train_system
from ICHSegmentationLib.training.loss import LOSSES, bleed_logit, subtype_cross_entropy
from ICHSegmentationLib.training.patches import Batch, draw_patches
from ICHSegmentationLib.training.processes import own_device
from ICHSegmentationLib.training.validation import Validation
from ICHSegmentationLib.unet import PRESETS, SUBTYPES_OUT, EquivariantUNet, UNetConfig

logger = logging.getLogger(__name__)

CASES = "cases.json"
MEASURED_BATCHES = 100  # from which fixed norms take their statistics


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
        subset: share of the cases (or heads, where several cases are of one) this member sees.
        batches_per_step, precision, validate_every, patience: see `loop.LoopConfig`.
        validation_cases: of those it does not see, how many it is validated on, at most.
        started_from: whose weights it begins with; empty: random ones.
        hard_share: share of the batches taken from places where an earlier network was wrong, where such are known.
        hard_places: SHA-256 of the file that they are in; empty: none are known.
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
    validate_every: int = 1000
    validation_cases: int = 16
    patience: int | None = None
    started_from: str = ""
    hard_share: float = 0.5
    hard_places: str = ""

    def loop(self) -> LoopConfig:
        return LoopConfig(
            steps=self.steps,
            seed=(self.seed, self.member),
            batches_per_step=self.batches_per_step,
            gradient_clip=self.gradient_clip,
            precision=self.precision,
            validate_every=self.validate_every,
            patience=self.patience,
        )

    def check(self) -> None:
        """Raises an InputError for what cannot be trained."""
        self.loop()
        if self.loss not in LOSSES:
            raise InputError(f"the loss must be one of {', '.join(LOSSES)}; found {self.loss!r}.")
        counts = ("steps", "batches_per_step", "patches_per_step", "validate_every")
        require_at_least(1, {name: getattr(self, name) for name in counts})
        require_at_least(0, {"member": self.member, "seed": self.seed})
        sides = [side for size in self.patch_sizes for side in size]
        if not sides or not all(isinstance(side, int) and side > 0 for side in sides):
            raise InputError(f"patch_sizes must name at least one size in whole voxels; found {self.patch_sizes}.")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TrainingConfig:
        """The configuration of `to_json`; raises TypeError or ValueError for what cannot be one."""
        for name, kind in get_type_hints(cls).items():
            allowed = float | int if kind is float else kind
            if name in values and name not in ("network", "patch_sizes") and not isinstance(values[name], allowed):
                raise TypeError(f"{name} must be of the type {getattr(kind, '__name__', kind)}; found {values[name]!r}")
        network = UNetConfig.from_json(values["network"])
        patch_sizes = tuple((x, y, z) for x, y, z in values["patch_sizes"])
        return cls(**{**values, "network": network, "patch_sizes": patch_sizes})

    def learning_rate_at(self, step: int) -> float:
        share = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps))) if self.decay else 1.0
        return self.learning_rate * share


def chosen_config(preset: str, file: Path | None) -> TrainingConfig:
    """A preset's configuration, and what a JSON file changes of it.

    Raises:
        InputError: there is no such preset, or the file is no such JSON.
    """
    if preset not in PRESETS:
        raise InputError(f"the preset must be one of {', '.join(PRESETS)}; found {preset!r}.")
    config = TrainingConfig(PRESETS[preset])
    if file is None:
        return config
    try:
        changes = json.loads(file.read_text())
        network = {**dataclasses.asdict(config.network), **changes.get("network", {})}
        return TrainingConfig.from_json({**config.to_json(), **changes, "network": network})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file} is no training configuration: {error}.") from None


def train(
    config: TrainingConfig,
    cases: TrainingCases,
    out: Path,
    device: torch.device | str = "cpu",
    sitting: Sitting = UNTIL_DONE,
    start: Mapping[str, torch.Tensor] | None = None,
) -> Run:
    """Trains one member; see `loop.train_system` for when it stops and what it leaves in `out`.

    It begins with the weights `start`, a state dict of `config.network`, or with random ones.

    Patches depend on seed, member and the batch's number alone, so on the same cases a resumed run ends the same as
    one that was never stopped.

    Raises:
        InputError: patience is asked for and there is nothing to validate on, or see `loop.train_system`.
    """
    config.check()
    if config.patience is not None and not cases.validation:
        raise InputError("to stop when the score gets no better, cases to validate on are wanted: a subset below 1.")
    device = own_device(torch.device(device))
    names = names_of(cases)
    if sitting.resume and (out / CASES).exists() and json.loads((out / CASES).read_text()) != names:
        logger.warning("%s was begun on other cases: its result will be that of neither", out)

    def on_save() -> None:
        note_cases(names, out)
        sitting.on_save()

    telling = dataclasses.replace(sitting, on_save=on_save)
    system = equivariant_system(config, cases, device, start, (out / CHECKPOINT).exists())
    return train_system(system, config.loop(), config.to_json(), out, telling)


def names_of(cases: TrainingCases) -> dict[str, list[str]]:
    return {
        "training": [folder.name for folder in cases.training],
        "validation": [folder.name for folder in cases.validation],
    }


def note_cases(names: dict[str, list[str]], out: Path) -> None:
    """Writes `cases.json`, which cases the member saw: with a checkpoint, never for a training that was refused."""
    write_json(out / CASES, names)


def equivariant_system(
    config: TrainingConfig,
    cases: TrainingCases,
    device: torch.device,
    start: Mapping[str, torch.Tensor] | None = None,
    resumed: bool = False,
) -> System:
    """The member's network, what it sees and what it is asked to minimise.

    Fixed norms that `start` does not hold are measured on batches to come, unless a checkpoint will bring them.
    """
    torch.manual_seed(config.seed * 1000 + config.member)
    network = untrained_network(config.network)
    to_measure = {key: value for key, value in network.state_dict().items() if key.rpartition(".")[2] in MEASURED}
    if start is not None:
        network.load_state_dict({**to_measure, **start})
    network.to(device)
    loss_of, told_apart = LOSSES[config.loss], config.network.irreps_out == SUBTYPES_OUT
    dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32

    def loss(batch: Batch) -> torch.Tensor:
        # no autocast: the network computes in the type of its input, its kernels and statistics in float32
        with torch.autocast(device.type, enabled=False):
            logits = network(batch.channels.to(dtype), batch.spacing_mm).float()
            found = loss_of(bleed_logit(logits), batch.bleed, batch.counted)
            return found + subtype_cross_entropy(logits, batch.subtype, batch.counted) if told_apart else found

    if not resumed and to_measure.keys() - (start or {}).keys():
        measure_norms(network, config, cases, device)

    system = System(
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), config.learning_rate),
        batch=lambda number: drawn_batch(number, config, cases, device),
        loss=loss,
        learning_rate=config.learning_rate_at,
        average=WeightAverage(network, config.average_epsilon),
    )
    if cases.validation and config.validation_cases:
        seen = LateValidation(config, cases, device)
        system.validate, system.picture = seen.score, seen.picture
    return system


def drawn_batch(number: int, config: TrainingConfig, cases: TrainingCases, device: torch.device) -> Batch:
    """What the training step of that number sees."""
    rng = np.random.default_rng((config.seed, config.member, number))
    if cases.hard is not None and rng.random() < config.hard_share:
        case, centres = cases.drawn_hard(rng)
    else:
        case, centres = cases.drawn(number, rng), ()
    patch_size = config.patch_sizes[int(rng.integers(len(config.patch_sizes)))]
    return draw_patches(case, patch_size, config.patches_per_step, config.bleed_share, rng, device, centres)


@torch.no_grad()
def measure_norms(network: EquivariantUNet, config: TrainingConfig, cases: TrainingCases, device: torch.device) -> None:
    """Sets the fixed norms of a network to what it sees in batches of a training.

    In many cases: of a pool that is being simulated, those of the first few hundred steps are waited for. Ten heads
    were too few: what was measured on them left the network sure of hardly any bleed on others.
    """
    with measured_norms(network):
        for number in range(MEASURED_BATCHES):
            batch = drawn_batch(number * BATCHES_PER_NEW_CASE, config, cases, device)
            network(batch.channels, batch.spacing_mm)


class LateValidation:
    """Validation whose patches are cut when they are first needed: until then their cases may not be there."""

    def __init__(self, config: TrainingConfig, cases: TrainingCases, device: torch.device) -> None:
        self.config, self.cases, self.device = config, cases, device

    @cached_property
    def patches(self) -> Validation:
        cases = [self.cases.read(folder) for folder in self.cases.validation[: self.config.validation_cases]]
        return Validation.draw(cases, self.config.patch_sizes[0], self.device)

    def score(self, network: nn.Module) -> float:
        return self.patches.score(network)

    def picture(self, network: nn.Module) -> np.ndarray:
        return self.patches.picture(network)
