"""Dolphins' system at INSTANCE 2022: a coarse mask of a 2D network, refined by nnU-Net (Qayyum et al. 2022).

The coarse network sees the scan as 256x256x16 voxels between its darkest (0) and brightest (1), slice by slice; its
mask is nnU-Net's second channel. The fine stage needs the package nnunetv2, as the system `nnunet` does.

Where the paper is silent: the fine stage learns from masks of coarse folds that had not seen the case (masks of seen
cases would be better than any it meets later); of a new case it gets the mask of the folds' mean. The "2 batch size"
are two volumes. "Five-fold cross-validation and selected the best fold": the fold of the highest mean Dice on the
cases it was not trained on. The paper's nnU-Net patch of 128x128x128 would hold four times as many slices as most
scans have (and contradicts its 16 slices); nnU-Net's own plan is kept.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ICHSegmentationLib.baselines.cases import Prepare, TrainingCase, prepare_cases, trainable
from ICHSegmentationLib.baselines.dense_unet import DenseUNet
from ICHSegmentationLib.baselines.nnunet import FILES, FoldEnsemble, NnUNet, NnUNetSettings, train_folds
from ICHSegmentationLib.baselines.nnunet_files import Plans, PlanSettings, prepare_nnunet, read_plans, require_nnunet
from ICHSegmentationLib.baselines.patch_system import PatchSystem, PatchTraining, Recipe
from ICHSegmentationLib.baselines.patches import Entry, Patch
from ICHSegmentationLib.baselines.preparation import Prepared, densities, restored
from ICHSegmentationLib.baselines.runs import Shares, begin_run, number_of, read_settings, trained_networks
from ICHSegmentationLib.baselines.splits import fold
from ICHSegmentationLib.baselines.system import Budget
from ICHSegmentationLib.baselines.tiled import at_any_spacing, run_tiles
from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.data.nnunet import RawDataset
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.inference import resample
from ICHSegmentationLib.patches import Tiling
from ICHSegmentationLib.quality import mended_values
from ICHSegmentationLib.regular import RegularGrid
from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.staging import write_json
from ICHSegmentationLib.training.checkpoint import kept_weights
from ICHSegmentationLib.training.patches import Size

COARSE_THRESHOLD = 0.5
COARSE, MASKS, BEST = "coarse", "masks", "best_fold.json"
FLIP_CHANCE, GAMMA_CHANCE = 0.5, 0.8
GAMMA = (0.8, 1.2)  # the usual range of the function the paper names

COARSE_TRAINING = PatchTraining(
    networks=5,
    learning_rate=4e-4,
    patch=(256, 256, 16),
    epochs=200,
    patches_per_step=2,
    patience=20,
    validation_patches=1,
)


@dataclass(frozen=True)
class CoarseSettings:
    """The 2D network. JSON values only.

    Attributes:
        width, growth, blocks, layers_per_block: see `dense_unet.DenseUNet`.
        training: of its folds; `patch` is the size that scans are brought to.
    """

    width: int = 32
    growth: int = 16
    blocks: int = 5
    layers_per_block: int = 6
    training: PatchTraining = COARSE_TRAINING


@dataclass(frozen=True)
class CoarseFineSettings:
    """JSON values only; the fine stage is trained for the paper's 500 epochs."""

    coarse: CoarseSettings = CoarseSettings()
    fine: NnUNetSettings = NnUNetSettings(networks=5, epochs=500, plan=PlanSettings())  # noqa: RUF009 (frozen)


def shrunk(volume: Volume, size: Size) -> Prepared:
    """The scan on its regular grid brought to a size, its densities between 0 and 1.

    Raises:
        InputError: no Hounsfield units.
    """
    volume = mended_values(volume)
    grid = RegularGrid(volume)
    hu = resample(torch.from_numpy(grid.forward(volume.hu)), size).numpy()
    low, high = float(hu.min()), float(hu.max())
    x, y, z = (step * old / new for step, old, new in zip(grid.spacing_mm, grid.size, size, strict=True))
    inputs = np.ascontiguousarray((hu - low) / (high - low), np.float32)
    return Prepared(inputs[None], np.ones(size, bool), (x, y, z), 0.0)


def flips_and_gamma(patch: Patch, entry: Entry, rng: np.random.Generator) -> Patch:
    """Mirrored in x and in y by chance, and densities to a power."""
    inputs, label = patch.inputs, patch.label
    for axis in (0, 1):
        if rng.random() < FLIP_CHANCE:
            inputs, label = np.flip(inputs, axis + 1), np.flip(label, axis)
    if rng.random() < GAMMA_CHANCE:
        inputs = inputs ** np.float32(rng.uniform(*GAMMA))
    return Patch(np.ascontiguousarray(inputs), np.ascontiguousarray(label))


