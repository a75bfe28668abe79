"""Evaluations as text: a table for the terminal, a row a case for a spreadsheet."""

from __future__ import annotations

import csv
import io
import math

from ICHSegmentationLib.evaluation.evaluate import METRICS, Evaluation, Group, subtypes_of
from ICHSegmentationLib.evaluation.statistics import Agreement, PairedTest, Summary
from ICHSegmentationLib.terminology import DISCLAIMER


def printed(evaluation: Evaluation) -> str:
    """The summary in some lines."""
    group = evaluation.overall
    lines = [f"{group.cases} cases          mean   95 % interval      median"]
    for name, (heading, _) in METRICS.items():
        lines.append(f"{heading:12s}{summary_in_words(group.metrics[name])}")
    lines.append(f"{'Volume':12s}{agreement_in_words(group.volume)}")
    lines.append(f"{'Lesions':12s}{lesions_in_words(group)}")
    if len(evaluation.by_volume) > 1:
        lines += ["By volume of the reference", *group_rows(evaluation.by_volume)]
    if evaluation.by_subtype:
        lines += ["By the case's largest subtype", *group_rows(evaluation.by_subtype)]
        shares = [f"{name} {share:.0%}" for name, share in evaluation.subtype_found.items()]
        lines.append(f"Share of voxels found: {', '.join(shares)}")
    return "\n".join([*lines, DISCLAIMER])


def summary_in_words(summary: Summary) -> str:
    if summary.cases == 0:
        return "not defined for any case"
    interval = "" if math.isnan(summary.low) else f"{summary.low:.3f} to {summary.high:.3f}"
    text = f"{summary.mean:12.3f}   {interval:16s}   {summary.median:.3f}"
    if summary.infinite:
        text += f"   ({summary.infinite} infinite, the others {summary.finite_mean:.3f})"
    if summary.undefined:
        text += f"   ({summary.undefined} not defined)"
    return text


def agreement_in_words(volume: Agreement) -> str:
    text = f"bias {volume.bias_ml:+.2f} mL, mean absolute error {volume.mean_absolute_error_ml:.2f} mL"
    if math.isnan(volume.lower_ml):
        return text
    return f"{text}, limits of agreement {volume.lower_ml:.2f} to {volume.upper_ml:.2f} mL"


def lesions_in_words(group: Group) -> str:
    share = "" if group.lesions == 0 else f" ({group.lesion_sensitivity:.0%})"
    return f"{group.lesions_found} of {group.lesions} found{share}, {group.false_lesions_per_scan:.2f} false a scan"


def group_rows(groups: dict[str, Group]) -> list[str]:
    rows = []
    for name, group in groups.items():
        volume = f"bias {group.volume.bias_ml:+.2f} mL, absolute {group.volume.mean_absolute_error_ml:.2f} mL"
        rows.append(f"  {name:10s}{group.cases:4d} cases   DSC {group.metrics['dice'].mean:.3f}   {volume}")
    return rows


def paired_in_words(tests: dict[str, PairedTest], other: str) -> str:
    """Each metric of this system minus that of the other."""
    lines = [f"Minus {other}: mean difference, 95 % interval, Wilcoxon's p"]
    for name, test in tests.items():
        heading = METRICS[name][0] if name in METRICS else "|Error| mL"
        if test.pairs == 0:
            lines.append(f"{heading:12s}no case has it for both")
            continue
        interval = "" if math.isnan(test.low) else f"{test.low:+.3f} to {test.high:+.3f}"
        words = f"{heading:12s}{test.mean_difference:+12.3f}   {interval:18s} p = {test.p:.3g}, {test.pairs} pairs"
        if test.infinite:
            words += f", {test.infinite} of them infinite: ranked beyond the others, not in the mean"
        if test.undefined:
            words += f", {test.undefined} not defined and left out"
        lines.append(words)
    return "\n".join(lines)


def cases_csv(evaluation: Evaluation) -> str:
    """A row a case: metrics, volumes, lesions, and of each subtype its volume and the share found."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    subtypes = subtypes_of(evaluation.cases, evaluation.labels)
    of_subtypes = [f"{name}_{what}" for name in subtypes for what in ("ml", "share_found")]
    counts = ("lesions", "lesions_found", "false_lesions")
    volumes = ("reference_ml", "predicted_ml", "volume_error_ml")
    writer.writerow(["case", *METRICS, *volumes, *counts, *of_subtypes, "note"])
    for case in evaluation.cases:
        values = [getattr(case.metrics, name) for name in (*METRICS, *volumes, *counts)]
        for name in subtypes:
            values += [case.subtype_ml.get(name, 0.0), case.subtype_found.get(name, math.nan)]
        shown = [f"{value:.6g}" if isinstance(value, float) else value for value in values]
        writer.writerow([case.name, *shown, DISCLAIMER])
    return text.getvalue()
