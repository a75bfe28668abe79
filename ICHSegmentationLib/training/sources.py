"""Weights that are there already: of runs and of bundles, to begin a training with or to make an ensemble of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ICHSegmentationLib.bundle import MANIFEST
from ICHSegmentationLib.ensemble import load_bundle
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.checkpoint import CHECKPOINT, kept_weights
from ICHSegmentationLib.training.train import TrainingConfig
from ICHSegmentationLib.unet import UNetConfig


@dataclass(frozen=True)
class Source:
    """A trained network.

    Attributes:
        weights: its state dict, float32, on the CPU.
        network: what the weights are of.
        recipe: how it was trained, JSON values.
        told: whose weights they are, in words.
    """

    weights: dict[str, torch.Tensor]
    network: UNetConfig
    recipe: dict[str, Any]
    told: str


def sources_of(folder: Path) -> list[Source]:
    """The network of a run of `ich train`, or all members of a bundle.

    Raises:
        InputError: it is neither; or (a BundleError) a damaged bundle.
    """
    if (folder / MANIFEST).exists():
        return members_of(folder)
    if not (folder / CHECKPOINT).exists():
        raise InputError(f"{folder} is neither a run of `ich train` with a checkpoint nor a bundle.")
    config = read_config(folder)
    weights, step = kept_weights(folder)
    recipe = {**config.to_json(), "steps_done": step}
    del recipe["network"]
    return [Source(weights, config.network, recipe, f"{folder.resolve().name}, step {step}")]


def members_of(folder: Path) -> list[Source]:
    ensemble = load_bundle(folder)
    info, recipes = ensemble.info, ensemble.info.training.get("members", [])
    if len(recipes) != len(ensemble.members):  # another program's: nothing is known
        recipes = [{} for _ in ensemble.members]
    name = f"{info.name} {info.version} ({ensemble.sha256[:12]})"
    return [
        Source(network.state_dict(), info.network, recipe, f"member {number} of {name}")
        for number, (network, recipe) in enumerate(zip(ensemble.members, recipes, strict=True))
    ]


def source_for(folder: Path, member: int) -> Source:
    """What member number `member` of a new ensemble begins with: of a bundle's members they take turns."""
    sources = sources_of(folder)
    return sources[member % len(sources)]


def read_config(run: Path) -> TrainingConfig:
    try:
        return TrainingConfig.from_json(json.loads((run / "config.json").read_text()))
    except (OSError, KeyError, TypeError, ValueError):
        raise InputError(f"{run} is no run of `ich train`: its config.json is missing or of another system.") from None
