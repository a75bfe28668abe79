"""Functions of Slicer that need a user, a network or a window: here they note the call and give the test's answer.

Each keeps the signature of the real one, so that a wrong call fails.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer.util
from packaging.requirements import Requirement

SHOWN = ("infoDisplay", "warningDisplay", "errorDisplay", "messageBox", "delayDisplay", "selectModule")
ASKED = ("confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay")


def install(application: Any) -> None:
    """Put the recorders into slicer.util, slicer.packaging, slicer.i18n and SampleData."""
    for names, record in ((SHOWN, application.record), (ASKED, application.ask)):
        for name in names:
            setattr(slicer.util, name, _recorder(name, getattr(slicer.util, name), record))
    add_module(
        "slicer.packaging",
        {
            "pip_install": _recorder("pip_install", _pip_install, application.record),
            "pip_ensure": _recorder("pip_ensure", _pip_ensure, application.record),
            "pip_check": _recorder("pip_check", lambda req: None, application.ask),
            "load_requirements": _load_requirements,
        },
    )
    translated = {
        "translate": lambda context, text: application.translate(context, text),  # as it is when it is asked
        "tr": lambda text: application.translate("", text),
    }
    add_module("slicer.i18n", translated)
    register = _recorder("sample data", _register, lambda kind, text, given: application.sample_data.append(given))
    logic = type("SampleDataLogic", (), {"registerCustomSampleDataSource": staticmethod(register)})
    add_module("SampleData", {"SampleDataLogic": logic})


def add_module(name: str, contents: dict[str, Any]) -> None:
    """Make a module importable by its full name."""
    module = types.ModuleType(name)
    vars(module).update(contents, __all__=list(contents))
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def _recorder(kind: str, like: Callable, record: Callable) -> Callable:
    """A function with the signature of another; its first argument, or the name of that, is the text recorded."""
    signature = inspect.signature(like)

    def recorded(*arguments: Any, **named: Any) -> Any:
        given = signature.bind(*arguments, **named).arguments
        first = next(iter(given.values()))
        return record(kind, str(getattr(first, "name", first)), dict(given))

    return recorded


# fmt: off
def _pip_install(requirements, constraints=None, no_deps_requirements=None, skip_packages=None, blocking=True,
                 show_progress=True, requester=None, parent=None, logCallback=None, completedCallback=None): ...


def _pip_ensure(requirements, constraints=None, skip_packages=None, prompt_install=True, prompt_restart=True,
                requester=None, skip_in_testing=True, show_progress=True): ...


def _register(category="Custom", sampleName=None, uris=None, fileNames=None, nodeNames=None, customDownloader=None,
              thumbnailFileName=None, loadFileType=None, loadFiles=None, loadFileProperties=None, checksums=None): ...
# fmt: on


def _load_requirements(path: str | Path) -> list[Requirement]:
    lines = [line.strip() for line in Path(path).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
