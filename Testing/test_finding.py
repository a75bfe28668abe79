"""What the panel says is true of the mask as it stands."""

from __future__ import annotations

import csv
import dataclasses
import io

from ICHSegmentationLib.finding import Finding, card_html, lesion_line, report_csv, report_text
from ICHSegmentationLib.terminology import DISCLAIMER

LESION = {
    "volume_ml": 12.34, "abc2_ml": 13.0, "a_mm": 40.0, "b_mm": 26.0, "c_mm": 25.0, "max_diameter_mm": 44.0,
    "mean_hu": 61.2, "slices": 5, "centroid_mm_ras": [1.0, 2.0, 3.0],
}  # fmt: skip
SMALL = {**LESION, "volume_ml": 0.4, "slices": 1}
STATISTICS = {
    "lesions": [LESION, SMALL],
    "threshold": 0.5,
    "volume_ml_range": [11.0, 14.5],
    "bundle": {"name": "ICH <compact>", "version": "1", "sha256": "ab" * 32, "members": 8},
    "device": "cpu",
    "quality": "fast",
    "warnings": ["Gantry tilt."],
}
FOUND = Finding.of_run(STATISTICS)
NOTHING = Finding.of_run({**STATISTICS, "lesions": [], "volume_ml_range": [0.0, 0.2]})


def test_the_card_has_the_volume_with_its_range_and_abc2() -> None:
    assert FOUND.headline == "12.7 mL"
    assert FOUND.details[0] == "11.0 to 14.5 mL over 8 members"
    assert FOUND.details[1] == "2 lesions, the largest 12.3 mL"
    assert FOUND.details[2] == "ABC/2 13.0 mL (A 40, B 26, C 25 mm, 5 slices)"
    assert "12.7 mL" in card_html(FOUND)


def test_no_hemorrhage_is_said_as_such() -> None:
    assert NOTHING.headline == "No hemorrhage found"
    assert NOTHING.details == ["0.0 to 0.2 mL over 8 members"]
    assert "none found" in report_csv(NOTHING, "CT")


def test_the_members_range_is_not_shown_for_a_mask_they_did_not_make() -> None:
    edited = dataclasses.replace(FOUND, edited=True, lesions=[SMALL])
    assert edited.headline == "0.4 mL"
    assert edited.details[0] == "edited by hand"
    assert "1 lesion, " in edited.details[1]
    recut = dataclasses.replace(FOUND, threshold=0.3)
    assert recut.details[0] == "cut at 0.30 instead of 0.50"
    assert not any("11.0 to" in line for each in (edited, recut) for line in each.details)
    assert dataclasses.replace(recut, threshold=0.5).is_of_run


def test_the_report_says_what_made_it() -> None:
    text = report_text(FOUND, "CT 5 mm")
    for said in ("CT 5 mm", "12.7 mL", "ab" * 32, "cpu", "Gantry tilt.", DISCLAIMER, lesion_line(2, SMALL)):
        assert said in text
    rows = list(csv.DictReader(io.StringIO(report_csv(FOUND, "a, b"))))
    assert [row["lesion"] for row in rows] == ["1", "2"]
    assert rows[0]["scan"] == "a, b"
    assert float(rows[0]["volume_ml"]) == 12.34


def test_text_from_outside_cannot_become_markup() -> None:
    statistics = {**STATISTICS, "bundle": {**STATISTICS["bundle"], "members": "<b>8</b>"}}
    assert "<b>8" not in card_html(Finding.of_run(statistics))