def coarse_recipe(settings: CoarseSettings) -> Recipe:
    return Recipe(
        prepare=partial(shrunk, size=settings.training.patch),
        network=lambda: DenseUNet(1, settings.width, settings.growth, settings.blocks, settings.layers_per_block),
        split=partial(fold, folds=settings.training.networks),
        change=flips_and_gamma,
        tiling=Tiling(settings.training.patch),
    )


def coarse_system(settings: CoarseSettings) -> PatchSystem:
    """The coarse stage alone."""
    return PatchSystem("coarse", "2D dense U-Net", "Qayyum et al., INSTANCE 2022", settings, coarse_recipe)


@dataclass(frozen=True)
class CoarseFine:
    """A `system.System`; see there.

    `networks` of a budget are folds of either stage. Of its steps and of its minutes the coarse stage gets one half
    (of an odd number the larger), the fine stage the other and the minutes that the coarse one left.
    """

    settings: CoarseFineSettings = CoarseFineSettings()
    name: str = "coarse-fine"
    title: str = "Dense 2D U-Net, then nnU-Net"
    paper: str = "Qayyum et al., INSTANCE 2022"

    def check(self, budget: Budget) -> None:
        """Raises for what the fine stage refuses; see `system.System.check`."""
        NnUNet(self.settings.fine).check(budget)

    def train(self, data: Path, out: Path, budget: Budget, device: torch.device, seed: int) -> None:
        """Trains the coarse folds in `out/coarse`, then nnU-Net's in `out/network_K`; see `system.System.train`."""
        self.check(budget)
        dataset = trainable(data)
        coarse, fine = coarse_system(self.settings.coarse), self.settings.fine
        coarse_budget, fine_budget = halves(budget)
        begin_run(out, self.name, self.settings, seed, budget.networks or fine.networks)
        begin_run(
            out / COARSE, coarse.name, coarse.settings, seed, budget.networks or coarse.settings.training.networks
        )
        coarse.train_networks(dataset, out / COARSE, coarse_budget, device, seed)
        cases = prepare_cases(dataset, out / "cases", densities)
        write_masks(dataset, cases, coarse, out, device, seed)
        groups = [case.group for case in cases]
        folds = [fold(groups, member, seed, fine.networks) for member in range(fine.networks)]
        plans = prepare_nnunet(cases, [out / MASKS], folds, out / FILES, fine.plan)
        left = budget.minutes - Shares(coarse_budget.minutes, out / COARSE).used_minutes
        train_folds(plans, cases, fine, out, fine_budget, Shares(left, out), device, seed)
        note_best_fold(plans, cases, folds, fine.mirror, out, device)

    def load(self, run: Path, device: torch.device) -> CoarseFinePredictor:
        """The coarse folds' mean and the best fine fold; see `system.System.load`."""
        require_nnunet()
        settings = read_settings(run, self.name, CoarseFineSettings)
        coarse = coarse_system(settings.coarse)
        trained = trained_networks(run)
        best = run / f"network_{json.loads((run / BEST).read_text())['fold']}" if (run / BEST).exists() else trained[0]
        weights = [kept_weights(best)[0]]
        fine = FoldEnsemble(read_plans(run / FILES), weights, settings.fine.mirror, device)
        prepare = coarse.recipe_of(coarse.settings).prepare
        return CoarseFinePredictor(coarse.load(run / COARSE, device).networks, prepare, fine, device)


def halves(budget: Budget) -> tuple[Budget, Budget]:
    """What the coarse and the fine stage get of a budget; one step at least."""
    if budget.steps is None:
        return (dataclasses.replace(budget, minutes=budget.minutes / 2),) * 2
    coarse, fine = (budget.steps + 1) // 2, max(1, budget.steps // 2)
    minutes = budget.minutes / 2
    return Budget(coarse, minutes, budget.networks), Budget(fine, minutes, budget.networks)


