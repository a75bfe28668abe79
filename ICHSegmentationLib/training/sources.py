"""Weights that are there already: of runs and of bundles, to begin a training with or to make an ensemble of.

Bundles are read without the package safetensors, which lent GPU machines lack.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ICHSegmentationLib.bundle import MANIFEST, incomplete, read_manifest
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.simulation.blood import Subtype
from ICHSegmentationLib.training.checkpoint import CHECKPOINT, kept_weights
from ICHSegmentationLib.training.tensor_file import load_tensors
from ICHSegmentationLib.training.train import TrainingConfig
from ICHSegmentationLib.unet import BLEED_OUT, PRESETS, SUBTYPES_OUT, EquivariantUNet, UNetConfig

HEAD, HEAD_MASK = "head.linear.weight", "head.linear.output_mask"


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

    def built(self) -> EquivariantUNet:
        """The network with its weights, in evaluation mode."""
        network = EquivariantUNet(self.network)
        network.load_state_dict(self.weights)
        return network.eval()

    def beginning(self, config: TrainingConfig) -> TrainingConfig:
        """The configuration of a training that begins with these weights.

        A network with instance norms may go on with fixed ones, whose statistics are measured first, and one that
        tells bleed from background may learn to tell subtypes.

        Raises:
            InputError: the configuration is of a network of its own, and not of this one.
        """
        if config.network in self.ways_on():
            return dataclasses.replace(config, started_from=self.told)
        if config.network not in (self.network, *PRESETS.values()):
            raise InputError(f"the configuration describes another network than that of {self.told}; leave it out.")
        return dataclasses.replace(config, network=self.network, started_from=self.told)

    def ways_on(self) -> list[UNetConfig]:
        """Other networks that may go on with these weights."""
        fixed = dataclasses.replace(self.network, norm="fixed")
        if self.network.irreps_out != BLEED_OUT:
            return [fixed]
        return [fixed, *(dataclasses.replace(network, irreps_out=SUBTYPES_OUT) for network in (self.network, fixed))]

    def weights_for(self, network: UNetConfig) -> dict[str, torch.Tensor]:
        """The weights that a training of `network`, one of `ways_on` or this one, begins with.

        Where it is to tell subtypes, it says at first of each voxel as much bleed as before, all subtypes alike.
        """
        if network.irreps_out == self.network.irreps_out:
            return self.weights
        kinds = len(Subtype)
        head, bias = self.weights[HEAD], self.weights["bias"]
        background = torch.zeros_like(head)
        return {
            **self.weights,
            HEAD: torch.stack([background] + [head] * kinds, dim=1).flatten(),  # e3nn: [features, outputs]
            HEAD_MASK: torch.ones(1 + kinds),
            "bias": torch.cat([torch.zeros_like(bias), (bias - math.log(kinds)).expand(kinds)]),
        }


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
    manifest = read_manifest(folder)
    try:
        network = UNetConfig.from_json(manifest.values["network"])
        recipes = manifest.values["training"].get("members", [])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise incomplete(error) from None
    paths = manifest.member_paths()
    if len(recipes) != len(paths):  # another program's: nothing is known
        recipes = [{} for _ in paths]
    bundle = f"{manifest.name} {manifest.version} ({manifest.sha256[:12]})"
    return [
        Source(weights_in(path), network, recipe, f"member {number} of {bundle}")
        for number, (path, recipe) in enumerate(zip(paths, recipes, strict=True))
    ]


def weights_in(path: Path) -> dict[str, torch.Tensor]:
    tensors, _ = load_tensors(path)
    return {name: tensor.float() for name, tensor in tensors.items()}


def source_for(folder: Path, member: int) -> Source:
    """What member number `member` of a new ensemble begins with: of a bundle's members they take turns."""
    sources = sources_of(folder)
    return sources[member % len(sources)]


def read_config(run: Path) -> TrainingConfig:
    try:
        return TrainingConfig.from_json(json.loads((run / "config.json").read_text()))
    except (OSError, KeyError, TypeError, ValueError):
        raise InputError(f"{run} is no run of `ich train`: its config.json is missing or of another system.") from None
