"""What a panel says about a scan: one run's answer, as it stands after threshold and hand have changed it.

Needs nothing but the standard library. Lesions are given as in `statistics.json`.
"""

from __future__ import annotations

import csv
import html
import io
from dataclasses import dataclass
from typing import Any

from ICHSegmentationLib.terminology import DISCLAIMER

Lesion = dict[str, Any]


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
        """What was done to the ensemble's answer, in words; empty if nothing."""
        if self.edited:
            together = f", {len(self.segments)} segments together: {', '.join(self.segments)}"
            return "edited by hand" + together * (len(self.segments) > 1)
        return "" if self.is_of_run else f"cut at {self.threshold:.2f} instead of {self.statistics['threshold']:.2f}"

    @property
    def headline(self) -> str:
        if not self.lesions:
            return "No hemorrhage found"
        return f"{self.volume_ml:.1f} mL"

    @property
    def details(self) -> list[str]:
        """The lines of the result card below its headline."""
        low, high = self.statistics["volume_ml_range"]
        members = self.statistics["bundle"]["members"]
        found = (
            [self.state] if self.state else [f"{low:.1f} to {high:.1f} mL over {members} member{'s' * (members != 1)}"]
        )
        if self.lesions:
            largest = self.lesions[0]
            count = len(self.lesions)
            found.append(f"{count} lesion{'s' * (count > 1)}, the largest {largest['volume_ml']:.1f} mL")
            found.append(abc2_line(largest))
        return found


def abc2_line(lesion: Lesion) -> str:
    return (
        f"ABC/2 {lesion['abc2_ml']:.1f} mL (A {lesion['a_mm']:.0f}, B {lesion['b_mm']:.0f}, C {lesion['c_mm']:.0f} mm, "
        f"{lesion['slices']} slice{'s' * (lesion['slices'] != 1)})"
    )


def lesion_line(number: int, lesion: Lesion) -> str:
    """One row of the lesion list."""
    return f"{number}:  {lesion['volume_ml']:.1f} mL,  {lesion['max_diameter_mm']:.0f} mm,  {lesion['mean_hu']:.0f} HU"


def card_html(finding: Finding) -> str:
    """The result card as rich text for a label."""
    lines = "<br>".join(html.escape(line) for line in finding.details)
    return f"<span style='font-size:large; font-weight:600'>{html.escape(finding.headline)}</span><br>{lines}"


def report_text(finding: Finding, scan_name: str) -> str:
    """The report to copy: plain text with all that makes it reproducible."""
    values = finding.statistics
    bundle = values["bundle"]
    lines = [
        "Intracranial hemorrhage, automatic segmentation",
        f"Scan: {scan_name}",
        f"Result: {finding.headline}",
        *(f"  {line}" for line in finding.details),
        *(f"  {lesion_line(number, lesion)}; {abc2_line(lesion)}" for number, lesion in enumerate(finding.lesions, 1)),
        f"Ensemble: {bundle['name']} {bundle['version']}, SHA-256 {bundle['sha256']}",
        f"Device: {values['device']}, quality {values['quality']}, threshold {finding.threshold:.2f}",
        *(f"Warning: {warning}" for warning in values["warnings"]),
        DISCLAIMER,
    ]
    return "\n".join(lines) + "\n"


def report_csv(finding: Finding, scan_name: str) -> str:
    """The report as a table: a row a lesion, or one row that says that none was found."""
    measures = ["volume_ml", "abc2_ml", "a_mm", "b_mm", "c_mm", "max_diameter_mm", "mean_hu", "slices"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan", "lesion", *measures, "state", "ensemble", "version", "sha256", "note"])
    bundle = finding.statistics["bundle"]
    source = [finding.state or "as segmented", bundle["name"], bundle["version"], bundle["sha256"], DISCLAIMER]
    if not finding.lesions:
        writer.writerow([scan_name, "none found", 0, *([""] * (len(measures) - 1)), *source])
    for number, lesion in enumerate(finding.lesions, 1):
        writer.writerow([scan_name, number, *(lesion[measure] for measure in measures), *source])
    return text.getvalue()
