"""A comparison as a table (text, Markdown, CSV, JSON) and a picture."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.comparison import Failure, Standing
from ICHSegmentationLib.evaluation.evaluate import compare_paired, finite_or_null, to_json
from ICHSegmentationLib.evaluation.figures import MEASURED, PREDICTED
from ICHSegmentationLib.evaluation.results import save
from ICHSegmentationLib.evaluation.statistics import Summary
from ICHSegmentationLib.report import to_json as json_text
from ICHSegmentationLib.staging import write_text
from ICHSegmentationLib.terminology import DISCLAIMER

HEADINGS = (
    "System", "DSC (95 % interval)", "p", "NSD", "RVD", "HD mm", "Volume error mL", "Lesions found", "False a scan",
    "Parameters", "Training min (CPU min)", "s a scan", "MB training", "MB predicting",
)  # fmt: skip


def write_standings(
    folder: Path, standings: Sequence[Standing], failures: Sequence[Failure], setting: dict[str, Any]
) -> None:
    """Writes `comparison.md`, `.csv`, `.json` and `.png`; `setting` says in words and numbers what was compared.

    Raises:
        InputError: there are no standings; an earlier table stays.
    """
    refuse_none(standings, failures)
    write_text(folder / "comparison.md", markdown(standings, failures, setting))
    write_text(folder / "comparison.csv", as_csv(standings))
    write_text(folder / "comparison.json", json_text(as_json(standings, failures, setting)))
    save(standings_figure(standings, setting), folder / "comparison.png")


def refuse_none(standings: Sequence[Standing], failures: Sequence[Failure]) -> None:
    """Raises an InputError where every entrant failed, with the first one's reason."""
    if not standings:
        raise InputError(f"none of the {len(failures)} systems could be judged; the first: {failures[0].reason}")


def rows(standings: Sequence[Standing]) -> list[list[str]]:
    """The table's cells, systems of higher mean Dice first; p is that of Wilcoxon's test against the first."""
    ranked = sorted(standings, key=lambda standing: -standing.evaluation.overall.metrics["dice"].mean)
    table = []
    for standing in ranked:
        group, training = standing.evaluation.overall, standing.training
        p = math.nan if standing is ranked[0] else compare_paired(ranked[0].evaluation, standing.evaluation)["dice"].p
        table.append(
            [
                standing.entrant.label,
                with_interval(group.metrics["dice"]),
                number(p, "{:.2g}"),
                number(group.metrics["surface_dice"].mean, "{:.3f}"),
                number(group.metrics["relative_volume_difference"].mean, "{:.3f}"),
                hausdorff(group.metrics["hausdorff_mm"]),
                f"{group.volume.bias_ml:+.1f}, absolute {group.volume.mean_absolute_error_ml:.1f}",
                f"{group.lesions_found}/{group.lesions}",
                f"{group.false_lesions_per_scan:.1f}",
                f"{standing.parameters:,}",
                "-" if training is None else f"{training.seconds / 60:.1f} ({training.processor_seconds / 60:.1f})",
                f"{standing.seconds_per_scan:.2f}",
                "-" if training is None else f"{training.memory_mb:.0f}",
                f"{standing.prediction.memory_mb:.0f}",
            ]
        )
    return table


def with_interval(summary: Summary) -> str:
    interval = "" if math.isnan(summary.low) else f" ({summary.low:.3f} to {summary.high:.3f})"
    return f"{summary.mean:.3f}{interval}"


def hausdorff(summary: Summary) -> str:
    if summary.infinite:
        return f"inf ({summary.infinite}; others {number(summary.finite_mean, '{:.1f}')})"
    return number(summary.mean, "{:.1f}")


def number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else form.format(value)


def markdown(standings: Sequence[Standing], failures: Sequence[Failure], setting: dict[str, Any]) -> str:
    """The table, the settings below it."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|" + " --- |" * len(HEADINGS)]
    lines += [f"| {' | '.join(cells)} |" for cells in rows(standings)]
    lines += ["", "p: Wilcoxon's signed-rank test of the cases' Dice against the first system."]
    lines += [f"Failed: {failure.entrant.label}: {failure.reason}" for failure in failures]
    lines += ["", *(f"- {name}: {value}" for name, value in setting.items()), "", DISCLAIMER, ""]
    return "\n".join(lines)


def printed(standings: Sequence[Standing]) -> str:
    """The table for a terminal."""
    table = [list(HEADINGS), *rows(standings)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) for cells in table]
    return "\n".join(line.rstrip() for line in [*lines, DISCLAIMER])


def as_csv(standings: Sequence[Standing]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*HEADINGS, "note"])
    writer.writerows([*cells, DISCLAIMER] for cells in rows(standings))
    return text.getvalue()


def as_json(standings: Sequence[Standing], failures: Sequence[Failure], setting: dict[str, Any]) -> dict[str, Any]:
    systems = []
    for standing in standings:
        entrant = dataclasses.asdict(standing.entrant)
        entrant["run"] = None if standing.entrant.run is None else str(standing.entrant.run)
        training = None if standing.training is None else dataclasses.asdict(standing.training)
        systems.append(
            {
                "entrant": entrant,
                "parameters": standing.parameters,
                "training": training,
                "prediction": dataclasses.asdict(standing.prediction),
                "seconds_per_scan": standing.seconds_per_scan,
                "dice": {case.name: case.metrics.dice for case in standing.evaluation.cases},
                "evaluation": to_json(standing.evaluation),
            }
        )
    failed = [{"label": failure.entrant.label, "reason": failure.reason} for failure in failures]
    return finite_or_null({"disclaimer": DISCLAIMER, "setting": setting, "systems": systems, "failed": failed})


def standings_figure(standings: Sequence[Standing], setting: dict[str, Any]) -> Figure:
    """Dice of every case (points) and its mean with the 95 % interval (bar), system by system."""
    ranked = sorted(standings, key=lambda standing: standing.evaluation.overall.metrics["dice"].mean)
    figure = Figure(figsize=(7, 1.2 + 0.45 * len(ranked)), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for place, standing in enumerate(ranked):
        summary = standing.evaluation.overall.metrics["dice"]
        values = standing.evaluation.values("dice")
        axes.plot(values, np.full(len(values), place), "o", color=MEASURED, alpha=0.4, markersize=5)
        axes.plot([summary.mean], [place], "|", color=PREDICTED, markersize=16, markeredgewidth=2)
        if not math.isnan(summary.low):
            axes.plot([summary.low, summary.high], [place, place], color=PREDICTED, linewidth=2)
    axes.set_yticks(range(len(ranked)), [standing.entrant.label for standing in ranked])
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("Dice: cases, mean, 95 % interval of the mean")
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(f"{setting.get('data', '')}. {DISCLAIMER}", fontsize=7)
    return figure
