"""What the panel says of a finding: card, lesion list, report to copy. Imports slicer for its translations.

Warnings are sentences of the library, and English.
"""

from __future__ import annotations

import html

from slicer.i18n import tr as _

from ICHSegmentationLib.finding import Finding, Lesion


def headline(volume_ml: float, lesions: int) -> str:
    """All that matters, in a few words."""
    return _("{volume:.1f} mL").format(volume=volume_ml) if lesions else _("No hemorrhage found")


def state_line(finding: Finding) -> str:
    """What was done to the ensemble's answer; empty if nothing."""
    if finding.edited and len(finding.segments) > 1:
        line = _("edited by hand, {count} segments together: {names}")
        return line.format(count=len(finding.segments), names=", ".join(finding.segments))
    if finding.edited:
        return _("edited by hand")
    if finding.is_of_run:
        return ""
    line = _("cut at {threshold:.2f} instead of {usual:.2f}")
    return line.format(threshold=finding.threshold, usual=finding.statistics["threshold"])


def range_line(finding: Finding) -> str:
    """What the members of the ensemble found, each for itself."""
    low, high = finding.statistics["volume_ml_range"]
    members = finding.statistics["bundle"]["members"]
    one, many = _("{low:.1f} to {high:.1f} mL over 1 member"), _("{low:.1f} to {high:.1f} mL over {members} members")
    return (one if members == 1 else many).format(low=low, high=high, members=members)


def abc2_line(lesion: Lesion) -> str:
    """ABC/2 with its parts."""
    one = _("ABC/2 {abc2:.1f} mL (A {a:.0f}, B {b:.0f}, C {c:.0f} mm, 1 slice)")
    many = _("ABC/2 {abc2:.1f} mL (A {a:.0f}, B {b:.0f}, C {c:.0f} mm, {slices} slices)")
    sizes = {"abc2": lesion["abc2_ml"], "a": lesion["a_mm"], "b": lesion["b_mm"], "c": lesion["c_mm"]}
    return (one if lesion["slices"] == 1 else many).format(**sizes, slices=lesion["slices"])


def lesion_line(number: int, lesion: Lesion) -> str:
    """One row of the lesion list."""
    line = _("{number}:  {volume:.1f} mL,  {diameter:.0f} mm,  {hu:.0f} HU")
    values = {"volume": lesion["volume_ml"], "diameter": lesion["max_diameter_mm"], "hu": lesion["mean_hu"]}
    return line.format(number=number, **values)


def detail_lines(finding: Finding) -> list[str]:
    """The lines of the card below its headline."""
    lines = [state_line(finding) or range_line(finding)]
    if finding.lesions:
        count, largest = len(finding.lesions), finding.lesions[0]
        line = _("1 lesion") if count == 1 else _("{count} lesions, the largest {volume:.1f} mL")
        lines += [line.format(count=count, volume=largest["volume_ml"]), abc2_line(largest)]
    return lines


def card_html(finding: Finding) -> str:
    """The result card as rich text for a label."""
    lines = "<br>".join(html.escape(line) for line in detail_lines(finding))
    title = html.escape(headline(finding.volume_ml, len(finding.lesions)))
    return f"<span style='font-size:large; font-weight:600'>{title}</span><br>{lines}"


def report_text(finding: Finding, scan_name: str) -> str:
    """The report to copy: plain text with all that makes it reproducible."""
    values, bundle = finding.statistics, finding.statistics["bundle"]
    ensemble = {key: bundle[key] for key in ("name", "version", "sha256")}
    run = {"device": values["device"], "quality": values["quality"], "threshold": finding.threshold}
    lines = [
        _("Intracranial hemorrhage, automatic segmentation"),
        _("Scan: {name}").format(name=scan_name),
        _("Result: {result}").format(result=headline(finding.volume_ml, len(finding.lesions))),
        *(f"  {line}" for line in detail_lines(finding)),
        *(f"  {lesion_line(number, lesion)}; {abc2_line(lesion)}" for number, lesion in enumerate(finding.lesions, 1)),
        _("Ensemble: {name} {version}, SHA-256 {sha256}").format(**ensemble),
        _("Device: {device}, quality {quality}, threshold {threshold:.2f}").format(**run),
        *(_("Warning: {warning}").format(warning=warning) for warning in values["warnings"]),
        _("Research use only, not for clinical use."),
    ]
    return "\n".join(lines) + "\n"
