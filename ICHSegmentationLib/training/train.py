"""The training loop of one member, read downwards."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.averaging import WeightAverage
from ICHSegmentationLib.training.loss import LOSSES
from ICHSegmentationLib.training.patches import draw_patches
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


@dataclass
class Run:
    """The state of a training run; what a checkpoint holds."""

    config: TrainingConfig
    network: EquivariantUNet
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    step: int = 0

    @classmethod
    def start(cls, config: TrainingConfig, device: torch.device) -> Run:
        torch.manual_seed(config.seed * 1000 + config.member)
        network = EquivariantUNet(config.network).to(device)
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
        return cls(config, network, optimizer, WeightAverage(network, config.average_epsilon))

    def save(self, folder: Path) -> None:
        """Writes `checkpoint.safetensors`, whole or not at all."""
        tensors = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.average.weights.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam/{index}/{name}": value for name, value in state.items()}
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        partial = folder / "checkpoint.partial"
        save_file(tensors, partial, {"step": str(self.step), "averaged": str(self.average.steps)})
        partial.replace(folder / "checkpoint.safetensors")

    def resume(self, folder: Path) -> None:
        """Reads the state that `save` wrote."""
        path = folder / "checkpoint.safetensors"
        tensors = load_file(path, device=str(next(self.network.parameters()).device))
        self.network.load_state_dict(part_of(tensors, "network/"))
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in part_of(tensors, "adam/").items():
            index, key = name.split("/")
            state.setdefault(int(index), {})[key] = value
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
        metadata = read_metadata(path)
        self.average.load_state_dict({"steps": int(metadata["averaged"]), "weights": part_of(tensors, "average/")})
        self.step = int(metadata["step"])


def differences(one: TrainingConfig, other: TrainingConfig) -> str:
    """The names of the settings that differ."""
    ours, theirs = one.to_json(), other.to_json()
    return ", ".join(name for name in ours if ours[name] != theirs[name])


def part_of(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def read_metadata(path: Path) -> dict[str, str]:
    """The string metadata of a safetensors file."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length)).get("__metadata__", {})


def train(
    config: TrainingConfig,
    pool: Path,
    out: Path,
    device: torch.device | str = "cpu",
    minutes: float = math.inf,
    save_every_s: float = 300.0,
    on_step: Callable[[int, float], None] | None = None,
) -> Run:
    """Trains one member on a pool of cases, or goes on where `out` holds a checkpoint.

    Stops after `config.steps` or when the minutes are up, whichever comes first, with a checkpoint either way.
    The pool may grow meanwhile: cases are listed anew now and then. Patches depend on seed, member and step alone,
    so on a fixed pool a resumed run ends the same as one that was never stopped.
    """
    device = torch.device(device)
    torch.set_flush_denormal(True)  # vanishing gradients of certain voxels would make CPU steps four times slower
    out.mkdir(parents=True, exist_ok=True)
    run = Run.start(config, device)
    if (out / "checkpoint.safetensors").exists():
        started_with = TrainingConfig.from_json(json.loads((out / "config.json").read_text()))
        started_with = dataclasses.replace(started_with, steps=config.steps)
        if started_with != config:
            raise InputError(
                f"{out} holds a run of another configuration ({differences(started_with, config)}); only the number "
                "of steps may change. Name another folder for this one."
            )
        run.resume(out)
    (out / "config.json").write_text(json.dumps(config.to_json(), indent=1))
    loss_of = LOSSES[config.loss]
    started = saved = time.monotonic()
    folders: list[Path] = []
    while run.step < config.steps and time.monotonic() - started < minutes * 60:
        if run.step % 100 == 0 or not folders:
            folders = member_cases(pool, config)
        rng = np.random.default_rng((config.seed, config.member, run.step))
        case = read_case(folders[int(rng.integers(len(folders)))])
        patch_size = config.patch_sizes[int(rng.integers(len(config.patch_sizes)))]
        batch = draw_patches(case, patch_size, config.patches_per_step, config.bleed_share, rng, device)
        for group in run.optimizer.param_groups:
            group["lr"] = config.learning_rate_at(run.step)
        logits = run.network(batch.channels, batch.spacing_mm)
        loss = loss_of(logits, batch.bleed, batch.counted)
        run.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(run.network.parameters(), config.gradient_clip)
        run.optimizer.step()
        run.average.update(run.network)
        run.step += 1
        if on_step is not None:
            on_step(run.step, float(loss.detach()))
        if time.monotonic() - saved > save_every_s:
            run.save(out)
            saved = time.monotonic()
    run.save(out)
    return run


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
