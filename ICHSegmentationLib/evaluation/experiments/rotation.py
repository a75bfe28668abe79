"""Dice against the angle by which the patient is turned (Diaz et al., MELBA 2024, figure of rotations)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from ICHSegmentationLib.baselines.system import Predictor
from ICHSegmentationLib.evaluation.experiments.turning import PLANES, Patient, is_between_quarters
from ICHSegmentationLib.evaluation.figures import MARKERS, dice_against
from ICHSegmentationLib.evaluation.metrics import dice

AIM = 0.02  # change of the mean Dice that a turn may bring about
ENLARGED = 0.08  # change up to which the figure shows it enlarged


@dataclass(frozen=True)
class Turn:
    """One prediction of a turned patient.

    Attributes:
        system: who predicted.
        plane: name of `PLANES`.
        angle_deg: by which the patient is turned.
        case: name of the patient's scan.
        dice: against the reference that was turned with it.
    """

    system: str
    plane: str
    angle_deg: float
    case: str
    dice: float


Measure = Callable[[], list[Turn]]
Kept = Callable[[str, Patient, Measure], list[Turn]]


def never_kept(system: str, patient: Patient, measure: Measure) -> list[Turn]:
    """Measures whenever it is asked."""
    return measure()


def rotation_experiment(
    predictors: Mapping[str, Predictor],
    patients: Sequence[Patient],
    angles_deg: Sequence[float],
    planes: Sequence[str] = tuple(PLANES),
    kept: Kept = never_kept,
) -> list[Turn]:
    """Predicts every patient, in cubic voxels, at every angle in every plane.

    Args:
        predictors: by the name for table and figure.
        patients: with their references.
        angles_deg: 0 is always among them.
        planes: names of `PLANES`.
        kept: takes a system's name, a patient and a function that predicts the turns; gives what the function gives,
            now or earlier.
    """
    turns: list[Turn] = []
    for patient in patients:
        for name, predictor in predictors.items():
            turns += kept(name, patient, partial(turns_of, name, predictor, patient, angles_deg, planes))
    return turns


def turns_of(
    name: str, predictor: Predictor, patient: Patient, angles_deg: Sequence[float], planes: Sequence[str]
) -> list[Turn]:
    """One system's predictions of one patient; arguments as those of `rotation_experiment`."""
    angles = sorted({0.0, *angles_deg})
    return [
        Turn(name, plane, angle, patient.name, dice(predictor.mask(view.volume), view.label > 0))
        for plane in planes
        for angle, view in zip(angles, patient.views(PLANES[plane], angles), strict=True)
    ]


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
