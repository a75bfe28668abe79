"""The application and the loader of modules that the tests of the Slicer extension share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import host
import pytest

WHY_NOT = host.why_not()  # imports Slicer's package before a test file does, without this folder


@pytest.fixture
def application() -> Iterator[Any]:
    """`slicer.app` with an empty scene; the test fails if Qt or VTK swallowed an exception."""
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    from host.application import start

    running = start()
    running.reset()
    yield running
    assert not running.errors


@pytest.fixture
def load(application: Any) -> Iterator[Callable[[Path], Any]]:
    """`load(path)` is `host.scripted.load_module(path)`, closed after the test."""
    from host.scripted import load_module

    loaded = []

    def load_and_remember(path: Path) -> Any:
        loaded.append(load_module(path))
        return loaded[-1]

    yield load_and_remember
    for module in loaded:
        module.close()


@pytest.fixture(scope="session")
def quick_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One trained member."""
    from panel_helpers import one_member

    return one_member(tmp_path_factory.mktemp("quick"))


@pytest.fixture(scope="session")
def warm() -> Iterator[list[Any]]:
    """The worker of the test before, if it lives: starting one takes longer than most tests."""
    kept: list[Any] = []
    yield kept
    for worker in kept:
        worker.end()


@pytest.fixture
def ct(application: Any) -> Any:
    """A head with a ball of blood in the scene."""
    from panel_helpers import add_volume

    return add_volume("CT head")


@pytest.fixture
def panel(ct: Any, load: Callable[[Path], Any], warm: list[Any], quick_bundle: Path) -> Iterator[Any]:
    """The module's panel on that head, with one trained member."""
    from panel_helpers import MODULE

    widget = load(MODULE).widget
    widget.ui.deviceEdit.text = "cpu"
    widget.ui.bundleEdit.text = str(quick_bundle)
    widget.logic.keeper.worker = warm.pop() if warm else None
    yield widget
    if widget.logic.keeper.worker is not None and widget.logic.job is None and not widget.batch.is_running:
        warm.append(widget.logic.keeper.worker)
        widget.logic.keeper.worker = None


@pytest.fixture
def segmented(panel: Any) -> Any:
    """The panel after a run."""
    from panel_helpers import run

    run(panel)
    assert panel.ui.problemLabel.text == ""
    return panel
