"""From finished runs to a bundle."""

from __future__ import annotations

import json
from pathlib import Path

from ICHSegmentationLib.ensemble import BundleInfo, save_bundle
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.checkpoint import kept_weights
from ICHSegmentationLib.training.train import TrainingConfig
from ICHSegmentationLib.unet import PRESETS
from ICHSegmentationLib.windowing import WINDOWS_HU

LICENCE = "Apache-2.0"


def bundle_runs(runs: list[Path], folder: Path, name: str, version: str, threshold: float, trained_on: str) -> str:
    """Writes the kept weights of several runs of one network as a bundle; returns its SHA-256."""
    if not 0 < threshold < 1:
        raise InputError(f"the threshold must lie between 0 and 1; found {threshold}.")
    configs, weights, steps = [], [], []
    for run in runs:
        kept, step = kept_weights(run)
        configs.append(read_config(run))
        weights.append(kept)
        steps.append(step)
    network = configs[0].network
    if any(config.network != network for config in configs):
        raise InputError("the runs are of different networks; the members of an ensemble must share one.")
    recipes = [{**config.to_json(), "steps_done": done} for config, done in zip(configs, steps, strict=True)]
    for recipe in recipes:
        del recipe["network"]
    preset = next((key for key, value in PRESETS.items() if value == network), "custom")
    info = BundleInfo(
        name=name,
        version=version,
        preset=preset,
        network=network,
        threshold=threshold,
        windows_hu=WINDOWS_HU,
        training={"data": trained_on, "members": recipes},
        licence=LICENCE,
    )
    return save_bundle(folder, info, weights)


def read_config(run: Path) -> TrainingConfig:
    try:
        return TrainingConfig.from_json(json.loads((run / "config.json").read_text()))
    except (OSError, KeyError, TypeError, ValueError):
        raise InputError(f"{run} is no run of `ich train`: its config.json is missing or of another system.") from None
