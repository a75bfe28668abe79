"""Systems of known answers, that train in no time: to test what is around them, in child processes too."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ICHSegmentationLib.baselines.runs import USED, Shares
from ICHSegmentationLib.baselines.system import Budget, System
from ICHSegmentationLib.data.nnunet import LabelledScan, read_raw
from ICHSegmentationLib.errors import InputError, StoppedError
from ICHSegmentationLib.evaluation.experiments.variants import SYSTEM
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.staging import write_json
from ICHSegmentationLib.unet import PRESETS, UNetConfig
from ICHSegmentationLib.volume import as_volume

CATALOGUE = "stand_ins:systems"
VARIED_CATALOGUE = "stand_ins:varied_systems"


@dataclass(frozen=True)
class Settings:
    """What a stand-in calls bleed, and how it behaves."""

    threshold_hu: float = 50.0
    seconds: float = 0.0
    fails: bool = False
    refuses: bool = False
    stops_after_minutes: float | None = None  # as its clock tells them, in its first sitting
    network: UNetConfig = PRESETS["melba2024"]  # for the experiments that vary it; it changes nothing


@dataclass(frozen=True)
class Threshold:
    """Calls bleed what is denser than a threshold, wherever it is."""

    settings: Settings
    threshold: float = 0.5
    parameters: int = 1

    def probability(self, volume: Volume) -> np.ndarray:
        return (volume.hu >= self.settings.threshold_hu).astype(np.float32)

    def mask(self, volume: Volume, probability: np.ndarray | None = None) -> np.ndarray:
        return (self.probability(volume) if probability is None else probability) >= self.threshold


@dataclass(frozen=True)
class UpperHalf(Threshold):
    """Sees only the half of the scan of high y: what a turn of the patient breaks."""

    def probability(self, volume: Volume) -> np.ndarray:
        upper = np.arange(volume.hu.shape[1])[None, :, None] >= volume.hu.shape[1] / 2
        return super().probability(volume) * upper


@dataclass(frozen=True)
class StandIn:
    """A system of either kind; it notes every training in its run folder."""

    name: str
    kind: type[Threshold]
    settings: Settings = Settings()
    title: str = "Stand-in"
    paper: str = "none"

    def check(self, budget: Budget) -> None:
        if self.settings.refuses:
            raise InputError("this stand-in was told to refuse.")

    def train(self, data: Path, out: Path, budget: Budget, device: torch.device, seed: int) -> None:
        if self.settings.fails:
            raise InputError("this stand-in was told to fail.")
        out.mkdir(parents=True, exist_ok=True)
        (out / "pid").write_text(str(os.getpid()))
        time.sleep(self.settings.seconds)
        left = Shares(budget.minutes, out).next(0, 1)
        if self.settings.stops_after_minutes is not None and not (out / USED).exists():
            write_json(out / USED, {"seconds": {"0": 60 * self.settings.stops_after_minutes}})
            raise StoppedError("this stand-in was told to stop.")
        cases = [case.name for case in read_raw(data).cases]
        with (out / "trainings.jsonl").open("a") as file:
            file.write(json.dumps({"cases": cases, "steps": budget.steps, "seed": seed, "minutes": left}) + "\n")
        (out / "run.json").write_text(json.dumps({"system": self.name}))

    def load(self, run: Path, device: torch.device) -> Threshold:
        return self.kind(self.settings)


def systems() -> dict[str, System]:
    return {system.name: system for system in (StandIn("everywhere", Threshold), StandIn("upper", UpperHalf))}


def varied_systems() -> dict[str, System]:
    return {SYSTEM: StandIn(SYSTEM, Threshold)}


def scan_with_ball(
    name: str,
    size: int = 24,
    spacing_mm: float = 3.0,
    seed: int = 0,
    middle: tuple[float, float, float] = (3.0, 4.0, 2.0),
) -> LabelledScan:
    """A cube of brain in air with a ball of blood about `middle`, in voxels from that of the cube."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.arange(size) - (size - 1) / 2] * 3, indexing="ij")
    hu = np.where(np.max(np.abs(axes), axis=0) < size * 0.4, 30.0, -1000.0)
    centre = np.array(middle) + rng.uniform(-1, 1, 3)
    ball = sum((axis - m) ** 2 for axis, m in zip(axes, centre, strict=True)) < 4**2
    hu[ball] = 70
    return LabelledScan(name, as_volume(hu, (spacing_mm,) * 3), ball.astype(np.uint8))
