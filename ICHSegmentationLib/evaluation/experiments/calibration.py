"""Whether a probability means what it says, and whether the members' range covers the true volume.

Expected calibration error (Guo et al., ICML 2017): voxels are put into bins by their probability; in each the share
of bleed should be the mean probability. Most voxels of a head are rightly near 0 and hide every error, so the error
is also given for the voxels that are in question, of a probability of 1 % or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from ICHSegmentationLib.data.nnunet import LabelledScan
from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.evaluation.figures import MEASURED, PREDICTED
from ICHSegmentationLib.evaluation.jobs import OnNews, nobody
from ICHSegmentationLib.inference import segment, volume_of

BINS = 10
IN_QUESTION = 0.01  # probability from which a voxel is
TISSUE_HU = -200.0


@dataclass(frozen=True)
class Reliability:
    """Voxels by their probability; arrays [bins].

    Attributes:
        voxels: in each bin.
        probability: their mean; not a number in an empty bin.
        bleed: share of them that is bleed; likewise.
    """

    voxels: np.ndarray
    probability: np.ndarray
    bleed: np.ndarray

    @property
    def expected_error(self) -> float:
        """Mean over the voxels of the gap between probability and share of bleed in their bin."""
        used = self.voxels > 0
        gaps = np.abs(self.probability[used] - self.bleed[used])
        return float(self.voxels[used] @ gaps / self.voxels.sum()) if used.any() else float("nan")


def reliability(probability: np.ndarray, bleed: np.ndarray) -> Reliability:
    """The bins of voxels [n] with a probability 0..1 and whether each is bleed."""
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    voxels = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = np.bincount(bins, weights=probability, minlength=BINS) / voxels
        shares = np.bincount(bins, weights=bleed, minlength=BINS) / voxels
    return Reliability(voxels, means, shares)


def head_mask(hu: np.ndarray) -> np.ndarray:
    """The largest piece of tissue and bone in a scan [x, y, z], holes filled slice by slice."""
    pieces, count = ndimage.label(hu > TISSUE_HU)
    if count == 0:
        return np.zeros(hu.shape, bool)
    largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    return np.stack([ndimage.binary_fill_holes(largest[:, :, z]) for z in range(hu.shape[2])], axis=2)


@dataclass(frozen=True)
class Covered:
    """One case's volumes: true, measured, and the range over the members, in mL."""

    case: str
    true_ml: float
    measured_ml: float
    low_ml: float
    high_ml: float

    @property
    def holds(self) -> bool:
        return self.low_ml <= self.true_ml <= self.high_ml


@dataclass(frozen=True)
class Calibration:
    """What an ensemble's probability and range are worth.

    Attributes:
        head: all voxels of the heads.
        in_question: those of a probability of 1 % or more.
        volumes: of the cases with bleed.
    """

    head: Reliability
    in_question: Reliability
    volumes: list[Covered]

    @property
    def coverage(self) -> float:
        """Share of the cases with bleed whose true volume lies in the members' range."""
        return float(np.mean([case.holds for case in self.volumes])) if self.volumes else float("nan")


def calibration_experiment(
    ensemble: Ensemble,
    scans: Sequence[LabelledScan],
    quality: str = "auto",
    device: str = "auto",
    on_news: OnNews = nobody,
) -> Calibration:
    """Segments every scan and compares with its reference; `quality` and `device` as in `inference.segment`.

    `on_news` is told in a sentence what is begun.
    """
    probabilities, truths, volumes = [], [], []
    for number, scan in enumerate(scans, 1):
        on_news(f"{scan.name} is segmented ({number} of {len(scans)}) ...")
        result = segment(scan.volume, ensemble, quality, device)
        head = head_mask(scan.volume.hu)
        bleed = scan.label > 0
        probabilities.append(result.probability[head])
        truths.append(bleed[head])
        if bleed.any():
            members = result.member_volumes_ml
            true_ml = volume_of(bleed, scan.volume)
            volumes.append(Covered(scan.name, true_ml, result.volume_ml, min(members), max(members)))
    probability, truth = np.concatenate(probabilities), np.concatenate(truths)
    asked = probability >= IN_QUESTION
    return Calibration(reliability(probability, truth), reliability(probability[asked], truth[asked]), volumes)


def calibration_figure(found: Calibration, title: str) -> Figure:
    """Left the reliability diagram, right each case's range of volumes against its true volume.

    Above the lowest bin both curves on the left are of the same voxels: the wide one lies below the narrow one.
    """
    figure = Figure(figsize=(8.5, 4), dpi=100, layout="constrained")
    left, right = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    left.plot([0, 1], [0, 1], color="gray", linestyle="--")
    curves = (
        ("all of the head", found.head, "#b9cbdb", 6),
        ("1 % or more", found.in_question, MEASURED, 2),
    )
    for name, bins, colour, width in curves:
        used = bins.voxels > 0
        label = f"{name}: expected error {bins.expected_error:.4f}"
        left.plot(bins.probability[used], bins.bleed[used], color=colour, linewidth=width, marker="o", label=label)
    left.set_xlabel("probability")
    left.set_ylabel("share that is bleed")
    left.legend(fontsize=7)
    highest = max([case.true_ml for case in found.volumes] + [case.high_ml for case in found.volumes] + [1.0])
    right.plot([0, highest], [0, highest], color="gray", linestyle="--")
    for holds, colour, label in ((True, MEASURED, "true volume in the range"), (False, PREDICTED, "outside")):
        cases = [case for case in found.volumes if case.holds == holds]
        true, low, high = ([getattr(case, name) for case in cases] for name in ("true_ml", "low_ml", "high_ml"))
        right.vlines(true, low, high, color=colour, linewidth=2)
        right.plot(true, [case.measured_ml for case in cases], "o", color=colour, markersize=4, label=label)
    right.legend(fontsize=7, loc="lower right")
    right.set_xlabel("true volume (mL)")
    right.set_ylabel("measured, and range over members (mL)")
    right.set_title(f"range covers {found.coverage:.0%} of {len(found.volumes)} cases with bleed", fontsize=9)
    figure.suptitle(title, fontsize=8)
    return figure
