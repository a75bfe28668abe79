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
