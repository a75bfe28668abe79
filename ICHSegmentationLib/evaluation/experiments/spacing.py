"""Dice on the same heads scanned at other spacings and slice thicknesses than the systems were trained at."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from ICHSegmentationLib.baselines.system import Predictor
from ICHSegmentationLib.data.nnunet import LabelledScan
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.figures import MARKERS, dice_against
from ICHSegmentationLib.evaluation.jobs import OnNews, nobody
from ICHSegmentationLib.evaluation.metrics import Spacing, dice
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.inference import resample


@dataclass(frozen=True)
class AtSpacing:
    """One prediction of a scan at another spacing."""

    system: str
    spacing_mm: Spacing
    case: str
    dice: float


def spacing_experiment(
    predictors: Mapping[str, Predictor],
    scans: Sequence[LabelledScan],
    spacings_mm: Sequence[Spacing],
    on_news: OnNews = nobody,
) -> list[AtSpacing]:
    """Predicts every scan at every spacing, and judges on that spacing's own voxels.

    `on_news` is told in a sentence what is begun.
    """
    found = []
    for scan in scans:
        for spacing in spacings_mm:
            on_news(f"{scan.name} at {in_words(spacing)} mm ...")
            coarse = at_spacing(scan, spacing)
            for name, predictor in predictors.items():
                score = dice(predictor.mask(coarse.volume), coarse.label > 0)
                found.append(AtSpacing(name, spacing, scan.name, score))
    return found


def at_spacing(scan: LabelledScan, spacing_mm: Spacing) -> LabelledScan:
    """The scan and its reference averaged to coarser voxels over the same extent, bleed where it fills half of one.

    Sides that are no multiple of the new spacing get the nearest spacing that is.

    Raises:
        InputError: the spacing is finer than the scan's, which no resampling can make.
    """
    volume = scan.volume
    if any(new < 0.99 * old for new, old in zip(spacing_mm, volume.spacing_mm, strict=True)):
        raise InputError(
            f"case {scan.name} has voxels of {in_words(volume.spacing_mm)} mm; a test at {in_words(spacing_mm)} mm "
            "would be finer, and coarser ones are wanted."
        )
    steps = zip(volume.hu.shape, volume.spacing_mm, spacing_mm, strict=True)
    size = tuple(max(1, round(side * old / new)) for side, old, new in steps)
    hu = resample(torch.from_numpy(volume.hu), size).numpy()
    bleed = resample(torch.from_numpy((scan.label > 0).astype(np.float32)), size).numpy()
    ratio = np.array(volume.hu.shape) / size
    affine = volume.affine.copy()
    affine[:3, :3] = volume.affine[:3, :3] * ratio
    affine[:3, 3] += volume.affine[:3, :3] @ ((ratio - 1) / 2)
    coarse = Volume(np.asfortranarray(hu), affine, info=volume.info)
    return dataclasses.replace(scan, volume=coarse, label=(bleed >= 0.5).astype(np.uint8))


def in_words(spacing_mm: Spacing) -> str:
    return "x".join(f"{step:.3g}" for step in spacing_mm)


def mean_at(found: Sequence[AtSpacing], system: str, spacing_mm: Spacing) -> float:
    chosen = (system, spacing_mm)
    return float(np.mean([each.dice for each in found if (each.system, each.spacing_mm) == chosen]))


def spacing_figure(found: Sequence[AtSpacing], title: str) -> Figure:
    """Mean Dice at each spacing, a mark for each system; dots lead the eye, spacings have no order."""
    spacings = list(dict.fromkeys(each.spacing_mm for each in found))
    figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for system, marker in zip(dict.fromkeys(each.system for each in found), itertools.cycle(MARKERS)):
        axes.plot([mean_at(found, system, spacing) for spacing in spacings], marker=marker, linestyle=":", label=system)
    axes.set_xticks(range(len(spacings)), [in_words(spacing) for spacing in spacings], rotation=30, fontsize=8)
    dice_against(axes, "voxel of the scan (mm)")
    axes.set_title(title, fontsize=8)
    return figure
