"""The files of an evaluation."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from ICHSegmentationLib.evaluation.evaluate import Evaluation, to_json
from ICHSegmentationLib.evaluation.figures import bland_altman, dice_by_volume, worst_and_best
from ICHSegmentationLib.evaluation.pairs import Pair
from ICHSegmentationLib.evaluation.statistics import PairedTest
from ICHSegmentationLib.evaluation.tables import cases_csv
from ICHSegmentationLib.report import to_json as json_text
from ICHSegmentationLib.staging import whole_or_not_at_all, write_text


def write_evaluation(
    folder: Path, evaluation: Evaluation, pairs: list[Pair], tests: dict[str, PairedTest] | None = None
) -> None:
    """Writes `evaluation_cases.csv`, `evaluation.json` and the pictures into `folder`, which must exist.

    The overlays of cases are written where the pairs name their scans.
    """
    write_text(folder / "evaluation_cases.csv", cases_csv(evaluation))
    write_text(folder / "evaluation.json", json_text(to_json(evaluation, tests)))
    save(bland_altman(evaluation), folder / "evaluation_bland_altman.png")
    save(dice_by_volume(evaluation), folder / "evaluation_dice_by_volume.png")
    if all(pair.image is not None for pair in pairs):
        save(worst_and_best(evaluation, pairs), folder / "evaluation_overlays.png")


def save(figure: Figure, path: Path) -> None:
    """Writes a picture, whole or not at all."""
    with whole_or_not_at_all(path) as partial:
        figure.savefig(partial, format="png")
