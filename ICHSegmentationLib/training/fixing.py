"""From instance norms to fixed ones, without training: a network's norms measured once over patches of its recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ICHSegmentationLib.devices import pick_device
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.cases import TrainingCases
from ICHSegmentationLib.training.sources import Source
from ICHSegmentationLib.training.train import MEASURED_BATCHES, TrainingConfig, measure_norms
from ICHSegmentationLib.unet import EquivariantUNet


def with_fixed_norms(source: Source, folders: Sequence[Path], device: str = "auto") -> Source:
    """The same weights, normalised by what they see in patches of some cases, drawn as in their own training.

    Args:
        source: a network with instance norms whose recipe is known.
        folders: of the cases to measure on.
        device: to measure on.

    Raises:
        InputError: its norms are fixed already, or nobody noted how it was trained.
    """
    if source.network.norm != "instance":
        raise InputError(f"the norms of {source.told} are fixed already; networks with instance norms are wanted.")
    network = EquivariantUNet(dataclasses.replace(source.network, norm="fixed"))
    network.load_state_dict({**network.state_dict(), **source.weights})
    config = dataclasses.replace(recipe_of(source), network=network.config, hard_places="")
    where = pick_device(device)
    measure_norms(network.to(where), config, TrainingCases(tuple(folders)), where)
    weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    recipe = {**source.recipe, "norms_measured_on": {"cases": len(folders), "batches": MEASURED_BATCHES}}
    return Source(weights, network.config, recipe, f"{source.told}, its norms fixed")


def recipe_of(source: Source) -> TrainingConfig:
    """How a network was trained.

    Raises:
        InputError: that is not known.
    """
    names = {field.name for field in dataclasses.fields(TrainingConfig)}
    recipe = {name: value for name, value in source.recipe.items() if name in names}
    try:
        return TrainingConfig.from_json({**recipe, "network": dataclasses.asdict(source.network)})
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{source.told} does not say how it was trained, so its norms cannot be measured on such patches."
        ) from None
