"""Pictures of a panel, as a user sees it on a light or a dark desktop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

ROLES = ("Window", "WindowText", "Base", "Text", "Button", "ButtonText", "Highlight", "PlaceholderText")
LIGHT = ("#efefef", "#202020", "#ffffff", "#202020", "#e6e6e6", "#202020", "#2f6fb3", "#808080")
DARK = ("#353535", "#f0f0f0", "#252525", "#f0f0f0", "#454545", "#f0f0f0", "#4a90d9", "#8c8c8c")


@contextmanager
def theme(colors: tuple[str, ...]) -> Iterator[None]:
    """The application in other colours, LIGHT or DARK, for a while."""
    before, palette = QtWidgets.QApplication.palette(), QtGui.QPalette()
    for role, color in zip(ROLES, colors, strict=True):
        palette.setColor(getattr(QtGui.QPalette, role), QtGui.QColor(color))
    for role in (QtGui.QPalette.WindowText, QtGui.QPalette.Text, QtGui.QPalette.ButtonText):
        palette.setColor(QtGui.QPalette.Disabled, role, QtGui.QColor(colors[-1]))
    QtWidgets.QApplication.setPalette(palette)
    QtWidgets.QApplication.processEvents()
    try:
        yield
    finally:
        QtWidgets.QApplication.setPalette(before)


def photograph(widget: Any, path: str | Path, width: int = 320, colors: tuple = LIGHT, pixels: int = 1) -> None:
    """Write the widget as PNG, `width` points wide, as high as it wants; ValueError if it cannot be so narrow.

    `pixels`: the picture's pixels to a point, 2 for a sharp screen.
    """
    with theme(colors):
        widget.ensurePolished()
        needed = widget.minimumSizeHint.width()
        if needed > width:
            raise ValueError(f"the widget needs {needed} points, {width} are asked for")
        height = widget.heightForWidth(width) if widget.hasHeightForWidth() else widget.sizeHint.height()
        widget.setAttribute(QtCore.Qt.WA_DontShowOnScreen)
        widget.resize(width, height)
        widget.show()
        QtWidgets.QApplication.processEvents()
        picture = QtGui.QPixmap(QtCore.QSize(width, height) * pixels)
        picture.setDevicePixelRatio(pixels)
        widget.render(picture)
    if not picture.save(str(path)):
        raise OSError(f"cannot write {path}")
