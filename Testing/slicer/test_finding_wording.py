"""Card and report in words: true of the mask as it stands, and in the user's language."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from host import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

import slicer
from test_finding import FOUND, NOTHING, SMALL, STATISTICS

from ICHSegmentationLib.finding import Finding
from ICHSegmentationLib.terminology import DISCLAIMER

GIVEN = ("CT", "ICH <compact>", "cpu", "fast", "Gantry tilt.", "ab" * 32, "Hemorrhage", "Left one")


@pytest.fixture
def words(application: Any) -> Any:
    """The module under test, whose words come through the application's translations."""
    from ICHSegmentationLib.panel import finding_wording

    return finding_wording


def test_the_card_has_the_volume_with_its_range_and_abc2(words: Any) -> None:
    assert words.headline(FOUND.volume_ml, len(FOUND.lesions)) == "12.7 mL"
    assert words.detail_lines(FOUND) == [
        "11.0 to 14.5 mL over 8 members",
        "2 lesions, the largest 12.3 mL",
        "ABC/2 13.0 mL (A 40, B 26, C 25 mm, 5 slices)",
    ]
    assert "12.7 mL" in words.card_html(FOUND)


def test_one_of_a_thing_is_not_called_many(words: Any) -> None:
    statistics = {**STATISTICS, "lesions": [SMALL], "bundle": {**STATISTICS["bundle"], "members": 1}}
    lines = words.detail_lines(Finding.of_run(statistics))
    assert lines == ["11.0 to 14.5 mL over 1 member", "1 lesion", "ABC/2 13.0 mL (A 40, B 26, C 25 mm, 1 slice)"]


def test_no_hemorrhage_is_said_as_such(words: Any) -> None:
    assert words.headline(NOTHING.volume_ml, 0) == "No hemorrhage found"
    assert words.detail_lines(NOTHING) == ["0.0 to 0.2 mL over 8 members"]


def test_the_members_range_is_not_shown_for_a_mask_they_did_not_make(words: Any) -> None:
    edited = dataclasses.replace(FOUND, edited=True, lesions=[SMALL])
    together = dataclasses.replace(edited, segments=("Hemorrhage", "Left one"))
    recut = dataclasses.replace(FOUND, threshold=0.3)
    assert words.detail_lines(edited)[0] == "edited by hand"
    assert words.detail_lines(together)[0] == "edited by hand, 2 segments together: Hemorrhage, Left one"
    assert words.detail_lines(recut)[0] == "cut at 0.30 instead of 0.50"
    assert not any("11.0 to" in line for each in (edited, recut) for line in words.detail_lines(each))


def test_the_report_says_what_made_it(words: Any) -> None:
    text = words.report_text(FOUND, "CT 5 mm")
    for said in ("CT 5 mm", "12.7 mL", "ab" * 32, "cpu", "Gantry tilt.", DISCLAIMER, words.lesion_line(2, SMALL)):
        assert said in text


def test_text_from_outside_cannot_become_markup(words: Any) -> None:
    statistics = {**STATISTICS, "bundle": {**STATISTICS["bundle"], "members": "<b>8</b>"}}
    assert "<b>8" not in words.card_html(Finding.of_run(statistics))


def test_every_word_of_card_and_report_can_be_translated(words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A language that writes all its letters as x leaves only what came from the scan, the run and the units."""

    def foreign(application: Any, context: str, text: str) -> str:
        parts = re.split(r"(\{[^}]*\})", text)
        return "".join(part if part.startswith("{") else re.sub("[A-Za-z]", "x", part) for part in parts)

    monkeypatch.setattr(type(slicer.app), "translate", foreign)
    together: dict[str, Any] = {"edited": True, "segments": ("Hemorrhage", "Left one")}
    for finding in (FOUND, NOTHING, dataclasses.replace(FOUND, **together), dataclasses.replace(FOUND, threshold=0.3)):
        text = words.report_text(finding, "CT") + words.card_html(finding).split(">", 1)[1]
        for given in GIVEN:
            text = text.replace(given, "")
        assert set(re.findall(r"[A-Za-z]", re.sub("<[^>]*>", "", text))) == {"x"}