def write_masks(
    dataset: RawDataset, cases: list[TrainingCase], coarse: PatchSystem, out: Path, device: torch.device, seed: int
) -> None:
    """Each case's coarse mask `out/masks/CASE.npy` on its regular grid, of the folds that had not seen it.

    Where fewer folds were trained than planned, a case that none of them left out gets the mask of all.
    """
    recipe = coarse.recipe_of(coarse.settings)
    networks = coarse.load(out / COARSE, device).networks
    members = [number_of(folder) for folder in trained_networks(out / COARSE)]
    (out / MASKS).mkdir(exist_ok=True)
    shrunk_cases = prepare_cases(dataset, out / COARSE / "cases", recipe.prepare)
    groups = [case.group for case in cases]
    for index, (case, small) in enumerate(zip(cases, shrunk_cases, strict=True)):
        held_out = [index in recipe.split(groups, member, seed)[1] for member in members]
        unseen = [network for network, left_out in zip(networks, held_out, strict=True) if left_out]
        mask = coarse_mask(unseen or networks, np.asarray(small.inputs), small.spacing_mm, case.label.shape, device)
        np.save(out / MASKS / f"{case.name}.npy", mask)


def coarse_mask(
    networks: Sequence[nn.Module], inputs: np.ndarray, spacing_mm: Spacing, size: tuple[int, ...], device: torch.device
) -> np.ndarray:
    """The mask of the networks' mean for inputs [1, x, y, z], brought linearly to a size: [x, y, z] uint8."""
    shrunk_scan = Prepared(inputs, np.ones(inputs.shape[1:], bool), spacing_mm, 0.0)
    whole = Tiling(inputs.shape[1:])
    answers = [run_tiles(at_any_spacing(network, spacing_mm), shrunk_scan, whole, device) for network in networks]
    mean = torch.from_numpy(np.mean(answers, axis=0, dtype=np.float32))
    return (resample(mean, size).numpy() >= COARSE_THRESHOLD).astype(np.uint8)


def note_best_fold(
    plans: Plans,
    cases: list[TrainingCase],
    folds: list[tuple[list[int], list[int]]],
    mirror: bool,
    out: Path,
    device: torch.device,
) -> None:
    """Writes which fold has the highest mean Dice on the cases it left out; done again only after more training."""
    trained = {number_of(folder): kept_weights(folder) for folder in trained_networks(out)}
    steps = [step for _, step in trained.values()]
    if (out / BEST).exists() and json.loads((out / BEST).read_text())["steps"] == steps:
        return
    dice = {}
    for network, (weights, _) in trained.items():
        validated = folds[network % len(folds)][1]
        ensemble = FoldEnsemble(plans, [weights], mirror, device)
        dice[network] = float(np.mean([dice_of(ensemble, cases[index], out) for index in validated]))
    write_json(out / BEST, {"fold": max(dice, key=lambda network: dice[network]), "dice": dice, "steps": steps})


def dice_of(ensemble: FoldEnsemble, case: TrainingCase, out: Path) -> float:
    """Dice of one case; 1 where neither shows bleed."""
    mask = np.load(out / MASKS / f"{case.name}.npy")
    found = ensemble.probability(np.stack([case.inputs[0], mask]), case.spacing_mm) >= 0.5
    truth, counted = np.asarray(case.label) == 1, np.asarray(case.label) != IGNORED
    total = int((found & counted).sum() + truth.sum())
    return 1.0 if total == 0 else 2 * int((found & truth).sum()) / total


class CoarseFinePredictor:
    """A `system.Predictor`; see there.

    Args:
        coarse: networks of the coarse stage.
        prepare: scan -> what they see.
        fine: nnU-Net's best fold.
        device: to run on.
    """

    threshold = 0.5

    def __init__(self, coarse: Sequence[nn.Module], prepare: Prepare, fine: FoldEnsemble, device: torch.device) -> None:
        self.coarse, self.prepare, self.fine, self.device = coarse, prepare, fine, device

    @property
    def parameters(self) -> int:
        return self.fine.parameters + sum(value.numel() for network in self.coarse for value in network.parameters())

    def channels(self, volume: Volume) -> Prepared:
        """Densities and the coarse mask: what the fine network is given, [2, x, y, z]."""
        small, whole = self.prepare(volume), densities(volume)
        mask = coarse_mask(self.coarse, small.inputs, small.spacing_mm, whole.inside.shape, self.device)
        return dataclasses.replace(whole, inputs=np.concatenate([whole.inputs, mask[None]]))

    def probability(self, volume: Volume) -> np.ndarray:
        """[x, y, z] float32, 0..1, on the volume's own grid."""
        prepared = self.channels(volume)
        return restored(self.fine.probability(prepared.inputs, prepared.spacing_mm), volume).clip(0, 1)

    def mask(self, volume: Volume, probability: np.ndarray | None = None) -> np.ndarray:
        """[x, y, z] bool on the volume's own grid."""
        return (self.probability(volume) if probability is None else probability) >= self.threshold
