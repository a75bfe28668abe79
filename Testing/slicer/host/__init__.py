"""A host for a scripted Slicer module: Slicer's real MRML code (slicer-core), stand-ins for its Qt parts (PySide6).

Nothing heavy is imported here, so that a test file can ask `why_not()` first and skip with the reason.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

TESTING = Path(__file__).resolve().parents[2]
QT_PACKAGES = "libegl1 libgl1 libglib2.0-0 libxkbcommon0 libfontconfig1 libdbus-1-3 fonts-dejavu-core"
# PySide6 6.12 gives None and True away uncounted, which ends Python before 3.12 sooner or later
QT_PROBE = """
import sys
import PySide6.QtUiTools
from PySide6.QtWidgets import QApplication, QWidget
QApplication([])
widget, references = QWidget(), sys.getrefcount(None)
for _ in range(100):
    widget.setToolTip("")
if sys.getrefcount(None) < references - 50:
    sys.exit("this PySide6 miscounts references, 6.11 does not")
"""
RENDERING_PROBE = "import vtk; window = vtk.vtkRenderWindow(); window.SetOffScreenRendering(1); window.Render()"


@functools.cache
def why_not() -> str | None:
    """Why the host cannot run here; None if it can."""
    try:
        _import_slicer()
    except ImportError as error:
        return f"slicer-core cannot be imported ({error}): pip install slicer-core"
    complaint = _complaint(QT_PROBE)
    return complaint and f"no Qt ({complaint}): pip install 'PySide6-Essentials<6.12'; apt install {QT_PACKAGES}"


@functools.cache
def why_no_rendering() -> str | None:
    """Why VTK cannot render here; None if it can. Without a graphics library it would end the process."""
    complaint = _complaint(RENDERING_PROBE)
    return complaint and f"VTK cannot render ({complaint}): apt install libegl1 libgl1"


def _import_slicer() -> None:
    """Import `slicer` without these tests' folder, which Slicer's package would take in: it is called slicer too."""
    path = sys.path[:]
    sys.path[:] = [entry for entry in path if Path(entry).resolve() != TESTING]
    try:
        import slicer  # noqa: F401
    finally:
        sys.path[:] = path


def _complaint(code: str) -> str | None:
    """The last words of a Python process that ran the code and failed: some failures end the process itself."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if ran.returncode == 0:
        return None
    return (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1]
