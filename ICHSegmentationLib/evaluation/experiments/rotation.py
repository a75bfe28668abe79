"""Dice against the angle by which the patient is turned in the scanner (Diaz et al., MELBA 2024, figure of rotations).

What a turn must not be blamed for is kept alike in all views. The part of the patient that is seen: where angles lie
between quarter turns, every view of a plane, that at 0 degrees too, shows the disc in that plane that stays in the
field at all angles, and air around it. Sharpness and noise: quarter turns move voxels and change none; other turns
take for each voxel the nearest one of the scan, because interpolation would leave less noise and softer rims.

Scans of thick slices are brought to cubic voxels first. Else a turn out of the slices' plane would turn the slices
with it: what stacks a scan along its thickest axis would turn it back, and nothing else is comparable between planes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from ICHSegmentationLib.baselines.system import Predictor
from ICHSegmentationLib.data.nnunet import LabelledScan
from ICHSegmentationLib.evaluation.figures import MARKERS, dice_against
from ICHSegmentationLib.evaluation.metrics import dice
from ICHSegmentationLib.geometry import PADDING_HU, Volume

PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}  # the array axes that turn, in a scan along RAS

AIM = 0.02  # change of the mean Dice that a turn may bring about
ENLARGED = 0.08  # change up to which the figure shows it enlarged
CUBIC = 1.001  # ratio of a voxel's sides up to which it counts as a cube


@dataclass(frozen=True)
class Turn:
    """One prediction of a turned scan.

    Attributes:
        system: who predicted.
        plane: name of `PLANES`.
        angle_deg: by which the scan is turned.
        case: name of the scan.
        dice: against the reference that was turned with it.
    """

    system: str
    plane: str
    angle_deg: float
    case: str
    dice: float


Measure = Callable[[], list[Turn]]
Kept = Callable[[str, LabelledScan, Measure], list[Turn]]


def never_kept(system: str, scan: LabelledScan, measure: Measure) -> list[Turn]:
    """Measures whenever it is asked."""
    return measure()


def rotation_experiment(
    predictors: Mapping[str, Predictor],
    scans: Sequence[LabelledScan],
    angles_deg: Sequence[float],
    planes: Sequence[str] = tuple(PLANES),
    kept: Kept = never_kept,
) -> list[Turn]:
    """Predicts every scan, in cubic voxels, at every angle in every plane.

    Args:
        predictors: by the name for table and figure.
        scans: with their references.
        angles_deg: 0 is always among them.
        planes: names of `PLANES`.
        kept: takes a system's name, a scan and a function that predicts its turns; gives what the function gives, now
            or earlier.
    """
    turns: list[Turn] = []
    for scan in scans:
        for name, predictor in predictors.items():
            turns += kept(name, scan, partial(turns_of, name, predictor, scan, angles_deg, planes))
    return turns


def turns_of(
    name: str, predictor: Predictor, scan: LabelledScan, angles_deg: Sequence[float], planes: Sequence[str]
) -> list[Turn]:
    """One system's predictions of one scan; arguments as those of `rotation_experiment`."""
    angles = sorted({0.0, *angles_deg})
    show = in_disc if any(is_between_quarters(angle) for angle in angles) else whole
    cubes = in_cubes(scan)
    turns = []
    for plane in planes:
        seen = show(cubes, PLANES[plane])
        for angle in angles:
            view = rotated(seen, PLANES[plane], angle)
            turns.append(Turn(name, plane, angle, scan.name, dice(predictor.mask(view.volume), view.label > 0)))
    return turns


def is_between_quarters(angle_deg: float) -> bool:
    return angle_deg % 90 != 0


def whole(scan: LabelledScan, axes: tuple[int, int]) -> LabelledScan:
    """The scan as it is."""
    return scan


def in_disc(scan: LabelledScan, axes: tuple[int, int]) -> LabelledScan:
    """The scan with air, and no label, where a turn in this plane would bring other parts of the patient into view."""
    volume = scan.volume
    sides_mm = [volume.hu.shape[axis] * volume.spacing_mm[axis] for axis in axes]
    distance = np.zeros(1)
    for axis in axes:
        from_middle = (np.arange(volume.hu.shape[axis]) - (volume.hu.shape[axis] - 1) / 2) * volume.spacing_mm[axis]
        distance = distance + from_middle.reshape([-1 if other == axis else 1 for other in range(3)]) ** 2
    seen = distance <= (min(sides_mm) / 2) ** 2
    hu = np.where(seen, volume.hu, np.float32(PADDING_HU))
    return LabelledScan(scan.name, dataclasses.replace(volume, hu=hu), np.where(seen, scan.label, 0).astype(np.uint8))


def cube_side_mm(volume: Volume) -> float:
    """Side of a cube as large as a voxel: cubic voxels of it are as many as the scan's."""
    return float(np.prod(volume.spacing_mm) ** (1 / 3))


