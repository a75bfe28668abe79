"""What is said of a result is true of the mask as it stands. (In words: slicer/test_finding_wording.py.)"""

from __future__ import annotations

import csv
import dataclasses
import io

from ICHSegmentationLib.finding import Finding, report_csv
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


def rows(finding: Finding, scan_name: str = "CT") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(report_csv(finding, scan_name))))


def test_the_range_of_the_members_belongs_to_the_mask_that_they_made_and_to_no_other() -> None:
    edited = dataclasses.replace(FOUND, edited=True, lesions=[SMALL])
    recut = dataclasses.replace(FOUND, threshold=0.3)
    assert FOUND.is_of_run
    assert not edited.is_of_run
    assert not recut.is_of_run
    assert dataclasses.replace(recut, threshold=0.5).is_of_run
    assert edited.volume_ml == 0.4


def test_the_table_has_a_row_a_lesion_and_what_made_it() -> None:
    found = rows(FOUND, "a, b")
    assert [row["lesion"] for row in found] == ["1", "2"]
    assert found[0]["scan"] == "a, b"
    assert float(found[0]["volume_ml"]) == 12.34
    assert (found[0]["state"], found[0]["threshold"]) == ("as segmented", "0.5")
    assert (found[0]["sha256"], found[0]["note"]) == ("ab" * 32, DISCLAIMER)
    assert [found[1][name] for name in ("device", "quality", "warnings")] == ["cpu", "fast", "Gantry tilt."]


def test_the_table_says_that_none_was_found_and_what_a_hand_did() -> None:
    assert [(row["lesion"], row["volume_ml"]) for row in rows(NOTHING)] == [("none found", "0")]
    assert rows(dataclasses.replace(FOUND, threshold=0.3))[0]["state"] == "cut anew"
    edited = rows(dataclasses.replace(FOUND, edited=True, segments=("Hemorrhage", "Left one")))[0]
    assert (edited["state"], edited["segments"]) == ("edited", "Hemorrhage; Left one")
