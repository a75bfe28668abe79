"""Pictures of an evaluation: agreement of volumes, Dice against volume, the worst and the best cases."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ICHSegmentationLib.data.grids import check_same_grid
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.evaluate import Case, Evaluation
from ICHSegmentationLib.evaluation.pairs import LabelNames, Pair, read_labels
from ICHSegmentationLib.geometry import others
from ICHSegmentationLib.image_files import read_image_file
from ICHSegmentationLib.report import WINDOW_HU, as_seen
from ICHSegmentationLib.terminology import DISCLAIMER

PREDICTED, TRUE, MEASURED = "#ff5a36", "#36c5ff", "#33506b"
MARKERS = "os^vDPX"  # of systems, for eyes and printers without colours
SHOWN = 4  # worst, and best


def bland_altman(evaluation: Evaluation) -> Figure:
    """Error of the volume against the mean of measured and true volume, with bias and limits of agreement."""
    figure = Figure(figsize=(6, 4.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    measured = np.array([case.metrics.predicted_ml for case in evaluation.cases])
    true = np.array([case.metrics.reference_ml for case in evaluation.cases])
    volume = evaluation.overall.volume
    axes.plot((measured + true) / 2, measured - true, "o", color=MEASURED, alpha=0.7)
    axes.axhline(volume.bias_ml, color=MEASURED, label=f"bias {volume.bias_ml:+.2f} mL")
    if np.isfinite(volume.lower_ml):
        label = f"limits of agreement {volume.lower_ml:.2f} to {volume.upper_ml:.2f} mL"
        axes.axhline(volume.lower_ml, color=MEASURED, linestyle="--", label=label)
        axes.axhline(volume.upper_ml, color=MEASURED, linestyle="--")
    axes.set_xlabel("mean of measured and true volume (mL)")
    axes.set_ylabel("measured minus true volume (mL)")
    axes.legend(fontsize=8)
    axes.set_title(f"Agreement of volumes, {len(measured)} cases. {DISCLAIMER}", fontsize=8)
    return figure


def dice_by_volume(evaluation: Evaluation) -> Figure:
    """Dice of each case with bleed against its true volume."""
    figure = Figure(figsize=(6, 4.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    bleeding = [case.metrics for case in evaluation.cases if case.metrics.reference_ml > 0]
    axes.plot([each.reference_ml for each in bleeding], [each.dice for each in bleeding], "o", color=MEASURED)
    if bleeding:
        axes.set_xscale("log")
    dice_against(axes, "true volume (mL)", "Dice")
    axes.set_title(f"Dice against volume, {len(bleeding)} cases with bleed. {DISCLAIMER}", fontsize=8)
    return figure


def dice_against(axes: Axes, across: str, upwards: str = "mean Dice") -> None:
    """The frame of a picture of Dice, 0 to 1 upwards, against something; beside it the legend of lines with labels."""
    axes.set_xlabel(across)
    axes.set_ylabel(upwards)
    axes.set_ylim(-0.03, 1.03)
    axes.grid(alpha=0.3)
    figure = axes.get_figure()
    if figure is not None and axes.get_legend_handles_labels()[0]:
        figure.legend(fontsize=7, loc="outside right upper")


def worst_and_best(evaluation: Evaluation, pairs: list[Pair]) -> Figure:
    """Overlays of up to four cases of the lowest Dice above and up to four of the highest below.

    Each is seen on the slice where prediction and reference together cover most.
    """
    by_case = {pair.case: pair for pair in pairs}
    ranked = sorted(evaluation.cases, key=lambda case: case.metrics.dice)
    shown = min(SHOWN, (len(ranked) + 1) // 2)
    rows = [ranked[:shown], ranked[len(ranked) - min(shown, len(ranked) - shown) :][::-1]]
    figure = Figure(figsize=(3 * shown, 7), dpi=100, facecolor="black", layout="constrained")
    for row, cases in enumerate(rows):
        for column, case in enumerate(cases):
            axes = figure.add_subplot(2, shown, row * shown + column + 1)
            show_case(axes, case, by_case[case.name], evaluation.labels)
    figure.suptitle(
        f"Lowest Dice above, highest below: predicted (orange), reference (blue)\n{DISCLAIMER}",
        color="white",
        fontsize=9,
    )
    return figure


def show_case(axes: Axes, case: Case, pair: Pair, labels: LabelNames) -> None:
    """The slice where prediction and reference cover most, both outlined; what is ignored shows as no bleed."""
    if pair.image is None:
        raise InputError(f"overlays want the scan of case {pair.case}; name the folder of scans with --images.")
    scan = read_image_file(pair.image)
    prediction, _ = read_labels(pair.prediction, labels.in_prediction)
    reference, grid = read_labels(pair.reference, labels.in_reference)
    check_same_grid(pair.case, scan, grid, ("the scan", "the reference"))
    counted = reference != labels.ignored
    true, predicted = (reference > 0) & counted, (prediction > 0) & counted
    covered = (true | predicted).sum(axis=others(scan.stack_axis))
    index = int(covered.argmax())
    hu, across, down = as_seen(scan, scan.hu, index)
    axes.imshow(hu, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], aspect=down / across, interpolation="nearest")
    for mask, colour in ((true, TRUE), (predicted, PREDICTED)):
        outline, _, _ = as_seen(scan, mask, index)
        if outline.any():
            axes.contour(outline, [0.5], colors=[colour], linewidths=1.0)
    title = f"{case.name}, slice {index + 1}\nDice {case.metrics.dice:.2f}, {case.metrics.volume_error_ml:+.1f} mL"
    axes.set_title(title, color="lightgray", fontsize=8, pad=2)
    axes.axis("off")