def in_cubes(scan: LabelledScan) -> LabelledScan:
    """The scan and its reference in cubic voxels, as many as before, about the same middle; as it is if it has them.

    Averaged along an axis whose voxels grow, linear along one whose voxels shrink; bleed where it fills half of one.
    """
    volume, side_mm = scan.volume, cube_side_mm(scan.volume)
    if max(volume.spacing_mm) < CUBIC * min(volume.spacing_mm):
        return scan
    hu, bleed = volume.hu, (scan.label > 0).astype(np.float32)
    for axis, step_mm in enumerate(volume.spacing_mm):
        weights = resampling_weights(hu.shape[axis], step_mm, side_mm)
        hu, bleed = (np.moveaxis(np.tensordot(weights, each, (1, axis)), 0, axis) for each in (hu, bleed))
    affine = volume.affine.copy()
    affine[:3, :3] *= side_mm / np.linalg.norm(affine[:3, :3], axis=0)
    middles = [(np.array(array.shape) - 1) / 2 for array in (volume.hu, hu)]
    affine[:3, 3] += volume.affine[:3, :3] @ middles[0] - affine[:3, :3] @ middles[1]
    cubes = Volume(np.asfortranarray(hu, np.float32), affine, info=volume.info)
    return LabelledScan(scan.name, cubes, (bleed >= 0.5).astype(np.uint8))


def resampling_weights(count: int, step_mm: float, new_step_mm: float) -> np.ndarray:
    """What each of `count` voxels gives to each new one over the same extent, [new, old] float32; rows add up to 1."""
    size = max(1, round(count * step_mm / new_step_mm))
    new, old = ((np.arange(n) - (n - 1) / 2) * step for n, step in ((size, new_step_mm), (count, step_mm)))
    apart = np.abs(new[:, None] - old)
    if new_step_mm < step_mm:
        weights = np.clip(1 - apart / step_mm, 0, None)
    else:
        weights = np.clip((new_step_mm + step_mm) / 2 - apart, 0, step_mm)  # how far the two overlap
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def rotated(scan: LabelledScan, axes: tuple[int, int], angle_deg: float) -> LabelledScan:
    """The scan with what it shows turned about its middle, from the first of the two array axes towards the second."""
    quarters, rest = divmod(angle_deg, 90)
    if rest == 0:
        return quarter_turned(scan, axes, int(quarters) % 4)
    return nearest(scan, *backwards(scan.volume, axes, angle_deg))


def nearest(scan: LabelledScan, matrix: np.ndarray, offset: np.ndarray) -> LabelledScan:
    """The scan on its own grid with, at each index, the voxel nearest to `matrix @ index + offset`."""
    volume = scan.volume
    hu = ndimage.affine_transform(volume.hu, matrix, offset, order=0, cval=PADDING_HU)
    bleed = ndimage.affine_transform((scan.label > 0).astype(np.uint8), matrix, offset, order=0)
    return LabelledScan(scan.name, dataclasses.replace(volume, hu=hu), bleed)


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


def largest_change(turns: Sequence[Turn], system: str, between_quarters: bool) -> float:
    """The largest difference, over angles and planes, of the mean Dice from that at 0 degrees in the same plane.

    Over quarter turns, or over the angles between them; not a number where there are none.
    """
    chosen = {
        (turn.plane, turn.angle_deg)
        for turn in turns
        if turn.system == system and is_between_quarters(turn.angle_deg) == between_quarters
    }
    changes = [mean_dice(turns, system, plane, angle) - mean_dice(turns, system, plane, 0.0) for plane, angle in chosen]
    return max(changes, key=abs, default=float("nan"))


def rotation_figure(turns: Sequence[Turn], title: str) -> Figure:
    """Mean Dice against the angle, a column for each plane and a line for each system; below its change, enlarged."""
    planes = list(dict.fromkeys(turn.plane for turn in turns))
    systems = list(dict.fromkeys(turn.system for turn in turns))
    angles = sorted({turn.angle_deg for turn in turns})
    figure = Figure(figsize=(3.3 * len(planes) + 1.4, 5.6), dpi=80, layout="constrained")
    for column, plane in enumerate(planes):
        upper = figure.add_subplot(2, len(planes), column + 1)
        lower = figure.add_subplot(2, len(planes), len(planes) + column + 1)
        lower.axhspan(-AIM, AIM, color="gray", alpha=0.2, linewidth=0)
        for system, marker in zip(systems, itertools.cycle(MARKERS)):
            means = np.array([mean_dice(turns, system, plane, angle) for angle in angles])
            label = system if column == 0 else None  # one legend is enough
            upper.plot(angles, means, marker=marker, markersize=4, linewidth=1.2, label=label)
            lower.plot(angles, means - means[angles.index(0.0)], marker=marker, markersize=4, linewidth=1.2)
        upper.set_title(f"turned in the {plane} plane", fontsize=9)
        dice_against(upper, "", "mean Dice" if column == 0 else "")
        lower.set_ylim(-ENLARGED, ENLARGED)
        lower.set_xlabel("angle (degrees)")
        lower.set_ylabel(f"change from 0 degrees\n(enlarged; gray: within {AIM:g})" if column == 0 else "")
        lower.grid(alpha=0.3)
        for axes in (upper, lower):
            axes.set_xticks(range(0, 181, 45))
    figure.suptitle(title, fontsize=8)
    return figure
