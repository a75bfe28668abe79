"""What is trained, where it stands, and the file that holds all of that."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.averaging import WeightAverage
from ICHSegmentationLib.training.tensor_file import load_tensors, save_tensors

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class System:
    """What is trained.

    Attributes:
        network: on the device to train on; seeded by whoever built it.
        optimizer: any of torch's that keeps its state by parameter.
        batch: number -> what `loss` takes. Depends on the number alone, and draws from a generator of its own:
            threads call it ahead of time.
        loss: batch -> scalar, through the network (in training mode); dropout and the like are seeded already.
        learning_rate: step -> learning rate; None leaves the optimiser's own.
        average: of the weights; if there is one, it is what is validated and kept.
        validate: network -> score, higher is better; the network is in evaluation mode, without gradients.
        picture: network -> [height, width, 3] uint8, an overlay for TensorBoard after each validation.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    batch: Callable[[int], Any]
    loss: Callable[[Any], torch.Tensor]
    learning_rate: Callable[[int], float] | None = None
    average: WeightAverage | None = None
    validate: Callable[[nn.Module], float] | None = None
    picture: Callable[[nn.Module], np.ndarray] | None = None


@dataclass
class Run:
    """Where the training of a system stands; what a checkpoint holds."""

    system: System
    step: int = 0
    score: float | None = None  # of the last validation
    best_score: float | None = None
    best_step: int = 0
    best_weights: dict[str, torch.Tensor] | None = None  # kept only if training may stop early
    stale: int = 0  # validations since the best
    stopped_by_signal: bool = False

    def is_done(self, steps: int, patience: int | None) -> bool:
        return self.step >= steps or (patience is not None and self.stale >= patience)

    def note(self, score: float, patience: int | None) -> None:
        """Takes in a validation's score."""
        self.score = score
        self.stale += 1
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best_step, self.stale = score, self.step, 0
            if patience is not None:
                self.best_weights = {name: value.detach().clone() for name, value in self.latest_weights().items()}

    def latest_weights(self) -> dict[str, torch.Tensor]:
        """The averaged weights, if they are averaged."""
        average = self.system.average
        return self.system.network.state_dict() if average is None else average.weights

    def kept_weights(self) -> dict[str, torch.Tensor]:
        """What training has to show: the best weights of an early stop, else the latest."""
        return self.latest_weights() if self.best_weights is None else self.best_weights


STATE = ("step", "score", "best_score", "best_step", "stale")


def save_run(run: Run, folder: Path) -> None:
    """Writes the checkpoint, whole or not at all."""
    system = run.system
    tensors = prefixed("network/", system.network.state_dict())
    state: dict[str, Any] = {name: getattr(run, name) for name in STATE}
    if system.average is not None:
        tensors |= prefixed("average/", system.average.weights)
        state["averaged"] = system.average.steps
    if run.best_weights is not None:
        tensors |= prefixed("best/", run.best_weights)
    numbers: dict[str, dict[str, Any]] = {}
    for index, values in system.optimizer.state_dict()["state"].items():
        tensors |= prefixed(f"optimizer/{index}/", {k: v for k, v in values.items() if isinstance(v, torch.Tensor)})
        numbers[str(index)] = {key: value for key, value in values.items() if not isinstance(value, torch.Tensor)}
    state["optimizer"] = numbers
    save_tensors(folder / CHECKPOINT, tensors, {"step": str(run.step), "state": json.dumps(state)})


def load_run(run: Run, folder: Path) -> None:
    """Puts run and system back to where `save_run` left them.

    Raises:
        InputError: the checkpoint is damaged, or is of an earlier version.
    """
    system = run.system
    tensors, metadata = load_tensors(folder / CHECKPOINT, next(system.network.parameters()).device)
    if "state" not in metadata:
        raise InputError(
            f"{folder / CHECKPOINT} is of an earlier version and cannot be gone on with; it can still be bundled."
        )
    state = json.loads(metadata["state"])
    for name in STATE:
        setattr(run, name, state[name])
    system.network.load_state_dict(part_of(tensors, "network/"))
    if system.average is not None:
        system.average.load_state_dict({"steps": state["averaged"], "weights": part_of(tensors, "average/")})
    run.best_weights = part_of(tensors, "best/") or None
    optimizer: dict[int, dict[str, Any]] = {int(index): values for index, values in state["optimizer"].items()}
    for name, value in part_of(tensors, "optimizer/").items():
        index, key = name.split("/")
        optimizer[int(index)][key] = value
    groups = system.optimizer.state_dict()["param_groups"]
    system.optimizer.load_state_dict({"state": optimizer, "param_groups": groups})


def kept_weights(folder: Path) -> tuple[dict[str, torch.Tensor], int]:
    """The weights that a run has to show (see `Run.kept_weights`), and its step; earlier versions' runs too.

    Raises:
        InputError: there is no checkpoint, or it is damaged.
    """
    if not (folder / CHECKPOINT).exists():
        raise InputError(f"{folder} holds no checkpoint; train it first.")
    tensors, metadata = load_tensors(folder / CHECKPOINT)
    weights = part_of(tensors, "best/") or part_of(tensors, "average/") or part_of(tensors, "network/")
    return weights, int(metadata["step"])


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def part_of(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
