"""Dice against the angle by which the patient is turned in the scanner (Diaz et al., MELBA 2024, figure of rotations).

Turns by multiples of 90 degrees move voxels and change none; turns between them resample the scan (linearly) and the
reference (linearly, then at one half).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from ICHSegmentationLib.baselines.system import Predictor
from ICHSegmentationLib.data.nnunet import LabelledScan
from ICHSegmentationLib.evaluation.metrics import dice
from ICHSegmentationLib.geometry import PADDING_HU, Volume

PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}  # the array axes that turn, in a scan along RAS


@dataclass(frozen=True)
class Turn:
    """One prediction of a turned scan."""

    system: str
    plane: str
    angle_deg: float
    case: str
    dice: float


def rotation_experiment(
    predictors: Mapping[str, Predictor],
    scans: Sequence[LabelledScan],
    angles_deg: Sequence[float],
    planes: Sequence[str] = tuple(PLANES),
    on_turn: Callable[[int, int], None] = lambda done, count: None,
) -> list[Turn]:
    """Predicts every scan at every angle in every plane; the scan as it is counts for all planes at 0 degrees.

    Args:
        predictors: by the name for table and figure.
        scans: with their references.
        angles_deg: 0 is always among them.
        planes: names of `PLANES`.
        on_turn: is told how many predictions of how many are done.
    """
    turned = [angle for angle in angles_deg if angle % 360]
    count = len(predictors) * len(scans) * (1 + len(planes) * len(turned))
    turns: list[Turn] = []
    done = 0
    for scan in scans:
        for plane, angle in [("", 0.0), *((plane, angle) for plane in planes for angle in turned)]:
            view = rotated(scan, PLANES[plane], angle) if plane else scan
            for name, predictor in predictors.items():
                found = dice(predictor.mask(view.volume), view.label > 0)
                turns += [Turn(name, each, angle, scan.name, found) for each in ([plane] if plane else planes)]
                done += 1
                on_turn(done, count)
    return turns


def rotated(scan: LabelledScan, axes: tuple[int, int], angle_deg: float) -> LabelledScan:
    """The scan with what it shows turned about its middle, from the first of the two array axes towards the second."""
    quarters, rest = divmod(angle_deg, 90)
    if rest == 0:
        return quarter_turned(scan, axes, int(quarters) % 4)
    volume = scan.volume
    matrix, offset = backwards(volume, axes, angle_deg)
    hu = ndimage.affine_transform(volume.hu, matrix, offset, order=1, cval=PADDING_HU)
    bleed = ndimage.affine_transform((scan.label > 0).astype(np.float32), matrix, offset, order=1)
    return LabelledScan(scan.name, dataclasses.replace(volume, hu=hu), (bleed >= 0.5).astype(np.uint8))


def backwards(volume: Volume, axes: tuple[int, int], angle_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Voxel index after the turn -> voxel index before it, as matrix and offset."""
    turn = np.eye(3)
    first, second = axes
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    turn[[first, second], [first, second]] = cosine
    turn[first, second], turn[second, first] = sine, -sine
    spacing = np.array(volume.spacing_mm)
    matrix = turn * spacing / spacing[:, None]
    middle = (np.array(volume.hu.shape) - 1) / 2
    return matrix, middle - matrix @ middle


def quarter_turned(scan: LabelledScan, axes: tuple[int, int], quarters: int) -> LabelledScan:
    """The scan turned by multiples of 90 degrees: its voxels move, and their sides with them."""
    volume = scan.volume
    hu, label = (np.asfortranarray(np.rot90(array, quarters, axes)) for array in (volume.hu, scan.label))
    steps = volume.affine[:3, :3]
    lengths = np.linalg.norm(steps, axis=0)
    order = [0, 1, 2]
    if quarters % 2:
        order[axes[0]], order[axes[1]] = axes[1], axes[0]
    affine = volume.affine.copy()
    affine[:3, :3] = steps / lengths * lengths[order]
    middles = [(np.array(array.shape) - 1) / 2 for array in (volume.hu, hu)]
    affine[:3, 3] += steps @ middles[0] - affine[:3, :3] @ middles[1]
    return LabelledScan(scan.name, Volume(hu, affine, info=volume.info), label)


def mean_dice(turns: Sequence[Turn], system: str, plane: str, angle_deg: float) -> float:
    """Over the cases."""
    chosen = (system, plane, angle_deg)
    return float(np.mean([turn.dice for turn in turns if (turn.system, turn.plane, turn.angle_deg) == chosen]))


def largest_change(turns: Sequence[Turn], system: str, quarters_only: bool = False) -> float:
    """The largest difference, over angles and planes, of the mean Dice from that of the scans as they are."""
    changes = []
    for plane, angle in {(turn.plane, turn.angle_deg) for turn in turns if turn.system == system}:
        if not quarters_only or angle % 90 == 0:
            changes.append(mean_dice(turns, system, plane, angle) - mean_dice(turns, system, plane, 0.0))
    return max(changes, key=abs)


def rotation_figure(turns: Sequence[Turn], title: str) -> Figure:
    """Mean Dice against the angle, a panel for each plane and a line for each system."""
    planes = list(dict.fromkeys(turn.plane for turn in turns))
    systems = list(dict.fromkeys(turn.system for turn in turns))
    angles = sorted({turn.angle_deg for turn in turns})
    figure = Figure(figsize=(3.6 * len(planes), 3.6), dpi=100, layout="constrained")
    for place, plane in enumerate(planes):
        axes = figure.add_subplot(1, len(planes), place + 1)
        for system in systems:
            means = [mean_dice(turns, system, plane, angle) for angle in angles]
            axes.plot(angles, means, marker="o", markersize=3, linewidth=1.2, label=system)
        axes.set_title(f"turned in the {plane} plane", fontsize=9)
        axes.set_xlabel("angle (degrees)")
        axes.set_ylim(-0.02, 1.02)
        axes.grid(alpha=0.3)
        if place == 0:
            axes.set_ylabel("mean Dice")
            axes.legend(fontsize=7)
    figure.suptitle(title, fontsize=8)
    return figure
