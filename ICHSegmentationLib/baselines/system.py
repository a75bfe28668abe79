"""What a system is: something that trains on an nnU-Net raw folder and then finds bleed in a volume."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Budget:
    """How much training a system gets.

    Attributes:
        steps: optimiser steps of each network; None: the paper's. A system of two stages gives half to either.
        minutes: wall clock of training the whole system, all sittings together, shared fairly over its networks;
            preparing the cases does not count.
        networks: members or folds; None: the paper's number. Beyond the number of folds they are taken over again,
            from other random weights.
    """

    steps: int | None = None
    minutes: float = math.inf
    networks: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("steps", self.steps), ("networks", self.networks)):
            if value is not None and value < 1:
                raise InputError(f"the number of {name} must be 1 or more; found {value}.")
        if not self.minutes > 0:
            raise InputError(f"the minutes of training must be more than 0; found {self.minutes}.")


class Predictor(Protocol):
    """A trained system.

    Attributes:
        parameters: trained numbers of all its networks.
        threshold: probability from which a voxel is bleed; the mask is the cleaned `probability >= threshold`.
    """

    @property
    def parameters(self) -> int: ...

    @property
    def threshold(self) -> float: ...

    def probability(self, volume: Volume) -> np.ndarray:
        """[x, y, z] float32, 0..1, on the volume's own grid."""

    def mask(self, volume: Volume, probability: np.ndarray | None = None) -> np.ndarray:
        """[x, y, z] bool on the volume's own grid, cleaned as the paper does; of `probability` where that is known."""


class System(Protocol):
    """A way from labelled scans to a predictor.

    Attributes:
        name: as on the command line, e.g. "se-unet".
        title: for tables.
        paper: whose it is.
        settings: a frozen dataclass of JSON values; every system is a dataclass with this field.
    """

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def paper(self) -> str: ...

    @property
    def settings(self) -> Any: ...

    def check(self, budget: Budget) -> None:
        """Raises an ICHError for what `train` would refuse, before anything was trained for it."""

    def train(self, data: Path, out: Path, budget: Budget, device: torch.device, seed: int) -> None:
        """Trains on the nnU-Net v2 raw folder `data` into the run folder `out`.

        Goes on where `out` stopped; a run that was killed and resumed ends the same as one that was not.

        Raises:
            InputError: the data cannot be used, or `out` holds a run of other settings.
            StoppedError: a signal asked to stop; the same call goes on.
        """

    def load(self, run: Path, device: torch.device) -> Predictor:
        """The predictor that `train` left in `run`.

        Raises:
            InputError: `run` holds no trained network of this system.
        """


def systems() -> dict[str, System]:
    """The systems by name, each with its paper's settings."""
    from ICHSegmentationLib.baselines.coarse_fine import CoarseFine
    from ICHSegmentationLib.baselines.gcnn import gcnn
    from ICHSegmentationLib.baselines.nnunet import NnUNet
    from ICHSegmentationLib.baselines.se_system import se_unet
    from ICHSegmentationLib.baselines.steerable import scan_e3nn, so3_steerable

    all_systems: list[System] = [scan_e3nn(), so3_steerable(), se_unet(), NnUNet(), CoarseFine(), gcnn()]
    return {system.name: system for system in all_systems}
