"""How the panel looks: on 320 points, on light and dark desktops, in every state; texts whole, keys in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

from host.photograph import DARK, LIGHT, photograph
from panel_helpers import MODULE, is_shown, widgets_below
from panel_states import STATES

WIDTH = 320
WITH_TEXT = ("QLabel", "QPushButton", "QCheckBox", "QRadioButton")
LIBRARY = MODULE.parents[1] / "ICHSegmentationLib"
CONTROLS = ("QPushButton", "QComboBox", "QLineEdit", "QCheckBox", "QRadioButton", "QListWidget", "QTableWidget",
            "ctkPathLineEdit", "ctkSliderWidget", "ctkCollapsibleButton", "qMRMLNodeComboBox")  # fmt: skip


def controls(panel: Any) -> Iterator[tuple[str, Any]]:
    """What a user can operate, by the names of the .ui file."""
    ours = re.findall(
        r'<widget class="\w+" name="(\w+)"', (MODULE.parent / "Resources/UI/ICHSegmentation.ui").read_text()
    )
    return (
        (found.objectName, found)
        for found in widgets_below(panel.parent)
        if found.objectName in ours and type(found).__name__ in CONTROLS
    )


def cut_texts(panel: Any) -> list[str]:
    """Texts of labels and buttons that do not fit where they stand."""
    cut = []
    for widget in widgets_below(panel.parent):
        if not widget.isVisible() or type(widget).__name__ not in (
            "QLabel",
            "QPushButton",
            "QCheckBox",
            "QRadioButton",
        ):
            continue
        if type(widget).__name__ == "QLabel" and widget.wordWrap:
            is_cut = widget.heightForWidth(widget.width) > widget.height
        else:
            is_cut = widget.minimumSizeHint.width() > widget.width
        if is_cut:
            cut.append(widget.text)
    return cut


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_nothing_is_cut_on_a_narrow_panel(panel: Any, state: str, colors: Any, tmp_path: Path) -> None:
    STATES[state](panel)
    photograph(panel.parent, tmp_path / "picture.png", WIDTH, colors)  # refuses what needs more than 320 points
    assert cut_texts(panel) == []
    assert (tmp_path / "picture.png").stat().st_size < 200e3


def test_every_control_says_what_it_is_for(panel: Any) -> None:
    found = dict(controls(panel))
    assert len(found) > 25
    assert [name for name, widget in found.items() if not widget.toolTip] == []


def test_the_tab_key_goes_from_top_to_bottom(panel: Any, tmp_path: Path) -> None:
    STATES["result"](panel)
    STATES["batch"](panel)
    STATES["settings"](panel)
    photograph(panel.parent, tmp_path / "picture.png", WIDTH)  # lays it out
    order, widget = [], panel.ui.inputSelector
    names = {found: name for name, found in controls(panel)}
    while widget not in order:
        order.append(widget)
        widget = widget.nextInFocusChain()
    places = [(names[found], top_left(found, panel)) for found in order if found in names and found.isVisible()]
    assert len(places) > 20
    assert [name for name, _ in places] == [name for name, _ in sorted(places, key=lambda place: place[1])]


def top_left(widget: Any, panel: Any) -> tuple[int, int]:
    """Row, about, and column in points."""
    import qt

    place = widget.mapTo(panel.parent, qt.QPoint(0, 0))
    return round(place.y() / 12), place.x()


def test_texts_of_the_panel_can_be_translated() -> None:
    """What the panel shows of its own goes through `_`; warnings and errors of the library are English everywhere."""
    without = ("__init__", "batch_volumes", "handover", "sample_data")
    own = [path for path in sorted((LIBRARY / "panel").glob("*.py")) if path.stem not in without]
    assert len(own) > 7
    for path in (MODULE, *own):
        source = path.read_text()
        assert "from slicer.i18n import tr as _" in source
        plain = re.findall(r"(?:text|toolTip|Display)\s*(?:=|\()\s*(f?\"[A-Z][^\"]{6,}\")", source)
        assert plain == [], path.name


def test_only_what_is_wanted_is_shown_at_the_start(panel: Any) -> None:
    shown = {name for name, widget in controls(panel) if is_shown(widget)}
    assert "segmentButton" in shown
    assert {"copyDiagnosisButton", "batchTable", "batchInputEdit"}.isdisjoint(shown)
    assert panel.ui.batchButton.collapsed
    assert panel.ui.settingsButton.collapsed
    assert panel.ui.setupButton.collapsed
