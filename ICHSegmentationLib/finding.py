"""What was found on a scan: one run's answer, as it stands after threshold and hand have changed it.

Needs nothing but the standard library. Lesions are given as in `statistics.json`.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

from ICHSegmentationLib.terminology import DISCLAIMER

Lesion = dict[str, Any]
SOURCE = (  # columns of the table, beside the measures
    *("threshold", "state", "segments"),
    *("ensemble", "version", "sha256", "device", "quality", "warnings", "note"),
)


@dataclass(frozen=True)
class Finding:
    """The state of one result.

    Attributes:
        statistics: of the run, the content of its `statistics.json`.
        lesions: as they are now, largest first.
        threshold: at which the probability is cut now.
        edited: whether the mask was changed by hand since.
        segments: names of the segments that were measured together.
    """

    statistics: dict[str, Any]
    lesions: list[Lesion]
    threshold: float
    edited: bool = False
    segments: tuple[str, ...] = ()

    @classmethod
    def of_run(cls, statistics: dict[str, Any]) -> Finding:
        return cls(statistics, statistics["lesions"], statistics["threshold"])

    @property
    def volume_ml(self) -> float:
        return sum(lesion["volume_ml"] for lesion in self.lesions)

    @property
    def is_of_run(self) -> bool:
        """Whether the mask is what the ensemble said, so that the members' range belongs to it."""
        return not self.edited and self.threshold == self.statistics["threshold"]

    @property
    def state(self) -> str:
        """What was done to the ensemble's answer, as a word for programs."""
        if self.edited:
            return "edited"
        return "as segmented" if self.is_of_run else "cut anew"


def report_csv(finding: Finding, scan_name: str) -> str:
    """The report as a table for programs: a row a lesion, or one row that says that none was found."""
    measures = ["volume_ml", "abc2_ml", "a_mm", "b_mm", "c_mm", "max_diameter_mm", "mean_hu", "slices"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan", "lesion", *measures, *SOURCE])
    bundle = finding.statistics["bundle"]
    run = [finding.statistics["device"], finding.statistics["quality"], " ".join(finding.statistics["warnings"])]
    source = [finding.threshold, finding.state, "; ".join(finding.segments)]
    source += [bundle["name"], bundle["version"], bundle["sha256"], *run, DISCLAIMER]
    if not finding.lesions:
        writer.writerow([scan_name, "none found", 0, *([""] * (len(measures) - 1)), *source])
    for number, lesion in enumerate(finding.lesions, 1):
        writer.writerow([scan_name, number, *(lesion[measure] for measure in measures), *source])
    return text.getvalue()
